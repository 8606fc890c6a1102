"""GRSD: GRPO whose advantage is spread over the turns by a teacher that has read what the group's attempts taught."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.credit import group_success, mean_within, start_gap, turn_mean
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_range
from sdar_agents.learners.shaping import shaped_loss

LARGEST_EXPONENT = 10.0


@dataclass(frozen=True, slots=True)
class GRSD:
    """Loss of a token: GRPO with A max(1 + weight * g_k, floor) in the place of A, the same for all tokens of turn k.

    v_k = exp(sign(A) mean of T - O over the turn) - 1, g_k = clip(v_k / mean |v| of the group, -clip, clip); only in
    groups in which some episodes succeed and some do not. Source: 2607.28076, as read in its code.

    Deviations: there the policy writes the reflections (DO ..., AVOID ...) that its teacher reads, and learns to write
    them; here the text is given: `--teacher-view text --teacher-text FILE`, or any other view.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part."""
    weight: float = 0.5
    """How much of the advantage is shared out, the paper's lambda; 0 is GRPO."""
    clip: float = 0.2
    """Largest size of a turn's share."""
    floor: float = 0.1
    """Smallest factor of an advantage."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_range("weight", self.weight, low=0.0)
        check_range("clip", self.clip, low=0.0)
        check_range("floor", self.floor, low=0.0, high=1.0)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part, and the teacher before the step's updates."""
        return replace(self.rl.needs, teacher_at_start=True)

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """Fill in the advantages, of rows and of tokens."""
        batch = self.rl.prepare(batch, step)
        liking = batch.advantages.sign() * turn_mean(start_gap(batch, "GRSD"), batch)
        value = liking.clamp(max=LARGEST_EXPONENT).expm1()
        size = mean_within(value.abs(), batch.group, batch)
        share = (value / size).nan_to_num(0.0).clamp(-self.clip, self.clip)
        won = group_success(batch)
        share = share.masked_fill((won == 0.0) | (won == 1.0), 0.0)
        factor = (1.0 + self.weight * share).clamp(min=self.floor)
        shaped = (batch.advantages * factor)[:, None].expand(batch.response_ids.shape).clone()
        return replace(batch, token_advantages=shaped)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """As GRPO, with the advantages of tokens."""
        return shaped_loss(self.rl, policy, batch, learner="GRSD")
