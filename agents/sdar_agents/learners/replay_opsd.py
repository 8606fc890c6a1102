"""Replayed distillation: GRPO, and a teacher's distributions on this step's turns and on remembered ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from sdar_agents.batch import TurnBatch, joined
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_choice, check_range, required, required_teacher, token_logprobs
from sdar_agents.learners.teaching import full_divergence, teaching_metrics

Divergence = Literal["full_forward_kl", "full_js", "full_reverse_kl"]


@dataclass(frozen=True, slots=True)
class ReplayOPSD:
    """Loss of a token: GRPO + weight * w * KL(teacher || student), over this step's turns and remembered ones.

    w = 1 - exp(-|T - F| / effect), where T and F are the log-probabilities of the sampled token under the teacher,
    which has skills in its prompt, and under the initial weights without skills: what the skills change is taught, and
    where they change nothing nothing holds the student back. Each step `replay` turns of earlier steps for each turn of
    its own are taught once more, drawn by their sum of w; GRPO does not see them. A turn's policy gradient is of no use
    once the policy has moved on, what the teacher says of it is. The mean is over both kinds of turns.

    The teacher should stay as it is (`teacher="reference"`): one that learns from itself drifts.
    Sources: 2306.13649 for distillation on the student's own samples, 1312.5602 for replay, here of single turns.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part."""
    weight: float = 1.0
    """Weight of the divergence; 0 is GRPO, and nothing is remembered."""
    replay: float = 1.0
    """Remembered turns for each turn of the step."""
    memory: int = 2048
    """How many turns are remembered, the newest."""
    divergence: Divergence = "full_forward_kl"
    """What is minimised; the Jensen-Shannon one is bounded, so that single wrong skills weigh less."""
    sure: bool = False
    """Whether w is also multiplied by min(1, H(student) / H(teacher)): who is shown wrong skills is often unsure."""
    effect: float = 0.1
    """By how much skills change a token's log-probability, in nats, where its w is .63; 0: all tokens have w 1."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_choice("divergence", self.divergence, Divergence)
        check_range("weight", self.weight, low=0.0)
        check_range("replay", self.replay, low=0.0)
        check_range("memory", self.memory, low=1)
        check_range("effect", self.effect, low=0.0)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part, both distributions, and what tells the skills' effect."""
        needs = replace(self.rl.needs, teacher="distribution", distribution=True)
        return needs if self.effect == 0 else replace(needs, teacher_at_start=True, reference=True)

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """As GRPO, and w of each token."""
        return replace(self.rl.prepare(batch, step), distill_weight=self._effects(batch))

    def recall(self, batch: TurnBatch, memory: TurnBatch | None, step: int) -> tuple[TurnBatch, TurnBatch]:
        """Remembered turns behind the step's own, as trajectories of their own, without advantages."""
        own = replace(batch, recalled=torch.zeros(len(batch), dtype=torch.bool))
        known = own.rows(torch.zeros(0, dtype=torch.int64)) if memory is None else memory
        if self.weight == 0:
            return own, known
        drawn = _draw(known, int(self.replay * len(batch)), step)
        numbers = batch.trajectory.max() + 1 + torch.arange(len(drawn))
        together = joined(own, replace(known.rows(drawn), trajectory=numbers)) if len(drawn) else own
        # Where skills change nothing there is nothing to learn once more.
        telling = own.rows(torch.nonzero(_worth(batch) > 0).flatten())
        kept = joined(_without_reward(telling), known)
        return together, kept.rows(torch.arange(min(self.memory, len(kept))))

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """One micro-batch."""
        teacher = required_teacher(teacher, "ReplayOPSD")
        rl = self.rl.loss(policy, None, batch)
        worth = required(batch.distill_weight, "what each token's teaching weighs", "ReplayOPSD")
        logprobs, teacher_logprobs = token_logprobs(policy, batch), token_logprobs(teacher, batch)
        if self.sure:
            worth = worth * _sureness(policy, teacher)
        distance = full_divergence(self.divergence, policy, teacher, learner="ReplayOPSD")
        # Under padding a distance may be anything.
        distill = torch.where(worth > 0, worth * distance, 0.0)
        metrics = {**rl.token_metrics, **teaching_metrics(logprobs, teacher_logprobs, distill), "effect": worth}
        taught = self.weight * distill
        played = rl.token_loss if batch.recalled is None else rl.token_loss.masked_fill(batch.recalled[:, None], 0.0)
        return LossOutput(played + taught, metrics, taught)

    def _effects(self, batch: TurnBatch) -> torch.Tensor:
        """What each token is taught by, w, [N, R]."""
        if self.effect == 0:
            return batch.token_weight
        taught = required(batch.teacher_logprobs, "the teacher's log-probabilities at the start", "ReplayOPSD")
        initial = required(batch.reference_logprobs, "the log-probabilities of the initial weights", "ReplayOPSD")
        return (1.0 - torch.exp(-(taught - initial).abs() / self.effect)) * batch.token_weight


def _sureness(policy: TokenScores, teacher: TokenScores) -> torch.Tensor:
    """min(1, H(student) / H(teacher)) of the next token, without gradient, [N, R]."""
    student, taught = (
        -(side.exp() * side).sum(-1)
        for side in (
            required(policy.distribution, "the policy's distribution", "ReplayOPSD").detach(),
            required(teacher.distribution, "the teacher's distribution", "ReplayOPSD"),
        )
    )
    return (student / taught.clamp(min=1e-6)).clamp(max=1.0)


def _worth(batch: TurnBatch) -> torch.Tensor:
    return required(batch.distill_weight, "what each token's teaching weighs", "ReplayOPSD").sum(1)


def _without_reward(batch: TurnBatch) -> TurnBatch:
    """Rows as they are remembered: nothing to reinforce, and drawn by nobody's policy."""
    return replace(
        batch,
        advantages=torch.zeros(len(batch)),
        token_advantages=None,
        importance=torch.ones(batch.response_ids.shape),
        recalled=torch.ones(len(batch), dtype=torch.bool),
    )


def _draw(memory: TurnBatch, count: int, step: int) -> torch.Tensor:
    """Numbers of different rows, drawn by what they have to teach."""
    count = min(count, len(memory))
    if count == 0:
        return torch.zeros(0, dtype=torch.int64)
    generator = torch.Generator().manual_seed(step)
    return torch.multinomial(_worth(memory), count, generator=generator)
