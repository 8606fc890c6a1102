"""The oracle: it wins from every state that can be won from, and says so of every other at once.

Small games with every quirk that the rules allow are searched to the last state; larger ones are played at random.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from sdar_gym.envs.alfworld.engine import Game, NativeEngine, compile_game
from sdar_gym.envs.alfworld.game_file import GameFile
from sdar_gym.envs.alfworld.mini import MiniGames
from sdar_gym.envs.alfworld.oracle import next_command
from sdar_gym.envs.alfworld.state import State

from .conftest import GOALS

if TYPE_CHECKING:
    from .conftest import Kitchen

# No more is ever needed: free the hand (3), twice fetch (3), treat (2) and put (3).
LIMIT = 20


def follow(game: Game, engine: NativeEngine) -> list[str]:
    """The oracle's commands to the end, each of which must be admissible."""
    commands: list[str] = []
    while (command := next_command(game, engine.state)) is not None and len(commands) < LIMIT:
        reply = engine.step(command)
        assert reply.understood, command
        commands.append(command)
    return commands


@pytest.mark.parametrize("task_type", GOALS)
def test_every_task_type_is_recognised_and_won(kitchen: Kitchen, task_type: str) -> None:
    game = compile_game(kitchen.game(GOALS[task_type]))
    assert game.compiled.goal.task_type == task_type
    engine = NativeEngine(game)
    commands = follow(game, engine)
    assert game.is_won(engine.state)
    assert len(commands) <= 9


def test_what_is_in_the_hand_is_put_down_first(kitchen: Kitchen) -> None:
    game = compile_game(kitchen.game(GOALS["pick_clean_then_place_in_recep"]))
    engine = NativeEngine(game)
    for command in ("go to diningtable 1", "take bread 1 from diningtable 1"):
        engine.step(command)
    assert follow(game, engine)[:2] == ["move bread 1 to diningtable 1", "take mug 1 from diningtable 1"]
    assert game.is_won(engine.state)


def test_what_is_placed_untreated_is_fetched_again(kitchen: Kitchen) -> None:
    game = compile_game(kitchen.game(GOALS["pick_heat_then_place_in_recep"]))
    engine = NativeEngine(game)
    engine.step("go to diningtable 1")  # where an unheated mug stands already
    assert follow(game, engine) == [
        "take mug 1 from diningtable 1",
        "heat mug 1 with microwave 1",
        "move mug 1 to diningtable 1",
    ]


def test_what_is_treated_already_is_preferred(kitchen: Kitchen) -> None:
    game = compile_game(kitchen.game(GOALS["pick_cool_then_place_in_recep"]))
    assert follow(game, NativeEngine(game)) == [  # the cool mug in the closed fridge, not the one on the table
        "go to fridge 1",
        "open fridge 1",
        "take mug 2 from fridge 1",
        "go to sinkbasin 1",
        "move mug 2 to sinkbasin 1",
    ]


def test_a_toggled_lamp_is_used_once_more_only_if_it_must_be(kitchen: Kitchen) -> None:
    game = compile_game(kitchen.game(GOALS["look_at_obj_in_light"]))
    engine = NativeEngine(game)
    for command in ("go to diningtable 1", "use desklamp 1"):
        engine.step(command)
    assert follow(game, engine)[-1] == "go to diningtable 1"
    assert game.is_won(engine.state)


def test_the_lit_lamp_and_the_open_place_are_preferred() -> None:
    boxes = [Box("Cabinet", 1, "openable"), Box("Table", 2), Box("Shelf", 3), Box("Desk", 4)]
    lamps = [Thing("Lamp", [2], "toggleable"), Thing("Lamp", [3], "toggleable isToggled")]
    game = small_game(look("Mug", "Lamp"), boxes, [Thing("Mug", [0]), Thing("Mug", [1]), *lamps], [])
    # Things of one name are numbered downwards: thing 1, the mug on the table, is `thing1 1`.
    assert follow(game, NativeEngine(game)) == ["go to box1 1", "take thing1 1 from box1 1", "go to box3 1"]


