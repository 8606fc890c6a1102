"""ADRS: the teacher's log-probability as a reward of each token, as far as following the teacher was seen to pay."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.credit import start_gap, step_moments, turn_mean
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_range, required
from sdar_agents.learners.shaping import shaped_loss


@dataclass(frozen=True, slots=True)
class ADRS:
    """Loss of a token: GRPO with A + weight * sigmoid(sharpness * V) * r in the place of A.

    r = (T - mean T) / std T over the tokens of the step. V is what following the teacher was worth: the mean return of
    the turns that it likes (mean T - O above 0) less that of the others, among the turns of the group that answer the
    same observation; where these are all of one kind, among all turns of the group; else, without any comparison, the
    turn's mean T - F. Source: 2608.03223.

    Deviations: what counts as following, and the middle level (there: completions), are reconstructed.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part."""
    weight: float = 0.05
    """Of the teacher's reward, the paper's eta; 0 is GRPO."""
    sharpness: float = 2.0
    """Slope of the gate, the paper's tau."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_range("weight", self.weight, low=0.0)
        check_range("sharpness", self.sharpness, low=0.0)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part, the teacher before the step's updates, and the initial weights."""
        return replace(self.rl.needs, teacher_at_start=True, reference=True)

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """Fill in the advantages, of rows and of tokens."""
        batch = self.rl.prepare(batch, step)
        gap = start_gap(batch, "ADRS")
        taught = (gap + batch.old_logprobs).masked_fill(~batch.response_mask, 0.0)
        mean, deviation = step_moments(taught, batch)
        reward = ((taught - mean) / deviation).nan_to_num(0.0) * batch.response_mask
        initial = required(batch.reference_logprobs, "reference log-probabilities", "ADRS")
        worth = turn_mean(taught - initial, batch)
        likes = turn_mean(gap, batch) > 0
        for labels in (batch.group, batch.state):
            worth = _difference(batch, labels, likes, otherwise=worth)
        gate = torch.sigmoid(self.sharpness * worth)[:, None]
        return replace(batch, token_advantages=batch.advantages[:, None] + self.weight * gate * reward)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """As GRPO, with the advantages of tokens."""
        return shaped_loss(self.rl, policy, batch, learner="ADRS")


def _difference(
    batch: TurnBatch, labels: torch.Tensor, likes: torch.Tensor, *, otherwise: torch.Tensor
) -> torch.Tensor:
    """Mean return of the liked rows of a label less that of the others, [N]; `otherwise` where one kind is missing."""
    found = otherwise.clone()
    counted = batch.weight > 0
    for label in torch.unique(labels):
        liked, other = (counted & (labels == label) & kind for kind in (likes, ~likes))
        if bool(liked.any()) and bool(other.any()):
            found[labels == label] = batch.returns[liked].mean() - batch.returns[other].mean()
    return found
