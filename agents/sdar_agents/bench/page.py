"""A bench's report as one HTML page that needs nothing else: verdicts, curves and intervals, tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    if any(row["by_length"] for row in report["comparisons"]):
        yield "<h2>Does a difference hold for longer tasks?</h2>"
        yield table(*tables.length_difference_table(report))
        yield soft("Tasks by the number of turns that the environment's oracle needs. No verdict rests on these parts.")
    yield "<h2>How these numbers are made</h2>"
    yield soft(
        "Intervals cover new training seeds and new tasks: both are resampled crosswise, and the width is Student's, "
        "so that few seeds give wide intervals. IQM is the mean of the middle half of the seeds. The area is the mean "
        "height of the learning curve. Pairs are compared on the same seeds and tasks; verdicts are after Holm's "
        "correction for all pairs of a metric. docs/bench.md defines every number."
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
    for metric in dict.fromkeys(row["metric"] for row in report["comparisons"]):
        rows = [row for row in report["comparisons"] if row["metric"] == metric and row["difference"] is not None]
        if not rows:
            continue
        several = len(report["environments"]) > 1
        labels = {
            f"{row['first']} − {row['second']}" + (f", {row['environment']}" if several else ""): row  # noqa: RUF001
            for row in rows
        }
        estimates = {label: _estimate(row["difference"]) for label, row in labels.items()}
        reach = min(1.0, 1.05 * max(0.05, *(abs(bound) for it in estimates.values() for bound in (it.low, it.high))))
        yield f"<h3>Difference in {escape(metric)}</h3>"
        yield interval_plot({"difference": estimates}, low=-reach, high=reach)
    yield table(tables.COMPARISON_HEADS, tables.comparison_rows(report))


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
    for part, words in (("by_length", "turns of the oracle"), ("by_task_type", "task type")):
        counts = environment[tables.PART_COUNTS[part]]
        if len(counts) > 1:
            yield f"<h3>Success by {words}</h3>"
            yield table(tables.part_heads(words, counts), tables.part_rows(environment, part))
    yield listing({key: value for key, value in environment["identity"].items() if value not in (None, {}, [])})


def _estimate(value: Mapping[str, Any]) -> Estimate:
    return Estimate(value["mean"], *value["interval"])
