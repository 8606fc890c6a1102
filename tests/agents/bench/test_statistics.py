"""Means over seeds and tasks: numbers by hand, and whether the intervals cover what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sdar_agents.bench.statistics import (
    Table,
    area,
    components,
    estimate,
    interquartile_mean,
    interquartile_range,
    median_steps,
    spread,
    steps_to,
)

UNIT = (0.0, 1.0)


def test_the_error_of_a_mean_adds_up_seeds_tasks_and_the_rest() -> None:
    # Means of seeds .5 and 1, of tasks 1, 1, .5, .5; of all .75.
    # Seeds: 4 * 2 * .25^2 / 1 = .5. Tasks: 2 * 4 * .25^2 / 3 = 1/6.
    # Rest: every cell is off by .25, 8 * .25^2 / 3 = 1/6.
    values = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    found = spread(values)
    assert found.mean == 0.75
    # Squared error (1/2 + 1/6 - 1/6) / 8 = 1/16.
    assert found.error == pytest.approx(0.25)
    # (1/2)^2 / ((1/2)^2 / 1 + (1/6)^2 / 3 + (1/6)^2 / 3) = (1/4) / (1/4 + 1/54) = 27/29, and never below 1.
    assert found.degrees == 1.0
    parts = components(values)
    assert (parts.seeds, parts.tasks, parts.rest) == pytest.approx(((1 / 2 - 1 / 6) / 4, 0.0, 1 / 6))


def test_seeds_and_tasks_both_count_where_nothing_else_varies() -> None:
    # Means of seeds .5 and 1.5, of tasks the same: both mean squares are 2 * (.25 + .25) = 1, and nothing is left.
    found = spread(np.array([[0.0, 1.0], [1.0, 2.0]]))
    assert found.error == pytest.approx(math.sqrt((1 + 1 - 0) / 4))
    # (1 + 1)^2 / (1 / 1 + 1 / 1).
    assert found.degrees == pytest.approx(2.0)


def test_one_seed_has_the_error_of_its_tasks_alone() -> None:
    found = spread(np.array([[1.0, 0.0, 1.0, 0.0]]))
    # Variance of four values .5 from their mean: 4 * .25 / 3; over 4 tasks.
    assert found.error == pytest.approx(math.sqrt(1 / 3 / 4))
    assert found.degrees == 3.0


def test_tables_without_variation_are_not_certain() -> None:
    none = estimate(np.zeros((3, 200)), seed=0, bounds=UNIT)
    # Wilson, 0 of 200: z^2 / (n + z^2).
    z2 = 1.959964**2
    assert (none.low, none.high) == pytest.approx((0.0, z2 / (200 + z2)), abs=1e-6)
    same = estimate(np.zeros((3, 200)), seed=0, bounds=(-1.0, 1.0))
    # Two learners that solve the same tasks: t of 2 degrees, 4.302653, times 1 / (200 sqrt 3).
    assert (same.low, same.high) == pytest.approx((-4.302653 / 200 / 3**0.5, 4.302653 / 200 / 3**0.5), abs=1e-7)
    assert same.p == 1.0


def test_intervals_stay_within_their_bounds_and_around_their_mean() -> None:
    values = np.random.default_rng(0).random((2, 20)) < 0.95
    found = estimate(values.astype(float), seed=0, bounds=UNIT)
    assert 0.0 <= found.low < found.mean < found.high <= 1.0


def test_the_same_seed_gives_the_same_interval() -> None:
    values = (np.random.default_rng(3).random((4, 30)) < 0.6).astype(float)
    assert estimate(values, seed=1, bounds=UNIT) == estimate(values, seed=1, bounds=UNIT)


def test_a_narrower_confidence_gives_a_narrower_interval() -> None:
    values = (np.random.default_rng(4).random((4, 60)) < 0.6).astype(float)
    wide, narrow = (estimate(values, seed=1, bounds=UNIT, confidence=share) for share in (0.95, 0.8))
    assert narrow.high - narrow.low < wide.high - wide.low


def outcomes(draws: np.random.Generator, *, seeds: int, tasks: int, rate: float, seed_std: float) -> Table:
    """Successes of runs whose rates differ by seed and by task, both evenly spread, so that the mean is `rate`."""
    of_seeds = draws.uniform(-1, 1, (seeds, 1)) * seed_std * 3**0.5
    of_tasks = draws.uniform(-0.2, 0.2, (1, tasks))
    return (draws.random((seeds, tasks)) < rate + of_seeds + of_tasks).astype(float)


@pytest.mark.parametrize(("seeds", "seed_std"), [(2, 0.0), (2, 0.1), (3, 0.1), (5, 0.0), (5, 0.1), (10, 0.1)])
def test_intervals_cover_the_true_mean_as_often_as_they_say(seeds: int, seed_std: float) -> None:
    draws = np.random.default_rng(7)
    covered = 0
    for number in range(400):
        values = outcomes(draws, seeds=seeds, tasks=200, rate=0.6, seed_std=seed_std)
        found = estimate(values, seed=number, bounds=UNIT, resamples=100)
        covered += found.low <= 0.6 <= found.high
    # 400 tosses of a coin of .95 fall below .91 once in a thousand times. The plain percentile interval of the same
    # draws covers .70 with two seeds, .83 with three and .90 with five, where seeds differ by .1.
    assert covered / 400 >= 0.91


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_learners_without_a_difference_are_seldom_told_apart(seeds: int) -> None:
    draws = np.random.default_rng(11)
    found = 0
    for _ in range(1000):
        one, other = (outcomes(draws, seeds=seeds, tasks=100, rate=0.5, seed_std=0.08) for _ in range(2))
        found += spread(one - other).p < 0.05
    # At the level itself 50 are expected, with a standard deviation of 7.
    assert found <= 64


def test_a_large_difference_is_found() -> None:
    draws = np.random.default_rng(12)
    one, other = (outcomes(draws, seeds=5, tasks=100, rate=rate, seed_std=0.02) for rate in (0.7, 0.4))
    assert spread(one - other).p < 0.001


def test_the_middle_half_of_five_seeds_is_three() -> None:
    # A quarter of five, rounded down, is one at each end.
    assert interquartile_mean([0.9, 0.1, 0.5, 0.4, 0.6]) == pytest.approx(0.5)
    assert interquartile_range([0.9, 0.1, 0.5, 0.4, 0.6]) == pytest.approx((0.4, 0.6))
    assert interquartile_mean([0.2, 0.4]) == pytest.approx(0.3)


def test_the_area_is_the_mean_height() -> None:
    # (0 + 1) / 2 over 10 steps and 1 over 20, of 30.
    assert area(np.array([0.0, 1.0, 1.0]), [0, 10, 30]) == pytest.approx((5 + 20) / 30)
    with pytest.raises(ValueError, match="at least two evaluations"):
        area(np.array([1.0]), [0])


def test_steps_to_a_threshold_count_who_never_gets_there() -> None:
    assert steps_to(0.5, [0.1, 0.5, 0.4], [0, 10, 20]) == 10
    assert steps_to(0.6, [0.1, 0.5, 0.4], [0, 10, 20]) is None
    assert median_steps([10, None, 20]) == 20
    assert median_steps([10, None, None]) is None
