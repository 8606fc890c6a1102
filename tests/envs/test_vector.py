"""Gymnasium's vector environments over ours: sync and async, with every autoreset mode, by either `make_vec`."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv

import sdar_gym
from sdar_gym import TaggedAction
from sdar_gym.envs.number_line import NumberLineEnv
from sdar_gym.spaces import MAX_SHARED_BYTES
from sdar_gym.vector import turn_info
from tests.conftest import RunPython

NUMBER_LINE = "sdar_gym/NumberLine-v0"
MINI = "sdar_gym/ALFWorldMini-v0"
MODES = pytest.mark.parametrize("mode", ["sync", "async"])


class TalkativeEnv(NumberLineEnv):
    """Answers "loud" with more text than shared memory takes."""

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        observation, *rest = super().step(action)
        return observation + "!" * (MAX_SHARED_BYTES if action == "loud" else 0), *rest  # type: ignore[return-value]


@pytest.fixture
def talkative() -> Any:
    gym.register("tests/Talkative-v0", entry_point=TalkativeEnv, max_episode_steps=10)
    yield "tests/Talkative-v0"
    del gym.registry["tests/Talkative-v0"]


def by_gymnasium(env_id: str, count: int, mode: str, **settings: Any) -> VectorEnv[Any, Any, Any]:
    return gym.make_vec(env_id, num_envs=count, vectorization_mode=mode, vector_kwargs=settings)


def single_episode(env_id: str, seed: int, choices: list[int], **kwargs: Any) -> list[Any]:
    """What one environment shows; stops with the episode."""
    env = sdar_gym.make(env_id, **kwargs)
    observation, info = env.reset(seed=seed)
    seen: list[Any] = [(observation, info)]
    for choice in choices:
        action = info["admissible_actions"][choice % len(info["admissible_actions"])]
        observation, reward, terminated, truncated, info = env.step(action)
        seen.append((observation, info, reward, terminated, truncated))
        if terminated or truncated:
            break
    return seen


def vector_episodes(envs: VectorEnv[Any, Any, Any], seeds: list[int], choices: list[int]) -> list[list[Any]]:
    observations, infos = envs.reset(seed=seeds)
    count = len(seeds)
    seen: list[list[Any]] = [[(observations[i], turn_info(infos, i))] for i in range(count)]
    for choice in choices:
        admissible = infos["admissible_actions"]
        actions = tuple(admissible[i][choice % len(admissible[i])] for i in range(count))
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        for i in range(count):
            ends = bool(terminated[i]), bool(truncated[i])
            if not (len(seen[i][-1]) > 2 and any(seen[i][-1][3:])):
                seen[i].append((observations[i], turn_info(infos, i), float(rewards[i]), *ends))
    return seen


@MODES
def test_copies_play_what_one_plays(mode: str) -> None:
    seeds, choices = [3, 4, 5], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3]
    envs = by_gymnasium(MINI, 3, mode)
    try:
        played = vector_episodes(envs, seeds, choices)
    finally:
        envs.close()
    assert played == [single_episode(MINI, seed, choices) for seed in seeds]
    assert len({observations[0][0] for observations in played}) == 3
    assert all(type(turn[1]["success"]) is bool and type(turn[1]["score"]) is float for turn in played[0])
    json.dumps(played)


def test_copies_of_real_games_play_what_one_plays(alfworld_games: Path) -> None:
    seeds, choices = [1, 2], [7, 1, 8, 2, 8]
    envs = gym.make_vec("sdar_gym/ALFWorld-v0", num_envs=2, vectorization_mode="async", data=str(alfworld_games))
    try:
        played = vector_episodes(envs, seeds, choices)
    finally:
        envs.close()
    assert played == [single_episode("sdar_gym/ALFWorld-v0", s, choices, data=str(alfworld_games)) for s in seeds]


@MODES
def test_next_step_spends_an_action_on_the_reset(mode: str) -> None:
    envs = by_gymnasium(NUMBER_LINE, 2, mode)
    try:
        envs.reset(seed=[4, 5], options={"task": "train/3-4"})
        observations, rewards, terminated, _, infos = envs.step(("right", "stay"))
        assert observations == ("You are at 4. Go to 4.", "You are at 3. Go to 4.")
        assert (rewards.tolist(), terminated.tolist()) == ([1.0, 0.0], [True, False])
        assert infos["admissible_actions"].tolist() == [["left", "right", "stay"]] * 2
        observations, rewards, terminated, _, infos = envs.step(("right", "right"))
        start, target = infos["task_id"][0].removeprefix("train/").split("-")
        assert observations == (f"You are at {start}. Go to {target}.", "You are at 4. Go to 4.")
        assert (rewards.tolist(), terminated.tolist()) == ([0.0, 1.0], [False, True])
    finally:
        envs.close()


@MODES
def test_a_reset_after_the_end_keeps_the_first_action_of_the_new_episode(mode: str) -> None:
    envs = sdar_gym.make_vec(NUMBER_LINE, 1, mode=mode)  # type: ignore[arg-type]
    try:
        envs.reset(options={"task": "train/3-4"})
        assert envs.step(("right",))[2].tolist() == [True]
        envs.reset(options={"task": "train/3-5"})
        assert envs.step(("right",))[0] == ("You are at 4. Go to 5.",)
    finally:
        envs.close()


@MODES
def test_same_step_keeps_the_last_turn(mode: str) -> None:
    envs = sdar_gym.make_vec(NUMBER_LINE, 2, mode=mode, autoreset=AutoresetMode.SAME_STEP)  # type: ignore[arg-type]
    try:
        envs.reset(seed=[4, 5], options={"task": "train/3-4"})
        observations, rewards, terminated, _, infos = envs.step(("right", "left"))
        assert (rewards.tolist(), terminated.tolist()) == ([1.0, 0.0], [True, False])
        assert observations[1] == "You are at 2. Go to 4."
        ended, running = turn_info(infos, 0), turn_info(infos, 1)
        assert ended["final_obs"] == "You are at 4. Go to 4."
        assert ended["final_info"]["success"] is True
        assert ended["final_info"]["task_id"] == "train/3-4"
        assert ended["success"] is False
        start, target = ended["task_id"].removeprefix("train/").split("-")
        assert observations[0] == f"You are at {start}. Go to {target}."
        # Merged, the other copy has a `final_info` too, of zeros; here it has none.
        assert infos["final_info"]["success"].tolist() == [True, False]
        assert set(running) == set(sdar_gym.MANDATORY_INFO)
    finally:
        envs.close()


@MODES
def test_without_autoreset_single_copies_are_reset_to_their_own_tasks(mode: str) -> None:
    envs = by_gymnasium(NUMBER_LINE, 2, mode, autoreset_mode=AutoresetMode.DISABLED)
    try:
        envs.reset(options={"task": "train/3-4", "reset_mask": np.array([True, False])})
        envs.reset(options={"task": "train/7-2", "reset_mask": np.array([False, True])})
        assert envs.step(("right", "left"))[0] == ("You are at 4. Go to 4.", "You are at 6. Go to 2.")
        observations, infos = envs.reset(options={"task": "train/3-5", "reset_mask": np.array([True, False])})
        assert observations == ("You are at 3. Go to 5.", "You are at 6. Go to 2.")
        assert turn_info(infos, 0)["task_id"] == "train/3-5"
        assert turn_info(infos, 1) == {}
    finally:
        envs.close()


@MODES
def test_wrappers_stand_around_each_copy(mode: str) -> None:
    settings: dict[str, Any] = {"wrappers": [TaggedAction], "size": 5}
    for envs in (
        gym.make_vec(NUMBER_LINE, num_envs=1, vectorization_mode=mode, **settings),
        sdar_gym.make_vec(NUMBER_LINE, 1, mode=mode, **settings),  # type: ignore[arg-type]
    ):
        try:
            envs.reset(options={"task": "train/3-4"})
            observations, _, terminated, _, infos = envs.step(("<action>right</action>",))
            assert (observations, terminated.tolist()) == (("You are at 4. Go to 4.",), [True])
            assert turn_info(infos, 0)["action"] == "right"
            assert turn_info(infos, 0)["failure"] is None
        finally:
            envs.close()


def test_a_text_too_long_for_shared_memory_reaches_the_user_as_an_error(talkative: str) -> None:
    envs = by_gymnasium(talkative, 2, "async")
    envs.reset(options={"task": "train/3-4"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium warns with the trace of the process
        with pytest.raises(ValueError, match=r'fit the 65,536 .* vector_kwargs={"shared_memory": False}'):
            envs.step(("stay", "loud"))
    envs.close()
    envs = by_gymnasium(talkative, 2, "async", shared_memory=False)
    envs.reset(options={"task": "train/3-4"})
    assert len(envs.step(("stay", "loud"))[0][1]) > MAX_SHARED_BYTES
    envs.close()


QUIET = """
import sys
import gymnasium as gym
import sdar_gym

