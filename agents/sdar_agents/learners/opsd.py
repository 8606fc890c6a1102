"""OPSD: on-policy self-distillation alone. The rewards are not looked at."""

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

OPSDDivergence = Literal[
    "sampled_reverse_kl",
    "k3",
    "topk_reverse_kl",
    "topk_forward_kl",
    "topk_js",
    "full_reverse_kl",
    "full_forward_kl",
    "full_js",
    "official_gated",
]


@dataclass(frozen=True, slots=True)
class OPSD:
    """Loss of a token: weight * D(student, teacher) + KL to the initial policy, where the teacher has skills.

    What the name can mean, by `divergence`, with d = T - S:

    - `sampled_reverse_kl`: -sg(d) S. Gradient -d grad S: in expectation that of KL(student || teacher).
    - `k3`: exp(d) - d - 1. Gradient (1 - exp(d)) grad S: in expectation that of KL(teacher || student).
    - `full_*`: exact over the vocabulary; `topk_*`: exact over the `top_k` likeliest tokens and one event, the rest.
    - `official_gated`: g d with g = sg sigmoid(5 d), what the official code of 2605.15155 runs as OPSD. Gradient
      -g grad S: SDAR's term alone.

    Deviations from the paper: its pseudo-code takes S minus the log-probability of a frozen reference at the same
    prompt, whose expected gradient is 0; its text, in which the teacher has skills, is what we do.
    Deviations from the official code: the weight (there 0.01; without a policy gradient it only scales the term
    against the KL to the start), no entropy bonus (there 0.001), and those of `GRPO`.
    """

    rl: GRPO = field(default_factory=GRPO)
    """KL to the initial policy, entropy bonus and mean; its policy gradient is left out."""
    divergence: OPSDDivergence = "sampled_reverse_kl"
    """What is minimised; `official_gated` is the official code's own form."""
    weight: float = 1.0
    """Weight of the divergence against the KL to the initial policy; the official code has 0.01."""
    top_k: int = 20
    """How many tokens a `topk_` divergence tells apart: the student's likeliest (forward KL: the teacher's)."""
    gate_sharpness: float = 5.0
    """Slope of the gate of `official_gated`, in 1/nat."""
    adapt: Adaptation = field(default_factory=Adaptation)
    """What changes as the run goes on: a schedule of the weight, the gap's unit, trust; off."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_choice("divergence", self.divergence, OPSDDivergence)
        check_range("weight", self.weight, low=0.0)
        check_range("top_k", self.top_k, low=1)
        check_range("gate_sharpness", self.gate_sharpness, low=0.0)
        self.adapt.check(weight=self.weight, has_gap_gate=self.divergence == "official_gated")
        if self.adapt.gradient_share > 0:
            raise ValueError("gradient_share compares with a policy gradient, and opsd has none: set the weight")

    @property
    def needs(self) -> Needs:
        """The teacher, what the KL and the entropy bonus need, and distributions for `full_` and `topk_`."""
        of_distributions = self.divergence in OF_DISTRIBUTIONS
        teacher: Literal["distribution", "logprobs"] = "distribution" if of_distributions else "logprobs"
        return self.adapt.needs(replace(self.rl.needs, teacher=teacher, distribution=of_distributions))

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """As GRPO; the advantages sort metrics only."""
        return self.adapt.prepare(self.rl.prepare(batch, step), step)

    def observe(self, metrics: Mapping[str, float], signals: Mapping[str, float]) -> dict[str, float]:
        """The running values of what adapts."""
        return self.adapt.observe(metrics, signals, weight=self.weight)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """One micro-batch."""
        # Without an advantage, GRPO is its regularisers.
        rl = self.rl.loss(policy, None, replace(batch, advantages=torch.zeros_like(batch.advantages)))
        teacher = required_teacher(teacher, "OPSD")
        logprobs, teacher_logprobs = token_logprobs(policy, batch), token_logprobs(teacher, batch)
        gap = losses.teacher_gap(logprobs, teacher_logprobs)
        metrics: dict[str, torch.Tensor] = {}
        if self.divergence == "official_gated":
            sharpness = self.adapt.sharpness_now(batch, self.gate_sharpness)
            gate = losses.gap_gate(self.adapt.gap(gap, batch), sharpness=sharpness)
            distill = losses.gated_self_distillation(logprobs, teacher_logprobs, gate)
            metrics = {"gate": gate, "gate_active": (gate > 0.5).float()}
        else:
            distill = divergence(self.divergence, policy, teacher, batch, top_k=self.top_k, learner="OPSD")
        metrics |= teaching_metrics(logprobs, teacher_logprobs, distill)
        metrics |= self.adapt.metrics(gap, batch, weight=self.weight)
        taught = self.adapt.weighted(distill, batch, weight=self.weight)
        return LossOutput(rl.token_loss + taught, rl.token_metrics | metrics, taught)
