"""Skill0: GRPO of an agent whose skills are taken away in stages, until it acts without any."""

from __future__ import annotations

from dataclasses import dataclass, field

from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_range


@dataclass(frozen=True, slots=True)
class Skill0:
    """Loss of a token: GRPO's; a part of each group, smaller in every stage, acts with skills in the student's prompt.

    Of `stages` + 1 stages of `stage_steps` steps each, number i (the first is 0) has the share 1 - i / stages; the last
    acts without skills for the rest of the run. Source: 2604.02268 for the curriculum, whose budgets 6, 3, 0 of skill
    files are the shares 1, 1/2, 0.

    Deviations: there the budget is a number of skill files, here a share of the episodes; and there only files stay
    whose validation with them beats that without: `sdar-gym skills lift` measures that for every skill of a bank, and
    `--bank` takes those that are left.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part."""
    stages: int = 2
    """How often the share is lowered; after the last time it is 0."""
    stage_steps: int = 50
    """Steps of a stage."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_range("stages", self.stages, low=1)
        check_range("stage_steps", self.stage_steps, low=1)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part."""
        return self.rl.needs

    def shows_skills(self, step: int, member: int) -> bool:
        """Whether a member of each group acts with skills: so many, evenly spread, as the stage's share says."""
        left = max(0, self.stages - step // self.stage_steps)
        return (member + 1) * left // self.stages > member * left // self.stages

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """As GRPO."""
        return self.rl.prepare(batch, step)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """As GRPO; the teacher is not looked at."""
        return self.rl.loss(policy, None, batch)
