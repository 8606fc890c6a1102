from __future__ import annotations

import pytest

from sdar_gym import UnknownTaskError
from sdar_gym.envs.number_line import NumberLineEnv


def test_a_walk_reads_as_the_task_id_says() -> None:
    env = NumberLineEnv()
    observation, info = env.reset(options={"task": "train/3-7"})
    assert observation == "You are at 3. Go to 7."
    assert info["task"] == "Go to 7."
    assert info["task_type"] == "go_right"
    assert info["admissible_actions"] == ["left", "right", "stay"]


def test_reaching_the_target_pays_once_and_ends_the_walk() -> None:
    env = NumberLineEnv()
    env.reset(options={"task": "train/5-3"})
    first = env.step("left")
    assert first[:4] == ("You are at 4. Go to 3.", 0.0, False, False)
    assert not first[4]["success"]
    second = env.step("left")
    assert second[:4] == ("You are at 3. Go to 3.", 1.0, True, False)
    assert second[4]["success"]
    assert second[4]["score"] == 1.0


def test_the_line_ends_at_both_ends() -> None:
    env = NumberLineEnv(size=3)
    # With 3 numbers, pair (a, b) is for validation if 3a + b is a multiple of 5: only (1, 2).
    assert env.task_ids("valid") == ("valid/1-2",)
    assert env.task_ids("train") == ("train/0-1", "train/0-2", "train/1-0", "train/2-0", "train/2-1")
    _, info = env.reset(options={"task": "train/0-2"})
    assert info["admissible_actions"] == ["right", "stay"]
    observation, _, _, _, info = env.step("left")
    assert observation == "That is not possible. You are at 0. Go to 2."
    assert not info["is_action_valid"]
    env.reset(options={"task": "train/2-0"})
    assert env.step("right")[4]["admissible_actions"] == ["left", "stay"]


def test_ten_numbers_make_ninety_tasks_of_both_types_in_both_splits() -> None:
    env = NumberLineEnv()
    # 3a + b = 0 (mod 5) means b = 2a (mod 5): 2 of 10 targets for each start, one of them the start itself for 0 and 5.
    assert len(env.task_ids("valid")) == 8 * 2 + 2 * 1
    assert len(env.task_ids("train")) == 90 - 18
    for split in env.splits:
        types = {env.reset(options={"task": task_id})[1]["task_type"] for task_id in env.task_ids(split)}
        assert types == {"go_left", "go_right"}


def test_a_task_of_another_size_is_refused() -> None:
    with pytest.raises(UnknownTaskError, match="no task 'train/3-12' on a line of 10 numbers"):
        NumberLineEnv().reset(options={"task": "train/3-12"})


def test_a_line_too_short_for_two_splits_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        NumberLineEnv(size=2)


def test_stepping_before_reset_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="call reset first"):
        NumberLineEnv().step("left")
