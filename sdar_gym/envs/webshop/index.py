"""The search engine: BM25 over an index on disk, with the rankings of the original's Lucene index.

An index is a folder of flat arrays that are mapped into memory, so that it opens at once whatever its size, and all
processes share it. `write_index` makes one in sorted runs that it merges, in bounded memory.
"""

from __future__ import annotations

import json
import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdar_gym.envs.webshop.product import CatalogueError
from sdar_gym.lucene.analysis import tokens

K1, B = np.float32(0.9), np.float32(0.4)
"""BM25's parameters, as Anserini sets them."""
MOST_TERMS = 1024
"""Distinct terms that a query can have: Lucene's limit."""
RUN_TOKENS = 8_000_000
"""Tokens that the writer holds before it writes them out: about 300 MB."""
_VERSION = 1
_META = "index.json"
# The files of an index. Postings are two arrays: which document, and 1 + frequency / norm, its gain.
_ARRAYS = {
    "names": "u1",  # of all terms, UTF-8, sorted
    "name_starts": "<i8",  # one more than there are terms
    "posting_starts": "<i8",  # likewise
    "documents": "<i4",
    "gains": "<f4",
    "ranks": "<i4",  # of each document's asin among all
}
_Integers = NDArray[np.int64]
_Postings = tuple[NDArray[np.int32], NDArray[np.float32], float]


class TooManyTermsError(ValueError):
    """A query with more distinct terms than the original's search engine takes; the original crashes on it."""


