"""`sdar-gym export`: a run's checkpoint as a plain transformers folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sdar_agents.options import parse

if TYPE_CHECKING:
    from sdar_agents.checkpoint import Checkpoint
    from sdar_agents.config import TrainConfig


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Write a run's weights, tokenizer, chat template and prompt style as a folder that transformers loads.

    `sdar-gym eval --agent FOLDER` and `sdar-gym train --model FOLDER` take it too.
    """

    run: Annotated[str, tyro.conf.Positional]
    """Folder of the run."""
    out: str
    """Folder that is made."""
    step: int | None = None
    """Of the checkpoint; by default the newest. `sdar-gym checkpoints RUN` lists them."""
    merge: bool = True
    """Add a LoRA run's adapters to the weights of their base; --no-merge writes the adapters alone."""
    force: bool = False
    """Replace the folder if it is there."""


def run(arguments: Sequence[str]) -> None:
    """Check, export, say what was written."""
    options = parse(ExportOptions, arguments, command="export")
    from sdar_agents.checkpoint import open_checkpoint
    from sdar_agents.config import read_config

    source, out = Path(options.run), Path(options.out)
    config = read_config(source)
    if out.exists() and not options.force:
        raise ValueError(f"{out} is already there: --force replaces it, another --out leaves it")
    if out.resolve() == source.resolve() or out.resolve() in source.resolve().parents:
        raise ValueError(f"--out {out} would replace the run itself: choose another folder")
    checkpoint = open_checkpoint(source, options.step)
    is_merged = config.tuning == "lora" and options.merge
    _write_in_place(checkpoint, config, out, merge=is_merged)
    kind = "adapters" if config.tuning == "lora" and not is_merged else "weights"
    print(f"{kind} of {source}, step {checkpoint.step}, in {out}: sdar-gym eval --env {config.env} --agent {out}")


def _write_in_place(checkpoint: Checkpoint, config: TrainConfig, out: Path, *, merge: bool) -> None:
    """Whole or absent: written beside `out`, then renamed."""
    from sdar_agents.files import partial_name, remove_tree, rename, sync_tree
    from sdar_agents.setup import STYLE_FILE, resolve_style

    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / partial_name("export")
    try:
        if merge:
            _merge(checkpoint, config, partial)
        else:
            shutil.copytree(checkpoint.model_folder, partial)
        style = resolve_style(config.prompt_style, config.model)
        (partial / STYLE_FILE).write_text(style.name + "\n", encoding="utf-8")
        sync_tree(partial)
        if out.exists():
            remove_tree(out)
        rename(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _merge(checkpoint: Checkpoint, config: TrainConfig, folder: Path) -> None:
    from sdar_agents.policy import load_policy, load_weights

    model, tokenizer = load_policy(config.model, dtype="auto", tuning="lora")
    load_weights(model, checkpoint.model_folder)
    model.merge_and_unload().save_pretrained(folder)
    tokenizer.save(folder)
