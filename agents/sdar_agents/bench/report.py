"""From rows to a report of plain values: means, spreads, curves, lengths, and a verdict for each pair of learners."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from sdar_agents.bench.results import Missing, ResultError, Results, Row
from sdar_agents.bench.statistics import (
    RESAMPLES,
    Table,
    area,
    estimate,
    interquartile_mean,
    interquartile_range,
    median_steps,
    steps_to,
)
from sdar_gym.errors import unknown
from sdar_skills.significance import holm

FORMAT = 1
METRICS = ("success", "area", "score")
"""What learners can be compared in: higher is better in each, and each lies between 0 and 1."""
LENGTHS = (("1-5", 1, 5), ("6-10", 6, 10), ("over 10", 11, 10**9))
"""Names and bounds of the lengths by which tasks and solutions are divided, in turns."""
FEWER_RESAMPLES = 2_000
"""For intervals of parts and of points of curves, of which there are many."""
TOKENS = ("tokens/rollout", "tokens/score", "tokens/teacher", "tokens/update")
"""Metrics of a training step that add up to the tokens that it worked on."""
_UNIT, _DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Question:
    """What a report is to say.

    Attributes:
        metrics: What pairs are compared in; in each, Holm's correction is over all pairs of all environments.
        threshold: Of success, for the steps to it.
        baseline: Compare every learner with this one alone; None: all pairs.
        separately: Whether rows that must not be compared form groups of their own, instead of being refused.
        alpha: Level of all comparisons of a metric together; intervals have confidence 1 - alpha.
        seed: Of the resampling.
        show: Metrics of the training steps to tell the course of.
    """

    metrics: tuple[str, ...] = ("success", "area")
    threshold: float = 0.5
    baseline: str | None = None
    separately: bool = False
    alpha: float = 0.05
    seed: int = 0
    show: tuple[str, ...] = ()

    def check(self, learners: Sequence[str], metrics: Sequence[str]) -> None:
        """Refuse what cannot be answered.

        Raises:
            ResultError: a metric or a baseline that there is not, a level or threshold outside (0, 1).
        """
        for metric in self.show:
            if metric not in metrics:
                raise ResultError(unknown("training metric", metric, metrics))
        for metric in self.metrics:
            if metric not in METRICS:
                raise ResultError(unknown("metric", metric, METRICS))
        if self.baseline is not None and self.baseline not in learners:
            raise ResultError(unknown("baseline", self.baseline, learners))
        for name, value in (("alpha", self.alpha), ("threshold", self.threshold)):
            if not 0.0 < value < 1.0:
                raise ResultError(f"--{name} lies between 0 and 1, got {value:g}")


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that may be compared: one environment, one panel, the same rules, bank, prompt and settings.

    Attributes:
        tasks: Those that every row has played.
        dropped: How many tasks some rows have played and others have not.
        steps: Evaluations that every row has.
        curve_tasks: Tasks of all those evaluations.
    """

    name: str
    learners: Mapping[str, tuple[Row, ...]]
    tasks: tuple[str, ...]
    dropped: int
    steps: tuple[int, ...]
    curve_tasks: tuple[str, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """Of all learners."""
        return tuple(row for rows in self.learners.values() for row in rows)


def make_report(results: Results, question: Question) -> dict[str, Any]:
    """The report on some results.

    Raises:
        ResultError: nothing to report, a question that has no answer, or rows that must not be compared (the text says
            in what they differ) while `separately` was not asked for.
    """
    question.check(results.learners, sorted({name for row in results.rows for name in row.training}))
    if not results.rows:
        raise ResultError("there is no finished run to report on" + _why(results.missing))
    groups = make_groups(results, separately=question.separately)
    return {
        "format": FORMAT,
        "name": results.name,
        "question": asdict(question),
        "environments": {group.name: _environment(group, question) for group in groups},
        "comparisons": _comparisons(groups, question),
        "missing": [asdict(each) for each in results.missing],
        "left_out": list(results.left_out),
        "notes": _notes(results.rows),
    }


# ---- what may be compared --------------------------------------------------------------------------------


def make_groups(results: Results, *, separately: bool) -> list[Group]:
    """Rows by environment, each group comparable within itself.

    Raises:
        ResultError: rows of an environment that differ in what decides a number, unless `separately`.
    """
    by_environment: dict[str, list[Row]] = {}
    for row in results.rows:
        by_environment.setdefault(row.environment, []).append(row)
    groups, refused = [], []
    for environment, rows in by_environment.items():
        keys = differing(rows)
        if keys and not separately:
            refused += [f"environment {environment}: {_difference(rows, key)}" for key in keys]
            continue
        parts: dict[str, list[Row]] = {}
        for row in rows:
            parts.setdefault(json.dumps([row.identity.get(key) for key in keys]), []).append(row)
        for values, part in parts.items():
            note = ", ".join(f"{key} {value}" for key, value in zip(keys, json.loads(values), strict=True))
            groups.append(_group(f"{environment} ({note})" if note else environment, part, results.learners))
    if refused:
        raise ResultError(
            "these rows must not be compared: " + "; ".join(refused) + ". Run them on the same, or report on each kind "
            "by itself with --separately"
        )
    return groups


def differing(rows: Sequence[Row]) -> list[str]:
    """What is not the same in all rows, of what has to be; a run without skills has no bank to differ in."""
    keys = dict.fromkeys(key for row in rows for key in row.identity)
    found = []
    for key in keys:
        values = {json.dumps(row.identity.get(key), sort_keys=True) for row in rows}
        if key == "bank_hash":
            values.discard("null")
        if len(values) > 1:
            found.append(key)
    return found


def _difference(rows: Sequence[Row], key: str) -> str:
    """Who has which value."""
    holders: dict[str, list[str]] = {}
    for row in rows:
        holders.setdefault(json.dumps(row.identity.get(key), sort_keys=True), []).append(f"{row.learner} {row.seed}")
    return f"{key} is " + ", but ".join(f"{value} for {_some(names)}" for value, names in holders.items())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _group(name: str, rows: Sequence[Row], learners: Sequence[str]) -> Group:
    by_learner = {
        label: tuple(sorted((row for row in rows if row.learner == label), key=lambda row: row.seed))
        for label in learners
    }
    played = [set(row.outcomes) for row in rows]
    shared, union = set.intersection(*played), set.union(*played)
    tasks = tuple(task for task in rows[0].outcomes if task in shared)
    if len(tasks) < 2:
        raise ResultError(f"environment {name}: its runs have only {len(tasks)} tasks in common; two are the least")
    steps = set.intersection(*(set(row.curve.steps) for row in rows))
    curve_tasks = set.intersection(*(set(row.curve.tasks) for row in rows))
    return Group(
        name=name,
        learners={label: found for label, found in by_learner.items() if found},
        tasks=tasks,
        dropped=len(union - shared),
        steps=tuple(sorted(steps)),
        curve_tasks=tuple(task for task in rows[0].curve.tasks if task in curve_tasks),
    )


# ---- one environment -------------------------------------------------------------------------------------


def _environment(group: Group, question: Question) -> dict[str, Any]:
    first = group.rows[0]
    return {
        "env": first.identity["env"],
        "identity": dict(first.identity),
        "tasks": len(group.tasks),
        "dropped_tasks": group.dropped,
        "steps": list(group.steps),
        "task_types": {kind: len(tasks) for kind, tasks in _by_type(group).items()},
        "lengths": {name: len(tasks) for name, tasks in _by_length(group).items()},
        "learners": {label: _learner(group, rows, question) for label, rows in group.learners.items()},
    }


def _learner(group: Group, rows: Sequence[Row], question: Question) -> dict[str, Any]:
    success = outcome_table(rows, group.tasks, "success")
    per_seed = [float(mean) for mean in success.mean(axis=1)]
    reached = [steps_to(question.threshold, row.curve.rates, row.curve.steps) for row in rows]
    of = _Estimator(question)
    return {
        "seeds": [row.seed for row in rows],
        "skills_shown": any(row.skills for row in rows),
        "per_seed": per_seed,
        "success": of(success),
        "interquartile_mean": interquartile_mean(per_seed),
        "interquartile_range": list(interquartile_range(per_seed)),
        "score": of(score) if (score := outcome_table(rows, group.tasks, "score")) is not None else None,
        "turns": float(turns.mean()) if (turns := outcome_table(rows, group.tasks, "turns")) is not None else None,
        "area": of(height) if (height := area_table(group, rows)) is not None else None,
        "steps_to_threshold": {
            "per_seed": reached,
            "reached": sum(step is not None for step in reached),
            "median": median_steps(reached),
        },
        "curve": _curve(group, rows, of),
        "by_task_type": _parts(success, group, _by_type(group), of),
        "by_length": _parts(success, group, _by_length(group), of),
        "by_turns": {name: of(table, few=True) for name, table in turns_tables(rows, group.tasks).items()},
        "seconds_per_step": _per_step(rows, ("seconds/step",)),
        "tokens_per_step": _per_step(rows, TOKENS),
        "training": {
            name: _course([row.training[name] for row in rows if name in row.training])
            for name in question.show
            if any(name in row.training for row in rows)
        },
    }


def _per_step(rows: Sequence[Row], names: Sequence[str]) -> float | None:
    """The median over seeds of the median over training steps of the sum of some metrics, those that are there."""
    of_seeds = []
    for row in rows:
        parts = [row.training[name] for name in names if name in row.training]
        if parts:
            of_seeds.append(float(np.median(np.sum(parts, axis=0))))
    return float(np.median(of_seeds)) if of_seeds else None


def _course(of_seeds: Sequence[Sequence[float]]) -> dict[str, Any]:
    """A metric's mean over the first and over the last quarter of the training steps, over seeds and of each."""
    quarters = [max(1, len(values) // 4) for values in of_seeds]
    ends = {
        "first": [float(np.mean(values[:count])) for values, count in zip(of_seeds, quarters, strict=True)],
        "last": [float(np.mean(values[-count:])) for values, count in zip(of_seeds, quarters, strict=True)],
    }
    return {name: {"mean": float(np.mean(values)), "per_seed": values} for name, values in ends.items()}


@dataclass(frozen=True, slots=True)
class _Estimator:
    """Estimates as plain values."""

    question: Question
    bounds: tuple[float, float] = _UNIT

    def __call__(self, values: Table, *, few: bool = False) -> dict[str, Any]:
        """The estimate of a table; with one task alone an interval that says nothing."""
        seeds, tasks = values.shape
        if tasks < 2:
            mean = float(values.mean())
            return {"mean": mean, "interval": list(self.bounds), "p": 1.0, "seeds": seeds, "tasks": tasks}
        found = estimate(
            values,
            seed=self.question.seed,
            bounds=self.bounds,
            confidence=1.0 - self.question.alpha,
            resamples=FEWER_RESAMPLES if few else RESAMPLES,
        )
        return {
            "mean": found.mean, "interval": [found.low, found.high], "p": found.p,
            "seeds": found.seeds, "tasks": found.tasks,
        }  # fmt: skip


def outcome_table(rows: Sequence[Row], tasks: Sequence[str], name: str) -> Any:
    """[S, T]: one of an outcome's numbers for each run and task; None where it was not recorded."""
    values = [[getattr(row.outcomes[task], name) for task in tasks] for row in rows]
    if any(value is None for row in values for value in row):
        return None
    return np.array(values, dtype=np.float64)


def turns_tables(rows: Sequence[Row], tasks: Sequence[str]) -> dict[str, Table]:
    """[S, T] for each length: which tasks were solved in that many turns; together they are all that were solved."""
    success, turns = outcome_table(rows, tasks, "success"), outcome_table(rows, tasks, "turns")
    if turns is None:
        return {}
    return {name: success * ((turns >= least) & (turns <= most)) for name, least, most in LENGTHS}


def area_table(group: Group, rows: Sequence[Row]) -> Table | None:
    """[S, T]: for each run and task the share of training during which the task was solved; None without curves."""
    if len(group.steps) < 2 or len(group.curve_tasks) < 2:
        return None
    return np.stack([area(_solved(row, group), group.steps) for row in rows])


def _solved(row: Row, group: Group) -> Table:
    """[T, P]: which tasks of the curve were solved at each evaluation."""
    at = [row.curve.solved[row.curve.steps.index(step)] for step in group.steps]
    return np.array([[task in solved for solved in at] for task in group.curve_tasks], dtype=np.float64)


def _curve(group: Group, rows: Sequence[Row], of: _Estimator) -> dict[str, Any]:
    if len(group.curve_tasks) < 2:
        return {}
    solved = np.stack([_solved(row, group) for row in rows])  # [S, T, P]
    return {str(step): of(solved[:, :, place], few=True) for place, step in enumerate(group.steps)}


def _by_type(group: Group) -> dict[str, list[str]]:
    """Tasks by their type, where that was recorded."""
    kinds = {task: group.rows[0].outcomes[task].task_type for task in group.tasks}
    return {kind: [task for task in group.tasks if kinds[task] == kind] for kind in sorted({*kinds.values()} - {""})}


def _by_length(group: Group) -> dict[str, list[str]]:
    """Tasks by the number of turns that the oracle needs; lengths that no task has are left out."""
    turns = {task: length for row in group.rows for task, length in row.oracle_turns.items()}
    found = {
        name: [task for task in group.tasks if (length := turns.get(task)) is not None and least <= length <= most]
        for name, least, most in LENGTHS
    }
    found["unknown"] = [task for task in group.tasks if turns.get(task) is None] if turns else []
    return {name: tasks for name, tasks in found.items() if tasks}


def _parts(values: Table, group: Group, parts: Mapping[str, Sequence[str]], of: _Estimator) -> dict[str, Any]:
    """Estimates over parts of a table's tasks."""
    places = {task: place for place, task in enumerate(group.tasks)}
    return {name: of(values[:, [places[task] for task in tasks]], few=True) for name, tasks in parts.items()}


# ---- pairs -----------------------------------------------------------------------------------------------


def _comparisons(groups: Sequence[Group], question: Question) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for metric in question.metrics:
        rows = [
            _compare(group, first, second, metric, question)
            for group in groups
            for first, second in _pairs(group, question.baseline)
        ]
        # A pair that cannot be compared is no test, so that it takes nothing from the others.
        tested = {_key(row): row["p"] for row in rows if row["p"] is not None}
        adjusted = holm(tested)
        for row in rows:
            row["p_holm"] = adjusted.get(_key(row))
            row["verdict"] = _verdict(row, question.alpha)
        found += rows
    return found


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["environment"], row["first"], row["second"]


def _pairs(group: Group, baseline: str | None) -> list[tuple[str, str]]:
    labels = list(group.learners)
    if baseline is not None:
        return [(label, baseline) for label in labels if label != baseline and baseline in labels]
    return [(later, earlier) for earlier, later in combinations(labels, 2)]


def _compare(group: Group, first: str, second: str, metric: str, question: Question) -> dict[str, Any]:
    """The difference of two learners, run by run of the same seed and task by task."""
    one = {row.seed: row for row in group.learners[first]}
    other = {row.seed: row for row in group.learners[second]}
    seeds = sorted(one.keys() & other.keys())
    row: dict[str, Any] = {"environment": group.name, "metric": metric, "first": first, "second": second}
    row |= {"seeds": seeds, "difference": None, "p": None, "reason": "", "by_length": {}, "by_turns": {}}
    if not seeds:
        return row | {"reason": "no seed in common"}
    table = _table_of(metric, group)
    pair = [[runs[seed] for seed in seeds] for runs in (one, other)]
    values = [table(rows) for rows in pair]
    if values[0] is None or values[1] is None:
        return row | {"reason": f"{metric} was not recorded"}
    difference = values[0] - values[1]
    of = _Estimator(question, _DIFFERENCE)
    row["difference"] = of(difference)
    if metric != "area":
        row["by_length"] = _parts(difference, group, _by_length(group), of)
    if metric == "success":
        solved = [turns_tables(rows, group.tasks) for rows in pair]
        row["by_turns"] = {
            name: of(solved[0][name] - solved[1][name], few=True) for name in solved[0] if name in solved[1]
        }
    if len(seeds) < 2:
        return row | {"reason": "one seed says nothing of other seeds"}
    return row | {"p": row["difference"]["p"]}


def _table_of(metric: str, group: Group) -> Callable[[Sequence[Row]], Any]:
    if metric == "area":
        return lambda rows: area_table(group, rows)
    return lambda rows: outcome_table(rows, group.tasks, metric)


def _verdict(row: Mapping[str, Any], alpha: float) -> str:
    """Of the first learner, against the second."""
    if row["p_holm"] is None or row["p_holm"] >= alpha:
        return "not distinguishable"
    return "better" if row["difference"]["mean"] > 0 else "worse"


# ---- around it -------------------------------------------------------------------------------------------


def _notes(rows: Sequence[Row]) -> list[str]:
    """What a reader has to know beside the numbers."""
    notes = []
    for name in ("version", "commit", "torch", "transformers"):
        values = sorted({_short(str(row.provenance.get(name))) for row in rows if name in row.provenance})
        if len(values) > 1:
            notes.append(f"runs were made with different values of {name}: {', '.join(values)}")
    counts = {(row.environment, row.learner): 0 for row in rows}
    for row in rows:
        counts[row.environment, row.learner] += 1
    single = [f"{learner} on {environment}" for (environment, learner), count in counts.items() if count == 1]
    if single:
        notes.append(f"one seed alone, so that no interval covers other seeds: {'; '.join(single)}")
    return notes


def _short(value: str) -> str:
    """A commit by its first twelve digits; anything else as it is."""
    commit, plus, changes = value.partition("+changes")
    return (commit[:12] if len(commit) == 40 else commit) + plus + changes


def _why(missing: Sequence[Missing]) -> str:
    named = [f"{each.name} {each.state}" + (f" ({each.error})" if each.error else "") for each in missing[:5]]
    return (": " + "; ".join(named)) if named else ""
