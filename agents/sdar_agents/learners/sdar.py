"""SDAR: GRPO plus self-distillation from the same model with skills in its prompt, gated token by token."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from sdar_agents import losses
from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_choice, check_range, required, required_teacher, token_logprobs
from sdar_agents.learners.teaching import FULL_DIVERGENCES, full_divergence, teaching_metrics

Gate = Literal["gap", "centred_gap", "entropy", "soft_or"]
Form = Literal["sampled", "full_reverse_kl", "full_forward_kl", "full_js"]


@dataclass(frozen=True, slots=True)
class SDAR:
    """Loss of a token: GRPO + weight * g (T - S), with the gate g and the teacher T detached (2605.15155, section 3).

    S and T are the log-probabilities of the sampled token without and with skills in the prompt, and
    g = sigmoid(gate_sharpness * (T - S)) by default. Gradient of the second term: -weight * g grad S.

    Deviations from the paper: see `GRPO`; the full-vocabulary forms put g times an exact divergence in the place of
    g (T - S) (the paper's ablation over divergences does not say how its own were computed); the gate `centred_gap`
    is ours. Deviations from the official code: the teacher's prompt holds the skills in a slot of the user turn and
    is never cut silently, and the official code has the `gap` gate and the `sampled` form only.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part."""
    gate: Gate = "gap"
    """What a token's weight is made of."""
    gate_sharpness: float = 5.0
    """Slope of the gate, the paper's beta, in 1/nat."""
    weight: float = 0.01
    """Weight of the distillation, the paper's lambda; 0 is GRPO."""
    form: Form = "sampled"
    """What the gate multiplies: the sampled token's T - S, or an exact divergence over the vocabulary."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_choice("gate", self.gate, Gate)
        check_choice("form", self.form, Form)
        check_range("gate_sharpness", self.gate_sharpness, low=0.0)
        check_range("weight", self.weight, low=0.0)
        if self.gate == "centred_gap" and self.form != "sampled":
            raise ValueError(
                f"gate 'centred_gap' is negative on rejected tokens and would push the student *away* from the "
                f"teacher in form {self.form!r}; use form 'sampled', or gate 'gap'"
            )

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part and the teacher; entropy and distributions where chosen."""
        full = self.form in FULL_DIVERGENCES
        return replace(
            self.rl.needs,
            teacher="distribution" if full else "logprobs",
            distribution=full,
            entropy=self.rl.needs.entropy or self.gate in ("entropy", "soft_or"),
        )

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """As GRPO."""
        return self.rl.prepare(batch, step)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """One micro-batch. The gate follows the current student; the teacher is whatever the loop scored with."""
        rl = self.rl.loss(policy, None, batch)
        teacher = required_teacher(teacher, "SDAR")
        logprobs = token_logprobs(policy, batch)
        teacher_logprobs = token_logprobs(teacher, batch)
        gate = self._gate(losses.teacher_gap(logprobs, teacher_logprobs), policy.entropy)
        if self.form == "sampled":
            distill = losses.gated_self_distillation(logprobs, teacher_logprobs, gate)
        else:
            distill = gate * full_divergence(self.form, policy, teacher, learner="SDAR")
        # Active as in the paper: more weight than a token on which teacher and student agree.
        neutral = 0.0 if self.gate == "centred_gap" else 0.5
        metrics = teaching_metrics(logprobs, teacher_logprobs, distill) | {
            "gate": gate,
            "gate_active": (gate > neutral).float(),
        }
        weighted = self.weight * distill
        return LossOutput(rl.token_loss + weighted, rl.token_metrics | metrics, weighted)

    def _gate(self, gap: torch.Tensor, entropy: torch.Tensor | None) -> torch.Tensor:
        if self.gate == "gap":
            return losses.gap_gate(gap, sharpness=self.gate_sharpness)
        if self.gate == "centred_gap":
            return losses.centred_gap_gate(gap, sharpness=self.gate_sharpness)
        entropy = required(entropy, "the policy's entropy", f"SDAR with gate {self.gate!r}")
        if self.gate == "entropy":
            return losses.entropy_gate(entropy, sharpness=self.gate_sharpness)
        return losses.soft_or_gate(gap, entropy, sharpness=self.gate_sharpness)
