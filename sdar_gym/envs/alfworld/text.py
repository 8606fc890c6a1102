"""What a game says: sentences of its grammar, compiled once, said of a state."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sdar_gym.envs.alfworld.game_file import GameFileError
from sdar_gym.envs.alfworld.grammar import (
    VARIABLES,
    Grammar,
    Query,
    Reference,
    Sentence,
    Value,
    read_query,
    read_sentence,
    read_task,
)
from sdar_gym.envs.alfworld.state import State, bits

Binding = dict[str, int]
"""Variable to the index of the thing that it stands for."""
Rows = Sequence[tuple[int, ...]]
Rules = tuple[tuple[Query, "Utterance"], ...]

# Which part of the state a fact depends on. Facts not named here or below never change.
_PARTS = {
    "opened": "receptacle",
    "inreceptacle": "receptacle",
    "isclean": "object",
    "ishot": "object",
    "iscool": "object",
    "issliced": "object",
    "istoggled": "object",
    "holds": "hand",
    "holdsany": "hand",
    "atlocation": "location",
    "objectatlocation": "floor",
    "not_inreceptacle": "floor",
}
# The official engine knows a negated fact only once an action has made it so; for these, none does.
_NEVER = frozenset({"not_isclean", "not_issliced", "not_istoggled"})
_UNTRACKED = frozenset({"checked", "ison"})

_TASK = "task"
# Published grammars refer five deep; each level is a call, when compiled and when said.
_DEEPEST = 100

# Every thing has a name, and the article "a".
_EXPRESSION = re.compile(
    r"(?P<article>(?P<same>\w+)\.indefinite \+ ' ' \+ (?=(?P=same)\.))?(?P<variable>\w+)"
    r"(?:\.name(?: or (?P=variable)\.id)?|(?P<article_alone>\.indefinite))?"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """The first alternative that holds is said."""

    symbol: str
    rules: Rules


@dataclass(frozen=True, slots=True)
class Each:
    """Said once for every answer to a query; as a list, with separators."""

    query: Query
    utterance: Utterance
    is_list: bool


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a thing, after an article or not."""

    variable: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Utterance:
    """A compiled sentence.

    Attributes:
        pieces: What it consists of, in order.
        queries: Every query of it, and of what it refers to.
    """

    pieces: tuple[str | Choice | Each | Name, ...]
    queries: frozenset[Query]


