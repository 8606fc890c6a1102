"""`sdar-gym data ACTION`: finds the action."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from sdar_gym.errors import unknown

ACTIONS: dict[str, tuple[str, str]] = {
    "download": ("sdar_agents.commands.data_download", "fetch the published games of ALFWorld"),
    "import": (
        "sdar_agents.commands.data_import",
        "check games at hand, a folder or an archive, and put them in place",
    ),
    "generate": ("sdar_agents.commands.data_generate", "write generated games as game.tw-pddl files"),
}
"""Name of an action -> its module (with `run(arguments)`), and what it does."""

USAGE = "usage: sdar-gym data ACTION [OPTIONS]\n\nactions:\n" + "".join(
    f"  {name:<11} {summary}\n" for name, (_, summary) in ACTIONS.items()
)


def run(arguments: Sequence[str]) -> None:
    """Run the action that the first argument names."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE + "\n`sdar-gym data ACTION --help` lists an action's options.")
        sys.exit(0 if arguments else 2)
    if arguments[0] not in ACTIONS:
        raise ValueError(unknown("action", arguments[0], ACTIONS))
    try:
        import_module(ACTIONS[arguments[0]][0]).run(arguments[1:])
    except OSError as error:
        if error.errno is None:  # raised here, with a text for users
            raise
        raise OSError(f"{error.filename}: {error.strerror}") from error
