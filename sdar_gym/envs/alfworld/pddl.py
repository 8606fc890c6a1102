"""Reading PDDL: text to nested tuples, and a problem to its things, facts and goal."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sdar_gym.envs.alfworld.game_file import GameFileError

Node = str | tuple["Node", ...]
"""A word, or a parenthesised list. PDDL ignores case: words are lower case."""

_TOKEN = re.compile(r"[()]|[^\s()]+")
_COMMENT = re.compile(r";[^\n]*")

# Published games nest ten deep; what reads formulas calls itself once a level.
_DEEPEST = 100

_PARTS = ("problem", ":domain", ":requirements", ":objects", ":init", ":goal", ":metric")
_ORDER = "problem, :domain, :objects, :init, :goal"


@dataclass(frozen=True, slots=True)
class Problem:
    """One PDDL problem.

    Attributes:
        domain: Name of the domain that it is a problem of.
        types: Name of every thing to the name of its type.
        facts: Predicate to the argument lists for which it holds at the start, in the order of the file.
        goal: The goal formula.
    """

    domain: str
    types: dict[str, str]
    facts: dict[str, list[tuple[str, ...]]]
    goal: Node


def read_pddl(text: str, place: str) -> tuple[Node, ...]:
    """The one list that a PDDL text consists of.

    Args:
        text: A domain or a problem.
        place: Names the file and the part of it, for errors.

    Raises:
        GameFileError: the parentheses do not match, or nest too deeply.
    """
    stack: list[list[Node]] = [[]]
    code = _COMMENT.sub("", text)
    if not code.isascii():
        odd = next(character for character in code if not character.isascii())
        raise GameFileError(f"{place}: {odd!r} outside of a comment; PDDL is written in ASCII")
    for token in _TOKEN.findall(code.lower()):
        if token == "(":
            if len(stack) > _DEEPEST:
                raise GameFileError(f"{place}: nested more than {_DEEPEST} deep")
            stack.append([])
        elif token != ")":
            stack[-1].append(token)
        elif len(stack) == 1:
            raise GameFileError(f"{place}: a ')' too many, in line {_unbalanced_line(text)}")
        else:
            closed = tuple(stack.pop())
            stack[-1].append(closed)
    if len(stack) > 1:
        raise GameFileError(f"{place}: {len(stack) - 1} ')' missing at the end; the text is cut short")
    if len(stack[0]) != 1 or not isinstance(stack[0][0], tuple):
        raise GameFileError(f"{place}: a single (define ...) belongs here")
    return stack[0][0]


def read_problem(text: str, place: str) -> Problem:
    """Read a PDDL problem.

    Raises:
        GameFileError: a part is missing, stands twice or cannot be read.
    """
    sections = sections_of(read_pddl(text, place), place)
    for name in (":objects", ":init", ":goal"):
        if len(sections.get(name, ())) != 1:
            raise GameFileError(f"{place}: it has {len(sections.get(name, ()))} parts {name}; one belongs here")
    # As PDDL has it; the official reader takes no other order.
    order = [name for name in sections if name in _PARTS]
    if order != [name for name in _PARTS if name in order] or len(order) != len(sections):
        raise GameFileError(f"{place}: its parts are {', '.join(sections)}; they must be, in this order, {_ORDER}")
    domain = sections.get(":domain", [()])[0]
    goal = sections[":goal"][0]
    if len(goal) != 2:
        raise GameFileError(f"{place}, :goal: it holds {len(goal) - 1} formulas; one belongs here")
    things = typed_names(sections[":objects"][0][1:], f"{place}, :objects")
    types = dict(things)
    if len(types) != len(things):
        names = [name for name, _ in things]
        twice = next(name for name in names if names.count(name) > 1)
        raise GameFileError(f"{place}, :objects: {twice!r} is declared twice")
    return Problem(
        " ".join(map(show, domain[1:])), types, _read_facts(sections[":init"][0][1:], types, f"{place}, :init"), goal[1]
    )


def sections_of(define: tuple[Node, ...], place: str) -> dict[str, list[tuple[Node, ...]]]:
    """The parts of a `(define ...)` by their first word, each a list because `:action` stands many times."""
    if not define or define[0] != "define":
        raise GameFileError(f"{place}: it does not start with (define")
    sections: dict[str, list[tuple[Node, ...]]] = {}
    for part in define[1:]:
        if not isinstance(part, tuple) or not part or not isinstance(part[0], str):
            raise GameFileError(f"{place}: {show(part)} is no part of a definition")
        sections.setdefault(part[0], []).append(part)
    return sections


def typed_names(words: tuple[Node, ...], place: str) -> list[tuple[str, str]]:
    """`a b - t c - u` as [(a, t), (b, t), (c, u)]."""
    named: list[tuple[str, str]] = []
    waiting: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        if not isinstance(word, str):
            raise GameFileError(f"{place}: {show(word)} where a name belongs")
        if word != "-":
            waiting.append(word)
            position += 1
            continue
        type_name = words[position + 1] if position + 1 < len(words) else None
        if not isinstance(type_name, str) or not waiting:
            raise GameFileError(f"{place}: '-' stands without a name before and a type after it")
        named.extend((name, type_name) for name in waiting)
        waiting = []
        position += 2
    if waiting:
        raise GameFileError(f"{place}: {waiting[0]!r} has no type")
    return named


def show(node: Node) -> str:
    """A formula as text, shortened: for errors."""
    text = _text(node)
    return text if len(text) <= 120 else text[:117] + "..."


def _text(node: Node) -> str:
    return node if isinstance(node, str) else f"({' '.join(map(_text, node))})"


def _read_facts(nodes: tuple[Node, ...], types: dict[str, str], place: str) -> dict[str, list[tuple[str, ...]]]:
    facts: dict[str, list[tuple[str, ...]]] = {}
    numbers: dict[Node, float] = {}
    for node in nodes:
        if not isinstance(node, tuple) or not node or not isinstance(node[0], str):
            raise GameFileError(f"{place}: {show(node)} is no fact")
        if node[0] == "=":  # distances and the total cost: they change nothing that a player sees
            function, number = _read_number(node, place)
            if numbers.setdefault(function, number) != number:
                raise GameFileError(f"{place}: {show(node)} contradicts another value of {show(function)}")
            continue
        arguments = tuple(argument for argument in node[1:] if isinstance(argument, str))
        if len(arguments) + 1 != len(node):
            raise GameFileError(f"{place}: {show(node)} is no plain fact")
        for argument in arguments:
            if argument not in types:
                raise GameFileError(f"{place}: {show(node)} names {argument!r}, which :objects does not declare")
        facts.setdefault(node[0], []).append(arguments)
    return facts


def _read_number(node: tuple[Node, ...], place: str) -> tuple[Node, float]:
    """The function and the value of `(= (function ...) value)`; PDDL planners know whole numbers only."""
    value = node[2] if len(node) == 3 else None
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(\.0*)?", value):
        return node[1], float(value)
    raise GameFileError(f"{place}: {show(node)} gives no whole number to a function")


def _unbalanced_line(text: str) -> int:
    depth = 0
    for number, line in enumerate(text.split("\n"), start=1):
        for token in _TOKEN.findall(_COMMENT.sub("", line)):
            depth += (token == "(") - (token == ")")
            if depth < 0:
                return number
    raise AssertionError("called for balanced text")
