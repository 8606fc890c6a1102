"""A demonstrator that sees what an agent sees, text alone: it searches as its household suggests, then does the task.

It is no oracle: `ALFWorldEnv.oracle` knows the state of the game, this one only what it was told and has seen.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Literal

from sdar_gym.envs.alfworld.household import Household
from sdar_gym.envs.alfworld.kitchen import LAMP, PLACES, TREATMENT_PLACES, is_openable, kind_of
from sdar_gym.errors import unknown

_NUMBERED = re.compile(r"\b([a-z]+ \d+)\b")
_TREATMENT_WORDS = {"clean": "clean", "hot": "heat", "heat": "heat", "cool": "cool"}
_AFTER_THING = ("in", "on", "under", "with", "and")
_REFUSED = "Nothing happens."

Sweep = Literal["listed", "shuffled"]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a task sentence asks for.

    Attributes:
        thing: The kind of thing.
        place_kind: The kind of place; `desklamp` to look at the thing under it.
        treatment: `clean`, `heat` or `cool`, or None.
        count: How many things.
    """

    thing: str
    place_kind: str
    treatment: str | None
    count: int


def read_task(task: str) -> Goal:
    """Read a goal sentence of any of the twelve wordings, such as `put a hot mug in fridge`.

    Raises:
        ValueError: it is worded in another way.
    """
    words = task.rpartition(":")[2].strip().rstrip(".").split()
    ends = [index for index, word in enumerate(words) if word in _AFTER_THING and index]
    if not ends or ends[0] + 1 >= len(words):
        raise ValueError(f"cannot read the task {task!r}; tasks look like 'put a hot mug in fridge.'")
    treatments = [_TREATMENT_WORDS[word] for word in words if word in _TREATMENT_WORDS]
    return Goal(
        thing=words[ends[0] - 1],
        place_kind=words[-1],
        treatment=treatments[0] if treatments else None,
        count=2 if "two" in words else 1,
    )


@dataclass(slots=True)
class _Memory:
    """What was seen and done in an episode."""

    goal: Goal
    order: list[str]
    """Places in the order in which to search them."""
    lamp_place: str | None
    here: str = ""
    held: str = ""
    is_treated: bool = False
    delivered: list[str] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    """Wanted thing -> the place where it lies."""
    closed: set[str] = field(default_factory=set)
    searched: set[str] = field(default_factory=set)


class Explorer:
    """Plays by the rules of the mini world, from text alone.

    Args:
        household: Whose habits it believes in: it looks there first, then at what is worth a look, then elsewhere.
            None if it knows of none: then it sweeps all places.
        seed: For the shuffled sweep and for noise; without these nothing is drawn.
        sweep: Who knows no household searches in the order of the first observation's list, or in a drawn one.
        noise: How often it goes to a random place instead, from 0 to 1; `was_noise` tells.
    """

    def __init__(
        self, household: Household | None, seed: int = 0, *, sweep: Sweep = "listed", noise: float = 0.0
    ) -> None:
        if sweep not in ("listed", "shuffled"):
            raise ValueError(unknown("sweep", sweep, ("listed", "shuffled")))
        if not 0.0 <= noise <= 1.0:
            raise ValueError(f"noise is a probability, got {noise}")
        self.household = household
        self.sweep = sweep
        self.noise = noise
        self.was_noise = False
        """Whether the last action was drawn at random: a demonstration is not to be learned from there."""
        self._rng = random.Random(f"explorer {seed}")
        self._memory: _Memory | None = None
        self._last = ""

    def begin(self, task: str, observation: str) -> None:
        """Start an episode.

        Args:
            task: The goal sentence.
            observation: The first observation, which lists the places.
        """
        goal = read_task(task)
        listed = [name for name in _NUMBERED.findall(observation) if name in PLACES]
        if not listed:
            raise ValueError(f"the first observation lists no place: {observation[:80]!r}")
        lamp_place = self.household.lamp_place if self.household else None
        self._memory = _Memory(goal, self._search_order(goal.thing, listed), lamp_place)
        self._last = ""

    def act(self, observation: str) -> str:
        """The next action.

        Args:
            observation: The answer to the action before; the first observation at first.
        """
        if self._memory is None:
            raise RuntimeError("no episode is running; call begin first")
        _update(self._memory, self._last, observation)
        self.was_noise = self._rng.random() < self.noise if self.noise else False
        if self.was_noise:
            self._last = f"go to {self._rng.choice([place for place in PLACES if place != self._memory.here])}"
        else:
            self._last = _decide(self._memory)
        return self._last

    def _search_order(self, thing: str, listed: list[str]) -> list[str]:
        if self.household is None:
            return self._rng.sample(listed, len(listed)) if self.sweep == "shuffled" else listed
        home = self.household.habits.get(thing)
        useful = [place for place in listed if not is_openable(place) or place in self.household.worth_opening]
        first = [home] if home in listed else []
        return list(dict.fromkeys([*first, *useful, *listed]))


