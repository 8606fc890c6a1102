"""Draws what a room holds and what is asked for in it, as the published games have it. Names and files come later."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate

from sdar_gym.envs.alfworld.kitchen import PHRASES, TASK_TYPES, TREATMENTS
from sdar_gym.envs.alfworld.problem import LAMP_KIND
from sdar_gym.envs.alfworld.rooms.figures import ROOMS, Figures, RoomFigures, ThingFigures, real_figures
from sdar_gym.errors import unknown

TREATMENT_PLACES: dict[str, str] = {"clean": "SinkBasin", "heat": "Microwave", "cool": "Fridge"}
"""The kind of receptacle where each treatment is done."""

RECEPTACLES = (5, 60)
OBJECTS = (4, 120)
DISTRACTORS = (0, 60)
_LOOK, _TWO, _SIMPLE = "look_at_obj_in_light", "pick_two_obj_and_place", "pick_and_place_simple"


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How hard a game is; None leaves a number to chance, as in the real rooms.

    Attributes:
        receptacles: How many places there are to look at, from 5 to 60. Real rooms have 6 to 54.
        objects: How many things can be carried, from 4 to 120; a few of them, as in real games, lie nowhere. In real
            games there are 11 to 63.
        distractors: How many of these are of kinds much like the wanted one (see `similar_kinds`), from 0 to 60.
        closed: The share of the containers that is closed at the start, from 0 to 1. In real games all are.

    Raises:
        ValueError: a number out of its range, or more distractors than objects allow.
    """

    receptacles: int | None = None
    objects: int | None = None
    distractors: int | None = None
    closed: float = 1.0

    def __post_init__(self) -> None:
        for name, (least, most) in (
            ("receptacles", RECEPTACLES),
            ("objects", OBJECTS),
            ("distractors", DISTRACTORS),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name} must be from {least} to {most}, or None for real rooms' numbers; got {value}")
        if not 0.0 <= self.closed <= 1.0:
            raise ValueError(f"closed is the share of closed containers, from 0 to 1; got {self.closed}")
        if self.objects is not None and self.distractors is not None and self.distractors + 2 > self.objects:
            raise ValueError(
                f"{self.distractors} distractors do not fit in {self.objects} objects, since two may be wanted; "
                f"raise objects to {self.distractors + 2} or more"
            )


REAL = Difficulty()
"""As hard as the published games."""


@dataclass(frozen=True, slots=True)
class Receptacle:
    """A place: its kind, the number of the location where one stands to reach it, and its door, if it has one."""

    kind: str
    location: int
    is_openable: bool
    is_open: bool


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing: its kind, the index of the receptacle that it lies in or on (None: nowhere), and whether it is cold."""

    kind: str
    place: int | None
    is_cold: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked for: kinds as in game files; `goal` is the kind of lamp where a thing shall be looked at."""

    room: str
    task_type: str
    thing: str
    goal: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a game is about, before it is written out.

    Attributes:
        task: What is asked for.
        receptacles: All places.
        things: All things.
        sentence: The goal in words, without the full stop.
    """

    task: Task
    receptacles: tuple[Receptacle, ...]
    things: tuple[Thing, ...]
    sentence: str

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the kinds of things and where they lie: games that are played alike have equal hashes."""
        places = sorted((each.kind, each.is_openable, each.is_open) for each in self.receptacles)
        lying = sorted(
            (each.kind, "" if each.place is None else self.receptacles[each.place].kind) for each in self.things
        )
        return hashlib.sha256(repr((self.task, places, lying)).encode()).hexdigest()


def known_tasks(
    rooms: Iterable[str] | None, task_types: Iterable[str] | None
) -> tuple[tuple[Task, ...], tuple[int, ...]]:
    """Every task that the published games ask for in some rooms, and in how many scenes.

    Raises:
        ValueError: an unknown room or task type, or none of the task types is asked for in any of the rooms.
    """
    chosen_rooms = _chosen("room", rooms, ROOMS)
    chosen_types = _chosen("task type", task_types, TASK_TYPES)
    tasks, weights = _known_tasks(chosen_rooms, chosen_types)
    if not tasks:
        where = {kind: [room for room in ROOMS if kind in real_figures().rooms[room].tasks] for kind in chosen_types}
        known = "; ".join(f"{kind} in {', '.join(found)}" for kind, found in where.items())
        raise ValueError(f"no {' or '.join(chosen_rooms)} has such a task; the published games ask for {known}")
    return tasks, weights


