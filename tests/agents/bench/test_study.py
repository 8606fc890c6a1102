"""The study's page: every table on it is what the command above it gives of the packed cells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.study_tables import PAGE, commands, made, table_of

TEXT = PAGE.read_text(encoding="utf-8")
_NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]\d+)?")


def numbers(text: str) -> list[float]:
    return [float(found.replace(",", "")) for found in _NUMBER.findall(text)]


@pytest.mark.parametrize(("name", "arguments"), list(commands(TEXT)), ids=[name for name, _ in commands(TEXT)])
def test_a_table_is_what_its_command_gives(name: str, arguments: list[str], tmp_path: Path) -> None:
    stands, given = table_of(TEXT, name).splitlines(), made(arguments, tmp_path).splitlines()
    assert len(stands) == len(given) > 4
    for line, expected in zip(stands, given, strict=True):
        assert _NUMBER.sub("#", line) == _NUMBER.sub("#", expected)
        # Another processor may round the last digit in another way.
        assert numbers(line) == pytest.approx(numbers(expected), abs=1.1e-3, rel=1.1e-2)


def test_the_page_has_a_table_of_every_packed_bench_and_figures_that_are_there() -> None:
    named = {argument for _, arguments in commands(TEXT) for argument in arguments}
    packed = sorted(PAGE.parent.glob("*.tar.xz"))
    assert packed
    assert {f"benchmarks/study/{file.name}" for file in packed} <= named
    figures = re.findall(r"!\[[^\]]*\]\((\S+)\)", TEXT)
    assert figures
    assert [name for name in figures if not (PAGE.parent / name).is_file()] == []
