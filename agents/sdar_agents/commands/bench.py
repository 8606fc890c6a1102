"""`sdar-gym bench ACTION`: finds the action."""

from __future__ import annotations

from collections.abc import Sequence

from sdar_agents.actions import run_action

_HERE = "sdar_agents.commands"
ACTIONS: dict[str, tuple[str, str]] = {
    "plan": (f"{_HERE}.bench_plan:run", "how many episodes and seeds an effect needs, or what a bench file can show"),
    "run": (f"{_HERE}.bench_run:run", "environments x learners x seeds from one file; the same command goes on"),
    "report": (f"{_HERE}.bench_report:run", "means, intervals, curves, and a verdict for each pair of learners"),
    "pack": (f"{_HERE}.bench_pack:run", "finished cells in one small file that can be reported on and passed on"),
    "unpack": (f"{_HERE}.bench_unpack:run", "packed cells into a folder, where `bench run` goes on"),
}
"""Name of an action -> `module:function` that takes the arguments after the name, and what it does."""


def run(arguments: Sequence[str]) -> None:
    """Run the action that the first argument names."""
    run_action("bench", ACTIONS, arguments)