def _chosen(kind: str, names: Iterable[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    given = tuple(names) if names is not None else known
    for name in given:
        if name not in known:
            raise ValueError(unknown(kind, name, known))
    if not given:
        raise ValueError(f"name at least one {kind}; known: {', '.join(known)}")
    # In one order, whatever the order given: the same choice means the same games.
    return tuple(name for name in known if name in given)


@lru_cache(maxsize=64)
def _known_tasks(rooms: tuple[str, ...], task_types: tuple[str, ...]) -> tuple[tuple[Task, ...], tuple[int, ...]]:
    figures = real_figures()
    found = [
        (Task(room, task_type, *pair), scenes)
        for room in rooms
        for task_type in task_types
        for pair, scenes in figures.rooms[room].tasks.get(task_type, {}).items()
    ]
    return tuple(task for task, _ in found), tuple(accumulate(scenes for _, scenes in found))


@lru_cache(maxsize=1024)
def similar_kinds(room: str, kind: str) -> tuple[str, ...]:
    """The third of a room's portable kinds that is most like one: takes the same treatments, fits the same places."""
    figures = real_figures()

    def unlikeness(other: str) -> tuple[int, float, str]:
        one, two = _homes(figures, kind), _homes(figures, other)
        treated = len(figures.treatments_of(kind) ^ figures.treatments_of(other))
        return treated, -len(one & two) / (len(one | two) or 1), other

    others = sorted((each for each in _portable(room) if each != kind), key=unlikeness)
    return tuple(others[: max(1, len(others) // 3)])


def _homes(figures: Figures, kind: str) -> frozenset[str]:
    return frozenset(place for place, kinds in figures.contains.items() if kind in kinds)


@cache
def _portable(room: str) -> tuple[str, ...]:
    figures = real_figures()
    return tuple(kind for kind in figures.rooms[room].things if kind in figures.properties["pickupable"])


def draw(
    rng: random.Random,
    *,
    rooms: Iterable[str] | None = None,
    task_types: Iterable[str] | None = None,
    difficulty: Difficulty = REAL,
) -> Scenario:
    """Draw a room and a task in it.

    Args:
        rng: Decides everything that is left open.
        rooms: Kinds of rooms, of `figures.ROOMS`; all by default, each as often as the published games ask for it.
        task_types: Of `kitchen.TASK_TYPES`; all by default, likewise.
        difficulty: How many places and things there are, and how many are closed.

    Raises:
        ValueError: see `known_tasks`.
    """
    tasks, weights = known_tasks(rooms, task_types)
    task = rng.choices(tasks, cum_weights=weights)[0]
    return _Drawing(rng, task, difficulty).scenario()


class _Drawing:
    """One room in the making."""

    def __init__(self, rng: random.Random, task: Task, difficulty: Difficulty) -> None:
        self._rng = rng
        self._task = task
        self._difficulty = difficulty
        self._figures = real_figures()
        self._room: RoomFigures = self._figures.rooms[task.room]
        # Things that are wanted somewhere do not lie there yet, unless they are to be treated first.
        self._barred = task.goal if task.task_type in (_SIMPLE, _TWO) else None
        self._needed = 2 if task.task_type == _TWO else 1

    def scenario(self) -> Scenario:
        counts = self._receptacle_counts()
        receptacles = self._receptacles(counts)
        indices: dict[str, list[int]] = {}
        for index, receptacle in enumerate(receptacles):
            indices.setdefault(receptacle.kind, []).append(index)
        space = _Space(indices, {kind: self._room.receptacles[kind].most for kind in indices})
        things = [self._placed(kind, space, must_lie=must_lie) for kind, must_lie in self._kinds_of_things()]
        phrase = self._rng.choice(PHRASES[self._task.task_type])
        sentence = phrase.format(thing=self._task.thing.lower(), goal=self._task.goal.lower())
        return Scenario(self._task, tuple(receptacles), tuple(things), sentence)

    def _receptacle_counts(self) -> dict[str, int]:
        """How many of each kind there are, with at least one of those that the task cannot do without."""
        required = self._required_kinds()
        counts: dict[str, int] = {}
        for kind, figures in self._room.receptacles.items():
            counts[kind] = _drawn(self._rng, figures.counts, least=int(kind in required))
        wanted = self._difficulty.receptacles
        if wanted is None:
            return counts
        total = sum(counts.values())
        while total > wanted:
            spare = {kind: count for kind, count in counts.items() if count > (kind in required)}
            counts[_weighted(self._rng, spare)] -= 1
            total -= 1
        several = {kind: each.mean for kind, each in self._room.receptacles.items() if max(each.counts) > 1}
        while total < wanted:
            counts[_weighted(self._rng, several)] += 1
            total += 1
        return counts

    def _required_kinds(self) -> set[str]:
        task = self._task
        required = {self._home(self._room.things[task.thing], self._barred)}
        treatment = TREATMENTS.get(task.task_type)
        if treatment is not None:
            required.add(TREATMENT_PLACES[treatment])
        required.add(self._home(self._room.things[LAMP_KIND], None) if task.task_type == _LOOK else task.goal)
        return required

    def _home(self, thing: ThingFigures, barred: str | None) -> str:
        """A kind of receptacle where a thing lies in an average room."""
        means = {place: share * self._room.receptacles[place].mean for place, share in thing.lies.items()}
        means.pop(barred or "", None)
        return _weighted(self._rng, means)

    def _receptacles(self, counts: Mapping[str, int]) -> list[Receptacle]:
        """All places; some of them share a location, as burners of a stove do."""
        rng, closed = self._rng, self._difficulty.closed
        free = {kind: count for kind, count in counts.items() if count}
        # The kinds at each location.
        groups: list[tuple[str, ...]] = []
        for shape, mean in self._room.shared.items():
            for _ in range(int(mean) + (rng.random() < mean % 1)):
                need = Counter(shape)
                if all(free.get(kind, 0) >= number for kind, number in need.items()):
                    groups.append(shape)
                    for kind, number in need.items():
                        free[kind] -= number
        groups += [(kind,) for kind, count in free.items() for _ in range(count)]
        receptacles = []
        for location, group in enumerate(groups):
            for kind in group:
                is_openable = rng.random() < self._room.receptacles[kind].openable
                is_open = is_openable and rng.random() >= closed
                receptacles.append(Receptacle(kind, location, is_openable, is_open))
        return receptacles

    def _kinds_of_things(self) -> list[tuple[str, bool]]:
        """The kind of every thing, and whether it must not lie nowhere."""
        task, rng = self._task, self._rng
        portable = self._figures.properties["pickupable"]
        fixed: list[str] = []
        others: list[str] = []
        for kind, figures in self._room.things.items():
            if kind != task.thing and rng.random() < figures.present:
                (others if kind in portable else fixed).extend([kind] * _drawn(rng, figures.counts, least=1))
        if task.task_type == _LOOK and task.goal not in fixed:
            fixed.append(task.goal)
        count = max(self._needed, _drawn(rng, self._figures.wanted[task.task_type], least=1))
        count, others = self._adjusted(count, others)
        kinds = [(task.thing, index < self._needed) for index in range(count)]
        return kinds + [(kind, kind == task.goal) for kind in fixed] + [(kind, False) for kind in others]

    def _adjusted(self, count: int, others: list[str]) -> tuple[int, list[str]]:
        """How many wanted things, and which others, with the numbers that the difficulty asks for."""
        objects, distractors = self._difficulty.objects, self._difficulty.distractors
        if objects is None and distractors is None:
            return count, others
        portable = _portable(self._task.room)
        similar = similar_kinds(self._task.room, self._task.thing) if distractors is not None else ()
        alike = self._resized([kind for kind in others if kind in similar], distractors or 0, similar)
        rest = [kind for kind in others if kind not in similar]
        if objects is not None:
            count = min(count, objects - len(alike))
            pool = [kind for kind in portable if kind not in similar and kind != self._task.thing]
            rest = self._resized(rest, objects - len(alike) - count, pool)
        return count, alike + rest

    def _resized(self, kinds: list[str], size: int, pool: Sequence[str]) -> list[str]:
        """Some of the kinds, or all of them and more from a pool: as many as `size`."""
        if len(kinds) >= size:
            return self._rng.sample(kinds, size)
        means = {kind: self._room.things[kind].mean for kind in pool}
        return kinds + [_weighted(self._rng, means) for _ in range(size - len(kinds))]

    def _placed(self, kind: str, space: _Space, *, must_lie: bool) -> Thing:
        rng, figures = self._rng, self._room.things[kind]
        barred = self._barred if kind == self._task.thing else None
        weights = space.weights(figures.lies, barred)
        if not weights or (rng.random() < figures.nowhere and not must_lie):
            return Thing(kind, None)
        place = _weighted(rng, weights)
        is_cold = place == "Fridge" and rng.random() < self._figures.cold[self._task.task_type]
        return Thing(kind, space.take(place, rng), is_cold)


class _Space:
    """Where there is room for more things, while they are put into place.

    Args:
        receptacles: Kind -> indices of the receptacles of that kind.
        most: Kind -> how many things one of that kind holds.
    """

    def __init__(self, receptacles: Mapping[str, list[int]], most: Mapping[str, int]) -> None:
        self._all = receptacles
        self._most = most
        self._with_room = {kind: [*indices] for kind, indices in receptacles.items()}
        self._held: Counter[int] = Counter()

    def weights(self, lies: Mapping[str, float], barred: str | None) -> dict[str, float]:
        """Of each kind of receptacle that a thing can lie in or on, how likely that is; a full one only if all are."""
        for indices in (self._with_room, self._all):
            possible = {
                kind: share * len(indices[kind]) for kind, share in lies.items() if kind != barred and indices.get(kind)
            }
            if possible:
                return possible
        return {}

    def take(self, kind: str, rng: random.Random) -> int:
        """The index of a receptacle of a kind that gets one thing more."""
        index = rng.choice(self._with_room[kind] or self._all[kind])
        self._held[index] += 1
        if self._held[index] == self._most[kind]:
            self._with_room[kind].remove(index)
        return index


def _drawn(rng: random.Random, shares: Mapping[int, float], *, least: int) -> int:
    possible = [count for count in shares if count >= least]
    return rng.choices(possible, [shares[count] for count in possible])[0]


def _weighted(rng: random.Random, weights: Mapping[str, float]) -> str:
    return rng.choices(tuple(weights), tuple(weights.values()))[0]
