"""Rows of runs that never ran, with outcomes that a test decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdar_agents.bench.results import Curve, Outcome, Results, Row

IDENTITY = {
    "env": "sdar_gym/Toy-v0", "panel_hash": "aaaa", "behaviour_hash": "bbbb", "bank_hash": "cccc",
    "prompt_hash": "dddd", "temperature": 0.4,
}  # fmt: skip


def row(
    learner: str,
    seed: int,
    solved: npt.ArrayLike,
    *,
    environment: str = "toy",
    curve: tuple[npt.ArrayLike, ...] = (),
    steps: tuple[int, ...] = (),
    lengths: tuple[int, ...] = (),
    **identity: Any,
) -> Row:
    """A run that solved these of its tasks (`t0`, `t1`, ...; even ones of type `even`), and was on its way there.

    Args:
        solved: 0 or 1 for each task.
        curve: For each evaluation, 0 or 1 for each task.
        lengths: The oracle's turns for each task.
    """
    outcome = np.asarray(solved, dtype=bool)
    tasks = tuple(f"t{number}" for number in range(len(outcome)))
    curve = curve or (outcome,)
    heights = [np.asarray(height, dtype=bool) for height in curve]
    return Row(
        environment=environment,
        learner=learner,
        seed=seed,
        folder=Path(f"{environment}/{learner}/seed-{seed}"),
        identity=IDENTITY | identity,
        outcomes={
            task: Outcome("odd" if number % 2 else "even", bool(outcome[number]), float(outcome[number]), 3 + number)
            for number, task in enumerate(tasks)
        },
        curve=Curve(
            steps=steps or tuple(range(len(heights))),
            rates=tuple(float(height.mean()) for height in heights),
            tasks=tasks,
            solved=tuple(frozenset(task for task, hit in zip(tasks, height, strict=True) if hit) for height in heights),
        ),
        oracle_turns=dict(zip(tasks, lengths, strict=False)),
        provenance={"version": "0.1.0", "commit": "1234"},
    )


def results(*rows: Row) -> Results:
    """What a report is made of."""
    return Results("toy-bench", rows, tuple(dict.fromkeys(row.learner for row in rows)))


def drawn(rate: float, *, seeds: int, tasks: int, draws: np.random.Generator) -> npt.NDArray[np.bool_]:
    """[S, T]: independent successes."""
    return draws.random((seeds, tasks)) < rate
