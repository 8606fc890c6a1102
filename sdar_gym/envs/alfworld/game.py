"""One game, compiled: tables that never change and that every environment of the process can share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sdar_gym.envs.alfworld.domain import Rules, read_domain
from sdar_gym.envs.alfworld.game_file import GameFile, GameFileError
from sdar_gym.envs.alfworld.goal import Goal, LightGoal, PlaceGoal, read_goal
from sdar_gym.envs.alfworld.grammar import Grammar, read_grammar
from sdar_gym.envs.alfworld.pddl import Problem, read_problem
from sdar_gym.envs.alfworld.state import State, bits, mask_of
from sdar_gym.envs.alfworld.text import Rows, Speaker

TASK_PREFIX = "Your task is to: "

# The facts that the engine reads, with the types of their arguments.
_THING = ("object",)
_SIGNATURES: dict[str, tuple[str, ...]] = {
    "atlocation": ("agent", "location"),
    "receptacleatlocation": ("receptacle", "location"),
    "objectatlocation": ("object", "location"),
    "inreceptacle": ("object", "receptacle"),
    "objecttype": ("object", "otype"),
    "receptacletype": ("receptacle", "rtype"),
    "cancontain": ("rtype", "otype"),
    "openable": ("receptacle",),
    "opened": ("receptacle",),
    **dict.fromkeys(("pickupable", "cleanable", "heatable", "coolable", "toggleable", "sliceable"), _THING),
    **dict.fromkeys(("isclean", "ishot", "iscool", "issliced", "istoggled"), _THING),
}
# Facts of which each thing has one: otherwise one command would stand for several actions.
_SINGLE = ("atlocation", "receptacleatlocation")


@dataclass(frozen=True, slots=True)
class Tables:
    """What is true throughout a game. Masks of objects unless said otherwise.

    Attributes:
        objects: Names, in the order of the indices; so are `receptacles` and `locations`.
        place_of: By receptacle, the index of its location, or -1.
        receptacles_at: By location, its receptacles, ascending.
        accepts: By receptacle, the objects that it can hold.
        openable: Receptacles that open; likewise `cleaners`, `heaters` and `coolers` are receptacles.
        pickupable: Objects that can be taken; likewise `cleanable` to `sliceable`.
        knives: Objects that slice.
        object_type: By type, the objects of it; `receptacle_type` likewise the receptacles.
    """

    objects: tuple[str, ...]
    receptacles: tuple[str, ...]
    locations: tuple[str, ...]
    place_of: tuple[int, ...]
    receptacles_at: tuple[tuple[int, ...], ...]
    accepts: tuple[int, ...]
    openable: int
    cleaners: int
    heaters: int
    coolers: int
    pickupable: int
    cleanable: int
    heatable: int
    coolable: int
    toggleable: int
    sliceable: int
    knives: int
    object_type: dict[str, int]
    receptacle_type: dict[str, int]


@dataclass(frozen=True, slots=True)
class CompiledGame:
    """What the engine plays.

    Attributes:
        origin: The game's file, for errors.
        tables: What never changes.
        start: The initial state; copy it before changing it.
        goal: What wins.
        is_won: Whether a state wins.
        task: The goal in a sentence, without "Your task is to: ".
        grammar: Templates and sentences.
        speaker: Says the sentences.
    """

    origin: str
    tables: Tables
    start: State
    goal: Goal
    is_won: Callable[[State], bool]
    task: str
    grammar: Grammar
    speaker: Speaker


def read_game(game: GameFile) -> CompiledGame:
    """Compile a game's text.

    Raises:
        GameFileError: something in it cannot be read, or is not by ALFRED's rules; the text names file and place.
    """
    rules = read_domain(game.pddl_domain, game.origin)
    problem = read_problem(game.pddl_problem, f"{game.origin}, pddl_problem")
    if problem.domain != rules.name:
        raise GameFileError(f"{game.origin}, pddl_problem: of domain {problem.domain!r}; pddl_domain is {rules.name!r}")
    grammar = read_grammar(game.grammar, game.origin)
    index = _Index(problem, f"{game.origin}, pddl_problem")
    tables = index.tables(rules)
    names = {
        "object": tables.objects,
        "receptacle": tables.receptacles,
        "location": tables.locations,
        "agent": index.names("agent"),
    }
    speaker = Speaker(grammar, names, index.rows(), game.origin)
    goal = read_goal(problem.goal, f"{game.origin}, pddl_problem, :goal")
    line = speaker.say(speaker.compile("#task#", "task"), index.start(), {})
    return CompiledGame(
        origin=game.origin,
        tables=tables,
        start=index.start(),
        goal=goal,
        is_won=goal_check(goal, tables),
        task=line.strip().removeprefix(TASK_PREFIX),
        grammar=grammar,
        speaker=speaker,
    )


def goal_check(goal: Goal, tables: Tables) -> Callable[[State], bool]:
    """The test whether a state wins."""
    wanted = tables.object_type.get(goal.object_type, 0)
    if isinstance(goal, LightGoal):
        return _light_check(wanted, tables.object_type.get(goal.lamp_type, 0) & tables.toggleable, tables)
    receptacles = tuple(bits(tables.receptacle_type.get(goal.receptacle_type, 0)))
    treated, count = treated_mask(goal), goal.count
    wanted &= treatable(goal, tables)

    def is_placed(state: State) -> bool:
        things = wanted & treated(state)
        for place in receptacles:  # noqa: SIM110 - `any` of a generator takes twice as long; this runs every turn
            if (state.contents[place] & things).bit_count() >= count:
                return True
        return False

    return is_placed


def treatable(goal: PlaceGoal, tables: Tables) -> int:
    """The objects that can have what a goal demands of them."""
    by_treatment = {"isclean": tables.cleanable, "ishot": tables.heatable, "iscool": tables.coolable}
    return -1 if goal.treatment is None else by_treatment[goal.treatment]


def treated_mask(goal: PlaceGoal) -> Callable[[State], int]:
    """From a state to the objects that have what a goal demands of them; all if it demands nothing."""
    if goal.treatment == "isclean":
        return lambda state: state.clean
    if goal.treatment == "ishot":
        return lambda state: state.hot
    if goal.treatment == "iscool":
        return lambda state: state.cool
    return lambda state: -1


def _light_check(wanted: int, lamps: int, tables: Tables) -> Callable[[State], bool]:
    def is_lit(state: State) -> bool:
        if state.held < 0 or not wanted >> state.held & 1:
            return False
        lit = lamps & state.toggled
        return any(state.contents[place] & lit for place in tables.receptacles_at[state.location])

    return is_lit


class _Index:
    """Gives every thing that a fact names an index within its type, in the order of the names in the file."""

    def __init__(self, problem: Problem, place: str) -> None:
        self._problem = problem
        self._place = place
        mentioned = sorted({name for rows in problem.facts.values() for row in rows for name in row})
        self._ids: dict[str, list[str]] = {}
        for name in mentioned:
            self._ids.setdefault(problem.types[name], []).append(name)
        self._number = {name: number for ids in self._ids.values() for number, name in enumerate(ids)}
        self._shown = shown_names(mentioned)
        self._check()

    def _check(self) -> None:
        types, place = self._problem.types, f"{self._place}, :init"
        for predicate, signature in _SIGNATURES.items():
            for row in self._facts(predicate):
                found = tuple(types[name] for name in row)
                if found != signature:
                    fact = " ".join((predicate, *row))
                    raise GameFileError(f"{place}: ({fact}) is of types {found}; {predicate} is of {signature}")
        for predicate in _SINGLE:
            repeated = [name for name, count in Counter(row[0] for row in self._facts(predicate)).items() if count > 1]
            if repeated:
                raise GameFileError(f"{place}: ({predicate} {repeated[0]} ...) holds for more than one location")
        if len(self._facts("atlocation")) != 1:
            raise GameFileError(f"{place}: {len(self._facts('atlocation'))} facts atLocation; one belongs there")
        for thing in self._shown:
            head, bar, _ = thing.partition("_bar_")
            # The official engine counts such names in one spelling and looks them up in another.
            if "|" in thing or (bar and _unescaped(head) != head):
                raise GameFileError(
                    f"{place}: {thing!r} is no name for a thing: it holds '|', or '_minus_' in its head"
                )
        for predicate in ("holds", "holdsany"):
            if self._facts(predicate):
                raise GameFileError(f"{place}: ({predicate} ...): a game of ALFWorld starts with an empty hand")

    def names(self, kind: str) -> tuple[str, ...]:
        return tuple(self._shown[name] for name in self._ids.get(kind, ()))

    def rows(self) -> dict[str, Rows]:
        """Every fact at the start, as indices, sorted."""
        return {
            predicate: sorted(tuple(self._number[name] for name in row) for row in rows)
            for predicate, rows in self._problem.facts.items()
        }

    def tables(self, rules: Rules) -> Tables:
        place_of = self._places()
        object_type = self._by_type("objecttype")
        receptacle_type = self._by_type("receptacletype")
        locations = len(self._ids.get("location", ()))
        at: list[list[int]] = [[] for _ in range(locations)]
        for receptacle, location in enumerate(place_of):
            if location >= 0:
                at[location].append(receptacle)
        return Tables(
            objects=self.names("object"),
            receptacles=self.names("receptacle"),
            locations=self.names("location"),
            place_of=tuple(place_of),
            receptacles_at=tuple(map(tuple, at)),
            accepts=self._accepts(object_type, receptacle_type),
            openable=self._mask("openable"),
            cleaners=_union(receptacle_type, rules.cleaners),
            heaters=_union(receptacle_type, rules.heaters),
            coolers=_union(receptacle_type, rules.coolers),
            pickupable=self._mask("pickupable"),
            cleanable=self._mask("cleanable"),
            heatable=self._mask("heatable"),
            coolable=self._mask("coolable"),
            toggleable=self._mask("toggleable"),
            sliceable=self._mask("sliceable"),
            knives=_union(object_type, rules.knives),
            object_type=object_type,
            receptacle_type=receptacle_type,
        )

    def start(self) -> State:
        """The initial state."""
        return State(
            location=self._number[self._facts("atlocation")[0][1]],
            held=-1,
            opened=self._mask("opened"),
            clean=self._mask("isclean"),
            hot=self._mask("ishot"),
            cool=self._mask("iscool"),
            sliced=self._mask("issliced"),
            toggled=self._mask("istoggled"),
            contents=self._grouped("inreceptacle", "receptacle"),
            at_location=self._grouped("objectatlocation", "location"),
            taken_from=[0] * len(self._ids.get("receptacle", ())),
        )

    def _facts(self, predicate: str) -> list[tuple[str, ...]]:
        return self._problem.facts.get(predicate, [])

    def _mask(self, predicate: str) -> int:
        return mask_of(self._number[row[0]] for row in self._facts(predicate))

    def _grouped(self, predicate: str, kind: str) -> list[int]:
        masks = [0] * len(self._ids.get(kind, ()))
        for thing, place in self._facts(predicate):
            masks[self._number[place]] |= 1 << self._number[thing]
        return masks

    def _by_type(self, predicate: str) -> dict[str, int]:
        masks: dict[str, int] = {}
        for thing, kind in self._facts(predicate):
            masks[kind] = masks.get(kind, 0) | 1 << self._number[thing]
        return masks

    def _places(self) -> list[int]:
        places = [-1] * len(self._ids.get("receptacle", ()))
        for receptacle, location in self._facts("receptacleatlocation"):
            places[self._number[receptacle]] = self._number[location]
        return places

    def _accepts(self, object_type: dict[str, int], receptacle_type: dict[str, int]) -> tuple[int, ...]:
        accepts = [0] * len(self._ids.get("receptacle", ()))
        for kind, thing in self._facts("cancontain"):
            for receptacle in bits(receptacle_type.get(kind, 0)):
                accepts[receptacle] |= object_type.get(thing, 0)
        return tuple(accepts)


def _union(masks: dict[str, int], kinds: Iterable[str]) -> int:
    union = 0
    for kind in kinds:
        union |= masks.get(kind, 0)
    return union


def shown_names(ids: Sequence[str]) -> dict[str, str]:
    """The names that the player reads: `sinkbasin 1` for the id `sink_bar_..._bar_sinkbasin`.

    Things of one name are numbered downwards in the order of their ids. An id without a number keeps a space at its
    end, as in the official engine.

    Args:
        ids: Every thing that a fact names, sorted.
    """
    left = Counter(_base_name(name) for name in ids)
    shown: dict[str, str] = {}
    for name in ids:
        base = _base_name(name)
        if "_bar_" not in name:
            shown[name] = f"{_unescaped(name)} "
            continue
        shown[name] = f"{base} {left[base]}"
        left[base] -= 1
    return shown


def _base_name(name: str) -> str:
    base, found, _ = name.partition("_bar_")
    return base + "basin" if found and "basin" in name else base


def _unescaped(name: str) -> str:
    for escape, character in (("_minus_", "-"), ("_plus_", "+"), ("_dot_", "."), ("_comma_", ",")):
        name = name.replace(escape, character)
    return name
