from __future__ import annotations

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

import sdar_gym
from sdar_gym import FreeText, TextEnv
from sdar_gym.envs.number_line import NumberLineEnv

NUMBER_LINE = "sdar_gym/NumberLine-v0"


def test_text_of_any_script_and_no_text_are_in_the_space() -> None:
    space = FreeText(max_length=10)
    assert space.min_length == 0
    for text in ("", "Süden", "去厨房", "🚪" * 10, "\x00\n"):
        assert text in space
    assert "x" * 11 not in space
    assert 3 not in space


def test_samples_are_in_the_space_and_repeat_with_the_seed() -> None:
    space = FreeText(seed=5)
    words = [space.sample() for _ in range(20)]
    assert all(word in space for word in words)
    assert len(set(words)) > 10
    assert [FreeText(seed=5).sample(), FreeText(seed=6).sample()] != [words[0], words[0]]
    assert FreeText(seed=5).sample() == words[0]


def test_spaces_are_equal_by_length() -> None:
    assert FreeText(5) == FreeText(5)
    assert FreeText(5) != FreeText(6)
    assert repr(FreeText(5)) == "FreeText(5)"


def test_gymnasiums_own_check_accepts_a_text_environment() -> None:
    env: TextEnv = gym.make(NUMBER_LINE).unwrapped  # type: ignore[assignment]
    check_env(env)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_copies_show_their_own_text(mode: str) -> None:
    envs = sdar_gym.make_vec(NUMBER_LINE, 3, mode=mode)  # type: ignore[arg-type]
    single = NumberLineEnv()
    try:
        observations, infos = envs.reset(seed=[4, 5, 6])
        assert observations == tuple(single.reset(seed=seed)[0] for seed in (4, 5, 6))
        assert list(infos["task"]) == [single.reset(seed=seed)[1]["task"] for seed in (4, 5, 6)]
        observations, rewards, terminations, _, _ = envs.step(("stay", "nonsense", "stay"))
        assert observations[1].startswith("That is not possible. You are at ")
        assert rewards.tolist() == [0.0, 0.0, 0.0]
        assert terminations.tolist() == [False, False, False]
    finally:
        envs.close()


def test_gymnasiums_own_make_vec_works_in_process() -> None:
    envs = gym.make_vec(NUMBER_LINE, num_envs=2)
    observations, _ = envs.reset(seed=[4, 5])
    assert observations == tuple(NumberLineEnv().reset(seed=seed)[0] for seed in (4, 5))
    envs.close()


def test_shared_memory_is_refused_instead_of_showing_zeros_for_ever() -> None:
    with pytest.raises(ValueError, match="shared_memory=False"):
        gym.make_vec(NUMBER_LINE, num_envs=2, vectorization_mode="async")
    with pytest.raises(ValueError, match="shared_memory=False"):
        AsyncVectorEnv([NumberLineEnv, NumberLineEnv])


def test_same_step_autoreset_keeps_the_last_turn() -> None:
    envs = sdar_gym.make_vec(NUMBER_LINE, 1, autoreset=AutoresetMode.SAME_STEP)
    envs.reset(options={"task": "train/3-4"})
    observations, rewards, terminations, _, infos = envs.step(("right",))
    assert rewards.tolist() == [1.0]
    assert terminations.tolist() == [True]
    assert infos["final_obs"][0] == "You are at 4. Go to 4."
    assert infos["final_info"]["success"].tolist() == [True]
    assert observations[0] != "You are at 4. Go to 4."
    envs.close()


def test_an_unknown_vector_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown vector mode 'asink'; did you mean 'async'"):
        sdar_gym.make_vec(NUMBER_LINE, 1, mode="asink")  # type: ignore[arg-type]