def test_of_equal_ways_the_one_that_goes_on_from_there_is_taken() -> None:
    # Two mugs on open tables; the sink is beside the second, so that nobody walks after taking it: 2 + 1 + 2 commands.
    boxes = [Box("Table", 1), Box("Table", 2), Box("SinkBasinType", 2), Box("Shelf", 3)]
    game = small_game(
        place("Mug", "Shelf", "clean"), boxes, [Thing("Mug", [0], MUG), Thing("Mug", [1], MUG)], ["Shelf Mug"]
    )
    assert follow(game, NativeEngine(game)) == [
        "go to box1 1",
        "take thing1 1 from box1 1",
        "clean thing1 1 with box2 1",
        "go to box3 1",
        "move thing1 1 to box3 1",
    ]


def test_it_says_none_where_nothing_helps(kitchen: Kitchen) -> None:
    engine = NativeEngine(game := compile_game(kitchen.game()))
    for command in ("go to diningtable 1", "take statue 1 from diningtable 1"):  # no receptacle takes the statue
        engine.step(command)
    assert next_command(game, engine.state) is None


@pytest.mark.parametrize("task_type", GOALS)
def test_it_wins_from_any_state(kitchen: Kitchen, task_type: str) -> None:
    game = compile_game(kitchen.game(GOALS[task_type]))
    for seed in range(60):
        assert _wins_after_a_walk(game, random.Random(seed)), seed


def test_it_wins_generated_games_from_any_state() -> None:
    games = MiniGames()
    for number, task_id in enumerate([*games.task_ids("train")[:60], *games.task_ids("valid")[:12]]):
        game = compile_game(games.load(task_id))
        assert follow(game, engine := NativeEngine(game))
        assert game.is_won(engine.state)
        assert _wins_after_a_walk(game, random.Random(number)), task_id


@pytest.mark.data
def test_it_wins_real_games_from_any_state(real_games: list[GameFile]) -> None:
    for file in real_games:
        game = compile_game(file)
        assert follow(game, engine := NativeEngine(game))
        assert game.is_won(engine.state)
        for seed in range(20):
            assert _wins_after_a_walk(game, random.Random(seed)), (file.origin, seed)


def _wins_after_a_walk(game: Game, generator: random.Random) -> bool:
    """Whether the oracle wins after some random commands, or says at once that the hand can never be freed."""
    engine = NativeEngine(game)
    reply = engine.reset()
    for _ in range(generator.randrange(1, 40)):
        reply = engine.step(generator.choice(reply.admissible))
    held = engine.state.held
    if not reply.won and held >= 0 and not any(accepted >> held & 1 for accepted in game.tables.accepts):
        return next_command(game, engine.state) is None
    follow(game, engine)
    return game.is_won(engine.state)


@dataclass(frozen=True)
class Box:
    """A receptacle of a small game: its types, its location (None: it can be reached nowhere), `openable` or not."""

    types: str
    place: int | None
    words: str = ""


@dataclass(frozen=True)
class Thing:
    """An object of a small game: its types, the numbers of the boxes that list it, and what it is and can be."""

    types: str
    boxes: Sequence[int]
    words: str = "pickupable"


TREATMENTS = {
    "": "",
    "clean": "(cleanable {thing}) (isClean {thing})",
    "heat": "(heatable {thing}) (isHot {thing})",
    "cool": "(coolable {thing}) (isCool {thing})",
}


def place(thing: str, box: str, treatment: str = "") -> str:
    """One thing of a type in a box of a type."""
    treated = TREATMENTS[treatment].format(thing="?o")
    return f"""(and (exists (?r - receptacle) (exists (?o - object) (and {treated} (objectType ?o {thing})
        (receptacleType ?r {box}) (inReceptacle ?o ?r)))))"""


def place_two(thing: str, box: str, treatment: str = "") -> str:
    """Two things of a type in one box of a type."""
    one, two = (TREATMENTS[treatment].format(thing=name) for name in ("?o1", "?o2"))
    return f"""(and (exists (?r - receptacle) (exists (?o1 - object) (and {one} (objectType ?o1 {thing})
        (receptacleType ?r {box}) (inReceptacle ?o1 ?r) (exists (?o2 - object) (and {two} (not (= ?o1 ?o2))
        (objectType ?o2 {thing}) (receptacleType ?r {box}) (inReceptacle ?o2 ?r)))))))"""


