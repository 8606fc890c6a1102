"""`sdar-gym checkpoints`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sdar_agents.options import parse


@dataclass(frozen=True, slots=True)
class CheckpointsOptions:
    """List a run's checkpoints: step, size, and whether every file is as it was written."""

    run: Annotated[str, tyro.conf.Positional]
    """Folder of the run."""


def run(arguments: Sequence[str]) -> None:
    """Print a line for each."""
    options = parse(CheckpointsOptions, arguments, command="checkpoints")
    from sdar_agents.checkpoint import CheckpointError, checkpoints, damage

    folder = Path(options.run)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    for checkpoint in checkpoints(folder):
        size = sum(file.stat().st_size for file in checkpoint.folder.rglob("*") if file.is_file())
        try:
            state = damage(checkpoint) or "intact"
        except CheckpointError as error:
            state = str(error)
        print(f"step {checkpoint.step:>6}  {size / 2**20:>10,.1f} MiB  {state}")
