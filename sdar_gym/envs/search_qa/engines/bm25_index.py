"""Makes BM25 indexes in the form of the package bm25s, of any size in bounded memory.

bm25s itself holds all token numbers of a corpus as Python integers, 4 kB a passage. Here passages are counted in runs,
each a file of its own, so that a build that was killed goes on behind the last one; then the runs are merged.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import numpy.typing as npt

from sdar_gym.envs.search_qa.corpus import Corpus, Progress
from sdar_gym.lucene.analysis import tokens

RUN_PASSAGES = 100_000
SCORES, DOCUMENTS, STARTS = "data.csc.index.npy", "indices.csc.index.npy", "indptr.csc.index.npy"
"""What bm25s calls the score of a term in a passage, the passage, and where a term's begin."""
VOCABULARY, PARAMETERS = "vocab.index.json", "params.index.json"
NAMES, NAME_STARTS, MAXIMA = "terms", "term_starts", "maxima"
"""Beside bm25s's files: the sorted terms in UTF-8, so that the vocabulary is mapped too, and each one's best score."""

_Integers = npt.NDArray[np.int64]
_Reals = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Run:
    """The postings of consecutive passages, sorted by term, then by passage.

    Attributes:
        names: The terms that occur, in UTF-8.
        counts: Of each term, how many of the passages have it.
        documents: Numbers of passages, term by term.
        frequencies: How often the term is in the passage.
        lengths: Tokens of each passage.
    """

    names: list[bytes]
    counts: _Integers
    documents: npt.NDArray[np.int32]
    frequencies: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]


def indexed_text(corpus: Corpus, number: int) -> str:
    """What is indexed of a passage: title and text."""
    passage = corpus.passage(number)
    return f"{passage.title} {passage.text}"


def write_index(folder: Path, corpus: Corpus, k1: float, b: float, progress: Progress) -> None:
    """Write an index into a folder, which may hold the runs of a build that was killed.

    Memory grows with the vocabulary and with the number of passages (by some 30 bytes each), not with their texts.
    """
    parts = _Parts()
    paths = []
    for first in range(0, len(corpus), RUN_PASSAGES):
        last = min(first + RUN_PASSAGES, len(corpus))
        paths.append(folder / f"run-{first}-{last}-{corpus.content}.npz")
        if not paths[-1].is_file():
            _save_run(paths[-1], count_run(corpus, first, last, parts))
        progress("passages counted", last, len(corpus))
    del parts
    _merge(folder, paths, k1, b)
    progress("passages indexed", len(corpus), len(corpus))
    for path in folder.glob("run-*"):
        path.unlink()


def count_run(corpus: Corpus, first: int, last: int, parts: _Parts | None = None) -> Run:
    """Count the terms of the passages from `first` until before `last`."""
    parts = _Parts() if parts is None else parts
    numbers, lengths = array("i"), array("i")
    for number in range(first, last):
        before = len(numbers)
        numbers.extend(chain.from_iterable(map(parts.__getitem__, indexed_text(corpus, number).split(" "))))
        lengths.append(len(numbers) - before)
    counted = np.frombuffer(lengths, np.intc).astype(np.int32)
    keys = np.frombuffer(numbers, np.intc) * np.int64(max(1, len(counted)))
    keys += np.arange(len(counted)).repeat(counted)
    keys, frequencies = np.unique(keys, return_counts=True)
    terms, documents = np.divmod(keys, max(1, len(counted)))
    terms, counts = np.unique(terms, return_counts=True)
    names = list(parts.numbers)
    documents = (documents + first).astype(np.int32)
    return Run([names[term].encode() for term in terms], counts, documents, frequencies.astype(np.int32), counted)


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


class Scoring:
    """BM25 as Lucene and bm25s's method "lucene" have it: idf * tf / (k1 * (1 - b + b * length / mean length) + tf)."""

    def __init__(self, lengths: npt.NDArray[np.int32], k1: float, b: float) -> None:
        self._count = len(lengths)
        mean = max(1.0, float(lengths.sum(dtype=np.int64))) / max(1, self._count)
        self._norms = (k1 * ((1 - b) + b * lengths / mean)).astype(np.float64)

    def scores(self, documents: npt.NDArray[np.int32], frequencies: npt.NDArray[np.int32], idf: Any) -> _Reals:
        """Scores of postings whose terms have these inverse document frequencies."""
        result: _Reals = (idf * (frequencies / (self._norms[documents] + frequencies))).astype(np.float32)
        return result

    def idf(self, document_frequencies: _Integers) -> npt.NDArray[np.float32]:
        """Of terms that so many passages have."""
        rare = [math.log(1 + (self._count - count + 0.5) / (count + 0.5)) for count in document_frequencies.tolist()]
        return np.array(rare, np.float32)


