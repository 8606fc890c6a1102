"""Games for the tests of ALFWorld: a kitchen written by hand, and real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sdar_gym.envs.alfworld.game_file import GameFile, read_game_file
from sdar_gym.envs.alfworld.mini import MiniGames

OBJECTS = """
    agent1 - agent
    start fridgeplace stoveplace sinkplace tableplace - location
    Fridge_bar_1 StoveBurner_bar_1 StoveBurner_bar_2 Sink_bar_1_bar_SinkBasin DiningTable_bar_1 - receptacle
    Microwave_bar_1 - receptacle
    Pan_bar_1 Mug_bar_1 Mug_bar_2 Knife_bar_1 Bread_bar_1 DeskLamp_bar_1 Spoon_bar_1 Statue_bar_1 - object
    FridgeType StoveBurnerType SinkBasinType DiningTableType MicrowaveType - rtype
    PanType MugType KnifeType BreadType DeskLampType SpoonType StatueType - otype
"""
# Pan 1 lies on stoveburner 2 (ids are numbered downwards), which shares its place with stoveburner 1; mug 2 is in the
# closed fridge and cool; the spoon is in mug 1, on the table; no receptacle takes the statue.
FACTS = """
    (atLocation agent1 start)
    (receptacleAtLocation Fridge_bar_1 fridgeplace) (receptacleType Fridge_bar_1 FridgeType) (openable Fridge_bar_1)
    (receptacleAtLocation StoveBurner_bar_1 stoveplace) (receptacleType StoveBurner_bar_1 StoveBurnerType)
    (receptacleAtLocation StoveBurner_bar_2 stoveplace) (receptacleType StoveBurner_bar_2 StoveBurnerType)
    (receptacleAtLocation Sink_bar_1_bar_SinkBasin sinkplace) (receptacleType Sink_bar_1_bar_SinkBasin SinkBasinType)
    (receptacleAtLocation DiningTable_bar_1 tableplace) (receptacleType DiningTable_bar_1 DiningTableType)
    (receptacleAtLocation Microwave_bar_1 tableplace) (receptacleType Microwave_bar_1 MicrowaveType)
    (openable Microwave_bar_1)
    (objectType Pan_bar_1 PanType) (pickupable Pan_bar_1) (cleanable Pan_bar_1) (isReceptacleObject Pan_bar_1)
    (inReceptacle Pan_bar_1 StoveBurner_bar_1) (objectAtLocation Pan_bar_1 stoveplace)
    (objectType Mug_bar_1 MugType) (pickupable Mug_bar_1) (cleanable Mug_bar_1) (heatable Mug_bar_1)
    (coolable Mug_bar_1) (inReceptacle Mug_bar_1 Fridge_bar_1) (objectAtLocation Mug_bar_1 fridgeplace)
    (isCool Mug_bar_1)
    (objectType Mug_bar_2 MugType) (pickupable Mug_bar_2) (cleanable Mug_bar_2) (heatable Mug_bar_2)
    (coolable Mug_bar_2) (inReceptacle Mug_bar_2 DiningTable_bar_1) (objectAtLocation Mug_bar_2 tableplace)
    (isReceptacleObject Mug_bar_2) (inReceptacleObject Spoon_bar_1 Mug_bar_2)
    (objectType Spoon_bar_1 SpoonType) (pickupable Spoon_bar_1) (cleanable Spoon_bar_1)
    (inReceptacle Spoon_bar_1 DiningTable_bar_1) (objectAtLocation Spoon_bar_1 tableplace)
    (objectType Knife_bar_1 KnifeType) (pickupable Knife_bar_1) (cleanable Knife_bar_1)
    (inReceptacle Knife_bar_1 DiningTable_bar_1) (objectAtLocation Knife_bar_1 tableplace)
    (objectType Bread_bar_1 BreadType) (pickupable Bread_bar_1) (sliceable Bread_bar_1) (heatable Bread_bar_1)
    (inReceptacle Bread_bar_1 DiningTable_bar_1) (objectAtLocation Bread_bar_1 tableplace)
    (objectType DeskLamp_bar_1 DeskLampType) (toggleable DeskLamp_bar_1)
    (inReceptacle DeskLamp_bar_1 DiningTable_bar_1) (objectAtLocation DeskLamp_bar_1 tableplace)
    (objectType Statue_bar_1 StatueType) (pickupable Statue_bar_1)
    (inReceptacle Statue_bar_1 DiningTable_bar_1) (objectAtLocation Statue_bar_1 tableplace)
