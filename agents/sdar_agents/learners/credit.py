"""Sums, means and comparisons over turns, trajectories and groups, for learners that share out credit."""

from __future__ import annotations

import torch

from sdar_agents.batch import TurnBatch
from sdar_agents.learners.inputs import required

_SMALLEST = 1e-6


def start_gap(batch: TurnBatch, learner: str, *, view: str | None = None) -> torch.Tensor:
    """T - O of each token before the step's updates, in nats, [N, R]; 0 under padding.

    Args:
        learner: For the error where nobody scored.
        view: Whose T; by default that of the teacher's own prompt.
    """
    said = batch.teacher_logprobs if view is None else batch.views[view].logprobs
    taught = required(said, "the teacher's scores at the start of the step", learner)
    return (taught - batch.old_logprobs).masked_fill(~batch.response_mask, 0.0)


def turn_sum(values: torch.Tensor, batch: TurnBatch) -> torch.Tensor:
    """Sum of values [N, R] over the tokens of each turn, [N]."""
    return values.masked_fill(~batch.response_mask, 0.0).sum(1)


def turn_mean(values: torch.Tensor, batch: TurnBatch) -> torch.Tensor:
    """Mean of values [N, R] over the tokens of each turn, [N]; 0 for a turn without tokens."""
    return turn_sum(values, batch) / batch.response_mask.sum(1).clamp(min=1)


def step_moments(values: torch.Tensor, batch: TurnBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of values [N, R] over all tokens that count."""
    counted = batch.token_weight > 0
    return values[counted].mean(), values[counted].std(correction=0)


def carried(values: torch.Tensor, batch: TurnBatch, *, keep: float) -> tuple[torch.Tensor, torch.Tensor]:
    """c_k = keep c_(k-1) + v_k along the turns of each trajectory, and c_(k-1), [N] each; c before the first is 0."""
    now, before = torch.zeros_like(values), torch.zeros_like(values)
    for number in torch.unique(batch.trajectory).tolist():
        rows = torch.nonzero(batch.trajectory == number).flatten()
        last = values.new_zeros(())
        for row in rows[torch.argsort(batch.turn[rows], stable=True)].tolist():
            before[row] = last
            # A copy of a row, of weight 0, moves nothing.
            now[row] = keep * last + values[row]
            last = now[row] if batch.weight[row] > 0 else last
    return now, before


def standardised_within(values: torch.Tensor, labels: torch.Tensor, batch: TurnBatch) -> torch.Tensor:
    """(v - mean) / std over the rows of one label, [N]; 0 where they do not differ. Rows of weight 0 do not enter."""
    result = torch.zeros_like(values)
    for rows in _of_each_label(labels, batch):
        own = values[rows]
        deviation = own.std(correction=0)
        if float(own.max() - own.min()) > _SMALLEST:
            result[rows] = (own - own.mean()) / deviation
    return result


def ranged_within(values: torch.Tensor, labels: torch.Tensor, batch: TurnBatch, *, equal: float) -> torch.Tensor:
    """(v - min) / (max - min) over the rows of one label, [N]; `equal` where they do not differ."""
    result = torch.full_like(values, equal)
    for rows in _of_each_label(labels, batch):
        own = values[rows]
        width = own.max() - own.min()
        if float(width) > _SMALLEST:
            result[rows] = (own - own.min()) / width
    return result


def mean_within(values: torch.Tensor, labels: torch.Tensor, batch: TurnBatch) -> torch.Tensor:
    """Mean over the rows of one label, for each of them, [N]; 0 for rows of weight 0."""
    result = torch.zeros_like(values)
    for rows in _of_each_label(labels, batch):
        result[rows] = values[rows].mean()
    return result


def group_success(batch: TurnBatch, among: torch.Tensor | None = None) -> torch.Tensor:
    """Share of the group's episodes that succeeded, each counted once, for each row, [N] float32; 0 if there is none.

    Args:
        among: Rows of the episodes that count, [N] bool; all by default.
    """
    counted = batch.weight > 0 if among is None else (batch.weight > 0) & among
    result = torch.zeros(len(batch))
    for group in torch.unique(batch.group):
        won = episode_values(batch, (batch.group == group) & counted, batch.success)
        result[batch.group == group] = sum(won) / max(1, len(won))
    return result


def episode_values(batch: TurnBatch, rows: torch.Tensor, values: torch.Tensor) -> list[float]:
    """The value [N] of each episode that has one of these rows [N] bool, once each."""
    pairs = zip(batch.trajectory[rows].tolist(), values[rows].tolist(), strict=True)
    return [float(value) for value in dict(pairs).values()]


def bounded(advantages: torch.Tensor, factor: torch.Tensor, *, weight: float) -> torch.Tensor:
    """A [(1 - weight) + weight * factor] for advantages [N] and factors [N, R] or [N, 1]; equal to A at factor 1."""
    # 1 + weight (factor - 1), not (1 - weight) + weight factor: of factor 1 that is 1 to the bit.
    return advantages[:, None] * (1.0 + weight * (factor - 1.0))


def _of_each_label(labels: torch.Tensor, batch: TurnBatch) -> list[torch.Tensor]:
    counted = batch.weight > 0
    return [(labels == label) & counted for label in torch.unique(labels[counted])]
