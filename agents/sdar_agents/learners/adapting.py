"""What of the teaching may change from step to step and from token to token. Off by default.

The paper leaves this as future work; but for TIP and the cap nothing here is published. A distilling learner holds an
`Adaptation` and calls its methods; with the defaults it computes what it would without one, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import Needs
from sdar_agents.learners.inputs import check_choice, check_range, required
from sdar_agents.schedules import Schedule

GapUnit = Literal["nat", "running"]
Trust = Literal["all", "group"]
WEIGHT_RANGE = 100.0
"""How far the weight may go from what was set, as a factor, either way."""
SMALLEST_GAP = 1e-3
"""In nats: the unit of the gap is at least this, so that a teacher that agrees does not open the gate by rounding."""
CERTAIN = 0.325
"""Entropy of (0.9, 0.1) in nats: below it the likeliest token has more than 0.9."""
PRIOR_TRUST = 0.5
"""What a group without evidence gets before there was any evidence at all."""


@dataclass(frozen=True, slots=True)
class Adaptation:
    """Changes of the teaching over a run.

    The learner's own are the weight w, the gap d = T - S and the gate's sharpness b.

    - `weight`, `sharpness`: schedules; w and b are multiplied by their factors of the step.
    - `gap_unit="running"`: the gate sees d / s, where s is the running mean of |d| over the steps before (1 nat in the
      first): b then counts in usual gaps, and keeps its meaning while teacher and student drift apart or together.
    - `gradient_share`: w is driven to where the norm of the teaching's gradient is this share of the norm of the
      reinforcement learning's: after each step, w <- w (share / measured)^(1 - memory). Both norms are measured before
      the updates on one micro-batch a step. w stays within a factor of 100 of what was set.
    - `trust="group"`: each group's teaching is multiplied by max(0, c), c the correlation over its episodes between the
      mean gap and the return: a teacher that likes what fails is not believed. Where all returns or all gaps are equal
      there is no evidence, and the running mean of the groups with evidence stands in (0.5 before there was any).

    - `keep`: only this share of the step's tokens teaches, those of the highest h + d - h d, h being the policy's
      entropy and d = |T - O|, each ranged from 0 to 1 over the step. Source: TIP (2604.14084); its d is a divergence.
    - `cap`: w, with all that multiplies it, is in size at most this on tokens of which the policy is nearly certain:
      entropy below that of (0.9, 0.1), so that the likeliest token has more than 0.9. Source: the Extrapolation Cliff
      (2605.08737), where too large weights there destroy the format; its closed form of the cap is not public.

    Running values keep `memory` of what they were at each step; they are signals, saved in checkpoints.
    """

    weight: Schedule = field(default_factory=Schedule)
    """Factor of the weight, by step."""
    sharpness: Schedule = field(default_factory=Schedule)
    """Factor of the gate's sharpness, by step."""
    gap_unit: GapUnit = "nat"
    """What the gate measures the gap in: nat, or the running mean of its size."""
    gradient_share: float = 0.0
    """Norm of the teaching's gradient over that of the reinforcement learning's to keep to; 0 leaves the weight."""
    trust: Trust = "all"
    """Whose teaching counts: all alike, or each group's as far as its returns agree with its teacher."""
    keep: float = 1.0
    """Share of the tokens that teaches: where the policy is unsure or the teacher differs (TIP); 1 is all."""
    cap: float = 0.0
    """Largest weight on tokens of which the policy is nearly certain; 0 caps none."""
    memory: float = 0.9
    """Share of a running value that a step keeps."""

    def __post_init__(self) -> None:
        """Refuse values that contradict one another."""
        check_choice("gap_unit", self.gap_unit, GapUnit)
        check_choice("trust", self.trust, Trust)
        check_range("gradient_share", self.gradient_share, low=0.0)
        check_range("keep", self.keep, low=0.001, high=1.0)
        check_range("cap", self.cap, low=0.0)
        check_range("memory", self.memory, low=0.0, high=0.999)
        if self.gradient_share > 0 and self.weight != Schedule():
            raise ValueError("gradient_share and a schedule of the weight both decide the weight: leave one out")

    @property
    def is_on(self) -> bool:
        """Whether anything changes at all."""
        return self != Adaptation()

    def check(self, *, weight: float, has_gap_gate: bool) -> None:
        """Refuse what would change nothing in a learner.

        Args:
            weight: The learner's own.
            has_gap_gate: Whether it has a gate with a sharpness, and one that looks at the gap.
        """
        if self.gradient_share > 0 and weight == 0:
            raise ValueError("gradient_share multiplies the weight, which is 0: set one to start from")
        if not has_gap_gate and (self.gap_unit != "nat" or self.sharpness != Schedule()):
            raise ValueError("gap_unit and sharpness change a gate that looks at the gap, and this learner has none")

    def needs(self, needs: Needs) -> Needs:
        """What the learner needs, and what this needs beside it."""
        return replace(
            needs,
            gradient_probe=needs.gradient_probe or self.gradient_share > 0,
            teacher_at_start=needs.teacher_at_start or self.trust == "group" or self.keep < 1.0,
            entropy_at_start=needs.entropy_at_start or self.keep < 1.0 or self.cap > 0.0,
        )

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """The factors of this step, as `distill_weight` and signals."""
        signals = {**batch.signals, "sharpness_factor": self.sharpness(step)}
        weight = batch.distill_weight
        if self.weight != Schedule():
            weight = _times(batch, weight, torch.full((len(batch),), self.weight(step)))
        if self.trust == "group":
            trust, signals["group_trust"] = group_trust(batch, running=batch.signals.get("trust", PRIOR_TRUST))
            weight = _times(batch, weight, trust)
        if self.keep < 1.0:
            chosen = telling_tokens(batch, share=self.keep).float()
            weight = chosen if weight is None else weight * chosen
        return replace(batch, distill_weight=weight, signals=signals)

    def weighted(self, distill: torch.Tensor, batch: TurnBatch, *, weight: float) -> torch.Tensor:
        """The learner's distillation term [N, R] times everything that weighs it."""
        if self.cap > 0.0:
            return self._capped(torch.ones_like(distill.detach()), batch, weight) * distill
        taught = self.weight_now(batch.signals, weight) * distill
        return taught if batch.distill_weight is None else taught * batch.distill_weight

    def _capped(self, ones: torch.Tensor, batch: TurnBatch, weight: float) -> torch.Tensor:
        """Everything that weighs a token's distillation, [N, R], the weight and the cap included."""
        factor = ones if batch.distill_weight is None else ones * batch.distill_weight
        factor = self.weight_now(batch.signals, weight) * factor
        if self.cap == 0.0:
            return factor
        entropy = required(batch.old_entropy, "the policy's entropy at the start of the step", "a capped weight")
        return torch.where(entropy < CERTAIN, factor.clamp(min=-self.cap, max=self.cap), factor)

    def weight_now(self, signals: Mapping[str, float], weight: float) -> float:
        """The weight before schedules and trust."""
        return signals.get("weight", weight) if self.gradient_share > 0 else weight

    def sharpness_now(self, batch: TurnBatch, sharpness: float) -> float:
        """The gate's sharpness in this step."""
        return sharpness * batch.signals.get("sharpness_factor", 1.0)

    def gap(self, gap: torch.Tensor, batch: TurnBatch) -> torch.Tensor:
        """The gap [N, R] as the gate sees it."""
        if self.gap_unit == "nat":
            return gap
        return gap / max(batch.signals.get("gap_size", 1.0), SMALLEST_GAP)

    def metrics(self, gap: torch.Tensor, batch: TurnBatch, *, weight: float) -> dict[str, torch.Tensor]:
        """What adapting is going on, [N, R] each; nothing where nothing is."""
        if not self.is_on:
            return {}
        found = {
            "distill_weight": self._capped(torch.ones_like(gap), batch, weight),
            "sharpness_factor": torch.full_like(gap, batch.signals.get("sharpness_factor", 1.0)),
            "gap_size": gap.abs(),
        }
        if self.trust == "group":
            found["trust"] = torch.full_like(gap, batch.signals.get("group_trust", PRIOR_TRUST))
        return found

    def observe(self, metrics: Mapping[str, float], signals: Mapping[str, float], *, weight: float) -> dict[str, float]:
        """The running values after a step."""
        found: dict[str, float] = {}
        if self.gap_unit == "running":
            found |= self._blended("gap_size", metrics, signals)
        if self.trust == "group":
            found |= self._blended("trust", metrics, signals)
        if self.gradient_share > 0:
            now = signals.get("weight", weight)
            measured = metrics.get("distill_share", 0.0)
            # Without either gradient (no group with different returns, say) there is nothing to go by.
            if 0.0 < measured < math.inf:
                now *= (self.gradient_share / measured) ** (1.0 - self.memory)
            found["weight"] = min(max(now, weight / WEIGHT_RANGE), weight * WEIGHT_RANGE)
        return found

    def _blended(self, name: str, metrics: Mapping[str, float], signals: Mapping[str, float]) -> dict[str, float]:
        """The running mean of a metric, the first value as it is."""
        new, old = metrics.get(name, math.nan), signals.get(name)
        if not math.isfinite(new):
            return {} if old is None else {name: old}
        return {name: new if old is None else self.memory * old + (1.0 - self.memory) * new}


