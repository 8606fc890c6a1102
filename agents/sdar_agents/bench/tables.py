"""A bench's report as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

RESULT_HEADS = (
    "learner", "seeds", "success", "IQM", "quartiles", "area", "steps to {threshold:g}", "score", "turns", "s/step"
)  # fmt: skip


def tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Every table that the report has something for."""
    threshold = report["question"]["threshold"]
    for name, environment in report["environments"].items():
        heads = [head.format(threshold=threshold) for head in RESULT_HEADS]
        yield _table(f"{name}: {describe(environment)}", heads, result_rows(environment))
        for part, words in (("by_length", "turns of the oracle"), ("by_task_type", "task type")):
            if len(counts := environment[PART_COUNTS[part]]) > 1:
                yield _table(f"{name}: success by {words}", part_heads(words, counts), part_rows(environment, part))
    if report["comparisons"]:
        yield _table("pairs, of the same seeds and tasks", COMPARISON_HEADS, comparison_rows(report))
    if any(row["by_length"] for row in report["comparisons"]):
        yield _table("success by turns of the oracle, pair by pair", *length_difference_table(report))


PART_COUNTS = {"by_length": "lengths", "by_task_type": "task_types"}
"""Where a report says how many tasks each part has."""
COMPARISON_HEADS = ("environment", "metric", "pair", "seeds", "difference", "p (Holm)", "the first is")


def describe(environment: Mapping[str, Any]) -> str:
    """Which tasks the numbers are of."""
    identity, dropped = environment["identity"], environment["dropped_tasks"]
    left_out = f", {dropped} left out that not every run could play" if dropped else ""
    return f"{environment['tasks']} held-out tasks of panel {identity['panel_hash']}{left_out}"


def result_rows(environment: Mapping[str, Any]) -> list[list[str]]:
    """A row a learner, as `RESULT_HEADS`."""
    return [
        [
            label + (" (skills shown)" if it["skills_shown"] else ""),
            str(len(it["seeds"])),
            interval(it["success"]),
            f"{it['interquartile_mean']:.3f}",
            "{:.3f} to {:.3f}".format(*it["interquartile_range"]),
            interval(it["area"]),
            steps(it["steps_to_threshold"], len(it["seeds"])),
            interval(it["score"]),
            "-" if it["turns"] is None else f"{it['turns']:.1f}",
            "-" if it["seconds_per_step"] is None else f"{it['seconds_per_step']:.1f}",
        ]
        for label, it in environment["learners"].items()
    ]


def part_heads(words: str, counts: Mapping[str, int]) -> list[str]:
    """Heads for `part_rows`: each part with its number of tasks."""
    return ["learner", *(f"{name} (n={count})" for name, count in counts.items())]


def part_rows(environment: Mapping[str, Any], part: str) -> list[list[str]]:
    """A row a learner, a column a part of the tasks."""
    return [
        [label, *(interval(it[part].get(name)) for name in environment[PART_COUNTS[part]])]
        for label, it in environment["learners"].items()
    ]


def comparison_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """A row a pair and metric, as `COMPARISON_HEADS`."""
    return [
        [
            row["environment"],
            row["metric"],
            f"{row['first']} - {row['second']}",
            str(len(row["seeds"])),
            interval(row["difference"], signed=True),
            "-" if row["p_holm"] is None else f"{row['p_holm']:.4f}",
            row["verdict"] + (f" ({row['reason']})" if row["reason"] else ""),
        ]
        for row in report["comparisons"]
    ]


def length_difference_table(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: does a difference hold for longer tasks?"""
    rows = [row for row in report["comparisons"] if row["by_length"]]
    names = list(dict.fromkeys(name for row in rows for name in row["by_length"]))
    return ["environment", "metric", "pair", *names], [
        [
            row["environment"],
            row["metric"],
            f"{row['first']} - {row['second']}",
            *(interval(row["by_length"].get(name), signed=True) for name in names),
        ]
        for row in rows
    ]


def interval(value: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    """A mean with its interval."""
    if value is None:
        return "-"
    form = "{:+.3f} [{:+.3f}, {:+.3f}]" if signed else "{:.3f} [{:.3f}, {:.3f}]"
    return form.format(value["mean"], *value["interval"])


def steps(value: Mapping[str, Any], seeds: int) -> str:
    """The median over seeds, and how many of them got there."""
    median = "not reached" if value["median"] is None else f"{value['median']:g}"
    return f"{median} ({value['reached']}/{seeds})"


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=Text(title), title_justify="left", box=None, header_style="bold")
    for place, name in enumerate(heads):
        # Labels are users' words, which are no markup.
        table.add_column(Text(name), justify="right" if place else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def missing_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """What a reader has to know besides the tables, a line each."""
    if report["missing"]:
        yield f"MISSING: {len(report['missing'])} runs, which no number above knows of"
        for it in report["missing"]:
            yield f"  {it['name']}: {it['state']}" + (f", {it['error']}" if it["error"] else "")
    if report["left_out"]:
        yield f"left out, since the bench file does not list them any more: {', '.join(report['left_out'])}"
    yield from report["notes"]