"""
HOLDS = {
    "FridgeType": "PanType MugType BreadType",
    "StoveBurnerType": "PanType",
    "SinkBasinType": "PanType MugType SpoonType KnifeType",
    "DiningTableType": "PanType MugType SpoonType KnifeType BreadType",
    "MicrowaveType": "MugType BreadType",
}
PLACE = "(and (exists (?r - receptacle) (exists (?o - object) (and {ability} (inReceptacle ?o ?r) {kinds}))))"
TWO = """(and (exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 {thing}) (receptacleType ?r {place})
    (inReceptacle ?o1 ?r) (exists (?o2 - object) (and (not (= ?o1 ?o2)) (objectType ?o2 {thing})
    (receptacleType ?r {place}) (inReceptacle ?o2 ?r)))))))"""
LIGHT = """(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?ot DeskLampType)
    (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))
    (exists (?o - object ?a - agent) (and (objectType ?o {thing}) (holds ?a ?o))))"""


def place_goal(thing: str, place: str, ability: str = "") -> str:
    """The goal formula of a placement, such as a hot mug (`ability` is `(heatable ?o) (isHot ?o)`) on the table."""
    return PLACE.format(ability=ability, kinds=f"(objectType ?o {thing}) (receptacleType ?r {place})")


GOALS = {
    "pick_and_place_simple": place_goal("PanType", "FridgeType"),
    "pick_clean_then_place_in_recep": place_goal("MugType", "FridgeType", "(cleanable ?o) (isClean ?o)"),
    "pick_heat_then_place_in_recep": place_goal("MugType", "DiningTableType", "(heatable ?o) (isHot ?o)"),
    "pick_cool_then_place_in_recep": place_goal("MugType", "SinkBasinType", "(coolable ?o) (isCool ?o)"),
    "pick_two_obj_and_place": TWO.format(thing="MugType", place="SinkBasinType"),
    "look_at_obj_in_light": LIGHT.format(thing="PanType"),
}


class Kitchen:
    """Makes the hand-written kitchen with any goal, facts or texts."""

    def __init__(self) -> None:
        self._rules = MiniGames().load("train/000000")

    def problem(self, goal: str = GOALS["pick_and_place_simple"], more_facts: str = "") -> str:
        pairs = ((place, thing) for place, things in HOLDS.items() for thing in things.split())
        contains = " ".join(f"(canContain {place} {thing})" for place, thing in pairs)
        init = f"{FACTS} {contains} (= (total-cost) 0) {more_facts}"
        metric = "(:metric minimize (total-cost))"
        return f"(define (problem k) (:domain alfred) (:objects {OBJECTS}) (:init {init}) (:goal {goal}) {metric})"

    def game(self, goal: str = GOALS["pick_and_place_simple"], more_facts: str = "") -> GameFile:
        return replace(self._rules, pddl_problem=self.problem(goal, more_facts), walkthrough=(), origin="kitchen")


@pytest.fixture(scope="session")
def kitchen() -> Kitchen:
    return Kitchen()


@pytest.fixture(scope="session")
def real_games(alfworld_games: Path) -> list[GameFile]:
    """Eight published games: one of each task type, and two more, from three splits."""
    paths: dict[str, Path] = {}
    for number, path in enumerate(sorted(alfworld_games.glob("*/*/*/game.tw-pddl"))):
        split, task = path.relative_to(alfworld_games).parts[:2]
        kind = task.partition("-")[0]
        paths.setdefault(kind if number % 3 else f"{split} {kind}", path)
    chosen = [path for key, path in sorted(paths.items()) if " " not in key]
    chosen += [path for key, path in sorted(paths.items()) if key.startswith("valid")][:2]
    return [read_game_file(path) for path in chosen]
