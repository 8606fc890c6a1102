"""How well the oracle plays ALFWorld, from every game's start and after random play, beside the official expert.

python benchmarks/alfworld_oracle.py --data ~/alfworld

The official expert (`AlfredExpert` with `HandCodedTWAgent`, extra `alfworld`) plays some ten commands a second, so it
plays a sample only: equally many of the published games of each task type and split, games of the mini world, and
generated rooms. `--expert 0 --mini 0 --rooms 0` leaves it out.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sdar_agents.intervals import wilson
from sdar_gym.envs.alfworld.engine import Game, NativeEngine, compile_game
from sdar_gym.envs.alfworld.folder import GameFolder, find_games
from sdar_gym.envs.alfworld.game_file import GameFile, read_game_file
from sdar_gym.envs.alfworld.mini import write_games
from sdar_gym.envs.alfworld.oracle import next_command
from sdar_gym.envs.alfworld.rooms.games import RoomGames

# Three times what the oracle ever needs: a game that takes more goes in circles.
_ORACLE_LIMIT = 60
_EXPERT_LIMITS = (50, 200)


@dataclass(frozen=True, slots=True)
class Play:
    """What following the oracle led to.

    Attributes:
        commands: How many were given.
        is_won: Whether the goal is reached.
        is_stopped: Whether the oracle had no further command.
    """

    commands: int
    is_won: bool
    is_stopped: bool


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of the published games; by default ALFWORLD_DATA")
    parser.add_argument("--random", type=int, nargs="*", default=[10, 30, 100], help="numbers of random commands")
    parser.add_argument("--expert", type=int, default=72, help="real games that the official expert plays")
    parser.add_argument("--mini", type=int, default=18, help="games of the mini world that the official expert plays")
    parser.add_argument("--rooms", type=int, default=24, help="generated rooms that the official expert plays")
    parser.add_argument("--seed", type=int, default=0, help="decides the random commands and the expert's games")
    arguments = parser.parse_args()
    try:
        folder = find_games(arguments.data)
    except FileNotFoundError as error:
        parser.error(str(error))
    task_ids = [task_id for split in folder.splits for task_id in folder.task_ids(split)]
    report_starts(folder, task_ids)
    if arguments.random:
        report_random_play(folder, task_ids, arguments.random, arguments.seed)
    if arguments.expert:
        chosen = spread(task_ids, random.Random(arguments.seed))[: arguments.expert]
        report_expert("published", [folder.load(task_id) for task_id in chosen], arguments.seed)
    if arguments.mini:
        with tempfile.TemporaryDirectory() as place:
            paths = write_games(place, arguments.mini, arguments.seed)
            report_expert("the mini world's", [read_game_file(path) for path in paths], arguments.seed)
    if arguments.rooms:
        with tempfile.TemporaryDirectory() as place:
            paths = RoomGames().write(place, arguments.rooms, arguments.seed)
            report_expert("generated rooms'", [read_game_file(path) for path in paths], arguments.seed)


def follow_oracle(game: Game, engine: NativeEngine, times: list[float] | None = None) -> Play:
    """Follow the oracle to its end; `times` collects the seconds that each of its decisions takes."""
    commands = 0
    while commands < _ORACLE_LIMIT:
        begin = time.perf_counter()
        command = next_command(game, engine.state)
        if times is not None:
            times.append(time.perf_counter() - begin)
        if command is None:
            return Play(commands, game.is_won(engine.state), is_stopped=True)
        if not engine.step(command).understood:
            raise RuntimeError(f"{game.compiled.origin}: the oracle says {command!r}, which the state does not admit")
        commands += 1
    return Play(commands, game.is_won(engine.state), is_stopped=False)


def report_starts(folder: GameFolder, task_ids: Sequence[str]) -> None:
    """From the start, by task type, beside the walkthrough that the file stores."""
    plays: dict[str, list[tuple[Play, int]]] = {}
    times: list[float] = []
    for task_id in task_ids:
        file = folder.load(task_id)
        game = compile_game(file)
        play = follow_oracle(game, NativeEngine(game), times)
        plays.setdefault(game.compiled.goal.task_type, []).append((play, len(file.walkthrough)))
    rows = [(name, *_start_row(group)) for name, group in sorted(plays.items())]
    rows.append(("all", *_start_row([play for group in plays.values() for play in group])))
    print("## From the start\n")
    _print_table(
        ("task type", "games", "won", "commands mean", "max", "walkthrough mean", "max", "oracle longer"), rows
    )
    quick, slow = statistics.median(times) * 1e6, statistics.quantiles(times, n=100)[98] * 1e6
    print(f"\n{len(times):,} decisions: median {quick:.1f} microseconds, 99th percentile {slow:.1f}\n")


def _start_row(plays: Sequence[tuple[Play, int]]) -> tuple[str, ...]:
    ours = [play.commands for play, _ in plays]
    stored = [length for _, length in plays]
    longer = sum(our > their for our, their in zip(ours, stored, strict=True))
    return (
        str(len(plays)),
        str(sum(play.is_won for play, _ in plays)),
        f"{statistics.mean(ours):.2f}",
        str(max(ours)),
        f"{statistics.mean(stored):.2f}",
        str(max(stored)),
        str(longer),
    )


def report_random_play(folder: GameFolder, task_ids: Sequence[str], lengths: Sequence[int], seed: int) -> None:
    """From the states that random admissible commands lead to; a game that these win ends there."""
    rows = []
    tallies: dict[int, list[tuple[str, int]]] = {length: [] for length in lengths}
    stuck = dict.fromkeys(lengths, 0)
    for task_id in task_ids:
        game = compile_game(folder.load(task_id))
        for length in lengths:
            engine = NativeEngine(game)
            _play_at_random(engine, random.Random(f"{seed}/{length}/{task_id}"), length)
            is_stuck = _is_hand_stuck(game, engine)
            outcome, commands = _outcome(game, engine)
            stuck[length] += outcome == "dead at once" and is_stuck
            tallies[length].append((outcome, commands))
    for length in lengths:
        outcomes = [outcome for outcome, _ in tallies[length]]
        won = [commands for outcome, commands in tallies[length] if outcome == "won"]
        counts = (outcomes.count(name) for name in ("won by chance", "won", "dead at once"))
        failed = sum(outcome == "failed" for outcome in outcomes)
        numbers = (len(outcomes), *counts, stuck[length], failed)
        rows.append((str(length), *map(str, numbers), f"{statistics.mean(won):.2f}", str(max(won))))
    print("## After random commands\n")
    header = ("random commands", "games", "won by chance", "oracle won", "dead", "of these: hand stuck", "failures")
    _print_table((*header, "commands mean", "max"), rows)
    print()


def _play_at_random(engine: NativeEngine, generator: random.Random, length: int) -> None:
    reply = engine.reset()
    for _ in range(length):
        if reply.won:
            return
        reply = engine.step(generator.choice(reply.admissible))


def _outcome(game: Game, engine: NativeEngine) -> tuple[str, int]:
    if game.is_won(engine.state):
        return "won by chance", 0
    play = follow_oracle(game, engine)
    if play.is_won:
        return "won", play.commands
    # None after a command: the state before was dead already, or the oracle killed it.
    return ("dead at once" if play.is_stopped and not play.commands else "failed"), play.commands


def _is_hand_stuck(game: Game, engine: NativeEngine) -> bool:
    held, tables = engine.state.held, game.tables
    pairs = zip(tables.accepts, tables.place_of, strict=True)
    return held >= 0 and not any(accepted >> held & 1 and place >= 0 for accepted, place in pairs)


def spread(task_ids: Iterable[str], generator: random.Random) -> list[str]:
    """All task ids shuffled, splits and task types taking turns."""
    groups: dict[str, list[str]] = {}
    for task_id in task_ids:
        split, task = task_id.split("/")[:2]
        groups.setdefault(f"{split} {task.partition('-')[0]}", []).append(task_id)
    for group in groups.values():
        generator.shuffle(group)
    longest = max(map(len, groups.values()))
    return [group[turn] for turn in range(longest) for group in groups.values() if turn < len(group)]


def report_expert(title: str, files: Sequence[GameFile], seed: int) -> None:
    """The official expert and the oracle on the same games, by task type; wins are those within a number of steps."""
    wins: dict[str, list[tuple[int | None, Play]]] = {}
    reasons: dict[str, int] = {}
    for number, file in enumerate(files):
        game = compile_game(file)
        steps, reason = play_expert(file, f"{seed}/{number}")
        if reason:
            reasons[reason] = reasons.get(reason, 0) + 1
        wins.setdefault(game.compiled.goal.task_type, []).append((steps, follow_oracle(game, NativeEngine(game))))
    rows = [(name, *_expert_row(group)) for name, group in sorted(wins.items())]
    rows.append(("all", *_expert_row([pair for group in wins.values() for pair in group])))
    print(f"## The official expert and the oracle, {title} games\n")
    limits = tuple(f"expert won within {limit}" for limit in _EXPERT_LIMITS)
    _print_table(("task type", "games", *limits, "expert's commands mean", "oracle won", "oracle's mean"), rows)
    print(
        f"\nthe expert's losses: {', '.join(f'{count} {what}' for what, count in sorted(reasons.items())) or 'none'}\n"
    )


def _expert_row(pairs: Sequence[tuple[int | None, Play]]) -> tuple[str, ...]:
    taken = [steps for steps, _ in pairs if steps is not None]
    won = [_rate(sum(steps <= limit for steps in taken), len(pairs)) for limit in _EXPERT_LIMITS]
    mean = f"{statistics.mean(taken):.1f}" if taken else "-"
    ours = _rate(sum(play.is_won for _, play in pairs), len(pairs))
    return str(len(pairs)), *won, mean, ours, f"{statistics.mean(play.commands for _, play in pairs):.1f}"


def _rate(won: int, count: int) -> str:
    low, high = wilson(won, count)
    return f"{won} = {won / count:.0%} [{low:.0%}, {high:.0%}]"


def play_expert(file: GameFile, seed: str) -> tuple[int | None, str]:
    """Play a game by the official expert's commands.

    Args:
        file: From a path that has the game's `traj_data.json` beside it.
        seed: The expert draws from the global generator.

    Returns:
        After how many commands it won, or None and why it lost.
    """
    arguments = sys.argv
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = _expert_env(file.origin)
        random.seed(seed)
        try:
            state: Any = env.reset()
            for steps in range(1, _EXPERT_LIMITS[-1] + 1):
                state, _, _ = env.step(state["extra.expert_plan"][0])
                if state["won"]:
                    return steps, ""
        except Exception as error:  # it gives up, or its code fails: both lose the game
            return None, f"by {type(error).__name__}" + (f" ({error})" if str(error) else "")
        finally:
            sys.argv = arguments  # the official translator overwrites it
    return None, f"by {_EXPERT_LIMITS[-1]} commands without a win"


def _expert_env(path: str) -> Any:
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredExpert, AlfredInfos
    from textworld.envs.pddl import PddlEnv

    infos = textworld.EnvInfos(won=True, admissible_commands=True, extras=["gamefile", "expert_plan"])
    # The order of AlfredTWEnv.init_env, from the inside.
    env = AlfredExpert(AlfredInfos(AlfredDemangler(PddlEnv(infos), shuffle=False)), "handcoded")
    env.load(path)
    return env


def _print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table in Markdown."""
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
