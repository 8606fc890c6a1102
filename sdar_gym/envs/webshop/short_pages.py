"""The observation mode `short`: what distinguishes a page from others of its kind, and nothing that they all have."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sdar_gym.envs.webshop import session
from sdar_gym.envs.webshop.pages import Piece, details_pieces
from sdar_gym.envs.webshop.session import State
from sdar_gym.envs.webshop.shop import Shop


def short_text(shop: Shop, state: State, *, reward: float | None = None) -> str:
    """A page in few words, a line for each product, option and text; what is in brackets can be clicked.

    Buttons and the instruction are left out. Titles are in lower case, as tasks name what is wanted, and with what the
    product will cost, in dollars, rounded up. Products are called by their place on the page, which a small model can
    write: `click[2]` (see `meant`).

    Args:
        reward: Of the purchase; shown on the last page.
    """
    match state.kind:
        case "search":
            lines: Iterator[str] = iter(("Search",))
        case "results":
            lines = _results(shop, state)
        case "item":
            lines = _item(shop, state)
        case "details":
            lines = _details(shop, state)
        case "done":
            lines = iter((f"Bought {session.shown_product(shop, state).asin}, score {reward}",))
    return "\n".join(lines)


def meant(shop: Shop, state: State, action: str) -> str:
    """An action with the product's id where it names one by its place on a page of results; any other as it is."""
    places = places_of(shop, state)
    return next((f"click[{asin}]" for asin, place in places.items() if action.strip() == f"click[{place}]"), action)


def places_of(shop: Shop, state: State) -> dict[str, str]:
    """Id in lower case -> place of the products on a page of results, the first being 1; on other pages nothing."""
    shown = session.on_page(state) if state.kind == "results" else ()
    return {shop.product(number).asin.lower(): str(place) for place, number in enumerate(shown, 1)}


def _results(shop: Shop, state: State) -> Iterator[str]:
    shown = session.on_page(state)
    for place, number in enumerate(shown, 1):
        yield f"[{place}] {_named(shop, number)}"
    if not shown:
        yield "Nothing found"


def _named(shop: Shop, number: int) -> str:
    return f"{shop.product(number).title.lower()} ${math.ceil(shop.price(number))}"


def _item(shop: Shop, state: State) -> Iterator[str]:
    product = session.shown_product(shop, state)
    assert state.product is not None
    yield _named(shop, state.product)
    for name, values in product.options.items():
        yield f"{name}: {' '.join(f'[{value}]' for value in values)}"


def _details(shop: Shop, state: State) -> Iterator[str]:
    pieces: list[Piece] = list(details_pieces(session.shown_product(shop, state), state.details))
    texts = [piece.text.strip() for piece in pieces if piece.text.strip()]
    yield from texts or ["Nothing told"]
