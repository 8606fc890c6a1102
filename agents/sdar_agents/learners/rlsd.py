"""RLSD: GRPO whose advantage is spread over a turn's tokens by what the teacher thinks of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_range, required, token_logprobs
from sdar_agents.learners.teaching import teaching_metrics


@dataclass(frozen=True, slots=True)
class RLSD:
    """Loss of a token: GRPO with A [(1 - weight) + weight * w] in the place of A, and no other teaching.

    w = clip(exp(sign(A) (T - O)), 1 - clip, 1 + clip) with the teacher T and the sampling policy O of before the
    step's first update: in a good episode what the teacher endorses is credited more, in a bad one it is blamed less.
    Gradient: GRPO's, times the factor; it never changes the sign of an advantage, and tokens where teacher and student
    agree keep theirs to the bit.

    Deviations from the paper (the row of 2605.15155; RLSD is a paper of its own): none known. Deviations from the
    official code: there `weight` always falls to 0 over 100 steps; here `decay_steps` says so. And those of `GRPO`.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part."""
    weight: float = 0.5
    """How much of the advantage the teacher shares out, the paper's lambda; 0 is GRPO."""
    clip: float = 0.2
    """How far a token's weight may be from 1, the paper's epsilon_w."""
    decay_steps: int = 0
    """Steps over which the weight falls to 0 in a straight line (official code: 100); 0 keeps it."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_range("weight", self.weight, low=0.0, high=1.0)
        # Below 1, or a weight could be 0 and the sign of the advantage be lost.
        check_range("clip", self.clip, low=0.0, high=0.99)
        check_range("decay_steps", self.decay_steps, low=0)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part, and the teacher before the step's updates."""
        return replace(self.rl.needs, teacher_at_start=True)

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """Fill in the advantages, of rows and of tokens."""
        batch = self.rl.prepare(batch, step)
        taught = required(batch.teacher_logprobs, "the teacher's scores at the start of the step", "RLSD")
        weight = self.weight * max(0.0, 1.0 - step / self.decay_steps) if self.decay_steps else self.weight
        advantages = batch.advantages[:, None]  # [N, 1]
        gap = (taught - batch.old_logprobs).masked_fill(~batch.response_mask, 0.0)
        factor = (advantages.sign() * gap).exp().clamp(1.0 - self.clip, 1.0 + self.clip)
        # 1 + weight (w - 1), not (1 - weight) + weight w: of w = 1 that is 1 to the bit.
        return replace(batch, token_advantages=advantages * (1.0 + weight * (factor - 1.0)))

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """As GRPO; what teaches is the difference that the shared-out advantage makes."""
        shaped = self.rl.loss(policy, None, batch)
        plain = self.rl.loss(policy, None, replace(batch, token_advantages=None))
        taught = shaped.token_loss - plain.token_loss
        known = required(batch.teacher_logprobs, "the teacher's scores at the start of the step", "RLSD")
        metrics = teaching_metrics(token_logprobs(policy, batch), token_logprobs(TokenScores(known), batch), taught) | {
            "advantage_factor": _factor(batch)
        }
        return LossOutput(shaped.token_loss, shaped.token_metrics | metrics, taught)


def _factor(batch: TurnBatch) -> torch.Tensor:
    """What each token's advantage was multiplied by, [N, R]; 1 where there is none."""
    shaped = required(batch.token_advantages, "the advantages of tokens", "RLSD")
    whole = batch.advantages[:, None].expand_as(shaped)
    return torch.where(whole == 0, 1.0, shaped / whole)
