"""`sdar_gym/ALFWorld-v0`: the published games. `HouseholdEnv` plays games of the same form from any source."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

from gymnasium.error import ResetNeeded

from sdar_gym.envs.alfworld.engine import Engine, Game, NativeEngine, Reply, compile_game
from sdar_gym.envs.alfworld.folder import GameFolder, find_games
from sdar_gym.envs.alfworld.game_file import GameSource
from sdar_gym.envs.alfworld.legacy import step_legacy
from sdar_gym.envs.alfworld.oracle import next_command
from sdar_gym.envs.alfworld.state import State
from sdar_gym.errors import unknown
from sdar_gym.text_env import TextEnv, TurnInfo

EngineName = Literal["native", "textworld"]
ENGINES: tuple[EngineName, ...] = ("native", "textworld")

# A compiled game takes some 0.2 MB; a training step plays a few dozen different ones.
_KEPT_GAMES = 128


def compiled(games: GameSource, task_id: str) -> Game:
    """The game of a task, shared by every environment of this process that plays it; a changed file is read anew."""
    return _compiled(games, task_id, games.stamp(task_id) if isinstance(games, GameFolder) else None)


@lru_cache(maxsize=_KEPT_GAMES)
def _compiled(games: GameSource, task_id: str, stamp: tuple[int, ...] | None) -> Game:
    return compile_game(games.load(task_id))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An episode at some turn.

    Attributes:
        task_id: Whose game it is.
        state: The state of the native rules.
        commands: Everything played so far, where the engine can only get there by playing it; else empty.
        is_over: Whether the episode has ended.
    """

    task_id: str
    state: State
    commands: tuple[str, ...]
    is_over: bool


