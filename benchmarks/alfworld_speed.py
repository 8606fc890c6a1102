"""Measures the native ALFWorld engine and the official one in one run: steps, resets, cold games, memory.

python benchmarks/alfworld_speed.py --data ~/.cache/alfworld
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sdar_gym
from sdar_gym.envs.alfworld.engine import Engine, NativeEngine, compile_game
from sdar_gym.envs.alfworld.env import ALFWorldEnv
from sdar_gym.envs.alfworld.folder import GameFolder, find_games
from sdar_gym.envs.alfworld.game_file import GameFile
from sdar_gym.envs.alfworld.official import OfficialEngine

TURNS = 50
ROUNDS = 7
GAMES = 32


def main() -> None:
    """Print a table, or with --json also write it to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", help="folder of the published games; by default ALFWORLD_DATA")
    parser.add_argument("--seed", type=int, default=0, help="decides games and actions")
    parser.add_argument("--concurrent", type=int, default=128, help="games in memory at once")
    parser.add_argument("--official-concurrent", type=int, default=128, help="of the official engine; 0 for none")
    parser.add_argument("--json", help="file that receives the figures")
    parser.add_argument("--hold", choices=("native", "official"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = find_games(options.data)
    if options.hold:
        print(json.dumps(hold(folder, options.hold, options.concurrent, options.seed)))
        return
    figures = {"python": platform.python_version(), **measure(folder, options.seed)}
    figures["native MB"] = memory(options, "native", options.concurrent)
    if options.official_concurrent:
        figures["official MB"] = memory(options, "official", options.official_concurrent)
    for name, value in figures.items():
        print(f"{name:<58} {value if isinstance(value, str) else format(value, ',.4g' if value < 100 else ',.0f')}")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure(folder: GameFolder, seed: int) -> dict[str, Any]:
    """Medians; the two engines take turns, so that a busy machine slows both."""
    ids = sample(folder, GAMES * (ROUNDS + 1), seed)
    known, fresh = ids[:GAMES], ids[GAMES:]
    files = [folder.load(task_id) for task_id in known]
    natives: list[Engine] = [NativeEngine(compile_game(file)) for file in files]
    env = ALFWorldEnv(folder.root)
    made = sdar_gym.make("sdar_gym/ALFWorld-v0", data=folder.root)
    officials = [OfficialEngine(file) for file in files[:4]]
    for warm_up in range(3):  # every game has been played a little, as in training
        play_engines(natives, seed + warm_up, GAMES * 20)
        play_env(env, known, seed + warm_up, GAMES * 20)
    samples: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        samples.setdefault(name, []).append(value)

    for turn in range(ROUNDS):
        native = play_engines(natives, seed + turn, GAMES * 20)
        stepped = play_env(env, known, seed + turn, GAMES * 20)
        official = play_engines(officials[turn % 4 : turn % 4 + 1], seed + turn, 1)
        note("native engine, steps/s", native)
        note("native env.step (TurnInfo included), steps/s", stepped)
        note("gymnasium.make'd env.step, steps/s", play_env(made, known, seed + turn, GAMES * 20))
        note("official engine, steps/s", official)
        note("ratio native engine : official, same round", native / official)
        note("ratio native env.step : official engine, same round", stepped / official)
        note("reset of a compiled game, microseconds", seconds_each(natives, lambda engine: engine.reset(), 2000) * 1e6)
        note("env.reset of a compiled game, microseconds", reset_env(env, known) * 1e6)
        note("official reset, ms", seconds_each(officials, lambda engine: engine.reset(), 1) * 1e3)
        for name, value in cold(folder, fresh[turn * GAMES : (turn + 1) * GAMES], seed + turn).items():
            note(name, value)
        note("official load, ms", seconds_each([files[turn]], OfficialEngine, 1) * 1e3)
        forks = [engine for engine in natives if isinstance(engine, NativeEngine)]
        note("fork of a running game, microseconds", seconds_each(forks, NativeEngine.fork, 2000) * 1e6)
    return {name: statistics.median(values) for name, values in samples.items()}


def sample(folder: GameFolder, count: int, seed: int) -> list[str]:
    ids = [task_id for split in folder.splits for task_id in folder.task_ids(split)]
    return random.Random(seed).sample(ids, min(count, len(ids)))


def play_engines(engines: Sequence[Engine], seed: int, episodes: int) -> float:
    """Steps a second with random admissible commands, resets included."""
    draw = random.Random(seed).random
    started = time.perf_counter()
    for episode in range(episodes):
        engine = engines[episode % len(engines)]
        reply = engine.reset()
        for _ in range(TURNS):
            admissible = reply.admissible
            reply = engine.step(admissible[int(draw() * len(admissible))])
    return episodes * TURNS / (time.perf_counter() - started)


def play_env(env: Any, task_ids: Sequence[str], seed: int, episodes: int) -> float:
    draw, steps = random.Random(seed).random, 0
    started = time.perf_counter()
    for episode in range(episodes):
        _, info = env.reset(options={"task": task_ids[episode % len(task_ids)]})
        for _ in range(TURNS):
            admissible = info["admissible_actions"]
            _, _, terminated, truncated, info = env.step(admissible[int(draw() * len(admissible))])
            steps += 1
            if terminated or truncated:
                break
    return steps / (time.perf_counter() - started)


def seconds_each(things: Sequence[Any], call: Callable[[Any], object], repeats: int) -> float:
    """Mean seconds of a call."""
    started = time.perf_counter()
    for _ in range(max(1, repeats // len(things))):
        for thing in things:
            call(thing)
    return (time.perf_counter() - started) / (max(1, repeats // len(things)) * len(things))


def reset_env(env: ALFWorldEnv, task_ids: Sequence[str]) -> float:
    """Mean seconds of resetting to another game, all of them compiled already."""
    return seconds_each(task_ids, lambda task_id: env.reset(options={"task": task_id}), 2000)


def cold(folder: GameFolder, task_ids: Sequence[str], seed: int) -> dict[str, float]:
    """Games that were never played before: reading, compiling, and a whole first episode."""
    files: list[GameFile] = []
    started = time.perf_counter()
    files.extend(folder.load(task_id) for task_id in task_ids)
    read = time.perf_counter()
    games = [compile_game(file) for file in files]
    compiled = time.perf_counter()
    steps = play_engines([NativeEngine(game) for game in games], seed, len(games))
    whole = (compiled - started) / len(games) + TURNS / steps
    return {
        "read a cold game file, ms": (read - started) / len(files) * 1e3,
        "compile a cold game, ms": (compiled - read) / len(games) * 1e3,
        "first episode of a cold game, steps/s": steps,
        "the same with reading and compiling, steps/s": TURNS / whole,
    }


def memory(options: argparse.Namespace, engine: str, games: int) -> float:
    """Megabytes that a process of its own grows by when it holds that many games, each played for an episode."""
    command = [sys.executable, __file__, "--hold", engine, "--concurrent", str(games), "--seed", str(options.seed)]
    command += ["--data", options.data] if options.data else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def hold(folder: GameFolder, engine: str, games: int, seed: int) -> float:
    ids = sample(folder, games + 1, seed)
    first = folder.load(ids[-1])
    # What is imported and cached once, whatever the number of games, is not counted.
    keep: list[Engine] = [OfficialEngine(first) if engine == "official" else NativeEngine(compile_game(first))]
    play_engines(keep, seed, 1)
    before = resident()
    for task_id in ids[:games]:
        file = folder.load(task_id)
        keep.append(OfficialEngine(file) if engine == "official" else NativeEngine(compile_game(file)))
        # The official one does not keep anything of what is played.
        play_engines(keep[-1:], seed, 1) if engine == "native" else keep[-1].reset()
    return (resident() - before) / 1e6


def resident() -> float:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096.0


if __name__ == "__main__":
    main()
