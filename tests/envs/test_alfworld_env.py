"""The environment: where games are found, what is reported, and what a careless caller is told."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gymnasium.error import ResetNeeded

from sdar_gym.envs.alfworld.env import ALFWorldEnv
from sdar_gym.envs.alfworld.folder import find_games
from sdar_gym.envs.alfworld.game_file import GameFileError
from sdar_gym.text_env import UnknownTaskError

from .conftest import GOALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..conftest import RunPython
    from .conftest import Kitchen

SIMPLE = "pick_and_place_simple-Pan-None-Fridge-1"


@pytest.fixture(scope="module")
def tree(kitchen: Kitchen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out as the published one, with every type of task in train and one game in valid_seen."""
    root = tmp_path_factory.mktemp("games")

    def put(place: str, goal: str, *, solvable: bool = True) -> None:
        folder = root / "json_2.1.1" / place
        folder.mkdir(parents=True)
        game = kitchen.game(goal)
        type(game)(game.pddl_domain, game.grammar, game.pddl_problem, (), solvable).write(folder / "game.tw-pddl")

    for name, goal in GOALS.items():
        put(f"train/{name}-X-None-Y-1/trial_T1", goal)
    put("valid_seen/whatever/trial_T2", GOALS["pick_and_place_simple"])
    put("train/pick_and_place_simple-PanSliced-None-Fridge-1/trial_T3", GOALS["pick_and_place_simple"])
    put("train/pick_and_place_with_movable_recep-Pan-Mug-Fridge-1/trial_T4", GOALS["pick_and_place_simple"])
    put("train/pick_and_place_simple-Unsolvable-None-Fridge-1/trial_T5", GOALS["pick_and_place_simple"], solvable=False)
    return root


@pytest.fixture
def env(tree: Path) -> ALFWorldEnv:
    return ALFWorldEnv(tree)


def test_unsolvable_sliced_and_movable_tasks_are_left_out_as_officially(env: ALFWorldEnv) -> None:
    assert env.splits == ("train", "valid_seen")
    assert env.task_ids("train") == tuple(sorted(f"train/{name}-X-None-Y-1/trial_T1" for name in GOALS))
    assert env.task_ids("valid_seen") == ("valid_seen/whatever/trial_T2",)


def test_the_tree_its_parent_and_the_variable_name_the_same_games(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(tree))
    assert find_games(None) == find_games(tree) == find_games(str(tree / "json_2.1.1"))


def test_any_folder_with_games_and_any_game_file_will_do(tree: Path) -> None:
    folder = tree / "json_2.1.1" / "valid_seen"
    assert ALFWorldEnv(folder).task_ids("all") == ("all/whatever/trial_T2",)
    assert ALFWorldEnv(folder / "whatever" / "trial_T2").task_ids("all") == ("all/trial_T2",)
    file = ALFWorldEnv(folder / "whatever" / "trial_T2" / "game.tw-pddl")
    assert file.task_ids("all") == ("all/trial_T2",)
    assert file.reset(seed=0)[1]["task_id"] == "all/trial_T2"


@pytest.mark.parametrize("split", ["train", "valid_seen"])
def test_seeds_draw_from_the_chosen_split(tree: Path, split: str) -> None:
    env = ALFWorldEnv(tree, split=split)
    assert env.splits[0] == split
    assert {env.reset(seed=seed)[1]["task_id"].partition("/")[0] for seed in range(8)} == {split}


def test_games_of_some_types_can_be_chosen(tree: Path) -> None:
    env = ALFWorldEnv(tree, task_types=["look_at_obj_in_light", 4])
    wanted = ("look_at_obj_in_light", "pick_heat_then_place_in_recep")
    assert env.task_ids("train") == tuple(f"train/{name}-X-None-Y-1/trial_T1" for name in wanted)
    with pytest.raises(ValueError, match="unknown task type 'look_at'"):
        ALFWorldEnv(tree, task_types=["look_at"])