class HouseholdEnv(TextEnv):
    """Plays games of ALFWorld's form.

    The reward is 1.0 on the turn that reaches the goal. A command that the state does not admit is answered
    "Nothing happens."; commands are compared as they are, spaces at the ends aside. `info["admissible_actions"]` is
    the official list, in its order, and `info["task_type"]` comes from the goal, not from the name of a file.

    Args:
        games: Where the games come from.
        split: The split that seeds draw from; by default the first that the source has.
        engine: "native", or "textworld" for the official engine (thousands of times slower; and it runs expressions
            of the game file as code).
        legacy_actions: Also accept `put X in/on Y`, which games before ALFWorld 0.4 wanted for `move X to Y`; the list
            of admissible actions stays as it is.
    """

    is_generated: ClassVar[bool] = False
    """Whether the games are made by this package: then its behaviour hash covers them."""

    def __init__(
        self,
        games: GameSource,
        split: str | None = None,
        engine: EngineName = "native",
        legacy_actions: bool = False,
    ) -> None:
        super().__init__()
        if engine not in ENGINES:
            raise ValueError(unknown("engine", engine, ENGINES))
        if split is not None and split not in games.splits:
            games.task_ids(split)  # raises, and says what is there
        first = games.splits[0] if split is None else split
        # What is there depends on the data: the class variable only states the usual.
        self.splits = (first, *(name for name in games.splits if name != first))  # type: ignore[misc]
        self.games = games
        self.engine = engine
        if engine == "textworld":
            self.host = "processes"  # it is slow, leaks, and its translator can end the process
        self.legacy_actions = legacy_actions
        self._task_id: str | None = None
        self._is_over = False
        self._game: Game
        # Keeps up with the official engine where that one plays: the oracle and the snapshots need a state.
        self._native: NativeEngine
        self._played: Engine
        self._commands: list[str] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        reply = self._start(self.chosen_task(seed, options))
        return reply.text, self._info(reply)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if not isinstance(action, str):
            raise TypeError(f"an action is a command, a string such as 'look', not {type(action).__name__}")
        if self._task_id is None or self._is_over:
            raise ResetNeeded("the episode is over, or none was started; call reset() before step()")
        reply = self._do(self._played, action)
        if self._played is not self._native:
            self._do(self._native, action)
            self._commands.append(action)
        self._is_over = reply.won
        return reply.text, float(reply.won), reply.won, False, self._info(reply)

    def task_ids(self, split: str) -> Sequence[str]:
        return self.games.task_ids(split)

    def oracle(self) -> str | None:
        """The next command towards the goal; it reads the hidden state. See `oracle.next_command`."""
        self._require_episode()
        return next_command(self._game, self._native.state)

    def snapshot(self) -> Snapshot:
        task_id = self._require_episode()
        return Snapshot(task_id, self._native.state.copy(), tuple(self._commands), self._is_over)

    def restore(self, snapshot: Snapshot) -> None:
        if snapshot.task_id != self._task_id or self._played is not self._native:
            self._start(snapshot.task_id)
        if self._played is not self._native:
            for command in snapshot.commands:
                self._do(self._played, command)
            self._commands = list(snapshot.commands)
        self._native.go_to(snapshot.state)
        self._is_over = snapshot.is_over

    def fork(self) -> Self:
        """An independent environment in the same state; both share the compiled game.

        With the native engine it takes microseconds; the official engine plays everything again.
        """
        twin = copy.copy(self)
        # Drawing a task for one must not change what the other draws next.
        twin._np_random = copy.deepcopy(self._np_random)
        if self._task_id is None:
            return twin
        twin._native, twin._commands = self._native.fork(), list(self._commands)
        if self._played is self._native:
            twin._played = twin._native
        else:
            twin._played = _official(self.games, self._task_id)
            twin.restore(self.snapshot())
        return twin

    @property
    def behaviour_hash(self) -> str:
        """Of the rules and, where games are generated, of the generator; see `behaviour.rules_hash`."""
        # Only here: it plays games itself.
        from sdar_gym.envs.alfworld.behaviour import digest, rules_hash, world_hash

        rules = rules_hash(self.engine, self.legacy_actions)
        return digest([rules, world_hash(self.games)]) if self.is_generated else rules

    def task_digest(self, task_id: str) -> str | None:
        if self.is_generated:
            return None  # the behaviour hash covers the generator
        game = self.games.load(task_id)
        # What is played: neither the layout of the file nor the stored walkthrough matters.
        played = json.dumps([game.pddl_domain, game.grammar, game.pddl_problem])
        return hashlib.sha256(played.encode()).hexdigest()

    def _do(self, engine: Engine, action: str) -> Reply:
        return step_legacy(engine, action) if self.legacy_actions else engine.step(action)

    def _start(self, task_id: str) -> Reply:
        if task_id != self._task_id:
            self._game = compiled(self.games, task_id)
            self._task_id = None  # until the engines are those of the new task
            self._native = NativeEngine(self._game)
            self._played = self._native if self.engine == "native" else _official(self.games, task_id)
            self._task_id = task_id
        self._is_over = False
        self._commands = []
        reply = self._native.reset()
        return reply if self._played is self._native else self._played.reset()

    def _require_episode(self) -> str:
        if self._task_id is None:
            raise ResetNeeded("no episode is running; call reset() first")
        return self._task_id

    def _info(self, reply: Reply) -> dict[str, Any]:
        game = self._game.compiled
        info: TurnInfo = {
            "task_id": self._require_episode(),
            "task": game.task,
            "task_type": game.goal.task_type,
            "admissible_actions": list(reply.admissible),
            "is_action_valid": reply.understood,
            "success": reply.won,
            "score": float(reply.won),
        }
        return cast(dict[str, Any], info)


class ALFWorldEnv(HouseholdEnv):
    """The published ALFWorld games, by an engine that answers as the official one does, command for command.

    Task ids are `<split>/<task folder>/<trial folder>`, of the splits train, valid_seen, valid_unseen and valid_train
    as far as they are there; unsolvable games and those with sliced or movable things are left out, as officially.

    Args:
        data: A folder that holds `json_2.1.1`, that folder itself, any other folder with game files below (split
            `all`), or one game file. By default the folder that the environment variable ALFWORLD_DATA names, else
            `~/.cache/alfworld`, where `sdar-gym data download alfworld` puts the games.
        split: The split that seeds draw from; by default train, or the first one that is there.
        engine: "native", or "textworld" for the official engine, which needs `pip install "sdar-gym[alfworld]"`.
        legacy_actions: Also accept `put X in/on Y`, which games before ALFWorld 0.4 wanted for `move X to Y`.
        task_types: Play games of these types only, by name or by official number (1 to 6); all by default.

    Raises:
        FileNotFoundError: no games are there; the text says how to get them.
        UnknownTaskError: the data has no such split.
    """

    def __init__(
        self,
        data: str | Path | None = None,
        split: str | None = None,
        engine: EngineName = "native",
        legacy_actions: bool = False,
        task_types: Sequence[str | int] | None = None,
    ) -> None:
        super().__init__(find_games(data, task_types), split, engine, legacy_actions)


def _official(games: GameSource, task_id: str) -> Engine:
    # Only here: the official packages are an optional extra.
    from sdar_gym.envs.alfworld.official import OfficialEngine

    return OfficialEngine(games.load(task_id))
