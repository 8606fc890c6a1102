"""How many episodes and seeds an effect needs: power of the comparison that `bench report` makes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy import stats

from sdar_agents.bench.statistics import Components, errors_and_degrees, least_error

MOST = 10_000_000
"""Nobody plays more episodes; an effect that needs more cannot be seen."""
_DRAWS = 20_000


class PowerError(ValueError):
    """A plan for something that cannot be."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be shown: that a success rate is `effect` above `baseline`.

    Attributes:
        baseline: Success rate of what is compared with, in (0, 1).
        effect: Difference in success rate; below 0 for a loss. `baseline + effect` lies in (0, 1).
        power: Probability of finding it if it is there.
        alpha: Probability, two-sided, of finding a difference where there is none.
        comparisons: How many pairs are compared; each is tested at alpha / comparisons, Holm's first step.
    """

    baseline: float
    effect: float
    power: float = 0.8
    alpha: float = 0.05
    comparisons: int = 1

    def __post_init__(self) -> None:
        """Refuse what has no answer."""
        if not 0.0 < self.baseline < 1.0:
            raise PowerError(f"--baseline is a success rate between 0 and 1, such as 0.75, not {self.baseline:g}")
        if self.effect == 0.0 or not 0.0 < self.baseline + self.effect < 1.0:
            raise PowerError(
                f"--effect {self.effect:g} on --baseline {self.baseline:g}: the two together must lie between 0 and 1, "
                "and an effect of 0 cannot be found"
            )
        if not 0.0 < self.alpha < 1.0 or not self.alpha < self.power < 1.0:
            raise PowerError(f"--alpha {self.alpha:g} and --power {self.power:g}: need 0 < alpha < power < 1")
        if self.comparisons < 1:
            raise PowerError(f"--comparisons must be at least 1, got {self.comparisons}")

    @property
    def level(self) -> float:
        """Of each single test."""
        return self.alpha / self.comparisons


def independent_episodes(claim: Claim) -> int:
    """Episodes of each of two arms that play tasks of their own: two proportions, normal approximation.

    n = (z_a sqrt(2 m (1 - m)) + z_b sqrt(p (1 - p) + q (1 - q)))^2 / (q - p)^2, with the mean rate m (Fleiss, Levin and
    Paik, Statistical Methods for Rates and Proportions, 2003, section 4.2, without their continuity correction).
    """
    p, q = claim.baseline, claim.baseline + claim.effect
    mean = (p + q) / 2.0
    test = _normal_quantile(1.0 - claim.level / 2.0) * math.sqrt(2.0 * mean * (1.0 - mean))
    found = _normal_quantile(claim.power) * math.sqrt(p * (1.0 - p) + q * (1.0 - q))
    return math.ceil(((test + found) / claim.effect) ** 2)


def paired_episodes(claim: Claim, correlation: float) -> int:
    """Tasks that both arms play once each: McNemar's test (Connor, Biometrics 1987).

    n = (z_a sqrt(d) + z_b sqrt(d - effect^2))^2 / effect^2, d being the share of tasks that only one of the two solves.

    Args:
        correlation: Between the two arms' success on the same task.
    """
    apart = discordant(claim, correlation)
    test = _normal_quantile(1.0 - claim.level / 2.0) * math.sqrt(apart)
    found = _normal_quantile(claim.power) * math.sqrt(apart - claim.effect**2)
    return math.ceil(((test + found) / claim.effect) ** 2)


def discordant(claim: Claim, correlation: float) -> float:
    """Share of tasks that only one of the two arms solves.

    Raises:
        PowerError: two success rates that far apart cannot correlate that much.
    """
    p, q = claim.baseline, claim.baseline + claim.effect
    both = p * q + correlation * math.sqrt(p * (1.0 - p) * q * (1.0 - q))
    least, most = max(0.0, p + q - 1.0), min(p, q)
    if not least - 1e-12 <= both <= most + 1e-12:
        scale = math.sqrt(p * (1.0 - p) * q * (1.0 - q))
        raise PowerError(
            f"success rates of {p:g} and {q:g} correlate between {(least - p * q) / scale:.2f} and "
            f"{(most - p * q) / scale:.2f}, not by {correlation:g} (--paired-correlation)"
        )
    return p + q - 2.0 * both


def difference_components(
    claim: Claim, *, between_seed_std: float, paired_correlation: float, task_share: float
) -> Components:
    """Variance of the difference of two arms on the same task and seed, divided as `statistics.components` divides it.

    Args:
        between_seed_std: Standard deviation of an arm's true success rate over training seeds.
        paired_correlation: Between the two arms' success on the same task.
        task_share: Which share of the rest belongs to the task, and comes again with every seed.
    """
    if between_seed_std < 0.0:
        raise PowerError(f"--between-seed-std must not be negative, got {between_seed_std:g}")
    if not 0.0 <= task_share <= 1.0:
        raise PowerError(f"--task-share lies between 0 and 1, got {task_share:g}")
    single = discordant(claim, paired_correlation) - claim.effect**2
    # Runs of the same seed number share no more than others do: each arm adds its own.
    return Components(2.0 * between_seed_std**2, task_share * single, (1.0 - task_share) * single)


def power(effect: float, parts: Components, *, seeds: int, tasks: int, level: float) -> float:
    """Probability that the test of `bench report` finds a difference, for normal values.

    The test is made on 20,000 draws of what it looks at: the mean and the three mean squares, which are independent of
    one another, the latter multiples of chi-squared numbers. A formula would have to leave out how its degrees of
    freedom are found. The draws are the same at each call; they are right to .006.

    Args:
        effect: The true difference.
        parts: Variance components of the difference.
        seeds, tasks: At least two of each.
        level: Of the two-sided test.
    """
    draws = np.random.default_rng(0)
    means = draws.standard_normal(_DRAWS)
    expected = (parts.rest + tasks * parts.seeds, parts.rest + seeds * parts.tasks, parts.rest)
    degrees_of = (seeds - 1, tasks - 1, (seeds - 1) * (tasks - 1))
    of_seeds, of_tasks, rest = (
        value * draws.chisquare(degrees, _DRAWS) / degrees for value, degrees in zip(expected, degrees_of, strict=True)
    )
    errors, degrees = errors_and_degrees(of_seeds, of_tasks, rest, seeds=seeds, tasks=tasks)
    floor = least_error(seeds, tasks)
    errors, degrees = np.maximum(errors, floor), np.where(errors > floor, degrees, seeds - 1.0)
    means = abs(effect) + means * math.sqrt((expected[0] + expected[1] - expected[2]) / (seeds * tasks))
    return float((2.0 * stats.t.sf(np.abs(means) / errors, degrees) < level).mean())


def tasks_needed(claim: Claim, parts: Components, seeds: int) -> int | None:
    """Tasks that each of so many seeds must play; None if no number of tasks is enough with so few seeds."""
    return _least(lambda tasks: power(claim.effect, parts, seeds=seeds, tasks=tasks, level=claim.level) >= claim.power)


def seeds_needed(claim: Claim, parts: Components, tasks: int) -> int | None:
    """Seeds that must each play so many tasks; None if no number of seeds is enough with so few tasks."""
    return _least(lambda seeds: power(claim.effect, parts, seeds=seeds, tasks=tasks, level=claim.level) >= claim.power)


def detectable_effect(parts: Components, *, seeds: int, tasks: int, level: float, wanted: float) -> float:
    """The smallest difference that so many seeds and tasks find with the wanted power; may be above 1."""
    low, high = 0.0, 10.0
    for _ in range(30):
        middle = (low + high) / 2.0
        if power(middle, parts, seeds=seeds, tasks=tasks, level=level) < wanted:
            low = middle
        else:
            high = middle
    return high


def _normal_quantile(probability: float) -> float:
    """The z that a standard normal number stays below with this probability."""
    return NormalDist().inv_cdf(probability)


def _least(is_enough: Callable[[int], bool]) -> int | None:
    """The least number from 2 on that is enough: doubled until it is, then halved in."""
    low, high = 1, 2
    while not is_enough(high):
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
