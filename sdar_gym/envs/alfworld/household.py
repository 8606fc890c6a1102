"""A household: where it keeps each kind of thing, and the skill texts that say so."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from sdar_gym.envs.alfworld.kitchen import LAMP_PLACES, PLACES, THING_KINDS, is_openable, kind_of, places_for

_CONTAINERS_IN_USE = 4
_NEVER_A_HOME = "garbagecan"


@dataclass(frozen=True, slots=True)
class SkillText:
    """One skill as text; `write_skill_bank` makes a SKILL.md of it.

    Attributes:
        id: Words of a-z joined by hyphens.
        task_type: A task type, or `general`.
        title: Short name in words.
        description: When to use it, with goals as the game words them: retrieval compares goals with it.
        body: What a prompt carries.
        keywords: Words that hint at it.
    """

    id: str
    task_type: str
    title: str
    description: str
    body: str
    keywords: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Household:
    """The habits of those who live in the kitchen; its places are the same for every household.

    Attributes:
        habits: Kind of thing -> the place where it is kept, for every kind. Never changed.
        lamp_place: Where the desk lamp stands. Unlike a habit, this always holds.

    Raises:
        ValueError: a kind without habit, or a habit that the thing does not fit.
    """

    habits: Mapping[str, str] = field(hash=False)
    lamp_place: str

    def __post_init__(self) -> None:
        if sorted(self.habits) != sorted(THING_KINDS):
            raise ValueError(f"habits must name exactly {', '.join(THING_KINDS)}; got {', '.join(self.habits)}")
        for thing, place in self.habits.items():
            if place not in places_for(thing):
                raise ValueError(f"a {thing} cannot be kept in {place!r}; possible: {', '.join(places_for(thing))}")
        if self.lamp_place not in LAMP_PLACES:
            raise ValueError(f"no lamp can stand at {self.lamp_place!r}; possible: {', '.join(LAMP_PLACES)}")

    @classmethod
    def true(cls) -> Self:
        """The household of `sdar_gym/ALFWorldMini-v0`; the bundled skill bank is about it."""
        # Most habits are far down the list of places: who only sweeps the kitchen in that order runs out of turns.
        habits = {
            "apple": "sidetable 1",
            "book": "shelf 1",
            "bread": "microwave 1",
            "cup": "shelf 1",
            "egg": "fridge 1",
            "knife": "drawer 1",
            "mug": "cabinet 2",
            "pan": "cabinet 2",
            "plate": "sinkbasin 1",
            "potato": "sinkbasin 1",
            "spoon": "drawer 1",
            "tomato": "fridge 1",
        }
        return cls(habits, lamp_place="sidetable 1")

    @classmethod
    def random(cls, seed: int) -> Self:
        """Another household in the same kitchen: it uses four of the seven containers, and the open places."""
        rng = random.Random(f"household {seed}")
        containers = [place for place in PLACES if is_openable(place)]
        unused = set(containers) - set(rng.sample(containers, _CONTAINERS_IN_USE))
        habits = {}
        for thing in THING_KINDS:
            homes = [place for place in places_for(thing) if kind_of(place) != _NEVER_A_HOME and place not in unused]
            habits[thing] = rng.choice(homes)
        return cls(habits, lamp_place=rng.choice(LAMP_PLACES))

    @property
    def worth_opening(self) -> tuple[str, ...]:
        """The containers in which something is kept, by name and number."""
        return tuple(sorted({place for place in self.habits.values() if is_openable(place)}))

    def skills(self) -> list[SkillText]:
        """What there is to know: where each kind of thing is kept, what to open, the order of phases."""
        where = [_where_skill(thing, self.habits[thing]) for thing in sorted(self.habits)]
        return [*where, self._opening_skill(), *_phase_skills(self.lamp_place)]

    def _opening_skill(self) -> SkillText:
        return SkillText(
            id="worth-opening",
            task_type="general",
            title="Which containers are worth opening",
            description="Use when a search goes on and there are closed cabinets and drawers left.",
            body=f"Worth opening: {_listed(self.worth_opening)}. Leave the rest closed.",
            keywords=("open", "closed", "search"),
        )


HOUSEHOLD = Household.true()
"""The one household of `sdar_gym/ALFWorldMini-v0`."""


def _where_skill(thing: str, place: str) -> SkillText:
    return SkillText(
        id=f"where-the-{thing}-is",
        task_type="general",
        title=f"Where the {thing} is kept",
        description=(
            f"Use when the goal names {thing}: put a {thing}, put some {thing}, two {thing}, "
            f"clean {thing}, hot {thing}, cool {thing}, look at {thing}, examine the {thing}."
        ),
        body=f"The {thing} is kept in {place}.",
        keywords=(thing,),
    )


def _phase_skills(lamp_place: str) -> list[SkillText]:
    """One skill a task type: the order of phases."""
    return [
        SkillText(
            "put-a-thing",
            "pick_and_place_simple",
            "Put a thing somewhere",
            "Use for goals such as 'put a book in drawer' or 'put some book on shelf', as it is, without more.",
            "To put a thing: find it, take it, go to the goal place, move it there.",
            ("put", "some"),
        ),
        SkillText(
            "look-under-the-lamp",
            "look_at_obj_in_light",
            "Look at a thing under the desklamp",
            "Use for goals such as 'look at book under the desklamp' or 'examine the book with the desklamp'.",
            f"To look at a thing: find it, take it, go to {lamp_place}, use desklamp 1.",
            ("look", "examine", "desklamp"),
        ),
        _treatment_skill("clean", "clean", "sinkbasin"),
        _treatment_skill("heat", "hot", "microwave"),
        _treatment_skill("cool", "cool", "fridge"),
        SkillText(
            "put-two-things",
            "pick_two_obj_and_place",
            "Put two things somewhere",
            "Use for goals such as 'put two book in drawer' or 'find two book and put them in drawer'.",
            "To put two: find one, take it, move it to the goal place, then the same with the other.",
            ("two", "them"),
        ),
    ]


def _treatment_skill(verb: str, adjective: str, appliance: str) -> SkillText:
    return SkillText(
        f"{verb}-a-thing",
        f"pick_{verb}_then_place_in_recep",
        f"{verb.capitalize()} a thing, then put it somewhere",
        f"Use for goals such as 'put a {adjective} thing in drawer' or '{verb} some thing and put it in drawer'.",
        f"To {verb} a thing: find it, take it, go to {appliance} 1, {verb} it with {appliance} 1, move it to the goal place.",
        (verb, adjective, appliance),
    )


def _listed(names: tuple[str, ...]) -> str:
    if not names:
        return "nothing"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
