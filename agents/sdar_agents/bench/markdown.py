"""A bench's report as one Markdown table: a row a learner in an environment, and how far it is from the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sdar_agents.bench.tables import course, interval


def markdown(report: Mapping[str, Any]) -> str:
    """Success, area, differences to the baseline in each metric with their verdicts, cost, and the metrics shown.

    Without a baseline there are no differences, since a pair has no row here.
    """
    metrics = report["question"]["metrics"] if report["question"]["baseline"] is not None else ()
    shown = report["question"]["show"]
    pairs = {(row["environment"], row["first"], row["metric"]): row for row in report["comparisons"]}
    baseline = report["question"]["baseline"]
    heads = ["environment", "learner", "seeds", "success", "area", *(f"{metric} - {baseline}" for metric in metrics)]
    lines = [_line([*heads, "s/step", "tokens/step", *shown]), "|---" * (len(heads) + 2 + len(shown)) + "|"]
    for name, environment in report["environments"].items():
        for label, it in environment["learners"].items():
            differences = [_difference(pairs.get((name, label, metric))) for metric in metrics]
            lines.append(_line([name, f"`{label}`", *_cells(it, differences, shown)]))
    return "\n".join([*lines, "", *_caption(report)]) + "\n"


def _cells(it: Mapping[str, Any], differences: Sequence[str], shown: Sequence[str]) -> Iterator[str]:
    yield str(len(it["seeds"]))
    yield interval(it["success"])
    yield interval(it["area"])
    yield from differences
    yield "-" if it["seconds_per_step"] is None else f"{it['seconds_per_step']:.1f}"
    yield "-" if it["tokens_per_step"] is None else f"{it['tokens_per_step']:,.0f}"
    yield from (course(it["training"].get(name)) for name in shown)


def _difference(row: Mapping[str, Any] | None) -> str:
    if row is None or row["difference"] is None:
        return ""
    verdict = "one seed" if len(row["seeds"]) == 1 else row["verdict"]
    shown = interval(row["difference"], signed=True)
    return f"**{shown}** {verdict}" if verdict in ("better", "worse") else f"{shown} {verdict}"


def _caption(report: Mapping[str, Any]) -> Iterator[str]:
    confidence = f"{100 * (1 - report['question']['alpha']):g}"
    yield f"Means with {confidence} % intervals over seeds and tasks; seconds and tokens are medians of a step."
    counts = {metric: 0 for metric in report["question"]["metrics"]}
    for row in report["comparisons"]:
        counts[row["metric"]] += row["p"] is not None
    if report["question"]["baseline"] is not None and any(counts.values()):
        told = ", ".join(f"{count} pairs in {metric}" for metric, count in counts.items())
        yield f"Better and worse are after Holm's correction ({told}); an interval is of its pair alone."


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
