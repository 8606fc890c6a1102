"""`sdar-gym play`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import gymnasium as gym
import tyro
from rich.console import Console

from sdar_agents.options import parse
from sdar_agents.setup import env_options
from sdar_gym.registration import make, text_env

HELP = "commands of this terminal: ? lists admissible actions, ! plays the oracle's action, quit leaves"


@dataclass(frozen=True, slots=True)
class PlayOptions:
    """Play an environment in the terminal, or watch its oracle."""

    env: Annotated[str, tyro.conf.Positional] = "sdar_gym/ALFWorldMini-v0"
    """Gymnasium id."""
    agent: Literal["human", "oracle"] = "human"
    """Who plays."""
    task: str | None = None
    """Task id; by default one that the seed draws."""
    seed: int = 0
    """Decides the task."""
    data: str | None = None
    """Folder of the environment's data (real ALFWorld games)."""
    env_options: tuple[str, ...] = ()
    """Other settings of the environment, such as `engine=textworld` or `legacy_actions=true`."""


def run(arguments: Sequence[str]) -> None:
    """Play one episode."""
    options = parse(PlayOptions, arguments, command="play")
    env = make(options.env, **env_options(options.env, options.data, options.env_options))
    observation, info = env.reset(seed=options.seed, options={"task": options.task} if options.task else None)
    console = Console()
    console.print(f"[{info['task_id']}, {info['task_type']}]", markup=False, highlight=False, style="dim")
    console.print(observation, markup=False, highlight=False)
    if options.agent == "human" and sys.stdin.isatty():
        console.print(HELP, style="dim", highlight=False)
    turns, done = 0, False
    while not done:
        action = text_env(env).oracle() if options.agent == "oracle" else _ask(console, env, info)
        if action is None:
            break
        if options.agent == "oracle":
            console.print(f"\n> {action}", markup=False, highlight=False, style="bold")
        observation, _, terminated, truncated, info = env.step(action)
        console.print(observation, markup=False, highlight=False)
        turns, done = turns + 1, terminated or truncated
    console.print("\nsolved" if info["success"] else "\nnot solved", f"after {turns} turns", highlight=False)


def _ask(console: Console, env: gym.Env[str, str], info: dict[str, Any]) -> str | None:
    """What the person types; None at the end of input or on `quit`."""
    while True:
        try:
            line = console.input("\n> ")
        except EOFError:
            return None
        if line.strip() == "quit":
            return None
        if line.strip() == "?":
            console.print("\n".join(info["admissible_actions"]), markup=False, highlight=False)
        elif line.strip() == "!":
            return text_env(env).oracle()
        else:
            return line
