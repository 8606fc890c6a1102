"""Checkpoints: a folder each, whole or absent, whatever kills the run; verified before anything is read."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from sdar_agents import __version__
from sdar_agents.files import checksum, partial_name, remove_abandoned, remove_tree, rename, sync_tree
from sdar_agents.tokens import ChatTokenizer

MARKER = "state.json"
FORMAT = 1
"""Raised when what a checkpoint holds changes its meaning."""
REPLACEMENT = ".new"


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or used, and what to do about it."""


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


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What a checkpoint's weights belong to.

    Attributes:
        name: As `--model` gave it.
        architecture: Name of the model's class.
        parameters: How many numbers.
        fingerprint: Hash of the architecture and of every parameter's name and shape.
    """

    name: str
    architecture: str
    parameters: int
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.name!r} ({self.architecture}, {self.parameters:,} parameters, {self.fingerprint})"


def model_identity(model: Any, name: str) -> ModelIdentity:
    """The identity of a module, be it whole, sharded or under adapters: shapes are those of the whole."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    architecture = type(inner).__name__.removeprefix("FSDP")
    shapes = sorted(
        (parameter.replace("_checkpoint_wrapped_module.", ""), tuple(tensor.shape))
        for parameter, tensor in model.named_parameters()
    )
    digest = hashlib.sha256(json.dumps([architecture, shapes]).encode()).hexdigest()[:16]
    return ModelIdentity(name, architecture, sum(tensor.numel() for tensor in model.parameters()), digest)


def save_checkpoint(
    run: Path,
    *,
    step: int,
    model: Any,
    name: str,
    tokenizer: ChatTokenizer,
    training: Mapping[str, Any],
    keep: int,
    keep_every: int | None = None,
    weights: Mapping[str, torch.Tensor] | None = None,
    in_flight: int | None = None,
) -> Checkpoint:
    """Write a checkpoint beside the others, then drop those that are not to be kept.

    The folder is written under another name and renamed when every byte is on disk, so a kill at any moment leaves
    either the whole checkpoint or none, and the previous one intact.

    Args:
        model: A transformers or peft model: its class writes the files.
        name: Of the model, as the settings give it.
        training: Optimizer state and whatever else is not weights; tensors and plain values only.
        keep: How many of the newest are kept.
        keep_every: Steps that this number divides are kept for good.
        weights: The whole state dict, where it was gathered from shards; by default the model's own.
        in_flight: The step that was under way and will be played again, if one was.

    Raises:
        CheckpointError: the disk is full or not writable, or `training` holds what could not be read back; the
            previous checkpoint is still there.
    """
    check_plain(training)
    parent = run / "checkpoints"
    needed = _tensor_bytes(training) + _tensor_bytes(model.state_dict() if weights is None else weights)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(run)
        _check_free(parent, needed)
        partial = parent / partial_name(f"{step:06d}")
        try:
            partial.mkdir()
            _write(partial, model=model, weights=weights, tokenizer=tokenizer, training=training)
            identity = model_identity(model, name)
            _write_marker(partial, step=step, identity=identity, in_flight=in_flight)
            sync_tree(partial)
            saved = _put_in_place(partial, parent / f"step-{step:06d}")
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    # safetensors and torch report a full disk as errors of their own.
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(_disk_message(run, step, needed, reason)) from error
    _drop_old(run, keep=keep, keep_every=keep_every)
    return Checkpoint(saved, step)


def clear_leftovers(run: Path) -> None:
    """Delete what a killed process had half written or half deleted, and finish what it had begun to replace."""
    remove_abandoned(run / "checkpoints")
    _finish_replacements(run / "checkpoints")


def checkpoints(run: Path) -> list[Checkpoint]:
    """Complete checkpoints of a run, oldest first; whether their files are intact is not looked at."""
    found: dict[int, Checkpoint] = {}
    for folder in sorted((run / "checkpoints").glob("step-*")):
        number = folder.name.removeprefix("step-").removesuffix(REPLACEMENT)
        if number.isdigit() and (folder / MARKER).is_file():
            # A replacement sorts after what it replaces.
            found[int(number)] = Checkpoint(folder, int(number))
    return [found[step] for step in sorted(found)]


