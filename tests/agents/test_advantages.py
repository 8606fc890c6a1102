"""Group-relative advantages, per episode and per turn, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from sdar_agents.advantages import returns_to_go, row_advantages, trajectory_advantages
from sdar_agents.batch import TurnBatch, collate
from tests.agents.toy_batches import episode, turn

PLAIN = {"invalid_penalty": 0.0, "normalise_std": True}
WON, LOST, INVALID = turn(reward=1.0), turn(), turn(is_valid=False)


def batch_of(*episodes: tuple[int, int, float], invalid: tuple[int, ...] = ()) -> TurnBatch:
    """Episodes as (group, turns, return); `invalid` are numbers of rows."""
    rows = [
        [turn(reward=episode_return if last else 0.0) for last in [False] * (turns - 1) + [True]]
        for _, turns, episode_return in episodes
    ]
    flat = iter(range(10_000))
    rows = [[replace(row, is_valid=next(flat) not in invalid) for row in one] for one in rows]
    groups = [group for group, _, _ in episodes]
    return collate([episode(*one, group=group) for one, group in zip(rows, groups, strict=True)], pad_id=0)


def test_episodes_are_compared_with_their_own_group() -> None:
    # Group 0: scores 1, 0; mean 1/2, unbiased deviation sqrt(1/2). Group 7: 0, 0, 3; mean 1, deviation sqrt(3).
    batch = batch_of((0, 1, 1.0), (7, 1, 0.0), (0, 1, 0.0), (7, 1, 0.0), (7, 1, 3.0))
    half, third = 0.5 / (0.5**0.5 + 1e-6), 1.0 / (3**0.5 + 1e-6)
    assert_close(trajectory_advantages(batch, **PLAIN), torch.tensor([half, -third, -half, -third, 2 * third]))


def test_an_episode_counts_once_whatever_its_number_of_turns() -> None:
    # As above: the lost episode has five turns, and still mean 1/2 and deviation sqrt(1/2).
    batch = batch_of((0, 1, 1.0), (0, 5, 0.0))
    half = 0.5 / (0.5**0.5 + 1e-6)
    assert_close(trajectory_advantages(batch, **PLAIN), torch.tensor([half] + 5 * [-half]))


def test_the_penalty_is_per_invalid_turn_of_the_episode_and_shared_by_its_turns() -> None:
    # Scores: 1 - 2 * 0.1 = 0.8 and 0; A = -+0.4 without division.
    batch = batch_of((0, 3, 1.0), (0, 1, 0.0), invalid=(0, 2))
    found = trajectory_advantages(batch, invalid_penalty=0.1, normalise_std=False)
    assert_close(found, torch.tensor([0.4, 0.4, 0.4, -0.4]))


@pytest.mark.parametrize("of", [trajectory_advantages, row_advantages])
@pytest.mark.parametrize("penalty", [0.0, 0.01, 0.1, 0.3])
def test_equal_scores_are_exactly_zero(of: type, penalty: float) -> None:
    # The mean of seven times 0.9 is not 0.9 in floating point.
    batch = batch_of(*[(0, 1, 1.0)] * 7, invalid=tuple(range(7)))
    assert torch.equal(of(batch, invalid_penalty=penalty, normalise_std=True), torch.zeros(7))


def test_a_single_episode_has_nothing_to_compare() -> None:
    assert torch.equal(trajectory_advantages(batch_of((0, 3, 1.0)), **PLAIN), torch.zeros(3))


def test_row_statistics_count_every_turn() -> None:
    # Rows of the group: 1, 0, 0, 0. Mean 1/4; squares (9 + 1 + 1 + 1) / 16 = 3/4 over 3, so deviation 1/2.
    batch = batch_of((0, 1, 1.0), (0, 3, 0.0))
    scale = 0.5 + 1e-6
    assert_close(row_advantages(batch, **PLAIN), torch.tensor([0.75] + 3 * [-0.25]) / scale)


def test_row_statistics_penalise_only_the_invalid_turn() -> None:
    # Rows: 1 - 0.2, 1, 0, 0; mean 0.45.
    batch = batch_of((0, 2, 1.0), (0, 2, 0.0), invalid=(0,))
    found = row_advantages(batch, invalid_penalty=0.2, normalise_std=False)
    assert_close(found, torch.tensor([0.35, 0.55, -0.45, -0.45]))


def test_a_single_row_is_its_own_advantage_in_row_statistics() -> None:
    # Mean 0 and deviation 1, as in the official code.
    batch = batch_of((0, 1, 0.7), (1, 1, 1.0), (1, 1, 0.0), invalid=(0,))
    found = row_advantages(batch, invalid_penalty=0.1, normalise_std=True)
    assert_close(found[0], torch.tensor(0.6))


def test_row_statistics_are_those_of_the_official_code() -> None:
    # The published algorithm in plain Python: lists by group, unbiased deviation, 1e-6, a lone row against 0 and 1.
    generator = torch.Generator().manual_seed(1)
    groups = torch.randint(6, (40,), generator=generator).tolist()
    lone = batch_of(*[(group, 1, float(group % 3 == row % 3)) for row, group in enumerate(groups)], (99, 1, 1.0))
    batch = replace(lone, is_valid=torch.rand(41, generator=generator) < 0.7)
    scores = [r - (0.0 if ok else 0.1) for r, ok in zip(batch.returns.tolist(), batch.is_valid.tolist(), strict=True)]
    expected = []
    for score, group in zip(scores, batch.group.tolist(), strict=True):
        own = torch.tensor([s for s, g in zip(scores, batch.group.tolist(), strict=True) if g == group])
        mean, std = (own.mean(), own.std()) if len(own) > 1 else (torch.tensor(0.0), torch.tensor(1.0))
        expected.append((score - mean) / (std + 1e-6))
    assert_close(row_advantages(batch, invalid_penalty=0.1, normalise_std=True), torch.stack(expected))


def test_duplicating_turns_moves_row_statistics_only() -> None:
    batch = batch_of((0, 2, 1.0), (0, 2, 0.0), (0, 1, 0.0))
    index = torch.tensor([0, 1, 2, 2, 2, 3, 4])
    doubled = batch.rows(index)
    assert_close(trajectory_advantages(doubled, **PLAIN), trajectory_advantages(batch, **PLAIN)[index])
    assert (row_advantages(doubled, **PLAIN) - row_advantages(batch, **PLAIN)[index]).abs().min() > 0.01


@pytest.mark.parametrize("of", [trajectory_advantages, row_advantages])
def test_rows_of_weight_zero_never_count(of: type) -> None:
    # A padding row that is a whole episode of its own, with a return that would move every statistic.
    batch = batch_of((0, 1, 1.0), (0, 2, 0.0), (0, 1, 50.0))
    padded = replace(batch, weight=torch.tensor([1.0, 1.0, 1.0, 0.0]))
    without = of(batch.rows(torch.arange(3)), **PLAIN)
    assert_close(of(padded, **PLAIN), torch.cat([without, torch.zeros(1)]))


@pytest.mark.parametrize("of", [trajectory_advantages, row_advantages])
def test_permuting_rows_permutes_advantages(of: type) -> None:
    batch = batch_of((0, 2, 1.0), (1, 3, 0.5), (0, 1, 0.0), (1, 2, 0.0), invalid=(1, 3))
    order = torch.tensor([7, 2, 0, 5, 4, 1, 3, 6])
    settings = {"invalid_penalty": 0.1, "normalise_std": True}
    assert_close(of(batch.rows(order), **settings), of(batch, **settings)[order])


@pytest.mark.parametrize("of", [trajectory_advantages, row_advantages])
def test_scores_far_from_zero_keep_their_differences(of: type) -> None:
    # In float32 a penalty of 1e-4 on a return of 10000 would vanish; here scores differ by exactly 2e-4.
    batch = batch_of((0, 1, 10_000.0), (0, 1, 10_000.0), invalid=(1,))
    found = of(batch, invalid_penalty=2e-4, normalise_std=False)
    assert_close(found, torch.tensor([1e-4, -1e-4]), rtol=1e-6, atol=1e-9)


def test_leaving_one_out_is_the_centred_score_times_group_size_over_the_others() -> None:
    # Scores 1, 0, 0, 1, 0: against the mean of the other four, 1 - 1/4 and 0 - 2/4. A lone episode: 0.
    batch = batch_of((0, 1, 1.0), (0, 3, 0.0), (0, 1, 0.0), (0, 1, 1.0), (0, 1, 0.0), (1, 1, 1.0))
    found = trajectory_advantages(batch, invalid_penalty=0.0, normalise_std=True, baseline="rloo")
    assert_close(found, torch.tensor([0.75, -0.5, -0.5, -0.5, -0.5, 0.75, -0.5, 0.0]))
    centred = trajectory_advantages(batch, invalid_penalty=0.0, normalise_std=False)
    assert_close(found[:-1], 5 / 4 * centred[:-1])


def test_reinforce_compares_with_the_whole_step() -> None:
    # Scores 1, 1 | 1, 0: mean 3/4, squares 3/16 + 9/16 = 3/4 over 3, deviation 1/2: an easy group is praised too.
    batch = batch_of((0, 1, 1.0), (0, 1, 1.0), (1, 1, 1.0), (1, 1, 0.0))
    found = trajectory_advantages(batch, **PLAIN, baseline="reinforce++")
    assert_close(found, torch.tensor([0.5, 0.5, 0.5, -1.5]), atol=1e-5, rtol=0)
    # The group's mean off first: 0, 0, 1/2, -1/2; squares 1/2 over 3.
    found = trajectory_advantages(batch, **PLAIN, baseline="reinforce++_baseline")
    assert_close(found, 1.5**0.5 * torch.tensor([0.0, 0.0, 1.0, -1.0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("baseline", ["group", "rloo", "reinforce++", "reinforce++_baseline"])
@pytest.mark.parametrize("of", [trajectory_advantages, row_advantages])
def test_every_baseline_ignores_rows_of_weight_zero_and_gives_zero_to_equal_scores(of: type, baseline: str) -> None:
    batch = batch_of((0, 1, 1.0), (0, 2, 0.0), (1, 1, 1.0), (1, 1, 0.0), (1, 1, 5.0))
    weight = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    found = of(replace(batch, weight=weight), **PLAIN, baseline=baseline)
    alone = of(batch.rows(torch.arange(5)), **PLAIN, baseline=baseline)
    assert torch.equal(found, torch.cat([alone, torch.zeros(1)]))
    equal = batch_of((0, 1, 0.9), (0, 1, 0.9), (0, 1, 0.9), (1, 1, 0.9), (1, 1, 0.9))
    assert torch.equal(of(equal, **PLAIN, baseline=baseline), torch.zeros(5))


def test_returns_to_go_are_discounted_within_the_episode() -> None:
    batch = collate([episode(turn(reward=1.0), turn(is_valid=False), turn(reward=4.0)), episode(WON)], pad_id=0)
    # 4; 0.5 * 4 - 0.5; 1 + 0.5 * 1.5; the other episode is not behind.
    found = returns_to_go(batch, discount=0.5, invalid_penalty=0.5)
    assert found.tolist() == [1.75, 1.5, 4.0, 1.0]
    shuffled = batch.rows(torch.tensor([2, 3, 0, 1]))
    assert returns_to_go(shuffled, discount=0.5, invalid_penalty=0.5).tolist() == [4.0, 1.0, 1.75, 1.5]
