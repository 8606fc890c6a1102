"""Game files (`game.tw-pddl`): what they hold, reading them, writing them. Their text is never run as code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sdar_gym.errors import TaskError

GAME_FILE_NAME = "game.tw-pddl"


class GameFileError(TaskError, ValueError):
    """A game that cannot be read or played; the text names the file and the place in it."""


@dataclass(frozen=True, slots=True)
class GameFile:
    """One game, as text.

    Attributes:
        pddl_domain: The rules of the world, in PDDL.
        grammar: The sentences of the game, in TextWorld's grammar; holds the task line.
        pddl_problem: Things, places, the initial state and the goal, in PDDL.
        walkthrough: Commands that win from the start; empty where none is stored.
        solvable: Whether the publisher found the game solvable.
        origin: The file's path, or where else the game comes from; errors name it.
    """

    pddl_domain: str
    grammar: str
    pddl_problem: str
    walkthrough: tuple[str, ...] = ()
    solvable: bool = True
    origin: str = field(default="a game in memory", compare=False)

    def write(self, path: str | Path) -> None:
        """Write the game in the published form, which the official engine reads too."""
        content = {
            "pddl_domain": self.pddl_domain,
            "grammar": self.grammar,
            "pddl_problem": self.pddl_problem,
            "solvable": self.solvable,
            "walkthrough": list(self.walkthrough),
        }
        Path(path).write_text(json.dumps(content), encoding="utf-8")


class GameSource(Protocol):
    """Where games come from: a folder, a generator. Nothing else is needed to play them.

    A source is hashable, and equal sources have equal games: compiled games are shared between environments by
    (source, task id). A frozen dataclass of settings is both.
    """

    def __hash__(self) -> int: ...

    @property
    def splits(self) -> tuple[str, ...]:
        """Names that `task_ids` accepts; every one of them has at least one task."""

    def task_ids(self, split: str) -> Sequence[str]:
        """All task ids of a split, in an order that is the same on every machine.

        Raises:
            UnknownTaskError: there is no such split.
        """

    def load(self, task_id: str) -> GameFile:
        """The game of a task.

        Raises:
            UnknownTaskError: there is no such task.
            GameFileError: its file cannot be read.
        """


def read_game_file(path: str | Path) -> GameFile:
    """Read a game file and check its form (not yet its rules: the engine does that).

    Raises:
        GameFileError: there is no such file, or it is no game; the text names the file and the place.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = json.loads(text)
    except OSError as error:
        raise GameFileError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise GameFileError(f"{path} is no text: byte {error.start} is not UTF-8; fetch the file again") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise GameFileError(f"{path}, {where}: {error.msg}; cut short or no JSON, so fetch the file again") from error
    except RecursionError as error:
        raise GameFileError(f"{path} is nested too deeply to be a game file") from error
    return _checked(content, path)


def _checked(content: Any, path: str | Path) -> GameFile:
    if not isinstance(content, Mapping):
        raise GameFileError(f"{path} holds a JSON {type(content).__name__}, not an object with the keys of a game")
    for key in ("pddl_domain", "grammar", "pddl_problem"):
        if key not in content:
            raise GameFileError(f"{path} has no key {key!r}; found: {', '.join(sorted(map(str, content)))}")
        if not isinstance(content[key], str):
            raise GameFileError(f"{path}, key {key!r}: a {type(content[key]).__name__} where a text belongs")
    walkthrough = content.get("walkthrough")
    walkthrough = [] if walkthrough is None else walkthrough
    if not isinstance(walkthrough, list) or not all(isinstance(command, str) for command in walkthrough):
        raise GameFileError(f"{path}, key 'walkthrough': it must be a list of commands")
    # As for the official loader, a game that does not say that it is solvable is not played.
    solvable = content.get("solvable", False)
    if not isinstance(solvable, bool):
        raise GameFileError(f"{path}, key 'solvable': it must be true or false")
    return GameFile(
        pddl_domain=content["pddl_domain"],
        grammar=content["grammar"],
        pddl_problem=content["pddl_problem"],
        walkthrough=tuple(walkthrough),
        solvable=solvable,
        origin=str(path),
    )
