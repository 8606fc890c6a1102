"""`sdar-gym bench unpack`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sdar_agents.options import parse


@dataclass(frozen=True, slots=True)
class UnpackOptions:
    """Put packed cells into a folder, where `sdar-gym bench run BENCHFILE --out FOLDER` takes them as finished.

    A folder that holds cells of the same bench keeps them, so that those of several machines come together.
    """

    file: Annotated[str, tyro.conf.Positional]
    """What `sdar-gym bench pack` wrote."""
    folder: Annotated[str, tyro.conf.Positional]
    """The folder that receives the cells."""


def run(arguments: Sequence[str]) -> None:
    """Unpack, and say what is new."""
    options = parse(UnpackOptions, arguments, command="bench unpack")
    from sdar_agents.bench.pack import unpack

    taken = unpack(Path(options.file), Path(options.folder))
    print(f"{len(taken)} cells put into {options.folder}; go on: sdar-gym bench run FILE --out {options.folder}")