def test_a_changed_game_file_changes_its_digest_and_other_layout_does_not(tree: Path, tmp_path: Path) -> None:
    source = tree / "json_2.1.1" / "valid_seen" / "whatever" / "trial_T2" / "game.tw-pddl"
    content = json.loads(source.read_text())
    digests = []
    for changes, indent in (({}, None), ({"walkthrough": ["look"]}, 4), ({"grammar": content["grammar"] + "\n"}, None)):
        file = tmp_path / "game.tw-pddl"
        file.write_text(json.dumps({**content, **changes}, indent=indent))
        env = ALFWorldEnv(file)
        digests.append(env.task_digest(env.task_ids("all")[0]))
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0] or "") == 64


def test_missing_data_is_told_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for data, message in (
        (None, "neither data nor ALFWORLD_DATA is set"),
        (tmp_path / "x", "x does not exist"),
        (tmp_path, "no solvable game.tw-pddl below"),
    ):
        with pytest.raises(FileNotFoundError, match=f"{message}.*sdar-gym data download alfworld"):
            ALFWorldEnv(data)
    monkeypatch.setenv("ALFWORLD_DATA", "~/nowhere")
    with pytest.raises(FileNotFoundError, match=r"ALFWORLD_DATA is '~/nowhere', and .*nowhere does not exist"):
        ALFWorldEnv()


def test_an_unknown_split_engine_or_task_is_refused_with_what_is_known(tree: Path, env: ALFWorldEnv) -> None:
    with pytest.raises(UnknownTaskError, match=r"unknown split 'valid_sen'; did you mean 'valid_seen'\?"):
        ALFWorldEnv(tree, split="valid_sen")
    with pytest.raises(UnknownTaskError, match="known: train, valid_seen"):
        env.task_ids("valid_unseen")
    # It is no misspelling of another: the games are missing.
    with pytest.raises(UnknownTaskError, match=r"of the split 'valid_unseen' are at hand; known: .*data download alf"):
        ALFWorldEnv(tree, split="valid_unseen")
    with pytest.raises(ValueError, match="unknown engine 'nativ'"):
        ALFWorldEnv(tree, engine="nativ")  # type: ignore[arg-type]
    for task_id in ("train/../train/x", f"train/{SIMPLE}", "", "/etc/passwd"):
        with pytest.raises(UnknownTaskError, match="ids look like 'train/"):
            env.reset(options={"task": task_id})


def test_the_task_type_comes_from_the_goal_and_the_task_from_the_grammar(env: ALFWorldEnv) -> None:
    for task_id in env.task_ids("train"):
        observation, info = env.reset(options={"task": task_id})
        assert info["task_type"] == task_id.split("/")[1].partition("-")[0]
        assert observation.endswith(f"Your task is to: {info['task']}")
        assert observation.startswith("-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room.")
    assert env.reset(options={"task": "valid_seen/whatever/trial_T2"})[1]["task_type"] == "pick_and_place_simple"


def test_the_winning_turn_is_rewarded_and_the_last(env: ALFWorldEnv) -> None:
    env.reset(options={"task": "valid_seen/whatever/trial_T2"})
    rewards = []
    while (command := env.oracle()) is not None:
        _, reward, terminated, truncated, info = env.step(command)
        rewards.append(reward)
        assert (terminated, truncated, info["success"], info["score"]) == (bool(reward), False, bool(reward), reward)
    assert rewards == [0.0, 0.0, 0.0, 0.0, 1.0]  # go, take, go, open, move
    with pytest.raises(ResetNeeded, match=r"call reset\(\)"):
        env.step("look")


def test_a_step_before_the_first_reset_says_so(env: ALFWorldEnv) -> None:
    for call in (lambda: env.step("look"), env.oracle, env.snapshot):
        with pytest.raises(ResetNeeded, match=r"reset\(\)"):
            call()


GARBAGE = ("", "   ", "x" * 100_000, "\x00\x1b[31m\r\n", "\ud800", "go to {r}", "#intro#", "🚪")


