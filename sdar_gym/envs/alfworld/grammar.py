"""Reading a game's grammar: command templates, and the sentences that answer them. Nothing in it is evaluated."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sdar_gym.envs.alfworld.game_file import GameFileError

Atom = tuple[str, tuple[str, ...]]
"""A predicate and the names of its variables."""
Query = tuple[Atom, ...]
"""Atoms that must hold together."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`#symbol#`: whatever the rules of the symbol say."""

    symbol: str


@dataclass(frozen=True, slots=True)
class Value:
    """`{r.name}`, or `{r.name | query}`: an expression or a symbol, once for every answer to the query.

    Attributes:
        content: What to say of each answer.
        query: Empty for the variables as they are.
        is_list: Whether answers are listed with separators (and their absence said), as `[...]` does.
    """

    content: str | Reference
    query: Query
    is_list: bool


Segment = str | Reference | Value
Sentence = tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Alternative:
    """A sentence that is said when its condition has an answer; both unread, as published games hold unreadable ones.

    Attributes:
        condition: For `read_query`; empty if there is none.
        text: For `read_sentence`.
    """

    condition: str
    text: str


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a game says.

    Attributes:
        templates: Action to the command that calls it, such as `take {o} from {r}`.
        feedback: Action to the sentence that answers it, for `read_sentence`.
        rules: Symbol to its alternatives, the first that holds being said.
    """

    templates: dict[str, str]
    feedback: dict[str, str]
    rules: dict[str, tuple[Alternative, ...]]


# The type of every variable that a sentence may speak of.
VARIABLES = {
    "a": "agent",
    "l": "location",
    "lstart": "location",
    "lend": "location",
    "r": "receptacle",
    "o": "object",
    "o2": "object",
    "co": "object",
    "ko": "object",
}

_SPACE = re.compile(r"(?:\s+|#[^\n]*)*")
_ENTRY = re.compile(r'(?:grammar\s*::\s*"""(?P<rules>.*?)"""\s*;)|(?:action\s+(?P<action>[\w/-]+)\s*\{)', re.DOTALL)
_FIELD = re.compile(
    r'(?:grammar\s*::\s*"""(?P<rules>.*?)"""\s*;)|(?:(?P<key>template|feedback)\s*::\s*"(?P<text>[^"]*)"\s*;)'
    r"|(?P<end>\})",
    re.DOTALL,
)
_SEGMENT = re.compile(
    r"\t*(?:\[\{(?P<list>[^{}\[\]\t]*)\}\]|\{(?P<value>[^{}\[\]\t]*)\}|#(?P<symbol>[\w()/!\- \n\r\f\v,.]+)#"
    r"|\"(?P<quoted>[^;|\"<>\[\]#{}]*)\"|(?P<text>[^;|\"<>\[\]#{}\t][^;|\"<>\[\]#{}]*)|(?<=\t)$)"
)
_ATOM = re.compile(r"(\w+)\(((?:\w+:\w+)(?:,\w+:\w+)*)\)")


def read_grammar(text: str, origin: str) -> Grammar:
    """Read a grammar of TextWorld's PDDL games.

    Args:
        text: The game's grammar.
        origin: The game's file, for errors.

    Raises:
        GameFileError: something in it cannot be read; the text names the place.
    """
    templates: dict[str, str] = {}
    feedback: dict[str, str] = {}
    rules: dict[str, tuple[Alternative, ...]] = {}
    for action, key, value in _entries(text, f"{origin}, grammar"):
        place = f"{origin}, grammar, {f'action {action}' if action else 'rules'}"
        if key == "template":
            templates[action.lower()] = value
        elif key == "feedback":
            feedback[action.lower()] = value
        else:
            rules.update(_read_rules(value, place))
    return Grammar(templates, feedback, rules)


def _entries(text: str, place: str) -> list[tuple[str, str, str]]:
    """(action or "", "template" or "feedback" or "rules", text), in the order of the file."""
    entries: list[tuple[str, str, str]] = []
    position, action = _skip(text, 0), ""
    while position < len(text):
        match = (_FIELD if action else _ENTRY).match(text, position)
        if match is None:
            line = text.count("\n", 0, position) + 1
            raise GameFileError(f"{place}, line {line}: cannot be read from {text[position : position + 40]!r} on")
        found = match.groupdict()
        if found["rules"] is not None:
            entries.append((action, "rules", found["rules"]))
        elif found.get("key"):
            entries.append((action, found["key"], found["text"]))
        else:
            action = found.get("action") or ""
        position = _skip(text, match.end())
    if action:
        raise GameFileError(f"{place}: it ends within action {action}; the text is cut short")
    return entries


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _read_rules(text: str, place: str) -> dict[str, tuple[Alternative, ...]]:
    # As in the official reader, lines that start with # are comments in here too.
    lines = [line for line in text.split("\n") if not line.lstrip().startswith("#")]
    try:
        content: Any = json.loads("\n".join(lines))
    except (json.JSONDecodeError, RecursionError) as error:
        raise GameFileError(f"{place}: no JSON: {error}") from error
    if not isinstance(content, dict):
        raise GameFileError(f"{place}: a JSON object belongs here")
    return {symbol: _read_alternatives(rules, f"{place}, {symbol!r}") for symbol, rules in content.items()}


def _read_alternatives(rules: Any, place: str) -> tuple[Alternative, ...]:
    if not isinstance(rules, list) or not rules:
        raise GameFileError(f"{place}: a list of rules belongs here")
    alternatives: list[Alternative] = []
    for rule in rules:
        if not isinstance(rule, dict) or not isinstance(rule.get("rhs"), str):
            raise GameFileError(f"{place}: a rule has no text 'rhs'")
        condition = rule.get("condition", "")
        if not isinstance(condition, str):
            raise GameFileError(f"{place}: the condition {condition!r} is no text")
        alternatives.append(Alternative(condition, rule["rhs"]))
    return tuple(alternatives)


@lru_cache(maxsize=4096)
def read_sentence(text: str) -> Sentence:
    """The segments of a sentence.

    Raises:
        ValueError: something in it is none of a text, `#symbol#`, `{value}`, `[{value | query}]`.
    """
    segments, position = _read_segments(text)
    if position < len(text):
        raise ValueError(f"the sentence cannot be read from {text[position : position + 40]!r} on")
    return segments


def read_task(text: str) -> Sentence:
    """The segments of a task line, up to the first sign that cannot be read: there the official reader ends it.

    Only task lines hold what people wrote as they pleased (`goal_desc_human_anns_prob` of the official generator).
    """
    return _read_segments(text)[0]


def _read_segments(text: str) -> tuple[Sentence, int]:
    """The segments that can be read, and where the rest starts."""
    # The official reader skips space before the first segment, and keeps it elsewhere; tabs it keeps in texts only.
    position = len(text) - len(text.lstrip())
    segments: list[Segment] = []
    while not text.startswith("//") and (match := _SEGMENT.match(text, position)):
        if match["list"] is not None:
            segments.append(_read_value(match["list"], is_list=True))
        elif match["value"] is not None:
            segments.append(_read_value(match["value"], is_list=False))
        elif match["symbol"] is not None:
            segments.append(Reference(match["symbol"]))
        else:
            segments.append(match["text"] or match["quoted"] or "")
        position = match.end()
    return tuple(segments), position


def _read_value(text: str, *, is_list: bool) -> Value:
    content, _, query = (part.strip() for part in text.partition("|"))
    answers = read_query(query) if query else ()
    if len(content) > 2 and content[0] == content[-1] == "#":
        return Value(Reference(content[1:-1]), answers, is_list)
    return Value(content, answers, is_list)


@lru_cache(maxsize=1024)
def read_query(text: str) -> Query:
    """The atoms of a condition such as `openable(r:receptacle) & opened(r:receptacle)`.

    Raises:
        ValueError: it is no conjunction of atoms over known variables.
    """
    atoms: list[Atom] = []
    for part in re.sub(r"\s", "", text).split("&"):
        match = _ATOM.fullmatch(part)
        if match is None:
            raise ValueError(f"the condition {text!r} is no conjunction of facts")
        names: list[str] = []
        for argument in match[2].split(","):
            name, _, type_name = argument.partition(":")
            if VARIABLES.get(name) != type_name:
                raise ValueError(f"the condition {text!r} names {argument!r}, which no game of ALFWorld speaks of")
            names.append(name)
        atoms.append((match[1], tuple(names)))
    return tuple(atoms)
