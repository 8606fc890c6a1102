"""What a page says: its pieces of text, and the original's two ways of writing them as one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from sdar_gym.envs.webshop import session
from sdar_gym.envs.webshop.product import Product
from sdar_gym.envs.webshop.session import State
from sdar_gym.envs.webshop.shop import Shop

ObservationMode = Literal["text", "text_rich", "html", "short"]
OBSERVATION_MODES: tuple[ObservationMode, ...] = ("text", "text_rich", "html", "short")
SEPARATOR = " [SEP] "
_ASCII_SPACES = " \n\t\f\r"
_STARS = 5


class Piece(NamedTuple):
    """A text on a page, as a browser's document holds it, spaces included."""

    text: str
    kind: Literal["plain", "button", "option", "product"] = "plain"


def pieces(
    shop: Shop, state: State, instruction: str | None, *, reward: float | None = None, with_attributes: bool = False
) -> list[Piece]:
    """Every visible text of a page, in order, without those that hold nothing but the layout.

    Args:
        instruction: What the customer is told to buy; None to leave it out.
        reward: Of the purchase; shown on the last page.
        with_attributes: Whether products have a page of attributes.
    """
    match state.kind:
        case "search":
            found = _start(instruction)
        case "results":
            found = _results(shop, state, instruction)
        case "item":
            found = _item(shop, state, instruction, with_attributes)
        case "details":
            found = _details(session.shown_product(shop, state), state.details, instruction)
        case "done":
            found = _done(shop, state, reward)
    # What is white throughout shrinks to one space or line break in a document, and a line break alone is layout.
    return [_shrunk(piece) for piece in found if piece.text.strip(_ASCII_SPACES) or _is_shown_space(piece.text)]


def as_text(shown: list[Piece]) -> str:
    """The mode `text`: the texts alone, with separators."""
    return SEPARATOR.join(piece.text.strip() for piece in shown)


def as_rich_text(shown: list[Piece], state: State, address: str) -> str:
    """The mode `text_rich`: a line each, with marks round what can be clicked and what was.

    Args:
        address: Of the page; an option counts as clicked if its text stands in it, in quotation marks.
    """
    lines: list[str] = []
    clicked: list[str] = []
    for text, kind in shown:
        match kind:
            case "button":
                lines.append(f"[button] {text} [button_]\n")
            case "option" if f'"{text}"' in address:
                lines.append(f"  [clicked button] {text} [clicked button_]\n")
                clicked.append(f"You have clicked {text}.\n")
            case "option":
                lines.append(f"  [button] {text} [button_]\n")
            case "product" if text in state.visited:
                lines.append(f"\n[clicked button] {text} [clicked button_]\n")
            case "product":
                lines.append(f"\n[button] {text} [button_]\n")
            case "plain":
                lines.append(f"{text}\n")
    return "".join((*reversed(clicked), *lines))


def address(shop: Shop, state: State, visit: str) -> str:
    """The path of a page, in the form of the original's addresses.

    Args:
        visit: Names the customer's visit to the shop.
    """
    words = "+".join(state.keywords)
    match state.kind:
        case "search":
            return f"/{visit}"
        case "results":
            return f"/search_results/{visit}/{words}/{state.page}"
    asin, options = session.shown_product(shop, state).asin, json.dumps(state.options)
    match state.kind:
        case "item":
            return f"/item_page/{visit}/{asin}/{words}/{state.page}/{options}"
        case "details":
            return f"/item_sub_page/{visit}/{asin}/{words}/{state.page}/{state.details}/{options}"
        case _:
            return f"/done/{visit}/{asin}/{options}"


def _is_shown_space(text: str) -> bool:
    return text != "" and "\n" not in text


def _shrunk(piece: Piece) -> Piece:
    return piece if piece.text.strip(_ASCII_SPACES) else piece._replace(text=" ")


def _button(name: str) -> Piece:
    return Piece(name, "button")


def _start(instruction: str | None) -> Iterator[Piece]:
    yield Piece("WebShop")
    if instruction is not None:
        # Only this page has a space behind the colon; the original's rich text shows it.
        yield from (Piece("Instruction: "), Piece(instruction))
    yield _button(session.SEARCH)


def _head(instruction: str | None) -> Iterator[Piece]:
    if instruction is not None:
        yield from (Piece("Instruction:"), Piece(instruction))
    yield _button(session.BACK)


def _results(shop: Shop, state: State, instruction: str | None) -> Iterator[Piece]:
    yield from _head(instruction)
    yield Piece(f"Page {state.page} (Total results: {len(state.found)})")
    yield from map(_button, session.buttons(state, with_attributes=False)[1:])
    for number in session.on_page(state):
        product = shop.product(number)
        yield Piece(product.asin, "product")
        yield Piece(product.title)
        yield Piece(product.price_tag)


def _item(shop: Shop, state: State, instruction: str | None, with_attributes: bool) -> Iterator[Piece]:
    product = session.shown_product(shop, state)
    yield from _head(instruction)
    yield _button(session.PREVIOUS)
    for name, values in product.options.items():
        yield Piece(name)
        yield from (Piece(value, "option") for value in values)
    yield Piece(product.title)
    yield Piece(f"Price: {product.price_tag}")
    yield Piece(f"Rating: {product.rating}")
    yield from map(_button, session.detail_pages(with_attributes))
    yield _button(session.BUY)


def _details(product: Product, details: str, instruction: str | None) -> Iterator[Piece]:
    yield from _head(instruction)
    yield _button(session.PREVIOUS)
    yield from details_pieces(product, details)


def details_pieces(product: Product, details: str) -> Iterator[Piece]:
    """What a page below a product's tells, without its buttons."""
    match details:
        case "Description":
            yield Piece(product.description)
        case "Features":
            yield from (Piece(f" {point}") for point in product.bullet_points)
        case "Reviews":
            for review in product.reviews:
                yield from (Piece(f'"{review.title}"'), Piece(f"{review.score:g}"), Piece(review.body))
        case _:
            yield from (Piece(f" {attribute}") for attribute in product.attributes)
            yield from (Piece(product.category), Piece(product.query), Piece(product.product_category))


def _done(shop: Shop, state: State, reward: float | None) -> Iterator[Piece]:
    """The original's last page is made for people who were paid to shop; its text environment fills in little of it."""
    nothing = Piece("None")
    yield from map(Piece, ("Thank you for shopping with us!", "Your code: ", "None"))
    yield from map(Piece, (" (Paste it in your MTurk interface.)", "Purchased"))
    yield from (Piece("asin"), Piece(session.shown_product(shop, state).asin))
    yield from (Piece("options"), Piece(as_json(state.options)))
    for label in ("attrs", "category", "query", "product category"):
        yield from (Piece(label), nothing)
    yield from map(Piece, ("Target", "asin", "options", "attrs", "price upper", "instuction text", "category"))
    yield from map(Piece, ("product category", "query", "Goal ", "None", "Reward"))
    yield from map(Piece, ("Your score (min 0.0, max 1.0)", f"{reward}", "Reward Details ", "None"))


def as_json(options: Mapping[str, str]) -> str:
    """Options as JSON that can stand in a page: sorted, with what means something in HTML escaped."""
    text = json.dumps(dict(options), sort_keys=True)
    for character in "<>&'":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
