"""CRAFT-style credit: SDAR whose teaching of a turn is signed by how its siblings did that the teacher sees alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.credit import start_gap, turn_mean
from sdar_agents.learners.inputs import check_range
from sdar_agents.learners.sdar import SDAR


@dataclass(frozen=True, slots=True)
class CRAFT:
    """Loss of a token: SDAR with c_k g (T - S) in the place of g (T - S), where c_k is the credit of the turn.

    c_k = sum over siblings j of omega_j (R - R_j): the return of this episode less that of others of its group,
    weighted by omega_j ~ exp(-|d_k - d_j| / temperature), d the turn's mean T - O. Siblings are the turns of
    other episodes that answer the same observation; where nobody does, all turns of the others. Second gradient:
    -weight * c_k g grad S, which pushes away from what worse episodes than the siblings' did.

    Source: the abstract of 2606.29476 alone (signed importance of tokens from the siblings); the formula is
    reconstructed. Its controller and its choice of divergence by sign are not here; `sdar.adapt` moves the weight.
    """

    sdar: SDAR = field(default_factory=SDAR)
    """The reinforcement learning part and the gated teaching."""
    temperature: float = 0.5
    """How near a sibling's gap has to be to count, in nats."""
    siblings: bool = True
    """Whether credit signs the teaching; without it this is SDAR."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_range("temperature", self.temperature, low=1e-3)

    @property
    def needs(self) -> Needs:
        """SDAR's, and the teacher before the step's updates."""
        return replace(self.sdar.needs, teacher_at_start=True) if self.siblings else self.sdar.needs

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """As SDAR, and the credit of each turn."""
        batch = self.sdar.prepare(replace(batch, distill_weight=None), step)
        if not self.siblings:
            return batch
        credit = self._credit(batch)[:, None].expand(batch.response_ids.shape).clone()
        return replace(batch, distill_weight=credit * (1.0 if batch.distill_weight is None else batch.distill_weight))

    def observe(self, metrics: Mapping[str, float], signals: Mapping[str, float]) -> dict[str, float]:
        """SDAR's running values."""
        return self.sdar.observe(metrics, signals)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """As SDAR."""
        return self.sdar.loss(policy, teacher, batch)

    def _credit(self, batch: TurnBatch) -> torch.Tensor:
        gap = turn_mean(start_gap(batch, "CRAFT"), batch)
        credit = torch.zeros(len(batch))
        for row in range(len(batch)):
            others = (batch.group == batch.group[row]) & (batch.trajectory != batch.trajectory[row])
            others &= batch.weight > 0
            alike = others & (batch.state == batch.state[row])
            chosen = alike if bool(alike.any()) else others
            if bool(chosen.any()):
                near = torch.softmax(-(gap[chosen] - gap[row]).abs() / self.temperature, 0)
                credit[row] = (near * (batch.returns[row] - batch.returns[chosen])).sum()
        return credit
