"""`sdar-gym parity ENVIRONMENT`: is our engine the official one, command for command?"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from sdar_agents.options import parse
from sdar_gym.envs.alfworld.parity import WalkResult, compare_games, explain

_SECONDS_BETWEEN_LINES = 20.0
_SHOWN_DIFFERENCES = 5
_SHOWN_REFUSALS = 5
_PACKAGES = ("sdar-gym", "textworld", "alfworld")


@dataclass(frozen=True, slots=True)
class ParityOptions:
    """Play the same commands on the native and the official engine and report where they differ.

    Exit code 0: no difference; 1: differences; 2: a mistake in what was asked, or nothing could be compared. The
    official engine runs expressions of a game file as code: compare only games that you trust.
    """

    environment: Annotated[Literal["alfworld"], tyro.conf.Positional]
    """alfworld"""
    games: str | None = None
    """A game file, a tree with game files, or the folder with json_2.1.1; by default ALFWORLD_DATA."""
    walks: int = 100
    """Walks, over as many different games as there are."""
    seed: int = 0
    """Decides the games and the commands."""
    steps: int = 30
    """Commands a walk."""
    jobs: int = 1
    """Processes."""
    json: str | None = None
    """File that receives the result."""


@dataclass(slots=True)
class Tally:
    """What was compared so far."""

    walks: int = 0
    commands: int = 0
    won: int = 0
    games: Counter[tuple[str, str]] = field(default_factory=Counter)
    walks_by: Counter[tuple[str, str]] = field(default_factory=Counter)
    differing: list[WalkResult] = field(default_factory=list)
    refused: list[WalkResult] = field(default_factory=list)

    def add(self, results: Sequence[WalkResult]) -> None:
        """Count the results of one game."""
        first = results[0]
        if first.refusal is not None:
            self.refused.append(first)
            return
        self.games[first.split, first.task_type] += 1
        for result in results:
            self.walks += 1
            self.walks_by[result.split, result.task_type] += 1
            self.commands += result.commands
            self.won += result.won
            if result.difference is not None:
                self.differing.append(result)

    def summary(self) -> str:
        """The result in a line."""
        types = {kind for _, kind in self.games}
        splits = ", ".join(f"{split} {count}" for split, count in _totals(self.games, 0).items())
        said = (
            f"{_counted(len(self.differing), 'difference')} in {_counted(self.walks, 'walk')} "
            f"({self.commands:,} commands, {_counted(self.won, 'goal')} reached) over "
            f"{_counted(sum(self.games.values()), 'game')}: {_counted(len(types), 'task type')}, splits {splits}"
        )
        if self.refused:
            said += f"; {_counted(len(self.refused), 'game')} refused by both engines"
        return said


def run(arguments: Sequence[str]) -> None:
    """Compare, print the result, write the JSON; the exit code tells a difference."""
    options = parse(ParityOptions, arguments, command="parity")
    if options.json is not None and not Path(options.json).absolute().parent.is_dir():
        raise ValueError(f"--json {options.json}: its folder does not exist")
    from sdar_gym.envs.alfworld.folder import find_games

    for name in ("walks", "steps", "jobs"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(options, name)}")
    started = time.perf_counter()
    compared = compare_games(
        find_games(options.games), walks=options.walks, seed=options.seed, steps=options.steps, jobs=options.jobs
    )
    tally, interrupted = Tally(), False
    try:
        _collect(compared, tally, options.walks)
    except KeyboardInterrupt:
        interrupted = True
    seconds = time.perf_counter() - started
    _report(tally, interrupted=interrupted)
    if options.json is not None:
        content = _to_json(tally, options, seconds=seconds, interrupted=interrupted)
        Path(options.json).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if interrupted:
        raise KeyboardInterrupt
    if not tally.walks:
        raise ValueError("nothing was compared: no game can be played")
    if tally.differing:
        sys.exit(1)


def _collect(compared: Iterable[list[WalkResult]], tally: Tally, walks: int) -> None:
    started = said = time.perf_counter()
    for results in compared:
        tally.add(results)
        now = time.perf_counter()
        if now - said > _SECONDS_BETWEEN_LINES:
            said = now
            rate = tally.walks / (now - started) * 60
            differences = _counted(len(tally.differing), "difference")
            print(f"{tally.walks:,} of {walks:,} walks, {differences}, {rate:.0f} walks/min", file=sys.stderr)


def _report(tally: Tally, *, interrupted: bool) -> None:
    for result in tally.differing[:_SHOWN_DIFFERENCES]:
        if result.difference is not None:
            print(_printable(f"{result.task_id}, walk {result.walk}, {explain(result.difference)}"))
    if len(tally.differing) > _SHOWN_DIFFERENCES:
        print(f"... and {len(tally.differing) - _SHOWN_DIFFERENCES} more walks that differ (--json FILE has them all)")
    for result in tally.refused[:_SHOWN_REFUSALS]:
        print(_printable(f"{result.task_id}: refused by both engines; {result.refusal}"))
    if len(tally.refused) > _SHOWN_REFUSALS:
        print(f"... and {len(tally.refused) - _SHOWN_REFUSALS} more games that both refuse (--json FILE has them all)")
    if tally.walks or interrupted:
        print(("stopped early: " if interrupted else "") + tally.summary())


def _to_json(tally: Tally, options: ParityOptions, *, seconds: float, interrupted: bool) -> dict[str, Any]:
    return {
        "differences": len(tally.differing),
        "walks": tally.walks,
        "commands": tally.commands,
        "goals_reached": tally.won,
        "games": sum(tally.games.values()),
        "by_split": {
            split: {"games": games, "walks": _totals(tally.walks_by, 0)[split]}
            for split, games in _totals(tally.games, 0).items()
        },
        "by_task_type": {
            kind: {"games": games, "walks": _totals(tally.walks_by, 1)[kind]}
            for kind, games in _totals(tally.games, 1).items()
        },
        "differing": [
            {"task_id": result.task_id, "walk": result.walk, **asdict(result.difference)}
            for result in tally.differing
            if result.difference is not None
        ],
        "refused_by_both": [{"task_id": result.task_id, "reason": result.refusal} for result in tally.refused],
        "requested": {name: getattr(options, name) for name in ("walks", "seed", "steps", "jobs")},
        "interrupted": interrupted,
        "seconds": round(seconds, 1),
        "versions": {"python": sys.version.split()[0], **{name: _version(name) for name in _PACKAGES}},
    }


def _totals(counts: Counter[tuple[str, str]], part: int) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for key, count in sorted(counts.items()):
        totals[key[part]] += count
    return dict(totals)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _printable(text: str) -> str:
    """What any terminal can show: a game may hold anything."""
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        from sdar_agents import __version__

        return __version__ if package == "sdar-gym" else None
