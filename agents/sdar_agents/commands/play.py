"""`sdar-gym play`."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import gymnasium as gym
import tyro
from rich.console import Console

from sdar_agents.config import ConfigError
from sdar_agents.evaluate import Choice
from sdar_agents.options import parse
from sdar_agents.rollout import RolloutError
from sdar_agents.setup import env_options
from sdar_gym.errors import unknown
from sdar_gym.registration import SUITE, fork, make, text_env

PORT = 8765
HELP = "commands of this terminal: ? lists admissible actions, ! plays the oracle's action, quit leaves"


@dataclass(frozen=True, slots=True)
class PlayOptions:
    """Play an environment in the terminal or in a browser, or watch its oracle."""

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
    web: bool = False
    """Serve web pages to this machine's browsers, until Ctrl-C (environments that have pages: WebShop's)."""
    port: int | None = None
    """With `--web`: the port; 0 for one that is free (default: 8765)."""


def run(arguments: Sequence[str]) -> None:
    """Play one episode, or serve pages to play on."""
    options = parse(PlayOptions, arguments, command="play")
    check_web(options)
    env = make(options.env, **env_options(options.env, options.data, options.env_options))
    observation, info = env.reset(seed=options.seed, options={"task": options.task} if options.task else None)
    console = Console()
    if options.web:
        serve(options, env, console)
        return
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


def check_web(options: PlayOptions) -> None:
    """Refuse what cannot be served, before anything is made.

    Raises:
        ConfigError: an environment without pages, an oracle before a browser, a port for nothing.
    """
    if not options.web:
        if options.port is not None:
            raise ConfigError("--port is for pages in a browser: add --web, or leave it out")
        return
    if options.agent != "human":
        raise ConfigError(f"--web is for people, and --agent {options.agent} plays in the terminal: leave one out")
    having = [env_id for env_id, entry in SUITE.items() if entry.web is not None]
    if options.env not in having:
        raise ConfigError(unknown("environment with web pages", options.env, having))


def serve(options: PlayOptions, env: gym.Env[str, str], console: Console) -> None:
    """Serve pages until Ctrl-C. The environment is the pattern of everybody's."""
    serve_env = pkgutil.resolve_name(str(SUITE[options.env].web))
    serve_env(
        partial(fork, env),
        seed=options.seed,
        task=options.task,
        port=PORT if options.port is None else options.port,
        announce=lambda address: console.print(
            f"{options.env} is open at {address} (Ctrl-C closes it)", markup=False, highlight=False, soft_wrap=True
        ),
    )
    console.print("closed", highlight=False)


def asking() -> Choice:
    """Asks a person for every action of an evaluation, in this terminal.

    The choice raises:
        RolloutError: the person left; the task under way counts as not played.
    """
    console, seen_tasks = Console(), list[str]()

    def choose(env: gym.Env[str, str], observation: str, info: dict[str, Any]) -> str:
        task = str(info["task_id"])
        if task not in seen_tasks:
            seen_tasks.append(task)
            console.print(f"\n[{task}, {info['task_type']}]", markup=False, highlight=False, style="dim")
        console.print(observation, markup=False, highlight=False)
        action = _ask(console, env, info)
        if action is None:
            raise RolloutError(
                f"stopped in task {task}, which counts as not played; with --episodes-file the same command goes on "
                "there"
            )
        return action

    return choose


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