def latest_checkpoint(run: Path) -> Checkpoint:
    """The newest checkpoint.

    Raises:
        CheckpointError: there is none.
    """
    found = checkpoints(run)
    if not found:
        raise CheckpointError(f"no checkpoint in {run}: nothing to resume or evaluate (start the run without --resume)")
    return found[-1]


def open_checkpoint(run: Path, step: int | None = None) -> Checkpoint:
    """A checkpoint whose every file is known to be as it was written; the newest by default.

    Raises:
        CheckpointError: none, not of that step, damaged (names the file and the newest one that is intact), or of a
            newer version.
    """
    checkpoint = latest_checkpoint(run)
    if step is not None:
        of_step = [each for each in checkpoints(run) if each.step == step]
        if not of_step:
            known = ", ".join(str(each.step) for each in checkpoints(run))
            raise CheckpointError(f"{run} has no checkpoint of step {step}; there are: {known}")
        checkpoint = of_step[0]
    problem = damage(checkpoint)
    if problem is not None:
        raise CheckpointError(f"{problem}: {_way_out(run, checkpoint)}")
    return checkpoint


def damage(checkpoint: Checkpoint) -> str | None:
    """What is wrong with a checkpoint's files; None if they are as they were written.

    Raises:
        CheckpointError: it was written by a newer version, which alone can judge it.
    """
    try:
        state = read_marker(checkpoint)
        files: dict[str, dict[str, Any]] = state["files"]
        for name, expected in sorted(files.items()):
            file = checkpoint.folder / name
            if not file.is_file():
                return f"{file} is missing"
            size = file.stat().st_size
            if size != expected["bytes"]:
                return f"{file} has {size:,} of {expected['bytes']:,} bytes"
            if checksum(file) != expected["crc32"]:
                return f"{file} was changed after it was written"
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        return f"{checkpoint.folder / MARKER} is damaged ({type(error).__name__})"
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror})"
    return None


def read_marker(checkpoint: Checkpoint) -> dict[str, Any]:
    """What `state.json` says.

    Raises:
        CheckpointError: it was written by a newer version, or before there were versions.
        ValueError, OSError: it is damaged.
    """
    state: dict[str, Any] = json.loads((checkpoint.folder / MARKER).read_text(encoding="utf-8"))
    version = state.get("format", 0)
    if version > FORMAT:
        raise CheckpointError(
            f"{checkpoint.folder} was written by sdar-gym {state.get('version')} (checkpoint format {version}; this is "
            f"{__version__} with format {FORMAT}): upgrade sdar-gym"
        )
    if version < 1:
        raise CheckpointError(
            f"{checkpoint.folder} was written by a development version, without what a resume needs: its model/ folder "
            "can start a new run (--model), the run itself cannot be continued"
        )
    return state