class SearchIndex:
    """Searches an index that `write_index` wrote.

    Nothing but bounded caches changes, so that one index serves any number of sessions.

    Args:
        folder: Of the index.

    Raises:
        CatalogueError: there is none, it is incomplete, or of another version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count, self._counted = _read_meta(folder)
        arrays = {name: _mapped(folder / name, kind) for name, kind in _ARRAYS.items()}
        self._names = memoryview(arrays["names"].data)
        self._name_starts, self._posting_starts = arrays["name_starts"], arrays["posting_starts"]
        self._documents, self._gains, self._ranks = arrays["documents"], arrays["gains"], arrays["ranks"]
        # The best documents are sought among blocks of this many.
        self._block = max(1, self._count // 1000)
        self._postings = lru_cache(maxsize=1 << 16)(self._find)

    def __len__(self) -> int:
        return self._count

    def search(self, query: str, k: int = 50) -> list[int]:
        """Numbers of the at most `k` documents that match best, best first; of equal ones, in the order of their asins.

        Raises:
            TooManyTermsError: the query has more than `MOST_TERMS` distinct terms.
        """
        best, _ = self._best(query, k)
        return best

    def scored(self, query: str, k: int = 50) -> list[tuple[int, float]]:
        """What `search` finds, with scores: sums of inverse frequency times saturated frequency, without a unit."""
        return list(zip(*self._best(query, k), strict=True))

    def _best(self, query: str, k: int) -> tuple[list[int], list[float]]:
        counts = Counter(tokens(query))
        if len(counts) > MOST_TERMS:
            raise TooManyTermsError(f"the query has {len(counts)} distinct words; search for at most {MOST_TERMS}")
        found = [(postings, count) for term, count in counts.items() if (postings := self._postings(term)) is not None]
        if not found or k < 1:
            return [], []
        scores = self._scores(found)
        least = self._lower_bound(scores, k)
        candidates = np.flatnonzero(scores >= least) if least > 0 else np.flatnonzero(scores)
        values = scores[candidates]
        order = np.lexsort((self._ranks[candidates], -values))[:k]
        return candidates[order].tolist(), values[order].tolist()

    def _scores(self, found: list[tuple[_Postings, int]]) -> NDArray[np.float32]:
        """Of every document, padded by zeros to whole blocks."""
        size = -(-self._count // self._block) * self._block
        documents = np.concatenate([documents for (documents, _, _), _ in found])
        gains = np.concatenate([gains for (_, gains, _), _ in found])
        lengths = [len(gains) for (_, gains, _), _ in found]
        # All in float32, in this order: Lucene's roundings decide about ties.
        weights = np.array([idf for (_, _, idf), _ in found], np.float32)
        weights *= np.array([count for _, count in found], np.float32)
        weights = weights.repeat(lengths)
        return np.bincount(documents, weights - weights / gains, size).astype(np.float32)

    def _lower_bound(self, scores: NDArray[np.float32], k: int) -> float:
        """A score that at least `k` documents have, or 0."""
        blocks = scores.reshape(-1, self._block).max(axis=1) if self._block > 1 else scores
        return float(np.sort(blocks)[-k]) if len(blocks) >= k else 0.0

    def _find(self, term: str) -> _Postings | None:
        """Documents, gains and inverse document frequency of a term; None where no document has it."""
        name, terms = term.encode(), len(self._name_starts) - 1
        place = bisect_left(range(terms), name, key=self._name)
        if place == terms or self._name(place) != name:
            return None
        start, end = int(self._posting_starts[place]), int(self._posting_starts[place + 1])
        frequency = end - start
        idf = math.log(1 + (self._counted - frequency + 0.5) / (frequency + 0.5))
        return self._documents[start:end], self._gains[start:end], idf

    def _name(self, place: int) -> bytes:
        return bytes(self._names[self._name_starts[place] : self._name_starts[place + 1]])


def write_index(folder: Path, documents: Iterable[tuple[str, str]]) -> None:
    """Write the index of documents (asin and contents); a document's number is its place.

    Interrupted, it leaves a folder that `SearchIndex` refuses. Memory grows with the vocabulary and with the number of
    documents (by some 100 bytes each), not with their texts.

    Args:
        folder: Created if missing; what it holds of an index is overwritten.
        documents: Consumed one by one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (folder / _META, *folder.glob("run-*.npz")):
        stale.unlink(missing_ok=True)
    asins: list[str] = []
    runs = _Runs(folder)
    for asin, contents in documents:
        asins.append(asin)
        runs.add(contents)
    runs.close()
    _ranks(asins).astype("<i4").tofile(folder / "ranks")
    places = _write_vocabulary(folder, runs.numbers)
    lengths = np.frombuffer(runs.lengths, np.intc)
    _merge(folder, runs.paths, places, lengths)
    sizes = {name: (folder / name).stat().st_size for name in _ARRAYS}
    counted = int(np.count_nonzero(lengths))
    meta = {"version": _VERSION, "documents": len(asins), "documents_with_terms": counted, "bytes": sizes}
    (folder / _META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


class _Runs:
    """Postings of consecutive documents, sorted by the term's number, a file a run."""

    def __init__(self, folder: Path) -> None:
        self.paths: list[Path] = []
        self.lengths = array("i")  # tokens of each document
        self._parts = _Parts()
        self.numbers = self._parts.numbers
        self._folder = folder
        self._start()

    def _start(self) -> None:
        self._tokens = array("i")
        self._first = len(self.lengths)

    def add(self, contents: str) -> None:
        before = len(self._tokens)
        self._tokens.extend(chain.from_iterable(map(self._parts.__getitem__, contents.split(" "))))
        self.lengths.append(len(self._tokens) - before)
        if len(self._tokens) >= RUN_TOKENS:
            self.close()

    def close(self) -> None:
        """Write what has been gathered."""
        lengths = np.frombuffer(self.lengths, np.intc)[self._first :]
        keys = np.frombuffer(self._tokens, np.intc) * np.int64(max(1, len(lengths)))
        keys += np.arange(len(lengths)).repeat(lengths)
        keys, frequencies = np.unique(keys, return_counts=True)
        terms, documents = np.divmod(keys, max(1, len(lengths)))
        path = self._folder / f"run-{len(self.paths)}.npz"
        terms, counts = np.unique(terms, return_counts=True)
        documents = (documents + self._first).astype(np.int32)
        np.savez(path, terms=terms, counts=counts, documents=documents, frequencies=frequencies.astype(np.int32))
        self.paths.append(path)
        self._start()


class _Parts(dict[str, tuple[int, ...]]):
    """Numbers of the terms of what stands between spaces; each is analysed once."""

    MOST, LONGEST = 1 << 19, 64

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}  # in the order in which terms are met

    def __missing__(self, part: str) -> tuple[int, ...]:
        numbers = self.numbers
        found = tuple(numbers.setdefault(term, len(numbers)) for term in tokens(part))
        if len(self) < self.MOST and len(part) <= self.LONGEST:
            self[part] = found
        return found


