"""How sure a difference between retrievers is: intervals over queries, paired tests, correction for many of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
_CHUNK_CELLS = 4_000_000

Comparison = TypeVar("Comparison", bound=tuple[str, ...])
"""What names a comparison, such as the two that are compared."""


def bootstrap_means(
    values: npt.ArrayLike, *, seed: int, confidence: float = 0.95, resamples: int = RESAMPLES
) -> list[tuple[float, float]]:
    """Percentile bootstrap intervals (Efron and Tibshirani, 1993, chapter 13) of the means of some measures.

    Queries are resampled, and all measures see the same resamples.

    Args:
        values: [n] or [n, m]: a row a query, a column a measure.
        seed: Of the resampling.
        confidence: In (0, 1).
        resamples: How often the queries are drawn anew.

    Returns:
        Low and high for each of the m measures.
    """
    data = np.asarray(values, dtype=np.float64)
    data = data[:, None] if data.ndim == 1 else data  # [n, m]
    if data.ndim != 2 or len(data) < 1 or not np.isfinite(data).all():
        raise ValueError("a bootstrap needs finite values, a row a query, and at least one query")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1, e.g. 0.95")
    draws = np.random.default_rng(seed)
    n = len(data)
    # How often each query is drawn decides a mean, so that a resample is one product of matrices.
    means = np.concatenate([draws.multinomial(n, np.full(n, 1 / n), size) @ data / n for size in _chunks(resamples, n)])
    tail = 100.0 * (1.0 - confidence) / 2.0
    low, high = np.percentile(means, [tail, 100.0 - tail], axis=0)  # [m], [m]
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def paired_randomisation(
    first: Sequence[float], second: Sequence[float], *, seed: int, permutations: int = RESAMPLES
) -> float:
    """Two-sided p-value of the difference of two means over the same queries: Fisher's randomisation test.

    Under the hypothesis that both are the same, which value belongs to which retriever is a coin's toss for each query
    (Smucker, Allan and Carterette, CIKM 2007). The observed difference counts as one toss, so that p is never 0
    (Phipson and Smyth, 2010).

    Args:
        first, second: One value a query, in the same order.
        seed: Of the tosses.
        permutations: How many.
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if differences.ndim != 1 or len(differences) < 1 or not np.isfinite(differences).all():
        raise ValueError("a paired test needs two lists of as many finite values, at least one")
    differences = differences[differences != 0.0]
    observed = abs(differences.sum())
    draws = np.random.default_rng(seed)
    as_large = 0
    for size in _chunks(permutations, max(len(differences), 1)):
        signs = draws.integers(0, 2, size=(size, len(differences)), dtype=np.int8) * 2.0 - 1.0  # [size, n]
        # Sums in another order differ in their last bits.
        as_large += int((np.abs(signs @ differences) >= observed - 1e-9).sum())
    return (as_large + 1) / (permutations + 1)


def holm(p_values: Mapping[Comparison, float]) -> dict[Comparison, float]:
    """Holm's step-down correction (1979): p-values that may be compared with the level of all tests together.

    Args:
        p_values: Of every comparison that was made.
    """
    adjusted: dict[Comparison, float] = {}
    largest = 0.0
    ordered = sorted(p_values, key=lambda pair: (p_values[pair], pair))
    for place, pair in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - place) * p_values[pair]))
        adjusted[pair] = largest
    return {pair: adjusted[pair] for pair in p_values}


def _chunks(total: int, width: int) -> list[int]:
    """Parts of a total whose tables stay small in memory."""
    size = max(1, _CHUNK_CELLS // width)
    return [min(size, total - begin) for begin in range(0, total, size)]
