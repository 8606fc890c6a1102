"""The folder of a bench: its manifest, its cells' folders, and in what state each cell is."""

from __future__ import annotations

import json
import lzma
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from sdar_agents import __version__
from sdar_agents.bench.file import Bench, Cell
from sdar_agents.config import to_json
from sdar_agents.files import write_text
from sdar_agents.setup import MAY_CHANGE, flat

FORMAT = 1
"""Raised when what a bench's folder holds changes its meaning."""
MANIFEST = "bench.json"
RESULT, ERROR, EPISODES, LOCK = "cell.json", "error.json", "final_episodes.jsonl", ".lock"
OUTCOMES = "final_outcomes.json"
"""What stands in the place of the final episodes in a cell that was packed."""
PACKED = ".tar.xz"
"""How the name of a packed bench ends (`pack.py`)."""
_FREE = MAY_CHANGE - {"steps"}
"""What may differ from one start of a bench to the next: a longer run is another result."""

State = Literal["finished", "failed", "begun", "not begun"]


class BenchFolderError(ValueError):
    """A folder that holds no bench, another one, or one of another version."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder's `bench.json` says.

    Attributes:
        name: Of the study.
        version: Of sdar-gym, which made it.
        cells: All that the bench consists of.
        settings: `environment/learner` to the resolved settings, flat.
    """

    name: str
    version: str
    cells: tuple[Cell, ...]
    settings: Mapping[str, Mapping[str, Any]]


def claim(folder: Path, bench: Bench) -> Manifest:
    """Make a folder this bench's, or see that it is, and write down what the bench now consists of.

    Seeds, learners and environments may be added or left out; what is there already has to be as it was.

    Raises:
        BenchFolderError: the folder holds something else, a bench of another version, or one of other settings; it is
            left as it is, and the text says what differs.
    """
    new = _manifest(bench)
    _check_free(folder, new)
    _write_manifest(folder, new)
    return new


def add_to_manifest(folder: Path, new: Manifest) -> Manifest:
    """Make a folder hold the cells of another bench of the same settings as well; what it now consists of.

    Raises:
        BenchFolderError: as `claim`.
    """
    old = _check_free(folder, new)
    known = (old.cells, old.settings) if old is not None else ((), {})
    together = replace(new, cells=tuple(dict.fromkeys((*known[0], *new.cells))), settings={**known[1], **new.settings})
    _write_manifest(folder, together)
    return together


