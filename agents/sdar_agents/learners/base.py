"""The interface of a learner: what it needs, what it prepares once a step, its loss a token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch

from sdar_agents.batch import TurnBatch

Aggregation = Literal["token", "sequence", "trajectory", "constant"]
TeacherDetail = Literal["none", "logprobs", "distribution"]


@dataclass(frozen=True, slots=True)
class Needs:
    """What the training loop has to compute for a learner.

    Attributes:
        teacher: Nothing, log-probabilities of the sampled tokens, or the whole next-token distribution.
        reference: Log-probabilities under the initial weights.
        entropy: The policy's entropy a token.
        distribution: The policy's whole next-token distribution.
        teacher_at_start: The teacher's log-probabilities before any update of the step, for `prepare`
            (`TurnBatch.teacher_logprobs`).
        entropy_at_start: The policy's entropy before any update of the step, for `prepare` (`TurnBatch.old_entropy`).
        views: Further prompts of the teacher, scored before any update of the step (`TurnBatch.views`); names of
            `teacher_views.py`.
        prompts: Further prompts that come with each turn and are not scored; names as in `views`.
        gradient_probe: The two gradients of the loss compared at every step (`gradient_probe.py`), as metrics, whatever
            `diagnostics_every` says.
        aggregation: What the loss of an optimizer update is a mean over; see `aggregation.py`.
        aggregation_length: Tokens that a response counts as under the aggregation `constant`.
    """

    teacher: TeacherDetail = "none"
    reference: bool = False
    entropy: bool = False
    distribution: bool = False
    teacher_at_start: bool = False
    entropy_at_start: bool = False
    views: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    gradient_probe: bool = False
    aggregation: Aggregation = "token"
    aggregation_length: float = 1.0

    @property
    def has_teacher(self) -> bool:
        """Whether a teacher scores anything: in the updates, at the start of the step, or after a further view."""
        return self.teacher != "none" or self.teacher_at_start or bool(self.views)

    @property
    def teacher_prompts(self) -> bool:
        """Whether anything is scored after the teacher's own prompt, beside those of further views."""
        return self.teacher != "none" or self.teacher_at_start


@dataclass(frozen=True, slots=True)
class TokenScores:
    """What a model says of the sampled response tokens.

    Attributes:
        logprobs: Log-probability in nats of each sampled token, [N, R].
        entropy: Entropy in nats of the next-token distribution, [N, R], or None.
        distribution: Log-probabilities of every token of the vocabulary, [N, R, V], or None.
    """

    logprobs: torch.Tensor
    entropy: torch.Tensor | None = None
    distribution: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class LossOutput:
    """A learner's answer for one micro-batch; the training loop does the (global token) mean.

    Attributes:
        token_loss: [N, R], to be minimised; what stands under the mask counts.
        token_metrics: Detached [N, R] tensors, logged as token means under the same mask.
        distill_loss: The part of `token_loss` that teaches, weight included, [N, R] with its gradient; diagnostics
            compare its gradient with that of the rest. None where there is no such part.
    """

    token_loss: torch.Tensor
    token_metrics: dict[str, torch.Tensor] = field(default_factory=dict)
    distill_loss: torch.Tensor | None = None


class Learner(Protocol):
    """A frozen dataclass of hyper-parameters with a loss; see `grpo.py` for the shortest."""

    @property
    def needs(self) -> Needs:
        """What the loop must compute before `loss` is called."""

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """Once a step, over all rows: operations over turns, trajectories and groups (such as advantages)."""

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """One micro-batch: gradient flows through `policy`; everything else is data."""


@runtime_checkable
class ActingLearner(Protocol):
    """A learner that has some episodes played with the skills in the student's own prompt."""

    def shows_skills(self, step: int, member: int) -> bool:
        """Whether the `member`-th episode of each group (the first is 0) acts with skills in step `step`."""


@runtime_checkable
class AdaptingLearner(Protocol):
    """A learner that carries running values from step to step; they are saved in checkpoints."""

    def observe(self, metrics: Mapping[str, float], signals: Mapping[str, float]) -> dict[str, float]:
        """The signals for the next step, after a step's metrics; before the first step there are none."""


@runtime_checkable
class RecallingLearner(Protocol):
    """A learner that is taught turns of earlier steps once more; what it remembers is saved in checkpoints."""

    def recall(self, batch: TurnBatch, memory: TurnBatch | None, step: int) -> tuple[TurnBatch, TurnBatch]:
        """After `prepare`: the rows with remembered ones behind them, and what to remember for the next step."""
