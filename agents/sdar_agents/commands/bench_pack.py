"""`sdar-gym bench pack`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sdar_agents.options import parse


@dataclass(frozen=True, slots=True)
class PackOptions:
    """Put the finished cells of a bench into one small file, without weights and texts.

    `sdar-gym bench report FILE` reports on it, and `sdar-gym bench unpack FILE FOLDER` goes on with it elsewhere.
    """

    folder: Annotated[str, tyro.conf.Positional]
    """The folder of the bench."""
    file: Annotated[str, tyro.conf.Positional]
    """What to write; its name ends in .tar.xz. A file of that name is replaced."""


def run(arguments: Sequence[str]) -> None:
    """Pack, and say how much it is."""
    options = parse(PackOptions, arguments, command="bench pack")
    from sdar_agents.bench.pack import pack

    file = Path(options.file)
    if not file.absolute().parent.is_dir():
        raise ValueError(f"{file}: its folder does not exist")
    count = pack(Path(options.folder), file)
    print(f"{count} cells in {file} ({file.stat().st_size / 1e3:,.0f} kB); report: sdar-gym bench report {file}")
