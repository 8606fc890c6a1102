"""The figure of a report: how far each learner is from one of them, in every environment, as one SVG file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdar_agents.bench.results import ResultError
from sdar_agents.svg_plots import Estimate, interval_plot


def figure(report: Mapping[str, Any], metric: str) -> str:
    """Differences to the report's baseline in a metric, a row a learner and a colour an environment.

    Args:
        report: What `make_report` gave, with a baseline.
        metric: One that pairs were compared in.

    Raises:
        ResultError: the report has no baseline, or nothing was compared in this metric.
    """
    baseline = report["question"]["baseline"]
    if baseline is None:
        raise ResultError("a figure shows differences to one learner: name it with --baseline")
    series: dict[str, dict[str, Estimate]] = {}
    for row in report["comparisons"]:
        if row["metric"] == metric and row["difference"] is not None:
            difference = row["difference"]
            estimate = Estimate(difference["mean"], *difference["interval"])
            series.setdefault(row["environment"], {})[row["first"]] = estimate
    if not series:
        raise ResultError(f"no pair could be compared in {metric}: nothing to draw")
    estimates = [it for found in series.values() for it in found.values()]
    low = min(-0.05, *(it.low for it in estimates)) * 1.05
    high = max(0.05, *(it.high for it in estimates)) * 1.05
    what = {"success": "final success", "area": "area under the learning curve"}.get(metric, metric)
    seeds = {len(row["seeds"]) for row in report["comparisons"] if row["metric"] == metric and row["seeds"]}
    seen = "1 seed" if seeds == {1} else f"{'-'.join(str(n) for n in sorted({min(seeds), max(seeds)}))} seeds"
    confidence = 1.0 - report["question"]["alpha"]
    title = f"{report['name']}: {what}, minus that of {baseline} ({confidence:.0%} intervals, {seen})"
    return interval_plot(series, low=max(-1.0, low), high=min(1.0, high), title=title) + "\n"
