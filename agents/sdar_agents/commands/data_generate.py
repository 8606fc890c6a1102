"""`sdar-gym data generate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from sdar_agents.options import parse


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    """Write generated games in the published file format, for any engine that reads `game.tw-pddl`."""

    environment: Annotated[Literal["alfworld"], tyro.conf.Positional]
    """alfworld"""
    out: str = "games"
    """Folder; receives <split>/<task>/<trial>/game.tw-pddl."""
    count: int = 100
    """Games to write."""
    seed: int = 0
    """Decides the games."""


def run(arguments: Sequence[str]) -> None:
    """Write the files."""
    options = parse(GenerateOptions, arguments, command="data generate")
    from sdar_gym.envs.alfworld.mini import write_games

    if options.count < 1:
        raise ValueError(f"--count must be at least 1, got {options.count}")
    write_games(Path(options.out), count=options.count, seed=options.seed)
    print(f"{options.count} games in {options.out}; play them: sdar-gym play sdar_gym/ALFWorld-v0 --data {options.out}")
