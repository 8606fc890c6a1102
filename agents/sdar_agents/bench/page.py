"""A bench's report as one HTML page that needs nothing else: verdicts, curves and intervals, tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from sdar_agents.bench import tables
from sdar_agents.html_page import document, listing, soft, table
from sdar_agents.svg_plots import Estimate, interval_plot, learning_plot, legend


def page(report: Mapping[str, Any]) -> str:
    """The page of a report.

    Args:
        report: What `sdar-gym bench report --json` writes.
    """
    return document(f"Bench: {report['name']}", _parts(report))


def _parts(report: Mapping[str, Any]) -> Iterator[str]:
    yield from _warnings(report)
    if report["comparisons"]:
        yield from _verdicts(report)
    for name, environment in report["environments"].items():
        yield from _environment(name, environment, report["question"])
    lengths = list(tables.length_difference_tables(report))
    if lengths:
        yield "<h2>Does a difference hold for longer tasks?</h2>"
        for words, heads, rows in lengths:
            yield f"<h3>{escape(words.capitalize())}</h3>" + table(heads, rows)
        yield soft("Over 10 is every length from 11 turns on. No verdict rests on these parts.")
    yield "<h2>How these numbers are made</h2>"
    yield soft(
        "Intervals cover new training seeds and new tasks: both are resampled crosswise, and the width is Student's, "
        "so that few seeds give wide intervals. IQM is the mean of the middle half of the seeds. The area is the mean "
        "height of the learning curve. Pairs are compared on the same seeds and tasks; verdicts are after Holm's "
        "correction for all pairs of a metric, while each interval is of its pair alone: it may leave out 0 where the "
        "verdict is `not distinguishable`. docs/bench.md defines every number."
    )
    yield listing(report["question"])


def _warnings(report: Mapping[str, Any]) -> Iterator[str]:
    """What is missing, and what a reader has to know first."""
    if report["missing"]:
        yield f"<h2>Missing: {len(report['missing'])} runs</h2>"
        yield table(["run", "state", "why"], [[it["name"], it["state"], it["error"]] for it in report["missing"]])
    lines = list(report["notes"])
    if report["left_out"]:
        lines.append(f"in the folder, but not in the bench file any more: {', '.join(report['left_out'])}")
    yield from (f"<p>{escape(line)}</p>" for line in lines)


def _verdicts(report: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Which learner is better?</h2>"
    for metric, heads, cells in tables.comparison_tables(report):
        rows = [row for row in report["comparisons"] if row["metric"] == metric and row["difference"] is not None]
        yield f"<h3>Difference in {escape(metric)}</h3>"
        if rows:
            yield _difference_plot(rows, several=len(report["environments"]) > 1)
        yield table(heads, cells)


def _difference_plot(rows: Sequence[Mapping[str, Any]], *, several: bool) -> str:
    """Differences with their intervals about 0; rows name their environment if there are several."""
    estimates = {
        f"{row['first']} − {row['second']}"  # noqa: RUF001
        + (f", {row['environment']}" if several else ""): _estimate(row["difference"])
        for row in rows
    }
    reach = min(1.0, 1.05 * max(0.05, *(abs(bound) for it in estimates.values() for bound in (it.low, it.high))))
    return interval_plot({"difference": estimates}, low=-reach, high=reach)


def _environment(name: str, environment: Mapping[str, Any], question: Mapping[str, Any]) -> Iterator[str]:
    learners = environment["learners"]
    yield f"<h2>{escape(name)}</h2>" + soft(tables.describe(environment)) + legend(list(learners))
    curves = {
        label: {int(step): _estimate(value) for step, value in it["curve"].items()} for label, it in learners.items()
    }
    if all(len(curve) > 1 for curve in curves.values()):
        yield learning_plot(curves, title="success on the evaluation panel, over training steps")
    yield interval_plot({label: {"success": _estimate(it["success"])} for label, it in learners.items()})
    heads = [head.format(threshold=question["threshold"]) for head in tables.RESULT_HEADS]
    yield table(heads, tables.result_rows(environment))
    for words, part_heads, rows in tables.part_tables(environment):
        yield f"<h3>{escape(words.capitalize())}</h3>" + table(part_heads, rows)
    yield listing({key: value for key, value in environment["identity"].items() if value not in (None, {}, [])})


def _estimate(value: Mapping[str, Any]) -> Estimate:
    return Estimate(value["mean"], *value["interval"])
