"""What is wanted: goals, their price ceilings and their split, the same in every process and on every machine.

The original draws prices and ceilings from a generator that nobody seeded, so that no two of its processes agree on
them; here each is a function of the product's ASIN. Which goal has which index is the original's shuffle.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from sdar_gym.envs.webshop.catalogue import Catalogue, Instruction, Record
from sdar_gym.envs.webshop.product import CatalogueError, Product

GoalKind = Literal["synthetic", "human"]
GOAL_KINDS: tuple[GoalKind, ...] = ("synthetic", "human")
Holdout = Literal["goals", "products"]
HOLDOUTS: tuple[Holdout, ...] = ("goals", "products")
SPLITS = ("train", "dev", "test")
TEST_GOALS, DEV_GOALS = 500, 1000
"""Of the shuffled goals the first 500 are for tests and the next 1,000 for development, as in the original."""
NO_CEILING = 1_000_000.0
"""The price ceiling in dollars of a goal that states none."""
_SHUFFLE_SEED = 233
_CEILINGS = tuple(10.0 * step for step in range(1, 100))
_HASH_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Goal:
    """A shopping instruction, and what a purchase is judged by.

    Attributes:
        asin: The product that it was made from.
        category, query, name, product_category: Of that product.
        instruction: What the agent reads.
        attributes: Wanted attributes, at least one.
        price_upper: What the purchase may cost at most, in dollars.
        options: Wanted options: name to value for synthetic goals, values alone for those that people wrote.
    """

    asin: str
    category: str
    query: str
    name: str
    product_category: str
    instruction: str
    attributes: tuple[str, ...]
    price_upper: float
    options: Mapping[str, str] | tuple[str, ...]


def price_of(product: Product) -> float:
    """What a product costs in dollars: for a range of prices one between, the same whenever it is asked for."""
    if len(product.pricing) == 1:
        return product.pricing[0]
    return random.Random(f"price of {product.asin}").uniform(*product.pricing)


def count_goals(record: Record, kind: GoalKind) -> int:
    """How many goals a product makes."""
    if kind == "human":
        return len(_human_instructions(record))
    if record.synthetic is None:
        return 0
    return math.prod(len(values) for values in record.product.options.values())


def make_goal(record: Record, kind: GoalKind, choice: int) -> Goal:
    """The goal of a number from 0 to `count_goals(record, kind) - 1` of a product."""
    product = record.product
    if kind == "human":
        instruction = _human_instructions(record)[choice]
        ceiling = _ceiling(product, f"{choice}")
        words, options = instruction.text.strip("."), instruction.options or ()
        return _goal(product, instruction, words, ceiling, options)
    assert record.synthetic is not None
    chosen = _combination(product.options, choice)
    listed = ", and ".join(f"{name}: {value}" for name, value in chosen.items())
    words = f"{record.synthetic.text} with {listed}" if listed else record.synthetic.text
    return _goal(product, record.synthetic, words, _ceiling(product, "all"), chosen)


def _goal(
    product: Product,
    instruction: Instruction,
    words: str,
    ceiling: float | None,
    options: Mapping[str, str] | tuple[str, ...],
) -> Goal:
    return Goal(
        asin=product.asin,
        category=product.category,
        query=product.query,
        name=product.title,
        product_category=product.product_category,
        instruction=words if ceiling is None else f"{words}, and price lower than {ceiling:.2f} dollars",
        attributes=instruction.attributes,
        price_upper=NO_CEILING if ceiling is None else ceiling,
        options=options,
    )


def _human_instructions(record: Record) -> list[Instruction]:
    return [instruction for instruction in record.human if instruction.attributes]


def _combination(options: Mapping[str, Sequence[str]], choice: int) -> dict[str, str]:
    """The values of a combination: the last name (in alphabetical order) turns fastest."""
    chosen: dict[str, str] = {}
    for name in sorted(options, reverse=True):
        choice, place = divmod(choice, len(options[name]))
        chosen[name] = options[name][place]
    return dict(sorted(chosen.items()))


def _ceiling(product: Product, instruction: str) -> float | None:
    """The greater of two draws from the next four tens of dollars above the price; None above 980 dollars."""
    price = price_of(product)
    above = [ceiling for ceiling in _CEILINGS if ceiling > price][:4]
    if len(above) < 2:
        return None
    return max(random.Random(f"ceiling of {product.asin}, {instruction}").sample(above, 2))


def write_goals(folder: Path, catalogue: Catalogue, kind: GoalKind) -> None:
    """Make every goal once, and note which is which: `goals-<kind>.npz` with a hash of their content beside it."""
    products: list[int] = []
    choices: list[int] = []
    content = hashlib.sha256()
    meanings: list[int] = []
    for number in range(len(catalogue)):
        record = catalogue.record(number)
        for choice in range(count_goals(record, kind)):
            goal = make_goal(record, kind, choice)
            products.append(number)
            choices.append(choice)
            content.update(canonical(goal).encode())
            meanings.append(_meaning(goal))
    order = list(range(len(products)))
    random.Random(_SHUFFLE_SEED).shuffle(order)
    shuffled = np.array(products, dtype=np.uint32)[order], np.array(choices, dtype=np.uint32)[order]
    kept = _kept(np.array(meanings, dtype=np.uint64)[order])
    content.update(b"".join(table.tobytes() for table in (*shuffled, kept)))
    np.savez(folder / f"goals-{kind}.npz", products=shuffled[0], choices=shuffled[1], kept=kept)
    meta = {"kind": kind, "goals": len(products), "hash": content.hexdigest()[:_HASH_DIGITS]}
    (folder / f"goals-{kind}.json").write_text(json.dumps(meta) + "\n", encoding="utf-8")


def canonical(goal: Goal) -> str:
    """A goal as one line of JSON: what its hash is taken of."""
    options = dict(goal.options) if isinstance(goal.options, Mapping) else list(goal.options)
    stated = [goal.asin, goal.instruction, list(goal.attributes), goal.price_upper, options]
    return json.dumps(stated, separators=(",", ":")) + "\n"


def _meaning(goal: Goal) -> int:
    """A number that two goals share if they want the same, ceilings aside: the instruction without the price."""
    words = goal.instruction.partition(", and price lower than ")[0]
    return int.from_bytes(hashlib.blake2b(words.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _kept(meanings: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which goals their split keeps: a goal of train or dev that is also one of an earlier range is left out."""
    kept = np.ones(len(meanings), dtype=np.bool_)
    for start, end in ((TEST_GOALS, TEST_GOALS + DEV_GOALS), (TEST_GOALS + DEV_GOALS, len(meanings))):
        kept[start:end] &= ~np.isin(meanings[start:end], meanings[:start])
    return kept


