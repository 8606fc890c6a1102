"""Games of the small kitchen: a scenario is drawn, then written out as a game file. Same seed, same game, anywhere."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from sdar_gym.envs.alfworld.game_file import GameFile
from sdar_gym.envs.alfworld.household import Household
from sdar_gym.envs.alfworld.kitchen import (
    LAMP,
    PHRASES,
    PLACE_KINDS,
    TASK_TYPES,
    THING_KINDS,
    TREATMENT_PLACES,
    TREATMENTS,
    kind_of,
    places_for,
)
from sdar_gym.envs.alfworld.problem import problem_text
from sdar_gym.errors import unknown

RELIABILITY = 0.85
"""How often the thing that a game is about lies where the household keeps it."""
THINGS = 6
"""How many kinds of things lie about in a game, the wanted one included."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a game is about, before it is written out.

    Attributes:
        task_type: One of `TASK_TYPES`.
        thing: The kind of thing that is wanted.
        goal: The kind of place where it shall be; `desklamp` where it shall be looked at.
        contents: (thing, place) for everything that can be carried, such as `("mug 1", "cabinet 2")`, sorted.
        lamp_place: Where `desklamp 1` stands.
        sentence: The goal in words, without the full stop.
    """

    task_type: str
    thing: str
    goal: str
    contents: tuple[tuple[str, str], ...]
    lamp_place: str
    sentence: str

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of all but the wording: games of equal hash are played alike."""
        parts = (self.task_type, self.thing, self.goal, self.lamp_place, *map("@".join, self.contents))
        return hashlib.sha256("|".join(parts).encode()).hexdigest()

    def places_of(self, thing: str) -> list[str]:
        """Where the things of a kind lie, by their number."""
        return [place for name, place in self.contents if kind_of(name) == thing]


def generate(
    household: Household,
    seed: int | str,
    task_type: str | None = None,
    *,
    things: int = THINGS,
    reliability: float = RELIABILITY,
) -> GameFile:
    """A game in this household; it can always be won.

    Args:
        household: Whose kitchen it is.
        seed: Decides everything that is left open.
        task_type: One of `TASK_TYPES`; drawn, each as likely as the other, if it is None.
        things: How many kinds of things lie about, from 1 to 12.
        reliability: How often things lie where the household keeps them, from 0 to 1.

    Raises:
        ValueError: an unknown task type, or a number out of its range.
    """
    scenario = draw(household, random.Random(seed), task_type, things=things, reliability=reliability)
    return game_file(scenario, name=f"mini {seed}")


def draw(
    household: Household,
    rng: random.Random,
    task_type: str | None = None,
    *,
    things: int = THINGS,
    reliability: float = RELIABILITY,
) -> Scenario:
    """Draw a scenario; see `generate`."""
    if task_type is not None and task_type not in TASK_TYPES:
        raise ValueError(unknown("task type", task_type, TASK_TYPES))
    if not 1 <= things <= len(THING_KINDS):
        raise ValueError(f"things must be from 1 to {len(THING_KINDS)}, got {things}")
    if not 0.0 <= reliability <= 1.0:
        raise ValueError(f"reliability is a probability, got {reliability}")
    task_type = task_type or rng.choice(TASK_TYPES)
    treatment = TREATMENTS.get(task_type)
    thing = rng.choice([kind for kind, what in THING_KINDS.items() if not treatment or treatment in what.treatments])
    home = household.habits[thing]
    goal = _draw_goal(rng, task_type, thing, home)
    contents = _place_wanted(rng, task_type, thing, home, goal, reliability)
    for kind in rng.sample([kind for kind in THING_KINDS if kind != thing], things - 1):
        kept = household.habits[kind]
        elsewhere = [place for place in places_for(kind) if place != kept]
        contents.append((f"{kind} 1", kept if rng.random() < reliability else rng.choice(elsewhere)))
    sentence = rng.choice(PHRASES[task_type]).format(thing=thing, goal=goal)
    return Scenario(task_type, thing, goal, tuple(sorted(contents)), household.lamp_place, sentence)


def _draw_goal(rng: random.Random, task_type: str, thing: str, home: str) -> str:
    if task_type == "look_at_obj_in_light":
        return LAMP
    treatment = TREATMENTS.get(task_type)
    # A thing that lies at its goal already has nothing left to be done, unless it is to be treated first.
    # What was treated is not asked back into the appliance, since those goals read as contradictions.
    barred = kind_of(TREATMENT_PLACES[treatment]) if treatment else kind_of(home)
    return rng.choice([kind for kind in THING_KINDS[thing].place_kinds if kind != barred])


def _place_wanted(
    rng: random.Random, task_type: str, thing: str, home: str, goal: str, reliability: float
) -> list[tuple[str, str]]:
    count = 2 if task_type == "pick_two_obj_and_place" else 1
    if rng.random() < reliability:
        return [(f"{thing} {number}", home) for number in range(1, count + 1)]
    barred = () if task_type in TREATMENTS else (goal,)
    elsewhere = [place for place in places_for(thing) if place != home and kind_of(place) not in barred]
    return [(f"{thing} {number}", rng.choice(elsewhere)) for number in range(1, count + 1)]


def game_file(scenario: Scenario, name: str) -> GameFile:
    """Write a scenario out as a game of the published form."""
    domain, grammar = written_rules()
    return GameFile(
        pddl_domain=domain,
        grammar=grammar.replace("UNKNOWN GOAL", scenario.sentence),
        pddl_problem=problem_text(
            name=name,
            task_type=scenario.task_type,
            thing=scenario.thing,
            goal=scenario.goal,
            contents=scenario.contents,
            lamp_place=scenario.lamp_place,
        ),
        walkthrough=tuple(walkthrough(scenario)),
        origin=name,
    )


@lru_cache(maxsize=1)
def written_rules() -> tuple[str, str]:
    """PDDL domain and grammar of generated games; the task's sentence stands as `UNKNOWN GOAL`."""
    folder = files("sdar_gym.envs.alfworld").joinpath("rules")
    return folder.joinpath("mini.pddl").read_text("utf-8"), folder.joinpath("mini.twl2").read_text("utf-8")


def walkthrough(scenario: Scenario) -> list[str]:
    """Commands that win from the start, in as few moves as the order of phases allows."""
    steps = _Steps()
    for name, place in scenario.contents:
        if kind_of(name) != scenario.thing:
            continue
        steps.reach(place)
        steps.commands.append(f"take {name} from {place}")
        treatment = TREATMENTS.get(scenario.task_type)
        if treatment:
            appliance = TREATMENT_PLACES[treatment]
            steps.go(appliance)
            steps.commands.append(f"{treatment} {name} with {appliance}")
        if scenario.goal == LAMP:
            steps.go(scenario.lamp_place)
            steps.commands.append(f"use {LAMP} 1")
        else:
            steps.reach(f"{scenario.goal} 1")
            steps.commands.append(f"move {name} to {scenario.goal} 1")
    return steps.commands


class _Steps:
    """Commands so far, and what they have led to."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self._here = ""
        self._opened: set[str] = set()

    def go(self, place: str) -> None:
        if place != self._here:
            self.commands.append(f"go to {place}")
            self._here = place

    def reach(self, place: str) -> None:
        self.go(place)
        if PLACE_KINDS[kind_of(place)].is_openable and place not in self._opened:
            self.commands.append(f"open {place}")
            self._opened.add(place)
