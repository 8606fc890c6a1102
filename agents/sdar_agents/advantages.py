"""Group-relative advantages: how much better an episode went than the others that played the same task."""

from __future__ import annotations

from typing import Literal

import torch

from sdar_agents.batch import TurnBatch

Baseline = Literal["group", "rloo", "reinforce++", "reinforce++_baseline"]
"""What a score is compared with; see `_compared`."""
EPSILON = 1e-6
"""Added to a standard deviation before dividing by it, as in the official code."""


def trajectory_advantages(
    batch: TurnBatch, *, invalid_penalty: float, normalise_std: bool, baseline: Baseline = "group"
) -> torch.Tensor:
    """A = (score - mean) / (std + 1e-6) with mean and std over the *episodes* of a group; SDAR eq. for A^(i).

    score = return - penalty * number of invalid turns of the episode. Every episode counts once, however many turns
    it has, and all its turns get the same A. The standard deviation is the unbiased one.

    Args:
        batch: All rows of a step; rows of weight 0 enter no statistic and get 0.
        invalid_penalty: Taken from the score for each invalid turn.
        normalise_std: Divide by the standard deviation; otherwise A = score - mean (as in Dr. GRPO, 2503.20783).
        baseline: What a score is compared with, where it is not its group; see `_compared`.

    Returns:
        [N] float32. A group of equal scores, or of a single episode, has nothing to compare: exactly 0.
    """
    rows = torch.nonzero(batch.weight > 0).squeeze(1)
    scores = batch.returns.double() - invalid_penalty * batch.invalid_turns.double()  # [N]
    episodes, episode_of_row = torch.unique(batch.trajectory[rows], return_inverse=True)
    # All rows of an episode hold the same score and group, so whichever is written last is right.
    score = scores.new_zeros(len(episodes)).scatter_(0, episode_of_row, scores[rows])  # [episodes]
    group = torch.zeros_like(episodes).scatter_(0, episode_of_row, batch.group[rows])
    compared = _compared(score, group, baseline=baseline, normalise_std=normalise_std)
    return _spread(batch, rows, compared[episode_of_row])


def row_advantages(
    batch: TurnBatch, *, invalid_penalty: float, normalise_std: bool, baseline: Baseline = "group"
) -> torch.Tensor:
    """A = (score - mean) / (std + 1e-6) with mean and std over the *turns* of a group: what the official code does.

    score = return - penalty where this very turn is invalid. An episode of fifty turns counts fifty times in its
    group's statistics, and A differs between turns of one episode.

    Args:
        batch: All rows of a step; rows of weight 0 enter no statistic and get 0.
        invalid_penalty: Taken from the score of an invalid turn.
        normalise_std: Divide by the standard deviation; otherwise A = score - mean.
        baseline: What a score is compared with, where it is not its group; see `_compared`.

    Returns:
        [N] float32. A group of equal scores is exactly 0; a group of a single turn is compared with mean 0 and
        standard deviation 1, so A is its score (only with the baseline `group`).
    """
    rows = torch.nonzero(batch.weight > 0).squeeze(1)
    scores = batch.returns.double() - invalid_penalty * (~batch.is_valid).double()  # [N]
    score, group = scores[rows], batch.group[rows]
    advantages = _compared(score, group, baseline=baseline, normalise_std=normalise_std)
    if baseline != "group":
        return _spread(batch, rows, advantages)
    _, group_of_row, sizes = torch.unique(group, return_inverse=True, return_counts=True)
    return _spread(batch, rows, torch.where(sizes[group_of_row] == 1, score, advantages))


def returns_to_go(batch: TurnBatch, *, discount: float, invalid_penalty: float) -> torch.Tensor:
    """R_k = sum over j >= k of discount^(j - k) (reward_j - penalty where turn j is invalid), of each turn's episode.

    Args:
        batch: All rows of a step; rows of weight 0 count nowhere and get 0.
        discount: The gamma of GiGPO, 0 to 1.
        invalid_penalty: Taken from the reward of an invalid turn.

    Returns:
        [N] float64.
    """
    rewards = (batch.reward.double() - invalid_penalty * (~batch.is_valid).double()).tolist()
    keys = list(zip(batch.trajectory.tolist(), batch.turn.tolist(), range(len(batch)), strict=True))
    real = batch.weight.tolist()
    found = [0.0] * len(batch)
    episode, after = None, 0.0
    for trajectory, _, row in sorted(keys, reverse=True):
        if real[row] <= 0:
            continue
        after = rewards[row] + discount * (after if trajectory == episode else 0.0)
        found[row], episode = after, trajectory
    return torch.tensor(found, dtype=torch.float64)


def state_advantages(batch: TurnBatch, *, discount: float, invalid_penalty: float, normalise_std: bool) -> torch.Tensor:
    """A^S = (R_k - mean) / (std + 1e-6) over the turns of a group that answer one and the same observation.

    GiGPO (2505.10978), step-level groups by anchor state; R_k is `returns_to_go`. A state met once, or always with the
    same return, has nothing to compare: exactly 0. Arguments as there and in `trajectory_advantages`. [N] float32.
    """
    rows = torch.nonzero(batch.weight > 0).squeeze(1)
    to_go = returns_to_go(batch, discount=discount, invalid_penalty=invalid_penalty)[rows]
    return _spread(batch, rows, _standardised(to_go, batch.state[rows], normalise_std=normalise_std))


def _compared(score: torch.Tensor, group: torch.Tensor, *, baseline: Baseline, normalise_std: bool) -> torch.Tensor:
    """Scores [M] float64 against a baseline; equal scores give exactly 0.

    `group`: see `_standardised`. `rloo` (2402.14740): score - mean of the other members = G / (G - 1) (score - mean),
    never divided. `reinforce++` (2501.03262): (score - mean) / (std + 1e-6) over everything at once.
    `reinforce++_baseline` (there too, for several samples a task): the group's mean is taken off before that.
    """
    everything = torch.zeros_like(group)
    if baseline == "group":
        return _standardised(score, group, normalise_std=normalise_std)
    if baseline == "reinforce++":
        return _standardised(score, everything, normalise_std=True)
    centred = _standardised(score, group, normalise_std=False)
    if baseline == "reinforce++_baseline":
        return _standardised(centred, everything, normalise_std=True)
    _, group_of_score, sizes = torch.unique(group, return_inverse=True, return_counts=True)
    size: torch.Tensor = sizes[group_of_score].double()
    # A lone member is 0 already; the clamp keeps 0 * inf out.
    others: torch.Tensor = (size - 1.0).clamp(min=1.0)
    return centred * size / others


def _standardised(score: torch.Tensor, group: torch.Tensor, *, normalise_std: bool) -> torch.Tensor:
    """Scores [M] float64 against those of the same group [M]; equal scores give exactly 0."""
    result = torch.zeros_like(score)
    for number in torch.unique(group):
        members = group == number
        own = score[members]
        # The mean of equal numbers can be off by one rounding, which a tiny standard deviation would blow up.
        if bool((own == own[0]).all()):
            continue
        centred = own - own.mean()
        result[members] = centred / (own.std() + EPSILON) if normalise_std else centred
    return result


def _spread(batch: TurnBatch, rows: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(batch.returns, dtype=torch.float32).index_copy_(0, rows, values.float())
