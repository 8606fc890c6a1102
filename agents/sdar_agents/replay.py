"""Recorded actions played again: does the environment still answer as it did?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdar_agents.env_hosts import make_agent_env
from sdar_agents.episode import Episode
from sdar_agents.episode_file import EpisodeHeader
from sdar_agents.setup import env_options
from sdar_gym.prompts import prompt_style
from sdar_gym.registration import make, text_env


def replay_differences(header: EpisodeHeader, episodes: Sequence[Episode]) -> list[str]:
    """Where rewards, observations or outcomes are others than in the file, at most one line an episode.

    The environment is made from the settings in the header.
    """
    settings = env_options(header.env, header.settings.get("data"), tuple(header.settings.get("options", ())))
    style = header.settings.get("prompt_style")
    env: Any = make(header.env, **settings)
    if style is not None:
        env = make_agent_env(header.env, prompt_style(style), **settings)
    found = []
    if (now := text_env(env).behaviour_hash) != header.behaviour_hash:
        found.append(f"behaviour hash {header.behaviour_hash} in the file, {now} here")
    for episode in episodes:
        difference = _first_difference(env, episode)
        if difference is not None:
            found.append(f"task {episode.task_id}: {difference}")
    return found


def _first_difference(env: Any, episode: Episode) -> str | None:
    _, info = env.reset(options={"task": episode.task_id})
    done = False
    for number, turn in enumerate(episode.turns, start=1):
        if done:
            return f"over after {number - 1} turns, {len(episode.turns)} in the file"
        seen, reward, terminated, truncated, info = env.step(turn.completion.text)
        observation = info["prompt"].observation if "prompt" in info else seen
        done = terminated or truncated
        if abs(float(reward) - turn.reward) > 1e-6:
            return f"turn {number}: reward {reward} instead of {turn.reward}"
        if observation != turn.observation:
            return f"turn {number}: another observation"
    if bool(info["success"]) != episode.success or abs(float(info["score"]) - episode.score) > 1e-6:
        return f"success {info['success']}, score {info['score']} instead of {episode.success}, {episode.score}"
    return None
