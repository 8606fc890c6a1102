"""What real rooms are like, as figures: the table `figures.json`, read and typed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

ROOMS: tuple[str, ...] = ("kitchen", "livingroom", "bedroom", "bathroom")
"""The kinds of rooms."""
FLOOR_PLANS: dict[str, int] = dict(zip(ROOMS, (0, 200, 300, 400), strict=True))
"""The hundreds of their scenes: 1-30, 201-230, 301-330 and 401-430 are the published ones."""
NOWHERE = "nowhere"
"""Where things lie that the game declares and never shows: they are counted in names, and cannot be had."""
TREATMENT_PROPERTIES: tuple[str, ...] = ("cleanable", "heatable", "coolable")
PROPERTIES: tuple[str, ...] = ("pickupable", *TREATMENT_PROPERTIES, "toggleable", "sliceable", "isReceptacleObject")


@dataclass(frozen=True, slots=True)
class ReceptacleFigures:
    """A kind of receptacle in a kind of room.

    Attributes:
        counts: How many a room has -> how many of the real scenes have that many; those without it under 0.
        openable: The share of them that has a door that opens.
        most: How many things 99 of 100 of them hold at most: a towel holder one, a table more than a dozen.
    """

    counts: Mapping[int, float]
    openable: float
    most: int

    @property
    def mean(self) -> float:
        """How many a room has on average."""
        return sum(count * weight for count, weight in self.counts.items()) / sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class ThingFigures:
    """A kind of thing in a kind of room.

    Attributes:
        present: The share of rooms that have any.
        counts: How many there are, where there are any -> share.
        nowhere: The share that lies nowhere.
        lies: Kind of receptacle -> the share that lies in or on *each one* of that kind: with two tables twice as many
            lie on tables.
    """

    present: float
    counts: Mapping[int, float]
    nowhere: float
    lies: Mapping[str, float]

    @property
    def mean(self) -> float:
        """How many a room has on average."""
        return self.present * sum(count * share for count, share in self.counts.items()) / sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class RoomFigures:
    """A kind of room.

    Attributes:
        receptacles: By kind.
        shared: Kinds of receptacles that stand at one location, such as two stove burners -> how many such places a
            room has on average.
        things: By kind; those that never lie in or on anything (chairs, windows) are left out: no game shows them.
        tasks: Task type -> (kind of thing, kind of receptacle or lamp) -> in how many scenes that is asked for.
    """

    receptacles: Mapping[str, ReceptacleFigures]
    shared: Mapping[tuple[str, ...], float]
    things: Mapping[str, ThingFigures]
    tasks: Mapping[str, Mapping[tuple[str, str], int]]


@dataclass(frozen=True, slots=True)
class Figures:
    """The whole table. Kinds are named as in game files, without the ending `Type`.

    Attributes:
        properties: One of `PROPERTIES` -> the kinds of things that have it.
        contains: Kind of receptacle -> the kinds of things that may be put there.
        wanted: Task type -> how many things of the wanted kind a game has -> share.
        cold: Task type -> the share of what lies in a fridge that counts as cooled from the start.
        rooms: By the names of `ROOMS`.
    """

    properties: Mapping[str, frozenset[str]]
    contains: Mapping[str, frozenset[str]]
    wanted: Mapping[str, Mapping[int, float]]
    cold: Mapping[str, float]
    rooms: Mapping[str, RoomFigures]

    def treatments_of(self, kind: str) -> frozenset[str]:
        """Which of `TREATMENT_PROPERTIES` a kind of thing has."""
        return frozenset(name for name in TREATMENT_PROPERTIES if kind in self.properties[name])


def room_of(scene: int) -> str:
    """The kind of room of a scene, by its number; generated ones have thousands besides.

    Raises:
        ValueError: no scene has such a number.
    """
    for room, hundreds in FLOOR_PLANS.items():
        if scene % 1000 // 100 * 100 == hundreds:
            return room
    raise ValueError(
        f"scene {scene} is no room: the hundreds must be one of {', '.join(map(str, FLOOR_PLANS.values()))}"
    )


@lru_cache(maxsize=1)
def real_figures() -> Figures:
    """The figures of the published games that come with the package."""
    return read_figures(files("sdar_gym.envs.alfworld.rooms").joinpath("figures.json").read_text("utf-8"))


def read_figures(text: str) -> Figures:
    """Read a table that `statistics` wrote."""
    table = json.loads(text)
    return Figures(
        properties={name: frozenset(kinds) for name, kinds in table["properties"].items()},
        contains={name: frozenset(kinds) for name, kinds in table["contains"].items()},
        wanted={name: _counts(shares) for name, shares in table["wanted"].items()},
        cold=table["cold"],
        rooms={name: _room(entry) for name, entry in table["rooms"].items()},
    )


def _room(entry: Mapping[str, Any]) -> RoomFigures:
    return RoomFigures(
        receptacles={
            kind: ReceptacleFigures(_counts(figures["counts"]), figures["openable"], figures["most"])
            for kind, figures in entry["receptacles"].items()
        },
        shared={tuple(kinds.split()): mean for kinds, mean in entry["shared"].items()},
        things={
            kind: ThingFigures(figures["present"], _counts(figures["counts"]), figures["nowhere"], figures["lies"])
            for kind, figures in entry["things"].items()
        },
        tasks={
            task_type: {(pair.split()[0], pair.split()[1]): scenes for pair, scenes in asked.items()}
            for task_type, asked in entry["tasks"].items()
        },
    )


def _counts(shares: Mapping[str, float]) -> dict[int, float]:
    return {int(count): share for count, share in shares.items()}
