"""Intervals: against published tables and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from sdar_agents.intervals import bootstrap_mean, mean_and_interval, t_quantile, wilson


@pytest.mark.parametrize(
    ("degrees", "confidence", "published"),
    [
        # The two-sided columns of any table of Student's t.
        (1, 0.95, 12.706),
        (2, 0.95, 4.303),
        (3, 0.95, 3.182),
        (4, 0.95, 2.776),
        (7, 0.95, 2.365),
        (10, 0.95, 2.228),
        (29, 0.95, 2.045),
        (30, 0.95, 2.042),
        (120, 0.95, 1.980),
        (1, 0.99, 63.657),
        (5, 0.90, 2.015),
        (20, 0.99, 2.845),
    ],
)
def test_t_quantiles_are_those_of_the_tables(degrees: int, confidence: float, published: float) -> None:
    assert round(t_quantile(degrees, confidence), 3) == published


def test_t_quantiles_in_closed_form() -> None:
    # One degree: Cauchy, tan(pi c / 2). Two degrees: c sqrt(2 / (1 - c^2)).
    assert t_quantile(1, 0.5) == pytest.approx(1.0)
    assert t_quantile(2, 0.5) == pytest.approx(0.5 * math.sqrt(2.0 / 0.75))


def test_wilson_by_hand() -> None:
    # n = 10, 8 successes, z = 1.959964, z^2 = 3.841459: centre (0.8 + 0.192073) / 1.384146 = 0.716740,
    # half 1.959964 sqrt(0.016 + 0.009604) / 1.384146 = 0.226578.
    assert wilson(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-6)


def test_wilson_bounds_solve_its_defining_equation() -> None:
    # At either bound b the observed rate is z standard errors away: |rate - b| = z sqrt(b (1 - b) / n).
    for bound in wilson(37, 128):
        assert abs(37 / 128 - bound) == pytest.approx(1.959963985 * math.sqrt(bound * (1 - bound) / 128))


def test_wilson_is_mirrored_and_reaches_the_ends() -> None:
    low, high = wilson(0, 20)
    assert low == 0.0
    # z^2 / (n + z^2)
    assert high == pytest.approx(3.841459 / 23.841459)
    assert wilson(20, 20) == (pytest.approx(1.0 - high), 1.0)
    assert [(wilson(0, n)[0], wilson(n, n)[1]) for n in range(1, 200)] == [(0.0, 1.0)] * 199


def test_more_confidence_is_a_wider_interval() -> None:
    (low, high), (lower, higher) = wilson(5, 20), wilson(5, 20, 0.99)
    assert lower < low < high < higher


def test_mean_and_interval_by_hand() -> None:
    # Mean 2, deviation 1, t = 4.302653 on two degrees: half 4.302653 / sqrt(3).
    assert mean_and_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.0 - 2.484138, 2.0 + 2.484138))


def test_the_bootstrap_is_the_same_for_the_same_seed() -> None:
    values = [0.0, 0.2, 0.9, 1.0, 0.4]
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1, resamples=99) != bootstrap_mean(values, seed=2, resamples=99)


def test_the_bootstrap_approaches_the_normal_interval() -> None:
    # 0..99: mean 49.5, deviation sqrt(9999 / 12) = 28.866, standard error 2.8866; half-width near 5.66.
    low, high = bootstrap_mean([float(value) for value in range(100)], seed=0)
    assert low == pytest.approx(49.5 - 1.96 * 2.8866, abs=0.3)
    assert high == pytest.approx(49.5 + 1.96 * 2.8866, abs=0.3)


def test_the_bootstrap_of_equal_values_has_no_width() -> None:
    assert bootstrap_mean([0.5] * 4, seed=0) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wilson(0, 0), "0 successes of 0 episodes"),
        (lambda: wilson(3, 2), "3 successes of 2 episodes"),
        (lambda: wilson(1, 2, 95), "confidence is 95"),
        (lambda: bootstrap_mean([], seed=0), "1 or more finite numbers"),
        (lambda: bootstrap_mean([math.nan], seed=0), "finite numbers"),
        (lambda: mean_and_interval([1.0]), "2 or more"),
        (lambda: mean_and_interval([1.0, 2.0], 1.0), "confidence is 1.0"),
        (lambda: t_quantile(0), "at least 1"),
    ],
)
def test_what_gives_no_interval_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
