"""A bench's report as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

RESULT_HEADS = (
    "learner", "seeds", "success", "IQM", "quartiles", "area", "steps to {threshold:g}", "score", "turns", "s/step",
    "tokens/step",
)  # fmt: skip


def tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Every table that the report has something for."""
    threshold = report["question"]["threshold"]
    for name, environment in report["environments"].items():
        heads = [head.format(threshold=threshold) for head in RESULT_HEADS]
        yield _table(f"{name}: {describe(environment)}", heads, result_rows(environment))
        for words, heads, rows in part_tables(environment):
            yield _table(f"{name}: {words}", heads, rows)
    for metric, heads, rows in comparison_tables(report):
        yield _table(f"{metric}, pairs of the same seeds and tasks", heads, rows)
    for words, heads, rows in length_difference_tables(report):
        yield _table(words, heads, rows)


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
            "-" if it["tokens_per_step"] is None else f"{it['tokens_per_step']:,.0f}",
        ]
        for label, it in environment["learners"].items()
    ]


Words = tuple[str, list[str], list[list[str]]]
"""A table: what it shows, its heads, its rows."""


def part_tables(environment: Mapping[str, Any]) -> Iterator[Words]:
    """Success by parts: of the tasks, each part with its number of tasks, and of the solutions by their length."""
    learners = environment["learners"]
    if any(it["by_turns"] for it in learners.values()):
        names = next(list(it["by_turns"]) for it in learners.values() if it["by_turns"])
        rows = [[label, *(interval(it["by_turns"].get(name)) for name in names)] for label, it in learners.items()]
        yield "share of tasks solved in so many turns (together: success)", ["learner", *names], rows
    kinds = {"by_length": ("lengths", "turns that the oracle needs"), "by_task_type": ("task_types", "task type")}
    for part, (counts, words) in kinds.items():
        names = list(environment[counts])
        heads = ["learner", *(f"{name} (n={environment[counts][name]})" for name in names)]
        rows = [[label, *(interval(it[part].get(name)) for name in names)] for label, it in learners.items()]
        if len(names) > 1:
            yield f"success by {words}", heads, rows
    shown = list(dict.fromkeys(name for it in learners.values() for name in it["training"]))
    if shown:
        courses = [[label, *(course(it["training"].get(name)) for name in shown)] for label, it in learners.items()]
        yield "training, first quarter -> last", ["learner", *shown], courses


def course(value: Mapping[str, Any] | None) -> str:
    """Where a metric was in the beginning, and at the end."""
    return "-" if value is None else " -> ".join(_short(value[part]["mean"]) for part in ("first", "last"))


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def comparison_tables(report: Mapping[str, Any]) -> Iterator[Words]:
    """A table a metric, a row a pair; the verdict stands before the numbers that it rests on."""
    for metric in report["question"]["metrics"]:
        rows = [
            [
                f"{row['first']} - {row['second']}",
                row["environment"],
                row["verdict"],
                interval(row["difference"], signed=True),
                "-" if row["p_holm"] is None else f"{row['p_holm']:.4f}",
                str(len(row["seeds"])),
                row["reason"],
            ]
            for row in report["comparisons"]
            if row["metric"] == metric
        ]
        heads = ["pair", "environment", "the first is", "difference", "p (Holm)", "seeds", ""]
        # A column of nothing is left out.
        width = len(heads) if any(row[-1] for row in rows) else len(heads) - 1
        if rows:
            yield metric, heads[:width], [row[:width] for row in rows]


def length_difference_tables(report: Mapping[str, Any]) -> Iterator[Words]:
    """Does a difference hold for longer tasks, and for longer solutions?"""
    kinds = {"by_turns": "difference in the share of tasks solved in so many turns (together: in success)",
             "by_length": "difference by turns that the oracle needs"}  # fmt: skip
    for part, words in kinds.items():
        rows = [row for row in report["comparisons"] if row[part]]
        names = list(dict.fromkeys(name for row in rows for name in row[part]))
        cells = [
            [
                row["environment"],
                row["metric"],
                f"{row['first']} - {row['second']}",
                *(interval(row[part].get(name), signed=True) for name in names),
            ]
            for row in rows
        ]
        if cells:
            yield words, ["environment", "metric", "pair", *names], cells


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
