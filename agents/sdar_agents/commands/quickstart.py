"""`sdar-gym quickstart`: several learners and seeds on the same tasks, one table, one plot."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sdar_agents.options import parse

LEARNERS = ("grpo", "grpo_opsd", "sdar")


@dataclass(frozen=True, slots=True)
class QuickstartOptions:
    """Train GRPO, naive GRPO+OPSD and SDAR on the same small kitchens and compare them.

    Runs that are there already are taken as they are, unfinished ones are resumed.
    """

    run: str = "runs/quickstart"
    """Folder that receives a run folder for each learner and seed, summary.json and plot.png."""
    learners: tuple[str, ...] = LEARNERS
    """Registry names."""
    seeds: tuple[int, ...] = (0,)
    """One run of each learner for each of them."""
    steps: int = 15
    """Training steps of each run."""
    eval_episodes: int = 100
    """Held-out tasks at each evaluation."""
    eval_every: int = 5
    """Steps between evaluations."""
    jobs: int = 1
    """Runs at once, one thread each; 1 runs them in turn, with a progress bar and all threads."""


def run(arguments: Sequence[str]) -> None:
    """Train everything, print the table, draw the plot."""
    options = parse(QuickstartOptions, arguments, command="quickstart")
    cells = [(learner, seed) for seed in options.seeds for learner in options.learners]
    if not cells or options.jobs < 1:
        raise ValueError("--learners and --seeds need at least one value each, --jobs at least 1")
    console = Console(stderr=True)
    if options.jobs == 1:
        summaries = [_train_cell(options, cell, console) for cell in cells]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
            waiting = [pool.submit(_train_quietly, options, cell) for cell in cells]
            summaries = []
            for cell, future in zip(cells, waiting, strict=True):
                summaries.append(future.result())
                console.print(_line(cell, summaries[-1]), highlight=False)
    _report(options, dict(zip(cells, summaries, strict=True)))


def _config(options: QuickstartOptions, cell: tuple[str, int]) -> Any:
    from sdar_agents.config import preset_config

    learner, seed = cell
    return replace(
        preset_config("quickstart", learner),
        run=str(Path(options.run) / f"{learner}-seed{seed}"),
        seed=seed,
        steps=options.steps,
        eval_episodes=options.eval_episodes,
        eval_every=options.eval_every,
    )


def _train_cell(options: QuickstartOptions, cell: tuple[str, int], console: Console) -> dict[str, Any]:
    from sdar_agents.setup import claim_folder
    from sdar_agents.train import train

    config = _config(options, cell)
    folder = Path(config.run)
    known = (folder / "config.json").is_file()
    if known and (folder / "summary.json").is_file():
        claim_folder(config, resume=True)
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        if summary["steps"] >= config.steps:
            return summary
    console.print(f"[bold]{cell[0]}[/bold], seed {cell[1]}")
    summary = train(config, resume=known, console=console)
    if not summary["finished"]:
        raise KeyboardInterrupt
    return summary


def _train_quietly(options: QuickstartOptions, cell: tuple[str, int]) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    return _train_cell(options, cell, Console(quiet=True))


def _line(cell: tuple[str, int], summary: dict[str, Any]) -> str:
    before, after = summary["before"], summary["after"]
    return (
        f"{cell[0]:<10} seed {cell[1]}: {before['success_rate']:.3f} -> {after['success_rate']:.3f} "
        f"[{after['interval'][0]:.3f}, {after['interval'][1]:.3f}] (n={after['n']})"
    )


def _interval(rates: Sequence[float], n: int) -> tuple[float, float]:
    """Of the mean over seeds (Student's t), or of the pooled episodes where the seeds show no spread to judge by."""
    from sdar_agents.intervals import mean_and_interval, wilson

    if len(set(rates)) == 1:
        return wilson(round(sum(rates) * n), n * len(rates))
    _, low, high = mean_and_interval(rates)
    return max(0.0, low), min(1.0, high)


def _report(options: QuickstartOptions, results: dict[tuple[str, int], dict[str, Any]]) -> None:
    from sdar_agents.run_log import plot_runs

    folder = Path(options.run)
    headers = ("learner", "seeds", "before", "after", "95 % interval", "skills: before", "after", "s/step")
    table = Table(*headers, box=None, header_style="bold")
    rows = {}
    for learner in options.learners:
        of = [results[learner, seed] for seed in options.seeds]
        rates = {when: [summary[when]["success_rate"] for summary in of] for when in ("before", "after")}
        skilled = {when: [summary[when]["skills_success_rate"] for summary in of] for when in ("before", "after")}
        interval = _interval(rates["after"], of[0]["after"]["n"])
        rows[learner] = {"success": rates, "with_skills": skilled, "interval": interval, "n": of[0]["after"]["n"]}
        mean = {key: sum(values) / len(values) for key, values in rates.items()}
        mean_skilled = {key: sum(values) / len(values) for key, values in skilled.items()}
        table.add_row(
            learner,
            str(len(of)),
            f"{mean['before']:.3f}",
            f"{mean['after']:.3f}",
            f"{interval[0]:.3f} to {interval[1]:.3f}",
            f"{mean_skilled['before']:.3f}",
            f"{mean_skilled['after']:.3f}",
            f"{sum(summary['seconds']['step'] for summary in of) / len(of):.1f}",
        )
    plot_runs(
        {name: [folder / f"{name}-seed{seed}" for seed in options.seeds] for name in options.learners},
        folder / "plot.png",
        title="held-out success, ALFWorldMini, no skills in the prompt",
    )
    (folder / "summary.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    Console().print(table)
    print(f"plot: {folder / 'plot.png'}")
