"""BM25: scores by hand, against bm25s, and an index that is written in runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest

from sdar_gym.envs.search_qa.corpus import MemoryCorpus
from sdar_gym.envs.search_qa.engines import bm25_index
from sdar_gym.envs.search_qa.engines.bm25 import BM25, MOST_TERMS
from sdar_gym.envs.search_qa.engines.bm25_index import indexed_text
from sdar_gym.envs.search_qa.passages import Passage
from sdar_gym.lucene.analysis import tokens
from tests.envs.search_corpora import WORDS, corpus

THREE = MemoryCorpus(
    [Passage("1", "Mole", "digs digs"), Passage("2", "Mole", ""), Passage("3", "Owl", "the sees of it")]
)
QUERIES = [" ".join(WORDS[start : start + 5]) for start in range(0, 80, 5)]


def test_scores_are_bm25_s_by_hand() -> None:
    engine = BM25(THREE, k1=0.9, b=0.4)
    [hits] = engine.search(["digging mole mole"], 3)
    # Lengths 3, 1 and 2 (owl, see), mean 2; the title counts as text. idf(dig) = ln(1 + 2.5 / 1.5), in one passage of
    # three; idf(mole) = ln(1 + 1.5 / 2.5), in two. Norms 0.9 * (0.6 + 0.4 * length / 2): 1.08 and 0.72.
    dig, mole = math.log(1 + 2.5 / 1.5), math.log(1 + 1.5 / 2.5)
    first = dig * 2 / (1.08 + 2) + 2 * mole * 1 / (1.08 + 1)
    second = 2 * mole * 1 / (0.72 + 1)
    assert [hit.passage.id for hit in hits] == ["1", "2"]
    assert [hit.score for hit in hits] == pytest.approx([first, second])


def test_bm25s_itself_gives_the_same_scores(tmp_path: Path) -> None:
    searched = corpus()
    theirs = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
    theirs.index([tokens(indexed_text(searched, number)) for number in range(len(searched))], show_progress=False)
    ours = BM25(searched, folder=tmp_path / "index")
    for query in QUERIES:
        numbers, scores = ours.best(query, len(searched))
        expected = theirs.get_scores(tokens(query))
        assert scores == pytest.approx(expected[numbers].tolist(), rel=1e-5)
        assert len(numbers) == np.count_nonzero(expected)


def test_bm25s_opens_what_is_written(tmp_path: Path) -> None:
    searched = corpus()
    ours = BM25(searched, folder=tmp_path / "index")
    theirs = bm25s.BM25.load(tmp_path / "index", mmap=True)
    for query in QUERIES:
        found, scores = theirs.retrieve([tokens(query)], k=5, show_progress=False)
        _, own = ours.best(query, 5)
        assert scores[0].tolist() == pytest.approx(own, rel=1e-5)
        assert found.shape == (1, 5)


@pytest.mark.parametrize("run", [1, 7, 100, 399, 400, 1000])
def test_the_length_of_runs_changes_nothing(run: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = THREE if run == 1 else corpus()
    in_memory = BM25(searched)
    monkeypatch.setattr(bm25_index, "RUN_PASSAGES", run)
    on_disk = BM25(searched, folder=tmp_path / "index")
    for query in [*QUERIES, "mole digs", "東京"]:
        assert on_disk.best(query, 50) == in_memory.best(query, 50)
    assert not list((tmp_path / "index").glob("run-*"))


def test_every_passage_s_score_is_looked_at_when_there_are_many() -> None:
    # Above 1,000 passages the best are sought among blocks; the block's bound must not lose any.
    words = WORDS[:40]
    draw = np.random.default_rng(0)
    many = MemoryCorpus(Passage(str(n), "", " ".join(draw.choice(words, 6))) for n in range(4500))
    engine = BM25(many)
    for query in QUERIES[:8]:
        for k in (1, 10, 300):
            every, scores = engine.best(query, 5000)
            assert engine.best(query, k) == (every[:k], scores[:k])


def skewed() -> MemoryCorpus:
    """Passages with a few common and many rare words, and doubles among them."""
    draw = np.random.default_rng(1)
    words = [f"{first}{second}" for first in WORDS for second in WORDS[:20]]
    shares = 1 / np.arange(1, len(words) + 1)
    texts = [" ".join(draw.choice(words, 12, p=shares / shares.sum())) for _ in range(3000)]
    return MemoryCorpus(Passage(str(n), "", texts[n * 7 % 2500]) for n in range(3000))


def test_leaving_out_passages_that_cannot_be_the_best_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = skewed()
    draw = np.random.default_rng(2)
    queries = [" ".join(searched.passage(n).text.split(" ")[: 3 + n % 6]) for n in draw.integers(0, 3000, 150).tolist()]
    every = BM25(searched)
    expected = {(query, k): every.best(query, k) for query in queries for k in (1, 5, 40)}
    monkeypatch.setattr("sdar_gym.envs.search_qa.engines.bm25.PRUNED_FROM", 0)
    pruned = [0]
    some = BM25._some

    def counted(engine: BM25, *arguments: Any) -> Any:
        found = some(engine, *arguments)
        pruned[0] += found is not None
        return found

    monkeypatch.setattr(BM25, "_some", counted)
    for (query, k), answer in expected.items():
        assert BM25.best(every, query, k) == answer
    assert pruned[0] > len(expected) // 3


def test_words_are_stemmed_and_stop_words_left_out() -> None:
    engine = BM25(THREE)
    assert [hit.passage.id for hit in engine.search(["MOLES"], 3)[0]] == ["2", "1"]
    assert engine.search(["the of it"], 3) == [[]]


def test_of_a_query_with_too_many_words_the_first_count() -> None:
    filler = " ".join(f"filler{number}" for number in range(MOST_TERMS))
    engine = BM25(THREE)
    assert engine.search([f"{filler} owl"], 3) == [[]]
    assert [hit.passage.id for hit in engine.search([f"owl {filler}"], 3)[0]] == ["3"]


def test_a_corpus_without_words_is_searched(tmp_path: Path) -> None:
    silent = MemoryCorpus([Passage("1", "", "..."), Passage("2", "", "")])
    assert BM25(silent).search(["mole"], 3) == [[]]
    assert BM25(silent, folder=tmp_path / "index").search(["mole"], 3) == [[]]


@pytest.mark.parametrize("settings", [{"k1": 0.0}, {"b": 1.5}, {"b": -0.1}, {"k1": math.nan}])
def test_parameters_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="k1 must be above 0, b between 0 and 1"):
        BM25(THREE, **settings)  # type: ignore[arg-type]


def test_hotpotqa_s_gold_paragraphs_are_mostly_found(data_root: Path, tmp_path: Path) -> None:
    import json

    from sdar_gym.envs.search_qa.corpus import open_corpus

    files = data_root / "search_qa"
    if not (files / "hotpotqa_kag_train_corpus.json").is_file():
        pytest.skip("the KAG files are not there")
    engine = BM25(open_corpus(files / "hotpotqa_kag_train_corpus.json", tmp_path))
    asked = json.loads((files / "hotpotqa_kag_qa_train.json").read_text(encoding="utf-8"))
    answers = engine.search([entry["question"] for entry in asked], 10)
    found = [
        len({title for title, _ in entry["supporting_facts"]} & {hit.passage.title for hit in hits})
        / len({title for title, _ in entry["supporting_facts"]})
        for entry, hits in zip(asked, answers, strict=True)
    ]
    assert sum(found) / len(found) > 0.8
