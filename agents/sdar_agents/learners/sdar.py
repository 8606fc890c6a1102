"""SDAR: GRPO plus self-distillation from the same model with skills in its prompt, gated token by token."""

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
from sdar_agents.learners.inputs import check_choice, check_range, required, required_teacher, token_logprobs
from sdar_agents.learners.teaching import FULL_DIVERGENCES, full_divergence, teaching_metrics

Gate = Literal["gap", "centred_gap", "entropy", "soft_or"]
GateOn = Literal["current", "old"]
Form = Literal["sampled", "full_reverse_kl", "full_forward_kl", "full_js"]


@dataclass(frozen=True, slots=True)
class SDAR:
    """Loss of a token: GRPO + weight * g (T - S), with the gate g and the teacher T detached (2605.15155, section 3).

    S and T are the log-probabilities of the sampled token without and with skills in the prompt, and
    g = sigmoid(gate_sharpness * (T - S)) by default. Gradient of the second term: -weight * g grad S. With
    `gate_on="old"` the gate is a fixed reward of the sampled token, as an advantage is, in all updates of a step.

    Deviations from the paper: see `GRPO`; the full-vocabulary forms put g times an exact divergence in the place of
    g (T - S) (the paper's ablation over divergences does not say how its own were computed); the gate `centred_gap`
    and `gate_on="old"` are ours. Deviations from the official code: the teacher's prompt holds the skills in a slot of
    the user turn and is never cut silently, and the official code has the `gap` gate and the `sampled` form only.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part."""
    gate: Gate = "gap"
    """What a token's weight is made of."""
    gate_sharpness: float = 5.0
    """Slope of the gate, the paper's beta, in 1/nat."""
    weight: float = 0.01
    """Weight of the distillation, the paper's lambda; 0 is GRPO."""
    gate_on: GateOn = "current"
    """Whose gap and entropy the gate looks at: those of the moment, or of before the step's first update."""
    form: Form = "sampled"
    """What the gate multiplies: the sampled token's T - S, or an exact divergence over the vocabulary."""
    adapt: Adaptation = field(default_factory=Adaptation)
    """What changes as the run goes on: schedules, the gap's unit, the weight by gradient norms, trust; off."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_choice("gate", self.gate, Gate)
        check_choice("form", self.form, Form)
        check_choice("gate_on", self.gate_on, GateOn)
        check_range("gate_sharpness", self.gate_sharpness, low=0.0)
        check_range("weight", self.weight, low=0.0)
        self.adapt.check(weight=self.weight, has_gap_gate=self.gate != "entropy")
        if self.gate == "centred_gap" and self.form != "sampled":
            raise ValueError(
                f"gate 'centred_gap' is negative on rejected tokens and would push the student *away* from the "
                f"teacher in form {self.form!r}; use form 'sampled', or gate 'gap'"
            )

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part and the teacher; entropy and distributions where chosen."""
        full, on_old = self.form in FULL_DIVERGENCES, self.gate_on == "old"
        of_entropy = self.gate in ("entropy", "soft_or")
        needs = replace(
            self.rl.needs,
            teacher="distribution" if full else "logprobs",
            distribution=full,
            entropy=self.rl.needs.entropy or (of_entropy and not on_old),
            entropy_at_start=of_entropy and on_old,
            teacher_at_start=on_old and self.gate != "entropy",
        )
        return self.adapt.needs(needs)

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """As GRPO, and what adapts."""
        return self.adapt.prepare(self.rl.prepare(batch, step), step)

    def observe(self, metrics: Mapping[str, float], signals: Mapping[str, float]) -> dict[str, float]:
        """The running values of what adapts."""
        return self.adapt.observe(metrics, signals, weight=self.weight)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """One micro-batch. The teacher is whatever the loop scored with."""
        rl = self.rl.loss(policy, None, batch)
        teacher = required_teacher(teacher, "SDAR")
        logprobs = token_logprobs(policy, batch)
        teacher_logprobs = token_logprobs(teacher, batch)
        gap = losses.teacher_gap(logprobs, teacher_logprobs)
        sharpness = self.adapt.sharpness_now(batch, self.gate_sharpness)
        seen, entropy = (gap, policy.entropy) if self.gate_on == "current" else self._old(gap, batch)
        gate = self._gate(self.adapt.gap(seen, batch), entropy, sharpness)
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
        metrics |= self.adapt.metrics(gap, batch, weight=self.weight)
        taught = self.adapt.weighted(distill, batch, weight=self.weight)
        return LossOutput(rl.token_loss + taught, rl.token_metrics | metrics, taught)

    def _old(self, gap: torch.Tensor, batch: TurnBatch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Gap and entropy of before the step's first update, [N, R] each, as far as the gate looks at them."""
        entropy = batch.old_entropy
        if self.gate != "entropy":
            taught = required(batch.teacher_logprobs, "the teacher's scores at the start of the step", "SDAR")
            old, taught = (token_logprobs(TokenScores(each), batch) for each in (batch.old_logprobs, taught))
            gap = losses.teacher_gap(old, taught)
        return gap, None if entropy is None else entropy.masked_fill(~batch.response_mask, 0.0)

    def _gate(self, gap: torch.Tensor, entropy: torch.Tensor | None, sharpness: float) -> torch.Tensor:
        if self.gate == "gap":
            return losses.gap_gate(gap, sharpness=sharpness)
        if self.gate == "centred_gap":
            return losses.centred_gap_gate(gap, sharpness=sharpness)
        entropy = required(entropy, "the policy's entropy", f"SDAR with gate {self.gate!r}")
        if self.gate == "entropy":
            return losses.entropy_gate(entropy, sharpness=sharpness)
        return losses.soft_or_gate(gap, entropy, sharpness=sharpness)
