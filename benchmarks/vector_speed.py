"""Steps per second of one environment, `TextBatch` and Gymnasium's vector environments; and what a slow one costs.

python benchmarks/vector_speed.py [--data ~/alfworld]

Actions are random admissible ones. All ways are measured in turn, several rounds over; medians are printed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any, Literal

import gymnasium as gym
import numpy as np

import sdar_gym
from sdar_gym.batch import SlotTurn, TextBatch

Ask = Callable[[float], float]
"""Plays for so many seconds and returns steps per second."""

TASKS = 64
"""How many tasks are played, in any order: no more than the engine keeps compiled."""

SLOW_SECONDS = 0.02


class FewTasks(gym.Wrapper[str, str, str, str]):
    """Draws among the same tasks whether an episode begins by `reset()`, as in vector environments, or by a task id."""

    def __init__(self, env: gym.Env[str, str]) -> None:
        super().__init__(env)
        inner = sdar_gym.text_env(env)
        self.tasks = random.Random(0).sample(sorted(inner.task_ids(inner.splits[0])), TASKS)
        self.generator = random.Random(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode of a task that is drawn, unless the options name one."""
        return self.env.reset(seed=seed, options=options or {"task": self.generator.choice(self.tasks)})


class SlowStep(gym.Wrapper[str, str, str, str]):
    """Waits 20 ms at each step, as for a server, where `is_slow` has been set."""

    is_slow = False

    def step(self, action: str) -> tuple[str, Any, bool, bool, dict[str, Any]]:
        """Wait, and step."""
        if self.is_slow:
            time.sleep(SLOW_SECONDS)
        return super().step(action)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", help="folder of the published games; without it, the mini environment alone")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each way")
    arguments = parser.parse_args()
    suite: dict[str, dict[str, Any]] = {"sdar_gym/ALFWorldMini-v0": {}}
    if arguments.data is not None:
        suite["sdar_gym/ALFWorld-v0"] = {"data": arguments.data}
    for env_id, kwargs in suite.items():
        sdar_gym.make(env_id, **kwargs).close()  # so that a wrong folder is found at once
    for env_id, kwargs in suite.items():
        report(env_id, kwargs, arguments.seconds, arguments.rounds)
    report_one_slow(arguments.seconds, arguments.rounds)


def report(env_id: str, kwargs: dict[str, Any], seconds: float, rounds: int) -> None:
    env = FewTasks(sdar_gym.make(env_id, **kwargs))
    limit = sdar_gym.SUITE[env_id].max_turns
    ways: dict[str, Ask] = {
        "the environment without wrappers": ask_single(env.unwrapped, env.tasks, limit),
        "one environment (sdar_gym.make)": ask_single(env.env, env.tasks, limit),
    }
    opened: list[TextBatch | gym.vector.VectorEnv[Any, Any, Any]] = []
    for count in (1, 8, 64, 128):
        opened.append(batch := TextBatch(env_id, count, **kwargs))
        ways[f"TextBatch, {count} slots"] = ask_batch(batch, env.tasks)
    kinds: tuple[tuple[Literal["sync", "async"], int], ...] = (("sync", 8), ("sync", 64), ("async", 8))
    for mode, count in kinds:
        opened.append(envs := sdar_gym.make_vec(env_id, count, mode=mode, wrappers=[FewTasks], **kwargs))
        ways[f"{type(envs).__name__}, {count} copies"] = ask_vector(envs)
    print(f"\n{env_id}: steps/s, median of {rounds} (least to most)")
    print_medians(ways, seconds, rounds)
    for each in opened:
        each.close()


