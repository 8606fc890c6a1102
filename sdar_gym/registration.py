"""The table of contents: one `_register(...)` an environment, and the ways to make one.

Entry points are strings, so that nothing heavy is imported before an environment is made.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv

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
        counts_turns: Whether the environment keeps the limit itself (by a setting `max_turns`), because it says what
            happens on the last turn.
        prompt_style: The style of prompt that its protocol asks for, whatever the model; None if any will do.
        web: What serves its pages to people, as `module:function` (see `sdar_gym.envs.webshop.web:serve_env`); None if
            it has no pages.
        own_skills: What names the skills of the running task, as `module:function` that takes the environment and
            returns ids of its family's bank: those that tell what this task hides. None where a task has no skills but
            those of its type.
    """

    env_id: str
    family: str
    summary: str
    evaluation_split: str
    needs_data: bool
    max_turns: int
    counts_turns: bool = False
    prompt_style: str | None = None
    web: str | None = None
    own_skills: str | None = None


SUITE: dict[str, SuiteEntry] = {}
"""Every environment that ships with the package, by Gymnasium id."""


def _register(entry: SuiteEntry, entry_point: str) -> None:
    SUITE[entry.env_id] = entry
    # Where the very first reset raises, Gymnasium's passive checker (1.4) breaks the first step after it. What it
    # would look at, `check_text_env` checks for every environment of the suite.
    limit = None if entry.counts_turns else entry.max_turns
    gym.register(id=entry.env_id, entry_point=entry_point, max_episode_steps=limit, disable_env_checker=True)


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
        env_id="sdar_gym/ALFWorldRooms-v0",
        family="alfworld",
        summary="generated kitchens, living rooms, bedrooms and bathrooms that look like the published games",
        evaluation_split="valid",
        needs_data=False,
        max_turns=50,
    ),
    entry_point="sdar_gym.envs.alfworld.rooms.games:ALFWorldRoomsEnv",
)
_register(
    SuiteEntry(
        env_id="sdar_gym/ALFWorldMini-v0",
        family="alfworld_mini",
        summary="a small generated household in the manner of ALFWorld; learnable on a CPU",
        evaluation_split="valid",
        needs_data=False,
        max_turns=16,
        own_skills="sdar_gym.envs.alfworld.skill_files:own_skills",
    ),
    entry_point="sdar_gym.envs.alfworld.mini:ALFWorldMiniEnv",
)
_register(
    SuiteEntry(
        env_id="sdar_gym/WebShop-v0",
        family="webshop",
        summary="shopping for an instruction among WebShop's real products, by search and clicks",
        evaluation_split="test",
        needs_data=True,
        max_turns=15,
        web="sdar_gym.envs.webshop.web:serve_env",
    ),
    entry_point="sdar_gym.envs.webshop.env:WebShopEnv",
)
_register(
    SuiteEntry(
        env_id="sdar_gym/WebShopMini-v0",
        family="webshop_mini",
        summary="a generated shop in the manner of WebShop; nothing to download",
        evaluation_split="test",
        needs_data=False,
        max_turns=15,
        web="sdar_gym.envs.webshop.web:serve_env",
        own_skills="sdar_gym.envs.webshop.skill_texts:own_skills",
    ),
    entry_point="sdar_gym.envs.webshop.mini:WebShopMiniEnv",
)
_register(
    SuiteEntry(
        env_id="sdar_gym/SearchQA-v0",
        family="search_qa",
        summary="open-domain and multi-hop questions, answered by searching a corpus, in the protocol of Search-R1",
        evaluation_split="hotpotqa",
        needs_data=True,
        max_turns=4,
        counts_turns=True,
        prompt_style="search",
    ),
    entry_point="sdar_gym.envs.search_qa.env:SearchQAEnv",
)
_register(
    SuiteEntry(
        env_id="sdar_gym/SearchQAMini-v0",
        family="search_qa_mini",
        summary="questions about a generated world that only its documents answer, in the protocol of Search-R1",
        evaluation_split="test",
        needs_data=False,
        max_turns=4,
        counts_turns=True,
        prompt_style="search",
    ),
    entry_point="sdar_gym.envs.search_qa.mini:SearchQAMiniEnv",
)
for _entry, _class in (
    (
        SuiteEntry(
            env_id="sdar_gym/TextWorld-v0",
            family="textworld",
            summary="quests through rooms, generated by textworld; or TextWorld game files of one's own",
            evaluation_split="valid",
            needs_data=False,
            max_turns=50,
        ),
        "TextWorldEnv",
    ),
    (
        SuiteEntry(
            env_id="sdar_gym/TextWorld-Treasure-v0",
            family="textworld",
            summary="find the right thing in a maze; generated by textworld",
            evaluation_split="valid",
            needs_data=False,
            max_turns=50,
        ),
        "TreasureEnv",
    ),
    (
        SuiteEntry(
            env_id="sdar_gym/TextWorld-Coin-v0",
            family="textworld",
            summary="a coin at the end of a chain of rooms; generated by textworld",
            evaluation_split="valid",
            needs_data=False,
            max_turns=50,
        ),
        "CoinEnv",
    ),
    (
        SuiteEntry(
            env_id="sdar_gym/TextWorld-Cooking-v0",
            family="textworld",
            summary="cook a meal by the cookbook; generated by textworld",
            evaluation_split="valid",
            needs_data=False,
            max_turns=50,
        ),
        "CookingEnv",
    ),
    (
        SuiteEntry(
            env_id="sdar_gym/TextWorld-Simple-v0",
            family="textworld",
            summary="get out of the bedroom and put the right food on the stove; generated by textworld",
            evaluation_split="valid",
            needs_data=False,
            max_turns=50,
        ),
        "SimpleEnv",
    ),
):
    _register(_entry, entry_point=f"sdar_gym.envs.textworld.env:{_class}")


