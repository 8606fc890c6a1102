"""How many episodes and seeds an effect needs: published numbers, and the test itself on simulated runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sdar_agents.bench.plan import std_interval
from sdar_agents.bench.power import (
    Claim,
    PowerError,
    detectable_effect,
    difference_components,
    independent_episodes,
    paired_episodes,
    power,
    seeds_needed,
    tasks_needed,
)
from sdar_agents.bench.statistics import Components, spread
from sdar_agents.cli import main


def test_five_points_near_85_percent_need_about_900_episodes_of_each() -> None:
    # z 1.959964 and .841621: (1.959964 sqrt(2 * .825 * .175) + .841621 sqrt(.8 * .2 + .85 * .15))^2 / .05^2 = 905.3.
    assert independent_episodes(Claim(0.8, 0.05)) == 906
    # The textbook pair .6 and .75 (Fleiss, Levin and Paik, table A.4: 152 a group before the continuity correction).
    assert independent_episodes(Claim(0.6, 0.15)) == 152


def test_episodes_of_two_arms_reach_the_power_they_are_planned_for() -> None:
    draws = np.random.default_rng(0)
    n = independent_episodes(Claim(0.5, 0.2))
    one, other = draws.binomial(n, 0.5, 4000) / n, draws.binomial(n, 0.7, 4000) / n
    pooled = (one + other) / 2
    z = (other - one) / np.sqrt(2 * pooled * (1 - pooled) / n)
    assert (np.abs(z) > 1.959964).mean() == pytest.approx(0.8, abs=0.02)


def test_tasks_that_both_play_need_fewer_where_successes_go_together() -> None:
    claim = Claim(0.5, 0.1)
    # Correlation 0: of .5 and .6, .5 are solved by one alone. (1.959964 sqrt(.5) + .841621 sqrt(.49))^2 / .01 = 390.1.
    assert paired_episodes(claim, 0.0) == 391
    assert paired_episodes(claim, 0.6) < paired_episodes(claim, 0.3) < 391
    with pytest.raises(PowerError, match="correlate between"):
        paired_episodes(claim, 0.99)


def test_pairs_reach_the_power_they_are_planned_for() -> None:
    draws = np.random.default_rng(1)
    # Half of the tasks are solved by both, .25 by the first alone and .17 by the second alone.
    both, first, second = 0.5, 0.25, 0.17
    p, q = both + second, both + first
    correlation = (both - p * q) / math.sqrt(p * (1 - p) * q * (1 - q))
    n = paired_episodes(Claim(p, q - p), correlation)
    counts = draws.multinomial(n, [both, first, second, 1 - both - first - second], 4000)
    z = (counts[:, 1] - counts[:, 2]) / np.sqrt(counts[:, 1] + counts[:, 2])
    assert (np.abs(z) > 1.959964).mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_report_finds_an_effect_as_often_as_the_plan_says(seeds: int) -> None:
    parts, tasks, effect = Components(seeds=0.004, tasks=0.05, rest=0.3), 60, 0.11
    draws = np.random.default_rng(seeds)
    found = 0
    for _ in range(1500):
        table = (
            effect
            + draws.normal(0, math.sqrt(parts.seeds), (seeds, 1))
            + draws.normal(0, math.sqrt(parts.tasks), (1, tasks))
            + draws.normal(0, math.sqrt(parts.rest), (seeds, tasks))
        )
        found += spread(table).p < 0.05
    # 1,500 tosses have a standard deviation of .013 at most.
    planned = power(effect, parts, seeds=seeds, tasks=tasks, level=0.05)
    assert 0.1 < planned < 0.95
    assert found / 1500 == pytest.approx(planned, abs=0.035)


def test_with_seeds_alone_the_power_is_that_of_a_paired_t_test() -> None:
    # Nothing but seeds: five differences of standard deviation .1, a true one of .15; degrees of freedom 4.
    parts = Components(seeds=0.01, tasks=0.0, rest=1e-12)
    away, critical = 0.15 / (0.1 / math.sqrt(5)), stats.t.ppf(0.975, 4)
    expected = stats.nct.sf(critical, 4, away) + stats.nct.cdf(-critical, 4, away)
    assert power(0.15, parts, seeds=5, tasks=50, level=0.05) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("effect", "found"), [(0.2, 1.0), (0.0, 0.0)])
def test_outcomes_without_any_spread_are_tested_with_the_least_error_of_the_report(effect: float, found: float) -> None:
    nothing = Components(seeds=0.0, tasks=0.0, rest=0.0)
    table = np.full((3, 50), effect)
    assert (spread(table).p < 0.05) == bool(found)
    assert power(effect, nothing, seeds=3, tasks=50, level=0.05) == found


def test_what_is_needed_is_the_least_that_is_enough() -> None:
    claim = Claim(0.5, 0.15)
    parts = difference_components(claim, between_seed_std=0.05, paired_correlation=0.2, task_share=0.5)
    tasks = tasks_needed(claim, parts, 10)
    assert tasks is not None
    assert power(0.15, parts, seeds=10, tasks=tasks, level=0.05) >= 0.8
    assert power(0.15, parts, seeds=10, tasks=tasks - 1, level=0.05) < 0.8
    seeds = seeds_needed(claim, parts, 200)
    assert seeds is not None
    assert power(0.15, parts, seeds=seeds, tasks=200, level=0.05) >= 0.8
    assert power(0.15, parts, seeds=seeds - 1, tasks=200, level=0.05) < 0.8


def test_a_spread_between_seeds_cannot_be_played_away() -> None:
    claim = Claim(0.5, 0.05)
    parts = difference_components(claim, between_seed_std=0.1, paired_correlation=0.0, task_share=0.5)
    assert tasks_needed(claim, parts, 3) is None
    # 2 * .1^2 / n = (.05 / 2.8)^2 at best: more than 62 seeds.
    seeds = seeds_needed(claim, parts, 10**6)
    assert seeds is not None
    assert 62 < seeds < 70


def test_the_smallest_effect_that_can_be_found_is_found_with_the_wanted_power() -> None:
    parts = Components(seeds=0.002, tasks=0.02, rest=0.3)
    effect = detectable_effect(parts, seeds=5, tasks=200, level=0.05, wanted=0.8)
    assert power(effect, parts, seeds=5, tasks=200, level=0.05) == pytest.approx(0.8, abs=1e-3)


def test_more_comparisons_need_more_episodes() -> None:
    assert independent_episodes(Claim(0.8, 0.05, comparisons=10)) > independent_episodes(Claim(0.8, 0.05))


def test_a_standard_deviation_of_two_seeds_is_hardly_known() -> None:
    # Values 0 and .2: squares about the mean .02; chi-squared of one degree has quantiles .003932 and 3.841459.
    assert std_interval([0.0, 0.2]) == pytest.approx(
        (math.sqrt(0.02 / 3.841459), math.sqrt(0.02 / 0.0039321)), rel=1e-4
    )
    assert std_interval([0.3, 0.3]) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--baseline", "1.2"], "between 0 and 1"),
        (["--baseline", "0.98", "--effect", "0.05"], "must lie between 0 and 1"),
        (["--effect", "0"], "effect of 0"),
        (["--power", "0.01"], "0 < alpha < power < 1"),
        (["--seeds", "1"], "at least 2"),
        (["--between-seed-std", "-1"], "must not be negative"),
        (["--task-share", "2"], "between 0 and 1"),
        (["--efect", "0.05"], "did you mean '--effect'"),
        (["nowhere.toml"], "no bench file nowhere.toml"),
        (["--pilot", "/nowhere"], "neither a bench"),
    ],
)
def test_plans_that_cannot_be_made_say_why(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["bench", "plan", *options])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_the_command_prints_and_writes_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    main(["bench", "plan", "--effect", "0.05", "--baseline", "0.8", "--json", str(tmp_path / "plan.json")])
    plan: dict[str, Any] = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert plan["independent_episodes"] == 906
    assert "906 episodes of each" in capsys.readouterr().out