if __name__ == "__main__":
    context, count = sys.argv[1], int(sys.argv[2])
    envs = gym.make_vec(
        "sdar_gym/NumberLine-v0", num_envs=count, vectorization_mode="async", vector_kwargs={"context": context}
    )
    envs.reset(options={"task": "train/3-4"})
    print(envs.step(("right",) * count)[0])
    if sys.argv[3] == "close":
        envs.close()
"""


@pytest.mark.parametrize(("context", "ending"), [("fork", "close"), ("fork", "forget"), ("spawn", "close")])
def test_processes_start_and_end_without_noise(run_python: RunPython, context: str, ending: str) -> None:
    # A process that writes to stderr may still end with 0: spawn has to find the script, so it is run by its file.
    script = "import subprocess, sys, tempfile, pathlib\n"
    script += f"code = {QUIET!r}\n"
    script += "path = pathlib.Path(tempfile.mkdtemp()) / 'quiet.py'; path.write_text(code)\n"
    script += "print(subprocess.run([sys.executable, '-W', 'error', str(path), *sys.argv[1:]], "
    script += "check=True, text=True, stdout=-1, stderr=-2).stdout)"
    assert run_python(script, context, "2", ending).strip() == "('You are at 4. Go to 4.', 'You are at 4. Go to 4.')"


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"mode": "asink"}, ValueError, "unknown vector mode 'asink'; did you mean 'async'"),
        ({"num_envs": 0}, ValueError, "num_envs is 0; it must be at least 1"),
        ({"context": "spawn"}, ValueError, "pass mode='async'"),
        ({"env_id": "sdar_gym/NumberLime-v0"}, KeyError, "did you mean 'sdar_gym/NumberLine-v0'"),
        ({"env_id": "CartPole-v1"}, TypeError, "is not a text environment"),
        ({"sise": 3}, TypeError, "unexpected keyword argument 'sise'"),
    ],
)
def test_misuse_is_refused(settings: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        sdar_gym.make_vec(**{"env_id": NUMBER_LINE, "num_envs": 1, **settings})
