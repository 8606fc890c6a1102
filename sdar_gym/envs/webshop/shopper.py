"""A demonstrator that sees what an agent sees, text alone: it searches as its merchant suggests, compares titles, buys.

It is no oracle: `ShopEnv.oracle` reads the hidden goal, this one only the task's words and the pages. It reads pages of
the mode `short`.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from sdar_gym.envs.webshop import session
from sdar_gym.envs.webshop.merchant import Merchant
from sdar_gym.envs.webshop.vocabulary import BRANDS, COMMON, KINDS, MATERIALS, Kind

_CEILING = re.compile(r", and price lower than ([0-9.]+) dollars$")
_OPTION = re.compile(
    r"(?:with|and) (color|size|flavor name|scent|style): (.*?)(?=, and (?:size|scent|style|color): |$)"
)
_OFFER = re.compile(r"\[(\S+)\] (.+) \$([0-9]+)")
_CHOICE = re.compile(r"\[([^\]]+)\]")
_SEARCH_PAGE = "Search"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a task sentence asks for.

    Attributes:
        kind: Of thing.
        attributes: That it must have, in the order of the sentence.
        options: Values to choose, in the order of the sentence, in lower case.
        ceiling: What it may cost at most, in dollars.
    """

    kind: Kind
    attributes: tuple[str, ...]
    options: tuple[str, ...]
    ceiling: float


@dataclass(frozen=True, slots=True)
class Offer:
    """A product in a list of results: its id, its title and its price in dollars."""

    id: str
    title: str
    price: int


def read_task(task: str) -> Wish:
    """Read a synthetic goal of the generated shop, such as `Show me easy carry makeup brushes with color: lilac`.

    Raises:
        ValueError: it names no kind of thing that the shop has.
    """
    ceiling = _CEILING.search(task)
    words = task[: ceiling.start()] if ceiling else task
    options = list(_OPTION.finditer(words))
    wanted = words[: options[0].start()] if options else words
    kinds = [kind for kind in KINDS if re.search(rf"\b{re.escape(kind.query)}\b", wanted)]
    if not kinds:
        raise ValueError(f"cannot read the task {task!r}; tasks look like 'Show me easy carry makeup brushes'")
    # Of `phone cases` and `cases` the longer one is meant.
    kind = max(kinds, key=lambda found: len(found.query))
    known = [name for name in _attribute_names(kind) if re.search(rf"\b{re.escape(name)}\b", wanted)]
    return Wish(
        kind,
        tuple(sorted(known, key=wanted.index)),
        tuple(option[2].lower() for option in options),
        float(ceiling[1]) if ceiling else float("inf"),
    )


def _attribute_names(kind: Kind) -> list[str]:
    own = [name for group in kind.own for name in group]
    return [*(attribute.name for attribute in COMMON[kind.category]), *own, *MATERIALS[kind.materials].names]


def read_results(observation: str) -> list[Offer]:
    """The products on a page of results, best first; none where nothing was found."""
    found = [_OFFER.fullmatch(line) for line in observation.splitlines()]
    return [Offer(match[1], match[2], int(match[3])) for match in found if match]


def read_options(observation: str) -> set[str]:
    """The values that can be chosen on a product's page."""
    # The first line is its title.
    lines = observation.splitlines()[1:]
    return {value.lower() for line in lines for value in _CHOICE.findall(line)}


@dataclass(slots=True)
class _Memory:
    """What was seen and done in an episode."""

    wish: Wish
    brand: str
    """Searched for; empty where none is believed to be right."""
    offers: list[Offer] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    """Ids of the products that were looked at."""
    here: str = ""
    """The product whose page it looks at; empty on other pages."""
    chosen: list[str] = field(default_factory=list)
    settled: bool = False
    """Whether it buys what it looks at, whatever options that lacks: nothing else is left."""


class Shopper:
    """Buys by what is told on lists and pages, from text alone.

    Args:
        merchant: Whose brands' promises it believes in. None if it knows of none: then it guesses a brand.
        seed: For guesses and noise.
        noise: How often it opens a random product of a list instead, from 0 to 1; `was_noise` tells.
    """

    def __init__(self, merchant: Merchant | None, seed: int = 0, *, noise: float = 0.0) -> None:
        if not 0.0 <= noise <= 1.0:
            raise ValueError(f"noise is a probability, got {noise}")
        self.merchant = merchant
        self.noise = noise
        self.was_noise = False
        """Whether the last action was drawn at random: a demonstration is not to be learned from there."""
        self._rng = random.Random(f"shopper {seed}")
        self._memory: _Memory | None = None

    def begin(self, task: str) -> None:
        """Start an episode.

        Raises:
            ValueError: the task is not of the generated shop.
        """
        wish = read_task(task)
        self._memory = _Memory(wish, self._brand(wish))

    def act(self, observation: str) -> str:
        """The next action.

        Raises:
            RuntimeError: no episode was begun.
        """
        if self._memory is None:
            raise RuntimeError("begin() first")
        memory, self.was_noise = self._memory, False
        if memory.here:
            return self._on_product(memory, observation)
        memory.offers = [] if observation == _SEARCH_PAGE else read_results(observation)
        if not memory.offers:
            return f"search[{memory.wish.kind.query} {memory.brand}]"
        return self._on_results(memory)

    def _brand(self, wish: Wish) -> str:
        brands = BRANDS[wish.kind.category]
        if self.merchant is None:
            return self._rng.choice(brands)
        keeping = [brand for brand in brands if self.merchant.promises[brand] in wish.attributes]
        return keeping[0] if keeping else self._rng.choice(brands)

    def _on_results(self, memory: _Memory) -> str:
        left = [offer for offer in memory.offers if offer.id not in memory.tried]
        memory.settled = not left
        offer = max(left or memory.offers, key=lambda found: _worth(found, memory))
        if self._rng.random() < self.noise:
            offer, self.was_noise = self._rng.choice(memory.offers), True
        memory.tried.append(offer.id)
        memory.here, memory.chosen = offer.id, []
        return f"click[{offer.id}]"

    def _on_product(self, memory: _Memory, observation: str) -> str:
        there = read_options(observation)
        missing = [value for value in memory.wish.options if value not in there]
        others = [offer for offer in memory.offers if offer.id not in memory.tried]
        if missing and not memory.settled and any(_is_right_kind(offer, memory.wish) for offer in others):
            memory.here = ""
            return f"click[{session.PREVIOUS.lower()}]"
        left = [value for value in memory.wish.options if value in there and value not in memory.chosen]
        if not left:
            return f"click[{session.BUY.lower()}]"
        memory.chosen.append(left[0])
        return f"click[{left[0]}]"


def _worth(offer: Offer, memory: _Memory) -> tuple[bool, bool, int, bool]:
    """How well a title fits: the kind first, then the brand, the attributes that it names, the price."""
    title = offer.title
    named = sum(attribute in title for attribute in memory.wish.attributes)
    return (
        _is_right_kind(offer, memory.wish),
        memory.brand.lower() in title,
        named,
        offer.price <= memory.wish.ceiling,
    )


def _is_right_kind(offer: Offer, wish: Wish) -> bool:
    # What stands behind `Goes with` is another thing.
    title = offer.title.partition("goes with")[0]
    return any(noun.lower() in title for noun in wish.kind.nouns)
