"""Group-relative advantages: how much better an episode went than the others that played the same task."""

from __future__ import annotations

import torch

from sdar_agents.batch import TurnBatch

EPSILON = 1e-6
"""Added to a standard deviation before dividing by it, as in the official code."""


def trajectory_advantages(batch: TurnBatch, *, invalid_penalty: float, normalise_std: bool) -> torch.Tensor:
    """A = (score - mean) / (std + 1e-6) with mean and std over the *episodes* of a group; SDAR eq. for A^(i).

    score = return - penalty * number of invalid turns of the episode. Every episode counts once, however many turns
    it has, and all its turns get the same A. The standard deviation is the unbiased one.

    Args:
        batch: All rows of a step; rows of weight 0 enter no statistic and get 0.
        invalid_penalty: Taken from the score for each invalid turn.
        normalise_std: Divide by the standard deviation; otherwise A = score - mean (as in Dr. GRPO, 2503.20783).

    Returns:
        [N] float32. A group of equal scores, or of a single episode, has nothing to compare: exactly 0.
    """
    rows = torch.nonzero(batch.weight > 0).squeeze(1)
    scores = batch.returns.double() - invalid_penalty * batch.invalid_turns.double()  # [N]
    episodes, episode_of_row = torch.unique(batch.trajectory[rows], return_inverse=True)
    # All rows of an episode hold the same score and group, so whichever is written last is right.
    score = scores.new_zeros(len(episodes)).scatter_(0, episode_of_row, scores[rows])  # [episodes]
    group = torch.zeros_like(episodes).scatter_(0, episode_of_row, batch.group[rows])
    return _spread(batch, rows, _standardised(score, group, normalise_std=normalise_std)[episode_of_row])


def row_advantages(batch: TurnBatch, *, invalid_penalty: float, normalise_std: bool) -> torch.Tensor:
    """A = (score - mean) / (std + 1e-6) with mean and std over the *turns* of a group: what the official code does.

    score = return - penalty where this very turn is invalid. An episode of fifty turns counts fifty times in its
    group's statistics, and A differs between turns of one episode.

    Args:
        batch: All rows of a step; rows of weight 0 enter no statistic and get 0.
        invalid_penalty: Taken from the score of an invalid turn.
        normalise_std: Divide by the standard deviation; otherwise A = score - mean.

    Returns:
        [N] float32. A group of equal scores is exactly 0; a group of a single turn is compared with mean 0 and
        standard deviation 1, so A is its score.
    """
    rows = torch.nonzero(batch.weight > 0).squeeze(1)
    scores = batch.returns.double() - invalid_penalty * (~batch.is_valid).double()  # [N]
    score, group = scores[rows], batch.group[rows]
    advantages = _standardised(score, group, normalise_std=normalise_std)
    _, group_of_row, sizes = torch.unique(group, return_inverse=True, return_counts=True)
    return _spread(batch, rows, torch.where(sizes[group_of_row] == 1, score, advantages))


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
