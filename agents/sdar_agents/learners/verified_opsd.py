"""Verified distillation: skills are tried in half of each group, and taught where those who had them did better."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from sdar_agents.batch import TurnBatch, joined, pad_columns
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_choice, check_range, required, required_teacher, token_logprobs
from sdar_agents.learners.teaching import full_divergence, teaching_metrics
from sdar_agents.teacher_views import BARE

Divergence = Literal["full_forward_kl", "full_js", "full_reverse_kl"]


@dataclass(frozen=True, slots=True)
class VerifiedOPSD:
    """Loss of a token: GRPO + weight * v * w * KL(teacher || student), over this step's turns and remembered ones.

    Every other episode of a group acts with the skills, the rest without. v is 1 where the skills proved themselves and
    0 elsewhere: in turns of those who acted without them, if the others returned more on average; in turns of one who
    had them, if it returned more than the others' average. All are taught after the prompt without skills. GRPO
    compares those without skills among one another, and sees nobody else. So reward decides whether a skill is right
    for a task before anything of it is learned, and what is taught is dense where it is.

    w = 1 - exp(-|T - F| / effect), where T and F are the log-probabilities of the sampled token under the teacher with
    skills in its prompt and without: what they change is taught, and where they change nothing nothing holds the
    student back. Each step `replay` turns of earlier steps for each turn of its own are taught once more, drawn by
    their sum of v w: a turn's policy gradient is of no use once the policy has moved on, what the teacher says of it
    is. The mean is over all kinds of turns.

    The teacher should stay as it is (`teacher="reference"`): one that learns from itself drifts.
    Sources: 2306.13649 for distillation on the student's own samples, 1312.5602 for replay, here of single turns,
    2606.29502 (UCOB) for groups of which half act with skills.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part."""
    weight: float = 1.0
    """Weight of the divergence; 0 is GRPO: nobody acts with skills, and nothing is remembered."""
    trials: float = 0.5
    """Share of each group that acts with skills; with 0 all skills are taught unseen."""
    replay: float = 1.0
    """Remembered turns for each turn of the step."""
    memory: int = 2048
    """How many turns are remembered, the newest."""
    divergence: Divergence = "full_forward_kl"
    """What is minimised."""
    effect: float = 0.1
    """By how much skills change a token's log-probability, in nats, where its w is .63; 0: all tokens have w 1."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_choice("divergence", self.divergence, Divergence)
        check_range("weight", self.weight, low=0.0)
        check_range("trials", self.trials, low=0.0, high=0.9)
        check_range("replay", self.replay, low=0.0)
        check_range("memory", self.memory, low=1)
        check_range("effect", self.effect, low=0.0)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part, both distributions, and the teacher's view of either prompt."""
        return replace(
            self.rl.needs, teacher="distribution", distribution=True, teacher_at_start=self.effect > 0, views=(BARE,)
        )

    def shows_skills(self, step: int, member: int) -> bool:
        """`trials` of the members of each group, evenly spread: of a half every second one."""
        return self.weight > 0 and math.floor((member + 1) * self.trials) > math.floor(member * self.trials)

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """Advantages of those who acted without skills, what each token is taught by, and prompts without skills."""
        tried = batch.skills_shown
        alone = replace(batch, weight=batch.weight * ~tried)
        worth = self._effects(batch) * (_verified(batch)[:, None] if self.trials > 0 else 1.0)
        ids, mask = _bare_prompts(batch)
        return replace(
            batch,
            prompt_ids=ids,
            prompt_mask=mask,
            # Drawn after another prompt: without an advantage a ratio means nothing, and must not overflow.
            old_logprobs=batch.old_logprobs.masked_fill(tried[:, None], 0.0),
            advantages=self.rl.prepare(alone, step).advantages,
            distill_weight=worth,
            only_taught=tried,
            views={},
        )

    def recall(self, batch: TurnBatch, memory: TurnBatch | None, step: int) -> tuple[TurnBatch, TurnBatch]:
        """Remembered turns behind the step's own, as trajectories of their own, without advantages."""
        known = batch.rows(torch.zeros(0, dtype=torch.int64)) if memory is None else memory
        if self.weight == 0:
            return batch, known
        drawn = _draw(known, int(self.replay * len(batch)), step)
        numbers = batch.trajectory.max() + 1 + torch.arange(len(drawn))
        together = joined(batch, replace(known.rows(drawn), trajectory=numbers)) if len(drawn) else batch
        # Where skills change nothing there is nothing to learn once more.
        telling = batch.rows(torch.nonzero(_worth(batch) > 0).flatten())
        kept = joined(_without_reward(telling), known)
        return together, kept.rows(torch.arange(min(self.memory, len(kept))))

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """One micro-batch."""
        teacher = required_teacher(teacher, "VerifiedOPSD")
        rl = self.rl.loss(policy, None, batch)
        worth = required(batch.distill_weight, "what each token's teaching weighs", "VerifiedOPSD")
        only_taught = required(batch.only_taught, "which turns are only taught", "VerifiedOPSD")
        logprobs, teacher_logprobs = token_logprobs(policy, batch), token_logprobs(teacher, batch)
        distance = full_divergence(self.divergence, policy, teacher, learner="VerifiedOPSD")
        # Under padding a distance may be anything.
        distill = torch.where(worth > 0, worth * distance, 0.0)
        metrics = {**rl.token_metrics, **teaching_metrics(logprobs, teacher_logprobs, distill)}
        metrics |= {"effect": worth, "verified": (worth > 0).float()}
        taught = self.weight * distill
        return LossOutput(rl.token_loss.masked_fill(only_taught[:, None], 0.0) + taught, metrics, taught)

    def _effects(self, batch: TurnBatch) -> torch.Tensor:
        """How much skills change each token, w, [N, R]."""
        if self.effect == 0:
            return batch.token_weight
        told = required(batch.teacher_logprobs, "the teacher's log-probabilities at the start", "VerifiedOPSD")
        untold = required(batch.views[BARE].logprobs, "the teacher's log-probabilities without skills", "VerifiedOPSD")
        return (1.0 - torch.exp(-(told - untold).abs() / self.effect)) * batch.token_weight


