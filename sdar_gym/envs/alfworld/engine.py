"""The rules at work: which commands a state admits, what each does, and what the game answers.

Everything is looked up: commands by place and by what is in it, answers by what they depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sdar_gym.envs.alfworld.game import CompiledGame, Tables, read_game
from sdar_gym.envs.alfworld.game_file import GameFile, GameFileError
from sdar_gym.envs.alfworld.state import State, bits
from sdar_gym.envs.alfworld.text import Binding, Utterance

NOTHING = "Nothing happens."

# Entries kept for a game: enough for what a few dozen episodes visit, under a megabyte.
_KEPT_CHOICES = 256
_KEPT_ANSWERS = 2048


class Reply(NamedTuple):
    """What an engine answers.

    Attributes:
        text: The observation.
        admissible: Every command that the state admits, sorted as the official engine sorts them.
        won: Whether the goal is reached.
        understood: Whether the command was one of those admitted before.
    """

    text: str
    admissible: tuple[str, ...]
    won: bool
    understood: bool


class Engine(Protocol):
    """Plays one game."""

    def reset(self) -> Reply:
        """Back to the start."""

    def step(self, command: str) -> Reply:
        """Do what a command says."""


@dataclass(eq=False, slots=True)
class Act:
    """One action on certain things.

    Attributes:
        command: What calls it.
        kind: The domain's action.
        target: The receptacle that it is about, or -1.
        thing: The object that it is about, or -1.
        location: Where it happens, or where it leads.
        binding: Variable of the grammar to thing.
        effect: What it does; None if nothing that is tracked.
        text: What is always answered, or None if that depends on the state.
    """

    command: str
    kind: str
    target: int
    thing: int
    location: int
    binding: Binding
    effect: Callable[[State, Act], None] | None
    text: str | None = None


_ReadPart = Callable[[Tables, State, Act], object]


@dataclass(frozen=True, slots=True)
class Choices:
    """What a state admits: the acts that its place always offers, and the others; and all commands, sorted."""

    always: dict[str, Act]
    now: dict[str, Act]
    commands: tuple[str, ...]


@dataclass(slots=True)
class Place:
    """A location: its receptacles, what can be done there at any time, and the parts of the state that matter there."""

    receptacles: tuple[int, ...]
    mask: int
    always: dict[str, Act]
    choices: dict[tuple[object, ...], Choices] = field(default_factory=dict)


def _go(state: State, act: Act) -> None:
    state.location = act.location


def _open(state: State, act: Act) -> None:
    state.opened |= 1 << act.target


def _close(state: State, act: Act) -> None:
    state.opened &= ~(1 << act.target)


def _take(state: State, act: Act) -> None:
    bit = 1 << act.thing
    state.contents[act.target] &= ~bit
    state.taken_from[act.target] |= bit
    state.at_location[state.location] &= ~bit
    state.held = act.thing


def _put(state: State, act: Act) -> None:
    bit = 1 << act.thing
    state.contents[act.target] |= bit
    state.taken_from[act.target] &= ~bit
    state.at_location[state.location] |= bit
    state.held = -1


def _clean(state: State, act: Act) -> None:
    state.clean |= 1 << act.thing


def _heat(state: State, act: Act) -> None:
    state.hot |= 1 << act.thing
    state.cool &= ~(1 << act.thing)


def _cool(state: State, act: Act) -> None:
    state.cool |= 1 << act.thing
    state.hot &= ~(1 << act.thing)


def _toggle(state: State, act: Act) -> None:
    state.toggled |= 1 << act.thing


def _slice(state: State, act: Act) -> None:
    state.sliced |= 1 << act.thing


_EFFECTS: dict[str, Callable[[State, Act], None]] = {
    "gotolocation": _go,
    "openobject": _open,
    "closeobject": _close,
    "pickupobject": _take,
    "putobject": _put,
    "cleanobject": _clean,
    "heatobject": _heat,
    "coolobject": _cool,
    "toggleobject": _toggle,
    "sliceobject": _slice,
}

# The variables that each action names, besides the agent.
_VARIABLES: dict[str, tuple[str, ...]] = {
    "look": ("l",),
    "inventory": (),
    "help": (),
    "examinereceptacle": ("r",),
    "examineobject": ("o",),
    "gotolocation": ("lend", "r"),
    "openobject": ("l", "r"),
    "closeobject": ("l", "r"),
    "pickupobject": ("l", "o", "r"),
    "putobject": ("l", "o", "r"),
    "cleanobject": ("l", "o", "r"),
    "heatobject": ("l", "o", "r"),
    "coolobject": ("l", "o", "r"),
    "toggleobject": ("l", "o", "r"),
    "sliceobject": ("l", "co", "ko"),
}


class Game:
    """A game that can be played from any of its states; it holds no state of its own, so that many can share it."""

    def __init__(self, compiled: CompiledGame) -> None:
        self.compiled = compiled
        self.tables = compiled.tables
        self._sentences: dict[str, tuple[Utterance, tuple[_ReadPart, ...]]] = {}
        self._templates: dict[str, Utterance] = {}
        for kind in _VARIABLES:
            self._compile_sentence(kind)
        speaker = compiled.speaker
        self.intro = speaker.say(speaker.compile("#intro#", "intro"), compiled.start, {})
        self._acts: dict[tuple[str, int, int, int], Act] = {}
        self._places: dict[int, Place] = {}
        self._answers: dict[tuple[object, ...], str] = {}

    def choices(self, state: State) -> Choices:
        """What a state admits."""
        place = self._places.get(state.location)
        if place is None:
            place = self._places[state.location] = self._place(state.location)
        tables, held, contents = self.tables, state.held, state.contents
        matters = tables.toggleable if held >= 0 else tables.toggleable | tables.pickupable
        at_hand = state.at_location[state.location] & tables.sliceable if held >= 0 and tables.knives >> held & 1 else 0
        key = (held, state.opened & place.mask, at_hand, *[contents[each] & matters for each in place.receptacles])
        found = place.choices.get(key)
        if found is None:
            if len(place.choices) >= _KEPT_CHOICES:
                place.choices.clear()
            now = {act.command: act for act in self._acts_now(state, place)}
            found = Choices(place.always, now, tuple(sorted({*place.always, *now})))
            place.choices[key] = found
        return found

    def perform(self, state: State, act: Act) -> str:
        """Do an act that the state admits: changes the state and returns what the game answers."""
        if act.effect is not None:
            act.effect(state, act)
        return act.text if act.text is not None else self._answer(state, act)

    def is_won(self, state: State) -> bool:
        """Whether the goal is reached."""
        return self.compiled.is_won(state)

    def _compile_sentence(self, kind: str) -> None:
        grammar, place = self.compiled.grammar, f"action {kind}"
        if kind not in grammar.templates or kind not in grammar.feedback:
            raise GameFileError(f"{self.compiled.origin}, grammar: {place} has no template or no feedback")
        speaker = self.compiled.speaker
        utterance = speaker.compile(grammar.feedback[kind], f"{place}, feedback")
        parts = speaker.dependencies(utterance, _VARIABLES[kind], place)
        template = speaker.compile(grammar.templates[kind], f"{place}, template")
        if speaker.dependencies(template, _VARIABLES[kind], place):
            raise GameFileError(f"{self.compiled.origin}, grammar: the template of {place} depends on the state")
        self._sentences[kind] = (utterance, tuple(_PARTS[part] for part in parts))
        self._templates[kind] = template

    def _answer(self, state: State, act: Act) -> str:
        utterance, parts = self._sentences[act.kind]
        key: tuple[object, ...] = (id(act), *[read(self.tables, state, act) for read in parts])
        text = self._answers.get(key)
        if text is None:
            text = self.compiled.speaker.say(utterance, state, act.binding)
            if len(self._answers) >= _KEPT_ANSWERS:
                self._answers.clear()
            self._answers[key] = text
        return text

    def act(self, kind: str, *, target: int = -1, thing: int = -1, location: int) -> Act:
        """The act of a kind on certain things, whether or not a state admits it; for going, the place it leads to."""
        key = (kind, target, thing, location)
        act = self._acts.get(key)
        if act is None:
            act = self._acts[key] = self._new_act(kind, target, thing, location)
        return act

    def _new_act(self, kind: str, target: int, thing: int, location: int, knife: int = -1) -> Act:
        indices = {"l": location, "lend": location, "r": target, "o": thing, "co": thing, "ko": knife}
        binding = {"a": 0, **{name: indices[name] for name in _VARIABLES[kind]}}
        compiled = self.compiled
        # A command never depends on the state: its template may name things only.
        command = compiled.speaker.say(self._templates[kind], compiled.start, binding)
        act = Act(command, kind, target, thing, location, binding, _EFFECTS.get(kind))
        utterance, parts = self._sentences[kind]
        if not parts:
            act.text = compiled.speaker.say(utterance, compiled.start, binding)
        return act

    def _place(self, location: int) -> Place:
        tables = self.tables
        here = tables.receptacles_at[location]
        acts = [self.act(kind, location=location) for kind in ("look", "inventory", "help")]
        acts += [self.act("examinereceptacle", target=each, location=location) for each in here]
        for receptacle, its_place in enumerate(tables.place_of):
            # Where one already is, one cannot go: the official translator drops actions that change nothing.
            if its_place not in (-1, location):
                acts.append(self.act("gotolocation", target=receptacle, location=its_place))
        return Place(here, sum(1 << each for each in here), {act.command: act for act in acts})

    def _acts_now(self, state: State, place: Place) -> Iterable[Act]:
        tables, location, held = self.tables, state.location, state.held
        for target in place.receptacles:
            is_open, is_openable = state.opened >> target & 1, tables.openable >> target & 1
            if is_openable:
                yield self.act("closeobject" if is_open else "openobject", target=target, location=location)
            for thing in bits(state.contents[target] & tables.toggleable):
                yield self.act("toggleobject", target=target, thing=thing, location=location)
            if held >= 0:
                yield from self._acts_with_held(held, target, location, reachable=bool(is_open or not is_openable))
            elif is_open or not is_openable:
                for thing in bits(state.contents[target] & tables.pickupable):
                    yield self.act("pickupobject", target=target, thing=thing, location=location)
        if held >= 0:
            yield self.act("examineobject", thing=held, location=location)
            if tables.knives >> held & 1:
                for thing in bits(state.at_location[location] & tables.sliceable):
                    yield self._slicing(held, thing, location)

    def _acts_with_held(self, held: int, target: int, location: int, *, reachable: bool) -> Iterable[Act]:
        tables = self.tables
        if reachable and tables.accepts[target] >> held & 1:
            yield self.act("putobject", target=target, thing=held, location=location)
        for kind, appliances, able in (
            ("cleanobject", tables.cleaners, tables.cleanable),
            ("heatobject", tables.heaters, tables.heatable),
            ("coolobject", tables.coolers, tables.coolable),
        ):
            if appliances >> target & 1 and able >> held & 1:
                yield self.act(kind, target=target, thing=held, location=location)

    def _slicing(self, knife: int, thing: int, location: int) -> Act:
        # The knife takes the place of the receptacle in the key: slicing has none.
        key = ("sliceobject", knife, thing, location)
        act = self._acts.get(key)
        if act is None:
            act = self._acts[key] = self._new_act("sliceobject", -1, thing, location, knife)
        return act


def _here(tables: Tables, state: State) -> object:
    receptacles = tables.receptacles_at[state.location]
    return state.at_location[state.location], *[state.taken_from[each] for each in receptacles]


# By part of the state that a sentence depends on (see `Speaker.dependencies`): its value.
_PARTS: dict[str, _ReadPart] = {
    "receptacle": lambda tables, state, act: (state.opened >> act.target & 1, state.contents[act.target]),
    "object": lambda tables, state, act: tuple(
        mask >> act.thing & 1 for mask in (state.clean, state.hot, state.cool, state.sliced, state.toggled)
    ),
    "hand": lambda tables, state, act: state.held,
    "location": lambda tables, state, act: state.location,
    "here": lambda tables, state, act: _here(tables, state),
    "floor": lambda tables, state, act: (tuple(state.at_location), tuple(state.taken_from)),
}


class NativeEngine:
    """Plays a game: a state and the choices that it offers."""

    __slots__ = ("_choices", "_won", "game", "state")

    def __init__(self, game: Game) -> None:
        self.game = game
        self.reset()

    def reset(self) -> Reply:
        self.go_to(self.game.compiled.start)
        return Reply(self.game.intro, self._choices.commands, self._won, True)

    def step(self, command: str) -> Reply:
        choices, word = self._choices, command.strip()
        act = choices.now.get(word) or choices.always.get(word)
        if act is None:
            return Reply(NOTHING, choices.commands, self._won, False)
        text = self.game.perform(self.state, act)
        if act.effect is not None:
            self._look_around()
        return Reply(text, self._choices.commands, self._won, True)

    def fork(self) -> NativeEngine:
        """An independent engine in the same state."""
        twin = NativeEngine.__new__(NativeEngine)
        twin.game, twin.state, twin._choices, twin._won = self.game, self.state.copy(), self._choices, self._won
        return twin

    def go_to(self, state: State) -> None:
        """Continue from a copy of a state of this game."""
        self.state = state.copy()
        self._look_around()

    def _look_around(self) -> None:
        self._choices = self.game.choices(self.state)
        self._won = self.game.compiled.is_won(self.state)


def compile_game(game_file: GameFile) -> Game:
    """Compile a game, to be played by any number of engines.

    Raises:
        GameFileError: it cannot be read, or is not by ALFRED's rules; the text names file and place.
    """
    return Game(read_game(game_file))