class Goals:
    """The goals of one kind, by index: 0 to 499 for tests, to 1,499 for development, then for training.

    Args:
        folder: What `write_goals` wrote.
        catalogue: The products.
        kind: "synthetic" or "human".

    Attributes:
        hash: 16 hex digits over every goal and its place: equal hashes are equal goals, ceilings and splits.

    Raises:
        CatalogueError: the files are damaged.
    """

    def __init__(self, folder: Path, catalogue: Catalogue, kind: GoalKind) -> None:
        self.kind = kind
        self._catalogue = catalogue
        self._places: dict[tuple[Holdout, frozenset[str] | None], dict[str, dict[str, int]]] = {}
        try:
            # Opened here, because NumPy leaves a damaged file open.
            with open(folder / f"goals-{kind}.npz", "rb") as file, np.load(file) as tables:
                self._products, self._choices, self._kept = (tables[key] for key in ("products", "choices", "kept"))
            meta = json.loads((folder / f"goals-{kind}.json").read_text(encoding="utf-8"))
            self.hash = str(meta["hash"])
            whole = meta["goals"] == len(self._products) == len(self._choices) == len(self._kept)
        except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
            raise CatalogueError(f"{folder} is damaged ({error}); delete it, and it is built anew") from error
        if not whole:
            raise CatalogueError(
                f"{folder} is damaged: the {kind} goals are cut short; delete it, and it is built anew"
            )

    def __len__(self) -> int:
        return len(self._products)

    def __getitem__(self, index: int) -> Goal:
        return make_goal(self._catalogue.record(int(self._products[index])), self.kind, int(self._choices[index]))

    def __iter__(self) -> Iterator[Goal]:
        return map(self.__getitem__, range(len(self)))

    def places(self, holdout: Holdout, categories: frozenset[str] | None = None) -> Mapping[str, Mapping[str, int]]:
        """Split to task id to index, of goals in these categories (None: all).

        It is the same object for every environment, as there are thousands of them.
        """
        key = holdout, categories
        if key not in self._places:
            numbers = [number for category in categories or () for number in self._catalogue.of_category(category)]
            wanted = None if categories is None else np.isin(self._products, numbers)
            self._places[key] = {
                split: {
                    f"{split}/{self.kind}-{index:05d}": index
                    for index in self.indexes(split, holdout)
                    if wanted is None or wanted[index]
                }
                for split in SPLITS
            }
        return self._places[key]

    def indexes(self, split: str, holdout: Holdout = "goals") -> list[int]:
        """The goals of a split, in order.

        No goal of `train` wants the same as one of `dev` or `test`. The product, though, can be the same, with other
        options: with `holdout="products"` training leaves out every product that has a goal in the other splits.
        """
        ends = (0, TEST_GOALS, TEST_GOALS + DEV_GOALS, max(len(self), TEST_GOALS + DEV_GOALS))
        start, end = dict(zip(reversed(SPLITS), itertools.pairwise(ends), strict=True))[split]
        kept = self._kept[start:end].copy()
        if holdout == "products" and split == "train":
            kept &= ~np.isin(self._products[start:end], self._products[:start])
        return [start + int(place) for place in np.flatnonzero(kept)]
