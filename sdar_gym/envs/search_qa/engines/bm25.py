"""BM25 over an index of the package bm25s that is mapped into memory, with an exact search of our own.

bm25s adds scores up by `np.add.at` and leaves the order of ties to chance; on 100,000 passages its `retrieve` gave 84
answers a CPU second, and this 4,659 (`benchmarks/search_engines.py`). The form of an index and the scores are bm25s's,
which opens what is written here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import numpy.typing as npt

from sdar_gym.envs.search_qa.corpus import Corpus, DiskCorpus, Progress
from sdar_gym.envs.search_qa.engines import bm25_index as files
from sdar_gym.envs.search_qa.engines.checks import check_k, need_corpus, no_progress
from sdar_gym.envs.search_qa.engines.index_store import index_folder, open_index
from sdar_gym.envs.search_qa.passages import Hit, SearchError
from sdar_gym.lucene.analysis import tokens

FORMAT = 1
"""Of our part of an index, and of the analysis of texts."""
MOST_TERMS = 1024
"""Distinct terms of a query that count: Lucene's limit, at which it refuses; here the rest is left out."""
LONGEST_QUERY = 1 << 17
"""Characters of a query that are read."""
_CORRUPT = "the BM25 index names passages that the corpus does not have: it is corrupt; remove its folder"
PRUNED_FROM = 500_000
"""Passages of a corpus in which not all scores are computed."""
_SHARE, _ROUNDING = 8, 1.00001
_Postings = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], float]
_Weighed = tuple[_Postings, int]  # with how often the query has the term
_Scored = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]  # numbers of passages and scores


