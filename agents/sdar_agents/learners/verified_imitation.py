"""Verified imitation: half of each group tries the skills; whoever did better than those without is imitated."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch

from sdar_agents.batch import TurnBatch, joined, pad_columns
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_range, required, token_logprobs
from sdar_agents.teacher_views import BARE


@dataclass(frozen=True, slots=True)
class VerifiedImitation:
    """Loss of a token: GRPO - weight * v * S, over this step's turns and remembered ones.

    Every other episode of a group acts with the skills, the rest without. v is 1 in turns of an episode that returned
    more than those without skills did on average, else 0; S is the log-probability of the sampled token after the
    prompt *without* skills, whatever the episode was played with. GRPO compares those without skills among one another,
    and sees nobody else. So skills may only propose: what is learned has been rewarded, and a wrong skill costs
    episodes, but teaches nothing.

    Each step `replay` turns of earlier steps for each turn of its own are imitated once more, drawn at random from the
    newest `memory` with v = 1: a turn's policy gradient is of no use once the policy has moved on, that it was part of
    a success stays true. The mean is over all of these turns. No teacher scores anything.

    Sources: self-imitation of what beat a baseline 1806.05635; solutions that were found with help and are
    learned without it 2203.14465 (STaR); groups of which half act with skills 2606.29502 (UCOB). Deviations: the
    baseline is the average of the group, and all that beat it count alike.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part."""
    weight: float = 1.0
    """Weight of imitation; 0 is GRPO: nobody acts with skills, and nothing is remembered."""
    trials: float = 0.5
    """Share of each group that acts with skills; with 0 the agent imitates itself alone."""
    replay: float = 1.0
    """Remembered turns for each turn of the step."""
    memory: int = 2048
    """How many turns are remembered, the newest."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_range("weight", self.weight, low=0.0)
        check_range("trials", self.trials, low=0.0, high=0.9)
        check_range("replay", self.replay, low=0.0)
        check_range("memory", self.memory, low=1)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part, and the prompts without skills."""
        return replace(self.rl.needs, prompts=(BARE,))

    def shows_skills(self, step: int, member: int) -> bool:
        """`trials` of the members of each group, evenly spread: of a half every second one."""
        return self.weight > 0 and math.floor((member + 1) * self.trials) > math.floor(member * self.trials)

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """Advantages of those who acted without skills, who is imitated, and prompts without skills."""
        tried = batch.skills_shown
        alone = replace(batch, weight=batch.weight * ~tried)
        ids, mask = _bare_prompts(batch)
        return replace(
            batch,
            prompt_ids=ids,
            prompt_mask=mask,
            # Drawn after another prompt: without an advantage a ratio means nothing, and must not overflow.
            old_logprobs=batch.old_logprobs.masked_fill(tried[:, None], 0.0),
            advantages=self.rl.prepare(alone, step).advantages,
            distill_weight=_verified(batch)[:, None] * batch.token_weight,
            only_taught=tried,
        )

    def recall(self, batch: TurnBatch, memory: TurnBatch | None, step: int) -> tuple[TurnBatch, TurnBatch]:
        """Remembered turns behind the step's own, as trajectories of their own, without advantages."""
        # Other prompts have done their work, and a checkpoint does not hold them.
        batch = replace(batch, views={})
        known = batch.rows(torch.zeros(0, dtype=torch.int64)) if memory is None else memory
        if self.weight == 0:
            return batch, known
        drawn = _draw(known, int(self.replay * len(batch)), step)
        numbers = batch.trajectory.max() + 1 + torch.arange(len(drawn))
        together = joined(batch, replace(known.rows(drawn), trajectory=numbers)) if len(drawn) else batch
        imitated = required(batch.distill_weight, "who is imitated", "VerifiedImitation").sum(1) > 0
        kept = joined(_without_reward(batch.rows(torch.nonzero(imitated).flatten())), known)
        return together, kept.rows(torch.arange(min(self.memory, len(kept))))

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """One micro-batch; the teacher is not looked at."""
        rl = self.rl.loss(policy, None, batch)
        verified = required(batch.distill_weight, "who is imitated", "VerifiedImitation")
        only_taught = required(batch.only_taught, "which turns are only imitated", "VerifiedImitation")
        imitation = -token_logprobs(policy, batch) * verified
        taught = self.weight * imitation
        metrics = {**rl.token_metrics, "verified": verified, "imitation_loss": imitation.detach()}
        return LossOutput(rl.token_loss.masked_fill(only_taught[:, None], 0.0) + taught, metrics, taught)


def _verified(batch: TurnBatch) -> torch.Tensor:
    """1 for turns of episodes that returned more than those of their group without skills on average, else 0, [N]."""
    found = torch.zeros(len(batch))
    for group in torch.unique(batch.group):
        rows = (batch.group == group) & (batch.weight > 0)
        alone = rows & ~batch.skills_shown
        # Each episode counts once, however many turns it has.
        returns = dict(zip(batch.trajectory[alone].tolist(), batch.returns[alone].tolist(), strict=True))
        if returns:
            found[rows & (batch.returns > sum(returns.values()) / len(returns))] = 1.0
    return found


def _bare_prompts(batch: TurnBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of the student's prompts, those without skills where it acted with them."""
    bare = required(batch.views.get(BARE), "the prompts without skills", "VerifiedImitation")
    tried = batch.skills_shown[:, None]
    width = max(bare.prompt_ids.shape[1], batch.prompt_ids.shape[1])
    ids, mask = (
        torch.where(tried, pad_columns(without, width), pad_columns(own, width))
        for without, own in ((bare.prompt_ids, batch.prompt_ids), (bare.prompt_mask, batch.prompt_mask))
    )
    return ids, mask


def _without_reward(batch: TurnBatch) -> TurnBatch:
    """Rows as they are remembered: nothing to reinforce, and drawn by nobody's policy."""
    return replace(
        batch,
        advantages=torch.zeros(len(batch)),
        token_advantages=None,
        importance=torch.ones(batch.response_ids.shape),
        only_taught=torch.ones(len(batch), dtype=torch.bool),
    )


def _draw(memory: TurnBatch, count: int, step: int) -> torch.Tensor:
    """Numbers of different rows, at random."""
    generator = torch.Generator().manual_seed(step)
    return torch.randperm(len(memory), generator=generator)[:count]