def text_env(env: gym.Env[Any, Any]) -> TextEnv:
    """The `TextEnv` below any number of wrappers.

    Raises:
        TypeError: what is wrapped is no `TextEnv`.
    """
    inner = env.unwrapped
    if not isinstance(inner, TextEnv):
        raise TypeError(f"{type(inner).__name__} is not a text environment: it does not inherit from sdar_gym.TextEnv")
    return inner


def fork(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """An independent copy of a running environment, wrappers (time limit, prompt history) included.

    Stepping one does not change the other: for search, for rollouts from the middle of an episode.

    Raises:
        TypeError: what is wrapped is no `TextEnv`.
    """
    inner = text_env(env)
    return copy.deepcopy(env, {id(inner): inner.fork()})


def make(env_id: str, **kwargs: Any) -> gym.Env[str, str]:
    """`gymnasium.make` for text environments.

    Args:
        env_id: An id of the suite, or any registered id (`module:Id` imports the module that registers it).
        **kwargs: Settings of the environment, and `gymnasium.make`'s own `max_episode_steps`.

    Raises:
        UnknownEnvError: no such id.
        TypeError: the id names an environment that is no `TextEnv`.
    """
    _require_known(env_id)
    env: gym.Env[str, str] = _checked(gym.make(env_id, **kwargs))
    return env


def make_vec(
    env_id: str,
    num_envs: int,
    *,
    mode: Literal["sync", "async"] = "sync",
    autoreset: AutoresetMode = AutoresetMode.NEXT_STEP,
    wrappers: Sequence[Callable[[gym.Env[Any, Any]], gym.Wrapper[Any, Any, Any, Any]]] = (),
    context: Literal["fork", "spawn", "forkserver"] | None = None,
    **kwargs: Any,
) -> VectorEnv[Any, Any, Any]:
    """`num_envs` copies of `make(env_id, **kwargs)` behind Gymnasium's vector interface; observations are tuples.

    `gymnasium.make_vec` gives the same, less the checks. Each step waits for the slowest copy, and `reset` gives all
    of them the same options (those of `options["reset_mask"]` only, where the mode is `DISABLED`): `TextBatch` does
    neither. `turn_info` takes the `TurnInfo` of one copy out of the merged infos.

    Args:
        env_id: As for `make`.
        num_envs: How many copies, at least 1.
        mode: All in this process, or a process each.
        autoreset: Gymnasium's autoreset mode. `NEXT_STEP` spends one ignored action on the reset;
            `SAME_STEP` does not, and keeps the last turn in `info["final_obs"]` and `info["final_info"]`.
        wrappers: Put around each copy, the first innermost.
        context: How processes are started; Python's default if None.
        **kwargs: As for `make`.

    Raises:
        UnknownEnvError: no such id.
        TypeError: the id names an environment that is no `TextEnv`.
        ValueError: no copy, an unknown mode, or a context without processes.
    """
    if mode not in ("sync", "async"):
        raise ValueError(unknown("vector mode", mode, ("sync", "async")))
    if num_envs < 1:
        raise ValueError(f"num_envs is {num_envs}; it must be at least 1")
    if mode == "sync" and context is not None:
        raise ValueError(f"context={context!r} says how processes are started, and there are none; pass mode='async'")
    _require_known(env_id)
    # By shared memory, not by pipes: with pipes, Gymnasium's worker (up to 1.4 at least) forgets to clear a pending
    # autoreset when `reset` is called, and swallows the first action of the new episode.
    settings: dict[str, Any] = {"autoreset_mode": autoreset} | ({"context": context} if context else {})
    return gym.make_vec(
        env_id,
        num_envs,
        vectorization_mode=mode,
        vector_kwargs=settings,
        wrappers=[_checked, *wrappers],
        **kwargs,
    )


def _require_known(env_id: str) -> None:
    if ":" not in env_id and env_id not in gym.registry:
        raise UnknownEnvError(unknown("environment", env_id, SUITE))


def _checked(env: gym.Env[Any, Any]) -> Any:
    text_env(env)
    return env
