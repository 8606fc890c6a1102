"""Nearest skills by meaning: FAISS inner products of unit embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sdar_skills.bank import SkillBank
from sdar_skills.embedders import Embedder, make_embedder
from sdar_skills.retrievers.base import RetrieverSetup, best_first, check_k
from sdar_skills.skill import Match, Skill, SkillQuery

_SCORE_DECIMALS = 6
"""Scores are rounded, so that rounding noise of a batch does not order skills that are equally near."""


class DenseRetriever:
    """Ranks the skills of the query's environment by cosine similarity to the goal's text.

    The query's task type is not looked at. An environment's index is built at its first query; the embeddings of
    queries are kept, because a training run asks the same goals again and again.
    """

    def __init__(self, bank: SkillBank, embedder: Embedder) -> None:
        self.bank = bank
        self.embedder = embedder
        self._indexes: dict[str, Any] = {}
        self._query_embeddings: dict[str, npt.NDArray[np.float32]] = {}

    @classmethod
    def from_setup(cls, setup: RetrieverSetup) -> Self:
        """Take the bank and the embedder."""
        embedder = make_embedder(setup.embedder) if isinstance(setup.embedder, str) else setup.embedder
        return cls(setup.bank, embedder)

    def retrieve(self, query: SkillQuery, k: int) -> list[Match]:
        """The k nearest skills; the score is the cosine."""
        return self.retrieve_batch([query], k)[0]

    def retrieve_batch(self, queries: Sequence[SkillQuery], k: int) -> list[list[Match]]:
        """One answer a query; the texts that are new are embedded in one call."""
        check_k(k)
        for query in queries:
            self.bank.for_env(query.env)
            if not query.text.strip():
                raise ValueError("dense retrieval compares the goal's text, and this query has none; fill in text")
        self._remember([query.text for query in queries])
        return [self._search(query, k) for query in queries]

    def _remember(self, texts: Sequence[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._query_embeddings]
        if new:
            self._query_embeddings.update(zip(new, self.embedder.embed(new), strict=True))

    def _search(self, query: SkillQuery, k: int) -> list[Match]:
        skills = self.bank.for_env(query.env)
        embedding = self._query_embeddings[query.text][None, :]  # [1, d]
        # All are ranked, not k: FAISS breaks ties as it likes, and a tie may straddle the cut.
        scores, rows = self._index(query.env).search(embedding, len(skills))  # [1, S], [1, S]
        return best_first(
            Match(skills[int(row)], round(float(score), _SCORE_DECIMALS))
            for score, row in zip(scores[0], rows[0], strict=True)
        )[:k]

    def _index(self, env: str) -> Any:
        if env not in self._indexes:
            index = _faiss().IndexFlatIP(self.embedder.dimension)
            index.add(self.embedder.embed([skill_text(skill) for skill in self.bank.for_env(env)]))  # [S, d]
            self._indexes[env] = index
        return self._indexes[env]


def skill_text(skill: Skill) -> str:
    """The text that stands for a skill in the index."""
    return f"{skill.title}. {skill.description} {skill.body}"


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ImportError("the dense retriever needs faiss; install it with pip install 'sdar-gym[skills]'") from error
    return faiss
