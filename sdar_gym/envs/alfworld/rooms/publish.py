"""Writes generated games as the published ones lie on disk, so that the official loader and its expert take them.

`<split>/<task>/<trial>/{game.tw-pddl,traj_data.json}`, the task named as `type-Object-None-Receptacle-FloorPlan`. For
games of every generated world.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sdar_gym.envs.alfworld.game_file import GAME_FILE_NAME, GameFile
from sdar_gym.errors import unknown

TRAJECTORY_NAME = "traj_data.json"
PUBLISHED_SPLITS: tuple[str, ...] = ("train", "valid_seen", "valid_unseen")
"""The splits that the official loader reads."""
_UNFINISHED = ".part"


@dataclass(frozen=True, slots=True)
class PublishedTask:
    """What the official packages read of a task beside its game.

    Attributes:
        task_type: One of `kitchen.TASK_TYPES`.
        thing: Kind of the wanted thing, as in game files.
        goal: Kind of the receptacle; of the lamp where a thing shall be looked at.
        floor_plan: Number of the scene.
        trial: Name of the innermost folder, alike nowhere else in a split.
    """

    task_type: str
    thing: str
    goal: str
    floor_plan: int
    trial: str

    @property
    def folder(self) -> str:
        """Name of the task's folder."""
        return f"{self.task_type}-{self.thing}-None-{self.goal}-{self.floor_plan}"

    def trajectory(self) -> str:
        """Content of `traj_data.json`, as far as text games need it."""
        is_look = self.task_type == "look_at_obj_in_light"
        about = {
            "task_id": self.trial,
            "task_type": self.task_type,
            "pddl_params": {
                "object_target": self.thing,
                "parent_target": "" if is_look else self.goal,
                "toggle_target": self.goal if is_look else "",
                "mrecep_target": "",
                "object_sliced": False,
            },
            "scene": {"floor_plan": f"FloorPlan{self.floor_plan}", "scene_num": self.floor_plan},
        }
        return json.dumps(about)


def checked_split(folder: str | Path, split: str, count: int) -> Path:
    """The folder of a split that some games are to be written to.

    Raises:
        ValueError: an unknown split, or a count below 1.
    """
    if split not in PUBLISHED_SPLITS:
        raise ValueError(unknown("split", split, PUBLISHED_SPLITS))
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    return Path(folder) / split


def write_games(folder: Path, games: Iterable[tuple[PublishedTask, GameFile]]) -> list[Path]:
    """Write games; those that are there already are left alone, so that an interrupted run can be repeated.

    Args:
        folder: Of the split.
        games: In the order in which to write them.

    Returns:
        The game files, in that order.

    Raises:
        FileExistsError: a trial of that name holds another game; nothing is overwritten.
    """
    present = {trial.name: trial for trial in folder.glob("*/*") if trial.is_dir()}
    paths = []
    for task, game in games:
        trial = folder / task.folder / task.trial
        if present.get(task.trial, trial) != trial:
            raise FileExistsError(_taken(present[task.trial]))
        trial.mkdir(parents=True, exist_ok=True)
        unfinished = trial / (TRAJECTORY_NAME + _UNFINISHED)
        unfinished.write_text(task.trajectory(), encoding="utf-8")
        _settle(unfinished, trial / TRAJECTORY_NAME)
        # The game comes last: a loader that finds it finds all of the trial.
        unfinished = trial / (GAME_FILE_NAME + _UNFINISHED)
        game.write(unfinished)
        _settle(unfinished, trial / GAME_FILE_NAME)
        paths.append(trial / GAME_FILE_NAME)
    return paths


def _settle(unfinished: Path, path: Path) -> None:
    """Give a completely written file its name, unless another content has it."""
    if path.exists():
        same = path.read_bytes() == unfinished.read_bytes()
        unfinished.unlink()
        if not same:
            raise FileExistsError(_taken(path))
    else:
        os.replace(unfinished, path)


def _taken(path: Path) -> str:
    return f"{path} is of another game of that number; write to another folder, take another seed, or delete it"
