"""A bench in one small file: what a report needs of its finished cells, without weights and without texts."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, astuple
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sdar_agents.bench.file import Cell
from sdar_agents.bench.folder import (
    EPISODES,
    ERROR,
    MANIFEST,
    OUTCOMES,
    PACKED,
    RESULT,
    BenchFolderError,
    Manifest,
    add_to_manifest,
    deciding,
    is_packed,
    locked,
    read_manifest,
    state_of,
    unpacked,
)
from sdar_agents.bench.results import final_outcomes, read_cell
from sdar_agents.files import rename
from sdar_agents.run_log import METRICS, read_metrics

DIGITS = 4
"""Significant digits of the numbers of a training step."""
_KEPT = ("config.json", "panel.json", "summary.json", RESULT)


def pack(folder: Path, file: Path) -> int:
    """Write a bench's finished cells to a file NAME.tar.xz; how many they are.

    Of each cell it holds settings, provenance, panel, evaluations with the tasks that they solved, the numbers of its
    training steps to four digits, and what came of each final episode. The same cells give the same bytes.

    Raises:
        BenchFolderError: no bench there, none of its cells is finished, or the file has another suffix.
        ResultError: a finished cell that cannot be read.
    """
    if not is_packed(file):
        raise BenchFolderError(f"{file}: the name of a packed bench ends in {PACKED}")
    manifest = read_manifest(folder)
    cells = sorted((c for c in manifest.cells if state_of(folder / c.name) == "finished"), key=lambda c: c.name)
    if not cells:
        raise BenchFolderError(f"{folder} holds no finished cell: `sdar-gym bench run` makes them")
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with tarfile.open(partial, "w:xz", preset=9) as archive:
            _add(archive, MANIFEST, (folder / MANIFEST).read_text(encoding="utf-8"))
            for cell in cells:
                for name, text in _texts(folder / cell.name, cell).items():
                    _add(archive, f"{cell.name}/{name}", text)
        rename(partial, file)
    finally:
        partial.unlink(missing_ok=True)
    return len(cells)


def unpack(file: Path, folder: Path) -> list[Cell]:
    """Put packed cells into a folder, where `run_bench` takes them as finished; the cells that are new there.

    A folder that holds a bench of the same settings keeps what it has: cells of several machines come together so.

    Raises:
        BenchFolderError: the file is no packed bench, or the folder holds something else; it is left as it is.
    """
    with unpacked(file) as source:
        new = read_manifest(source)
        add_to_manifest(folder, new)
        taken = []
        for cell in new.cells:
            if state_of(source / cell.name) != "finished" or state_of(folder / cell.name) == "finished":
                continue
            with locked(folder / cell.name) as is_free:
                if is_free:
                    _take(source / cell.name, folder / cell.name)
                    taken.append(cell)
    return taken


def reuse(source: Path, folder: Path, cells: Sequence[Cell]) -> list[Cell]:
    """Take what another bench, a folder or packed, has finished of the very same runs; the cells that are new here.

    The same are those with equal settings and seed, whatever their labels are. Each keeps its provenance, and becomes
    as small as a packed cell.

    Args:
        folder: Of this bench, which `claim` has made its own.
        cells: Those that may be taken.

    Raises:
        BenchFolderError: the source is no bench, or one of another version.
        ResultError: a finished cell there that cannot be read.
    """
    wanted = read_manifest(folder)
    with unpacked(source) if is_packed(source) else nullcontext(source) as place:
        there = read_manifest(place)
        if there.version != wanted.version:
            raise BenchFolderError(
                f"{source} was made by sdar-gym {there.version}, this is {wanted.version}: results of two versions do "
                "not belong in one bench; leave it out of --reuse"
            )
        finished = {_run_of(there, cell): cell for cell in there.cells if state_of(place / cell.name) == "finished"}
        taken = []
        for cell in cells:
            twin = finished.get(_run_of(wanted, cell))
            if twin is None or state_of(folder / cell.name) == "finished":
                continue
            with TemporaryDirectory(prefix="sdar-gym-reuse-") as name, locked(folder / cell.name) as is_free:
                if is_free:
                    for file, text in (_texts(place / twin.name, twin) | _renamed(place / twin.name, cell)).items():
                        (Path(name) / file).write_text(text, encoding="utf-8")
                    _take(Path(name), folder / cell.name)
                    taken.append(cell)
    return taken


def _run_of(manifest: Manifest, cell: Cell) -> str:
    """What decides every number of a cell, as one text."""
    return json.dumps([cell.seed, deciding(manifest.settings[f"{cell.environment}/{cell.learner}"])], sort_keys=True)


def _renamed(folder: Path, cell: Cell) -> dict[str, str]:
    values = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return {RESULT: json.dumps(values | {"cell": [cell.environment, cell.learner, cell.seed]}, indent=1) + "\n"}


def _texts(folder: Path, cell: Cell) -> dict[str, str]:
    """Names and contents of what is packed of a cell, which must be whole."""
    read_cell(folder, cell)
    header, outcomes = final_outcomes(folder)
    told = {"header": asdict(header), "outcomes": {task: astuple(outcome) for task, outcome in outcomes.items()}}
    return {
        **{name: (folder / name).read_text(encoding="utf-8") for name in _KEPT},
        METRICS: "".join(json.dumps(_shortened(row)) + "\n" for row in read_metrics(folder)),
        OUTCOMES: json.dumps(told) + "\n",
    }


def _shortened(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line of metrics; evaluations, whole numbers and the seconds that the report shows stay as they are."""
    if row["kind"] != "train":
        return dict(row)
    long = {key for key, value in row.items() if isinstance(value, float) and not value.is_integer()}
    return {**row} | {key: float(f"{row[key]:.{DIGITS}g}") for key in long - {"seconds/step"}}


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    """A member without owner and time, so that the same contents are the same bytes."""
    content = text.encode()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _take(source: Path, target: Path) -> None:
    """Put a finished cell where one may be begun; the file that says it is finished comes last."""
    for left in (EPISODES, ERROR):
        (target / left).unlink(missing_ok=True)
    for name in sorted((file.name for file in source.iterdir()), key=lambda name: name == RESULT):
        shutil.copyfile(source / name, target / name)
