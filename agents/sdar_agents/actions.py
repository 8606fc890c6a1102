"""Commands with actions, such as `sdar-gym skills check`: finds the action."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from sdar_gym.errors import unknown

Actions = Mapping[str, tuple[str, str]]
"""Name of an action -> `module:function` that takes the arguments after the name, and what it does."""


def usage(command: str, actions: Actions) -> str:
    """The actions, one a line."""
    lines = (f"  {name:<10} {summary}\n" for name, (_, summary) in actions.items())
    return f"usage: sdar-gym {command} ACTION [OPTIONS]\n\nactions:\n" + "".join(lines)


def run_action(command: str, actions: Actions, arguments: Sequence[str]) -> None:
    """Run the action that the first argument names.

    Raises:
        ValueError: there is no such action; the text suggests the nearest.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage(command, actions) + f"\n`sdar-gym {command} ACTION --help` lists the options.")
        sys.exit(0 if arguments else 2)
    name, rest = arguments[0], list(arguments[1:])
    if name not in actions:
        raise ValueError(unknown("action", name, actions))
    module, _, function = actions[name][0].partition(":")
    try:
        getattr(import_module(module), function)(rest)
    except OSError as error:
        if error.errno is None:  # raised here, with a text for users
            raise
        raise OSError(f"{error.filename or name}: {error.strerror}") from error
