"""GRPO + OPSD: GRPO plus on-policy self-distillation on every token alike, the baseline that SDAR gates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from sdar_agents import losses
from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_choice, check_range, required_teacher, token_logprobs
from sdar_agents.learners.teaching import FULL_DIVERGENCES, full_divergence, teaching_metrics

Divergence = Literal["sampled_reverse_kl", "full_reverse_kl", "full_forward_kl", "full_js", "official"]


@dataclass(frozen=True, slots=True)
class GRPOOPSD:
    """Loss of a token: GRPO + weight * D(student, teacher), where the teacher has skills in its prompt.

    `sampled_reverse_kl`: D = -(T - S) S with the bracket detached, whose gradient is in expectation that of
    KL(student || teacher). `full_*`: the exact divergence over the vocabulary.
    `official`: D = (T - S) / 2, what the official code of 2605.15155 runs under this name (its gate at sharpness 0).
    The gradient is -grad S / 2 whatever the teacher says: uniform imitation of the policy's own samples, no
    distillation. It is here to reproduce that row of the paper.

    Deviations from the paper: its pseudo-code takes S minus the log-probability of a frozen reference at the same
    prompt, which as a loss has gradient grad S, of expectation 0; its text describes what we do.
    Deviations from the official code: as stated for `official`, and those of `GRPO`.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part."""
    divergence: Divergence = "sampled_reverse_kl"
    """What is minimised beside it; `official` has no teacher signal in its gradient."""
    weight: float = 0.01
    """Weight of the divergence, the paper's lambda; 0 is GRPO."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_choice("divergence", self.divergence, Divergence)
        check_range("weight", self.weight, low=0.0)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part and the teacher; distributions for a `full_` divergence."""
        full = self.divergence in FULL_DIVERGENCES
        return replace(self.rl.needs, teacher="distribution" if full else "logprobs", distribution=full)

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """As GRPO."""
        return self.rl.prepare(batch, step)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """One micro-batch."""
        rl = self.rl.loss(policy, None, batch)
        teacher = required_teacher(teacher, "GRPO+OPSD")
        logprobs = token_logprobs(policy, batch)
        teacher_logprobs = token_logprobs(teacher, batch)
        if self.divergence == "sampled_reverse_kl":
            distill = losses.signed_sampled_reverse_kl(logprobs, teacher_logprobs)
        elif self.divergence == "official":
            half = torch.full_like(logprobs, 0.5)
            distill = losses.gated_self_distillation(logprobs, teacher_logprobs, half)
        else:
            distill = full_divergence(self.divergence, policy, teacher, learner="GRPO+OPSD")
        metrics = teaching_metrics(logprobs, teacher_logprobs, distill)
        weighted = self.weight * distill
        return LossOutput(rl.token_loss + weighted, rl.token_metrics | metrics, weighted)