def _check_free(folder: Path, new: Manifest) -> Manifest | None:
    """What a folder says of itself, if it may hold this bench's cells; None if it holds nothing."""
    if not (folder / MANIFEST).is_file():
        if folder.exists() and any(folder.iterdir()):
            raise BenchFolderError(f"{folder} is not empty and holds no bench: choose another --out")
        return None
    old = read_manifest(folder)
    if old.version != new.version:
        raise BenchFolderError(
            f"{folder} was made by sdar-gym {old.version}, this is {new.version}: results of two versions do not "
            f"belong in one bench; choose another --out, or go on with sdar-gym {old.version}"
        )
    different = differences(old, new)
    if different:
        raise BenchFolderError(
            f"{folder} holds a bench of other settings ({'; '.join(different)}): choose another --out, give "
            "the entry another label, or put the settings back"
        )
    return old


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = {
        "format": FORMAT,
        "version": manifest.version,
        "name": manifest.name,
        "cells": [[cell.environment, cell.learner, cell.seed] for cell in manifest.cells],
        "settings": manifest.settings,
    }
    write_text(folder / MANIFEST, json.dumps(text, indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        BenchFolderError: there is none, it is damaged, or of another format.
    """
    file = folder / MANIFEST
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        written = values["format"]
    except FileNotFoundError as error:
        raise BenchFolderError(
            f"{folder} holds no bench (no {MANIFEST}): `sdar-gym bench run FILE` makes one"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchFolderError(_damaged(file, error)) from error
    if written != FORMAT:
        raise BenchFolderError(
            f"{folder} is a bench of format {written}, made by sdar-gym {values.get('version')}; this is sdar-gym "
            f"{__version__}, which reads format {FORMAT}: use that version, or run the bench anew into another --out"
        )
    try:
        cells = tuple(Cell(str(env), str(learner), int(seed)) for env, learner, seed in values["cells"])
        return Manifest(str(values["name"]), str(values["version"]), cells, values["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise BenchFolderError(_damaged(file, error)) from error


def _damaged(file: Path, error: Exception) -> str:
    return (
        f"{file} is damaged ({error!r}): put a copy of it back, or run the bench into another --out; finished cells "
        f"can be reported on as runs: sdar-gym bench report {file.parent}/*/*/*"
    )


def differences(old: Manifest, new: Manifest) -> list[str]:
    """In what the pairs that both have differ, as `name: old -> new`, with the pairs where not all do."""
    shared = sorted(old.settings.keys() & new.settings.keys())
    found: dict[str, list[str]] = {}
    for pair in shared:
        before, after = deciding(old.settings[pair]), deciding(new.settings[pair])
        for key in sorted({*before, *after}):
            if before.get(key) != after.get(key):
                found.setdefault(f"{key}: {before.get(key)} -> {after.get(key)}", []).append(pair)
    return [line if len(pairs) == len(shared) else f"{', '.join(pairs)}: {line}" for line, pairs in found.items()]


def deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a pair's settings that decide its numbers."""
    return {key: value for key, value in settings.items() if key not in _FREE}


def state_of(folder: Path) -> State:
    """How far a cell is; `failed` until it is tried again."""
    if (folder / RESULT).is_file():
        return "finished"
    if (folder / ERROR).is_file():
        return "failed"
    return "begun" if (folder / "config.json").is_file() else "not begun"


def error_of(folder: Path) -> str:
    """What a cell failed with; empty if it did not."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((folder / ERROR).read_text(encoding="utf-8"))["error"])
    return ""


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold a cell while it is worked on; False where another process holds it.

    The system lets go of it when the process ends, however it ends.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def unlisted(folder: Path, cells: Sequence[Cell]) -> list[str]:
    """Names of cells' folders that the manifest does not list any more."""
    known = {cell.name for cell in cells}
    found = {file.parent.relative_to(folder).as_posix() for file in folder.glob(f"*/*/seed-*/{RESULT}")}
    return sorted(found - known)


def is_packed(path: Path) -> bool:
    """Whether a path is called like a packed bench."""
    return path.name.endswith(PACKED)


@contextmanager
def unpacked(file: Path) -> Iterator[Path]:
    """A packed bench as a folder, for as long as the context lasts.

    Raises:
        BenchFolderError: there is no such file, it is damaged, or it is something else.
    """
    again = f"`sdar-gym bench pack FOLDER {file}` writes one"
    with TemporaryDirectory(prefix="sdar-gym-bench-") as name:
        try:
            with tarfile.open(file, "r:xz") as archive:
                archive.extractall(name, filter="data")
        except FileNotFoundError as error:
            raise BenchFolderError(f"no packed bench at {file}; {again}") from error
        except (OSError, EOFError, tarfile.TarError, lzma.LZMAError) as error:
            raise BenchFolderError(f"{file} is no packed bench, or a damaged one ({error!r}); {again}") from error
        yield Path(name)


def _manifest(bench: Bench) -> Manifest:
    settings: dict[str, dict[str, Any]] = {}
    for environment in bench.environments:
        for learner in bench.learners:
            config = bench.config(Cell(environment.label, learner.label, 0), Path("."))
            values = flat(json.loads(json.dumps(to_json(config))))
            own = {"final_episodes": bench.final_episodes_of(environment), "final_skills": learner.final_skills}
            kept = {key: value for key, value in values.items() if key not in ("run", "seed")}
            settings[f"{environment.label}/{learner.label}"] = kept | own
    return Manifest(bench.name, __version__, tuple(bench.cells()), settings)
