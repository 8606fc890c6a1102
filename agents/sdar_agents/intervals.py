"""How sure a number is: intervals for success rates, for means over episodes, and for means over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (JASA 1927) for a success rate: honest near 0 and 1, where rates of agents live.

    Args:
        successes: Of `n` independent episodes.
        confidence: In (0, 1).

    Returns:
        Low and high, within [0, 1].

    Raises:
        ValueError: no episode, more successes than episodes, or a confidence outside (0, 1).
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} episodes is not a rate")
    z = NormalDist().inv_cdf((1.0 + _checked(confidence)) / 2.0)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1.0 + z * z / n)
    half = z * math.sqrt(rate * (1.0 - rate) / n + z * z / (4 * n * n)) / (1.0 + z * z / n)
    # At 0 and n the exact bound is 0 and 1; rounding would miss it.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def bootstrap_mean(
    values: Sequence[float], *, seed: int, confidence: float = 0.95, resamples: int = 10_000
) -> tuple[float, float]:
    """Percentile bootstrap interval for a mean, for values that are no yes or no (scores, lengths).

    Args:
        values: At least one; independent, so one per task where a task is played several times.
        seed: Of the resampling; the same seed gives the same interval.
        confidence: In (0, 1).
        resamples: How many means are drawn.

    Returns:
        Low and high; an interval of no width for a single value.
    """
    data = _data(values, least=1)
    tail = 100.0 * (1.0 - _checked(confidence)) / 2.0
    draws = np.random.default_rng(seed)
    means = np.array([data[draws.integers(len(data), size=len(data))].mean() for _ in range(resamples)])
    low, high = np.percentile(means, [tail, 100.0 - tail])
    return float(low), float(high)


def mean_and_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean, low and high of a number measured once a seed: Student's t on n - 1 degrees of freedom.

    Args:
        values: One a seed, at least two: a single run says nothing of the spread between runs.
        confidence: In (0, 1).
    """
    data = _data(values, least=2)
    half = t_quantile(len(data) - 1, confidence) * float(data.std(ddof=1)) / math.sqrt(len(data))
    mean = float(data.mean())
    return mean, mean - half, mean + half


def t_quantile(degrees: int, confidence: float = 0.95) -> float:
    """The t for which P(|T| <= t) = confidence, T being Student's with that many degrees of freedom."""
    if degrees < 1:
        raise ValueError(f"degrees of freedom must be at least 1, not {degrees}")
    confidence = _checked(confidence)
    low, high = 0.0, math.pi / 2.0
    # In the angle atan(t / sqrt(degrees)) the search has two finite ends; 60 halvings reach the last bit.
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _central_mass(middle, degrees) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _central_mass(angle: float, degrees: int) -> float:
    """P(|T| <= sqrt(degrees) tan(angle)), a finite sum: Abramowitz and Stegun 26.7.3 (odd) and 26.7.4 (even)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    # Powers of the cosine from 1 (odd) or 0 (even) to degrees - 2; each factor is k / (k + 1).
    term, total = (cosine if odd else 1.0), 0.0
    for power in range(odd, degrees - 1, 2):
        total += term
        term *= cosine * cosine * (power + 1) / (power + 2)
    return 2.0 / math.pi * (angle + sine * total) if odd else sine * total


def _checked(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1, e.g. 0.95")
    return confidence


def _data(values: Sequence[float], *, least: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or len(data) < least or not np.isfinite(data).all():
        raise ValueError(f"need a flat list of {least} or more finite numbers, got {values!r}")
    return data
