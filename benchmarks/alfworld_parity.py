"""Compares the native ALFWorld engine with the official one on published games, and measures both.

python benchmarks/alfworld_parity.py --data ~/alfworld --games 60 --steps 25
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence

from sdar_gym.envs.alfworld.engine import Engine, NativeEngine, compile_game
from sdar_gym.envs.alfworld.folder import GameFolder, find_games
from sdar_gym.envs.alfworld.game_file import GameFile
from sdar_gym.envs.alfworld.official import OfficialEngine
from sdar_gym.envs.alfworld.oracle import next_command
from sdar_gym.envs.alfworld.parity import compare_walk


def main() -> None:
    """Print the number of differences, the speeds, and how many games the oracle wins."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", help="folder of the published games; by default ALFWORLD_DATA")
    parser.add_argument("--games", type=int, default=60, help="games to compare, of all splits and types in turn")
    parser.add_argument("--steps", type=int, default=25, help="commands a game")
    parser.add_argument("--seed", type=int, default=0, help="decides the games and the walks")
    arguments = parser.parse_args()
    folder = find_games(arguments.data)
    task_ids = spread(folder, random.Random(arguments.seed))
    chosen = [folder.load(task_id) for task_id in task_ids[: arguments.games]]
    report_parity(chosen, arguments.steps, arguments.seed)
    report_speed(chosen[:10], arguments.seed)
    report_oracle(folder, task_ids)


def spread(folder: GameFolder, generator: random.Random) -> list[str]:
    """All task ids, splits and task types taking turns."""
    groups: dict[str, list[str]] = {}
    for split in folder.splits:
        for task_id in folder.task_ids(split):
            groups.setdefault(f"{split} {task_id.split('/')[1].partition('-')[0]}", []).append(task_id)
    for group in groups.values():
        generator.shuffle(group)
    longest = max(map(len, groups.values()))
    return [group[turn] for turn in range(longest) for group in groups.values() if turn < len(group)]


def report_parity(games: Sequence[GameFile], steps: int, seed: int) -> None:
    started = time.perf_counter()
    differences = 0
    for number, game in enumerate(games):
        difference = compare_walk(game, random.Random(f"{seed}/{number}"), steps)
        if difference is not None:
            differences += 1
            print(f"{game.origin}: {difference}")
    seconds = time.perf_counter() - started
    print(f"parity: {differences} of {len(games)} games differ within {steps} commands ({seconds:.0f} s)")


def report_speed(games: Sequence[GameFile], seed: int) -> None:
    natives: list[Engine] = []
    started = time.perf_counter()
    natives.extend(NativeEngine(compile_game(game)) for game in games)
    compiling = (time.perf_counter() - started) / len(games)
    native = steps_per_second(natives, episodes=2000, seed=seed)
    official = steps_per_second([OfficialEngine(game) for game in games[:3]], episodes=3, seed=seed, turns=15)
    print(f"compile {compiling * 1e3:.1f} ms; native {native:,.0f} steps/s; official {official:.1f} steps/s")


def steps_per_second(engines: Sequence[Engine], *, episodes: int, seed: int, turns: int = 50) -> float:
    """Random admissible commands, resets included."""
    generator, steps = random.Random(seed), 0
    started = time.perf_counter()
    for episode in range(episodes):
        engine = engines[episode % len(engines)]
        reply = engine.reset()
        for _ in range(turns):
            reply = engine.step(reply.admissible[int(generator.random() * len(reply.admissible))])
            steps += 1
    return steps / (time.perf_counter() - started)


def report_oracle(folder: GameFolder, task_ids: Sequence[str]) -> None:
    started, won, most = time.perf_counter(), 0, 0
    for task_id in task_ids:
        engine = NativeEngine(compile_game(folder.load(task_id)))
        commands = 0
        while commands < 50 and (command := next_command(engine.game, engine.state)) is not None:
            engine.step(command)
            commands += 1
        won += engine.game.is_won(engine.state)
        most = max(most, commands)
    seconds = time.perf_counter() - started
    print(f"oracle: wins {won} of {len(task_ids)} games within {most} commands each ({seconds:.0f} s)")


if __name__ == "__main__":
    main()
