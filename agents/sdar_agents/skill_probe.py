"""Are skills worth distilling? Whether a teacher that reads them likes the turns that win better than those that lose.

The number is an area under the ROC curve: the probability that the gap of a good turn exceeds that of a bad one. Half
is what a skill without any bearing has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sdar_agents.skill_gaps import ProbedTurn

FORMAT = 1
RESAMPLES = 1_000
CELLS_AT_ONCE = 500_000
TURN_BUCKETS = ((0, 0), (1, 2), (3, 5), (6, 10), (11, 10_000))
MEASURES = ("won", "won_same_task", "as_oracle")
"""Good turns are those of won episodes; the same, only against turns of lost episodes of the same task; or those that
do what the oracle would have done there."""
Floats = np.ndarray[Any, Any]


def auc(values: Floats, good: Floats, weights: Floats) -> Floats:
    """P(value of a good one > value of a bad one), ties one half, under each of B weightings; NaN without any pair.

    Args:
        values, good: [N] numbers and bools.
        weights: How often each counts, [B, N].

    Returns:
        [B].
    """
    order = np.argsort(values, kind="stable")
    values, good = values[order], good[order]
    begin = np.searchsorted(values, values, side="left")
    end = np.searchsorted(values, values, side="right")
    found = []
    for part in np.array_split(weights, max(1, weights.size // CELLS_AT_ONCE)):
        ordered = part[:, order]
        good_weight = ordered * good
        # Bad weight before each place, [b, N + 1]; of equal values half of the bad weight among them counts.
        before = np.concatenate([np.zeros((len(part), 1)), np.cumsum(ordered * ~good, axis=1)], axis=1)
        won = (good_weight * (before[:, begin] + before[:, end]) / 2.0).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append(won / (good_weight.sum(axis=1) * before[:, -1]))
    return np.concatenate(found)


class Sample:
    """Turns with the measures that they allow, and resamples of their tasks.

    Args:
        turns: Of all episodes.
        seed: Of the resampling; the same resamples serve every set of skills, so that differences are paired.
    """

    def __init__(self, turns: Sequence[ProbedTurn], *, seed: int) -> None:
        self.turns = list(turns)
        self.won = np.array([turn.won for turn in turns])
        oracle = [turn.as_oracle for turn in turns]
        self.as_oracle = None if any(each is None for each in oracle) else np.array(oracle, dtype=bool)
        tasks = sorted({turn.task_id for turn in turns})
        number = {task: place for place, task in enumerate(tasks)}
        self.task = np.array([number[turn.task_id] for turn in turns])
        draws = np.random.default_rng(seed)
        # How often each task is drawn, [resamples, tasks]; the first row is the sample itself.
        drawn = draws.multinomial(len(tasks), np.full(len(tasks), 1 / len(tasks)), RESAMPLES)
        self.counts = np.concatenate([np.ones((1, len(tasks))), drawn]).astype(np.float64)

    def curve(self, measure: str, gaps: Floats, rows: Floats | None = None) -> Floats:
        """The measure on the sample (first) and on each resample, [1 + RESAMPLES]; NaN where it has no pair.

        Args:
            rows: [N] bools, the turns that count; None for all.
        """
        among = np.ones(len(gaps), dtype=bool) if rows is None else rows
        if measure == "won_same_task":
            return self._within_tasks(gaps, among)
        good = self.won if measure == "won" else self.as_oracle
        if good is None or not among.any():
            return np.full(len(self.counts), np.nan)
        values, good, task = gaps[among], good[among], self.task[among]
        return auc(values, good, self.counts[:, task])

    def _within_tasks(self, gaps: Floats, among: Floats) -> Floats:
        """Mean over tasks of their own areas, weighted by their pairs: how hard a task is has no part in it."""
        tasks = self.counts.shape[1]
        area, pairs = np.zeros(tasks), np.zeros(tasks)
        for task in range(tasks):
            rows = among & (self.task == task)
            good = self.won[rows]
            pairs[task] = good.sum() * (~good).sum()
            if pairs[task]:
                area[task] = auc(gaps[rows], good, np.ones((1, int(rows.sum()))))[0]
        weight = self.counts @ pairs
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = (self.counts @ (pairs * area)) / weight
        return found


def estimate(curve: Floats) -> dict[str, Any] | None:
    """Value and 95 % percentile interval of a number on the sample and its resamples; None where there is none."""
    known = curve[1:][np.isfinite(curve[1:])]
    if not np.isfinite(curve[0]) or not len(known):
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return {"value": float(curve[0]), "interval": [float(low), float(high)]}


def report_of(sample: Sample, sets: Mapping[str, Floats], skills: Mapping[str, Floats]) -> dict[str, Any]:
    """Everything that the gaps tell, as plain values.

    Args:
        sets: Name of a set of skills -> the gap of every turn, [N].
        skills: Skill id -> the gap that it alone makes on turns of tasks that it is right for, NaN elsewhere, [N].
    """
    curves = {name: {measure: sample.curve(measure, gaps) for measure in MEASURES} for name, gaps in sets.items()}
    return {
        "format": FORMAT,
        "turns": len(sample.turns),
        "won_turns": int(sample.won.sum()),
        "oracle_turns": None if sample.as_oracle is None else int(sample.as_oracle.sum()),
        "sets": {
            name: {
                **{measure: estimate(curve) for measure, curve in curves[name].items()},
                **_means(sample, gaps),
                "by_task_type": _parts(sample, gaps, [turn.task_type for turn in sample.turns]),
                "by_turn": _parts(sample, gaps, [_bucket(turn.index) for turn in sample.turns]),
            }
            for name, gaps in sets.items()
        },
        "comparisons": list(_comparisons(curves)),
        "skills": _by_skill(sample, skills),
    }


def _means(sample: Sample, gaps: Floats, rows: Floats | None = None) -> dict[str, Any]:
    among = np.ones(len(gaps), dtype=bool) if rows is None else rows
    parts = {"gap": among, "gap_won": among & sample.won, "gap_lost": among & ~sample.won}
    if sample.as_oracle is not None:
        parts |= {"gap_as_oracle": among & sample.as_oracle, "gap_otherwise": among & ~sample.as_oracle}
    return {name: float(gaps[chosen].mean()) if chosen.any() else None for name, chosen in parts.items()}


def _parts(sample: Sample, gaps: Floats, labels: Sequence[str]) -> dict[str, Any]:
    """The measures by a label of the turns."""
    names = np.array(labels)
    found = {}
    for label in dict.fromkeys(sorted(labels, key=_natural)):
        rows = names == label
        measures = {measure: estimate(sample.curve(measure, gaps, rows)) for measure in MEASURES}
        found[label] = {"turns": int(rows.sum()), **measures, **_means(sample, gaps, rows)}
    return found


def _comparisons(curves: Mapping[str, Mapping[str, Floats]]) -> Iterator[dict[str, Any]]:
    """Right and found skills against the controls, on the same turns and the same resamples."""
    controls = [name for name in ("random", "wrong", "placebo") if name in curves]
    for name in curves:
        if name in controls:
            continue
        for control in controls:
            for measure in MEASURES:
                difference = estimate(curves[name][measure] - curves[control][measure])
                if difference is not None:
                    low, high = difference["interval"]
                    verdict = "above" if low > 0 else "below" if high < 0 else "not distinguishable"
                    yield {"first": name, "second": control, "measure": measure, **difference, "verdict": verdict}


def _by_skill(sample: Sample, skills: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """Each skill by itself on the turns of the tasks that it is right for; most telling first."""
    rows = []
    for skill, gaps in skills.items():
        known = np.isfinite(gaps)
        values = np.where(known, gaps, 0.0)
        measures = {measure: estimate(sample.curve(measure, values, known)) for measure in MEASURES}
        tasks = len(set(sample.task[known].tolist()))
        rows.append({"skill": skill, "turns": int(known.sum()), "tasks": tasks, **measures,
                     **_means(sample, values, known)})  # fmt: skip
    first = "won" if sample.as_oracle is None else "as_oracle"
    return sorted(rows, key=lambda row: (-(row[first]["value"] if row[first] else 0.0), row["skill"]))


def _bucket(index: int) -> str:
    low, high = next(bounds for bounds in TURN_BUCKETS if bounds[0] <= index <= bounds[1])
    return str(low + 1) if low == high else f"{low + 1}-{high + 1}" if high < TURN_BUCKETS[-1][1] else f"{low + 1}+"


def _natural(label: str) -> tuple[int, str]:
    digits = "".join(character for character in label.partition("-")[0] if character.isdigit())
    return (int(digits) if digits and label[0].isdigit() else 0, label)
