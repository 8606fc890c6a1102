"""The table of contents: one `_register(...)` an environment, and the ways to make one.

Entry points are strings, so that nothing heavy is imported before an environment is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from sdar_gym.errors import unknown
from sdar_gym.text_env import TextEnv


class UnknownEnvError(KeyError):
    """An environment id that is not registered."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class SuiteEntry:
    """What the suite knows of an environment besides its code.

    Attributes:
        env_id: Gymnasium id.
        family: The name that its skills are filed under; several environments can share one.
        summary: One line for `sdar-gym list`.
        evaluation_split: The split that is evaluated unless another is named.
        needs_data: Whether game files have to be downloaded before it can be made.
        max_turns: Time limit of an episode.
    """

    env_id: str
    family: str
    summary: str
    evaluation_split: str
    needs_data: bool
    max_turns: int


SUITE: dict[str, SuiteEntry] = {}
"""Every environment that ships with the package, by Gymnasium id."""


def _register(entry: SuiteEntry, entry_point: str) -> None:
    SUITE[entry.env_id] = entry
    # Gymnasium's passive checker stays on: it looks at the first reset and steps only and was measured to cost nothing.
    gym.register(id=entry.env_id, entry_point=entry_point, max_episode_steps=entry.max_turns)


_register(
    SuiteEntry(
        env_id="sdar_gym/NumberLine-v0",
        family="number_line",
        summary="walk to a number; a toy without data, for tests, examples and smoke training",
        evaluation_split="valid",
        needs_data=False,
        max_turns=10,
    ),
    entry_point="sdar_gym.envs.number_line:NumberLineEnv",
)
_register(
    SuiteEntry(
        env_id="sdar_gym/ALFWorld-v0",
        family="alfworld",
        summary="household tasks of the published ALFWorld games (six task types), native engine",
        evaluation_split="valid_seen",
        needs_data=True,
        max_turns=50,
    ),
    entry_point="sdar_gym.envs.alfworld.env:ALFWorldEnv",
)
_register(
    SuiteEntry(
        env_id="sdar_gym/ALFWorldMini-v0",
        family="alfworld_mini",
        summary="a small generated household in the manner of ALFWorld; learnable on a CPU",
        evaluation_split="valid",
        needs_data=False,
        max_turns=16,
    ),
    entry_point="sdar_gym.envs.alfworld.mini:ALFWorldMiniEnv",
)


def text_env(env: gym.Env[Any, Any]) -> TextEnv:
    """The `TextEnv` below any number of wrappers.

    Raises:
        TypeError: what is wrapped is no `TextEnv`.
    """
    inner = env.unwrapped
    if not isinstance(inner, TextEnv):
        raise TypeError(f"{type(inner).__name__} is not a text environment: it does not inherit from sdar_gym.TextEnv")
    return inner


def make(env_id: str, **kwargs: Any) -> gym.Env[str, str]:
    """`gymnasium.make` for text environments.

    Args:
        env_id: An id of the suite, or any registered id (`module:Id` imports the module that registers it).
        **kwargs: Settings of the environment, and `gymnasium.make`'s own `max_episode_steps`.

    Raises:
        UnknownEnvError: no such id.
        TypeError: the id names an environment that is no `TextEnv`.
    """
    if ":" not in env_id and env_id not in gym.registry:
        raise UnknownEnvError(unknown("environment", env_id, SUITE))
    env: gym.Env[str, str] = gym.make(env_id, **kwargs)
    text_env(env)
    return env


def make_vec(
    env_id: str,
    num_envs: int,
    *,
    mode: Literal["sync", "async"] = "sync",
    autoreset: AutoresetMode = AutoresetMode.NEXT_STEP,
    **kwargs: Any,
) -> SyncVectorEnv | AsyncVectorEnv:
    """`num_envs` copies of `make(env_id, **kwargs)` behind Gymnasium's vector interface; observations are tuples.

    Asynchronous copies (one process each) exchange text through pipes: Gymnasium's shared memory has a fixed
    width, and `FreeText` refuses it.

    Args:
        env_id: As for `make`.
        num_envs: How many copies.
        mode: All in this process, or a process each.
        autoreset: Gymnasium's autoreset mode. `NEXT_STEP` spends one ignored action on the reset;
            `SAME_STEP` does not, and keeps the last turn in `info["final_obs"]` and `info["final_info"]`.
        **kwargs: As for `make`.
    """
    makers: list[Callable[[], gym.Env[str, str]]] = [_Maker(env_id, kwargs) for _ in range(num_envs)]
    if mode == "sync":
        return SyncVectorEnv(makers, autoreset_mode=autoreset)
    if mode == "async":
        return AsyncVectorEnv(makers, shared_memory=False, autoreset_mode=autoreset)
    raise ValueError(unknown("vector mode", mode, ("sync", "async")))


@dataclass(frozen=True, slots=True)
class _Maker:
    """A call of `make` that can be sent to another process."""

    env_id: str
    kwargs: dict[str, Any]

    def __call__(self) -> gym.Env[str, str]:
        return make(self.env_id, **self.kwargs)
