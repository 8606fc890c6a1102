"""What runs (seeds) over the same tasks say of a mean: its interval over both, its p-value, its spread over seeds.

Values are a table with a row a seed and a column a task. Both are samples: other seeds give other policies, and the
panel stands for all tasks. So both are resampled, crosswise, because every seed meets the same tasks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import stats

from sdar_agents.intervals import wilson

RESAMPLES = 5_000

Table = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Components:
    """Variance of one value of a table, divided by where it comes from (random effects, from mean squares).

    Attributes:
        seeds: Between seeds: what every task of a seed has in common.
        tasks: Between tasks: what every seed meets in a task.
        rest: What is left, the sampling of the single episode included.
    """

    seeds: float
    tasks: float
    rest: float


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean, its standard error over new seeds and new tasks, and how well that error is known.

    Attributes:
        degrees: Of freedom: few where few seeds decide the error.
    """

    mean: float
    error: float
    degrees: float

    @property
    def p(self) -> float:
        """Two-sided p-value of the mean being 0, by Student's t."""
        return float(2.0 * stats.t.sf(abs(self.mean) / self.error, self.degrees)) if self.error > 0.0 else 1.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval over seeds and tasks.

    Attributes:
        p: Two-sided p-value of the mean being 0; of use for differences.
        seeds, tasks: How many of each it rests on. With one seed, nothing is known of other seeds, and the interval is
            over tasks alone.
    """

    mean: float
    low: float
    high: float
    p: float
    seeds: int
    tasks: int


def components(values: Table) -> Components:
    """Variance components of a table with at least two seeds and two tasks; what comes out below 0 is 0."""
    n_seeds, n_tasks = values.shape
    of_seeds, of_tasks, rest = _mean_squares(values)
    return Components(max(0.0, (of_seeds - rest) / n_tasks), max(0.0, (of_tasks - rest) / n_seeds), rest)


def spread(values: Table) -> Spread:
    """Mean of a table and the standard error of that mean.

    With S seeds, T tasks and the mean squares of a two-way layout without replication, the squared error is
    (MS_seeds + MS_tasks - MS_rest) / (S T), whose expectation is var_seeds / S + var_tasks / T + var_rest / (S T). It
    is never taken to be less than either part gives alone, nor less than 1 / (T sqrt(S)): a table without any variation
    does not prove that there is none.

    The degrees of freedom are Satterthwaite's, but never more than 2 (S - 1): two or three seeds can look alike by
    chance, and the error would be taken for better known than it is. In simulations (rates that differ by .1 between
    seeds, 200 tasks) this takes the false findings of two seeds from .10 to .04; where seeds do not differ, it widens
    intervals by up to a fifth for two seeds, and by a twentieth for five.

    Args:
        values: [S, T], at least one seed and two tasks.
    """
    n_seeds, n_tasks = values.shape
    if n_tasks < 2:
        raise ValueError(f"a mean over {n_tasks} task has no known error: at least two tasks are needed")
    floor = least_error(n_seeds, n_tasks)
    mean = float(values.mean())
    if n_seeds == 1:
        error = float(values.std(ddof=1)) / math.sqrt(n_tasks)
        return Spread(mean, max(error, floor), n_tasks - 1.0)
    of_seeds, of_tasks, rest = _mean_squares(values)
    errors, degrees = errors_and_degrees(*map(np.array, (of_seeds, of_tasks, rest)), seeds=n_seeds, tasks=n_tasks)
    error = float(errors)
    return Spread(mean, error, float(degrees)) if error > floor else Spread(mean, floor, n_seeds - 1.0)


def least_error(seeds: int, tasks: int) -> float:
    """The standard error of a mean of outcomes that do not vary: they might have."""
    return 1.0 / (tasks * math.sqrt(seeds))


def errors_and_degrees(of_seeds: Table, of_tasks: Table, rest: Table, *, seeds: int, tasks: int) -> tuple[Table, Table]:
    """Standard errors of means and their degrees of freedom, from mean squares of any one shape; see `spread`."""
    total = np.maximum(of_seeds + of_tasks - rest, np.maximum(of_seeds, of_tasks))
    known = of_seeds**2 / (seeds - 1) + of_tasks**2 / (tasks - 1) + rest**2 / ((seeds - 1) * (tasks - 1))
    most = 2.0 * (seeds - 1)
    degrees = np.clip(np.divide(total**2, known, out=np.full_like(known, most), where=known > 0.0), 1.0, most)
    return np.sqrt(total / (seeds * tasks)), degrees


def estimate(
    values: Table,
    *,
    seed: int,
    bounds: tuple[float, float],
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Estimate:
    """The mean of a table with its interval: a crossed bootstrap, at the width that few seeds call for.

    Seeds and tasks are drawn anew, each with replacement, as often as there are (the pigeonhole bootstrap, Owen 2007).
    Where few seeds decide, the interval of such draws is too narrow, since they vary less than new seeds would (with
    rates that differ by .1 between seeds, that of 2 seeds covers .70, of 3 .83, of 5 .90); where the single episode
    decides, it is too wide. So the bootstrap says how the interval divides about the mean, and its width is Student's:
    2 t error, with the error and the degrees of freedom of `spread`. Where all values are 0 or all are 1 (of such
    bounds), it is Wilson's for as many episodes as there are tasks.

    Args:
        values: [S, T]: a row a seed, a column a task.
        seed: Of the resampling.
        bounds: The least and the largest possible value; an interval does not reach beyond.
        confidence: In (0, 1).
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1, e.g. 0.95")
    n_seeds, n_tasks = values.shape
    found = spread(values)
    if bounds == (0.0, 1.0) and (values == values.flat[0]).all() and values.flat[0] in bounds:
        low, high = wilson(round(found.mean) * n_tasks, n_tasks, confidence)
        return Estimate(found.mean, low, high, found.p, n_seeds, n_tasks)
    width = 2.0 * float(stats.t.ppf((1.0 + confidence) / 2.0, found.degrees)) * found.error
    below = width * _share_below(values, seed=seed, confidence=confidence, resamples=resamples)
    low, high = found.mean - below, found.mean + width - below
    return Estimate(found.mean, max(bounds[0], low), min(bounds[1], high), found.p, n_seeds, n_tasks)


