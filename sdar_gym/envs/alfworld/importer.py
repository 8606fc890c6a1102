"""Bringing published games into place from a folder or an archive at hand: checked, whole, nothing overwritten."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from sdar_gym.archives import ArchiveError, Member, members
from sdar_gym.envs.alfworld.folder import LEFT_OUT_WORDS, PUBLISHED_SPLITS, forget_listings, task_type_of
from sdar_gym.envs.alfworld.game_file import GAME_FILE_NAME, GameFileError, read_game_file

TREE = "json_2.1.1"
"""The folder of the published data; the releases of the games keep its name."""
TRAJECTORY_FILE_NAME = "traj_data.json"

_STAGING_PREFIX = ".importing-"
_MOST_BYTES = 64 << 20


class ImportConflictError(FileExistsError):
    """Files of other content are in place."""


@dataclass(slots=True)
class ImportReport:
    """What an import found and did.

    Attributes:
        games: (Split, task type) to the number of games that are in place now.
        written: Files that were new or replaced.
        identical: Files that were in place already.
        left_out: Reason to the names of the files that were not taken, within the source.
    """

    games: Counter[tuple[str, str]] = field(default_factory=Counter)
    written: int = 0
    identical: int = 0
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, name: str) -> None:
        """Note a file that is not taken."""
        self.left_out.setdefault(reason, []).append(name)


def import_games(
    source: str | Path,
    out: str | Path,
    *,
    force: bool = False,
    progress: Callable[[int], None] = lambda _files: None,
) -> ImportReport:
    """Put the games of a folder or an archive below `out/json_2.1.1/<split>/`, with the `traj_data.json` beside them.

    The split of a game is the last folder above it that has the name of a published split. Games that neither the
    official loader nor ours plays are left out, with a reason each; other files are not looked at. Everything is
    read and checked before the first file is put in place, each by one rename.

    Args:
        source: A folder, a zip, or a tar, plain or compressed.
        out: Receives the tree; made if absent.
        force: Replace files of other content.
        progress: Called with the number of files read so far.

    Raises:
        FileNotFoundError: `source` does not exist, or holds no game.
        ArchiveError: it is damaged, or is no archive of data; nothing is put in place.
        ImportConflictError: files of other content are in place, and `force` is not set; nothing is changed.
    """
    place = Path(out).expanduser()
    found = members(Path(source).expanduser())
    place.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(place)
    staging = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=place))
    report = ImportReport()
    try:
        _stage(found, staging, report, progress)
        _drop_unplayable(staging, place / TREE, report)
        if not report.games and not any(staging.rglob(TRAJECTORY_FILE_NAME)):
            raise FileNotFoundError(f"no ALFWorld game to take in {source}{_reasons(report)}")
        _put(staging, place / TREE, report, force=force)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        forget_listings()
    return report


def _stage(found: Iterator[Member], staging: Path, report: ImportReport, progress: Callable[[int], None]) -> None:
    """Copy what may be taken to `staging/<split>/...`."""
    for number, member in enumerate(found, start=1):
        progress(number)
        path = PurePosixPath(member.name)
        if path.name not in (GAME_FILE_NAME, TRAJECTORY_FILE_NAME):
            continue
        is_game = path.name == GAME_FILE_NAME
        relative, reason = _place_of(path)
        if relative is None:
            if is_game:
                report.leave_out(reason, member.name)
            continue
        if member.size > _MOST_BYTES:
            report.leave_out(f"larger than {_MOST_BYTES >> 20} MiB", member.name)
            continue
        target, content = staging / relative, member.read()
        if target.exists() and target.read_bytes() != content:
            raise ArchiveError(f"{member.name} is there more than once, with different content")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _place_of(path: PurePosixPath) -> tuple[PurePosixPath | None, str]:
    """Where a file belongs below the tree; or None, and why nowhere."""
    folders = path.parts[:-1]
    for word in LEFT_OUT_WORDS:
        if any(word in folder for folder in folders):
            return None, f"tasks with {word.lower()} things were never made solvable"
    tops = [index for index, folder in enumerate(folders) if folder in PUBLISHED_SPLITS]
    if not tops or tops[-1] == len(folders) - 1:
        return None, f"not in a folder of its own below one of {', '.join(PUBLISHED_SPLITS)}"
    return PurePosixPath(*path.parts[tops[-1] :]), ""


def _drop_unplayable(staging: Path, tree: Path, report: ImportReport) -> None:
    """Delete what is not to be put in place, and count the rest."""
    for file in sorted(staging.rglob(GAME_FILE_NAME)):
        name = file.relative_to(staging).as_posix()
        try:
            if not read_game_file(file).solvable:
                report.leave_out("unsolvable, or not known to be solvable", name)
                file.unlink()
                continue
            report.games[name.partition("/")[0], task_type_of(file)] += 1
        except GameFileError as error:
            why = str(error).removeprefix(str(file)).lstrip(",: ").removesuffix("; fetch the file again")
            report.leave_out(f"unreadable: {why}", name)
            file.unlink()
    for file in staging.rglob(TRAJECTORY_FILE_NAME):
        beside = file.with_name(GAME_FILE_NAME)
        if not beside.exists() and not (tree / beside.relative_to(staging)).exists():
            file.unlink()


def _put(staging: Path, tree: Path, report: ImportReport, *, force: bool) -> None:
    moves: list[tuple[Path, Path]] = []
    conflicts: list[Path] = []
    for file in sorted(path for path in staging.rglob("*") if path.is_file()):
        target = tree / file.relative_to(staging)
        if not target.exists():
            moves.append((file, target))
        elif target.read_bytes() == file.read_bytes():
            report.identical += 1
        else:
            conflicts.append(target)
            moves.append((file, target))
    if conflicts and not force:
        raise ImportConflictError(
            f"{len(conflicts)} files in {tree} have other content, the first is {conflicts[0].relative_to(tree)}; "
            f"name another folder (--out), or replace them (--force)"
        )
    for file, target in moves:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, target)
        report.written += 1


def _remove_leftovers(place: Path) -> None:
    """Of imports that were killed."""
    for folder in place.glob(f"{_STAGING_PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _reasons(report: ImportReport) -> str:
    reasons = [f"{len(names)} {reason} ({names[0]})" for reason, names in report.left_out.items()]
    return f"; left out: {'; '.join(reasons)}" if reasons else ""
