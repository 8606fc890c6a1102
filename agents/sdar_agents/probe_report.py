"""A report on what skills are worth to a teacher: tables for the terminal, and a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from sdar_agents.html_page import document, listing, soft, table
from sdar_agents.lift_report import grid
from sdar_agents.skill_probe import MEASURES
from sdar_agents.svg_plots import Estimate, interval_plot, legend

WORDS = {
    "won": "won against lost",
    "won_same_task": "the same, within a task",
    "as_oracle": "as the oracle against otherwise",
}
MOST_SKILLS = 25


def tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Every table that the report has something for."""
    turns = f"{report['turns']} turns, {report['won_turns']} of won episodes"
    yield grid(f"gap AUC: {turns}", *set_rows(report))
    yield grid("difference of gap AUC, on the same turns", *comparison_rows(report))
    yield grid("mean gap in nats a token", *gap_rows(report))
    first = next(iter(report["sets"]))
    yield grid(f"{first}, by task type", *part_rows(report["sets"][first]["by_task_type"], "task type"))
    yield grid(f"{first}, by turn", *part_rows(report["sets"][first]["by_turn"], "turn"))
    if report["skills"]:
        yield grid("each right skill by itself: what it is worth", *skill_rows(report["skills"][:MOST_SKILLS]))


def set_rows(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads, and a row a set of skills."""
    rows = [[name, *(_span(it[measure]) for measure in _measures(report))] for name, it in report["sets"].items()]
    return ["teacher reads", *(WORDS[measure] for measure in _measures(report))], rows


def comparison_rows(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads, and a row a comparison."""
    rows = [
        [f"{it['first']} - {it['second']}", WORDS[it["measure"]], _span(it, sign="+"), it["verdict"]]
        for it in report["comparisons"]
    ]
    return ["pair", "measure", "difference", "the first is"], rows


def gap_rows(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads, and a row a set of skills."""
    heads = {"gap": "all", "gap_won": "won", "gap_lost": "lost"}
    if report["oracle_turns"] is not None:
        heads |= {"gap_as_oracle": "as the oracle", "gap_otherwise": "otherwise"}
    rows = [[name, *(_number(it[key]) for key in heads)] for name, it in report["sets"].items()]
    return ["teacher reads", *heads.values()], rows


def part_rows(parts: Mapping[str, Any], head: str) -> tuple[list[str], list[list[str]]]:
    """Heads, and a row a part of the turns."""
    measures = [measure for measure in MEASURES if any(it[measure] for it in parts.values())]
    rows = [
        [label, str(it["turns"]), _number(it["gap"]), *(_span(it[measure]) for measure in measures)]
        for label, it in parts.items()
    ]
    return [head, "turns", "mean gap", *(WORDS[measure] for measure in measures)], rows


def skill_rows(skills: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Heads, and a row a skill."""
    measures = [measure for measure in MEASURES if any(it[measure] for it in skills)]
    rows = [
        [it["skill"], str(it["tasks"]), str(it["turns"]), _number(it["gap_won"]), _number(it["gap_lost"]),
         *(_span(it[measure]) for measure in measures)]
        for it in skills
    ]  # fmt: skip
    return ["skill", "tasks", "turns", "gap, won", "lost", *(WORDS[measure] for measure in measures)], rows


def page(report: Mapping[str, Any]) -> str:
    """The report as one page that stands alone."""
    return document(f"Skill probe: {report['provenance']['agent']}", _parts(report))


def _parts(report: Mapping[str, Any]) -> Iterator[str]:
    provenance = report["provenance"]
    yield soft(
        f"{provenance['env']}, {provenance['episodes']} episodes of {provenance['tasks']} tasks; {report['turns']} "
        f"turns, {report['won_turns']} of won episodes; bank {provenance['bank']} ({provenance['bank_hash'][:16]})."
    )
    yield "<h2>Gap AUC</h2>" + legend([WORDS[measure] for measure in _measures(report)])
    yield interval_plot(
        {
            WORDS[measure]: {name: _estimate(it[measure]) for name, it in report["sets"].items() if it[measure]}
            for measure in _measures(report)
        }
    )
    yield table(*set_rows(report))
    yield soft(
        "The probability that the teacher's gap of a good turn exceeds that of a bad one; half is what a text without "
        "any bearing has. 95 % intervals by resampling tasks."
    )
    yield "<h2>Differences on the same turns</h2>" + table(*comparison_rows(report))
    yield "<h2>Mean gap, nats a token</h2>" + table(*gap_rows(report))
    for name, it in report["sets"].items():
        yield f"<h2>{name}, by task type</h2>" + table(*part_rows(it["by_task_type"], "task type"))
        yield f"<h2>{name}, by turn</h2>" + table(*part_rows(it["by_turn"], "turn"))
    if report["skills"]:
        yield "<h2>Each right skill by itself</h2>" + table(*skill_rows(report["skills"]))
    yield "<h2>Provenance</h2>" + listing(provenance)


def _measures(report: Mapping[str, Any]) -> list[str]:
    return [measure for measure in MEASURES if any(it[measure] for it in report["sets"].values())]


def _estimate(it: Mapping[str, Any]) -> Estimate:
    return Estimate(it["value"], *it["interval"])


def _span(it: Mapping[str, Any] | None, *, sign: str = "") -> str:
    if it is None:
        return "-"
    low, high = it["interval"]
    return f"{it['value']:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"
