"""`check_text_env` finds each breach: one broken environment a rule."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest

import sdar_gym
from sdar_gym import ContractError, check_text_env
from sdar_gym.check import INFO_TYPES
from sdar_gym.envs.number_line import NumberLineEnv
from sdar_gym.text_env import MANDATORY_INFO, UnknownTaskError

Reset = tuple[str, dict[str, Any]]
Step = tuple[str, float, bool, bool, dict[str, Any]]


def test_a_sound_environment_passes_wrapped_or_not() -> None:
    check_text_env(NumberLineEnv())
    check_text_env(sdar_gym.TaggedAction(sdar_gym.make("sdar_gym/NumberLine-v0")))


def test_the_type_of_every_mandatory_key_is_checked() -> None:
    assert tuple(INFO_TYPES) == MANDATORY_INFO


class ChangedInfo(NumberLineEnv):
    """Reports another value, or none, under one key."""

    def __init__(self, key: str, value: Any) -> None:
        super().__init__()
        self.key, self.value = key, value

    def _info(self, *, is_action_valid: bool) -> dict[str, Any]:
        info = super()._info(is_action_valid=is_action_valid)
        del info[self.key]
        return info if self.value is None else {**info, self.key: self.value}


@pytest.mark.parametrize("key", MANDATORY_INFO)
def test_a_missing_key_is_found(key: str) -> None:
    with pytest.raises(ContractError, match=rf"ChangedInfo: `reset` does not report info\['{key}'\]"):
        check_text_env(ChangedInfo(key, None))


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("task_type", "", "is empty"),
        ("task_type", 3, "is int, not str"),
        ("admissible_actions", ("left",), "is tuple, not list"),
        ("admissible_actions", [1], "an admissible action is no string"),
        ("success", 1, "is int, not bool"),
        ("success", True, "solved before the first turn"),
        ("score", 1, "is int, not float"),
        ("score", 1.5, "not within 0 and 1"),
        ("is_action_valid", False, "False after `reset`"),
        ("is_action_valid", True, "the empty action counts as valid"),
        ("admissible_actions", ["stay", "fly"], "'fly' of task .* is not understood"),
    ],
)
def test_a_wrong_value_is_found(key: str, value: Any, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        check_text_env(ChangedInfo(key, value))


class TaskOfItsOwn(NumberLineEnv):
    """Plays another task than it is asked for."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        options = {"task": "train/3-7"} if options else options
        return super().reset(seed=seed, options=options)


class Drifting(NumberLineEnv):
    """Shows something else at every reset."""

    resets = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        observation, info = super().reset(seed=seed, options=options)
        self.resets += 1
        return f"{observation} ({self.resets})", info


class Unseeded(NumberLineEnv):
    """Draws from a generator that no seed sets: the seed decides the task, but not what follows."""

    calls = 0

    def step(self, action: str) -> Step:
        self.calls += 1
        observation, *rest = super().step(action)
        return f"{observation} {self.calls}", *rest  # type: ignore[return-value]


class Touchy(NumberLineEnv):
    """Raises on what it does not know."""

    def step(self, action: str) -> Step:
        if isinstance(action, str):
            action.encode("ascii")
        return super().step(action)


class Restless(NumberLineEnv):
    """Moves on the empty action."""

    def step(self, action: str) -> Step:
        observation, reward, terminated, truncated, info = super().step(action)
        if action == "":
            info["admissible_actions"] = ["stay"]
        return observation, reward, terminated, truncated, info


class Permissive(NumberLineEnv):
    """Takes anything for an action."""

    def step(self, action: str) -> Step:
        return super().step(str(action))


class AnyTask(NumberLineEnv):
    """Takes an unknown task id for some task."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        try:
            return super().reset(seed=seed, options=options)
        except UnknownTaskError:
            return super().reset(seed=0)


class AnyOption(NumberLineEnv):
    """Ignores options that nothing reads."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        return super().reset(seed=seed, options={k: v for k, v in (options or {}).items() if k == "task"})


class Lost(NumberLineEnv):
    """Its oracle walks away."""

    def oracle(self) -> str | None:
        return "stay"


class Hopeless(NumberLineEnv):
    """Its oracle gives up."""

    def oracle(self) -> str | None:
        return None


class Endless(NumberLineEnv):
    """Does not end where it is solved."""

    def step(self, action: str) -> Step:
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, False, truncated, info


