"""UCOB: half of each group acts with skills; where one half did better, the other is taught what it did."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from sdar_agents import losses
from sdar_agents.advantages import returns_to_go
from sdar_agents.batch import TurnBatch, View, pad_columns
from sdar_agents.learners.base import LossOutput, Needs, TokenScores
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import check_range, required, required_teacher, token_logprobs
from sdar_agents.learners.teaching import full_divergence, teaching_metrics
from sdar_agents.teacher_views import BARE

LOSERS = 2


@dataclass(frozen=True, slots=True)
class UCOB:
    """Loss of a token: GRPO; of a winner's token after the losers' prompt: weight * u g D(p', q') and no GRPO.

    Half of each group acts with skills, half without. Among the turns of a group that answer the same observation the
    winner is the one with the highest return of the rest of its episode. For at most two turns of the other half that
    returned less by more than `margin`, the winner's response is taught after *their* kind of prompt, with the
    winner's own prompt as the teacher's: forward KL over the teacher's `top_k` likeliest tokens and a tail, times u,
    the sum of min(2, difference / unit), and g = sigmoid(gate_sharpness * (T - S)). It can go either way, from skills
    to none or from none to skills. Source: 2606.29502, rules and numbers as read in its code.

    Deviations: there the likeliest tokens are renormalised and tokens of the action count twice; its memory of written
    skills and its training on reflections are not here.
    """

    rl: GRPO = field(default_factory=GRPO)
    """The reinforcement learning part, of both halves after the prompts that they acted on."""
    weight: float = 0.1
    """Weight of the teaching; 0 is GRPO, half of it with skills."""
    gate_sharpness: float = 5.0
    """Slope of the gate, in 1/nat."""
    top_k: int = 32
    """Tokens that stand by themselves in the divergence."""
    margin: float = 0.05
    """By how much a loser returned less, at least."""
    unit: float = 0.2
    """Difference of returns that counts as 1."""
    discount: float = 0.95
    """Of later rewards, a turn."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_range("weight", self.weight, low=0.0)
        check_range("gate_sharpness", self.gate_sharpness, low=0.0)
        check_range("top_k", self.top_k, low=1)
        check_range("margin", self.margin, low=0.0)
        check_range("unit", self.unit, low=1e-3)
        check_range("discount", self.discount, low=0.0, high=1.0)

    @property
    def needs(self) -> Needs:
        """Those of the reinforcement learning part, both distributions, and the prompts without skills."""
        return replace(self.rl.needs, teacher="distribution", distribution=True, prompts=(BARE,))

    def shows_skills(self, step: int, member: int) -> bool:
        """Every other member of each group."""
        return member % 2 == 1

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """Fill in the advantages; behind the rows, the winners' turns after the losers' kind of prompt."""
        batch = self.rl.prepare(batch, step)
        found = self._taught(batch)
        plain = torch.zeros(batch.response_ids.shape)
        # Copies count in the mean over tokens, so with weight 0 there must be none.
        if not found or self.weight == 0:
            return replace(batch, distill_weight=plain)
        index = torch.tensor(list(found))
        other, own = _prompts(batch, index)
        worth = torch.tensor(list(found.values()))[:, None] * batch.response_mask[index]
        together = batch.with_copies(index, other, own)
        nothing = together.advantages.clone()
        nothing[len(batch) :] = 0.0
        return replace(together, advantages=nothing, distill_weight=torch.cat([plain, worth]))

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """One micro-batch."""
        teacher = required_teacher(teacher, "UCOB")
        rl = self.rl.loss(policy, None, batch)
        worth = required(batch.distill_weight, "what each token's teaching weighs", "UCOB")
        taught_row = (worth > 0).any(1, keepdim=True)
        logprobs, teacher_logprobs = token_logprobs(policy, batch), token_logprobs(teacher, batch)
        gate = losses.gap_gate(losses.teacher_gap(logprobs, teacher_logprobs), sharpness=self.gate_sharpness)
        distance = full_divergence("topk_forward_kl", policy, teacher, learner="UCOB", top_k=self.top_k)
        # Under padding a distance may be anything.
        distill = torch.where(worth > 0, worth * gate * distance, 0.0)
        metrics = {name: values.masked_fill(taught_row, 0.0) for name, values in rl.token_metrics.items()}
        metrics |= teaching_metrics(logprobs, teacher_logprobs, distill) | {"gate": gate}
        taught = self.weight * distill
        return LossOutput(torch.where(taught_row, taught, rl.token_loss), metrics, taught)

    def _taught(self, batch: TurnBatch) -> dict[int, float]:
        """Rows of winners, and what teaching them weighs."""
        to_go = returns_to_go(batch, discount=self.discount, invalid_penalty=0.0)
        shown, found = batch.skills_shown, dict[int, float]()
        counted = batch.weight > 0
        for state in torch.unique(batch.state):
            rows = torch.nonzero((batch.state == state) & counted).flatten()
            if not len(rows):
                continue
            winner = int(rows[to_go[rows].argmax()])
            behind = to_go[winner] - to_go[rows[shown[rows] != shown[winner]]]
            worst = behind[behind > self.margin].sort(descending=True).values[:LOSERS]
            if len(worst):
                found[winner] = float((worst / self.unit).clamp(max=2.0).sum())
        return found


def _prompts(batch: TurnBatch, index: torch.Tensor) -> tuple[View, View]:
    """For rows of winners [n]: the prompts of the other kind, and their own."""
    with_skills = required(batch.teacher_prompt_ids, "the teacher's prompts", "UCOB")
    with_mask = required(batch.teacher_prompt_mask, "the teacher's prompts", "UCOB")
    bare = batch.views[BARE]
    width = max(with_skills.shape[1], bare.prompt_ids.shape[1])
    shown = batch.skills_shown[index, None]
    views = []
    for takes_bare in (shown, ~shown):
        pairs = ((bare.prompt_ids, with_skills), (bare.prompt_mask, with_mask))
        chosen = [
            torch.where(takes_bare, pad_columns(one[index], width), pad_columns(other[index], width))
            for one, other in pairs
        ]
        views.append(View(chosen[0], chosen[1]))
    return views[0], views[1]
