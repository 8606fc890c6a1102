"""A walk to a number: the toy of the suite, and the template for an environment of your own.

To write one: copy this file, keep the methods, and register the class (`gymnasium.register`). `check_text_env`
says what is still missing. Nothing here depends on data, on time or on a global random generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from sdar_gym.errors import unknown
from sdar_gym.text_env import TextEnv, TurnInfo, UnknownTaskError

STEP = {"left": -1, "right": 1, "stay": 0}


@dataclass(frozen=True, slots=True)
class Walk:
    """The whole state of an episode. Being frozen, it is its own snapshot."""

    task_id: str
    start: int
    position: int
    target: int


class NumberLineEnv(TextEnv):
    """Walk from one number to another; the numbers are 0 to `size - 1`.

    A task id such as `train/3-7` says where the walk starts and ends. The task type is the direction to go,
    `go_left` or `go_right`. Within the registered limit of 10 turns every task of up to 11 numbers can be solved.

    Args:
        size: How many numbers there are, at least 3.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "valid")

    def __init__(self, size: int = 10) -> None:
        super().__init__()
        if size < 3:
            raise ValueError(f"size is {size}; a number line needs at least 3 numbers to have both splits")
        self.size = size
        self._ids = {split: self._list_ids(split) for split in self.splits}
        self._known = frozenset(task_id for ids in self._ids.values() for task_id in ids)
        self._walk: Walk | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        task_id = self.chosen_task(seed, options)
        if task_id not in self._known:
            raise UnknownTaskError(f"no task {task_id!r} on a line of {self.size} numbers; ids look like 'train/3-7'")
        start, target = map(int, task_id.partition("/")[2].split("-"))
        self._walk = Walk(task_id, start, start, target)
        return self._observation(), self._info(is_action_valid=True)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if not isinstance(action, str):
            raise TypeError(f"an action is a string, not {type(action).__name__}")
        walk = self._running()
        word = action.strip()
        is_valid = word in self._admissible()
        if is_valid:
            self._walk = replace(walk, position=walk.position + STEP[word])
        observation = self._observation() if is_valid else f"That is not possible. {self._observation()}"
        info = self._info(is_action_valid=is_valid)
        return observation, info["score"], info["success"], False, info

    def task_ids(self, split: str) -> Sequence[str]:
        if split not in self._ids:
            raise UnknownTaskError(unknown("split", split, self.splits))
        return self._ids[split]

    def oracle(self) -> str | None:
        walk = self._running()
        if walk.position == walk.target:
            return None
        return "right" if walk.target > walk.position else "left"

    def snapshot(self) -> Walk:
        return self._running()

    def restore(self, snapshot: Walk) -> None:
        self._walk = snapshot

    def _running(self) -> Walk:
        if self._walk is None:
            raise RuntimeError("no episode is running; call reset first")
        return self._walk

    def _list_ids(self, split: str) -> tuple[str, ...]:
        pairs = ((a, b) for a in range(self.size) for b in range(self.size) if a != b)
        # About one pair in five is kept for validation, whatever the size: no task is in both splits.
        wanted = split == "valid"
        return tuple(f"{split}/{a}-{b}" for a, b in pairs if ((3 * a + b) % 5 == 0) == wanted)

    def _admissible(self) -> list[str]:
        position = self._running().position
        return [word for word, step in STEP.items() if 0 <= position + step < self.size]

    def _observation(self) -> str:
        walk = self._running()
        return f"You are at {walk.position}. Go to {walk.target}."

    def _info(self, *, is_action_valid: bool) -> dict[str, Any]:
        walk = self._running()
        success = walk.position == walk.target
        info = TurnInfo(
            task_id=walk.task_id,
            task=f"Go to {walk.target}.",
            task_type="go_right" if walk.target > walk.start else "go_left",
            admissible_actions=self._admissible(),
            is_action_valid=is_action_valid,
            success=success,
            score=float(success),
        )
        return dict(info)
