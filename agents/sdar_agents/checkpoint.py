"""Checkpoints: a folder each, complete or absent, whatever kills the run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sdar_agents.tokens import ChatTokenizer

MARKER = "state.json"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One saved state.

    Attributes:
        folder: Holds `model/` (a plain transformers folder), `training.pt` and `state.json`.
        step: Training steps that were finished.
    """

    folder: Path
    step: int

    @property
    def model_folder(self) -> Path:
        """What `--model` and `transformers` can load."""
        return self.folder / "model"


def save_checkpoint(
    run: Path,
    *,
    step: int,
    model: Any,
    tokenizer: ChatTokenizer,
    training: Mapping[str, Any],
    keep: int,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> Checkpoint:
    """Write a checkpoint beside the others, then drop all but the newest `keep`.

    The folder is written under another name and renamed when every byte is on disk, so a kill at any moment
    leaves either the whole checkpoint or none, and the previous one intact.

    Args:
        weights: Whole weights of a sharded model; by default the model's own.
        training: Optimizer state and whatever else is not weights; tensors and plain values only.

    Raises:
        OSError: the disk is full or not writable; the previous checkpoint is still there.
    """
    parent = run / "checkpoints"
    parent.mkdir(parents=True, exist_ok=True)
    final = parent / f"step-{step:06d}"
    partial = parent / f".partial-{step:06d}-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        model.save_pretrained(partial / "model", **({} if weights is None else {"state_dict": weights}))
        tokenizer.save(partial / "model")
        torch.save(dict(training), partial / "training.pt")
        (partial / MARKER).write_text(json.dumps({"step": step}), encoding="utf-8")
        _sync(partial)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for old in checkpoints(run)[:-keep]:
        shutil.rmtree(old.folder)
    return Checkpoint(final, step)


def checkpoints(run: Path) -> list[Checkpoint]:
    """Complete checkpoints of a run, oldest first."""
    found = []
    for folder in sorted((run / "checkpoints").glob("step-*")):
        if (folder / MARKER).is_file():
            found.append(Checkpoint(folder, int(folder.name.removeprefix("step-"))))
    return found


def latest_checkpoint(run: Path) -> Checkpoint:
    """The newest checkpoint.

    Raises:
        CheckpointError: there is none.
    """
    found = checkpoints(run)
    if not found:
        raise CheckpointError(f"no checkpoint in {run}: nothing to resume or evaluate (start the run without --resume)")
    return found[-1]


def load_training_state(checkpoint: Checkpoint) -> dict[str, Any]:
    """What `save_checkpoint` got as `training`; only tensors and plain values are read, never code.

    Raises:
        CheckpointError: the file is truncated or not a checkpoint.
    """
    try:
        state = torch.load(checkpoint.folder / "training.pt", weights_only=True)
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        raise CheckpointError(
            f"{checkpoint.folder} cannot be read ({type(error).__name__}): delete that folder to resume from the one "
            "before"
        ) from error
    return dict(state)


def _sync(folder: Path) -> None:
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
