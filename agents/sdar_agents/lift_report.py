"""A report on what skills do for whoever acts: bounds, tables for the terminal, and a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from sdar_agents.html_page import document, listing, soft, table
from sdar_agents.svg_plots import Estimate, interval_plot

CONDITION_HEADS = ("prompt shows", "success", "95 % interval", "score", "turns", "skills", "did not fit")
COMPARISON_HEADS = ("pair", "difference", "95 % interval", "p", "p (Holm)")
SKILL_HEADS = ("condition", "skill", "tasks", "with it", "none", "difference", "95 % interval")


def tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Every table that the report has something for."""
    yield grid(f"success on {report['tasks']} tasks", CONDITION_HEADS, condition_rows(report))
    yield grid("on the same tasks", COMPARISON_HEADS, comparison_rows(report))
    heads, rows = kind_rows(report)
    yield grid("success by task type", heads, rows)
    right = [row for row in report["by_skill"] if row["condition"] not in ("random", "wrong")]
    if right:
        yield grid("by skill in the prompt, against none on the same tasks", SKILL_HEADS, skill_rows(right))


def condition_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """A row a condition, as `CONDITION_HEADS`."""
    return [
        [
            name, f"{it['success_rate']:.3f}", _span(it["interval"]), f"{it['score_mean']:.3f}",
            f"{it['turns_mean']:.1f}", f"{it['skills_mean']:.1f}", str(it["dropped_skills"]),
        ]
        for name, it in report["conditions"].items()
    ]  # fmt: skip


def comparison_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """A row a pair, as `COMPARISON_HEADS`."""
    return [
        [
            f"{it['first']} - {it['second']}", f"{it['difference']:+.3f}", _span(it["interval"], sign="+"),
            f"{it['p']:.4f}", f"{it['p_holm']:.4f}",
        ]
        for it in report["comparisons"]
    ]  # fmt: skip


def kind_rows(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads, and a row a task type."""
    names = list(report["conditions"])
    return ["task type", "tasks", *names], [
        [kind, str(it["n"]), *(f"{it['success_rate'][name]:.3f}" for name in names)]
        for kind, it in report["by_task_type"].items()
    ]


def skill_rows(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A row a skill and condition, as `SKILL_HEADS`."""
    return [
        [
            it["condition"], it["skill"], f"{it['n']}{' (few)' if it['is_few'] else ''}", f"{it['success_rate']:.3f}",
            f"{it['none']:.3f}", f"{it['difference']:+.3f}", _span(it["interval"], sign="+"),
        ]
        for it in rows
    ]  # fmt: skip


def page(report: Mapping[str, Any]) -> str:
    """The report as one page that stands alone."""
    return document(f"Skill lift: {report['provenance']['agent']}", _parts(report))


def _parts(report: Mapping[str, Any]) -> Iterator[str]:
    provenance = report["provenance"]
    yield soft(
        f"{provenance['env']}, panel {provenance['panel']} ({provenance['panel_hash']}), {report['tasks']} tasks that "
        f"every condition played; bank {provenance['bank']} ({str(provenance['bank_hash'])[:16]})."
    )
    yield "<h2>Success by what the prompt shows</h2>"
    rates = {name: Estimate(it["success_rate"], *it["interval"]) for name, it in report["conditions"].items()}
    yield interval_plot({"success": rates})
    yield table(CONDITION_HEADS, condition_rows(report))
    yield "<h2>Differences on the same tasks</h2>"
    pairs = {
        f"{it['first']} − {it['second']}": Estimate(it["difference"], *it["interval"])  # noqa: RUF001
        for it in report["comparisons"]
    }
    reach = max(0.05, *(abs(bound) for it in pairs.values() for bound in (it.low, it.high))) * 1.05
    yield interval_plot({"difference": pairs}, low=-reach, high=reach)
    yield table(COMPARISON_HEADS, comparison_rows(report))
    yield soft("Paired randomisation test, two-sided, Holm's correction for all pairs; 95 % bootstrap intervals.")
    yield "<h2>By task type</h2>" + table(*kind_rows(report))
    if report["by_skill"]:
        yield "<h2>By skill in the prompt</h2>" + table(SKILL_HEADS, skill_rows(report["by_skill"]))
        yield soft("Against no skills on the very same tasks. A skill is seldom alone in a prompt.")
    yield "<h2>Provenance</h2>" + listing(provenance)


def read_bound(text: str, names: Sequence[str]) -> tuple[str, str, float]:
    """A bound such as `oracle-none=0.1`: the difference of two conditions must be at least so large.

    Raises:
        ValueError: it is not of this form, or names conditions that are not played.
    """
    pair, is_given, value = text.rpartition("=")
    fits = [(first, second) for first in names for second in names if pair == f"{first}-{second}" and first != second]
    try:
        least = float(value)
    except ValueError:
        is_given = ""
        least = 0.0
    if not is_given or not fits:
        raise ValueError(f"--min {text}: write FIRST-SECOND=NUMBER, such as {names[-1]}-{names[0]}=0.1; "
                         f"played are {', '.join(names)}")  # fmt: skip
    return (*fits[0], least)


def missed(bounds: Sequence[tuple[str, str, float]], report: Mapping[str, Any]) -> list[str]:
    """A line for each bound that the differences of success rates do not reach."""
    rates = {name: it["success_rate"] for name, it in report["conditions"].items()}
    found = [(first, second, least, rates[first] - rates[second]) for first, second, least in bounds]
    return [
        f"{first} - {second} is {value:+.3f}, below {least:g}" for first, second, least, value in found if value < least
    ]


def _span(interval: Sequence[float], *, sign: str = "") -> str:
    low, high = interval
    return f"{low:{sign}.3f} to {high:{sign}.3f}"


def grid(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table for the terminal, its first column to the left."""
    found = Table(title=title)
    for place, name in enumerate(heads):
        found.add_column(Text(name), justify="left" if place == 0 else "right", overflow="fold")
    for row in rows:
        # Names may be addresses such as package:Class, which are no markup.
        found.add_row(*map(Text, row))
    return found
