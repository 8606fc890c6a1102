"""Whose weights score as the teacher: the model's own of some moment, or another model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from sdar_agents.config import TEACHERS, ConfigError, TrainConfig
from sdar_agents.policy import BUNDLED, compute_dtype, frozen_copy, initial_weights, load_policy
from sdar_agents.tokens import ChatTokenizer
from sdar_gym.errors import unknown

TeacherKind = Literal["none", "model", "snapshot", "average", "initial", "external"]


def teacher_kind(config: TrainConfig) -> TeacherKind:
    """What has to be in memory for the teacher.

    `model` is no copy: the weights of the moment, or their scores at the start of the step, kept by `update.scored`.
    Whole distributions cannot be kept for all rows of a step, so there `step_start` needs a copy, the `snapshot`.
    """
    if not config.learner.needs.has_teacher:
        return "none"
    if config.teacher == "step_start":
        return "snapshot" if config.learner.needs.teacher == "distribution" else "model"
    kinds: dict[str, TeacherKind] = {"current": "model", "ema": "average", "reference": "initial"}
    return kinds.get(config.teacher, "external")


def scores_once(config: TrainConfig) -> bool:
    """Whether the updates of a step use the teacher's scores from its start instead of scoring again."""
    needs = config.learner.needs
    return config.teacher == "step_start" and needs.teacher == "logprobs"


def check_teacher(config: TrainConfig) -> None:
    """Refuse a teacher that is neither a known name nor the place of a model.

    Raises:
        ConfigError: the text suggests the nearest name.
    """
    name = config.teacher
    if name in TEACHERS or name in BUNDLED or "/" in name or Path(name).expanduser().is_dir():
        return
    raise ConfigError(f"{unknown('teacher', name, TEACHERS)}; or the folder of a model with the same tokenizer")


def make_teacher(config: TrainConfig, model: Any, tokenizer: ChatTokenizer, device: str) -> Any | None:
    """The module that scores as the teacher; the model itself where no copy is needed.

    Raises:
        ConfigError: an external teacher whose token ids mean something else.
        ModelError: one that cannot be loaded.
    """
    kind = teacher_kind(config)
    if kind == "none":
        return None
    if kind == "model":
        return model
    if kind == "initial":
        return initial_weights(model)
    return _external(config, model, tokenizer, device) if kind == "external" else frozen_copy(model)


def _external(config: TrainConfig, model: Any, tokenizer: ChatTokenizer, device: str) -> Any:
    dtype = str(compute_dtype(config.dtype, device)).removeprefix("torch.")
    teacher, of_teacher = load_policy(config.teacher, dtype=dtype, device=device)
    own, other = tokenizer.tokenizer.get_vocab(), of_teacher.tokenizer.get_vocab()
    if own != other:
        different = sum(own.get(token) != id for token, id in other.items()) + len(own.keys() - other.keys())
        raise ConfigError(
            f"--teacher {config.teacher} has another vocabulary than --model {config.model}: {different:,} of its "
            f"{len(other):,} tokens are missing or have other ids there, so the response's ids would mean something "
            "else to it. Give a model with the same tokenizer (of the same family), or one of: " + ", ".join(TEACHERS)
        )
    widths = [int(each.config.get_text_config().vocab_size) for each in (model, teacher)]
    if config.learner.needs.distribution and widths[0] != widths[1]:
        raise ConfigError(
            f"--teacher {config.teacher} has {widths[1]:,} outputs and --model {config.model} has {widths[0]:,} (some "
            "are padding): distributions over them cannot be compared; use a form that looks at sampled tokens only"
        )
    teacher.requires_grad_(False)
    return teacher
