"""Generated rooms: like the published ones, always winnable, the same everywhere, written as published games are."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path
from statistics import fmean

import pytest

from sdar_gym.envs.alfworld import official, parity
from sdar_gym.envs.alfworld.engine import Game, NativeEngine, compile_game
from sdar_gym.envs.alfworld.game_file import GameFile, read_game_file
from sdar_gym.envs.alfworld.kitchen import PHRASES, TASK_TYPES, TREATMENTS
from sdar_gym.envs.alfworld.mini import MiniGames, write_games
from sdar_gym.envs.alfworld.pddl import read_problem
from sdar_gym.envs.alfworld.rooms import statistics
from sdar_gym.envs.alfworld.rooms.compare import comparison, measured
from sdar_gym.envs.alfworld.rooms.figures import NOWHERE, PROPERTIES, ROOMS, read_figures, real_figures, room_of
from sdar_gym.envs.alfworld.rooms.games import ALFWorldRoomsEnv, RoomGames
from sdar_gym.envs.alfworld.rooms.generator import UnsolvableGameError, game_file, generate
from sdar_gym.envs.alfworld.rooms.scenario import (
    TREATMENT_PLACES,
    Difficulty,
    Receptacle,
    Scenario,
    Task,
    Thing,
    draw,
    known_tasks,
    similar_kinds,
)
from sdar_gym.text_env import UnknownTaskError
from tests.conftest import RunPython

FIGURES = real_figures()
COMBINATIONS = [(room, task_type) for room in ROOMS for task_type in FIGURES.rooms[room].tasks]
NEEDS_OFFICIAL = pytest.mark.skipif(not official.is_installed(), reason="the official engine is not installed")


def compiled(game: GameFile) -> Game:
    return compile_game(game)


def kinds_of(names: tuple[str, ...]) -> Counter[str]:
    return Counter(name.partition(" ")[0] for name in names)


# The mini world shares the writer: a bundled model was trained on exactly these problems.


def test_the_games_of_the_mini_world_are_what_they_were() -> None:
    games, digests = MiniGames(), []
    # Every seventh of the 2,400: each task type, both splits.
    for task_id in [task_id for split in games.splits for task_id in games.task_ids(split)][::7]:
        game = games.load(task_id)
        digests.append(hashlib.sha256(repr((game.pddl_problem, game.walkthrough)).encode()).hexdigest())
    assert len(digests) == 343
    everything = hashlib.sha256("".join(digests).encode()).hexdigest()
    assert everything == "dd7249d312b4759e4a96551b2799bb5380e9925f231766ca09ae86299d7d7fa9"


# The table of figures.


def test_shares_of_the_table_sum_to_one() -> None:
    assert sorted(FIGURES.rooms) == sorted(ROOMS)
    assert all(sum(shares.values()) == pytest.approx(1, abs=0.005) for shares in FIGURES.wanted.values())
    for room in FIGURES.rooms.values():
        for receptacle in room.receptacles.values():
            assert sum(receptacle.counts.values()) == 27, "there are 27 scenes of each kind at hand"
            assert 0 <= receptacle.openable <= 1
        for thing in room.things.values():
            assert sum(thing.counts.values()) == pytest.approx(1, abs=0.005)
            assert 0 <= thing.nowhere < 1
            assert all(0 < share <= 1 for share in thing.lies.values())
            assert NOWHERE not in thing.lies


def test_every_task_of_the_table_can_be_done() -> None:
    for name, room in FIGURES.rooms.items():
        for task_type, pairs in room.tasks.items():
            for thing, goal in pairs:
                assert thing in FIGURES.properties["pickupable"], (name, task_type, thing)
                if task_type == "look_at_obj_in_light":
                    assert goal in FIGURES.properties["toggleable"]
                    assert room.things[goal].lies
                    continue
                assert thing in FIGURES.contains[goal], (name, task_type, thing, goal)
                assert goal in room.receptacles
                assert set(room.things[thing].lies) - {goal}, (name, thing)
                if treatment := TREATMENTS.get(task_type):
                    assert thing in FIGURES.properties[f"{treatment}able"]
                    assert TREATMENT_PLACES[treatment] in room.receptacles


def test_the_table_says_of_kitchens_what_everyone_knows() -> None:
    kitchen = FIGURES.rooms["kitchen"]
    assert all(kitchen.receptacles[kind].counts == {1: 27} for kind in ("Fridge", "Microwave", "SinkBasin"))
    assert kitchen.receptacles["Fridge"].openable == 1
    assert kitchen.receptacles["CounterTop"].openable == 0
    assert kitchen.shared[("StoveBurner", "StoveBurner")] > 0.5
    assert kitchen.receptacles["CoffeeMachine"].most == 1
    assert set(kitchen.tasks) == set(TASK_TYPES) - {"look_at_obj_in_light"}


def test_the_hundreds_of_a_scene_say_what_it_is() -> None:
    assert [room_of(number) for number in (1, 30, 201, 330, 1000, 12400)] == [
        *("kitchen", "kitchen", "livingroom", "bedroom", "kitchen", "bathroom"),
    ]
    with pytest.raises(ValueError, match="scene 105 is no room"):
        room_of(105)


def real_game(**changes: object) -> statistics.RealGame:
    settings = {
        "scene": 1,
        "task": ("pick_and_place_simple", "Mug", "Shelf"),
        "receptacles": {"table1": "Table", "table2": "Table", "shelf": "Shelf"},
        "openable": frozenset(),
        "locations": {"table1": "a", "table2": "a", "shelf": "b"},
        "things": {"cup1": "Cup", "cup2": "Cup", "mug": "Mug"},
        "lies": {"cup1": ("table1",), "cup2": ("shelf",), "mug": ("table1",)},
        "properties": {name: frozenset() for name in (*PROPERTIES, "isCool")},
        "contains": frozenset({("Shelf", "Mug")}),
        **changes,
    }
    return statistics.RealGame(**settings)  # type: ignore[arg-type]


def test_figures_are_counted_by_scene_and_by_receptacle() -> None:
    # Scene 1 plays twice: one cup on one of two tables and one on the shelf; then one cup, nowhere to be seen.
    # Scene 2 plays once, with no cup, one table and no shelf. Neither tells of mugs: both are about them.
    games = [
        real_game(),
        real_game(things={"cup1": "Cup", "mug": "Mug"}, lies={"mug": ("table1",)}),
        real_game(
            scene=2,
            receptacles={"table1": "Table"},
            openable=frozenset({"table1"}),
            locations={"table1": "a"},
            things={"mug": "Mug"},
            lies={"mug": ("table1",)},
        ),
    ]
    room = statistics.tabulate(games)["rooms"]["kitchen"]
    assert room["receptacles"] == {
        "Shelf": {"counts": {"0": 1, "1": 1}, "openable": 0.0, "most": 1},
        # Of three tables, in two scenes, one opens.
        "Table": {"counts": {"1": 1, "2": 1}, "openable": 0.333, "most": 2},
    }
    # In one of two scenes, both tables stand at one location.
    assert room["shared"] == {"Table Table": 0.5}
    assert list(room["things"]) == ["Cup"]
    cup = room["things"]["Cup"]
    # Scene 1 always has cups, scene 2 never: one half, though scene 1 is played twice as often.
    assert cup["present"] == 0.5
    assert cup["counts"] == {"1": 0.5, "2": 0.5}
    # Of the 1.5 cups of an average game in scene 1, 0.5 are nowhere, 0.5 on the shelf, 0.5 on the two tables.
    assert cup["nowhere"] == 0.333
    assert cup["lies"] == {"Shelf": 0.333, "Table": 0.167}
    assert room["tasks"] == {"pick_and_place_simple": {"Mug Shelf": 2}}


def test_a_thing_across_two_burners_counts_half_for_each() -> None:
    placed = real_game(lies={"cup1": ("table1", "shelf"), "cup2": ("shelf",)}).placed()
    assert sorted(placed) == [
        ("Cup", "Shelf", 0.5),
        ("Cup", "Shelf", 1.0),
        ("Cup", "Table", 0.5),
        ("Mug", NOWHERE, 1.0),
    ]


def test_the_table_survives_being_written_and_read(tmp_path: Path) -> None:
    RoomGames().write(tmp_path, 30, seed=0)
    statistics.main(["--data", str(tmp_path), "--out", str(tmp_path / "figures.json")])
    text = (tmp_path / "figures.json").read_text()
    figures = read_figures(text)
    games = statistics.read_games(tmp_path)
    assert len(games) == json.loads(text)["games"] == 30
    asked = [pair for room in figures.rooms.values() for pairs in room.tasks.values() for pair in pairs]
    assert set(asked) == {game.task[1:] for game in games}
    with pytest.raises(FileNotFoundError, match=r"no game\.tw-pddl"):
        statistics.read_games(tmp_path / "train" / "nothing")


@pytest.mark.data
@pytest.mark.slow
def test_the_table_is_what_the_published_games_say(data_root: Path) -> None:
    archive = data_root / "alfworld" / "games.tar.xz"
    if not archive.is_file():
        pytest.skip(f"{archive} not found")
    table = files("sdar_gym.envs.alfworld.rooms").joinpath("figures.json").read_text("utf-8")
    assert statistics.as_text(statistics.tabulate(statistics.read_games(archive))) == table


# The games.


@pytest.mark.parametrize(("room", "task_type"), COMBINATIONS)
def test_every_game_can_be_won_and_is_not_won_at_the_start(room: str, task_type: str) -> None:
    for seed in range(6):
        game = generate(seed, room, task_type)
        engine = NativeEngine(compiled(game))
        assert not engine.reset().won
        assert engine.game.compiled.goal.task_type == task_type
        replies = [engine.step(command) for command in game.walkthrough]
        assert all(reply.understood for reply in replies)
        assert [reply.won for reply in replies] == [False] * (len(replies) - 1) + [True]


@pytest.mark.parametrize("settings", [{"receptacles": 5, "objects": 4}, {"receptacles": 60, "objects": 120}])
def test_the_smallest_and_the_largest_rooms_can_be_won(settings: dict[str, int]) -> None:
    for room, task_type in COMBINATIONS:
        # `generate` refuses to make a game that the oracle does not win.
        assert generate("extreme", room, task_type, **settings).walkthrough
        assert generate("extreme", room, task_type, **settings, distractors=2, closed=0.0).walkthrough


def test_a_game_reads_like_a_published_one() -> None:
    game = generate(3, "bedroom", "look_at_obj_in_light")
    engine = NativeEngine(compiled(game))
    text = engine.reset().text
    listed = r"a \w+ \d+(, a \w+ \d+)*, and a \w+ \d+"
    assert re.fullmatch(
        r"-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room\. Looking quickly around you, you see "
        + listed
        + r"\.\n\nYour task is to: (look at \w+ under the desklamp|examine the \w+ with the desklamp)\.\s*",
        text,
    )
    assert "a bed 1," in text
    assert engine.step("look").text == "You are in the middle of a room. Looking quickly around you, you see nothing."


def test_help_is_that_of_the_published_games(real_games: list[GameFile]) -> None:
    own, real = NativeEngine(compiled(generate(0))), NativeEngine(compiled(real_games[0]))
    assert own.step("help").text == real.step("help").text


def test_ids_have_the_published_form() -> None:
    problem = read_problem(generate(0, "bathroom").pddl_problem, "game")
    number = r"_(plus|minus)_\d\d_dot_\d\d"
    forms = {
        "receptacle": rf"[a-z]+(_bar_{number}){{3}}(_bar_(sinkbasin|bathtubbasin))?",
        "object": rf"[a-z]+(_bar_{number}){{3}}",
        "location": r"loc(_bar_(_minus_)?\d+){2}_bar_[0-3]_bar_(60|45)",
    }
    for name, kind in problem.types.items():
        assert re.fullmatch(forms.get(kind, ".*"), name), name
    places = {location for _, location in problem.facts["receptacleatlocation"]}
    assert problem.facts["atlocation"] == [("agent1", *(set(problem.facts["atlocation"][0]) - {"agent1"}))]
    assert problem.facts["atlocation"][0][1] not in places


@pytest.mark.parametrize("task_type", ["pick_and_place_simple", "pick_two_obj_and_place"])
def test_what_is_wanted_somewhere_does_not_lie_there_yet(task_type: str) -> None:
    for seed in range(60):
        scenario = draw(random.Random(seed), task_types=[task_type])
        at = [scenario.receptacles[each.place].kind for each in wanted(scenario) if each.place is not None]
        assert scenario.task.goal not in at
        assert len(at) >= (2 if task_type == "pick_two_obj_and_place" else 1)


def wanted(scenario: Scenario) -> list[Thing]:
    return [each for each in scenario.things if each.kind == scenario.task.thing]


def test_receptacles_hold_what_fits_and_no_more_than_real_ones() -> None:
    for seed in range(60):
        scenario = draw(random.Random(seed))
        room = FIGURES.rooms[scenario.task.room]
        held = Counter(each.place for each in scenario.things if each.place is not None)
        for index, count in held.items():
            assert count <= room.receptacles[scenario.receptacles[index].kind].most
        for each in scenario.things:
            assert each.place is None or scenario.receptacles[each.place].kind in room.things[each.kind].lies


def test_sentences_are_the_published_wordings() -> None:
    said: Counter[str] = Counter()
    for seed in range(60):
        scenario = draw(random.Random(seed), task_types=["pick_heat_then_place_in_recep"])
        thing, goal = scenario.task.thing.lower(), scenario.task.goal.lower()
        wordings = {phrase.format(thing=thing, goal=goal): phrase for phrase in PHRASES[scenario.task.task_type]}
        said[wordings[scenario.sentence]] += 1
    # A fair coin thrown 60 times: fewer than 18 of a side happen in 1 of 1,000 cases, and the seeds are fixed.
    assert min(said.values()) >= 18
    assert len(said) == 2


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_are_as_large_and_as_full_as_the_table_says(room: str) -> None:
    games = [measured(generate(seed, room)) for seed in range(50)]
    figures = FIGURES.rooms[room]
    expected = sum(each.mean for each in figures.receptacles.values())
    # What a task needs is there for certain, hence a little more than the mean; its standard error is about 1.
    assert fmean(each["receptacles"] for each in games) == pytest.approx(expected, rel=0.2)
    things = sum(each.mean * (1 - each.nowhere) for each in figures.things.values())
    assert fmean(each["things"] for each in games) == pytest.approx(things, rel=0.15)


def test_numbers_are_as_asked_for() -> None:
    difficulty = Difficulty(receptacles=20, objects=40, distractors=9, closed=0.0)
    for seed in range(40):
        scenario = draw(random.Random(seed), difficulty=difficulty)
        room, thing = scenario.task.room, scenario.task.thing
        portable = [each.kind for each in scenario.things if each.kind in FIGURES.properties["pickupable"]]
        assert len(scenario.receptacles) == 20
        assert len(portable) == 40
        assert sum(kind in similar_kinds(room, thing) for kind in portable) == 9
        assert all(each.is_open for each in scenario.receptacles if each.is_openable)


def test_the_share_of_closed_containers_is_a_share() -> None:
    def closed(share: float) -> float:
        rooms = [draw(random.Random(n), rooms=["kitchen"], difficulty=Difficulty(closed=share)) for n in range(30)]
        containers = [each for room in rooms for each in room.receptacles if each.is_openable]
        return fmean(not each.is_open for each in containers)

    # Some 500 containers: the standard error is about 0.02.
    assert closed(1.0) == 1.0
    assert closed(0.5) == pytest.approx(0.5, abs=0.08)


def test_similar_kinds_are_treated_alike_and_fit_alike() -> None:
    # What can be cleaned, heated and cooled like an apple; of the other fruit and the dishes, the fruit fits alike.
    assert {"Egg", "Potato", "Tomato"} <= set(similar_kinds("kitchen", "Apple"))
    assert {"Cup", "Plate"} <= set(similar_kinds("kitchen", "Mug"))
    assert {"Pen", "Pencil"}.isdisjoint(similar_kinds("kitchen", "Apple"))
    assert "Apple" not in similar_kinds("kitchen", "Apple")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"receptacles": 4}, "receptacles must be from 5 to 60, .* got 4"),
        ({"receptacles": 61}, "receptacles must be from 5 to 60"),
        ({"objects": 3}, "objects must be from 4 to 120"),
        ({"distractors": -1}, "distractors must be from 0 to 60"),
        ({"objects": 10, "distractors": 9}, "raise objects to 11"),
        ({"closed": 1.1}, "from 0 to 1; got 1.1"),
        ({"room": "kitchn"}, "did you mean 'kitchen'"),
        ({"task_type": "pick_two_obj_and_plce"}, "did you mean 'pick_two_obj_and_place'"),
        ({"room": "bathroom", "task_type": "pick_heat_then_place_in_recep"}, "ask for pick_heat.* in kitchen"),
    ],
)
def test_settings_that_make_no_game_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(0, **settings)  # type: ignore[arg-type]


def test_a_game_that_cannot_be_won_is_never_made() -> None:
    task = Task("kitchen", "pick_and_place_simple", "Mug", "Shelf")
    places = (Receptacle("Shelf", 0, is_openable=False, is_open=False), Receptacle("CounterTop", 1, False, False))
    for place, message in ((None, "does not win"), (0, "won before it starts")):
        scenario = Scenario(task, places, (Thing("Mug", place),), "put a mug in shelf")
        with pytest.raises(UnsolvableGameError, match=message):
            game_file(scenario, random.Random(0), "broken")
    scenario = Scenario(task, places, (Thing("Mug", 1),), "put a mug in shelf")
    assert game_file(scenario, random.Random(0), "whole").walkthrough == (
        "go to countertop 1",
        "take mug 1 from countertop 1",
        "go to shelf 1",
        "move mug 1 to shelf 1",
    )


def test_tasks_have_the_shares_of_the_published_ones() -> None:
    tasks, cumulated = known_tasks(None, None)
    scenes = sum(count for room in FIGURES.rooms.values() for asked in room.tasks.values() for count in asked.values())
    assert cumulated[-1] == scenes
    drawn = Counter(draw(random.Random(seed)).task.room for seed in range(400))
    for room in ROOMS:
        share = sum(sum(asked.values()) for asked in FIGURES.rooms[room].tasks.values()) / scenes
        # The standard error of a share of 400 is at most 0.025.
        assert drawn[room] / 400 == pytest.approx(share, abs=0.08)
    assert len(tasks) == len(set(tasks))


def test_the_order_in_which_rooms_are_named_changes_nothing() -> None:
    one, two = RoomGames(rooms=("bedroom", "kitchen")), RoomGames(rooms=("kitchen", "bedroom"))
    assert one.load("train/000003") == two.load("train/000003")


# The source and the environment.


def test_a_task_id_means_the_same_game_in_every_process(run_python: RunPython) -> None:
    code = (
        "import hashlib\nfrom sdar_gym.envs.alfworld.rooms.games import RoomGames\n"
        "games = RoomGames()\n"
        "texts = [repr(games.load(id)) for split in games.splits for id in games.task_ids(split)[:12]]\n"
        "print(hashlib.sha256(''.join(texts).encode()).hexdigest())"
    )
    first = run_python(code, hash_seed="1").strip()
    assert first == run_python(code, hash_seed="2").strip()
    assert first == "f62daa2ec2ef5e1130150a9649894e8872fa139eba111475cc23041a9d203b88", (
        "other games than before: that needs a new version of the environment's id"
    )


def test_splits_share_no_game() -> None:
    games = RoomGames()
    hashes = {split: {games.scenario(id).hash for id in games.task_ids(split)[:300]} for split in games.splits}
    assert len(hashes["train"]) == len(hashes["valid"]) == 300
    assert not hashes["train"] & hashes["valid"]
    assert all((int(each, 16) % 4 == 0) == (split == "valid") for split in hashes for each in hashes[split])


def test_task_ids_are_a_panel_and_greater_numbers_are_played_too() -> None:
    env = ALFWorldRoomsEnv()
    assert [len(env.task_ids(split)) for split in env.splits] == [10_000, 400]
    assert env.task_ids("train")[9999] == "train/009999"
    for task_id in ("train/123456789", "valid/000400", "train/" + "9" * 40):
        observation, info = env.reset(options={"task": task_id})
        assert info["task_id"] == task_id
        assert "Your task is to: " in observation
    for task_id in ("train/0123456", "train/12345", "train/-00001", "test/000000", "train/00000x", "", "x" * 100_000):
        with pytest.raises(UnknownTaskError, match="ids look like 'train/000000'"):
            env.reset(options={"task": task_id})
    with pytest.raises(UnknownTaskError, match="did you mean 'valid'"):
        env.task_ids("validd")


def test_the_environment_plays_the_games_of_its_settings() -> None:
    env = ALFWorldRoomsEnv(["bathroom"], ["pick_two_obj_and_place"], receptacles=9, closed=0.0)
    assert env.games == RoomGames(("bathroom",), ("pick_two_obj_and_place",), Difficulty(receptacles=9, closed=0.0))
    assert hash(env.games) != hash(ALFWorldRoomsEnv().games)
    observation, info = env.reset(seed=1)
    assert info["task_type"] == "pick_two_obj_and_place"
    assert "a toilet 1" in observation
    # Everywhere but where one is, and look, inventory, help.
    assert len(info["admissible_actions"]) == 9 + 3
    success = False
    while not success:
        action = env.oracle()
        assert action is not None
        _, _, success, _, _ = env.step(action)
    with pytest.raises(ValueError, match="rooms is a list of names"):
        ALFWorldRoomsEnv("kitchen")


# On disk, and on the official engine.


@pytest.mark.parametrize("world", ["rooms", "mini"])
def test_writing_is_repeatable_and_overwrites_nothing(tmp_path: Path, world: str) -> None:
    def write(count: int, seed: int = 5) -> list[Path]:
        return RoomGames().write(tmp_path, count, seed) if world == "rooms" else write_games(tmp_path, count, seed)

    before = write(6)
    texts = [path.read_text() for path in before]
    # As an interrupted run leaves things: a trial without its game, and one half written.
    before[3].unlink()
    before[4].rename(before[4].with_name("game.tw-pddl.part"))
    after = write(8)
    assert [path.read_text() for path in after[:6]] == texts
    assert after[:6] == before
    assert not list(tmp_path.rglob("*.part"))
    before[2].write_text("mine")
    with pytest.raises(FileExistsError, match="another game"):
        write(8)
    assert before[2].read_text() == "mine"


def test_other_settings_do_not_mix_with_what_is_there(tmp_path: Path) -> None:
    RoomGames().write(tmp_path, 3, seed=0)
    with pytest.raises(FileExistsError, match="take another seed"):
        RoomGames(difficulty=Difficulty(objects=10)).write(tmp_path, 3, seed=0)
    assert len(list(tmp_path.rglob("game.tw-pddl"))) == 3


def test_written_games_lie_as_published_ones_do(tmp_path: Path) -> None:
    paths = RoomGames().write(tmp_path, 12, seed=1) + RoomGames().write(tmp_path, 3, seed=1, split="valid_unseen")
    for path in paths:
        _, task, trial, _ = path.relative_to(tmp_path).parts
        about = json.loads(path.with_name("traj_data.json").read_text())
        wanted = about["pddl_params"]
        goal = wanted["parent_target"] or wanted["toggle_target"]
        number = about["scene"]["scene_num"]
        assert task == f"{about['task_type']}-{wanted['object_target']}-None-{goal}-{number}"
        assert trial == about["task_id"]
        kinds = kinds_of(compiled(read_game_file(path)).tables.receptacles)
        signs = {"fridge": 0, "bed": 300, "toilet": 400}
        assert number % 1000 == next((hundred for sign, hundred in signs.items() if kinds[sign]), 200)
    with pytest.raises(ValueError, match="did you mean 'valid_seen'"):
        RoomGames().write(tmp_path, 1, seed=0, split="valid_sen")
    with pytest.raises(ValueError, match="at least 1"):
        RoomGames().write(tmp_path, 0, seed=0)


def test_the_comparison_measures_both_kinds_of_games(tmp_path: Path) -> None:
    for room in ROOMS:
        RoomGames(rooms=(room,)).write(tmp_path, 2, seed=ROOMS.index(room))
    table = comparison(tmp_path, 2).splitlines()
    assert table[0].split() == list(ROOMS)
    assert [line.split()[:2] for line in table[1:3]] == [["receptacles", "real"], ["receptacles", "generated"]]
    with pytest.raises(FileNotFoundError, match="no published game of a kitchen"):
        comparison(tmp_path / "nothing", 2)


def test_what_is_measured_is_what_a_player_meets(kitchen: object) -> None:
    game = kitchen.game()  # type: ignore[attr-defined]
    found = measured(game)
    # Six receptacles at four locations, of which fridge and microwave open; see the kitchen in conftest.
    assert (found["receptacles"], found["locations"]) == (6, 4)
    assert found["admissible"] == 6 + 3
    assert found["wanted"] == 1


@NEEDS_OFFICIAL
@pytest.mark.parametrize(("room", "task_type"), [COMBINATIONS[index] for index in (2, 5, 12)])
def test_the_official_engine_plays_generated_rooms_alike(room: str, task_type: str) -> None:
    game = generate(f"parity {task_type}", room, task_type, receptacles=10, objects=12, closed=0.5)
    assert parity.compare_walk(game, random.Random(1), 8) is None
    assert parity.compare_walk(game, game.walkthrough, len(game.walkthrough)) is None


@NEEDS_OFFICIAL
@pytest.mark.slow
@pytest.mark.parametrize(("room", "task_type"), COMBINATIONS)
def test_the_official_engine_plays_rooms_of_real_size_alike(room: str, task_type: str) -> None:
    game = generate(f"parity {task_type}", room, task_type)
    assert parity.compare_walk(game, random.Random(2), 28) is None


@NEEDS_OFFICIAL
def test_the_official_loader_finds_generated_games_and_its_expert_plays_them(
    tmp_path: Path, run_python: RunPython
) -> None:
    games = RoomGames(("bathroom",), ("pick_and_place_simple",), Difficulty(receptacles=6, objects=8))
    paths = games.write(tmp_path, 2, seed=0)
    code = (
        "import sys, warnings\nwarnings.simplefilter('ignore')\nroot = sys.argv.pop()\nimport textworld\n"
        "from textworld.envs.pddl import PddlEnv\n"
        "from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredExpert, AlfredTWEnv\n"
        "settings = {'data_path': root, 'num_train_games': -1}\n"
        "config = {'env': {'goal_desc_human_anns_prob': 0, 'task_types': [1, 2, 3, 4, 5, 6]}, 'dataset': settings}\n"
        "found = sorted(AlfredTWEnv(config).game_files)\n"
        "infos = textworld.EnvInfos(won=True, admissible_commands=True, facts=True)\n"
        "env = AlfredExpert(AlfredDemangler(PddlEnv(infos)), 'handcoded')\n"
        "env.load(found[0])\nstate, turns = env.reset(), 0\n"
        "while not state['won'] and turns < 40:\n"
        "    state, turns = env.step(state['extra.expert_plan'][0])[0], turns + 1\n"
        "print(len(found), state['won'])"
    )
    assert run_python(code, str(tmp_path)).splitlines()[-1] == f"{len(paths)} True"
