"""Published games in folders: which there are, listed when asked and once a process."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sdar_gym.archives import is_archive
from sdar_gym.envs.alfworld.game_file import GAME_FILE_NAME, GameFile, GameFileError, read_game_file
from sdar_gym.envs.alfworld.goal import read_goal
from sdar_gym.envs.alfworld.pddl import read_pddl
from sdar_gym.errors import unknown
from sdar_gym.text_env import UnknownTaskError

DATA_VARIABLE = "ALFWORLD_DATA"
DEFAULT_FOLDER = "~/.cache/alfworld"
"""Where the games are kept when nothing else is named; the official package uses the same folder."""
PUBLISHED_SPLITS = ("train", "valid_seen", "valid_unseen", "valid_train")
PUBLISHED_COUNTS: Mapping[str, int] = {"train": 3553, "valid_seen": 140, "valid_unseen": 134}
"""Games of a split that the official filters leave, as the paper counts them (https://arxiv.org/abs/2010.03768)."""
PLAIN_SPLIT = "all"
"""The split of a folder, or a file, that is not laid out as the published games are."""
NUMBERED_TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
"""The task types in the order of the official numbers 1 to 6."""

# As in the official loader: these tasks were never made solvable as text games.
LEFT_OUT_WORDS = ("movable", "Sliced")

_REMEDY = (
    f"`sdar-gym data download alfworld` fetches them, `sdar-gym data import PATH` takes an archive or a folder at "
    f"hand; a folder that the official `alfworld-download` filled will do too, named by data=... (--data) or "
    f"{DATA_VARIABLE}"
)
_SOLVABLE = re.compile(rb'"solvable"\s*:\s*(true|false)')
_GOAL = "(:goal"
_TAIL_BYTES = 8192


@dataclass(frozen=True, slots=True)
class GameFolder:
    """The games below a folder.

    Task ids are `<split>/<task folder>/<trial folder>`. A folder without the published splits has the one split
    `all`, with ids `all/<folder of the game, relative>`. Unsolvable games, and those of tasks with sliced or movable
    things, are left out, as in the official loader (which also demands a `traj_data.json` beside each). Ids are
    sorted: their order depends on nothing but their names.

    Attributes:
        root: Holds the split folders, or any tree with game files, or is one game file.
        task_types: Only games of these types: names, or the official numbers 1 to 6 (see `task_type_names`); None
            for all. A game's type is that of its goal, whatever its folders are called. A broken game is listed
            under every type, so that playing it says what is wrong with it.
    """

    root: Path
    task_types: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.task_types is not None:
            object.__setattr__(self, "task_types", task_type_names(self.task_types))

    @property
    def splits(self) -> tuple[str, ...]:
        published = tuple(split for split in PUBLISHED_SPLITS if self._has_game(split))
        return published or ((PLAIN_SPLIT,) if self._has_game(PLAIN_SPLIT) else ())

    def task_ids(self, split: str) -> Sequence[str]:
        if not self._has_split(split):
            raise UnknownTaskError(f"{self._why_no_split(split)}; the games are in {self.root}")
        return self._listed(split).task_ids

    def load(self, task_id: str) -> GameFile:
        return read_game_file(self.path_of(task_id))

    def path_of(self, task_id: str) -> Path:
        """The file of a game.

        Raises:
            UnknownTaskError: there is no such task.
        """
        return Path(self._path(task_id))

    def stamp(self, task_id: str) -> tuple[int, ...] | None:
        """What is another when a game's file has been changed; None if it is gone.

        Raises:
            UnknownTaskError: there is no such task.
        """
        try:
            status = os.stat(self._path(task_id))
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _path(self, task_id: str) -> str:
        split = task_id.partition("/")[0]
        is_split = split in PUBLISHED_SPLITS or (split == PLAIN_SPLIT and split in self.splits)
        path = self._listed(split).paths.get(task_id) if is_split else None
        if path is None:
            raise UnknownTaskError(f"no task {task_id!r} in {self.root}; ids look like {self._example()!r}")
        return path

    def _example(self) -> str:
        return self._listed(self.splits[0]).task_ids[0]

    def _why_no_split(self, split: str) -> str:
        if split not in PUBLISHED_SPLITS or self.task_types is not None:
            return unknown("split", split, self.splits)
        return f"no games of the split {split!r} are at hand; known: {', '.join(self.splits)}; {_REMEDY}"

    def _has_split(self, split: str) -> bool:
        if split in PUBLISHED_SPLITS:
            return bool(self._listed(split).task_ids)
        return split == PLAIN_SPLIT and split in self.splits

    def _has_game(self, split: str) -> bool:
        if self.task_types is not None:
            return bool(self._listed(split).task_ids)
        folder = self._folder(split)
        return _has_game(folder, _time_of_change(folder))

    def _listed(self, split: str) -> _Listing:
        folder = self._folder(split)
        return _list_games(folder, split, _time_of_change(folder), self.task_types)

    def _folder(self, split: str) -> str:
        return str(self.root) if split == PLAIN_SPLIT else os.path.join(self.root, split)


def default_folder() -> Path:
    """Where downloads go, and where games are looked for when nothing is named: ALFWORLD_DATA, or DEFAULT_FOLDER."""
    return Path(os.path.expandvars(os.environ.get(DATA_VARIABLE) or DEFAULT_FOLDER)).expanduser()


def find_games(data: str | Path | None, task_types: Sequence[str | int] | None = None) -> GameFolder:
    """The games that a setting means.

    Args:
        data: A folder that holds `json_2.1.1`, that folder itself, any folder with game files below, or one game
            file. By default the folder named by ALFWORLD_DATA, else `~/.cache/alfworld`.
        task_types: Only games of these types: names, or the official numbers 1 to 6.

    Raises:
        FileNotFoundError: nothing is there, or no game is.
        ValueError: `data` is an archive, or a task type is unknown.
    """
    names = None if task_types is None else task_type_names(task_types)
    root = default_folder() if data is None else Path(os.path.expandvars(data)).expanduser()
    if root.is_file() and is_archive(root):
        raise ValueError(f"{root} is an archive; `sdar-gym data import {root}` unpacks and checks it")
    inner = sorted(folder for folder in root.glob("json_*") if folder.is_dir()) if root.is_dir() else []
    place = (inner[-1] if inner else root).resolve()
    if not GameFolder(place).splits:
        raise FileNotFoundError(f"no ALFWorld games: {_what_is_missing(data, root)}; {_REMEDY}")
    games = GameFolder(place, names)
    if not games.splits:
        raise FileNotFoundError(f"no ALFWorld games of type {', '.join(names or ())} below {root}")
    return games


def task_type_names(chosen: Iterable[str | int]) -> tuple[str, ...]:
    """Names of task types, in the official order, each once.

    Args:
        chosen: Names, or the official numbers 1 to 6 (as numbers or as text).

    Raises:
        ValueError: there is no such type, or none is chosen.
    """
    numbered = {str(number): name for number, name in enumerate(NUMBERED_TASK_TYPES, start=1)}
    names = [numbered.get(str(item), str(item)) for item in ([chosen] if isinstance(chosen, str) else chosen)]
    for name in names:
        if name not in NUMBERED_TASK_TYPES:
            raise ValueError(f"{unknown('task type', name, NUMBERED_TASK_TYPES)} (or 1 to 6, in this order)")
    if not names:
        raise ValueError(f"no task type is chosen; known: {', '.join(NUMBERED_TASK_TYPES)}")
    return tuple(name for name in NUMBERED_TASK_TYPES if name in names)


def completeness(games: GameFolder) -> list[str]:
    """How many games each published split has, and how many it should have: one line a split.

    Lines read `valid_seen 140 of 140`, `train 12 of 3553: incomplete`, `valid_unseen 0 of 134: not here`.
    """
    lines = []
    for split in PUBLISHED_SPLITS:
        count = len(games.task_ids(split)) if split in games.splits else 0
        expected = PUBLISHED_COUNTS.get(split)
        if expected is None:
            lines += [f"{split} {count}"] if count else []
        else:
            verdict = "" if count == expected else ": not here" if not count else ": incomplete"
            verdict = ": more than published" if count > expected else verdict
            lines.append(f"{split} {count} of {expected}{verdict}")
    return lines


def task_type_of(path: str | Path) -> str:
    """The task type of a game file, by its goal: the end of a published file is enough, and nothing is compiled.

    Raises:
        GameFileError: the file cannot be read, or its goal is none of the six types'.
    """
    text = _tail_goal(_read_tail(path)) or _goal_text(read_game_file(path).pddl_problem)
    if text is None:
        raise GameFileError(f"{path}, key 'pddl_problem': it states no goal")
    try:
        return _type_of_goal(text)
    except GameFileError as error:
        raise GameFileError(f"{path}: {error}") from error


def forget_listings() -> None:
    """Look anew at every folder; whoever adds games deep in a tree calls it."""
    _has_game.cache_clear()
    _list_games.cache_clear()


def _what_is_missing(data: str | Path | None, root: Path) -> str:
    state = f"no solvable {GAME_FILE_NAME} below {root}" if root.exists() else f"{root} does not exist"
    if data is not None:
        return state
    named = os.environ.get(DATA_VARIABLE)
    setting = f"{DATA_VARIABLE} is {named!r}" if named else f"neither data nor {DATA_VARIABLE} is set"
    return f"{setting}, and {state}"


def _time_of_change(folder: str) -> int | None:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return None


@lru_cache(maxsize=64)
def _has_game(folder: str, changed: int | None) -> bool:
    return changed is not None and next(_walk(folder), None) is not None


@dataclass(frozen=True, slots=True)
class _Listing:
    """The games of a split: their ids, sorted, and id to path."""

    task_ids: tuple[str, ...]
    paths: Mapping[str, str]


@lru_cache(maxsize=64)
def _list_games(folder: str, split: str, changed: int | None, task_types: tuple[str, ...] | None) -> _Listing:
    """`changed` is the folder's time of change (None: no such folder): a new task is seen without a restart."""
    paths: Mapping[str, str] = {}
    if changed is not None and task_types is not None:
        every = _list_games(folder, split, changed, None).paths
        paths = {task_id: path for task_id, path in every.items() if _is_among(path, task_types)}
    elif changed is not None:
        paths = dict(sorted((f"{split}/{name}", path) for name, path in _walk(folder)))
    return _Listing(tuple(paths), paths)


def _walk(root: str) -> Iterator[tuple[str, str]]:
    """Relative folder (posix) and path of every game that is to be played, in the order of the file system."""
    if os.path.isfile(root):
        path = Path(root)
        yield (path.parent.name if path.name == GAME_FILE_NAME else path.stem), root
    for parent, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not any(word in name for word in LEFT_OUT_WORDS)]
        if GAME_FILE_NAME in files and _is_solvable(file := os.path.join(parent, GAME_FILE_NAME)):
            name = os.path.relpath(parent, root) if parent != root else os.path.basename(root)
            yield name.replace(os.sep, "/"), file


