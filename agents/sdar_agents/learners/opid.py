"""OPID: what a teacher says that knows how the episode ended, added to the advantage of each token."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.credit import start_gap
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_range
from sdar_agents.learners.shaping import shaped_loss

EPISODE = "hindsight"


@dataclass(frozen=True, slots=True)
class OPID:
    """Loss of a token: GRPO with A + episode_weight (T_episode - O) + step_weight (T - O) in the place of A.

    T_episode reads how the episode ended and a solution (view `hindsight`), T the teacher's own view. A is the score
    less the group's mean, not divided by a deviation. Source: 2606.26790, form and weights as read in its code.

    Deviations: there a language model writes one skill about the episode and up to five about its steps, afterwards;
    here the first is the view `hindsight` and the second whatever `--teacher-view` shows.
    """

    rl: GRPO = field(default_factory=lambda: GRPO(normalise_std=False))
    """The reinforcement learning part."""
    episode_weight: float = 0.001
    """Of the view of the whole episode; with `step_weight` 0 too it is GRPO."""
    step_weight: float = 0.001
    """Of the teacher's own view."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_range("episode_weight", self.episode_weight, low=0.0)
        check_range("step_weight", self.step_weight, low=0.0)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part, and both views before the step's updates."""
        return replace(self.rl.needs, teacher_at_start=True, views=(EPISODE,))

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """Fill in the advantages, of rows and of tokens."""
        batch = self.rl.prepare(batch, step)
        shift = self.episode_weight * start_gap(batch, "OPID", view=EPISODE)
        shift = shift + self.step_weight * start_gap(batch, "OPID")
        return replace(batch, token_advantages=batch.advantages[:, None] + shift)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """As GRPO, with the advantages of tokens."""
        return shaped_loss(self.rl, policy, batch, learner="OPID")
