"""Settings of an engine: `NAME=VALUE` strings into a frozen dataclass, misspelt names refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar, get_args, get_type_hints

from sdar_agents.backends.base import BackendError
from sdar_gym.errors import unknown

Options = TypeVar("Options")
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_options(kind: type[Options], settings: Sequence[str], *, backend: str) -> Options:
    """The settings of an engine.

    Args:
        kind: A dataclass whose fields are bool, int, float, str or a literal, or one of these or None.
        settings: `NAME=VALUE` each.
        backend: The engine's name, for messages.

    Raises:
        BackendError: a setting that the engine does not have, or a value of the wrong kind.
    """
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for setting in settings:
        name, is_given, text = setting.partition("=")
        name = name.replace("-", "_")
        if not is_given:
            raise BackendError(f"--backend-options {setting}: write NAME=VALUE, such as {names[0]}=...")
        if name not in names:
            raise BackendError(unknown(f"setting of the engine {backend}", name, names))
        values[name] = _read(text, hints[name], name)
    return kind(**values)


def _read(text: str, hint: Any, name: str) -> Any:
    choices = get_args(hint)
    if type(None) in choices:
        if text.lower() in ("none", ""):
            return None
        hint = next(choice for choice in choices if choice is not type(None))
        choices = get_args(hint)
    if choices:
        if text not in choices:
            raise BackendError(unknown(f"value of {name}", text, choices))
        return text
    if hint is bool:
        if text.lower() not in TRUTH:
            raise BackendError(f"{name}={text}: write true or false")
        return TRUTH[text.lower()]
    try:
        return hint(text)
    except ValueError as error:
        raise BackendError(f"{name}={text} is not {'a whole number' if hint is int else 'a number'}") from error
