"""`TextBatch`: slots at their own pace, errors of one slot, each assigned task once, the same episodes in any slot."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import sdar_gym
from sdar_gym import InvalidActionPenalty, UnknownTaskError
from sdar_gym.batch import BatchMisuseError, SlotError, SlotTurn, TextBatch
from sdar_gym.envs.number_line import NumberLineEnv

NUMBER_LINE = "sdar_gym/NumberLine-v0"
MINI = "sdar_gym/ALFWorldMini-v0"
MOODY = "tests/Moody-v0"


class MoodyEnv(NumberLineEnv):
    """Waits for its gate at "wait", raises at "crash", exits at "exit", and has a weather drawn at every turn."""

    gate = threading.Event()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if action == "crash":
            raise OSError("the server is gone")
        if action == "exit":
            raise SystemExit(3)
        if action == "wait":
            assert self.gate.wait(timeout=5)
        observation, *rest = super().step("stay" if action == "wait" else action)
        return f"{observation} Weather {self.np_random.integers(1000)}.", *rest  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def moody() -> Iterator[None]:
    gym.register(MOODY, entry_point=MoodyEnv, max_episode_steps=10)
    MoodyEnv.gate.clear()
    yield
    MoodyEnv.gate.set()
    del gym.registry[MOODY]


def drawn_action(turn: SlotTurn, turn_number: int) -> str:
    """A choice that the task and the turn decide, whoever plays them, and whenever."""
    return random.Random(f"{turn.info['task_id']}/{turn_number}").choice(turn.info["admissible_actions"])


def transcripts(batch: TextBatch, task_ids: list[str]) -> dict[str, list[tuple[Any, ...]]]:
    seen: dict[str, list[tuple[Any, ...]]] = {}
    for turns in batch.play(task_ids):
        for turn in turns:
            task_id = turn.info["task_id"]
            seen.setdefault(task_id, []).append(turn[2:])
            if not turn.done:
                batch.send(turn.slot, drawn_action(turn, len(seen[task_id])))
    return seen


def alone(env_id: str, task_id: str, **kwargs: Any) -> list[tuple[Any, ...]]:
    env = sdar_gym.make(env_id, **kwargs)
    observation, info = env.reset(options={"task": task_id})
    seen: list[tuple[Any, ...]] = [(observation, 0.0, False, False, info)]
    while not (seen[-1][2] or seen[-1][3]):
        seen.append(env.step(drawn_action(SlotTurn(0, 0, *seen[-1]), len(seen))))
    return seen


@pytest.mark.parametrize(("slots", "threads"), [(1, 0), (3, 0), (20, 0), (3, 2)])
def test_each_task_is_played_once_as_it_is_played_alone(slots: int, threads: int) -> None:
    task_ids = [f"valid/{number:06d}" for number in range(12)]
    with TextBatch(MINI, slots, threads=threads) as batch:
        seen = transcripts(batch, task_ids)
    assert seen == {task_id: alone(MINI, task_id) for task_id in task_ids}


def test_real_games_are_played_as_they_are_played_alone(alfworld_games: Path) -> None:
    data = str(alfworld_games)
    with TextBatch("sdar_gym/ALFWorld-v0", 3, threads=2, data=data) as batch:
        task_ids = list(sdar_gym.text_env(batch.envs[0]).task_ids("train"))[:4]
        seen = transcripts(batch, task_ids)
    assert seen == {task_id: alone("sdar_gym/ALFWorld-v0", task_id, data=data) for task_id in task_ids}


def test_an_environment_that_draws_as_it_goes_draws_the_same_in_any_slot() -> None:
    task_ids = ["train/0-9", "train/9-0", "train/2-7", "train/8-2"]
    played = []
    for order, slots in ((task_ids, 1), (task_ids[::-1], 3)):
        with TextBatch(MOODY, slots) as batch:
            played.append(transcripts(batch, order))
    assert played[0] == played[1]
    weathers = {turn[0].rpartition(" ")[2] for turns in played[0].values() for turn in turns[1:]}
    assert len(weathers) > 5


def test_slots_are_stepped_in_any_order_and_number() -> None:
    with TextBatch(NUMBER_LINE, 3, size=20) as batch:
        first = batch.reset({2: "train/3-4", 0: "valid/10-0"})
        assert [(turn.slot, turn.observation, turn.reward, turn.done) for turn in first] == [
            (2, "You are at 3. Go to 4.", 0.0, False),
            (0, "You are at 10. Go to 0.", 0.0, False),
        ]
        assert batch.step({0: "left"})[0].observation == "You are at 9. Go to 0."
        turns = batch.step({0: "left", 2: "right"})
        assert [(turn.slot, turn.reward, turn.terminated, turn.truncated) for turn in turns] == [
            (0, 0.0, False, False),
            (2, 1.0, True, False),
        ]
        assert turns[1].info["success"] is True
        for _ in range(7):
            batch.step({0: "left"})
        last = batch.step({0: "stay"})[0]  # the tenth turn: the limit of the environment
        assert (last.terminated, last.truncated, last.done) == (False, True, True)


def test_a_slow_slot_holds_up_nobody() -> None:
    with TextBatch(MOODY, 3, threads=2) as batch:
        batch.reset({0: "train/0-9", 1: "train/0-8", 2: "train/0-6"})
        batch.send(0, "wait")
        batch.send(1, "right")
        assert [turn.slot for turn in batch.recv()] == [1]
        # Whole turns of the others pass while slot 0 waits.
        for position in range(1, 5):
            turns = batch.step({1: "right", 2: "right"})
            assert [turn.observation.partition(".")[0] for turn in turns] == [
                f"You are at {position + 1}",
                f"You are at {position}",
            ]
        assert batch.recv(min_ready=0) == []
        MoodyEnv.gate.set()
        assert [(turn.slot, turn.observation[:13]) for turn in batch.recv()] == [(0, "You are at 0.")]


def test_recv_waits_for_as_many_as_it_is_asked_for_or_can_get() -> None:
    with TextBatch(NUMBER_LINE, 3, threads=3) as batch:
        for slot in range(3):
            batch.start(slot, f"train/{slot}-8")
        assert sorted(turn.slot for turn in batch.recv(min_ready=3)) == [0, 1, 2]
        batch.send(1, "stay")
        assert [turn.slot for turn in batch.recv(min_ready=3)] == [1]
        with pytest.raises(BatchMisuseError, match=r"slots \[0, 1, 2\] wait for an action"):
            batch.recv()


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize(("action", "text"), [("crash", "OSError: the server is gone"), ("exit", "SystemExit: 3")])
def test_an_error_names_its_slot_and_task_and_takes_nothing_from_the_others(
    threads: int, action: str, text: str
) -> None:
    with TextBatch(MOODY, 3, threads=threads) as batch:
        batch.reset({0: "train/0-9", 1: "train/1-9", 2: "train/2-8"})
        with pytest.raises(SlotError, match=f"slot 1, task 'train/1-9': {text}") as caught:
            batch.step({0: "right", 1: action, 2: "right"})
        assert (caught.value.slot, caught.value.task_id) == (1, "train/1-9")
        assert type(caught.value.__cause__).__name__ == text.partition(":")[0]
        kept = batch.recv(min_ready=2)
        assert sorted((turn.slot, turn.observation[:13]) for turn in kept) == [
            (0, "You are at 1."),
            (2, "You are at 3."),
        ]
        with pytest.raises(BatchMisuseError, match=r"slot 1 plays no task \(its last, 'train/1-9', is over\)"):
            batch.send(1, "right")
        assert batch.reset({1: "train/1-9"})[0].observation == "You are at 1. Go to 9."


def test_recv_returns_what_came_before_an_error_and_then_raises_it() -> None:
    with TextBatch(MOODY, 3) as batch:
        batch.reset({0: "train/0-9", 1: "train/1-9", 2: "train/2-8"})
        for slot, action in ((2, "right"), (1, "crash"), (0, "right")):
            batch.send(slot, action)
        assert [turn.slot for turn in batch.recv()] == [2]
        with pytest.raises(SlotError, match="slot 1"):
            batch.recv()
        assert [turn.slot for turn in batch.recv()] == [0]


def test_play_goes_on_after_a_task_that_fails() -> None:
    task_ids = ["train/3-4", "train/no-such", "train/4-5", "train/5-6"]
    solved: Counter[str] = Counter()
    failed: list[SlotError] = []
    with TextBatch(NUMBER_LINE, 2) as batch:
        left = task_ids
        while True:
            try:
                for turns in batch.play(left):
                    for turn in turns:
                        if turn.done:
                            solved[turn.info["task_id"]] += turn.info["success"]
                        else:
                            batch.send(turn.slot, "right")
                break
            except SlotError as error:
                failed.append(error)
                left = []
        assert not batch.is_playing
    assert [(error.task_id, type(error.__cause__)) for error in failed] == [("train/no-such", UnknownTaskError)]
    assert solved == Counter(["train/3-4", "train/4-5", "train/5-6"])


def test_a_free_slot_takes_the_next_task_while_another_still_plays() -> None:
    with TextBatch(MOODY, 2, threads=2) as batch:
        batch.assign(["train/0-9", "train/3-4", "train/4-5"])
        assert sorted(turn.info["task_id"] for turn in batch.recv(min_ready=2)) == ["train/0-9", "train/3-4"]
        batch.send(0, "wait")
        batch.send(1, "right")
        assert [(turn.slot, turn.done) for turn in batch.recv()] == [(1, True)]
        assert [(turn.slot, turn.info["task_id"]) for turn in batch.recv()] == [(1, "train/4-5")]
        MoodyEnv.gate.set()


def test_misuse_is_an_error_that_loses_nothing() -> None:
    with TextBatch(NUMBER_LINE, 3) as batch:
        with pytest.raises(BatchMisuseError, match=r"slot 0 plays no task \(it was given none\)"):
            batch.send(0, "right")
        batch.reset({0: "train/3-4", 1: "train/3-5", 2: "train/3-7"})
        batch.step({0: "right"})
        for actions, error, text in (
            ({1: "right", 0: "right"}, BatchMisuseError, "its last, 'train/3-4', is over"),
            ({1: "right", 3: "right"}, BatchMisuseError, "no slot 3; the slots are 0 to 2"),
            ({1: "right", -1: "right"}, BatchMisuseError, "no slot -1"),
            ({1: "right", 2: None}, TypeError, r"an action is a string, not NoneType \(slot 2\)"),
        ):
            with pytest.raises(error, match=text):
                batch.step(actions)  # type: ignore[arg-type]
        batch.send(1, "right")
        with pytest.raises(BatchMisuseError, match="slot 1 is busy with task 'train/3-5': recv its answer first"):
            batch.send(1, "right")
        with pytest.raises(BatchMisuseError, match="slot 1 is busy"):
            batch.reset({2: "train/3-4", 1: "train/3-4"})
        assert [turn.observation for turn in batch.recv()] == ["You are at 4. Go to 5."]
        assert batch.step({2: "right"})[0].observation == "You are at 4. Go to 7."
        # An episode that is not over may be given up.
        assert batch.reset({2: "train/7-6"})[0].observation == "You are at 7. Go to 6."
        with pytest.raises(TypeError, match="pass a list of task ids"):
            batch.assign("train/3-4")
    with pytest.raises(BatchMisuseError, match="this batch is closed"):
        batch.start(0, "train/3-4")


def test_episodes_of_one_task_are_told_apart_by_their_number() -> None:
    task_ids = ["train/3-4", "train/3-5", "train/3-5", "train/no-such", "train/3-4"]
    played: list[tuple[int, str, int]] = []
    failed = -1
    with TextBatch(NUMBER_LINE, 2, threads=2) as batch:
        batch.assign(task_ids)
        while batch.is_playing:
            try:
                turns = batch.recv()
            except SlotError as error:
                failed = error.episode
                continue
            for turn in turns:
                if turn.done:
                    played.append((turn.episode, turn.info["task_id"], turn.info["success"]))
                else:
                    batch.send(turn.slot, "right")
    assert failed == 3
    assert sorted(played) == [(number, task_ids[number], True) for number in (0, 1, 2, 4)]


def test_wrappers_and_settings_reach_each_environment() -> None:
    with TextBatch(NUMBER_LINE, 2, wrap=InvalidActionPenalty, size=30) as batch:
        batch.reset({1: "train/3-29"})
        turn = batch.step({1: "nonsense"})[0]
        assert (turn.reward, turn.info["invalid_actions"]) == (-0.1, 1)
    assert len(batch) == len(batch.envs) == 2


@pytest.mark.parametrize(("slots", "threads"), [(0, 0), (1, -1)])
def test_a_batch_needs_a_slot(slots: int, threads: int) -> None:
    with pytest.raises(ValueError, match="at least 1 slot and 0 threads"):
        TextBatch(NUMBER_LINE, slots, threads=threads)


def test_an_interrupt_is_raised_at_once_and_leaves_the_slot_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(action: str) -> Any:
        raise KeyboardInterrupt

    with TextBatch(NUMBER_LINE, 1) as batch:
        batch.reset({0: "train/3-4"})
        monkeypatch.setattr(batch.envs[0], "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            batch.send(0, "right")
        with pytest.raises(SlotError, match="KeyboardInterrupt"):
            batch.recv()
        assert batch.reset({0: "train/3-4"})[0].observation == "You are at 3. Go to 4."


@pytest.mark.slow
def test_the_official_engine_plays_the_same_in_threads() -> None:
    pytest.importorskip("alfworld")
    task_ids = [f"train/{number:06d}" for number in range(4)]
    played = []
    for threads in (0, 3):
        with TextBatch(MINI, 3, threads=threads, engine="textworld", max_episode_steps=4) as batch:
            played.append(transcripts(batch, task_ids))
    assert played[0] == played[1]
