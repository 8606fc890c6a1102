"""What learners ask of the scores they are handed: a missing one is an error that says which `needs` was not met."""

from __future__ import annotations

from typing import TypeVar, get_args

import torch

from sdar_agents.batch import TurnBatch, View
from sdar_agents.learners.base import TokenScores
from sdar_gym.errors import unknown

Value = TypeVar("Value", torch.Tensor, View)


def token_logprobs(scores: TokenScores, batch: TurnBatch) -> torch.Tensor:
    """The log-probabilities, 0 under padding, where a model may have said anything, [N, R].

    Filling (rather than multiplying by the mask later) keeps even an infinite value out of loss and gradient.
    """
    if scores.logprobs.shape != batch.response_mask.shape:
        raise ValueError(
            f"log-probabilities {list(scores.logprobs.shape)} of a batch whose responses are "
            f"{list(batch.response_mask.shape)}"
        )
    return scores.logprobs.masked_fill(~batch.response_mask, 0.0)


def required(value: Value | None, what: str, learner: str) -> Value:
    """`value`, or a ValueError: the training loop left out something of `learner.needs`."""
    if value is None:
        raise ValueError(f"{learner} needs {what} and got none: compute what `learner.needs` asks for")
    return value


def required_teacher(teacher: TokenScores | None, learner: str) -> TokenScores:
    """The teacher's scores, or a ValueError."""
    if teacher is None:
        raise ValueError(f"{learner} needs the teacher's scores and got none: collect episodes with teacher prompts")
    return teacher


def check_choice(option: str, value: str, literal: object) -> None:
    """Refuse a value that is not one of a Literal's; a type checker would, a Python caller may not have one."""
    if value not in get_args(literal):
        raise ValueError(unknown(option, value, get_args(literal)))


def check_range(option: str, value: float, *, low: float, high: float = float("inf")) -> None:
    """Refuse a number outside [low, high], NaN included."""
    if not low <= value <= high:
        raise ValueError(f"{option} is {value}; it must lie between {low} and {high}")