def look(thing: str, lamp: str) -> str:
    """A thing of a type in the hand where a toggled lamp of a type stands."""
    return f"""(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?ot {lamp})
        (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))
        (exists (?o - object ?a - agent) (and (objectType ?o {thing}) (holds ?a ?o))))"""


def small_game(goal: str, boxes: Sequence[Box], things: Sequence[Thing], holds: Iterable[str]) -> Game:
    """A game of numbered boxes and things; `holds` are pairs such as `Shelf Mug`: a shelf takes mugs."""
    facts = ["atLocation agent1 place0"]
    names = {"agent1": "agent", "place0": "location"}
    for number, box in enumerate(boxes):
        names[name := f"Box{number}_bar_1"] = "receptacle"
        facts += [f"receptacleType {name} {kind}" for kind in box.types.split()]
        facts += [f"{word} {name}" for word in box.words.split()]
        names |= dict.fromkeys(box.types.split(), "rtype")
        if box.place is not None:
            names[f"place{box.place}"] = "location"
            facts.append(f"receptacleAtLocation {name} place{box.place}")
    for number, thing in enumerate(things):
        names[name := f"Thing{number}_bar_1"] = "object"
        facts += [f"objectType {name} {kind}" for kind in thing.types.split()]
        facts += [f"inReceptacle {name} Box{box}_bar_1" for box in thing.boxes]
        facts += [f"{word} {name}" for word in thing.words.split()]
        names |= dict.fromkeys(thing.types.split(), "otype")
    for pair in holds:
        box_type, thing_type = pair.split()
        names |= {box_type: "rtype", thing_type: "otype"}
        facts.append(f"canContain {box_type} {thing_type}")
    declared = " ".join(f"{name} - {kind}" for name, kind in names.items())
    init = " ".join(f"({fact})" for fact in facts)
    problem = f"(define (problem small) (:domain alfred) (:objects {declared}) (:init {init}) (:goal {goal}))"
    rules = MiniGames().load("train/000000")
    return compile_game(replace(rules, pddl_problem=problem, walkthrough=(), origin="a small game"))