def _verified(batch: TurnBatch) -> torch.Tensor:
    """1 for rows that skills may be taught in, because who had them did better than who had not, else 0, [N]."""
    found = torch.zeros(len(batch))
    for group in torch.unique(batch.group):
        rows = (batch.group == group) & (batch.weight > 0)
        with_skills, without = rows & batch.skills_shown, rows & ~batch.skills_shown
        if not with_skills.any() or not without.any():
            continue
        average = _mean_return(batch, without)
        found[with_skills & (batch.returns > average)] = 1.0
        if _mean_return(batch, with_skills) > average:
            found[without] = 1.0
    return found


def _mean_return(batch: TurnBatch, rows: torch.Tensor) -> float:
    """Over the episodes of these rows, each counting once."""
    of_episode = dict(zip(batch.trajectory[rows].tolist(), batch.returns[rows].tolist(), strict=True))
    return sum(of_episode.values()) / len(of_episode)


def _bare_prompts(batch: TurnBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of the student's prompts, those without skills where it acted with them."""
    bare, tried = batch.views[BARE], batch.skills_shown[:, None]
    width = max(bare.prompt_ids.shape[1], batch.prompt_ids.shape[1])
    ids, mask = (
        torch.where(tried, pad_columns(without, width), pad_columns(own, width))
        for without, own in ((bare.prompt_ids, batch.prompt_ids), (bare.prompt_mask, batch.prompt_mask))
    )
    return ids, mask


def _worth(batch: TurnBatch) -> torch.Tensor:
    return required(batch.distill_weight, "what each token's teaching weighs", "VerifiedOPSD").sum(1)


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
    """Numbers of different rows, drawn by what they have to teach."""
    count = min(count, len(memory))
    if count == 0:
        return torch.zeros(0, dtype=torch.int64)
    generator = torch.Generator().manual_seed(step)
    return torch.multinomial(_worth(memory), count, generator=generator)
