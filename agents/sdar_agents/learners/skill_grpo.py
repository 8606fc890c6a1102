"""Skill-GRPO: GRPO of an agent that acts with the skills in its prompt."""

from __future__ import annotations

from dataclasses import dataclass, field

from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.grpo import GRPO


@dataclass(frozen=True, slots=True)
class SkillGRPO:
    """Loss of a token: GRPO's, of episodes that were played, and are scored, with the skills in the student's prompt.

    Every evaluation of a run reports both rows of the paper: `success_rate` with the skills withdrawn (Skill-GRPO) and
    `skills_success_rate` with them kept (Skill-GRPO*). There is no teacher.

    Deviations from the paper: those of `GRPO`; the KL to the initial policy is between prompts with skills on both
    sides, as in the official code. Deviations from the official code: the skills stand in the slot of the user turn
    after the task, not before each observation, and whatever `--retriever` finds is shown.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part."""

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part."""
        return self.rl.needs

    def shows_skills(self, step: int, member: int) -> bool:
        """Every episode of every step acts with skills."""
        return True

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """As GRPO."""
        return self.rl.prepare(batch, step)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """As GRPO; the teacher is not looked at."""
        return self.rl.loss(policy, None, batch)
