"""`check_text_env`: the contract of `TextEnv`, tried out on an environment. Works for third parties' as well."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.utils.env_checker import check_env

from sdar_gym.registration import text_env
from sdar_gym.text_env import MANDATORY_INFO, TextEnv, UnknownTaskError

Outcome = tuple[str, float, bool, bool, dict[str, Any]]

DEFAULT_MAX_TURNS = 100
GARBAGE = (
    "",
    "   \n\t ",
    "zzzz no such thing",
    "geh nach Süden 去厨房 🚪 \u202e",
    "\x00\x07\x1b[31m\r\n",
    "x" * 100_000,
    "(" * 2_000,
    "\ud800",
    "../../etc/passwd; {0} %s $(true)",
)
"""What a careless or hostile agent sends: none of it may raise, hang or end the process."""

INFO_TYPES: dict[str, type] = {
    "task_id": str,
    "task": str,
    "task_type": str,
    "admissible_actions": list,
    "is_action_valid": bool,
    "success": bool,
    "score": float,
}


class ContractError(AssertionError):
    """An environment breaks the contract of `TextEnv`; the text says how."""


def check_text_env(
    env: gym.Env[Any, Any],
    *,
    tasks: int = 3,
    max_turns: int | None = None,
    with_oracle: bool = True,
    with_gymnasium: bool = True,
) -> None:
    """Try out the contract, on a few tasks.

    Args:
        env: An instance, wrapped or not; the environment below the wrappers is checked. Left in some later state.
        tasks: How many tasks of each split are played.
        max_turns: Turns within which the oracle must win; the registered time limit by default, else 100.
        with_oracle: Whether the oracle is tried (a planner can be slow).
        with_gymnasium: Whether Gymnasium's own `check_env` runs too.

    Raises:
        ContractError: the first breach found.
        TypeError: `env` is no `TextEnv`.
    """
    inner = text_env(env)
    limit = max_turns or (env.spec.max_episode_steps if env.spec else None) or DEFAULT_MAX_TURNS
    _check_splits(inner)
    _check_reset(inner)
    _check_refusals(inner)
    _check_garbage(inner)
    for split in inner.splits:
        for task_id in _spread(list(inner.task_ids(split)), tasks):
            _check_admissible(inner, task_id)
            _check_replay(inner, task_id)
            _check_snapshot(inner, task_id)
            _check_fork(inner, task_id)
            if with_oracle:
                _check_oracle(inner, task_id, limit)
    if with_gymnasium:
        _check_gymnasium(inner)


def _check_splits(env: TextEnv) -> None:
    _demand(bool(env.splits), env, "`splits` names no split")
    seen: dict[str, str] = {}
    for split in env.splits:
        ids = list(env.task_ids(split))
        _demand(bool(ids), env, f"split {split!r} has no task")
        _demand(all(isinstance(task_id, str) for task_id in ids), env, f"a task id of split {split!r} is no string")
        _demand(len(set(ids)) == len(ids), env, f"split {split!r} lists a task twice")
        _demand(list(env.task_ids(split)) == ids, env, f"`task_ids({split!r})` changes from call to call")
        shared = next((task_id for task_id in ids if task_id in seen), None)
        _demand(shared is None, env, f"task {shared!r} is in split {split!r} and in {seen.get(shared or '')!r}")
        seen.update(dict.fromkeys(ids, split))
    _demand_raises(env, lambda: env.task_ids("no-such-split"), UnknownTaskError, "task_ids('no-such-split')")


def _check_reset(env: TextEnv) -> None:
    first_split = set(env.task_ids(env.splits[0]))
    for seed in (0, 1, 12345):
        observation, info = _reset(env, seed=seed)
        _demand(info["task_id"] in first_split, env, f"seed {seed} chose a task outside split {env.splits[0]!r}")
        _demand(_reset(env, seed=seed) == (observation, info), env, f"seed {seed} gives two different episodes")
        replayed = _reset(env, options={"task": info["task_id"]})
        _demand(replayed == (observation, info), env, f"task {info['task_id']!r} differs from the same task by seed")


def _check_refusals(env: TextEnv) -> None:
    def resets(options: dict[str, Any]) -> Callable[[], object]:
        return lambda: env.reset(options=options)

    def steps(action: Any) -> Callable[[], object]:
        return lambda: env.step(action)

    _demand_raises(env, resets({"task": "no such task"}), UnknownTaskError, "an unknown task id")
    _demand_raises(env, resets({"task": 7}), UnknownTaskError, "a task id that is no string")
    _demand_raises(env, resets({"tsak": "x"}), ValueError, "an unknown reset option")
    env.reset(seed=0)
    for action in (None, 3, ["look"]):
        _demand_raises(env, steps(action), TypeError, f"the action {action!r}")


def _check_garbage(env: TextEnv) -> None:
    _, before = _reset(env, seed=0)
    for garbage in GARBAGE:
        name = f"garbage {garbage[:20]!r} ({len(garbage)} characters)"
        try:
            _, _, terminated, truncated, info = _step(env, garbage, before)
        except ContractError:
            raise
        except Exception as error:
            raise ContractError(f"{_name(env)}: {name} raised {error!r}; it must be answered") from error
        if garbage == "":
            _demand(not info["is_action_valid"], env, "the empty action counts as valid; malformed responses send it")
            unchanged = info["admissible_actions"] == before["admissible_actions"] and not info["success"]
            _demand(unchanged, env, "the empty action changes the state; malformed responses send it as a no-op")
        if terminated or truncated:
            _, before = _reset(env, seed=0)


def _check_admissible(env: TextEnv, task_id: str) -> None:
    _, before = _reset(env, options={"task": task_id})
    start = env.snapshot()
    for action in _spread(before["admissible_actions"], 8):
        env.restore(start)
        info = _step(env, action, before)[4]
        _demand(info["is_action_valid"], env, f"admissible action {action!r} of task {task_id!r} is not understood")


def _check_replay(env: TextEnv, task_id: str) -> None:
    first = _wander(env, _reset(env, options={"task": task_id})[1])
    second = _wander(env, _reset(env, options={"task": task_id})[1])
    _demand(first == second, env, f"task {task_id!r}: the same actions after the same reset give another episode")


def _check_snapshot(env: TextEnv, task_id: str) -> None:
    _, info = _reset(env, options={"task": task_id})
    walked = _wander(env, info, turns=3)
    if walked and (walked[-1][2] or walked[-1][3]):  # a task this short is tried from its start
        _, info = _reset(env, options={"task": task_id})
    else:
        info = walked[-1][4] if walked else info
    snapshot = env.snapshot()
    first = _wander(env, info)
    # Twice, since a snapshot that is the live state itself survives one restore but not the steps after it.
    for _ in range(2):
        env.restore(snapshot)
        _demand(_wander(env, info) == first, env, f"task {task_id!r}: the episode differs after `restore`")


def _check_fork(env: TextEnv, task_id: str) -> None:
    _, info = _reset(env, options={"task": task_id})
    for action in _spread(info["admissible_actions"], 2)[:1]:
        info = _step(env, action, info)[4]
    if info["success"]:
        return
    twin, before = env.fork(), env.snapshot()
    _demand(type(twin) is type(env) and twin is not env, env, "`fork` does not give another environment of its class")
    walked = _wander(twin, info)
    _demand(_wander(env, info) == walked, env, f"task {task_id!r}: a fork and its origin play the same actions apart")
    env.restore(before)
    other = env.fork()
    _wander(env, info)
    _demand(_wander(other, info) == walked, env, f"task {task_id!r}: stepping an environment changes its fork")


def _check_oracle(env: TextEnv, task_id: str, max_turns: int) -> None:
    _, info = _reset(env, options={"task": task_id})
    total = 0.0
    for turn in range(max_turns):
        action = env.oracle()
        if action is None:
            raise ContractError(f"{_name(env)}: the oracle gives up on task {task_id!r} at turn {turn}")
        _, reward, terminated, truncated, info = _step(env, action, info)
        total += reward
        if info["success"] or terminated or truncated:
            break
    _demand(info["success"], env, f"the oracle does not solve task {task_id!r} in {max_turns} turns")
    _demand(terminated, env, f"task {task_id!r} is solved but `terminated` is False")
    _demand(total > 0, env, f"task {task_id!r} is solved for a total reward of {total}")


def _check_gymnasium(env: TextEnv) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            # Without a spec Gymnasium cannot make the further instances that its render check wants, and warns.
            check_env(env, skip_render_check=env.spec is None)
        except Exception as error:
            raise ContractError(f"{_name(env)}: gymnasium's check_env says: {error}") from error


def _reset(env: TextEnv, **arguments: Any) -> tuple[str, dict[str, Any]]:
    observation, info = env.reset(**arguments)
    _demand(isinstance(observation, str), env, f"`reset` observes a {type(observation).__name__}, not a string")
    _check_info(env, info, "reset")
    wanted = (arguments.get("options") or {}).get("task", info["task_id"])
    _demand(info["task_id"] == wanted, env, f"asked for task {wanted!r}, `reset` reports {info['task_id']!r}")
    _demand(info["is_action_valid"], env, "`is_action_valid` is False after `reset`")
    _demand(not info["success"], env, f"task {info['task_id']!r} is solved before the first turn")
    return observation, dict(info)


def _step(env: TextEnv, action: str, before: dict[str, Any]) -> Outcome:
    observation, reward, terminated, truncated, info = env.step(action)
    _demand(isinstance(observation, str), env, f"`step` observes a {type(observation).__name__}, not a string")
    _demand(isinstance(reward, int | float), env, f"the reward is a {type(reward).__name__}, not a number")
    _demand(isinstance(terminated, bool), env, "`terminated` is not a bool")
    _demand(isinstance(truncated, bool), env, "`truncated` is not a bool")
    _check_info(env, info, "step")
    for key in ("task_id", "task", "task_type"):
        changed = f"info[{key!r}] changes within an episode, from {before[key]!r} to {info[key]!r}"
        _demand(info[key] == before[key], env, changed)
    return observation, float(reward), terminated, truncated, dict(info)


def _check_info(env: TextEnv, info: dict[str, Any], source: str) -> None:
    for key in MANDATORY_INFO:
        _demand(key in info, env, f"`{source}` does not report info[{key!r}]")
        found, wanted = type(info[key]), INFO_TYPES[key]
        _demand(issubclass(found, wanted), env, f"`{source}`: info[{key!r}] is {found.__name__}, not {wanted.__name__}")
    for key in ("task_id", "task", "task_type"):
        _demand(info[key] != "", env, f"`{source}`: info[{key!r}] is empty")
    strings = all(isinstance(action, str) for action in info["admissible_actions"])
    _demand(strings, env, f"`{source}`: an admissible action is no string")
    _demand(0.0 <= info["score"] <= 1.0, env, f"`{source}`: info['score'] is {info['score']}, not within 0 and 1")


def _wander(env: TextEnv, info: dict[str, Any], turns: int = 12) -> list[Outcome]:
    """A walk of random admissible actions, the same walk from the same state; ends with the episode."""
    generator = random.Random(0)
    outcomes: list[Outcome] = []
    for _ in range(turns):
        outcome = _step(env, generator.choice(info["admissible_actions"] or ["look"]), info)
        outcomes.append(outcome)
        info = outcome[4]
        if outcome[2] or outcome[3]:
            break
    return outcomes


def _spread(items: list[str], count: int) -> list[str]:
    """`count` items at equal distances, the first among them; all of them if there are fewer."""
    if len(items) <= count:
        return items
    return [items[index * len(items) // count] for index in range(count)]


def _demand(holds: bool, env: TextEnv, sentence: str) -> None:
    if not holds:
        raise ContractError(f"{_name(env)}: {sentence}")


def _demand_raises(env: TextEnv, call: Callable[[], object], error: type[Exception], what: str) -> None:
    try:
        call()
    except error:
        return
    except Exception as other:
        raise ContractError(f"{_name(env)}: {what} raises {other!r}; it must raise {error.__name__}") from other
    raise ContractError(f"{_name(env)}: {what} is accepted; it must raise {error.__name__}")


def _name(env: TextEnv) -> str:
    return type(env).__name__