def _ranks(keys: Sequence[Any]) -> _Integers:
    """The place of each key among all, sorted."""
    ranks = np.empty(len(keys), np.int64)
    ranks[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    return ranks


def _write_vocabulary(folder: Path, numbers: Iterable[str]) -> _Integers:
    """Write the terms, sorted, and return the place of each."""
    names = [name.encode() for name in numbers]
    places = _ranks(names)
    names.sort()
    np.frombuffer(b"".join(names), np.uint8).tofile(folder / "names")
    _starts(np.fromiter(map(len, names), np.int64, len(names))).astype("<i8").tofile(folder / "name_starts")
    return places


def _merge(folder: Path, runs: list[Path], places: _Integers, lengths: NDArray[np.int32]) -> None:
    """Write the postings of all runs by the places of their terms, and remove the runs."""
    frequencies = np.zeros(len(places), np.int64)
    for run in runs:
        frequencies[places[_load(run, "terms")]] += _load(run, "counts")
    starts = _starts(frequencies)
    starts.astype("<i8").tofile(folder / "posting_starts")
    for name in ("documents", "gains"):
        with (folder / name).open("wb") as file:
            file.truncate(4 * int(starts[-1]))
    inverse_norms = _inverse_norms(lengths)
    ends = starts[:-1].copy()
    for run in runs:
        _place(folder, run, places, ends, inverse_norms)
        run.unlink()


def _place(folder: Path, run: Path, places: _Integers, ends: _Integers, inverse_norms: NDArray[np.float32]) -> None:
    """Copy a run's postings behind those of earlier runs; `ends` says where these end, and is moved on."""
    own, counts = places[_load(run, "terms")], _load(run, "counts")
    documents, frequencies = _load(run, "documents"), _load(run, "frequencies")
    if not len(documents):
        return
    targets = (ends[own] - _starts(counts)[:-1]).repeat(counts)
    targets += np.arange(len(targets))
    gains = np.float32(1) + frequencies.astype(np.float32) * inverse_norms[documents]
    # In the order of the file, and mapped anew for each run, so that pages that are done do not count as memory.
    order = np.argsort(targets)
    np.memmap(folder / "documents", "<i4", "r+")[targets[order]] = documents[order]
    np.memmap(folder / "gains", "<f4", "r+")[targets[order]] = gains[order]
    ends[own] += counts


def _inverse_norms(lengths: NDArray[np.int32]) -> NDArray[np.float32]:
    """1 / (k1 * (1 - b + b * length / mean length)) of each document, rounded where Lucene rounds."""
    counted = max(1, int(np.count_nonzero(lengths)))
    mean = np.float32(max(1, int(lengths.sum(dtype=np.int64))) / counted)
    rounded = _quantised(lengths).astype(np.float32)
    result: NDArray[np.float32] = np.float32(1) / (K1 * ((np.float32(1) - B) + B * rounded / mean))
    return result


def _quantised(lengths: NDArray[np.int32]) -> NDArray[np.int32]:
    """Lengths as Lucene keeps them, in a byte (`SmallFloat.intToByte4`): above 24, four significant bits."""
    above = np.maximum(lengths - 24, 0)
    shifts = np.maximum(np.frexp(above.astype(np.float64))[1] - 4, 0)
    result: NDArray[np.int32] = np.minimum(lengths, 24) + ((above >> shifts) << shifts)
    return result


def _starts(lengths: _Integers) -> _Integers:
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _load(run: Path, name: str) -> NDArray[Any]:
    with np.load(run) as arrays:
        array_of_run: NDArray[Any] = arrays[name]
        return array_of_run


def _read_meta(folder: Path) -> tuple[int, int]:
    """How many documents there are, and how many have a term; checks the rest."""
    path = folder / _META
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        version, sizes = meta["version"], meta["bytes"]
        counts = int(meta["documents"]), int(meta["documents_with_terms"])
    except FileNotFoundError:
        raise CatalogueError(f"no search index in {folder}, or its making was interrupted; build it again") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CatalogueError(f"{path} is corrupt ({error!r}); remove the folder and build the index again") from error
    if version != _VERSION:
        raise CatalogueError(f"{path} is of version {version}, not {_VERSION}; build the index again")
    for name in _ARRAYS:
        file = folder / name
        size = file.stat().st_size if file.is_file() else None
        if size is None or size != sizes.get(name):
            raise CatalogueError(
                f"{file} has {size} bytes, not {sizes.get(name)}; remove {folder} and build the index again"
            )
    return counts


def _mapped(path: Path, kind: str) -> NDArray[Any]:
    if not path.stat().st_size:
        return np.empty(0, kind)  # an empty file cannot be mapped
    # A plain array: slices of numpy's own `memmap` take ten times as long.
    return np.memmap(path, kind, "r").view(np.ndarray)
