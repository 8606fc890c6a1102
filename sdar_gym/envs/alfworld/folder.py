"""Published games in folders: which there are, listed when asked and once a process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sdar_gym.envs.alfworld.game_file import GAME_FILE_NAME, GameFile, GameFileError, read_game_file
from sdar_gym.errors import unknown
from sdar_gym.text_env import UnknownTaskError

DATA_VARIABLE = "ALFWORLD_DATA"
PUBLISHED_SPLITS = ("train", "valid_seen", "valid_unseen", "valid_train")
PLAIN_SPLIT = "all"
"""The split of a folder, or a file, that is not laid out as the published games are."""

_REMEDY = (
    f"download the games (`pip install alfworld`, then `alfworld-download`) and name their folder by data=... "
    f"(--data) or by the environment variable {DATA_VARIABLE}"
)
# As in the official loader: these tasks were never made solvable as text games.
_LEFT_OUT = ("movable", "Sliced")
_SOLVABLE = re.compile(rb'"solvable"\s*:\s*(true|false)')
_TAIL = 8192


@dataclass(frozen=True, slots=True)
class GameFolder:
    """The games below a folder.

    Task ids are `<split>/<task folder>/<trial folder>`. A folder without the published splits has the one split
    `all`, with ids `all/<folder of the game, relative>`. Unsolvable games, and those of tasks with sliced or movable
    things, are left out, as in the official loader (which also demands a `traj_data.json` beside each).

    Attributes:
        root: Holds the split folders, or any tree with game files, or is one game file.
    """

    root: Path

    @property
    def splits(self) -> tuple[str, ...]:
        published = tuple(split for split in PUBLISHED_SPLITS if _has_game(str(self.root / split)))
        return published or ((PLAIN_SPLIT,) if _has_game(str(self.root)) else ())

    def task_ids(self, split: str) -> Sequence[str]:
        if split not in self.splits:
            raise UnknownTaskError(f"{unknown('split', split, self.splits)}; the games are in {self.root}")
        return tuple(self._listed(split))

    def load(self, task_id: str) -> GameFile:
        split = task_id.partition("/")[0]
        path = self._listed(split).get(task_id) if split in self.splits else None
        if path is None:
            raise UnknownTaskError(f"no task {task_id!r} in {self.root}; ids look like {self._example()!r}")
        return read_game_file(path)

    def _example(self) -> str:
        return next(iter(self._listed(self.splits[0])))

    def _listed(self, split: str) -> dict[str, str]:
        folder = self.root if split == PLAIN_SPLIT else self.root / split
        return _list_games(str(folder), split, folder.stat().st_mtime_ns)


def find_games(data: str | Path | None) -> GameFolder:
    """The games that a setting means.

    Args:
        data: A folder that holds `json_2.1.1`, that folder itself, any folder with game files below, or one game
            file. By default the folder named by ALFWORLD_DATA.

    Raises:
        FileNotFoundError: nothing is there, or no game is.
    """
    named = data if data is not None else os.environ.get(DATA_VARIABLE)
    if not named:
        raise FileNotFoundError(f"no ALFWorld games: neither data nor {DATA_VARIABLE} is set; {_REMEDY}")
    root = Path(os.path.expandvars(named)).expanduser()
    if not root.exists():
        raise FileNotFoundError(f"no ALFWorld games: {root} does not exist; {_REMEDY}")
    inner = sorted(root.glob("json_*")) if root.is_dir() else []
    folder = GameFolder((inner[-1] if inner else root).resolve())
    if not folder.splits:
        raise FileNotFoundError(f"no ALFWorld games: no solvable {GAME_FILE_NAME} below {root}; {_REMEDY}")
    return folder


@lru_cache(maxsize=64)
def _has_game(folder: str) -> bool:
    return next(_walk(folder), None) is not None


@lru_cache(maxsize=64)
def _list_games(folder: str, split: str, changed: int) -> dict[str, str]:
    """Task id to path, sorted by id. `changed` is the folder's time of change: a new task is seen without a restart."""
    return dict(sorted((f"{split}/{name}", path) for name, path in _walk(folder)))


def _walk(root: str) -> Iterator[tuple[str, str]]:
    """Relative folder (posix) and path of every game that is to be played, in the order of the file system."""
    if os.path.isfile(root):
        path = Path(root)
        yield (path.parent.name if path.name == GAME_FILE_NAME else path.stem), root
    for parent, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not any(word in name for word in _LEFT_OUT)]
        if GAME_FILE_NAME in files and _is_solvable(file := os.path.join(parent, GAME_FILE_NAME)):
            name = os.path.relpath(parent, root) if parent != root else os.path.basename(root)
            yield name.replace(os.sep, "/"), file


def _is_solvable(path: str) -> bool:
    # Published files state it behind the long texts: the tail of the file is enough, and ten times as fast.
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        found = _SOLVABLE.findall(file.read())
    if len(found) == 1:
        return bool(found[0] == b"true")
    try:
        return read_game_file(path).solvable
    except GameFileError:
        return True  # listed, so that playing it says what is wrong with it
