"""Measures Search-QA's engines on made-up passages: building, opening, answers a second, recall, memory; encoder apart.

python benchmarks/search_engines.py --passages 100000
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

# One core: answers a CPU second are of one, before any library reads it.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import numpy.typing as npt

from sdar_gym.envs.search_qa.corpus import DiskCorpus, write_corpus
from sdar_gym.envs.search_qa.engines import make_engine
from sdar_gym.envs.search_qa.engines.encoders import MINILM, make_encoder
from sdar_gym.envs.search_qa.passages import Passage

WORDS = 200_000
WORDS_A_PASSAGE = 100
WORDS_A_QUERY = 6
DIMENSION = 384
K = 10
# Words that Lucene leaves out stand at the head of the distribution of a real text; queries are made of what follows.
COMMON = 30
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "el", "ir")]
Figures = dict[str, float]


def main() -> None:
    """Print a table, or with --json also write it to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="decides passages, vectors and queries")
    parser.add_argument("--skip", nargs="*", default=[], help="what to leave out, such as 'hnsw, random'")
    parser.add_argument("--json", type=Path, help="file that receives the figures")
    options = parser.parse_args()
    wanted = {name: measure for name, measure in MEASURED.items() if name not in options.skip}
    figures: dict[str, Any] = {"python": platform.python_version(), "passages": options.passages}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        figures["corpus"] = in_a_fresh_process(make_corpus, folder, options.passages, options.seed)
        for name, (build, search) in wanted.items():
            arguments = (folder, name, options.queries, options.seed)
            figures[name] = in_a_fresh_process(build, *arguments) | in_a_fresh_process(search, *arguments)
            print_figures(name, figures[name])
    if "encoder" not in options.skip:
        figures["encoder"] = in_a_fresh_process(encode, options.seed)
        print_figures("encoder", figures["encoder"])
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def print_figures(name: str, figures: Figures) -> None:
    for what, value in figures.items():
        print(f"{name:<16} {what:<50} {format(value, ',.3g' if value < 100 else ',.0f')}", flush=True)


def prepare() -> None:
    """Import what engines import, so that it is not timed."""
    importlib.import_module("bm25s")
    importlib.import_module("faiss")


def in_a_fresh_process(measure: Callable[..., Figures], *arguments: Any) -> Figures:
    with multiprocessing.get_context("spawn").Pool(1, prepare) as pool:
        return pool.apply(measure, arguments)


def make_corpus(folder: Path, count: int, seed: int) -> Figures:
    (folder / "corpus").mkdir()
    made = seconds(lambda: [None for _ in passages(count, seed)])
    return {"build, CPU s": seconds(lambda: write_corpus(folder / "corpus", passages(count, seed))) - made}


def passages(count: int, seed: int) -> Iterator[Passage]:
    names = words(seed)
    for number, drawn in enumerate(drawn_words(count, seed)):
        yield Passage(str(number), f"p{number}", " ".join(names[word] for word in drawn))


def words(seed: int) -> list[str]:
    generator = np.random.default_rng([seed, 0])
    names: dict[str, None] = {}
    while len(names) < WORDS:
        names["".join(generator.choice(SYLLABLES, generator.integers(1, 5)))] = None
    return list(names)


def drawn_words(count: int, seed: int) -> npt.NDArray[np.int64]:
    """Numbers of words by Zipf's law, [passages, words]."""
    generator = np.random.default_rng([seed, 1])
    shares = np.cumsum(1 / np.arange(1, WORDS + 1) ** 1.07)
    draws = generator.random((count, WORDS_A_PASSAGE)) * shares[-1]
    return np.searchsorted(shares, draws)


def text_queries(corpus: DiskCorpus, count: int, seed: int) -> tuple[list[str], list[str]]:
    """Words out of passages, in another order, and the ids of the passages that they are from."""
    generator = np.random.default_rng([seed, 2])
    names = words(seed)
    common = set(names[:COMMON])
    queries, relevant = [], []
    for number in generator.integers(0, len(corpus), count).tolist():
        passage = corpus.passage(number)
        rarer = [word for word in passage.text.split(" ") if word not in common]
        queries.append(" ".join(generator.permutation(rarer)[:WORDS_A_QUERY]))
        relevant.append(passage.id)
    return queries, relevant


def build_bm25(folder: Path, _name: str, _queries: int, _seed: int) -> Figures:
    corpus = DiskCorpus(folder / "corpus")
    taken = seconds(lambda: make_engine("bm25", corpus, folder=folder / "bm25"))
    return {"build, CPU s": taken, "build, peak resident MB": peak(), "index, MB": size(folder / "bm25")}


def search_bm25(folder: Path, _name: str, count: int, seed: int) -> Figures:
    corpus = DiskCorpus(folder / "corpus")
    queries, relevant = text_queries(corpus, count, seed)
    before = resident()
    started = time.perf_counter()
    engine = make_engine("bm25", corpus, folder=folder / "bm25")
    opened = time.perf_counter() - started
    engine.search(queries, K)  # reads the pages
    taken = seconds(lambda: engine.search(queries, K))
    one_by_one = seconds(lambda: [engine.search([query], K) for query in queries])
    answers = engine.search(queries, K)
    found = sum(name in [hit.passage.id for hit in hits] for name, hits in zip(relevant, answers, strict=True))
    return {
        "open, ms": opened * 1e3,
        "answers a CPU second, in batches": count / taken,
        "answers a CPU second, one by one": count / one_by_one,
        f"planted passage among {K}, share": found / count,
        "resident, MB more than before": resident() - before,
    }