class Speaker:
    """Compiles the sentences of one game and says them.

    Args:
        grammar: The game's grammar.
        names: By type, the names of its things in the order of their indices.
        facts: The facts that never change: predicate to index tuples, sorted.
        origin: The game's file, for errors.
    """

    def __init__(
        self, grammar: Grammar, names: Mapping[str, Sequence[str]], facts: Mapping[str, Rows], origin: str
    ) -> None:
        self._grammar = grammar
        self._names = names
        self._facts = facts
        self._place = f"{origin}, grammar"
        self._choices: dict[str, Choice] = {}
        self._open: list[str] = []
        self._separators = {name: self._plain(name) for name in ("list_empty", "list_separator", "list_last_separator")}

    def compile(self, text: str, place: str) -> Utterance:
        """Compile a sentence and everything that it refers to.

        Raises:
            GameFileError: it, or what it refers to, cannot be read.
        """
        try:
            return self._compiled(read_sentence(text))
        except GameFileError:
            raise
        except ValueError as error:
            raise GameFileError(f"{self._place}, {place}: {error}") from error

    def dependencies(self, utterance: Utterance, bound: Sequence[str], place: str) -> tuple[str, ...]:
        """The parts of the state that a sentence depends on.

        They are "receptacle" (of ?r), "object" (?o), "hand", "location" (of the agent), "here" (what lies, or was taken
        away, there) and "floor" (the same, anywhere).

        Raises:
            GameFileError: it asks for a fact that the engine does not track, or of things that are not named.
        """
        parts: set[str] = set()
        for query in utterance.queries:
            parts |= self._dependencies(query, bound, place)
        if "floor" in parts:
            parts.discard("here")
        return tuple(sorted(parts))

    def _dependencies(self, query: Query, bound: Sequence[str], place: str) -> set[str]:
        parts: set[str] = set()
        for name, variables in sorted(query):
            part = _PARTS.get(name)
            if part is None:
                continue
            if part == "floor" and _is_of_here(query, name, variables):
                part = "here"
            subject = {"receptacle": "r", "object": "o"}.get(part)
            if subject is not None and (variables[-1] != subject or subject not in bound):
                raise GameFileError(f"{self._place}, {place}: it asks {name} of things that the action does not name")
            parts.add(part)
        return parts

    def say(self, utterance: Utterance, state: State, binding: Binding) -> str:
        """The sentence in a state."""
        return "".join(self._spoken(utterance, state, binding))

    def _plain(self, symbol: str) -> str:
        pieces = self._choice(symbol).rules[0][1].pieces if symbol in self._grammar.rules else ("",)
        return "".join(piece for piece in pieces if isinstance(piece, str))

    def _compiled(self, sentence: Sentence) -> Utterance:
        pieces: list[str | Choice | Each | Name] = []
        queries: set[Query] = set()
        for segment in sentence:
            if isinstance(segment, str):
                pieces.append(segment)
                continue
            piece = self._choice(segment.symbol) if isinstance(segment, Reference) else self._value(segment)
            pieces.append(piece)
            queries |= _queries_of(piece)
        return Utterance(tuple(pieces), frozenset(queries))

    def _value(self, value: Value) -> str | Each | Name:
        if isinstance(value.content, Reference):
            return Each(value.query, self._compiled((value.content,)), value.is_list)
        name = _read_expression(value.content)
        if not value.query and not value.is_list:
            return name
        return Each(value.query, Utterance((name,), frozenset()), value.is_list)

    def _choice(self, symbol: str) -> Choice:
        if symbol in self._choices:
            return self._choices[symbol]
        if symbol not in self._grammar.rules:
            raise GameFileError(f"{self._place}: no rule says what #{symbol}# stands for")
        if symbol in self._open:
            raise GameFileError(f"{self._place}: #{symbol}# stands for itself, by way of {self._open}")
        if len(self._open) >= _DEEPEST:
            raise GameFileError(f"{self._place}: {self._open[0]!r} leads through more than {_DEEPEST} symbols")
        self._open.append(symbol)
        rules: list[tuple[Query, Utterance]] = []
        for rule in self._grammar.rules[symbol]:
            try:
                query = self._checked(read_query(rule.condition) if rule.condition else ())
                sentence = read_task(rule.text) if symbol == _TASK else read_sentence(rule.text)
                rules.append((query, self._compiled(sentence)))
            except GameFileError:
                raise
            except ValueError as error:
                raise GameFileError(f"{self._place}, {symbol!r}: {error}") from error
        self._open.pop()
        self._choices[symbol] = Choice(symbol, tuple(rules))
        return self._choices[symbol]

    def _checked(self, query: Query) -> Query:
        for predicate, _ in query:
            negated = predicate.startswith("not_") and predicate not in _PARTS and predicate not in _NEVER
            if predicate in _UNTRACKED or negated:
                raise ValueError(f"the condition asks for {predicate}, which no game of ALFWorld speaks of")
        return query

    def _spoken(self, utterance: Utterance, state: State, binding: Binding) -> Iterator[str]:
        for piece in utterance.pieces:
            if isinstance(piece, str):
                yield piece
            elif isinstance(piece, Name):
                if piece.variable not in binding:
                    raise GameFileError(
                        f"{self._place}: a sentence names {piece.variable!r} where no such thing is known"
                    )
                yield piece.prefix + self._names[VARIABLES[piece.variable]][binding[piece.variable]]
            elif isinstance(piece, Each):
                yield self._said_of_each(piece, state, binding)
            else:
                chosen = self._chosen(piece, state, binding)
                yield from self._spoken(chosen, state, binding)

    def _said_of_each(self, each: Each, state: State, binding: Binding) -> str:
        answers = self._answers(each.query, state, binding) if each.query else [binding]
        said = [self.say(each.utterance, state, answer) for answer in answers]
        if not each.is_list:
            return "".join(said)
        if not said:
            return self._separators["list_empty"]
        if len(said) == 1:
            return said[0]
        most = self._separators["list_separator"].join(said[:-1])
        return most + self._separators["list_last_separator"] + said[-1]

    def _chosen(self, choice: Choice, state: State, binding: Binding) -> Utterance:
        for query, utterance in choice.rules:
            if not query or next(self._answers(query, state, binding), None) is not None:
                return utterance
        raise GameFileError(f"{self._place}, {choice.symbol!r}: no alternative holds; add one without a condition")

    def _answers(self, query: Query, state: State, binding: Binding) -> Iterator[Binding]:
        """Every way to bind the free variables, in the order of the sorted facts, atom by atom."""
        if not query:
            yield binding
            return
        predicate, variables = query[0]
        for row in self._rows(predicate, state, binding.get(variables[-1])):
            extended = dict(binding)
            for variable, index in zip(variables, row, strict=True):
                if extended.setdefault(variable, index) != index or _is_taken(extended, variable, index):
                    break
            else:
                yield from self._answers(query[1:], state, extended)

    def _rows(self, predicate: str, state: State, last: int | None) -> Rows:
        """The facts of a predicate, sorted; those about a certain last thing at least, if it is known."""
        dynamic = _DYNAMIC.get(predicate)
        return self._facts.get(predicate, ()) if dynamic is None else dynamic(state, last)


