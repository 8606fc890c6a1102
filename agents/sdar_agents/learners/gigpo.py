"""GiGPO: GRPO's advantage of the episode plus one of the turn, against other turns that answer the same observation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sdar_agents.advantages import state_advantages
from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_range


@dataclass(frozen=True, slots=True)
class GiGPO:
    """Loss of a token: GRPO's with A = A^E + step_weight * A^S (2505.10978).

    A^E is GRPO's advantage of the episode. A^S = (R_k - mean) / (std + 1e-6) over the turns of the group that answer
    one observation (the anchor state), of any episode and turn number, with R_k = sum_{j>=k} discount^(j-k) r_j. An
    observation met once, or always with the same R_k, gives A^S = 0: where none repeats, this is GRPO to the bit.

    Deviations from the paper: observations are the same if their texts are; r_j is the turn's reward less
    `rl.invalid_penalty` where it is invalid, as in A^E; the loss is averaged as `rl.aggregation` says (the paper:
    each episode's turns first), with the dual clip of the backbone; `rl.normalise_std` switches both divisions.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part, which also gives A^E."""
    step_weight: float = 1.0
    """Weight of the turn's advantage, the paper's omega; 0 is GRPO."""
    discount: float = 0.95
    """Of the rewards after a turn, the paper's gamma."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_range("step_weight", self.step_weight, low=0.0)
        check_range("discount", self.discount, low=0.0, high=1.0)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part."""
        return self.rl.needs

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """Fill in the advantages."""
        batch = self.rl.prepare(batch, step)
        of_states = state_advantages(
            batch,
            discount=self.discount,
            invalid_penalty=self.rl.invalid_penalty,
            normalise_std=self.rl.normalise_std,
        )
        return replace(batch, advantages=batch.advantages + self.step_weight * of_states)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """As GRPO; the teacher is not looked at."""
        return self.rl.loss(policy, None, batch)
