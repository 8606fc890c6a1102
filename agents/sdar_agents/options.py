"""Command lines from dataclasses: tyro, with a spelling check in front that knows what was meant."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from sdar_gym.errors import closest

Options = TypeVar("Options")


class OptionError(ValueError):
    """An option that does not exist."""


def parse(kind: type[Options], arguments: Sequence[str], *, command: str, default: Options | None = None) -> Options:
    """The options of a command.

    Args:
        kind: A dataclass; each field is an option, its attribute docstring the help.
        command: For the usage line.
        default: Values of what is not given; the dataclass's own defaults if None.

    Raises:
        OptionError: an option that `kind` does not have; the text suggests the nearest.
    """
    known = option_names(kind, default)
    check_spelling(arguments, known, command=command)
    extra: dict[str, Any] = {} if default is None else {"default": default}
    parsed: Options = tyro.cli(
        kind,
        prog=f"sdar-gym {command}",
        description=inspect.getdoc(kind),
        args=list(arguments),
        **extra,
    )
    return parsed


def check_spelling(arguments: Sequence[str], known: Sequence[str], *, command: str) -> None:
    """Refuse an option that is not known.

    Raises:
        OptionError: names the first such option and the nearest known one.
    """
    for argument in arguments:
        name = argument.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name not in (*known, "--help"):
            guess = closest(name, known)
            hint = f"did you mean {guess!r}? " if guess is not None else ""
            raise OptionError(f"unknown option {name!r}; {hint}(`sdar-gym {command} --help` lists all)")


def option_names(kind: type[Any], default: Any = None, prefix: str = "") -> list[str]:
    """Every option of a dataclass, nested ones with a dotted prefix; a flag also in its `no-` form."""
    names: list[str] = []
    for field in dataclasses.fields(kind):
        value = getattr(default, field.name, None) if default is not None else None
        name = prefix + field.name.replace("_", "-")
        if value is not None and dataclasses.is_dataclass(value):
            names += option_names(type(value), value, f"{name}.")
            continue
        names.append(f"--{name}")
        if str(field.type) == "bool":
            head, _, tail = name.rpartition(".")
            names.append(f"--{head + '.' if head else ''}no-{tail}")
    return [option if option.startswith("--") else f"--{option}" for option in names]
