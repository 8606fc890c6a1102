"""WebShop's search: terms and rankings of the original's Lucene index, and the index on disk."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdar_gym.envs.webshop import index as index_module
from sdar_gym.envs.webshop.index import MOST_TERMS, SearchIndex, TooManyTermsError, write_index
from sdar_gym.envs.webshop.product import CatalogueError, is_sold, read_product
from sdar_gym.lucene.analysis import STOP_WORDS, tokens
from sdar_gym.lucene.porter import stem

# Lucene's own answers; benchmarks/webshop_lucene.py --golden writes them.
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "webshop_search.json").read_text("ascii"))
RED, BLUE = ("B2", "red shoe"), ("B1", "blue shoe shoe")
HATS = [RED, BLUE, ("B3", "green hat")]


def made(folder: Path, documents: list[tuple[str, str]]) -> SearchIndex:
    write_index(folder, documents)
    return SearchIndex(folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> SearchIndex:
    return made(tmp_path_factory.mktemp("corpus"), [(asin, text) for asin, text in GOLDEN["corpus"]["documents"]])


@pytest.mark.parametrize(("text", "expected"), GOLDEN["strings"], ids=lambda value: f"{value!a:.30}")
def test_a_text_has_lucenes_terms(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


def test_stop_words_are_no_terms_and_short_words_are_not_stemmed() -> None:
    assert len(STOP_WORDS) == 33
    assert tokens(" ".join(sorted(STOP_WORDS))) == []
    assert tokens("US is us") == ["us", "us"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        # Of Porter's paper.
        ("caresses", "caress"),
        ("ponies", "poni"),
        ("hopping", "hop"),
        ("filing", "file"),
        ("relational", "relat"),
        ("adjustable", "adjust"),
        ("controll", "control"),
        # No e comes after w, x and y.
        ("sewing", "sew"),
        ("boxed", "box"),
        ("toyed", "toi"),
        # What Snowball's stemmer of that name does otherwise: terribli, apologi, trekk.
        ("terribly", "terribl"),
        ("apology", "apolog"),
        ("trekked", "trek"),
    ],
)
def test_stems_are_those_of_lucenes_porter(word: str, expected: str) -> None:
    assert stem(word) == expected


@given(st.lists(st.text(max_size=12), max_size=5))
@settings(deadline=None)
def test_a_space_ends_every_term(parts: list[str]) -> None:
    assert tokens(" ".join(parts)) == [term for part in parts for term in tokens(part)]


@given(st.text(alphabet="ab19_:.,;'\" -s", max_size=40))
@settings(deadline=None)
def test_ascii_is_cut_the_same_way_beside_other_characters(text: str) -> None:
    # A Chinese character is a term of its own, and the whole text takes the way of non-ASCII texts.
    assert tokens(f"{text}\n中") == [*tokens(text), "中"]


@pytest.mark.parametrize("unit", ["_", "é_", "a'é", 'א"', "😀\u200d", "👍🏻", "ア_", "1,é", "a.b_"])
def test_a_hundred_thousand_characters_without_a_space_are_cut(unit: str) -> None:
    found = tokens((unit * 100_000)[:100_000])
    assert all(0 < len(term.encode("utf-16-le")) // 2 <= 255 for term in found)


def test_scores_are_bm25(tmp_path: Path) -> None:
    index = made(tmp_path, HATS)
    # idf = ln(1 + (3 - 2 + .5) / (2 + .5)) = ln 1.6; mean length 7/3; k1 .9, b .4; norm = .9 (.6 + .4 length / (7/3)).
    # red shoe: norm .9 (.6 + .4 * 6/7) = 5.94/7; blue shoe shoe: norm .9 (.6 + .4 * 9/7) = 7.02/7
    once, twice = math.log(1.6) * 1 / (1 + 5.94 / 7), math.log(1.6) * 2 / (2 + 7.02 / 7)
    assert index.scored("shoes") == [(1, pytest.approx(twice)), (0, pytest.approx(once))]
    # A word that is said twice counts twice.
    assert index.scored("shoe shoes") == [(1, pytest.approx(2 * twice)), (0, pytest.approx(2 * once))]
    assert index.search("red shoe") == [0, 1]


def test_equal_scores_are_in_the_order_of_the_asins(tmp_path: Path) -> None:
    index = made(tmp_path, [("B10", "red hat"), ("B9", "red cap"), ("A2", "red tie"), ("b1", "red bag")])
    assert index.search("red") == [2, 0, 1, 3]


def test_lengths_are_rounded_as_lucene_rounds_them(tmp_path: Path) -> None:
    # 41 is kept as 24 + 16 = 40, so that the asin decides; 42 and 43 are kept as 42.
    texts = {
        length: " ".join(["lamp", *(f"w{length}x{number}" for number in range(length - 1))]) for length in range(39, 44)
    }
    index = made(tmp_path, [(f"B{43 - length}", text) for length, text in texts.items()])
    scores = dict(index.scored("lamp"))
    assert scores[1] == scores[2]
    assert scores[3] == scores[4]
    assert index.search("lamp") == [0, 2, 1, 4, 3]


@pytest.mark.parametrize(("query", "hits"), GOLDEN["corpus"]["queries"], ids=lambda value: f"{value!a:.30}")
def test_a_made_up_corpus_is_ranked_as_by_lucene(corpus: SearchIndex, query: str, hits: list[list[float]]) -> None:
    found = corpus.scored(query)
    assert [number for number, _ in found] == [number for number, _ in hits]
    # Anserini rounds to four places, and lowers those that are equal to the one before by multiples of a millionth.
    assert [score for _, score in found] == pytest.approx([score for _, score in hits], abs=2e-4)


def test_published_products_are_ranked_as_by_lucene(data_root: Path, tmp_path: Path) -> None:
    path = data_root / "webshop" / "items_shuffle_1000.json"
    if not path.is_file():
        pytest.skip(f"{path} not found")
    entries = json.loads(path.read_text(encoding="utf-8"))
    products = [read_product(entry, None) for entry in entries if is_sold(entry)]
    index = made(tmp_path, [(product.asin, product.search_text) for product in products])
    assert len(index) == 1000
    for query, numbers in GOLDEN["published"]:
        assert (query, index.search(query)) == (query, numbers)


words = st.sampled_from(["lamp", "table", "red", "blue", "silk", "the", "shoes"])
texts = st.lists(words, max_size=30).map(" ".join)


@given(st.lists(texts, max_size=12), texts)
@settings(deadline=None, max_examples=60)
def test_scores_are_those_of_the_formula(
    tmp_path_factory: pytest.TempPathFactory, documents: list[str], query: str
) -> None:
    index = made(tmp_path_factory.mktemp("index"), [(f"B{number}", text) for number, text in enumerate(documents)])
    expected = plain_scores([tokens(text) for text in documents], tokens(query))
    assert dict(index.scored(query)) == pytest.approx(expected, rel=1e-5)


def plain_scores(documents: list[list[str]], query: list[str]) -> dict[int, float]:
    """BM25, as in the books, of documents that are shorter than what Lucene rounds."""
    counted = [terms for terms in documents if terms]
    mean = sum(map(len, counted)) / max(1, len(counted))
    scores: dict[int, float] = {}
    for term in query:
        frequency = sum(term in terms for terms in documents)
        for number, terms in enumerate(documents):
            if count := Counter(terms)[term]:
                idf = math.log(1 + (len(counted) - frequency + 0.5) / (frequency + 0.5))
                norm = 0.9 * (0.6 + 0.4 * len(terms) / mean)
                scores[number] = scores.get(number, 0.0) + idf * count / (count + norm)
    return scores


def test_no_more_than_k_are_found(corpus: SearchIndex) -> None:
    whole = corpus.search("red blue lamp", k=1000)
    assert len(whole) > 12
    for k in (0, 1, 2, 12, len(whole)):
        assert corpus.search("red blue lamp", k=k) == whole[:k]


def test_the_best_of_many_documents_are_found_among_blocks(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    texts = [" ".join(f"w{word}" for word in random.zipf(1.3, 8)) for _ in range(5000)]
    index = made(tmp_path, [(f"B{(number * 7919) % 5000:04d}", text) for number, text in enumerate(texts)])
    for query in ("w1", "w1 w2 w3", "w7", "w40 w2", "w3000"):
        assert index.search(query, k=50) == index.search(query, k=5000)[:50]


@pytest.mark.parametrize("query", ["", "   ", "the of and", "!?", "xyzzy", "[]", "\ud800", "\0", "'"])
def test_a_query_without_known_words_finds_nothing(corpus: SearchIndex, query: str) -> None:
    assert corpus.search(query) == []


def test_a_query_of_too_many_terms_is_refused(corpus: SearchIndex) -> None:
    words = [f"w{number}" for number in range(MOST_TERMS)]
    assert corpus.search(" ".join([*words, "w0", "the"])) == []
    with pytest.raises(TooManyTermsError, match="1025 distinct words"):
        corpus.search(" ".join([*words, "lamp"]))


def test_an_index_of_nothing_can_be_searched(tmp_path: Path) -> None:
    for name, documents in {"none": [], "empty": [("B1", ""), ("B2", "the")]}.items():
        index = made(tmp_path / name, documents)
        assert len(index) == len(documents)
        assert index.search("the shoe") == []


def test_documents_without_terms_do_not_count(tmp_path: Path) -> None:
    plain = made(tmp_path / "plain", HATS)
    assert made(tmp_path / "more", [*HATS, ("B4", ""), ("B5", "of the")]).scored("shoe hat") == plain.scored("shoe hat")


def test_an_index_of_many_runs_is_that_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [(asin, text) for asin, text in GOLDEN["corpus"]["documents"]]
    write_index(tmp_path / "one", documents)
    monkeypatch.setattr(index_module, "RUN_TOKENS", 50)
    write_index(tmp_path / "many", documents)
    one, many = ({file.name: file.read_bytes() for file in (tmp_path / n).iterdir()} for n in ("one", "many"))
    assert one == many


def test_an_interrupted_build_is_refused(tmp_path: Path) -> None:
    def interrupted() -> Iterator[tuple[str, str]]:
        yield RED
        raise KeyboardInterrupt

    write_index(tmp_path, HATS)  # also where there was an index before
    with pytest.raises(KeyboardInterrupt):
        write_index(tmp_path, interrupted())
    with pytest.raises(CatalogueError, match="interrupted; build it again"):
        SearchIndex(tmp_path)
    assert made(tmp_path, HATS).search("shoe") == [1, 0]


@pytest.mark.parametrize("name", ["names", "name_starts", "posting_starts", "documents", "gains", "ranks"])
@pytest.mark.parametrize("harm", ["truncate", "remove"])
def test_an_incomplete_index_is_refused(tmp_path: Path, name: str, harm: str) -> None:
    write_index(tmp_path, HATS)
    if harm == "remove":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
    with pytest.raises(CatalogueError, match=f"{re.escape(str(tmp_path / name))} has .* build the index again"):
        SearchIndex(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"version": 1, "bytes": 3, "documents": "x"}', "\xff"])
def test_a_corrupt_description_is_refused(tmp_path: Path, text: str) -> None:
    write_index(tmp_path, HATS)
    (tmp_path / "index.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CatalogueError, match="corrupt"):
        SearchIndex(tmp_path)


def test_an_index_of_another_version_is_refused(tmp_path: Path) -> None:
    write_index(tmp_path, HATS)
    meta = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**meta, "version": 99}))
    with pytest.raises(CatalogueError, match="of version 99"):
        SearchIndex(tmp_path)


def test_other_processes_find_the_same(tmp_path: Path, run_python: Any) -> None:
    here = made(tmp_path, HATS).scored("red shoe hat")
    code = """
import sys
from pathlib import Path
from sdar_gym.envs.webshop.index import SearchIndex
print(SearchIndex(Path(sys.argv[1])).scored("red shoe hat"))
"""
    assert {run_python(code, str(tmp_path), hash_seed=seed).strip() for seed in "01"} == {str(here)}