def _update(memory: _Memory, action: str, observation: str) -> None:
    """Take in what the last action led to."""
    words = action.split()
    if not words or observation.strip() == _REFUSED:
        # What was refused once is not tried for ever: the place counts as searched.
        memory.searched.add(memory.here)
        memory.closed.discard(memory.here)
        memory.seen = {name: place for name, place in memory.seen.items() if place != memory.here}
        return
    named = _NUMBERED.findall(action)
    if words[0] == "go":
        memory.here = named[0]
    if words[0] in ("go", "open"):
        _look_around(memory, observation)
    elif words[0] == "take":
        memory.held = named[0]
        memory.is_treated = False
        memory.seen.pop(named[0], None)
    elif words[0] == memory.goal.treatment:
        memory.is_treated = True
    elif words[0] == "move":
        memory.delivered.append(memory.held)
        memory.held = ""


def _look_around(memory: _Memory, observation: str) -> None:
    if f"The {memory.here} is closed." in observation:
        memory.closed.add(memory.here)
        return
    memory.closed.discard(memory.here)
    memory.searched.add(memory.here)
    names = _NUMBERED.findall(observation.partition("you see")[2])
    if any(kind_of(name) == LAMP for name in names):
        memory.lamp_place = memory.here
    elif memory.lamp_place == memory.here:
        # It was believed, and is not so.
        memory.lamp_place = None
    for name in names:
        if kind_of(name) == memory.goal.thing and name not in memory.delivered:
            memory.seen[name] = memory.here


def _decide(memory: _Memory) -> str:
    goal = memory.goal
    if not memory.held:
        if not memory.seen:
            return _search(memory)
        here = sorted(name for name, place in memory.seen.items() if place == memory.here)
        name = here[0] if here else min(memory.seen)
        return _at(memory, memory.seen[name], f"take {name} from {memory.seen[name]}")
    if goal.treatment and not memory.is_treated:
        appliance = TREATMENT_PLACES[goal.treatment]
        # An appliance works with its door closed.
        return f"{goal.treatment} {memory.held} with {appliance}" if memory.here == appliance else f"go to {appliance}"
    if goal.place_kind == LAMP:
        if memory.lamp_place is None:
            return _search(memory)
        return f"use {LAMP} 1" if memory.here == memory.lamp_place else f"go to {memory.lamp_place}"
    # Any place of the kind will do, but two things must come to the same one.
    destination = f"{goal.place_kind} 1"
    return _at(memory, destination, f"move {memory.held} to {destination}")


def _at(memory: _Memory, place: str, action: str) -> str:
    """The action, once it is possible: at that place, with its door open."""
    if memory.here != place:
        return f"go to {place}"
    return f"open {place}" if place in memory.closed else action


def _search(memory: _Memory) -> str:
    if memory.here in memory.closed and memory.here not in memory.searched:
        return f"open {memory.here}"
    left = [place for place in memory.order if place not in memory.searched]
    if not left:
        # Everything was seen and the thing was missed, which only noise can bring about: begin again.
        memory.searched.clear()
        left = [place for place in memory.order if place != memory.here]
    return f"go to {left[0]}"
