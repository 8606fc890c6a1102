"""ATOD: a handover from distillation to reinforcement learning, the distillation weighted turn by turn."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.credit import ranged_within, start_gap, turn_mean
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_range
from sdar_agents.learners.shaping import shaped_loss


@dataclass(frozen=True, slots=True)
class ATOD:
    """Loss of a token: GRPO with A + weight * [kappa (T - O) w_k + (rho - 1) A] in the place of A.

    In step s: kappa = max(least, 1 - (1 - least) s / handover), rho = 1 + min(1, s / handover).
    w_k = 1 - (1 - d_k)(1 - h_k) with the turn's means of |T - O| and of -O, each ranged from 0 to 1 within the
    trajectory (1/2 where its turns do not differ). Source: 2606.27814; weight 1 is the paper's
    kappa (T - O) w_k + rho A.

    Deviations: its teacher is another model, trained by GRPO: `--teacher PATH`, and any other works. It has no KL to
    the initial policy, so `rl.kl_coefficient` is 0. That rho stops at 2 where kappa stops falling is reconstructed.
    """

    rl: GRPO = field(default_factory=lambda: GRPO(kl_coefficient=0.0))
    """The reinforcement learning part."""
    weight: float = 1.0
    """How much of the handover takes place; 0 is GRPO."""
    handover: int = 80
    """Steps that it takes."""
    least: float = 0.1
    """Share of the distillation that stays."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_range("weight", self.weight, low=0.0)
        check_range("handover", self.handover, low=1)
        check_range("least", self.least, low=0.0, high=1.0)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part, and the teacher before the step's updates."""
        return replace(self.rl.needs, teacher_at_start=True)

    def coefficients(self, step: int) -> tuple[float, float]:
        """Kappa and rho of a step; the first is 0."""
        done = min(1.0, step / self.handover)
        return max(self.least, 1.0 - (1.0 - self.least) * done), 1.0 + done

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """Fill in the advantages, of rows and of tokens."""
        batch = self.rl.prepare(batch, step)
        distilled, reinforced = self.coefficients(step)
        gap = start_gap(batch, "ATOD")
        of_turn = (turn_mean(gap.abs(), batch), turn_mean(-batch.old_logprobs, batch))
        differs, unsure = (ranged_within(each, batch.trajectory, batch, equal=0.5) for each in of_turn)
        turn = (1.0 - (1.0 - differs) * (1.0 - unsure))[:, None]
        own = batch.advantages[:, None]
        shaped = own + self.weight * (distilled * gap * turn + (reinforced - 1.0) * own)
        return replace(batch, token_advantages=shaped)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """As GRPO, with the advantages of tokens."""
        return shaped_loss(self.rl, policy, batch, learner="ATOD")
