"""Agents in TextWorld: an interpreter that hangs costs its own group, and nobody else."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from sdar_agents.backends.scripted import ScriptedBackend
from sdar_agents.env_hosts import EnvPool, make_agent_env
from sdar_agents.episode import Sampling
from sdar_agents.policy import TINY, load_policy
from sdar_agents.rollout import Assignment, RolloutSettings, play
from sdar_gym.prompts import COMPACT
from tests.envs.hostile_story import story

ENV = "sdar_gym/TextWorld-v0"


def test_a_hung_interpreter_is_tried_again_and_then_left_out_with_its_reason(tmp_path: Path) -> None:
    pytest.importorskip("textworld")
    from sdar_gym.envs.textworld.env import SimpleEnv

    env = SimpleEnv(train_games=1, valid_games=1, test_games=1)
    game = env.games.game("train/000000").path
    env.close()
    for name, content in (("sound", game.read_bytes()), ("hung", story(2))):
        (tmp_path / f"{name}.z8").write_bytes(content)
        (tmp_path / f"{name}.json").write_bytes(game.with_suffix(".json").read_bytes())
    tokenizer = load_policy(TINY)[1]
    pool = EnvPool(partial(make_agent_env, ENV, COMPACT, data=tmp_path, timeout_seconds=1.0, workers=1))
    try:
        rollout = play(
            [Assignment(f"all/{name}", group) for group, name in enumerate(("sound", "sound", "hung"))],
            pool=pool,
            backend=ScriptedBackend(tokenizer, lambda _prompt: "look"),
            tokenizer=tokenizer,
            settings=RolloutSettings(ENV, Sampling(max_tokens=20), 3000),
            context=None,
            seed="0",
        )
    finally:
        pool.close()
    assert [(episode.task_id, len(episode.turns)) for episode in rollout.episodes] == [("all/sound", 50)] * 2
    (failure,) = rollout.failures
    assert failure.task_id == "all/hung"
    assert "gave no answer within 1 s" in str(failure)
