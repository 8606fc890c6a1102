"""What the commands share that measure something: options checked before the work, files written after it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def check_folders(options: Any, names: Sequence[str]) -> None:
    """Refuse files whose folders do not exist; `names` are of options that may be None.

    Raises:
        ValueError: names the option.
    """
    for name in names:
        file = getattr(options, name)
        if file is not None and not Path(file).absolute().parent.is_dir():
            raise ValueError(f"--{name} {file}: its folder does not exist")


def check_counts(options: Any, names: Sequence[str]) -> None:
    """Refuse numbers below 1; `names` are of options that may be None.

    Raises:
        ValueError: names the option.
    """
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {value}")


def write_report(report: dict[str, Any], page: Callable[[dict[str, Any]], str], options: Any) -> None:
    """Write what was measured to the files of --json and --html, where these are given."""
    if options.json is not None:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.html is not None:
        Path(options.html).write_text(page(report), encoding="utf-8")
