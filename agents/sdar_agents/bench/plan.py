"""What a claim needs, by assumption or from the spread of runs that are there, and what a bench file can show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from sdar_agents.bench.file import Bench, Cell
from sdar_agents.bench.power import (
    MOST,
    Claim,
    detectable_effect,
    difference_components,
    independent_episodes,
    paired_episodes,
    seeds_needed,
    tasks_needed,
)
from sdar_agents.bench.report import make_groups, outcome_table
from sdar_agents.bench.results import ResultError, Results, Row
from sdar_agents.bench.statistics import Components, components


@dataclass(frozen=True, slots=True)
class Spreads:
    """What is assumed of the runs that are to be made; see `power.difference_components`."""

    between_seed_std: float
    paired_correlation: float
    task_share: float

    def parts(self, claim: Claim) -> Components:
        """Variance components of the difference of two learners."""
        return difference_components(
            claim,
            between_seed_std=self.between_seed_std,
            paired_correlation=self.paired_correlation,
            task_share=self.task_share,
        )


def plan_claim(claim: Claim, spreads: Spreads, seeds: Sequence[int]) -> dict[str, Any]:
    """Episodes for a claim about two policies, and seeds and tasks for one about two learners."""
    parts = spreads.parts(claim)
    return {
        "claim": asdict(claim),
        "spreads": asdict(spreads),
        "independent_episodes": independent_episodes(claim),
        "paired_episodes": paired_episodes(claim, spreads.paired_correlation),
        "by_seeds": {count: tasks_needed(claim, parts, count) for count in seeds},
        "least_seeds": seeds_needed(claim, parts, MOST),
    }


def plan_from_pilot(results: Results, claim: Claim, seeds: Sequence[int]) -> dict[str, Any]:
    """What the spread of runs that are there says of the seeds and tasks that the claim's effect needs.

    Raises:
        ResultError: no environment has a learner with two seeds.
    """
    environments = {group.name: _pilot(group.learners, group.tasks) for group in make_groups(results, separately=True)}
    if not any(it["learners"] for it in environments.values()):
        raise ResultError("a spread between seeds shows in two seeds at least: no learner here has two finished runs")
    for environment in environments.values():
        for pair in environment["pairs"]:
            parts = Components(**pair["components"])
            pair["by_seeds"] = {count: tasks_needed(claim, parts, count) for count in seeds}
            pair["least_seeds"] = seeds_needed(claim, parts, MOST)
            pair["seeds_for_these_tasks"] = seeds_needed(claim, parts, environment["tasks"])
            pair["detectable"] = detectable_effect(
                parts, seeds=pair["seeds"], tasks=environment["tasks"], level=claim.level, wanted=claim.power
            )
    return {"claim": asdict(claim), "environments": environments}


def _pilot(learners: Mapping[str, tuple[Row, ...]], tasks: Sequence[str]) -> dict[str, Any]:
    """Spreads of each learner, and of the difference of each pair, over what both have."""
    several = {label: rows for label, rows in learners.items() if len(rows) > 1}
    pairs = []
    for earlier, later in combinations(several, 2):
        one, other = ({row.seed: row for row in several[label]} for label in (later, earlier))
        shared = sorted(one.keys() & other.keys())
        if len(shared) > 1:
            values = [outcome_table([runs[seed] for seed in shared], tasks, "success") for runs in (one, other)]
            parts = components(values[0] - values[1])
            pairs.append({"first": later, "second": earlier, "seeds": len(shared), "components": asdict(parts)})
    return {
        "tasks": len(tasks),
        "learners": {label: _learner_spread(rows, tasks) for label, rows in several.items()},
        "pairs": pairs,
    }


def _learner_spread(rows: Sequence[Row], tasks: Sequence[str]) -> dict[str, Any]:
    values = outcome_table(rows, tasks, "success")
    observed = values.mean(axis=1)
    return {
        "seeds": len(rows),
        "mean": float(values.mean()),
        "std_of_seed_means": float(observed.std(ddof=1)),
        "std_interval": std_interval(observed),
        "components": asdict(components(values)),
    }


def std_interval(values: Sequence[float], confidence: float = 0.9) -> tuple[float, float] | None:
    """Interval of a standard deviation, for normal values: with few seeds it says how little is known of it.

    None where all values are the same, of which nothing follows.
    """
    degrees, squares = len(values) - 1, float(np.var(values) * len(values))
    if squares < 1e-12:
        return None
    tail = (1.0 - confidence) / 2.0
    low, high = (math.sqrt(squares / stats.chi2.ppf(share, degrees)) for share in (1.0 - tail, tail))
    return low, high


def plan_bench(bench: Bench, claim: Claim, parts: Components) -> dict[str, Any]:
    """Cells, time, disk, and the smallest effect that the file's seeds and final episodes can show."""
    from sdar_agents.memory_plan import model_shape
    from sdar_agents.setup import resolve_device
    from sdar_agents.time_estimate import estimate_time, measured_speed, sample_run

    pairs: dict[str, Any] = {}
    speed = None
    for environment in bench.environments:
        work = None
        for learner in bench.learners:
            config = bench.config(Cell(environment.label, learner.label, bench.seeds[0]), Path("."))
            device = resolve_device(config.device)
            shape = model_shape(config.model, dtype=config.dtype, device=device)
            # Learners of an environment play the same episodes at first, and the machine is the same for all.
            work = work or sample_run(config)
            speed = speed or measured_speed(config, shape, device)
            time = estimate_time(config, shape, work, speed, device=device)
            curve = config.eval_episodes or 100
            final = bench.final_episodes_of(environment) or curve
            hours = time.hours + time.evaluation / (1 + (config.retriever != "none")) * final / curve / 3600
            # Weights, gradients' two moments, and as much again while a checkpoint is being replaced.
            disk = shape.parameters * 12 * (config.keep_checkpoints + 1)
            pairs[f"{environment.label}/{learner.label}"] = {"hours": hours, "bytes": disk, "final_episodes": final}
    finals = sorted({pair["final_episodes"] for pair in pairs.values()})
    seeds = len(bench.seeds)
    return {
        "name": bench.name,
        "cells": len(list(bench.cells())),
        "seeds": seeds,
        "pairs": pairs,
        "hours": seeds * sum(pair["hours"] for pair in pairs.values()),
        "bytes": seeds * sum(pair["bytes"] for pair in pairs.values()),
        "detectable": {
            final: detectable_effect(parts, seeds=seeds, tasks=final, level=claim.level, wanted=claim.power)
            for final in finals
            if seeds > 1
        },
    }
