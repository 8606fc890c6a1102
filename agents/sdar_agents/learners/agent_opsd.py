"""AgentOPSD: GRPO whose advantage is spread over the turns by how each moves a belief that the episode will succeed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.credit import bounded, carried, group_success, standardised_within, start_gap, turn_sum
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_range
from sdar_agents.learners.shaping import shaped_loss


@dataclass(frozen=True, slots=True)
class AgentOPSD:
    """Loss of a token: GRPO with A [(1 - weight) + weight * w_k] in the place of A, the same for all tokens of turn k.

    e_k = sum of T - O over the turn; c_k = memory c_(k-1) + e_k; B_k = sigmoid(logit(B_0) + c_k) with the group's
    success rate as B_0; q_k = sign(A) (B_k - B_(k-1)), standardised within the trajectory to z_k;
    w_k = clip(1 + band z_k, 1 - band, 1 + band). Source: 2608.05987, equations and defaults as read in its code.

    Deviations: how B_0 is kept from 0 and 1 is reconstructed (`margin`); the wider upper clip 0.24 that goes with it
    is `rl.clip_high`; its skills are found by keywords, here by `--retriever`.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part."""
    weight: float = 0.5
    """How much of the advantage is shared out, the paper's lambda; 0 is GRPO."""
    band: float = 0.2
    """How far a turn's factor may be from 1, the paper's b."""
    memory: float = 0.95
    """How much of the evidence of earlier turns is kept, the paper's gamma."""
    margin: float = 0.05
    """The first belief is at least this far from 0 and from 1."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_range("weight", self.weight, low=0.0, high=1.0)
        check_range("band", self.band, low=0.0, high=0.99)
        check_range("memory", self.memory, low=0.0, high=1.0)
        check_range("margin", self.margin, low=0.001, high=0.5)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part, and the teacher before the step's updates."""
        return replace(self.rl.needs, teacher_at_start=True)

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """Fill in the advantages, of rows and of tokens."""
        batch = self.rl.prepare(batch, step)
        now, before = carried(turn_sum(start_gap(batch, "AgentOPSD"), batch), batch, keep=self.memory)
        prior = group_success(batch).clamp(self.margin, 1.0 - self.margin).logit()
        change = torch.sigmoid(prior + now) - torch.sigmoid(prior + before)
        score = standardised_within(batch.advantages.sign() * change, batch.trajectory, batch)
        factor = (1.0 + self.band * score).clamp(1.0 - self.band, 1.0 + self.band)
        shaped = bounded(batch.advantages, factor[:, None], weight=self.weight)
        return replace(batch, token_advantages=shaped.expand(batch.response_ids.shape).clone())

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """As GRPO, with the advantages of tokens."""
        return shaped_loss(self.rl, policy, batch, learner="AgentOPSD")