def nothing(_folder: Path, _name: str, _queries: int, _seed: int) -> Figures:
    return {}


def search_bm25s(folder: Path, _name: str, count: int, seed: int) -> Figures:
    """The package's own search of the same index, loaded into memory, as it comes."""
    import bm25s

    from sdar_gym.lucene.analysis import tokens

    corpus = DiskCorpus(folder / "corpus")
    queries, _ = text_queries(corpus, min(count, 200), seed)
    index = bm25s.BM25.load(folder / "bm25", mmap=False)
    asked = [tokens(query) for query in queries]
    return {
        "answers a CPU second, in batches": len(queries)
        / seconds(lambda: index.retrieve(asked, k=K, show_progress=False, sorted=True))
    }


class Planted:
    """Vectors that are drawn, not encoded: of the passage with a number in its title, and of queries near one."""

    name, dimension = f"drawn-{DIMENSION}", DIMENSION

    def __init__(self, count: int, seed: int, clusters: int) -> None:
        generator = np.random.default_rng([seed, 3])
        self.rows = generator.standard_normal((count, DIMENSION), np.float32)
        if clusters:
            # Passages of one subject: as near to each other as texts are whose cosine is about a half.
            centres = generator.standard_normal((clusters, DIMENSION), np.float32)
            self.rows += centres[generator.integers(0, clusters, count)]
        self.rows /= np.linalg.norm(self.rows, axis=1, keepdims=True)

    def passages(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `Encoder`."""
        return self.rows[[int(text.partition("\n")[0][1:]) for text in texts]]

    def queries(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Nobody asks."""
        raise NotImplementedError("queries are asked for by vector")

    def near(self, count: int, seed: int) -> tuple[npt.NDArray[np.float32], list[int]]:
        """Queries whose cosine with one passage is about 0.7, and the numbers of these passages."""
        generator = np.random.default_rng([seed, 4])
        numbers = generator.integers(0, len(self.rows), count)
        noise = generator.standard_normal((count, DIMENSION), np.float32) / DIMENSION**0.5
        rows = self.rows[numbers] + noise
        return rows / np.linalg.norm(rows, axis=1, keepdims=True), numbers.tolist()


CLUSTERS = 2000


def dense(folder: Path, name: str, seed: int) -> Any:
    kind, _, drawn = name.partition(", ")
    corpus = DiskCorpus(folder / "corpus")
    encoder = Planted(len(corpus), seed, CLUSTERS if drawn == "clustered" else 0)
    place = folder / f"dense-{drawn}"
    return lambda **settings: make_engine("dense", corpus, encoder=encoder, kind=kind, folder=place, **settings)


def build_dense(folder: Path, name: str, _queries: int, seed: int) -> Figures:
    open_engine = dense(folder, name, seed)
    kind, _, drawn = name.partition(", ")
    place = folder / f"dense-{drawn}" / kind
    return {"build, CPU s": seconds(open_engine), "build, peak resident MB": peak(), "index, MB": size(place)}


def search_dense(folder: Path, name: str, count: int, seed: int) -> Figures:
    open_engine = dense(folder, name, seed)
    count = min(count, 1000)
    before = resident()
    started = time.perf_counter()
    engine = open_engine()
    opened = time.perf_counter() - started
    grown = resident() - before
    rows, relevant = engine.encoder.near(count, seed)
    exact = dense(folder, f"flat, {name.partition(', ')[2]}", seed)(mapped=True)
    truth = [{hit.passage.id for hit in hits} for hits in exact.nearest(rows, K)]
    engine.nearest(rows, K)  # reads the pages
    in_batches = seconds(lambda: [engine.nearest(rows[first : first + 64], K) for first in range(0, count, 64)])
    one_by_one = seconds(lambda: [engine.nearest(rows[place : place + 1], K) for place in range(min(count, 200))])
    answers = [[hit.passage.id for hit in hits] for hits in engine.nearest(rows, K)]
    shared = sum(len(known.intersection(ids)) for known, ids in zip(truth, answers, strict=True))
    planted = sum(str(number) in ids for number, ids in zip(relevant, answers, strict=True))
    return {
        "open, ms": opened * 1e3,
        "answers a CPU second, in batches of 64": count / in_batches,
        "answers a CPU second, one by one": min(count, 200) / one_by_one,
        f"recall@{K} of flat's passages": shared / sum(map(len, truth)),
        f"planted passage among {K}, share": planted / count,
        "resident, MB more than before": grown,
    }


def encode(seed: int) -> Figures:
    encoder = make_encoder(MINILM)
    texts = [passage.text for passage in passages(128, seed)]
    encoder.passages(texts[:32])
    single = seconds(lambda: [encoder.queries([" ".join(text.split()[:8])]) for text in texts[:32]]) / 32
    return {
        "passages a CPU second (100 words)": len(texts) / seconds(lambda: encoder.passages(texts)),
        "a query alone, CPU ms": single * 1e3,
    }


MEASURED: dict[str, tuple[Callable[..., Figures], Callable[..., Figures]]] = {
    "bm25": (build_bm25, search_bm25),
    "bm25s": (nothing, search_bm25s),
    **{
        f"{kind}, {drawn}": (build_dense, search_dense)
        for kind in ("flat", "ivfpq", "hnsw")
        for drawn in ("clustered", "random")
    },
}


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, so that what else the machine does does not count; all is done by one thread."""
    started = time.process_time()
    work()
    return time.process_time() - started


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def resident() -> float:
    """Memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def size(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


if __name__ == "__main__":
    main()
