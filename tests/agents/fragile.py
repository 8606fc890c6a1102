"""The number line, with faults at chosen places: each happens a given number of times, in whatever process."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sdar_agents.env_hosts import TextEnvironment, make_agent_env
from sdar_gym.errors import TaskError
from sdar_gym.prompts import COMPACT
from sdar_gym.wrappers import TextWrapper

ENV = "sdar_gym/NumberLine-v0"


@dataclass(frozen=True)
class Fault:
    """What happens at a turn of a task (0 is the reset), the first `times` times that it is reached."""

    task_id: str
    turn: int
    kind: Literal["raise", "exit", "hang", "die", "delay", "no such task", "no such file", "unpicklable"]
    times: int = 1


class Fragile(TextWrapper):
    """Does what the plan says before it passes the call on."""

    def __init__(self, env: TextEnvironment, folder: str, faults: tuple[Fault, ...]) -> None:
        super().__init__(env)
        self.folder, self.faults = Path(folder), faults
        self.task_id, self.turn = "", 0
        self.is_broken = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self.task_id, self.turn = str((options or {})["task"]), 0
        self._fail()
        return self.env.reset(seed=seed, options=options)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.turn += 1
        self._fail()
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward), terminated, truncated, info

    def _fail(self) -> None:
        if self.is_broken:
            raise RuntimeError("still in use after a crash")
        for number, fault in enumerate(self.faults):
            if (fault.task_id, fault.turn) == (self.task_id, self.turn) and self._is_due(number, fault):
                self.is_broken = fault.kind != "delay"
                _happen(fault)

    def _is_due(self, number: int, fault: Fault) -> bool:
        # Appending a byte is atomic, and tells how often it was done before.
        with (self.folder / str(number)).open("ab") as file:
            file.write(b".")
            file.flush()
            return file.tell() <= fault.times


def _happen(fault: Fault) -> None:
    if fault.kind == "raise":
        raise RuntimeError("the engine fell over")
    if fault.kind == "exit":
        raise SystemExit(3)
    if fault.kind == "hang":
        time.sleep(30)
    if fault.kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.kind == "delay":
        time.sleep(random.Random(f"{fault}").random() * 0.02)
    if fault.kind == "no such task":
        raise TaskError("this game is corrupt")
    if fault.kind == "no such file":
        raise FileNotFoundError("no data here")
    if fault.kind == "unpicklable":
        raise _LocalError(1, 2)


class _LocalError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("cannot be made from its one argument")


def make_fragile(folder: str, faults: tuple[Fault, ...]) -> TextEnvironment:
    return Fragile(make_agent_env(ENV, COMPACT), folder, faults)
