"""The problem part of a game file, in PDDL: its writer for every generated world, and the small kitchen written so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from sdar_gym.envs.alfworld.kitchen import PLACE_KINDS, PLACES, THING_KINDS, TREATMENTS, is_openable, kind_of

LAMP_KIND = "DeskLamp"
START = "loc_bar_0_bar_0_bar_0_bar_30"
LAMP_ID = "DeskLamp_bar__plus_00_dot_00_bar__plus_01_dot_00_bar__plus_00_dot_00"
_INDENT = "\n        "
_STATES = {"clean": "isClean", "heat": "isHot", "cool": "isCool"}


def write_problem(*, name: str, objects: Iterable[str], init: Iterable[str], goal: str) -> str:
    """A PDDL problem.

    Args:
        name: Of the problem; characters that PDDL does not allow are replaced.
        objects: Declarations, such as `agent1 - agent`.
        init: Facts without their parentheses, such as `openable Fridge_bar_1`.
        goal: The goal formula.
    """
    plain_name = "".join(letter if letter.isalnum() else "_" for letter in name)
    return (
        f"(define (problem {plain_name})\n(:domain alfred)\n(:objects{_lines(objects)})\n"
        f"(:init{_lines(f'({fact})' for fact in init)})\n(:goal {goal})\n)\n"
    )


def problem_text(
    *,
    name: str,
    task_type: str,
    thing: str,
    goal: str,
    contents: Sequence[tuple[str, str]],
    lamp_place: str,
) -> str:
    """The small kitchen as a PDDL problem.

    Args:
        name: Of the problem.
        task_type: Decides the form of the goal.
        thing: The kind of thing that is wanted.
        goal: The kind of place, or `desklamp`.
        contents: (thing, place) of everything that can be carried.
        lamp_place: Where the desk lamp stands.
    """
    counts: dict[str, int] = {}
    for item, _ in contents:
        counts[kind_of(item)] = counts.get(kind_of(item), 0) + 1
    declared, facts = _kitchen()
    objects = [*declared]
    init = [*facts, *_lies(LAMP_ID, lamp_place)]
    for item, place in contents:
        item_id = thing_id(item, counts[kind_of(item)])
        objects.append(f"{item_id} - object")
        init += [*_lies(item_id, place), *_thing_facts(item_id, kind_of(item))]
    is_look = task_type == "look_at_obj_in_light"
    formula = goal_formula(task_type, THING_KINDS[thing].pddl, LAMP_KIND if is_look else PLACE_KINDS[goal].pddl)
    return write_problem(name=name, objects=objects, init=init, goal=formula)


def place_id(place: str) -> str:
    """The PDDL name of a place. The engines give the highest number to the name that sorts first."""
    kind = PLACE_KINDS[kind_of(place)]
    position = f"_bar__plus_{kind.count - _number(place):02d}_dot_00_bar__plus_00_dot_50_bar__plus_01_dot_00"
    # The game knows a basin as a part of a sink.
    return f"Sink{position}_bar_SinkBasin" if kind.name == "sinkbasin" else kind.pddl + position


def thing_id(item: str, count: int) -> str:
    """The PDDL name of a thing such as `mug 1`, one of `count` of its kind."""
    kind = THING_KINDS[kind_of(item)]
    return f"{kind.pddl}_bar__plus_{count - _number(item):02d}_dot_10_bar__plus_00_dot_90_bar__plus_00_dot_20"


def _number(name: str) -> int:
    return int(name.rpartition(" ")[2])


def _location(place: str) -> str:
    return f"loc_bar_{PLACES.index(place) + 1}_bar_1_bar_2_bar_45"


def _lines(items: Iterable[str]) -> str:
    return "".join(_INDENT + item for item in items)


@lru_cache(maxsize=1)
def _kitchen() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is alike in every game: declarations and facts."""
    declared = ["agent1 - agent", f"{START} - location", f"{LAMP_ID} - object", "DeskLampType - otype"]
    # The domain speaks of knives of both kinds.
    declared += [f"{kind.pddl}Type - otype" for kind in THING_KINDS.values()] + ["ButterKnifeType - otype"]
    declared += [f"{kind.pddl}Type - rtype" for kind in PLACE_KINDS.values()]
    facts = [f"atLocation agent1 {START}", f"objectType {LAMP_ID} DeskLampType", f"toggleable {LAMP_ID}"]
    facts += [
        f"canContain {PLACE_KINDS[place_kind].pddl}Type {thing.pddl}Type"
        for thing in THING_KINDS.values()
        for place_kind in thing.place_kinds
    ]
    for place in PLACES:
        declared += [f"{place_id(place)} - receptacle", f"{_location(place)} - location"]
        facts += [
            f"receptacleType {place_id(place)} {PLACE_KINDS[kind_of(place)].pddl}Type",
            f"receptacleAtLocation {place_id(place)} {_location(place)}",
        ]
        if is_openable(place):
            facts.append(f"openable {place_id(place)}")
    return tuple(declared), tuple(facts)


def _lies(item_id: str, place: str) -> tuple[str, str]:
    return f"inReceptacle {item_id} {place_id(place)}", f"objectAtLocation {item_id} {_location(place)}"


def _thing_facts(item_id: str, kind_name: str) -> list[str]:
    kind = THING_KINDS[kind_name]
    facts = [f"objectType {item_id} {kind.pddl}Type", f"pickupable {item_id}"]
    facts += [f"{treatment}able {item_id}" for treatment in kind.treatments]
    return [*facts, f"isReceptacleObject {item_id}"] if kind.is_vessel else facts


def goal_formula(task_type: str, thing: str, goal: str) -> str:
    """The goal of a task type, as the published games state it.

    Args:
        task_type: One of `kitchen.TASK_TYPES`.
        thing: PDDL name of the kind of thing that is wanted, without the ending `Type`.
        goal: PDDL name of the kind of place where it shall be; of the lamp where it shall be looked at.
    """
    if task_type == "look_at_obj_in_light":
        return (
            f"(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?ot {goal}Type)"
            " (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))"
            f" (exists (?o - object ?a - agent) (and (objectType ?o {thing}Type) (holds ?a ?o))))"
        )
    if task_type == "pick_two_obj_and_place":
        return (
            f"(and (exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 {thing}Type)"
            f" (receptacleType ?r {goal}Type) (inReceptacle ?o1 ?r) (exists (?o2 - object) (and (not (= ?o1 ?o2))"
            f" (objectType ?o2 {thing}Type) (receptacleType ?r {goal}Type) (inReceptacle ?o2 ?r)))))))"
        )
    treatment = TREATMENTS.get(task_type)
    state = f"({treatment}able ?o) ({_STATES[treatment]} ?o) " if treatment else ""
    return (
        f"(and (exists (?r - receptacle) (exists (?o - object) (and {state}(objectType ?o {thing}Type)"
        f" (receptacleType ?r {goal}Type) (inReceptacle ?o ?r)))))"
    )