class BM25:
    """Finds passages by their words, weighed as Lucene does, after Lucene's English analysis (stop words, stems).

    Search-R1's own BM25 is Lucene with the same analysis and parameters.

    Args:
        corpus: What is searched.
        folder: Of the index; a folder in the cache by default. Built if it is not there yet. The index of a corpus in
            memory is kept in memory unless a folder is named.
        k1: How soon repetitions of a word stop to count, above 0.
        b: How much long passages are marked down, 0 to 1.
        cache: Folder of built indexes; `sdar_gym.cache.default_cache()` by default.
        progress: Called while the index is built.

    Raises:
        ValueError: no corpus, or a parameter is out of range.
        SearchError: the index is damaged, of another corpus, or was made with other parameters.
    """

    def __init__(
        self,
        corpus: Corpus | None,
        *,
        folder: str | Path | None = None,
        k1: float = 0.9,
        b: float = 0.4,
        cache: str | Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        if not k1 > 0 or not 0 <= b <= 1:
            raise ValueError(f"k1 is {k1} and b is {b}; k1 must be above 0, b between 0 and 1")
        self.corpus = need_corpus(corpus, "bm25")
        if folder is None and cache is None and not isinstance(corpus, DiskCorpus):
            self._arrays = _in_memory(self.corpus, k1, b)
        else:
            made_as = {"kind": "bm25", "format": FORMAT, "k1": k1, "b": b}
            place = index_folder(made_as, self.corpus, cache) if folder is None else Path(folder).expanduser()

            def build(staging: Path) -> None:
                files.write_index(staging, self.corpus, k1, b, progress or no_progress)

            open_index(place, made_as, self.corpus, build)
            self._arrays = _on_disk(place)
        self._names = memoryview(self._arrays[files.NAMES].data)
        # The best passages are sought among blocks of this many.
        self._block = max(1, len(self.corpus) // 1000)
        self._postings = lru_cache(maxsize=1 << 16)(self._find)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        check_k(k)
        passage = self.corpus.passage
        return [
            [Hit(passage(number), score) for number, score in zip(*self.best(query, k), strict=True)]
            for query in queries
        ]

    def best(self, query: str, k: int) -> tuple[list[int], list[float]]:
        """Numbers and scores of the at most `k` passages that match best, best first; ties in the order of ids."""
        counts = Counter(tokens(query[:LONGEST_QUERY]))
        terms = list(counts)[:MOST_TERMS]
        found = [(postings, counts[term]) for term in terms if (postings := self._postings(term)) is not None]
        if not found:
            return [], []
        # The rarest first. Scores are added up in this order, so that equal passages are equal to the last bit.
        found.sort(key=_bound, reverse=True)
        some = self._some(found, k) if len(self.corpus) >= PRUNED_FROM else None
        candidates, scores = self._every(found, k) if some is None else some
        values = scores.astype(np.float32)
        order = np.lexsort((self.corpus.ranks[candidates], -values))[:k]
        return candidates[order].tolist(), values[order].tolist()

    def _every(self, found: Sequence[_Weighed], k: int) -> _Scored:
        """The best passages and some others, out of the scores of all passages of the corpus."""
        # Padded to whole blocks.
        size = -(-len(self.corpus) // self._block) * self._block
        documents, gains = _joined(found)
        try:
            scores = np.bincount(documents, gains, size).astype(np.float32)
        except ValueError as error:  # a negative number
            raise SearchError(_CORRUPT) from error
        if len(scores) != size:
            raise SearchError(_CORRUPT)
        # Down the columns, where numpy compares whole registers; any division into blocks will do.
        blocks = scores.reshape(self._block, -1).max(axis=0)
        least = float(np.partition(blocks, -k)[-k]) if len(blocks) >= k else 0.0
        candidates = np.flatnonzero(scores >= least) if least > 0 else np.flatnonzero(scores)
        return candidates, scores[candidates].astype(np.float64)

    def _some(self, found: Sequence[_Weighed], k: int) -> _Scored | None:
        """The best passages and some others, without a look at most (MaxScore, Turtle and Flood 1995).

        Once the k-th best passage with a rare term is better than all common terms together could make another one,
        common terms are only looked up for the passages that are known. None where it would be no less work.
        """
        left = np.cumsum([_bound(one) for one in found][::-1])[::-1]  # what the terms from here on can add at most
        for used in range(1, len(found)):
            if sum(len(documents) for (documents, _, _), _ in found[:used]) > len(self.corpus) // _SHARE:
                return None
            candidates, scores = _added(*_joined(found[:used]))
            if len(scores) >= k and (least := np.partition(scores, -k)[-k]) > left[used] * _ROUNDING:
                break
        else:
            return None
        for place in range(used, len(found)):
            is_near = scores + left[place] * _ROUNDING >= least
            candidates, scores = candidates[is_near], scores[is_near]
            (documents, gains, _), count = found[place]
            where = np.minimum(np.searchsorted(documents, candidates), len(documents) - 1)
            scores += np.where(documents[where] == candidates, gains[where] * np.float64(count), 0.0)
        if candidates[-1] >= len(self.corpus):
            raise SearchError(_CORRUPT)
        return candidates, scores

    def _find(self, term: str) -> _Postings | None:
        """Passages, scores and the best score of a term; None where no passage has it."""
        name, starts = term.encode("utf-8", "replace"), self._arrays[files.NAME_STARTS]
        count = len(starts) - 1
        place = bisect_left(range(count), name, key=self._name)
        if place == count or self._name(place) != name:
            return None
        start, end = self._arrays[files.STARTS][place : place + 2].tolist()
        documents, scores = self._arrays[files.DOCUMENTS][start:end], self._arrays[files.SCORES][start:end]
        return documents, scores, float(self._arrays[files.MAXIMA][place])

    def _name(self, place: int) -> bytes:
        start, end = self._arrays[files.NAME_STARTS][place : place + 2].tolist()
        return bytes(self._names[start:end])


def _bound(weighed: _Weighed) -> float:
    """What a term adds to a score at most."""
    (_, _, best), count = weighed
    return best * count


def _joined(found: Sequence[_Weighed]) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
    documents = np.concatenate([documents for (documents, _, _), _ in found])
    gains = [gains if count == 1 else gains * np.float64(count) for (_, gains, _), count in found]
    return documents, np.concatenate(gains)


def _added(documents: npt.NDArray[np.int32], gains: npt.NDArray[Any]) -> _Scored:
    """Scores by passage, of passages in the order of their numbers."""
    order = np.argsort(documents, kind="stable")  # they are a few sorted runs, which this merges
    documents = documents[order]
    starts = np.flatnonzero(np.concatenate(([True], documents[1:] != documents[:-1])))
    return documents[starts].astype(np.int64), np.add.reduceat(gains[order].astype(np.float64), starts)


def _in_memory(corpus: Corpus, k1: float, b: float) -> dict[str, npt.NDArray[Any]]:
    run = files.count_run(corpus, 0, len(corpus))
    scoring = files.Scoring(run.lengths, k1, b)
    order = sorted(range(len(run.names)), key=run.names.__getitem__)
    starts = files.starts_of(run.counts)
    scores = scoring.scores(run.documents, run.frequencies, scoring.idf(run.counts).repeat(run.counts))
    names = [run.names[term] for term in order]
    moved = np.concatenate([np.arange(starts[term], starts[term + 1]) for term in order] or [np.zeros(0, np.int64)])
    own_starts = files.starts_of(run.counts[order] if order else run.counts)
    return {
        files.NAMES: np.frombuffer(b"".join(names), np.uint8),
        files.NAME_STARTS: files.starts_of(np.array([len(name) for name in names], np.int64)),
        files.STARTS: own_starts,
        files.DOCUMENTS: run.documents[moved],
        files.SCORES: scores[moved],
        files.MAXIMA: np.maximum.reduceat(scores[moved], own_starts[:-1]) if order else np.zeros(0, np.float32),
    }


def _on_disk(folder: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        scores = bm25s.BM25.load(folder, mmap=True, load_vocab=False, show_progress=False).scores
        arrays = {files.SCORES: scores["data"], files.DOCUMENTS: scores["indices"], files.STARTS: scores["indptr"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SearchError(
            f"{folder} is no index that bm25s can read ({error}); remove it, it is built again"
        ) from error
    arrays[files.NAMES] = _mapped(folder / files.NAMES, "u1")
    arrays[files.NAME_STARTS] = _mapped(folder / files.NAME_STARTS, "<i8")
    arrays[files.MAXIMA] = _mapped(folder / files.MAXIMA, "<f4")
    # Plain arrays: slices of numpy's own `memmap` take ten times as long.
    return {name: values.view(np.ndarray) for name, values in arrays.items()}


def _mapped(path: Path, kind: str) -> npt.NDArray[Any]:
    return np.memmap(path, kind, "r") if path.stat().st_size else np.empty(0, kind)