def _is_solvable(path: str) -> bool:
    # Published files state it behind the long texts: the tail of the file is enough, and ten times as fast.
    found = _SOLVABLE.findall(_read_tail(path))
    if len(found) == 1:
        return bool(found[0] == b"true")
    try:
        return read_game_file(path).solvable
    except GameFileError:
        return True  # listed, so that playing it says what is wrong with it


def _is_among(path: str, task_types: tuple[str, ...]) -> bool:
    try:
        return task_type_of(path) in task_types
    except GameFileError:
        return True  # as in _is_solvable


def _read_tail(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read()
    except OSError as error:
        raise GameFileError(f"{path} cannot be read: {error.strerror}") from error


def _tail_goal(tail: bytes) -> str | None:
    """The goal at the end of a file, if it is there whole: it closes the problem, of which only short keys follow."""
    start = tail.find(_GOAL.encode())
    end = tail.find(b'"', start)
    if start < 0 or end < 0 or tail.find(_GOAL.encode(), end) >= 0:
        return None
    try:
        return _goal_text(json.loads(b'"' + tail[start:end] + b'"'))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None


def _goal_text(problem: str) -> str | None:
    """`(:goal ...)`, up to the parenthesis that closes it."""
    start, depth = problem.find(_GOAL), 0
    if start < 0:
        return None
    for match in re.finditer(r"[()]", problem[start:]):
        depth += 1 if match.group() == "(" else -1
        if depth == 0:
            return problem[start : start + match.end()]
    return None


@lru_cache(maxsize=4096)
def _type_of_goal(text: str) -> str:
    """The published games share a few hundred goals."""
    section = read_pddl(text, "goal")
    if len(section) != 2:
        raise GameFileError(f"goal: {text[:60]!r} is not one formula")
    return read_goal(section[1], "goal").task_type
