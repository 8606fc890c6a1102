"""The official engine (textworld and alfworld) behind the interface of ours: for `engine="textworld"` and for parity.

Its grammar runs expressions of the game file as code: play only files that you trust with it.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdar_gym.envs.alfworld.engine import Reply
from sdar_gym.envs.alfworld.game_file import GameFile, GameFileError

_LOCK = threading.RLock()


class MissingOfficialEngineError(ImportError):
    """The packages of the official engine are not installed."""


class OfficialEngine:
    """Plays a game with textworld, with the names that alfworld gives.

    Args:
        game: The game, or the path of its file, which is then read by textworld alone; None if `load` follows.

    Attributes:
        score: What textworld says of the score; None at the start, where it says nothing.

    Raises:
        MissingOfficialEngineError: textworld or alfworld is not installed.
        GameFileError: textworld refuses the game.
    """

    def __init__(self, game: GameFile | str | Path | None) -> None:
        self._env = _make()
        self.score: float | None = None
        if game is not None:
            self.load(game)

    def load(self, game: GameFile | str | Path) -> None:
        """Play another game from now on: textworld leaks some megabytes whenever an engine is made anew.

        Raises:
            GameFileError: textworld refuses the game.
        """
        origin = game.origin if isinstance(game, GameFile) else str(game)
        try:
            content = _content(game)
            with _foreign_code():
                self._env.load(content)
        # Foreign code: it may raise anything, and its translator of PDDL ends the process at some errors.
        except (Exception, SystemExit) as error:
            raise GameFileError(f"{origin}: the official engine refuses it: {error!r}") from error

    def reset(self) -> Reply:
        with _foreign_code():
            state = self._env.reset()
        return self._reply(state, understood=True)

    def step(self, command: str) -> Reply:
        with _foreign_code():
            state, _, _ = self._env.step(command)
        return self._reply(state, understood=state["_last_action"] is not None)

    def _reply(self, state: Any, *, understood: bool) -> Reply:
        score = state.get("score")
        self.score = None if score is None else float(score)
        return Reply(str(state.feedback), tuple(state["admissible_commands"]), bool(state["won"]), understood)


def _content(game: GameFile | str | Path) -> dict[str, Any]:
    """What textworld reads from a file; it would leave the file open."""
    if isinstance(game, GameFile):
        return {
            "pddl_domain": game.pddl_domain,
            "grammar": game.grammar,
            "pddl_problem": game.pddl_problem,
            "walkthrough": list(game.walkthrough),
        }
    content = json.loads(Path(game).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise TypeError(f"a JSON {type(content).__name__} where an object belongs")
    return content


def _make() -> Any:
    with _foreign_code():
        try:
            import textworld
            from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
            from textworld.envs.pddl import PddlEnv
        except ImportError as error:
            raise MissingOfficialEngineError(
                f'the official ALFWorld engine is not installed ({error}); pip install "sdar-gym[alfworld]"'
            ) from error
        return AlfredDemangler(PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True)))


@contextmanager
def _foreign_code() -> Iterator[None]:
    """Keeps `sys.argv`, which the official translator overwrites, and silences the warnings of what it imports.

    One thread at a time: the official code is not made for several.
    """
    with _LOCK:
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
