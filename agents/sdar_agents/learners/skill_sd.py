"""Skill-SD: GRPO plus an importance-weighted KL to the same model with skills in its prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sdar_agents import losses
from sdar_agents.batch import TurnBatch
from sdar_agents.learners.adapting import Adaptation
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_range, required_teacher, token_logprobs
from sdar_agents.learners.teaching import teaching_metrics


@dataclass(frozen=True, slots=True)
class SkillSD:
    """Loss of a token: GRPO + weight * rho (exp(d) - d - 1), d = T - S, rho = exp(S - O), gradient through both.

    Gradient of the second term: -weight * rho d grad S. On the sampling policy's tokens its expectation is exactly
    that of KL(student || teacher), and with rho = 1 it is that of `grpo_opsd`: what rho adds is the correction for
    updates after the first.

    Deviations from the paper (the row of 2605.15155; Skill-SD itself is 2604.10674): its pseudo-code retrieves by UCB,
    its table by keywords; here it is whatever `--retriever` says. Deviations from the official code: those of `GRPO`.
    Its annealing of the weight is not active in the official runs; `adapt.weight` does it.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part."""
    weight: float = 0.001
    """Weight of the divergence; 0 is GRPO."""
    adapt: Adaptation = field(default_factory=Adaptation)
    """What changes as the run goes on: a schedule of the weight, the weight by gradient norms, trust; off."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_range("weight", self.weight, low=0.0)
        self.adapt.check(weight=self.weight, has_gap_gate=False)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part and the teacher."""
        return self.adapt.needs(replace(self.rl.needs, teacher="logprobs"))

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """As GRPO, and what adapts."""
        return self.adapt.prepare(self.rl.prepare(batch, step), step)

    def observe(self, metrics: Mapping[str, float], signals: Mapping[str, float]) -> dict[str, float]:
        """The running values of what adapts."""
        return self.adapt.observe(metrics, signals, weight=self.weight)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """One micro-batch."""
        rl = self.rl.loss(policy, None, batch)
        teacher_logprobs = token_logprobs(required_teacher(teacher, "Skill-SD"), batch)
        logprobs, old = token_logprobs(policy, batch), token_logprobs(TokenScores(batch.old_logprobs), batch)
        distill = losses.importance_weighted_k3(logprobs, old, teacher_logprobs)
        metrics = teaching_metrics(logprobs, teacher_logprobs, distill)
        metrics |= self.adapt.metrics(metrics["gap"], batch, weight=self.weight)
        taught = self.adapt.weighted(distill, batch, weight=self.weight)
        return LossOutput(rl.token_loss + taught, rl.token_metrics | metrics, taught)