# Whether a game can be lost is worked out by hand; the search has to agree.
MUG = "pickupable heatable coolable cleanable"
QUIRKS: dict[str, tuple[Game, bool]] = {
    "a statue that nothing takes": (
        small_game(
            place("Mug", "Shelf"),
            [Box("Table", 0), Box("Shelf", 1)],
            [Thing("Mug", [0]), Thing("Statue", [0])],
            ["Shelf Mug", "Table Mug"],
        ),
        True,
    ),
    "a statue that nothing takes, to be looked at": (
        small_game(
            look("Statue", "Lamp"),
            [Box("Table", 0), Box("Shelf", 1)],
            [Thing("Statue", [0]), Thing("Lamp", [1], "toggleable")],
            [],
        ),
        False,
    ),
    "one of two in each of two shelves": (
        small_game(
            place_two("Mug", "Shelf"),
            [Box("Shelf", 1), Box("Shelf", 2)],
            [Thing("Mug", [0]), Thing("Mug", [1])],
            ["Shelf Mug"],
        ),
        False,
    ),
    "one of two in each of two shelves, one of them fixed": (
        small_game(
            place_two("Mug", "Shelf"),
            [Box("Shelf", 1), Box("Shelf", 2)],
            [Thing("Mug", [0], ""), Thing("Mug", [1])],
            ["Shelf Mug"],
        ),
        False,
    ),
    "hot and cool undo one another": (
        small_game(
            place("Mug", "Fridge", "heat"),
            [Box("Fridge FridgeType", 0, "openable"), Box("MicrowaveType", 1)],
            [Thing("Mug", [0], MUG + " isHot isCool")],
            ["Fridge Mug"],
        ),
        False,
    ),
    "nothing heats, and what is hot can be cooled": (
        small_game(
            place("Mug", "Shelf", "heat"),
            [Box("FridgeType", 0), Box("Shelf", 1), Box("Cabinet", 1, "openable")],
            [Thing("Mug", [1], MUG), Thing("Mug", [2], MUG + " isHot")],
            ["Shelf Mug", "Cabinet Mug"],
        ),
        True,
    ),
    "won at first, by a shelf that does not take it back": (
        small_game(place("Mug", "Shelf"), [Box("Shelf", 0), Box("Table", 1)], [Thing("Mug", [0])], ["Table Mug"]),
        True,
    ),
    "won at first, by a closed cabinet that takes it back": (
        small_game(place("Mug", "Cabinet"), [Box("Cabinet", 1, "openable")], [Thing("Mug", [0])], ["Cabinet Mug"]),
        False,
    ),
    "the wanted thing is out of reach": (
        small_game(place("Mug", "Shelf"), [Box("Table", None), Box("Shelf", 1)], [Thing("Mug", [0])], ["Shelf Mug"]),
        True,
    ),
    "the goal is out of reach": (
        small_game(place("Mug", "Shelf"), [Box("Table", 0), Box("Shelf", None)], [Thing("Mug", [0])], ["Shelf Mug"]),
        True,
    ),
    "listed on the shelf and on the table: to be taken from the table and heated in the hand": (
        small_game(
            place("Mug", "Shelf", "heat"),
            [Box("Shelf", 0), Box("Table", 1), Box("MicrowaveType", 1)],
            [Thing("Mug", [0, 1], MUG)],
            [],
        ),
        True,
    ),
    "two to be cleaned, of which one never leaves the hand": (
        small_game(
            place_two("Mug", "Shelf", "clean"),
            [Box("Shelf", None), Box("SinkBasinType", 1), Box("Table", 0)],
            [Thing("Mug", [0, 2], MUG), Thing("Mug Cup", [0, 2], MUG)],
            ["Table Cup"],
        ),
        True,
    ),
    "a lamp looked at by another's light": (
        small_game(
            look("Lamp", "Lamp"),
            [Box("Table", 0), Box("Cabinet", 1, "openable")],
            [Thing("Lamp", [0], "pickupable toggleable"), Thing("Lamp", [1], "pickupable")],
            ["Cabinet Lamp"],
        ),
        False,
    ),
    "the only lamp, which is looked at itself": (
        small_game(look("Lamp", "Lamp"), [Box("Table", 0)], [Thing("Lamp", [0], "pickupable toggleable")], []),
        True,
    ),
    "the only lamp, which nothing takes back": (
        small_game(
            look("Mug", "Lamp"),
            [Box("Table", 0), Box("Shelf", 1)],
            [Thing("Lamp", [0], "pickupable toggleable"), Thing("Mug", [1])],
            ["Shelf Mug"],
        ),
        True,
    ),
    "lamps behind a door and elsewhere, one of them lit": (
        small_game(
            look("Mug", "Lamp"),
            [Box("Cabinet", 0, "openable"), Box("Shelf", 1), Box("Table", 2)],
            [Thing("Lamp", [0], "toggleable"), Thing("Lamp", [1], "toggleable isToggled"), Thing("Mug", [2])],
            ["Table Mug"],
        ),
        False,
    ),
    "a knife, and bread to slice": (
        small_game(
            place("Bread", "Shelf"),
            [Box("Table", 0), Box("Shelf", 1)],
            [Thing("KnifeType", [0]), Thing("Bread", [0], "pickupable sliceable")],
            ["Shelf Bread", "Table Bread", "Table KnifeType"],
        ),
        False,
    ),
}


@pytest.mark.parametrize("quirk", QUIRKS)
def test_it_says_none_exactly_where_success_is_out_of_reach(quirk: str) -> None:
    game, can_be_lost = QUIRKS[quirk]
    search = search_all(game)
    assert search is not None
    assert any(distance < 0 for distance in search.distances) == can_be_lost
    assert_oracle_is_exact(game, search)


def test_it_is_exact_and_short_in_random_games() -> None:
    commands = shortest = mixed = 0
    task_types = set()
    for seed in range(600):
        game = random_game(random.Random(seed))
        search = search_all(game)
        if search is None:
            continue
        distances = search.distances
        task_types.add(game.compiled.goal.task_type)
        mixed += min(distances) < 0 < max(distances)
        commands += assert_oracle_is_exact(game, search)
        shortest += sum(distance for distance in distances if distance > 0)
    assert task_types == set(GOALS)
    assert mixed >= 20  # games that can be won, and lost
    assert shortest <= commands < 1.03 * shortest


@dataclass(frozen=True)
class Search:
    """All states that can be reached; by state, where each command leads, and the distance to a win or -1."""

    states: list[State]
    steps: list[dict[str, int]]
    distances: list[int]


