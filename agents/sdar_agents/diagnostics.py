"""Numbers of a step that say how learning goes: what the teacher thinks and where, and what work was done."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from sdar_agents.batch import TurnBatch, token_mean
from sdar_agents.distributed import World
from sdar_agents.episode import Episode
from sdar_agents.learners.base import Needs
from sdar_agents.tokens import ChatTokenizer

TURN_BUCKETS = ((1, 1), (2, 3), (4, 7), (8, 15), (16, None))
"""First and last turn (counted from 1) of the parts of an episode that the gap is split by."""


@dataclass(slots=True)
class GapSums:
    """The teacher's gap, summed over an update's micro-batches by where the token stands.

    Attributes:
        sums: By name, [weighted sum, weight]; `square` is of the squared gap.
    """

    sums: dict[str, torch.Tensor] = field(default_factory=dict)

    def add(self, micro: TurnBatch, gap: torch.Tensor) -> None:
        """Add the gaps [n, R] of a micro-batch."""
        weight = micro.metric_weight
        names = ["all", "square", *(name for name, _ in _parts(micro, weight))]
        values = [(gap, weight), (gap.square(), weight), *((gap, weight * part) for _, part in _parts(micro, weight))]
        # One transfer from the device for all of them.
        found = torch.stack([torch.stack([(each * own).sum(), own.sum()]) for each, own in values]).double().cpu()
        for name, pair in zip(names, found, strict=True):
            self.sums[name] = self.sums.get(name, torch.zeros(2, dtype=torch.float64)) + pair

    def metrics(self, world: World) -> dict[str, float]:
        """`gap_std` and `gap/...`, over all processes; a part of the episodes that had no token is left out."""
        if not self.sums:
            return {}
        names = sorted(self.sums)
        total = world.sum(torch.stack([self.sums[name] for name in names]))
        means = {name: float(value / weight) for name, (value, weight) in zip(names, total, strict=True) if weight > 0}
        variance = means.pop("square") - means.pop("all") ** 2
        return {"gap_std": math.sqrt(max(0.0, variance)), **{f"gap/{name}": value for name, value in means.items()}}


def _parts(micro: TurnBatch, like: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    """Names and 0-1 masks [n, R]."""
    advantages = micro.advantages[:, None] if micro.token_advantages is None else micro.token_advantages
    turn = micro.turn[:, None] + 1
    parts = [
        ("advantage_positive", advantages > 0),
        ("advantage_negative", advantages < 0),
        ("success", micro.success[:, None]),
        ("failure", ~micro.success[:, None]),
    ]
    for first, last in TURN_BUCKETS:
        inside = turn >= first if last is None else (turn >= first) & (turn <= last)
        parts.append((bucket_name(first, last), inside))
    return [(name, mask.expand_as(like).to(like.dtype)) for name, mask in parts]


def bucket_name(first: int, last: int | None) -> str:
    """`turn_1`, `turns_2_3`, `turns_16_up`."""
    if last == first:
        return f"turn_{first}"
    return f"turns_{first}_{'up' if last is None else last}"


def success_by_type(episodes: Sequence[Episode]) -> dict[str, float]:
    """Share of solved episodes, `success/<type>` for each kind of task that was played."""
    solved: dict[str, list[bool]] = defaultdict(list)
    for episode in episodes:
        solved[episode.task_type].append(episode.success)
    return {f"success/{kind}": sum(values) / len(values) for kind, values in sorted(solved.items())}


def success_by_skills(episodes: Sequence[Episode]) -> dict[str, float]:
    """`success_with_skills` and `success_without_skills`, of a step in which some episodes acted with skills."""
    solved: dict[bool, list[bool]] = {True: [], False: []}
    for episode in episodes:
        solved[any(turn.skills_shown for turn in episode.turns)].append(episode.success)
    if not solved[True]:
        return {}
    names = {True: "success_with_skills", False: "success_without_skills"}
    return {names[shown]: sum(found) / len(found) for shown, found in solved.items() if found}


def cut_skills(episodes: Sequence[Episode], tokenizer: ChatTokenizer) -> int:
    """Episodes whose skill text does not stand whole in the last prompt that should show it; must be 0.

    The last prompt has the longest history, so what could be cut would be cut there. It is decoded, not trusted.
    """
    return sum(_is_cut(episode, tokenizer) for episode in episodes if episode.skill_text)


def _is_cut(episode: Episode, tokenizer: ChatTokenizer) -> bool:
    last = episode.turns[-1]
    ids = last.prompt_ids if last.skills_shown else last.teacher_prompt_ids
    if ids is None:
        return False
    # Tokenizers may differ in white space between what they read and what they say.
    through = tokenizer.decode(tokenizer.text_ids(episode.skill_text))
    return "".join(through.split()) not in "".join(tokenizer.decode(ids).split())


def start_entropy(batch: TurnBatch) -> dict[str, float]:
    """`start_entropy`: the policy's entropy in nats, mean over the tokens, before any update of the step."""
    if batch.old_entropy is None:
        return {}
    return {"start_entropy": float(token_mean(batch.old_entropy, batch.metric_weight))}


def token_counts(scored: TurnBatch, trained: TurnBatch, needs: Needs, *, drawn: int) -> dict[str, float]:
    """`tokens/...`: what each phase worked on, over all processes, before sharing.

    Args:
        scored: The rows that were scored before the updates.
        trained: The rows that the updates were made of; a learner may add some.
        drawn: Tokens that the rollout drew.
    """
    response = float(scored.response_mask.sum())
    score = (float(scored.prompt_mask.sum()) + response) * (1 + needs.reference)
    if scored.teacher_prompt_mask is not None:
        score += (float(scored.teacher_prompt_mask.sum()) + response) * needs.teacher_at_start
    score += sum(float(scored.views[name].prompt_mask.sum()) + response for name in needs.views)
    response = float(trained.response_mask.sum())
    counts = {"tokens/rollout": float(drawn), "tokens/score": score}
    counts["tokens/update"] = float(trained.prompt_mask.sum()) + response
    if trained.teacher_prompt_mask is not None:
        counts["tokens/teacher"] = float(trained.teacher_prompt_mask.sum()) + response
    return counts
