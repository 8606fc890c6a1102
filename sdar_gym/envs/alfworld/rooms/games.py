"""`sdar_gym/ALFWorldRooms-v0`: generated rooms that look like the published ones, made on demand from their task id."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

from sdar_gym.envs.alfworld.env import EngineName, HouseholdEnv
from sdar_gym.envs.alfworld.game_file import GameFile
from sdar_gym.envs.alfworld.rooms.figures import FLOOR_PLANS
from sdar_gym.envs.alfworld.rooms.generator import game_file
from sdar_gym.envs.alfworld.rooms.publish import PublishedTask, checked_split
from sdar_gym.envs.alfworld.rooms.publish import write_games as write_published
from sdar_gym.envs.alfworld.rooms.scenario import REAL, Difficulty, Scenario, draw, known_tasks
from sdar_gym.errors import unknown
from sdar_gym.text_env import UnknownTaskError

PANEL_SIZES: dict[str, int] = {"train": 10_000, "valid": 400}
"""How many task ids of each split are listed; ids with greater numbers can be played as well."""
_ID = re.compile(r"(train|valid)/([0-9]{6}|[1-9][0-9]{6,})")
_ONE_IN_VALID = 4
_MAX_DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class RoomGames:
    """A `GameSource` without files: the task id alone decides the game (which takes some four milliseconds).

    Task ids are `train/000000` and `valid/000000` with any number of six digits or more; `task_ids` lists the first
    10,000 and 400. No game of one split is in the other: the hash of what a game contains says in which it may be.

    Attributes:
        rooms: Of `figures.ROOMS`; all if None, each as often as the published games ask for it.
        task_types: Of `kitchen.TASK_TYPES`; all if None, likewise.
        difficulty: How many places and things there are, and how many are closed.

    Raises:
        ValueError: an unknown room or task type, or task types that are asked for in none of the rooms.
    """

    rooms: tuple[str, ...] | None = None
    task_types: tuple[str, ...] | None = None
    difficulty: Difficulty = REAL

    def __post_init__(self) -> None:
        known_tasks(self.rooms, self.task_types)

    @property
    def splits(self) -> tuple[str, ...]:
        """`train` and `valid`."""
        return tuple(PANEL_SIZES)

    def task_ids(self, split: str) -> Sequence[str]:
        """The task ids of a split's panel."""
        if split not in PANEL_SIZES:
            raise UnknownTaskError(unknown("split", split, PANEL_SIZES))
        return _ids(split)

    def load(self, task_id: str) -> GameFile:
        """The game of a task."""
        rng = _rng(task_id)
        return game_file(self._drawn(rng, task_id.partition("/")[0]), rng, name=f"room {task_id}")

    def scenario(self, task_id: str) -> Scenario:
        """What the game of a task is about: for tests and demonstrations, never for an agent."""
        return self._drawn(_rng(task_id), task_id.partition("/")[0])

    def _drawn(self, rng: random.Random, split: str) -> Scenario:
        """Draw until the content's hash allows this split: then the splits share no game, whatever their sizes."""
        for _ in range(_MAX_DRAWS):
            scenario = draw(rng, rooms=self.rooms, task_types=self.task_types, difficulty=self.difficulty)
            if (int(scenario.hash, 16) % _ONE_IN_VALID == 0) == (split == "valid"):
                return scenario
        raise ValueError(f"{self} makes too few games for two splits; ask for more objects or receptacles")

    def write(self, folder: str | Path, count: int, seed: int, *, split: str = "train") -> list[Path]:
        """Write games as the published ones lie on disk, for any engine that reads `game.tw-pddl`; see `publish`.

        Generated rooms are scenes of their own, each with a number beyond the published ones, whose hundreds say
        what it is as theirs do: 1000 for a first game in a kitchen, 2200 for a second one in a living room. What is
        there already is left alone.

        Args:
            folder: Where the folder of the split is made.
            count: How many games.
            seed: Another seed, other games.
            split: `train`, `valid_seen` or `valid_unseen`; games of `train` are in no other split.

        Returns:
            The game files, in the order in which they were drawn.

        Raises:
            ValueError: an unknown split, or a count below 1.
            FileExistsError: the folder holds another game under the same name.
        """
        return write_published(checked_split(folder, split, count), self._published(count, seed, split))

    def _published(self, count: int, seed: int, split: str) -> Iterator[tuple[PublishedTask, GameFile]]:
        for index in range(count):
            rng = random.Random(f"rooms {seed}/{split}/{index}")
            scenario = self._drawn(rng, "train" if split == "train" else "valid")
            task, trial = scenario.task, f"trial_S{seed}_{index:06d}"
            floor_plan = 1000 * (index + 1) + FLOOR_PLANS[task.room]
            about = PublishedTask(task.task_type, task.thing, task.goal, floor_plan, trial)
            yield about, game_file(scenario, rng, name=trial)


class ALFWorldRoomsEnv(HouseholdEnv):
    """Generated kitchens, living rooms, bedrooms and bathrooms, with the published games' contents, tasks and words.

    Their counts of places and things, what lies where, and what is asked for are drawn from the figures of the
    published games. Plays by the rules of `sdar_gym/ALFWorld-v0`; needs no data.

    Args:
        rooms: Of `kitchen`, `livingroom`, `bedroom` and `bathroom`; by default all, as often as in the published games.
        task_types: Of the six published ones; by default all, likewise.
        receptacles: How many places there are, from 5 to 60; by default as many as real rooms have.
        objects: How many things can be carried, from 4 to 120; by default as in real rooms.
        distractors: How many of them are much like the wanted one, from 0 to 60; by default as in real rooms.
        closed: The share of the containers that is closed at the start, from 0 to 1; in the published games all are.
        engine: "native", or "textworld" for the official engine.
        legacy_actions: See `HouseholdEnv`.
    """

    splits: ClassVar[tuple[str, ...]] = tuple(PANEL_SIZES)
    is_generated: ClassVar[bool] = True

    def __init__(
        self,
        rooms: Sequence[str] | None = None,
        task_types: Sequence[str] | None = None,
        *,
        receptacles: int | None = None,
        objects: int | None = None,
        distractors: int | None = None,
        closed: float = 1.0,
        engine: EngineName = "native",
        legacy_actions: bool = False,
    ) -> None:
        games = RoomGames(
            _as_tuple("rooms", rooms),
            _as_tuple("task_types", task_types),
            Difficulty(receptacles, objects, distractors, closed),
        )
        super().__init__(games, engine=engine, legacy_actions=legacy_actions)


def _as_tuple(name: str, given: Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(given, str):
        raise ValueError(f"{name} is a list of names, such as [{given!r}]; got the string {given!r}")
    return None if given is None else tuple(given)


@cache
def _ids(split: str) -> tuple[str, ...]:
    return tuple(f"{split}/{number:06d}" for number in range(PANEL_SIZES[split]))


def _rng(task_id: str) -> random.Random:
    if not _ID.fullmatch(task_id):
        raise UnknownTaskError(f"no task {task_id[:80]!r} among generated rooms; ids look like 'train/000000'")
    return random.Random(f"rooms {task_id}")
