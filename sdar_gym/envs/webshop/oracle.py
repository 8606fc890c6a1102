"""The next action towards a best purchase: it reads the goal that an agent cannot see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from sdar_gym.envs.webshop import session
from sdar_gym.envs.webshop.goals import Goal
from sdar_gym.envs.webshop.index import TooManyTermsError
from sdar_gym.envs.webshop.nouns import NounTagger
from sdar_gym.envs.webshop.product import Product
from sdar_gym.envs.webshop.reward import count_attributes, match_type, option_fits, reward, wanted_options
from sdar_gym.envs.webshop.session import RESULTS_A_PAGE, State
from sdar_gym.envs.webshop.shop import Shop

# Judging a product takes some ten microseconds. In a larger catalogue only what searches find is judged.
_MOST_JUDGED = 5_000
_UNSAYABLE = str.maketrans("[]\n\r", "    ")


@dataclass(frozen=True, slots=True)
class Purchase:
    """What to buy for a goal.

    Attributes:
        product: Its number.
        options: Name to value, what to choose of it.
        score: What that is worth.
    """

    product: int
    options: Mapping[str, str]
    score: float


def next_action(
    shop: Shop,
    goal: Goal,
    state: State,
    nouns: NounTagger,
    *,
    with_attributes: bool,
    results: int = RESULTS_A_PAGE,
) -> str | None:
    """The next action of a customer who makes the best purchase; None after a purchase.

    On another product's page, or after a search that did not find it, they search again.

    Args:
        with_attributes: Whether products have a page of attributes.
        results: Among how many of a search's best they look at most; a page by default.
    """
    if state.kind == "done":
        return None
    best = best_purchase(shop, _Key(goal, nouns))
    targets = session.clickable(shop, state, with_attributes=with_attributes)
    if state.kind == "results":
        return _on_results(shop, best, state, targets, results)
    if state.kind == "item" and state.product == best.product:
        missing = [name for name, value in best.options.items() if state.options.get(name) != value]
        return f"click[{best.options[missing[0]]}]" if missing else f"click[{session.BUY.lower()}]"
    if state.kind == "details" and state.product == best.product:
        return f"click[{session.PREVIOUS.lower()}]"
    return f"search[{query_for(shop, best.product, results)}]"


def _on_results(shop: Shop, best: Purchase, state: State, targets: Mapping[str, session.Target], results: int) -> str:
    text = shop.product(best.product).asin.lower()
    if targets.get(text) == ("product", str(best.product)):
        return f"click[{text}]"
    if best.product in state.found:
        page = state.found.index(best.product) // RESULTS_A_PAGE + 1
        button = session.NEXT if page > state.page else session.PREVIOUS
        return f"click[{button.lower()}]"
    return f"search[{query_for(shop, best.product, results)}]"


class _Key:
    """A goal, and who finds nouns, as a key of a cache: by content, since a goal holds a mapping."""

    def __init__(self, goal: Goal, nouns: NounTagger) -> None:
        self.goal, self.nouns = goal, nouns
        options = tuple(goal.options.items()) if isinstance(goal.options, Mapping) else goal.options
        self._key = (id(nouns), goal.asin, goal.instruction, goal.attributes, goal.price_upper, options)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._key == other._key


@lru_cache(maxsize=1024)
def best_purchase(shop: Shop, key: _Key) -> Purchase:
    """The purchase with the best score; of equals the goal's own product, else the first in the catalogue.

    Every product is judged where there are at most 5,000; else the goal's own and what searches for its instruction,
    its title and its query find.
    """
    goal, nouns = key.goal, key.nouns
    own = shop.catalogue.number(goal.asin)
    best: Purchase | None = None
    for number in [] if own is None else [own]:
        best = _judged(shop, goal, number, nouns)
        if best.score == 1.0:
            return best
    for number in _candidates(shop, goal):
        if best is not None and _at_most(shop, goal, number, nouns) <= best.score:
            continue
        judged = _judged(shop, goal, number, nouns)
        if best is None or judged.score > best.score:
            best = judged
            if best.score == 1.0:
                break
    assert best is not None
    return best


def _at_most(shop: Shop, goal: Goal, number: int, nouns: NounTagger) -> float:
    """What a product is worth if it has every option that is wanted: quick to see, and mostly too little."""
    product = shop.product(number)
    met = count_attributes(product, goal) + len(goal.options) + (shop.price(number) <= goal.price_upper)
    return met / (len(goal.attributes) + len(goal.options) + 1) * match_type(product, goal, nouns=nouns).r_type


def _judged(shop: Shop, goal: Goal, number: int, nouns: NounTagger) -> Purchase:
    product = shop.product(number)
    options = best_options(product, goal)
    return Purchase(number, options, reward(product, goal, shop.price(number), options, nouns=nouns).total)


def _candidates(shop: Shop, goal: Goal) -> Iterable[int]:
    if len(shop.catalogue) <= _MOST_JUDGED:
        return range(len(shop.catalogue))
    queries = (goal.instruction, goal.name, goal.query)
    return dict.fromkeys(number for query in queries for number in _found(shop, query))


def best_options(product: Product, goal: Goal) -> dict[str, str]:
    """The choice of options, one value a name at most, that meets most of the goal's; only what is needed is chosen."""
    wanted = wanted_options(goal)
    # Which wanted options are met so far (a bit each) -> the fewest choices that meet them.
    reached: dict[int, dict[str, str]] = {0: {}}
    for name, values in selectable(product).items():
        meets = {value: _met(value, wanted) for value in values}
        for mask, chosen in list(reached.items()):
            for value, met in meets.items():
                together = mask | met
                if together not in reached or len(reached[together]) > len(chosen) + 1:
                    reached[together] = {**chosen, name: value}
    return reached[max(reached, key=lambda mask: (mask.bit_count(), -len(reached[mask])))]


def _met(value: str, wanted: tuple[str, ...]) -> int:
    return sum(1 << place for place, option in enumerate(wanted) if option_fits(value, option))


def selectable(product: Product) -> dict[str, list[str]]:
    """Name to the values that a click can choose: not those that mean a button or a later name, or cannot be said."""
    last = {value: name for name, values in product.options.items() for value in values}
    return {
        name: [value for value in dict.fromkeys(values) if last[value] == name and session.is_option_text(value)]
        for name, values in product.options.items()
    }


def query_for(shop: Shop, number: int, results: int = RESULTS_A_PAGE) -> str:
    """What to search for to find a product among so many: of its title and other words what ranks it best."""
    return _query_for(shop, number, results)


@lru_cache(maxsize=4096)
def _query_for(shop: Shop, number: int, results: int) -> str:
    product = shop.product(number)
    title = " ".join(product.title.lower().translate(_UNSAYABLE).split())
    words = " ".join(product.search_text.translate(_UNSAYABLE).split()[:200])
    ranked: list[tuple[int, str]] = []
    for query in (title, f"{title} {product.query}", words, f"<q> {product.query}", f"<c> {product.category}"):
        found = _found(shop, query)
        if number in found[:results]:
            return query
        if number in found:
            ranked.append((found.index(number), query))
    return min(ranked)[1] if ranked else title


def _found(shop: Shop, query: str) -> tuple[int, ...]:
    try:
        return session.find(shop, tuple(query.split(" ")), "")
    except TooManyTermsError:
        return ()