def search_all(game: Game, limit: int = 1000) -> Search | None:
    """Breadth first, by the engine's own rules; None if there are more states than the limit."""
    states, steps = [game.compiled.start], list[dict[str, int]]()
    numbers = {_key(states[0]): 0}
    parents: list[list[int]] = [[]]
    for number, state in enumerate(states):
        choices = game.choices(state)
        steps.append({})
        for command, act in (choices.always | choices.now).items():
            after = state.copy()
            if act.effect is not None:
                act.effect(after, act)
            child = numbers.setdefault(_key(after), len(states))
            if child == len(states):
                states.append(after)
                parents.append([])
            steps[number][command] = child
            parents[child].append(number)
        if len(states) > limit:
            return None
    distances = [0 if game.is_won(state) else -1 for state in states]
    pending = deque(number for number, distance in enumerate(distances) if distance == 0)
    while pending:
        for parent in parents[number := pending.popleft()]:
            if distances[parent] < 0:
                distances[parent] = distances[number] + 1
                pending.append(parent)
    return Search(states, steps, distances)


def _key(state: State) -> tuple[object, ...]:
    # All but the records of where things were: only `look` and knives ask for these.
    treated = (state.clean, state.hot, state.cool, state.sliced, state.toggled)
    return (state.location, state.held, state.opened, *treated, *state.contents)


def assert_oracle_is_exact(game: Game, search: Search) -> int:
    """From every state: None where a win is reached or out of reach, else a win; returns the number of commands."""
    decisions = [next_command(game, state) for state in search.states]
    total = 0
    for number, distance in enumerate(search.distances):
        assert (decisions[number] is None) == (distance <= 0), (game.compiled.task, search.states[number])
        if distance > 0:
            total += _commands_to_a_win(search, decisions, number)
    return total


def _commands_to_a_win(search: Search, decisions: Sequence[str | None], number: int) -> int:
    for commands in range(LIMIT + 1):
        decision = decisions[number]
        if decision is None:
            assert search.distances[number] == 0
            return commands
        number = search.steps[number][decision]
    raise AssertionError(f"no win within {LIMIT} commands of {search.states[number]}")


def random_game(generator: random.Random) -> Game:
    """A game of up to four boxes and three things, with all that a game file may say of them."""
    box_types, thing_types = ("FridgeType", "SinkBasinType", "MicrowaveType", "Shelf"), ("Mug", "Lamp", "KnifeType")

    def some(words: Iterable[str], chance: float) -> str:
        return " ".join(word for word in words if generator.random() < chance)

    goal_box, goal_thing = generator.choice(box_types), generator.choice(thing_types[:2])
    boxes = [
        Box(
            types=some([goal_box], 0.5) or generator.choice(box_types) + some([" Cabinet"], 0.15),
            place=generator.randrange(3) if generator.random() < 0.9 else None,
            words=some(["openable"], 0.3) + some([" opened"], 0.4),
        )
        for _ in range(generator.randint(2, 3))
    ]
    things = [
        Thing(
            types=some([goal_thing], 0.6) or generator.choice(thing_types) + some([" Statue"], 0.1),
            boxes=generator.sample(range(len(boxes)), min(len(boxes), generator.choice((1, 1, 2)))),
            words=f"{some(['pickupable'], 0.95)} {some(['cleanable', 'heatable', 'coolable'], 0.8)} "
            f"{some(['toggleable'], 0.4)} {some(['isClean', 'isHot', 'isCool', 'isToggled'], 0.15)}",
        )
        for _ in range(generator.randint(2, 3))
    ]
    kindness = generator.choice((0.2, 0.4, 0.6))
    holds = [
        f"{box} {thing}"
        for box in (*box_types, "Cabinet")
        for thing in (*thing_types, "Statue")
        if generator.random() < (0.8 if (box, thing) == (goal_box, goal_thing) else kindness)
    ]
    treatment = generator.choice(tuple(TREATMENTS))
    goals = (
        place(goal_thing, goal_box, treatment),
        place_two(goal_thing, goal_box, treatment),
        place_two(goal_thing, goal_box),
        look(goal_thing, "Lamp"),
    )
    return small_game(generator.choice(goals), boxes, things, holds)
