"""The contract over the registry: every environment of the suite keeps it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest

import sdar_gym

Kwargs = Callable[[str], dict[str, Any]]

pytestmark = pytest.mark.parametrize("env_id", list(sdar_gym.SUITE))

FINGERPRINT = """
import hashlib, json, sys
import sdar_gym
env_id, kwargs = json.loads(sys.argv[1])
env = sdar_gym.text_env(sdar_gym.make(env_id, **kwargs))
seen = [list(env.task_ids(split)) for split in env.splits]
for seed in range(3):
    seen.append(env.reset(seed=seed))
    for _ in range(20):
        action = env.oracle()
        if action is None:
            break
        seen.append(env.step(action))
        if seen[-1][2]:
            break
print(hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest())
"""


def test_it_keeps_the_contract(env_id: str, env_kwargs: Kwargs) -> None:
    sdar_gym.check_text_env(sdar_gym.make(env_id, **env_kwargs(env_id)))


def test_the_evaluation_split_exists(env_id: str, env_kwargs: Kwargs) -> None:
    env = sdar_gym.make(env_id, **env_kwargs(env_id))
    panel = sdar_gym.make_panel(env, env_id, sdar_gym.SUITE[env_id].evaluation_split)
    assert len(panel) > 0


def test_the_time_limit_ends_an_idle_episode(env_id: str, env_kwargs: Kwargs) -> None:
    env = sdar_gym.make(env_id, **env_kwargs(env_id))
    env.reset(seed=0)
    limit = sdar_gym.SUITE[env_id].max_turns
    assert [env.step("")[3] for _ in range(limit)] == [False] * (limit - 1) + [True]


def test_gymnasium_makes_it_by_its_id(env_id: str, env_kwargs: Kwargs) -> None:
    env: gym.Env[str, str] = gym.make(env_id, **env_kwargs(env_id))
    observation, info = env.reset(seed=3)
    assert observation in env.observation_space
    assert info["task_id"] in sdar_gym.text_env(env).task_ids(sdar_gym.text_env(env).splits[0])


def test_copies_in_processes_play_what_one_plays(env_id: str, env_kwargs: Kwargs) -> None:
    kwargs = env_kwargs(env_id)
    single = sdar_gym.make(env_id, **kwargs)
    envs = sdar_gym.make_vec(env_id, 2, mode="async", **kwargs)
    try:
        observations, _ = envs.reset(seed=[7, 8])
        assert observations == tuple(single.reset(seed=seed)[0] for seed in (7, 8))
    finally:
        envs.close()


def test_another_process_and_hash_seed_play_the_same(
    env_id: str, env_kwargs: Kwargs, run_python: Callable[..., str]
) -> None:
    arguments = json.dumps([env_id, env_kwargs(env_id)], default=str)
    prints = [run_python(FINGERPRINT, arguments, hash_seed=hash_seed) for hash_seed in ("0", "4242")]
    assert len(prints[0].strip()) == 64
    assert prints[0] == prints[1]
