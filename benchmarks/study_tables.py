"""Write the tables and figures of benchmarks/study/README.md anew, each by the command that stands above it.

    python benchmarks/study_tables.py
    python benchmarks/study_tables.py --check

A table stands between `<!-- NAME.md -->` and `<!-- end -->`; a command of the page has `--markdown NAME.md`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro

from sdar_agents.cli import main as sdar_gym

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "benchmarks" / "study" / "README.md"
_COMMAND = re.compile(r"^sdar-gym (bench report .*--markdown (\S+\.md).*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Options:
    """Write the tables and figures of benchmarks/study/README.md anew, each by the command that stands above it."""

    check: bool = False
    """Write nothing; exit with 1 and the differing tables' names if one is not what its command gives."""


def commands(page: str) -> Iterator[tuple[str, list[str]]]:
    """Names of the tables of a page, and the arguments of sdar-gym that give each."""
    for found in _COMMAND.finditer(re.sub(r"\\\n\s*", "", page)):
        yield found[2], shlex.split(found[1])


def table_of(page: str, name: str) -> str:
    """What stands on a page between the marks of a table.

    Raises:
        ValueError: the page has no such marks.
    """
    begin, end = f"<!-- {name} -->\n", "<!-- end -->"
    if begin not in page:
        raise ValueError(f"{PAGE} has a command for {name}, but no line {begin.strip()} to put its table after")
    return page.partition(begin)[2].partition(end)[0]


def made(arguments: list[str], folder: Path) -> str:
    """The table that a command gives now; its files go to a folder."""
    moved = [str(folder / it) if Path(it).suffix in (".md", ".svg") else it for it in arguments]
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            sdar_gym(moved)
    finally:
        os.chdir(before)
    return (folder / arguments[arguments.index("--markdown") + 1]).read_text(encoding="utf-8")


def main() -> None:
    """Run every command of the page."""
    options = tyro.cli(Options, description=Options.__doc__)
    page = PAGE.read_text(encoding="utf-8")
    new = page
    with TemporaryDirectory() as name:
        for table, arguments in commands(page):
            new = new.replace(
                f"<!-- {table} -->\n{table_of(page, table)}", f"<!-- {table} -->\n{made(arguments, Path(name))}"
            )
        differing = [table for table, _ in commands(page) if table_of(page, table) != table_of(new, table)]
        if options.check:
            sys.exit(f"not what its command gives: {', '.join(differing)}" if differing else 0)
        for figure in Path(name).glob("*.svg"):
            (PAGE.parent / figure.name).write_text(figure.read_text(encoding="utf-8"), encoding="utf-8")
    PAGE.write_text(new, encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {', '.join(differing) or 'nothing'} written anew")


if __name__ == "__main__":
    main()