def _merge(folder: Path, paths: Sequence[Path], k1: float, b: float) -> None:
    """Write the postings of all runs term by term, and all that belongs to them."""
    places = {name: place for place, name in enumerate(sorted(set(chain.from_iterable(map(_names_of, paths)))))}
    _write_vocabulary(folder, list(places))
    own_places = [np.array([places[name] for name in _names_of(path)], np.int64) for path in paths]
    frequencies = np.zeros(len(places), np.int64)
    for path, own in zip(paths, own_places, strict=True):
        frequencies[own] += _part_of(path, "counts")
    del places
    starts = starts_of(frequencies)
    np.save(folder / STARTS, starts)
    lengths = np.concatenate([_part_of(path, "lengths") for path in paths])
    scoring = Scoring(lengths, k1, b)
    idf = scoring.idf(frequencies)
    for name, kind in ((DOCUMENTS, np.int32), (SCORES, np.float32)):
        np.lib.format.open_memmap(folder / name, "w+", kind, (int(starts[-1]),)).flush()
    ends, maxima = starts[:-1].copy(), np.zeros(len(frequencies), np.float32)
    for path, own in zip(paths, own_places, strict=True):
        _place(folder, path, own, ends, maxima, scoring, idf)
    maxima.tofile(folder / MAXIMA)
    _write_parameters(folder, k1, b, len(lengths))


def _place(
    folder: Path, path: Path, own: _Integers, ends: _Integers, maxima: _Reals, scoring: Scoring, idf: _Reals
) -> None:
    """Copy a run's postings behind those of earlier runs; `ends` says where these end, and is moved on."""
    counts, documents = _part_of(path, "counts"), _part_of(path, "documents")
    if not len(documents):
        return
    targets = (ends[own] - starts_of(counts)[:-1]).repeat(counts)
    targets += np.arange(len(targets))
    scores = scoring.scores(documents, _part_of(path, "frequencies"), idf[own].repeat(counts))
    maxima[own] = np.maximum(maxima[own], np.maximum.reduceat(scores, starts_of(counts)[:-1]))
    # In the order of the file, and mapped anew for each run, so that pages that are done do not count as memory.
    order = np.argsort(targets)
    np.load(folder / DOCUMENTS, mmap_mode="r+")[targets[order]] = documents[order]
    np.load(folder / SCORES, mmap_mode="r+")[targets[order]] = scores[order]
    ends[own] += counts


def _write_vocabulary(folder: Path, names: list[bytes]) -> None:
    np.frombuffer(b"".join(names), np.uint8).tofile(folder / NAMES)
    starts_of(np.fromiter(map(len, names), np.int64, len(names))).astype("<i8").tofile(folder / NAME_STARTS)
    with open(folder / VOCABULARY, "w", encoding="utf-8") as file:
        pairs: Iterator[str] = (f"{json.dumps(name.decode())}: {place}" for place, name in enumerate(names))
        file.write("{")
        for place, pair in enumerate(pairs):
            file.write(f"{', ' if place else ''}{pair}")
        file.write("}")


def _write_parameters(folder: Path, k1: float, b: float, passages: int) -> None:
    settings = {"k1": k1, "b": b, "delta": 0.5, "method": "lucene", "idf_method": "lucene"}
    kinds = {"dtype": "float32", "int_dtype": "int32", "num_docs": passages, "backend": "numpy"}
    (folder / PARAMETERS).write_text(json.dumps({**settings, **kinds, "version": bm25s.__version__}), encoding="utf-8")


def starts_of(lengths: npt.NDArray[Any]) -> _Integers:
    """Where each of consecutive pieces of these lengths begins, and the end."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _save_run(path: Path, run: Run) -> None:
    staging = path.with_suffix(".part")
    names = np.frombuffer(b"\n".join(run.names), np.uint8)
    with open(staging, "wb") as file:
        np.savez(
            file,
            names=names,
            counts=run.counts,
            documents=run.documents,
            frequencies=run.frequencies,
            lengths=run.lengths,
        )
    staging.rename(path)


def _names_of(path: Path) -> list[bytes]:
    joined = _part_of(path, "names").tobytes()
    return joined.split(b"\n") if joined else []


def _part_of(path: Path, name: str) -> npt.NDArray[Any]:
    with np.load(path) as arrays:
        part: npt.NDArray[Any] = arrays[name]
        return part
