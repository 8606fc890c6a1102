"""Many episodes at once, each at its own pace: `TextBatch`.

Vector environments wait for the slowest copy at every step, and trainers of language agents work round that with a
process an environment; here a slot is stepped when its agent has answered, and heard when its environment has.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple, Self

import gymnasium as gym

from sdar_gym.registration import make

TextEnvironment = gym.Env[str, str]
Answer = tuple[str, Any, bool, bool, dict[str, Any]]


class SlotTurn(NamedTuple):
    """What a slot's environment answered to a task (reward 0) or to an action."""

    slot: int
    episode: int
    """Number of the episode in this batch, from 0, in the order of `start` and of `assign`: tells apart two episodes
    of one task."""
    observation: str
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    """The whole `TurnInfo`, `task_id` included."""

    @property
    def done(self) -> bool:
        """Whether the episode is over, for either reason."""
        return self.terminated or self.truncated


class SlotError(RuntimeError):
    """The environment of a slot raised (see `__cause__`); the others play on, and this slot can start a task.

    Attributes:
        slot: Which slot.
        episode: Which episode; see `SlotTurn`.
        task_id: What it played.
    """

    done = True

    def __init__(self, slot: int, episode: int, task_id: str, error: BaseException) -> None:
        super().__init__(f"slot {slot}, task {task_id!r}: {type(error).__name__}: {error}")
        self.slot = slot
        self.episode = episode
        self.task_id = task_id
        self.__cause__ = error


class BatchMisuseError(RuntimeError):
    """A call that the state of a slot does not allow; nothing was changed by it."""


@dataclass(slots=True)
class _Slot:
    """Where an episode stands; `busy` from `start` or `send` until the answer is handed out."""

    task_id: str = ""
    episode: int = -1
    state: Literal["idle", "busy", "open", "over"] = "idle"