def telling_tokens(batch: TurnBatch, *, share: float) -> torch.Tensor:
    """The tokens of the highest h + d - h d, [N, R] bool: this share of all that count, and what ties with the last.

    Args:
        batch: With the policy's entropy h and the teacher's log-probabilities T of the step's start; d = |T - O|.
    """
    entropy = required(batch.old_entropy, "the policy's entropy at the start of the step", "a choice of tokens")
    taught = required(batch.teacher_logprobs, "the teacher's scores at the start of the step", "a choice of tokens")
    counted = batch.token_weight > 0
    unsure, differs = (_ranged(each[counted]) for each in (entropy, (taught - batch.old_logprobs).abs()))
    score = unsure + differs - unsure * differs
    chosen = torch.zeros_like(counted)
    if len(score):
        least = score.topk(math.ceil(share * len(score))).values[-1]
        chosen[counted] = score >= least
    return chosen


def _ranged(values: torch.Tensor) -> torch.Tensor:
    """(v - min) / (max - min); 0 where they do not differ."""
    if not len(values) or float(values.max()) == float(values.min()):
        return torch.zeros_like(values)
    return (values - values.min()) / (values.max() - values.min())


def group_trust(batch: TurnBatch, *, running: float) -> tuple[torch.Tensor, float]:
    """max(0, c) for each row's group [N], and its mean over the groups with evidence (`running` if there is none).

    c is the correlation, over the episodes of a group, between the mean gap of an episode's tokens and its return. Rows
    of weight 0 do not enter.

    Args:
        batch: With the teacher's log-probabilities of the step's start.
        running: For groups without evidence.
    """
    taught = required(batch.teacher_logprobs, "the teacher's scores at the start of the step", "trust by group")
    gaps = ((taught - batch.old_logprobs) * batch.token_weight).sum(1)
    counts = batch.token_weight.sum(1)
    trust, found = torch.full((len(batch),), running), list[float]()
    for group in set(batch.group.tolist()):
        in_group = batch.group == group
        members = _episodes(batch, in_group & (counts > 0))
        correlation = _correlation(
            torch.tensor([float(gaps[rows].sum() / counts[rows].sum()) for rows in members], dtype=torch.float64),
            torch.tensor([float(batch.returns[rows][0]) for rows in members], dtype=torch.float64),
        )
        if correlation is not None:
            found.append(max(0.0, correlation))
            trust[in_group] = found[-1]
    return trust, math.fsum(found) / len(found) if found else running


def _episodes(batch: TurnBatch, rows: torch.Tensor) -> list[torch.Tensor]:
    """Which of the rows are of which episode, a mask [N] for each."""
    numbers = dict.fromkeys(batch.trajectory[rows].tolist())
    return [rows & (batch.trajectory == number) for number in numbers]


def _correlation(one: torch.Tensor, other: torch.Tensor) -> float | None:
    """Pearson's; None where either does not vary."""
    if len(one) < 2:
        return None
    one, other = one - one.mean(), other - other.mean()
    size = float(one.norm() * other.norm())
    # Equal gaps differ by the rounding of their means.
    return float(one @ other) / size if min(float(one.abs().max()), float(other.abs().max())) > 1e-6 else None


def _times(batch: TurnBatch, weight: torch.Tensor | None, rows: torch.Tensor) -> torch.Tensor:
    factor = rows[:, None].expand(batch.response_ids.shape)
    return factor.clone() if weight is None else weight * factor