def report_one_slow(seconds: float, rounds: int) -> None:
    mini = "sdar_gym/ALFWorldMini-v0"
    tasks = FewTasks(sdar_gym.make(mini)).tasks
    batches = [TextBatch(mini, 8, threads=threads, wrap=SlowStep) for threads in (2, 2, 0)]
    batches[0].envs[0].is_slow = True  # type: ignore[attr-defined]
    sync = sdar_gym.make_vec(mini, 8, mode="sync", wrappers=[FewTasks, SlowStep])
    processes = sdar_gym.make_vec(mini, 8, mode="async", wrappers=[FewTasks, SlowStep])
    for envs in (sync, processes):
        envs.set_attr("is_slow", [True] + [False] * 7)  # type: ignore[attr-defined]
    ways = {
        "TextBatch, 2 threads": ask_batch(batches[0], tasks, slow=0),
        "TextBatch, 2 threads, none slow": ask_batch(batches[1], tasks, slow=0),
        "TextBatch, inline, slow agent": ask_batch(batches[2], tasks, slow=0, agent_seconds=SLOW_SECONDS),
        "SyncVectorEnv": ask_vector(sync, slow=1),
        "AsyncVectorEnv": ask_vector(processes, slow=1),
    }
    print(f"\n8 mini environments, the first takes {SLOW_SECONDS * 1e3:.0f} ms a step: steps/s of the other 7")
    print_medians(ways, seconds, rounds)
    for each in batches:
        each.close()
    for envs in (sync, processes):
        envs.close()


def print_medians(ways: dict[str, Ask], seconds: float, rounds: int) -> None:
    found: dict[str, list[float]] = {name: [] for name in ways}
    for ask in ways.values():
        ask(seconds / 5)  # compiles the games
    for _ in range(rounds):
        for name, ask in ways.items():
            found[name].append(ask(seconds))
    for name, values in found.items():
        print(f"{name:36} {statistics.median(values):>10,.0f}   ({min(values):,.0f} to {max(values):,.0f})")


def choose(generator: random.Random, admissible: list[str]) -> str:
    return admissible[int(generator.random() * len(admissible))]


def ask_single(env: gym.Env[str, str], tasks: list[str], limit: int) -> Ask:
    def ask(seconds: float) -> float:
        generator, steps, started = random.Random(0), 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds:
            _, info = env.reset(options={"task": generator.choice(tasks)})
            for _ in range(limit):
                _, _, terminated, truncated, info = env.step(choose(generator, info["admissible_actions"]))
                steps += 1
                if terminated or truncated:
                    break
        return steps / elapsed

    return ask


def ask_batch(batch: TextBatch, tasks: list[str], slow: int | None = None, agent_seconds: float = 0.0) -> Ask:
    """The steps of the slot `slow` are not counted, and its agent takes `agent_seconds` to answer."""
    late: list[tuple[float, SlotTurn]] = []

    def answer(generator: random.Random, turn: SlotTurn) -> None:
        batch.send(turn.slot, choose(generator, turn.info["admissible_actions"]))

    def ask(seconds: float) -> float:
        generator, steps, started = random.Random(0), 0, time.perf_counter()
        if not batch.is_playing:
            batch.assign(generator.choice(tasks) for _ in range(len(batch)))
        while (elapsed := time.perf_counter() - started) < seconds:
            for turn in batch.recv():
                if turn.done:
                    batch.start(turn.slot, generator.choice(tasks))
                    continue
                if turn.slot == slow and agent_seconds:
                    late.append((time.perf_counter() + agent_seconds, turn))
                else:
                    answer(generator, turn)
                steps += turn.slot != slow
            while late and late[0][0] < time.perf_counter():
                answer(generator, late.pop(0)[1])
        return steps / elapsed

    return ask


def ask_vector(envs: gym.vector.VectorEnv[Any, Any, Any], slow: int = 0) -> Ask:
    """The steps of the first `slow` copies are not counted, nor those that are spent on an autoreset."""

    def ask(seconds: float) -> float:
        generator, steps, started = random.Random(0), 0, time.perf_counter()
        _, infos = envs.reset()
        done = np.zeros(envs.num_envs, dtype=np.bool_)
        while (elapsed := time.perf_counter() - started) < seconds:
            actions = tuple(choose(generator, admissible) for admissible in infos["admissible_actions"])
            steps += envs.num_envs - slow - int(done[slow:].sum())
            _, _, terminated, truncated, infos = envs.step(actions)
            done = terminated | truncated
        return steps / elapsed

    return ask


if __name__ == "__main__":
    main()
