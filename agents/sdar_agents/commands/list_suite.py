"""`sdar-gym list`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from sdar_agents.options import parse
from sdar_gym.registration import SUITE
from sdar_skills.bank import bundled_banks
from sdar_skills.retrievers import RETRIEVERS


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Show what there is: environments, learners, retrievers, teacher views, skill banks, presets."""


def run(arguments: Sequence[str]) -> None:
    """Print the tables."""
    parse(ListOptions, arguments, command="list")
    from sdar_agents.config import PRESETS
    from sdar_agents.learners import LEARNERS
    from sdar_agents.learners.plugins import plugins
    from sdar_agents.teacher_views import VIEWS

    console = Console()
    environments = Table("environment", "what", "evaluated on", "turns", box=None, header_style="bold")
    for entry in SUITE.values():
        data = f" (get its data: sdar-gym data download {entry.family})" if entry.needs_data else ""
        environments.add_row(entry.env_id, entry.summary + data, entry.evaluation_split, str(entry.max_turns))
    console.print(environments)
    others = Table("kind", "names", box=None, header_style="bold")
    others.add_row("learners", ", ".join(LEARNERS))
    for plugin in plugins():
        clash = " (clashes with the built-in one: not usable)" if plugin.name in LEARNERS else ""
        others.add_row("", f"{plugin.name} of {plugin.package}{clash}")
    others.add_row("retrievers", ", ".join(RETRIEVERS))
    others.add_row("teacher views", "; ".join(f"{name} ({view.summary})" for name, view in VIEWS.items()))
    others.add_row("skill banks", ", ".join(bundled_banks()))
    others.add_row("presets", "; ".join(f"{name} ({preset.summary})" for name, preset in PRESETS.items()))
    console.print()
    console.print(others)