class Unpaid(NumberLineEnv):
    """Pays nothing."""

    def step(self, action: str) -> Step:
        observation, _, terminated, truncated, info = super().step(action)
        return observation, 0.0, terminated, truncated, info


class Forgetful(NumberLineEnv):
    """Cannot go back."""

    def restore(self, snapshot: Any) -> None:
        """Does nothing."""


class Clinging(NumberLineEnv):
    """Its fork is itself."""

    def fork(self) -> Clinging:
        return self


class Shared(NumberLineEnv):
    """Its forks walk the same walk with it."""

    def __init__(self) -> None:
        self.shared: dict[str, Any] = {}
        super().__init__()

    @property
    def _walk(self) -> Any:
        return self.shared["walk"]

    @_walk.setter
    def _walk(self, walk: Any) -> None:
        self.shared["walk"] = walk

    def fork(self) -> Shared:
        return copy.copy(self)


class Adopting(NumberLineEnv):
    """Takes a snapshot for its live state, so that the second `restore` goes to where the first walk ended."""

    live: list[Any] | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        self.live = None
        return super().reset(seed=seed, options=options)

    def step(self, action: str) -> Step:
        outcome = super().step(action)
        if self.live is not None:
            self.live[0] = self._walk
        return outcome

    def snapshot(self) -> Any:
        return [self._walk]

    def restore(self, snapshot: Any) -> None:
        self.live = snapshot
        super().restore(snapshot[0])


class Overlapping(NumberLineEnv):
    """Has a task in both splits."""

    def task_ids(self, split: str) -> Sequence[str]:
        return [*super().task_ids(split), "train/3-7"] if split == "valid" else super().task_ids(split)


class Repeating(NumberLineEnv):
    """Lists a task twice."""

    def task_ids(self, split: str) -> Sequence[str]:
        return [*super().task_ids(split), super().task_ids(split)[0]]


class AnySplit(NumberLineEnv):
    """Takes an unknown split for the first."""

    def task_ids(self, split: str) -> Sequence[str]:
        return super().task_ids(split if split in self.splits else "train")


class Shuffling(NumberLineEnv):
    """Lists its tasks in another order each time."""

    def task_ids(self, split: str) -> Sequence[str]:
        self._ids[split] = self._ids[split][::-1]
        return super().task_ids(split)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (TaskOfItsOwn, "`reset` reports 'train/3-7'"),
        (Drifting, "seed 0 gives two different episodes"),
        (Unseeded, "the same actions after the same reset give another episode"),
        (Touchy, "garbage 'geh nach Süden.* raised UnicodeEncodeError"),
        (Restless, "the empty action changes the state"),
        (Permissive, "the action None is accepted; it must raise TypeError"),
        (AnyTask, "an unknown task id is accepted"),
        (AnyOption, "an unknown reset option is accepted"),
        (Lost, "the oracle does not solve task"),
        (Hopeless, "the oracle gives up on task 'train/0-1' at turn 0"),
        (Endless, "is solved but `terminated` is False"),
        (Unpaid, "solved for a total reward of 0.0"),
        (Forgetful, "task 'train/0-1': the episode differs after `restore`"),
        (Adopting, "the episode differs after `restore`"),
        (Clinging, "`fork` does not give another environment of its class"),
        (Shared, "a fork and its origin play the same actions apart"),
        (Overlapping, "task 'train/3-7' is in split 'valid' and in 'train'"),
        (Repeating, "lists a task twice"),
        (AnySplit, r"task_ids\('no-such-split'\) is accepted"),
        (Shuffling, "changes from call to call"),
    ],
)
def test_a_breach_is_found(broken: type[NumberLineEnv], sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence) as caught:
        check_text_env(broken())
    assert str(caught.value).startswith(f"{broken.__name__}: ")


def test_the_oracle_and_gymnasiums_check_can_be_left_out() -> None:
    check_text_env(Lost(), with_oracle=False, with_gymnasium=False)


def test_gymnasiums_own_check_is_part_of_it() -> None:
    env = NumberLineEnv()
    env.action_space = None  # type: ignore[assignment]
    with pytest.raises(ContractError, match="gymnasium's check_env says"):
        check_text_env(env)


def test_the_oracle_has_to_win_within_the_limit() -> None:
    # 'train/0-1' takes one turn, but a later task of the three of this split more than two.
    with pytest.raises(ContractError, match=r"does not solve task .* in 2 turns"):
        check_text_env(NumberLineEnv(), max_turns=2)
