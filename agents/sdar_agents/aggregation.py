"""What the loss of an optimizer update is a mean over: tokens, responses, episodes, or responses of constant length.

Weights are made for a whole minibatch, which every process holds and which whole episodes make up, before it is cut
into micro-batches: so neither that cut nor the number of processes changes a gradient.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import Needs


def aggregated(minibatch: TurnBatch, needs: Needs) -> tuple[TurnBatch, float]:
    """A minibatch whose losses have their weights, and the number by which their weighted sum is divided.

    With m the mask times the row's weight, l the loss of a token, and sums over the minibatch:

    - `token`: sum m l / sum m. Every token counts alike, so long episodes and long responses count more.
    - `sequence`: the mean over responses (turns) of their token means.
    - `trajectory`: the mean over episodes of their token means; SDAR's equation, (1/G) sum_i Agg_i.
    - `constant`: sum m l / (responses * `aggregation_length`); Dr. GRPO (2503.20783), where a response's share does not
      depend on how long it is.
    """
    weight = minibatch.token_weight
    if needs.aggregation == "token":
        return minibatch, float(weight.sum())
    per_row = weight.sum(1)  # [N]
    if needs.aggregation == "constant":
        return replace(minibatch, loss_weight=weight), float((per_row > 0).sum()) * needs.aggregation_length
    if needs.aggregation == "trajectory":
        _, episode = torch.unique(minibatch.trajectory, return_inverse=True)
        per_episode = per_row.new_zeros(len(minibatch)).index_add_(0, episode, per_row)
        tokens, units = per_episode[episode], float((per_episode > 0).sum())
    else:
        tokens, units = per_row, float((per_row > 0).sum())
    return replace(minibatch, loss_weight=weight / tokens.clamp(min=1.0)[:, None]), units


def loss_weight(micro: TurnBatch) -> torch.Tensor:
    """What each token's loss counts, [n, R]: nothing in a micro-batch that is there to keep step only."""
    if micro.loss_weight is None:
        return micro.token_weight
    return micro.loss_weight * (micro.weight > 0)[:, None]