class TextBatch:
    """Plays an episode in each of several slots, without a barrier between them.

    `start` and `send` give a slot a task and an action; `recv` returns the answers that are there, in the order in
    which they came. With threads=0 the environments run in the caller's thread, which is the fastest for those that
    only compute; with threads, those that wait (for a server, say) do not keep the others waiting. Which slot
    plays a task changes nothing in its episode: the task id alone seeds it. Drive a batch from one thread.

        with TextBatch("sdar_gym/ALFWorldMini-v0", 8) as batch:
            for turns in batch.play(task_ids):
                for turn in turns:
                    if not turn.done:
                        batch.send(turn.slot, agent(turn.observation))

    Args:
        env_id: As for `make`.
        slots: How many, at least 1.
        threads: How many environments may run at once beside the caller: one more than those that may be slow at the
            same time, so that the others have a thread left. 0 for none beside.
        wrap: Puts wrappers around each environment.
        **kwargs: Settings of the environment, as for `make`.

    Attributes:
        envs: The environment of each slot, to look at (`oracle`, `snapshot`) while its slot is not busy.

    Raises:
        ValueError: no slot, or less than no thread.
    """

    def __init__(
        self,
        env_id: str,
        slots: int,
        *,
        threads: int = 0,
        wrap: Callable[[TextEnvironment], TextEnvironment] | None = None,
        **kwargs: Any,
    ) -> None:
        if slots < 1 or threads < 0:
            raise ValueError(f"{slots} slots and {threads} threads; there must be at least 1 slot and 0 threads")
        # Where the very first reset raises, Gymnasium's passive checker (1.4) breaks the first step after it.
        settings = {"disable_env_checker": True, **kwargs}
        made = (make(env_id, **settings) for _ in range(slots))
        self.envs = tuple(made if wrap is None else map(wrap, made))
        self._slots = [_Slot() for _ in self.envs]
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="TextBatch") if threads else None
        self._answers: SimpleQueue[SlotTurn | SlotError] = SimpleQueue()
        # What has come but was not handed out, in the order in which it came: at most one answer a slot.
        self._ready: dict[int, SlotTurn | SlotError] = {}
        self._waiting: deque[str] = deque()
        self._episodes = 0
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def is_playing(self) -> bool:
        """Whether an episode is under way in any slot."""
        return any(slot.state in ("busy", "open") for slot in self._slots)

    def start(self, slot: int, task_id: str) -> None:
        """Give a slot that is not busy a task; the first turn comes by `recv`. Gives up an episode that is not over."""
        chosen = self._require_startable(slot)
        chosen.task_id, chosen.episode = task_id, self._episodes
        self._episodes += 1
        self._run(slot, lambda env: _open(env, task_id))

    def send(self, slot: int, action: str) -> None:
        """Give a slot that waits for one an action; the answer comes by `recv`."""
        self._require_open(slot, action)
        self._run(slot, lambda env: env.step(action))

    def recv(self, min_ready: int = 1) -> list[SlotTurn]:
        """The answers that have come, after waiting for `min_ready` of them, or for all that can come.

        A slot whose episode is over is given the next assigned task.

        Args:
            min_ready: How many to wait for; 0 returns at once, perhaps with none.

        Returns:
            At most one turn a slot, in the order in which they came.

        Raises:
            SlotError: a slot failed. The turns before it were returned, those after it will be.
            BatchMisuseError: nothing can come, because no slot is busy.
        """
        busy = sum(slot.state == "busy" for slot in self._slots)
        if min_ready > 0 and not busy:
            waiting = [number for number, slot in enumerate(self._slots) if slot.state == "open"]
            raise BatchMisuseError(f"nothing will come: slots {waiting} wait for an action, the others for a task")
        while len(self._ready) < min(min_ready, busy) or not self._answers.empty():
            self._fetch()
        turns: list[SlotTurn] = []
        for slot, answer in tuple(self._ready.items()):
            if turns and isinstance(answer, SlotError):
                break
            turns.append(self._hand_out(slot))
        return turns

    def reset(self, tasks: Mapping[int, str]) -> list[SlotTurn]:
        """`start` all of these tasks (or none, if one cannot be) and wait for just these slots.

        Returns:
            Their first turns, in the order of `tasks`. If a slot fails, this raises its `SlotError`, and the turns
            of the others come by `recv`.
        """
        for slot in tasks:
            self._require_startable(slot)
        for slot, task_id in tasks.items():
            self.start(slot, task_id)
        return self._collect(tasks)

    def step(self, actions: Mapping[int, str]) -> list[SlotTurn]:
        """`send` all of these actions (or none, if one cannot be) and wait for just these slots.

        Returns:
            Their turns, in the order of `actions`; errors as in `reset`.
        """
        for slot, action in actions.items():
            self._require_open(slot, action)
        for slot, action in actions.items():
            self.send(slot, action)
        return self._collect(actions)

    def assign(self, task_ids: Iterable[str]) -> None:
        """Have each of these tasks played once, in order, each by the first slot that is free."""
        if isinstance(task_ids, str):
            raise TypeError(f"task_ids is the string {task_ids!r}; pass a list of task ids")
        self._waiting.extend(task_ids)
        for slot in range(len(self._slots)):
            self._start_next(slot)

    def play(self, task_ids: Iterable[str], min_ready: int = 1) -> Iterator[list[SlotTurn]]:
        """`assign` these tasks and `recv` until all are over; `send` an action for each turn that is not `done`.

        A `SlotError` ends the iterator but nothing else: `play(())` goes on with what is left.
        """
        self.assign(task_ids)
        while self.is_playing:
            yield self.recv(min_ready)

    def close(self) -> None:
        """Wait for what is under way, and close the environments."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        for env in self.envs:
            env.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, number: int, call: Callable[[TextEnvironment], Answer]) -> None:
        self._slots[number].state = "busy"
        if self._pool is None:
            self._answer(number, call)
        else:
            self._pool.submit(self._answer, number, call)

    def _answer(self, number: int, call: Callable[[TextEnvironment], Answer]) -> None:
        answer: SlotTurn | SlotError
        episode, task_id = self._slots[number].episode, self._slots[number].task_id
        try:
            observation, reward, terminated, truncated, info = call(self.envs[number])
            answer = SlotTurn(number, episode, observation, float(reward), bool(terminated), bool(truncated), info)
        except BaseException as error:  # whatever it is: without an answer, `recv` would wait for ever
            answer = SlotError(number, episode, task_id, error)
            if isinstance(error, KeyboardInterrupt):
                raise
        finally:
            self._answers.put(answer)

    def _fetch(self) -> int:
        answer = self._answers.get()
        self._ready[answer.slot] = answer
        return answer.slot

    def _collect(self, slots: Iterable[int]) -> list[SlotTurn]:
        wanted = tuple(slots)
        missing = set(wanted) - self._ready.keys()
        while missing:
            missing.discard(self._fetch())
        for slot in wanted:
            if isinstance(self._ready[slot], SlotError):
                self._hand_out(slot)
        return [self._hand_out(slot) for slot in wanted]

    def _hand_out(self, number: int) -> SlotTurn:
        answer, slot = self._ready.pop(number), self._slots[number]
        slot.state = "over" if answer.done else "open"
        self._start_next(number)
        if isinstance(answer, SlotError):
            raise answer
        return answer

    def _start_next(self, number: int) -> None:
        if self._waiting and self._slots[number].state not in ("busy", "open"):
            self.start(number, self._waiting.popleft())

    def _require_startable(self, number: int) -> _Slot:
        if number not in range(len(self._slots)):
            raise BatchMisuseError(f"no slot {number!r}; the slots are 0 to {len(self._slots) - 1}")
        slot = self._slots[number]
        if self._is_closed or slot.state == "busy":
            why = f"slot {number} is busy with task {slot.task_id!r}: recv its answer first"
            raise BatchMisuseError("this batch is closed; make another" if self._is_closed else why)
        return slot

    def _require_open(self, number: int, action: str) -> None:
        slot = self._require_startable(number)
        if slot.state != "open":
            why = f"its last, {slot.task_id!r}, is over" if slot.task_id else "it was given none"
            raise BatchMisuseError(f"slot {number} plays no task ({why}): start one before sending an action")
        if not isinstance(action, str):
            raise TypeError(f"an action is a string, not {type(action).__name__} (slot {number})")


def _open(env: TextEnvironment, task_id: str) -> Answer:
    # A seed of its own for each task, so that an environment which draws as it goes draws the same in any slot.
    seed = zlib.crc32(str(task_id).encode("utf-8", "surrogatepass"))
    observation, info = env.reset(seed=seed, options={"task": task_id})
    return observation, 0.0, False, False, info