@pytest.mark.parametrize("action", GARBAGE, ids=range(8))
def test_a_nonsensical_action_is_answered_and_changes_nothing(env: ALFWorldEnv, action: str) -> None:
    _, before = env.reset(seed=0)
    state = env.snapshot().state
    observation, reward, terminated, truncated, info = env.step(action)
    assert (observation, reward, terminated, truncated) == ("Nothing happens.", 0.0, False, False)
    assert info == {**before, "is_action_valid": False}
    assert env.snapshot().state == state


@pytest.mark.parametrize("action", [None, 3, ["look"], b"look"])
def test_an_action_that_is_no_text_is_refused(env: ALFWorldEnv, action: object) -> None:
    env.reset(seed=0)
    with pytest.raises(TypeError, match="a string such as 'look', not"):
        env.step(action)  # type: ignore[arg-type]


def test_the_reported_list_is_the_callers_own(env: ALFWorldEnv) -> None:
    env.reset(seed=0)[1]["admissible_actions"].clear()
    assert env.step("look")[4]["admissible_actions"]


def walk(env: ALFWorldEnv, commands: Sequence[str]) -> list[object]:
    return [env.step(command) for command in commands]


def test_a_snapshot_is_exact_and_serves_many_times_and_elsewhere(tree: Path, env: ALFWorldEnv) -> None:
    env.reset(options={"task": "train/pick_heat_then_place_in_recep-X-None-Y-1/trial_T1"})
    walk(env, ["go to diningtable 1", "take mug 1 from diningtable 1"])
    snapshot = env.snapshot()
    onwards = ["heat mug 1 with microwave 1", "examine mug 1", "move mug 1 to diningtable 1"]
    first = walk(env, onwards)
    assert env.snapshot().is_over
    other = ALFWorldEnv(tree)
    other.reset(seed=1)
    for each in (env, other, env):
        each.restore(snapshot)
        assert walk(each, onwards) == first


def test_a_broken_game_is_listed_and_named_when_played(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    text = next(tree.rglob("game.tw-pddl")).read_bytes()
    (tmp_path / "task" / "game.tw-pddl").write_bytes(text[:3000])
    with pytest.raises(GameFileError, match=str(tmp_path / "task" / "game.tw-pddl")):
        ALFWorldEnv(tmp_path).reset(seed=0)


EPISODE = """
import sys
from sdar_gym.envs.alfworld.env import ALFWorldEnv
env = ALFWorldEnv(sys.argv[1])
for task_id in env.task_ids("train"):
    print(env.reset(options={"task": task_id}))
    for action in ("go to diningtable 1", "look", "take knife 1 from diningtable 1", env.oracle(), env.oracle()):
        print(env.step(action))
"""


def test_a_file_that_was_changed_is_read_anew(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "game.tw-pddl"
    source = ALFWorldEnv(tree)
    game = source.games.load(source.task_ids("train")[0])
    for task in ("fetch a mug", "fetch another mug"):
        replace(game, grammar=re.sub(r"Your task is to: [^\"]*", f"Your task is to: {task}", game.grammar)).write(path)
        _, info = ALFWorldEnv(path).reset(seed=0)
        assert info["task"] == task
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(GameFileError, match="cut short"):
        ALFWorldEnv(path).reset(seed=0)


def test_an_episode_does_not_depend_on_the_hash_seed(tree: Path, run_python: RunPython) -> None:
    assert run_python(EPISODE, str(tree), hash_seed="1") == run_python(EPISODE, str(tree), hash_seed="2")


@pytest.mark.data
def test_real_task_types_are_those_of_their_folders(alfworld_games: Path) -> None:
    env = ALFWorldEnv(alfworld_games)
    assert set(env.splits) == {"train", "valid_seen", "valid_train"}
    for split in env.splits:
        for task_id in env.task_ids(split):
            _, info = env.reset(options={"task": task_id})
            assert info["task_type"] == task_id.split("/")[1].partition("-")[0]
