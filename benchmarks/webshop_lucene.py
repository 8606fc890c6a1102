"""Compares our WebShop search with the original's: Lucene 8.11 as Anserini 0.14.3 drives it, in WebShop's own pin.

Needs a JDK of version 11 or later and the jar, which is in a package that WebShop's requirements name:

pip download --no-deps pyserini==0.17.0
unzip -j pyserini-0.17.0-py3-none-any.whl 'pyserini/resources/jars/*'
python benchmarks/webshop_lucene.py --jar anserini-0.14.3-fatjar.jar --data FOLDER --queries 10000
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import webshop_million
from sdar_gym.envs.webshop.index import SearchIndex, TooManyTermsError, write_index
from sdar_gym.envs.webshop.product import is_sold, read_product
from sdar_gym.lucene.analysis import tokens

K = 50
JAVA = Path(__file__).with_name("WebShopLucene.java")
OPTIONS = (
    "-collection JsonCollection -generator DefaultLuceneDocumentGenerator -threads 1 "
    "-storePositions -storeDocvectors -storeRaw"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jar", type=Path, required=True, help="anserini-0.14.3-fatjar.jar")
    parser.add_argument("--data", type=Path, help="folder of the published files of 1,000 products")
    parser.add_argument("--queries", type=int, default=10_000, help="how many are compared, at least")
    parser.add_argument("--seed", type=int, default=0, help="decides queries and texts")
    parser.add_argument("--synthetic", type=int, default=0, help="compares on that many made-up documents instead")
    parser.add_argument("--golden", type=Path, help="writes Lucene's answers into this golden file of the tests, alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lucene = Lucene(options.jar, Path(folder))
        if options.golden:
            write_golden(lucene, options.golden, options.data)
        elif options.synthetic:
            documents = similar(webshop_million.documents(options.synthetic, options.seed))
            compare(lucene, documents, synthetic_queries(documents, options.queries, options.seed))
        else:
            entries, instructions = published(options.data)
            documents = contents(entries)
            texts = varied_texts([text for _, text in documents], options.queries, options.seed)
            compare_tokens(lucene, texts)
            compare(lucene, documents, varied_queries(entries, instructions, documents, options.queries, options.seed))


class Lucene:
    """The original's search engine, in processes of its own."""

    def __init__(self, jar: Path, folder: Path) -> None:
        self.jar, self.folder = jar, folder

    def index(self, documents: Sequence[tuple[str, str]], name: str = "lucene") -> None:
        """Build an index as WebShop's script does."""
        source = self.folder / f"{name}-documents"
        source.mkdir()
        with (source / "documents.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"id": asin, "contents": text}) + "\n" for asin, text in documents)
        command = ["io.anserini.index.IndexCollection", "-input", str(source), "-index", str(self.folder / name)]
        self._java([*command, *OPTIONS.split()], "")

    def tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """The terms of each text."""
        return self._answers(["analyze"], texts)

    def search(self, queries: Sequence[str], name: str = "lucene") -> list[Any]:
        """Lists of (asin, score), or the name of an exception."""
        return self._answers(["search", str(self.folder / name), str(K)], queries)

    def _answers(self, arguments: list[str], texts: Sequence[str]) -> list[Any]:
        lines = "".join(json.dumps(text) + "\n" for text in texts)
        answers = [json.loads(line) for line in self._java([str(JAVA), *arguments], lines).splitlines()]
        assert len(answers) == len(texts)
        return answers

    def _java(self, arguments: list[str], lines: str) -> str:
        command = ["java", "-cp", str(self.jar), *arguments]
        done = subprocess.run(command, input=lines, capture_output=True, text=True, encoding="ascii", check=False)
        if done.returncode:
            raise RuntimeError(f"{command} failed: {done.stderr[-2000:]}")
        return done.stdout


def published(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Product entries and the instructions of goals."""
    entries = json.loads((folder / "items_shuffle_1000.json").read_text(encoding="utf-8"))
    made = json.loads((folder / "items_ins_v2_1000.json").read_text(encoding="utf-8"))
    human = json.loads((folder / "items_human_ins.json").read_text(encoding="utf-8"))
    instructions = [entry["instruction"] for entry in made.values() if entry.get("instruction")]
    return entries, instructions + [entry["instruction"] for goals in human.values() for entry in goals]


def contents(entries: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """What the original indexes: each product once."""
    products = {entry["asin"]: read_product(entry, None) for entry in reversed(list(entries)) if is_sold(entry)}
    return [(asin, product.search_text) for asin, product in reversed(products.items())]


def compare(lucene: Lucene, documents: list[tuple[str, str]], queries: list[str]) -> None:
    """Print how many queries have the same hits in the same order."""
    lucene.index(documents)
    write_index(lucene.folder / "ours", documents)
    index, asins = SearchIndex(lucene.folder / "ours"), [asin for asin, _ in documents]
    same, hits, refused, widest = 0, 0, 0, 0.0
    for query, theirs in zip(queries, lucene.search(queries), strict=True):
        ours = our_answer(index, asins, query)
        if isinstance(ours, str) or isinstance(theirs, str):
            same += ours == theirs
            refused += 1
            continue
        hits += len(theirs)
        agrees = [asin for asin, _ in ours] == [asin for asin, _ in theirs]
        same += agrees
        if agrees:
            widest = max([widest, *(abs(a - b) for (_, a), (_, b) in zip(ours, theirs, strict=True))])
        else:
            print(f"differs: {query!a:.300}\n  ours {ours[:5]}\n  Lucene {theirs[:5]}")
    print(f"{len(documents):,} documents, {len(queries):,} queries ({len(set(queries)):,} distinct), {hits:,} hits")
    print(f"same hits in the same order: {same:,} of {len(queries):,}; refused for too many terms: {refused}")
    print(f"widest difference of scores, which Anserini rounds to four places: {widest:.1e}")


def our_answer(index: SearchIndex, asins: Sequence[str], query: str) -> list[tuple[str, float]] | str:
    try:
        return [(asins[number], score) for number, score in index.scored(query, K)]
    except TooManyTermsError:
        return "TooManyClauses"


def compare_tokens(lucene: Lucene, texts: list[str]) -> None:
    differing, count = 0, 0
    for text, theirs in zip(texts, lucene.tokens(texts), strict=True):
        count += len(theirs)
        if tokens(text) != theirs:
            differing += 1
            print(f"differs: {text!a:.300}\n  ours {tokens(text)!a:.300}\n  Lucene {theirs!a:.300}")
    print(f"same tokens: {len(texts) - differing:,} of {len(texts):,} texts ({count:,} tokens)")


def varied_texts(texts: list[str], count: int, seed: int) -> list[str]:
    """The documents, every character alone and inside a word, and made-up strings of all kinds of characters."""
    draw = random.Random(seed)
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    marks = list("abAZs019__::''..,,;;\"-#*\t&\u2019\u200d\ufe0f\u20e3\u0301") + list(
        "\U0001f600\U0001f44d\U0001f3fb\u05d0\u30ab\u4e2d\u0e01\u24c2"
    )
    made = ["".join(draw.choices(marks, k=draw.randint(1, 25))) for _ in range(count)]
    made += ["".join(draw.choices(characters[:0x3100], k=draw.randint(1, 20))) for _ in range(count)]
    made += ["".join(draw.choices(characters[:0x1FFFF], k=draw.randint(1, 20))) for _ in range(count)]
    made += ["".join(draw.choices(marks[: draw.randint(1, len(marks))], k=300)) for _ in range(count // 10)]
    words = ["".join(draw.choices("aeioubglltsydnr", k=draw.randint(1, 6))) for _ in range(count)]
    endings = (
        "s",
        "es",
        "ed",
        "eed",
        "ing",
        "y",
        "ly",
        "bly",
        "logy",
        "ness",
        "able",
        "ation",
        "izer",
        "ement",
        "ion",
        "ical",
        "e",
        "ll",
    )
    made += [word + draw.choice(endings) + draw.choice(["", *endings]) for word in words]
    return texts + characters + [f"a{character}b" for character in characters] + made


def varied_queries(
    entries: list[dict[str, Any]], instructions: list[str], documents: list[tuple[str, str]], count: int, seed: int
) -> list[str]:
    """Whatever somebody may search for on the published products."""
    draw = random.Random(seed)
    words = [word for _, text in documents for word in text.split()]
    vocabulary = sorted(set(words))
    queries = instructions + [entry["name"] for entry in entries]
    queries += sorted({entry["query"] for entry in entries} | {entry["product_category"] for entry in entries})
    queries += ["", " ", "the of and", "!", "x" * 300, " ".join(f"w{number}" for number in range(1024))]
    queries += [" ".join(f"w{number}" for number in range(1025)), " ".join(vocabulary)]
    queries += [text for _, text in draw.sample(documents, min(100, len(documents)))]
    queries += draw.sample(vocabulary, min(count // 8, len(vocabulary)))
    while len(queries) < count:
        length = draw.choice((2, 3, 4, 5, 7, 10, 15, 30, 60, 200))
        queries.append(" ".join(draw.choices(draw.choice((words, vocabulary)), k=length)))
        few = draw.choices(words, k=draw.randint(1, 5))
        queries.append(" ".join(draw.choices(few, k=draw.randint(2, 14))))
        text = draw.choice(documents)[1]
        start = draw.randrange(len(text))
        queries.append(text[start : start + draw.randint(3, 300)])
        queries.append(
            "".join(chr(draw.choice((draw.randrange(32, 127), draw.randrange(160, 0x3000)))) for _ in range(30))
        )
    return queries


def similar(documents: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Documents cut short, so that many have equal scores."""
    return [(asin, " ".join(text.split(" ")[: 3 + number % 40])) for number, (asin, text) in enumerate(documents)]


def synthetic_queries(documents: list[tuple[str, str]], count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    words = [word for _, text in documents[:20_000] for word in text.split(" ")]
    return [" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(count)]


def write_golden(lucene: Lucene, path: Path, data: Path | None) -> None:
    """Answer anew what the golden file asks; what is asked of the published products only where these are given."""
    golden = json.loads(path.read_text(encoding="utf-8"))
    texts = [text for text, _ in golden["strings"]]
    golden["strings"] = list(zip(texts, lucene.tokens(texts), strict=True))
    corpus = golden["corpus"]
    lucene.index([(asin, text) for asin, text in corpus["documents"]], "corpus")
    corpus["queries"] = ranked(lucene, corpus["documents"], [query for query, _ in corpus["queries"]], "corpus")
    if data is not None:
        documents = contents(published(data)[0])
        lucene.index(documents, "published")
        answers = ranked(lucene, documents, [query for query, _ in golden["published"]], "published")
        golden["published"] = [[query, [number for number, _ in hits]] for query, hits in answers]
    path.write_text(compact(golden), encoding="ascii")
    print(f"{path}: {len(texts)} texts, {len(corpus['queries'])} and {len(golden['published'])} queries")


def ranked(lucene: Lucene, documents: Sequence[Sequence[str]], queries: list[str], name: str) -> list[list[Any]]:
    """Queries with the numbers and scores of their hits."""
    numbers = {document[0]: number for number, document in enumerate(documents)}
    answers = lucene.search(queries, name)
    return [
        [q, [[numbers[asin], round(score, 4)] for asin, score in hits]]
        for q, hits in zip(queries, answers, strict=True)
    ]


def compact(golden: dict[str, Any]) -> str:
    """JSON with a line for each text or query."""

    def rows(items: list[Any]) -> str:
        return "[\n" + ",\n".join(json.dumps(item, separators=(",", ":")) for item in items) + "\n]"

    corpus = ",\n".join(f'"{name}": {rows(items)}' for name, items in golden["corpus"].items())
    parts = {
        "strings": rows(golden["strings"]),
        "corpus": "{\n" + corpus + "\n}",
        "published": rows(golden["published"]),
    }
    return "{\n" + ",\n".join(f'"{name}": {text}' for name, text in parts.items()) + "\n}\n"


if __name__ == "__main__":
    main()
