"""Of a passage, what a search engine's list would show: the sentences that fit the query best."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from sdar_gym.envs.search_qa.passages import Hit

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_WORD = re.compile(r"\w+")


def with_snippets(hits: Sequence[Hit], query: str, sentences: int) -> list[Hit]:
    """The hits with so many sentences of each passage at most.

    Args:
        hits: As an engine found them.
        query: What was searched for.
        sentences: The most that are shown of a passage, at least 1.
    """
    return [replace(hit, passage=replace(hit.passage, text=_snippet(hit, query, sentences))) for hit in hits]


def _snippet(hit: Hit, query: str, sentences: int) -> str:
    """Those sentences that hold most words of the query that the title does not hold; the first ones among equals.

    Only the best: a sentence that holds fewer of them tells something else.
    """
    told = _SENTENCE_END.split(hit.passage.text)
    wanted = _words(query) - _words(hit.passage.title)
    counts = [len(wanted & _words(sentence)) for sentence in told]
    best = [sentence for sentence, count in zip(told, counts, strict=True) if count == max(counts)]
    # Nothing fits: the beginning says what the passage is about.
    return " ".join(best[: sentences if max(counts) else 1])


def _words(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _WORD.findall(text))