def load_training_state(checkpoint: Checkpoint) -> dict[str, Any]:
    """What `save_checkpoint` got as `training`; only tensors and plain values are read, never code.

    Raises:
        CheckpointError: the file is truncated or not a checkpoint.
    """
    try:
        state = torch.load(checkpoint.folder / "training.pt", weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        raise CheckpointError(
            f"{checkpoint.folder / 'training.pt'} cannot be read ({type(error).__name__}): delete that folder to "
            "resume from the one before"
        ) from error
    return dict(state)


def check_same_model(checkpoint: Checkpoint, model: Any, name: str) -> None:
    """Refuse a checkpoint whose weights do not belong to the model.

    Raises:
        CheckpointError: names both.
    """
    saved = ModelIdentity(**read_marker(checkpoint)["model"])
    own = model_identity(model, name)
    if saved.fingerprint != own.fingerprint:
        raise CheckpointError(
            f"{checkpoint.folder} holds the model {saved}, but this run trains {own}: give the --model and --tuning "
            "that the run was started with, or another --run"
        )


def check_plain(value: Any, path: str = "training") -> None:
    """Refuse what `load_training_state` could not read back.

    Raises:
        CheckpointError: names the place.
    """
    if isinstance(value, Mapping):
        for key, each in value.items():
            check_plain(key, path)
            check_plain(each, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            check_plain(each, f"{path}[{index}]")
    elif value is not None and type(value) not in (bool, int, float, str, bytes) and not torch.is_tensor(value):
        raise CheckpointError(
            f"{path} is a {type(value).__name__}: a state that is saved may hold tensors, numbers, texts, None, lists, "
            "tuples and dicts of these"
        )


def _write(
    partial: Path,
    *,
    model: Any,
    weights: Mapping[str, torch.Tensor] | None,
    tokenizer: ChatTokenizer,
    training: Mapping[str, Any],
) -> None:
    given: dict[str, Any] = {} if weights is None else {"state_dict": dict(weights)}
    model.save_pretrained(partial / "model", **given)
    tokenizer.save(partial / "model")
    torch.save(dict(training), partial / "training.pt")


def _write_marker(partial: Path, *, step: int, identity: ModelIdentity, in_flight: int | None) -> None:
    files = {
        str(file.relative_to(partial).as_posix()): {"bytes": file.stat().st_size, "crc32": checksum(file)}
        for file in sorted(partial.rglob("*"))
        if file.is_file()
    }
    state = {
        "format": FORMAT,
        "version": __version__,
        "step": step,
        "in_flight": in_flight,
        "model": {field: getattr(identity, field) for field in ModelIdentity.__slots__},
        "files": files,
    }
    (partial / MARKER).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")


def _put_in_place(partial: Path, final: Path) -> Path:
    if not final.exists():
        rename(partial, final)
        return final
    # At every moment one of the two is there under a name that `checkpoints` knows.
    rename(partial, final.with_name(final.name + REPLACEMENT))
    _finish_replacements(final.parent)
    return final


def _finish_replacements(parent: Path) -> None:
    for folder in parent.glob(f"step-*{REPLACEMENT}"):
        final = folder.with_name(folder.name.removesuffix(REPLACEMENT))
        if final.exists():
            remove_tree(final)
        rename(folder, final)


def _drop_old(run: Path, *, keep: int, keep_every: int | None) -> None:
    for old in checkpoints(run)[:-keep]:
        if keep_every is None or old.step % keep_every:
            remove_tree(old.folder)


def _way_out(run: Path, broken: Checkpoint) -> str:
    for other in reversed(checkpoints(run)):
        if other.step != broken.step and damage(other) is None:
            return f"delete that folder ({broken.folder}) to continue from step {other.step}, which is intact"
    return f"delete that folder ({broken.folder}); no other checkpoint is intact, so the run starts again"


def _tensor_bytes(value: Any) -> int:
    if torch.is_tensor(value):
        return int(value.numel()) * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(_tensor_bytes, value.values()))
    return sum(map(_tensor_bytes, value)) if isinstance(value, list | tuple) else 0


def _check_free(parent: Path, needed: int) -> None:
    if shutil.disk_usage(parent).free < needed:
        raise OSError("not enough room")


def _disk_message(run: Path, step: int, needed: int, reason: str) -> str:
    parent = run / "checkpoints"
    free = shutil.disk_usage(parent if parent.is_dir() else run).free
    found = checkpoints(run)
    before = f"the checkpoint of step {found[-1].step} is intact" if found else "there is no earlier checkpoint"
    return (
        f"cannot save the checkpoint of step {step} ({reason}): it needs about {needed / 2**20:,.1f} MiB and "
        f"{free / 2**20:,.1f} MiB are free in {parent}; {before}. Free some space (or lower --keep-checkpoints), then "
        "--resume"
    )