def interquartile_mean(per_seed: Sequence[float]) -> float:
    """Mean of the middle half of the seeds: a quarter of them, rounded down, is left out at each end."""
    return float(stats.trim_mean(np.sort(per_seed), 0.25))


def interquartile_range(per_seed: Sequence[float]) -> tuple[float, float]:
    """The quartiles over seeds, interpolated linearly."""
    low, high = np.percentile(per_seed, [25.0, 75.0])
    return float(low), float(high)


def area(curve: Table, steps: Sequence[int]) -> Table:
    """Area under curves by trapezia, divided by the length of the axis: the mean height.

    Args:
        curve: [..., P]: the last axis is evaluations.
        steps: P training steps, rising; at least two.
    """
    if len(steps) < 2:
        raise ValueError("the area under a curve needs at least two evaluations")
    return np.asarray(np.trapezoid(curve, steps, axis=-1) / (steps[-1] - steps[0]), dtype=np.float64)


def steps_to(threshold: float, curve: Sequence[float], steps: Sequence[int]) -> int | None:
    """The first evaluated step at which a curve stands at the threshold or above; None if it never does."""
    return next((step for step, height in zip(steps, curve, strict=True) if height >= threshold - 1e-12), None)


def median_steps(reached: Sequence[int | None]) -> float | None:
    """Median over seeds, in which a seed that never got there counts as later than all; None if the median is such."""
    median = float(np.median([math.inf if step is None else step for step in reached]))
    return None if not math.isfinite(median) else median


def _mean_squares(values: Table) -> tuple[float, float, float]:
    """Of seeds, of tasks, and of the rest."""
    n_seeds, n_tasks = values.shape
    mean, of_seeds, of_tasks = values.mean(), values.mean(axis=1), values.mean(axis=0)  # [], [S], [T]
    rest = values - of_seeds[:, None] - of_tasks[None, :] + mean  # [S, T]
    return (
        float(n_tasks * ((of_seeds - mean) ** 2).sum() / (n_seeds - 1)),
        float(n_seeds * ((of_tasks - mean) ** 2).sum() / (n_tasks - 1)),
        float((rest**2).sum() / ((n_seeds - 1) * (n_tasks - 1))),
    )


def _share_below(values: Table, *, seed: int, confidence: float, resamples: int) -> float:
    """Which share of the bootstrap's interval lies below the mean."""
    of_seeds, of_tasks = _draws(*values.shape, seed=seed, resamples=resamples)
    means = ((of_seeds @ values) * of_tasks).sum(axis=1)
    tail = 100.0 * (1.0 - confidence) / 2.0
    low, high = np.percentile(means, [tail, 100.0 - tail])
    return float((values.mean() - low) / (high - low)) if high > low else 0.5


@lru_cache(maxsize=8)
def _draws(n_seeds: int, n_tasks: int, *, seed: int, resamples: int) -> tuple[Table, Table]:
    """[B, S] and [B, T]: which share of each resample is each seed, and each task.

    Kept, because a report asks for the same shapes again and again, and drawing them takes longer than using them.
    """
    draws = np.random.default_rng(seed)
    return (
        draws.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), resamples) / n_seeds,
        draws.multinomial(n_tasks, np.full(n_tasks, 1 / n_tasks), resamples) / n_tasks,
    )
