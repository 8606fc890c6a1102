"""`sdar-gym bench run`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from sdar_agents.options import parse


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Train every learner of a bench file in every environment with every seed, and let each play the final panel.

    Cells that are finished are taken as they are, begun ones are continued, failed ones are tried again. Exit code 1
    if a cell failed, 130 after Ctrl-C.
    """

    file: Annotated[str, tyro.conf.Positional]
    """The bench file (docs/bench.md)."""
    out: str | None = None
    """Folder that receives the cells; by default runs/NAME, with the name of the file."""
    jobs: int = 1
    """Cells at once, each in a process with one thread; 1 runs them in turn, with a progress bar and all threads."""
    only: tuple[str, ...] = ()
    """Cells to run: patterns such as `sdar`, `seed-0` or `kitchen/sdar*/seed-?`."""
    reuse: tuple[str, ...] = ()
    """Other benches, folders or packed, whose finished cells of the same settings and seed are taken instead of run."""


def run(arguments: Sequence[str]) -> None:
    """Check the file, run the cells, say how they ended."""
    options = parse(RunOptions, arguments, command="bench run")
    if options.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {options.jobs}")
    from sdar_agents.bench.file import chosen, read_bench
    from sdar_agents.bench.run import run_bench

    bench = read_bench(Path(options.file))
    folder = Path(options.out or f"runs/{bench.name}")
    console = Console(stderr=True)
    reused = [Path(source) for source in options.reuse]
    endings = run_bench(bench, folder, jobs=options.jobs, only=options.only, reused=reused, console=console)
    counts = Counter(endings.values())
    wanted = len(chosen([cell.name for cell in bench.cells()], options.only))
    console.print(
        f"{counts['finished']} of {wanted} cells finished"
        + (f", {counts['failed']} failed" if counts["failed"] else "")
        + f"; report: sdar-gym bench report {folder}",
        highlight=False,
        soft_wrap=True,
    )
    if counts["stopped"] or len(endings) < wanted:
        sys.exit(130)
    if counts["failed"] or counts["held"]:
        sys.exit(1)
