"""`sdar-gym skills ACTION`: finds the action."""

from __future__ import annotations

from collections.abc import Sequence

from sdar_agents.actions import run_action

_HERE = "sdar_agents.commands"
ACTIONS: dict[str, tuple[str, str]] = {
    "check": (f"{_HERE}.skills_check:run", "everything that is wrong with a bank, by file and line"),
    "eval": (f"{_HERE}.skills_eval:run", "how well retrievers find the right skills: the bank as a search engine"),
    "lift": (
        f"{_HERE}.skills_lift:run",
        "whether skills help whoever acts: one agent with and without, right and wrong ones",
    ),
    "probe": (
        f"{_HERE}.skills_probe:run",
        "whether skills are worth distilling: does a teacher that reads them like what wins?",
    ),
    "save": (f"{_HERE}.skills_versions:save", "record what lies in a bank's folder as its next version"),
    "log": (f"{_HERE}.skills_versions:log", "the versions of a bank"),
    "diff": (f"{_HERE}.skills_versions:diff", "what differs between versions of a bank"),
    "restore": (f"{_HERE}.skills_versions:restore", "make a bank what it was at a version"),
    "import": (f"{_HERE}.skills_transfer:import_", "make a bank of skills in a form of the official SDAR code"),
    "export": (f"{_HERE}.skills_transfer:export", "write a bank in a form of the official SDAR code"),
    "duplicates": (f"{_HERE}.skills_transfer:duplicates", "skills that say the same, or nearly"),
}
"""Name of an action -> `module:function` that takes the arguments after the name, and what it does."""


def run(arguments: Sequence[str]) -> None:
    """Run the action that the first argument names."""
    run_action("skills", ACTIONS, arguments)