def _is_taken(binding: Binding, variable: str, index: int) -> bool:
    """Whether another variable of the same type stands for the same thing: each stands for one of its own."""
    kind = VARIABLES[variable]
    return any(name != variable and value == index and VARIABLES[name] == kind for name, value in binding.items())


def _queries_of(piece: str | Choice | Each | Name) -> set[Query]:
    if isinstance(piece, str | Name):
        return set()
    if isinstance(piece, Each):
        return {piece.query, *piece.utterance.queries}
    return {each for query, utterance in piece.rules for each in (query, *utterance.queries)}


def _is_of_here(query: Query, name: str, variables: tuple[str, ...]) -> bool:
    """Whether a fact about a thing and a place is asked for the place where the agent is, and for no other."""
    here = {atom[1][-1] for atom in query if atom[0] == "atlocation"}
    if name == "objectatlocation":
        return variables[-1] in here
    return any(("receptacleatlocation", (variables[-1], location)) in query for location in here)


def _read_expression(text: str) -> str | Name:
    """`o.name`, `r.name or r.id`, `o.indefinite`, `o.indefinite + ' ' + o.name`, `r`: one of these, not evaluated."""
    match = _EXPRESSION.fullmatch(text)
    if match is None or match["variable"] not in VARIABLES:
        raise ValueError(f"the expression {text!r} is not one of those that ALFWorld's games use")
    if match["article_alone"]:
        return "a"
    return Name(match["variable"], "a " if match["article"] else "")


def _of_mask(read: Callable[[State], int]) -> Callable[[State, int | None], Rows]:
    return lambda state, last: [(index,) for index in bits(read(state))]


def _of_masks(read: Callable[[State], list[int]]) -> Callable[[State, int | None], Rows]:
    """Facts about a thing and a place, of a mask of things by place."""

    def rows(state: State, place: int | None) -> Rows:
        masks = read(state)
        if place is not None:
            return [(thing, place) for thing in bits(masks[place])]
        return sorted((thing, place) for place, mask in enumerate(masks) for thing in bits(mask))

    return rows


_DYNAMIC: dict[str, Callable[[State, int | None], Rows]] = {
    "opened": _of_mask(lambda state: state.opened),
    "isclean": _of_mask(lambda state: state.clean),
    "ishot": _of_mask(lambda state: state.hot),
    "iscool": _of_mask(lambda state: state.cool),
    "issliced": _of_mask(lambda state: state.sliced),
    "istoggled": _of_mask(lambda state: state.toggled),
    "inreceptacle": _of_masks(lambda state: state.contents),
    "objectatlocation": _of_masks(lambda state: state.at_location),
    "not_inreceptacle": _of_masks(lambda state: state.taken_from),
    "holds": lambda state, last: [(0, state.held)] if state.held >= 0 else [],
    "holdsany": lambda state, last: [(0,)] if state.held >= 0 else [],
    "atlocation": lambda state, last: [(0, state.location)],
}
