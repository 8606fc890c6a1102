"""GRPO + OPSD: GRPO plus on-policy self-distillation on every token alike, the baseline that SDAR gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from sdar_agents import losses
from sdar_agents.batch import TurnBatch
from sdar_agents.learners.adapting import Adaptation
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_choice, check_range, required_teacher, token_logprobs
from sdar_agents.learners.teaching import OF_DISTRIBUTIONS, divergence, teaching_metrics

Divergence = Literal[
    "sampled_reverse_kl",
    "k3",
    "topk_reverse_kl",
    "topk_forward_kl",
    "topk_js",
    "full_reverse_kl",
    "full_forward_kl",
    "full_js",
    "official",
]


@dataclass(frozen=True, slots=True)
class GRPOOPSD:
    """Loss of a token: GRPO + weight * D(student, teacher), where the teacher has skills in its prompt.

    `sampled_reverse_kl`: D = -(T - S) S with the bracket detached, whose gradient is in expectation that of
    KL(student || teacher). `k3`: D = exp(T - S) - (T - S) - 1, whose gradient is in expectation that of the other
    direction. `full_*`: the exact divergence over the vocabulary; `topk_*`: over the `top_k` likeliest tokens and one
    event, the rest.
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
    top_k: int = 20
    """How many tokens a `topk_` divergence tells apart: the student's likeliest (forward KL: the teacher's)."""
    adapt: Adaptation = field(default_factory=Adaptation)
    """What changes as the run goes on: a schedule of the weight, the weight by gradient norms, trust; off."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_choice("divergence", self.divergence, Divergence)
        check_range("weight", self.weight, low=0.0)
        check_range("top_k", self.top_k, low=1)
        self.adapt.check(weight=self.weight, has_gap_gate=False)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part and the teacher; distributions for `full_` and `topk_`."""
        full = self.divergence in OF_DISTRIBUTIONS
        needs = replace(self.rl.needs, teacher="distribution" if full else "logprobs", distribution=full)
        return self.adapt.needs(needs)

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """As GRPO, and what adapts."""
        return self.adapt.prepare(self.rl.prepare(batch, step), step)

    def observe(self, metrics: Mapping[str, float], signals: Mapping[str, float]) -> dict[str, float]:
        """The running values of what adapts."""
        return self.adapt.observe(metrics, signals, weight=self.weight)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """One micro-batch."""
        rl = self.rl.loss(policy, None, batch)
        teacher = required_teacher(teacher, "GRPO+OPSD")
        logprobs = token_logprobs(policy, batch)
        teacher_logprobs = token_logprobs(teacher, batch)
        if self.divergence == "official":
            half = torch.full_like(logprobs, 0.5)
            distill = losses.gated_self_distillation(logprobs, teacher_logprobs, half)
        else:
            distill = divergence(self.divergence, policy, teacher, batch, top_k=self.top_k, learner="GRPO+OPSD")
        metrics = teaching_metrics(logprobs, teacher_logprobs, distill)
        metrics |= self.adapt.metrics(metrics["gap"], batch, weight=self.weight)
        taught = self.adapt.weighted(distill, batch, weight=self.weight)
        return LossOutput(rl.token_loss + taught, rl.token_metrics | metrics, taught)
