"""BCSD: an agent that acts with skills, and two teachers, one that reads more of them and one that reads fewer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.credit import bounded, start_gap
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_range
from sdar_agents.learners.shaping import shaped_loss

MORE, FEWER = "full", "pruned"


@dataclass(frozen=True, slots=True)
class BCSD:
    """Loss of a token: GRPO with A [(1 - weight) + weight * w] in the place of A, of episodes played with skills.

    w = clip(exp(sign(A) d), 1 - clip, 1 + clip), d = mix (T_more - O) + (1 - mix) (T_fewer - O): T_more reads the whole
    bank (view `full`), T_fewer the general skills alone (view `pruned`). The weight falls to 0 in a straight line over
    `decay_steps`. Source: 2608.09555 for the two views, `mix` and the falling weight.

    Deviations: the paper's larger view holds a meta-skill, which no bank here has; how d rescales |A| is not public and
    is RLSD's form here.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part."""
    weight: float = 0.1
    """How much of the advantage is shared out in the first step, the paper's lambda; 0 is Skill-GRPO."""
    mix: float = 0.9
    """Share of the larger view, the paper's alpha."""
    clip: float = 0.2
    """How far a token's factor may be from 1."""
    decay_steps: int = 150
    """Steps over which the weight falls to 0; 0 keeps it."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_range("weight", self.weight, low=0.0, high=1.0)
        check_range("mix", self.mix, low=0.0, high=1.0)
        check_range("clip", self.clip, low=0.0, high=0.99)
        check_range("decay_steps", self.decay_steps, low=0)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part, and both views before the step's updates."""
        return replace(self.rl.needs, views=(MORE, FEWER))

    def shows_skills(self, step: int, member: int) -> bool:
        """Every episode of every step acts with skills."""
        return True

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """Fill in the advantages, of rows and of tokens."""
        batch = self.rl.prepare(batch, step)
        gaps = [start_gap(batch, "BCSD", view=view) for view in (MORE, FEWER)]
        gap = self.mix * gaps[0] + (1.0 - self.mix) * gaps[1]
        factor = (batch.advantages.sign()[:, None] * gap).exp().clamp(1.0 - self.clip, 1.0 + self.clip)
        left = max(0.0, 1.0 - step / self.decay_steps) if self.decay_steps else 1.0
        return replace(batch, token_advantages=bounded(batch.advantages, factor, weight=self.weight * left))

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """As GRPO, with the advantages of tokens; the gap that is reported is the larger view's."""
        return shaped_loss(self.rl, policy, batch, learner="BCSD", view=MORE)
