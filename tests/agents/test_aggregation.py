"""What an update's loss is a mean over, by hand; and that no cut into micro-batches changes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from sdar_agents.aggregation import aggregated, loss_weight
from sdar_agents.batch import TurnBatch, collate, token_mean
from sdar_agents.learners import Needs
from tests.agents.toy_batches import episode, turn

AGGREGATIONS = ["token", "sequence", "trajectory", "constant"]


def three_turns() -> TurnBatch:
    """An episode of turns of 3 and 1 tokens, and one of a single turn of 2."""
    return collate([episode(turn(response=(1, 1, 1)), turn(response=(1,))), episode(turn(response=(1, 1)))], pad_id=0)


def mean(batch: TurnBatch, losses: torch.Tensor, aggregation: Any, length: float = 1.0) -> float:
    weighted, total = aggregated(batch, Needs(aggregation=aggregation, aggregation_length=length))
    return float(token_mean(losses, loss_weight(weighted), total))


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        # Losses: 3, 3, 3 | 7 || 1, 2.
        ("token", 19 / 6),
        ("sequence", (3 + 7 + 1.5) / 3),
        ("trajectory", (16 / 4 + 1.5) / 2),
        ("constant", 19 / (3 * 4)),
    ],
)
def test_means_by_hand(aggregation: str, expected: float) -> None:
    losses = torch.tensor([[3.0, 3.0, 3.0], [7.0, 99.0, 99.0], [1.0, 2.0, 99.0]])
    assert mean(three_turns(), losses, aggregation, 4.0) == pytest.approx(expected)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_rows_of_weight_zero_count_nowhere(aggregation: str) -> None:
    losses = torch.tensor([[3.0, 4.0, 5.0], [7.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
    without = replace(three_turns(), weight=torch.tensor([1.0, 1.0, 0.0]))
    alone = three_turns().rows(torch.tensor([0, 1]))
    assert mean(without, losses, aggregation) == pytest.approx(mean(alone, losses[:2], aggregation))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_a_cut_into_micro_batches_changes_nothing_and_idle_ones_add_nothing(aggregation: Any) -> None:
    losses = torch.tensor([[3.0, 4.0, 5.0], [7.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
    weighted, total = aggregated(three_turns(), Needs(aggregation=aggregation))
    whole = token_mean(losses, loss_weight(weighted), total)
    parts = [weighted.rows(torch.tensor([row])) for row in range(3)]
    summed = sum(
        token_mean(losses[row : row + 1, : part.response_ids.shape[1]], loss_weight(part), total)
        for row, part in enumerate(parts)
    )
    assert_close(summed, whole)
    idle = replace(parts[0], weight=torch.zeros(1))
    assert float(loss_weight(idle).abs().sum()) == 0.0


def test_the_mean_over_tokens_is_the_batch_s_own_weight() -> None:
    batch = three_turns()
    same, total = aggregated(batch, Needs())
    assert same is batch
    assert torch.equal(loss_weight(same), batch.token_weight)
    assert total == float(batch.token_weight.sum())
