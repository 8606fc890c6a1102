"""`sdar-gym bench report`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from sdar_agents.options import parse

WIDEST_TABLE = 220
"""Columns at least, where the output is no terminal."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Compare the learners of a bench, or of single runs, over the same tasks and seeds."""

    paths: Annotated[tuple[str, ...], tyro.conf.Positional]
    """The folder of a bench, a packed bench, or folders of runs of `sdar-gym train`."""
    only: tuple[str, ...] = ()
    """Runs to report on, by patterns as of `bench run`: fewer pairs, so less is lost to their correction."""
    metric: tuple[str, ...] = ("success", "area")
    """What pairs are compared in: success (of the final panel), area (under the learning curve), score."""
    show: tuple[str, ...] = ()
    """Metrics of the training steps to tell the course of, such as `gap gate entropy` (agents/README.md)."""
    threshold: float = 0.5
    """Of success: how many steps until a run stands there."""
    baseline: str | None = None
    """Compare every learner with this one alone: fewer pairs, so less is lost to their correction."""
    separately: bool = False
    """Report rows that must not be compared in groups of their own, instead of refusing them."""
    alpha: float = 0.05
    """Level of all comparisons of a metric together; intervals have the confidence 1 - alpha."""
    seed: int = 0
    """Of the resampling."""
    json: str | None = None
    """File that receives every number."""
    latex: str | None = None
    """File that receives tables for a paper."""
    markdown: str | None = None
    """File that receives one table for a README, with differences to --baseline."""
    html: str | None = None
    """File that receives a page with curves and intervals, which needs nothing else."""
    svg: str | None = None
    """File that receives a figure: differences to --baseline in the first --metric, in every environment."""


def run(arguments: Sequence[str]) -> None:
    """Read, compare, print and write."""
    options = parse(ReportOptions, arguments, command="bench report")
    if not options.paths:
        raise ValueError("name the folder of a bench, or folders of runs")
    for name in ("json", "latex", "markdown", "html", "svg"):
        file = getattr(options, name)
        if file is not None and not Path(file).absolute().parent.is_dir():
            raise ValueError(f"--{name} {file}: its folder does not exist")
    if options.svg is not None and options.baseline is None:
        raise ValueError("--svg shows differences to one learner: name it with --baseline")
    from sdar_agents.bench.figure import figure
    from sdar_agents.bench.latex import latex
    from sdar_agents.bench.markdown import markdown
    from sdar_agents.bench.page import page
    from sdar_agents.bench.report import Question, make_report
    from sdar_agents.bench.results import narrowed, read_results

    question = Question(
        metrics=tuple(dict.fromkeys(options.metric)),
        threshold=options.threshold,
        baseline=options.baseline,
        separately=options.separately,
        alpha=options.alpha,
        seed=options.seed,
        show=tuple(dict.fromkeys(options.show)),
    )
    results = narrowed(read_results([Path(path) for path in options.paths]), options.only)
    report = make_report(results, question)
    _print(report)
    if options.json is not None:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.latex is not None:
        Path(options.latex).write_text(latex(report), encoding="utf-8")
    if options.markdown is not None:
        Path(options.markdown).write_text(markdown(report), encoding="utf-8")
    if options.html is not None:
        Path(options.html).write_text(page(report), encoding="utf-8")
    if options.svg is not None:
        Path(options.svg).write_text(figure(report, question.metrics[0]), encoding="utf-8")


def _print(report: dict[str, object]) -> None:
    from sdar_agents.bench.tables import missing_lines, tables

    console = Console()
    if not console.is_terminal:
        # A pipe has no width: nothing should be folded there.
        console = Console(width=WIDEST_TABLE)
    for table in tables(report):
        console.print(table)
        console.print()
    for line in missing_lines(report):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
