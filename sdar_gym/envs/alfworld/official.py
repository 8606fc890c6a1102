"""The official engine (textworld and alfworld) behind the interface of ours: for `engine="textworld"` and for parity.

Its grammar runs expressions of the game file as code: play only files that you trust with it.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdar_gym.envs.alfworld.engine import Reply
from sdar_gym.envs.alfworld.game_file import GAME_FILE_NAME, GameFile, GameFileError


class MissingOfficialEngineError(ImportError):
    """The packages of the official engine are not installed."""


class OfficialEngine:
    """Plays a game with textworld, with the names that alfworld gives.

    Args:
        game_file: The game.

    Raises:
        MissingOfficialEngineError: textworld or alfworld is not installed.
        GameFileError: textworld refuses the game.
    """

    def __init__(self, game_file: GameFile) -> None:
        self._env = _make(game_file)
        self._admissible: tuple[str, ...] = ()

    def reset(self) -> Reply:
        with _foreign_code():
            state = self._env.reset()
        return self._reply(state, understood=True)

    def step(self, command: str) -> Reply:
        understood = command.strip() in self._admissible
        with _foreign_code():
            state, _, _ = self._env.step(command)
        return self._reply(state, understood=understood)

    def _reply(self, state: Any, *, understood: bool) -> Reply:
        self._admissible = tuple(state["admissible_commands"])
        return Reply(str(state.feedback), self._admissible, bool(state["won"]), understood)


def _make(game_file: GameFile) -> Any:
    with _foreign_code():
        try:
            import textworld
            from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
            from textworld.envs.pddl import PddlEnv
        except ImportError as error:
            raise MissingOfficialEngineError(
                f'the official ALFWorld engine is not installed ({error}); pip install "sdar-gym[alfworld]"'
            ) from error
        env = AlfredDemangler(PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True)))
        # It wants a file: a game may also come from memory.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / GAME_FILE_NAME
            game_file.write(path)
            try:
                env.load(str(path))
            except (Exception, SystemExit) as error:
                raise GameFileError(f"{game_file.origin}: the official engine refuses it: {error!r}") from error
    return env


@contextmanager
def _foreign_code() -> Iterator[None]:
    """Keeps `sys.argv`, which the official translator overwrites, and silences the warnings of what it imports."""
    arguments = sys.argv
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.argv = arguments


def is_installed() -> bool:
    """Whether the official engine can be imported; imports it."""
    try:
        with _foreign_code():
            importlib.import_module("alfworld.agents.environment.alfred_tw_env")
            importlib.import_module("textworld.envs.pddl")
    except ImportError:
        return False
    return True
