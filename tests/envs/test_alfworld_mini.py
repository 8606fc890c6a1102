"""The generated kitchens: every game can be won, follows the household's habits, and is the same everywhere."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from sdar_gym.envs.alfworld import official, parity
from sdar_gym.envs.alfworld.engine import NativeEngine, compile_game
from sdar_gym.envs.alfworld.game_file import GameFile, read_game_file
from sdar_gym.envs.alfworld.generator import generate
from sdar_gym.envs.alfworld.household import HOUSEHOLD, Household
from sdar_gym.envs.alfworld.kitchen import PLACES, TASK_TYPES, THING_KINDS, kind_of, places_for
from sdar_gym.envs.alfworld.mini import ALFWorldMiniEnv, MiniGames, write_games
from sdar_gym.registration import SUITE
from sdar_gym.text_env import UnknownTaskError
from tests.conftest import RunPython

FIRST_OBSERVATION = (
    "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see "
    "a cabinet 3, a cabinet 2, a cabinet 1, a countertop 1, a diningtable 1, a drawer 2, a drawer 1, a fridge 1, "
    "a garbagecan 1, a microwave 1, a shelf 1, a sidetable 1, and a sinkbasin 1.\n\nYour task is to: {sentence}."
)


@pytest.fixture(scope="module")
def games() -> MiniGames:
    return MiniGames()


def play(game: GameFile, commands: tuple[str, ...]) -> bool:
    engine = NativeEngine(compile_game(game))
    engine.reset()
    replies = [engine.step(command) for command in commands]
    assert all(reply.understood for reply in replies), commands
    assert not any(reply.won for reply in replies[:-1]), "the walkthrough has moves to spare"
    return replies[-1].won


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_the_walkthrough_wins_every_game(task_type: str) -> None:
    for seed in range(40):
        game = generate(Household.random(seed), seed, task_type)
        assert play(game, game.walkthrough), (task_type, seed)


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_no_game_is_won_at_the_start(task_type: str) -> None:
    for seed in range(40):
        # With a reliability of 0 nothing lies where it is kept, which is where a goal could be met by accident.
        game = compile_game(generate(HOUSEHOLD, seed, task_type, reliability=0.0))
        engine = NativeEngine(game)
        assert not engine.reset().won
        assert not engine.step("look").won


def test_the_first_observation_lists_the_places_as_the_official_engine_does(games: MiniGames) -> None:
    scenario = games.scenario("valid/000001")
    first = NativeEngine(compile_game(games.load("valid/000001"))).reset()
    assert first.text.strip() == FIRST_OBSERVATION.format(sentence=scenario.sentence)


def test_every_place_and_thing_has_the_number_that_the_scenario_says(games: MiniGames) -> None:
    for task_id in ("train/000005", "train/000011", "valid/000003"):
        scenario, engine = games.scenario(task_id), NativeEngine(compile_game(games.load(task_id)))
        engine.reset()
        for place in PLACES:
            text = engine.step(f"go to {place}").text
            if "is closed" in text:
                text = engine.step(f"open {place}").text
            lying = {name for name, where in scenario.contents if where == place}
            lying |= {"desklamp 1"} if place == scenario.lamp_place else set()
            assert {name for name in text.partition("you see ")[2].replace("and ", "").rstrip(".").split(", ")} == (
                {f"a {name}" for name in lying} or {"nothing"}
            )


def test_task_types_have_equal_shares(games: MiniGames) -> None:
    counts = Counter(games.scenario(task_id).task_type for task_id in games.task_ids("train"))
    # 2000 is 6 x 333 + 2.
    assert sorted(counts.values()) == [333] * 4 + [334] * 2


def test_what_is_wanted_lies_at_home_in_85_of_100_games(games: MiniGames) -> None:
    scenarios = [games.scenario(task_id) for task_id in games.task_ids("valid")]
    at_home = [set(s.places_of(s.thing)) == {HOUSEHOLD.habits[s.thing]} for s in scenarios]
    assert len(at_home) == 400
    assert 0.80 <= sum(at_home) / 400 <= 0.90


@pytest.mark.parametrize(("reliability", "share"), [(0.0, 0), (1.0, 60)])
def test_reliability_decides_how_often_habits_hold(reliability: float, share: int) -> None:
    games = MiniGames(reliability=reliability)
    scenarios = [games.scenario(task_id) for task_id in games.task_ids("train")[:60]]
    assert sum(HOUSEHOLD.habits[s.thing] in s.places_of(s.thing) for s in scenarios) == share


def test_only_the_task_of_two_has_two_of_a_kind(games: MiniGames) -> None:
    for task_id in games.task_ids("valid")[:60]:
        scenario = games.scenario(task_id)
        counts = Counter(kind_of(name) for name, _ in scenario.contents)
        wanted = 2 if scenario.task_type == "pick_two_obj_and_place" else 1
        assert counts.pop(scenario.thing) == wanted
        assert set(counts.values()) == {1}
        assert len(counts) == games.things - 1


def test_splits_share_no_game(games: MiniGames) -> None:
    hashes = {split: {games.scenario(id).hash for id in games.task_ids(split)} for split in games.splits}
    assert not hashes["train"] & hashes["valid"]
    # The splits are of almost nothing but different games, too: the worlds are not a handful.
    assert len(hashes["train"]) > 1900
    assert len(hashes["valid"]) > 380


def test_a_task_id_means_the_same_game_in_every_process(games: MiniGames, run_python: RunPython) -> None:
    code = (
        "import hashlib\nfrom sdar_gym.envs.alfworld.mini import MiniGames\n"
        "games = MiniGames()\n"
        "texts = [repr(games.load(id)) for split in games.splits for id in games.task_ids(split)[:20]]\n"
        "print(hashlib.sha256(''.join(texts).encode()).hexdigest())"
    )
    assert run_python(code, hash_seed="1") == run_python(code, hash_seed="2")


def test_an_unknown_task_id_is_refused(games: MiniGames) -> None:
    for task_id in ("train/2000", "train/002000", "train/1", "test/000000", "valid/000400", "train/-00001", ""):
        with pytest.raises(UnknownTaskError, match="train/000000"):
            games.load(task_id)
    with pytest.raises(UnknownTaskError, match="did you mean 'valid'"):
        games.task_ids("validd")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"things": 0}, "from 1 to 12"), ({"things": 13}, "from 1 to 12"), ({"reliability": 1.5}, "probability")],
)
def test_settings_that_make_no_game_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MiniGames(**settings)  # type: ignore[arg-type]


def test_an_unknown_task_type_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'pick_two_obj_and_place'"):
        generate(HOUSEHOLD, 0, "pick_two_obj_and_plce")


def test_random_households_differ_in_habits_alone() -> None:
    households = [Household.random(seed) for seed in range(30)]
    assert Household.random(7) == Household.random(7)
    assert len({tuple(sorted(household.habits.items())) for household in households}) == 30
    for household in households:
        assert sorted(household.habits) == sorted(THING_KINDS)
        assert len(household.worth_opening) <= 4
        assert all(place in places_for(thing) for thing, place in household.habits.items())


def test_a_household_cannot_keep_a_thing_where_it_does_not_fit() -> None:
    with pytest.raises(ValueError, match="a mug cannot be kept in 'drawer 1'"):
        Household({**HOUSEHOLD.habits, "mug": "drawer 1"}, "shelf 1")
    with pytest.raises(ValueError, match="no lamp can stand at 'fridge 1'"):
        Household(HOUSEHOLD.habits, "fridge 1")


def test_written_games_lie_as_published_ones_do(tmp_path: Path) -> None:
    paths = write_games(tmp_path, 12, seed=3) + write_games(tmp_path, 6, seed=3, split="valid_seen")
    assert len(set(paths)) == 18
    for path in paths:
        split, task, trial, name = path.relative_to(tmp_path).parts
        assert name == "game.tw-pddl"
        assert split in ("train", "valid_seen")
        about = json.loads((path.parent / "traj_data.json").read_text())
        assert task.startswith(f"{about['task_type']}-{about['pddl_params']['object_target']}-None-")
        assert trial == about["task_id"]
        game = read_game_file(path)
        assert play(game, game.walkthrough)
    again = write_games(tmp_path / "again", 12, seed=3)
    assert [path.read_text() for path in again] == [path.read_text() for path in paths[:12]]


def test_the_environment_plays_the_games_of_its_settings() -> None:
    env = ALFWorldMiniEnv()
    observation, info = env.reset(options={"task": "valid/000004"})
    scenario = MiniGames().scenario("valid/000004")
    assert observation.strip() == FIRST_OBSERVATION.format(sentence=scenario.sentence)
    assert info["task_type"] == scenario.task_type
    assert info["task"].startswith(scenario.sentence)
    other = ALFWorldMiniEnv(household_seed=3, things=8, reliability=1.0)
    assert other.games == MiniGames(Household.random(3), 8, 1.0)
    assert hash(ALFWorldMiniEnv().games) == hash(env.games)
    assert env.games != other.games


@pytest.mark.parametrize("household_seed", [None, 1])
def test_the_oracle_wins_the_small_kitchen_within_the_time_limit(household_seed: int | None) -> None:
    env = ALFWorldMiniEnv(household_seed)
    for task_id in env.task_ids("valid")[:60]:
        env.reset(options={"task": task_id})
        success = False
        for _ in range(SUITE["sdar_gym/ALFWorldMini-v0"].max_turns):
            action = env.oracle()
            assert action is not None
            _, _, success, _, _ = env.step(action)
            if success:
                break
        assert success, task_id


@pytest.mark.skipif(not official.is_installed(), reason="the official engine is not installed")
@pytest.mark.parametrize("task_id", ["train/000001", "train/000003", "train/000005"])
def test_the_official_engine_plays_a_generated_game_alike(games: MiniGames, task_id: str) -> None:
    game = games.load(task_id)
    assert parity.compare_walk(game, game.walkthrough, len(game.walkthrough)) is None
    assert parity.compare_walk(game, random.Random(task_id), 15) is None
    engine = official.OfficialEngine(game)
    engine.reset()
    assert [engine.step(command).won for command in game.walkthrough][-1]
