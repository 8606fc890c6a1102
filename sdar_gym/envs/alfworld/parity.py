"""Do the native and the official engine answer alike? Plays one game on both, command by command."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sdar_gym.envs.alfworld.engine import NativeEngine, Reply, compile_game
from sdar_gym.envs.alfworld.game_file import GameFile, read_game_file
from sdar_gym.envs.alfworld.official import OfficialEngine

NONSENSE = (
    "",
    "   ",
    "xyzzy",
    "LOOK",
    " look ",
    "go to",
    "take 1 from 1",
    "geh nach Süden 🚪",
    "look\x00",
    "put apple 1 in/on fridge 1",
    "go to  desk 1",
    "open {r}",
    "#intro#",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two engines part.

    Attributes:
        turn: 0 at the start, else the number of the command.
        commands: What was played so far.
        field: Which part of the answer differs: text, admissible, won or understood.
        native: That part, of ours.
        official: That part, of theirs.
    """

    turn: int
    commands: tuple[str, ...]
    field: str
    native: object
    official: object


def compare_walk(game: str | Path | GameFile, walk: Sequence[str] | random.Random, steps: int) -> Difference | None:
    """Play one walk on both engines.

    Args:
        game: A game or its file.
        walk: The commands; or a generator that draws them: mostly admissible ones, and a few that are admissible
            elsewhere, are nonsense, or lead to the goal.
        steps: Most commands to play.

    Returns:
        The first difference, or None.
    """
    game_file = game if isinstance(game, GameFile) else read_game_file(game)
    native, official = NativeEngine(compile_game(game_file)), OfficialEngine(game_file)
    replies = native.reset(), official.reset()
    played: list[str] = []
    difference = _difference(*replies, played)
    commands = _drawn(native, game_file, walk) if isinstance(walk, random.Random) else iter(walk)
    for command in commands:
        if difference is not None or len(played) >= steps:
            break
        played.append(command)
        difference = _difference(native.step(command), official.step(command), played)
    return difference


def _difference(native: Reply, official: Reply, played: Sequence[str]) -> Difference | None:
    for name in ("text", "admissible", "won", "understood"):
        ours, theirs = getattr(native, name), getattr(official, name)
        if ours != theirs:
            return Difference(len(played), tuple(played), name, ours, theirs)
    return None


def _drawn(native: NativeEngine, game: GameFile, generator: random.Random) -> Iterator[str]:
    """Random commands, with runs along the walkthrough; peeks at the native state for what is admissible."""
    seen: list[str] = []
    ahead = list(game.walkthrough)
    while True:
        admissible = native.game.choices(native.state).commands
        seen = sorted({*seen, *admissible})
        dice = generator.random()
        if dice < 0.3 and ahead:
            yield ahead.pop(0)
        elif dice < 0.85:
            # Going elsewhere is most of what is admissible; what happens at a place is what can differ.
            local = [command for command in admissible if not command.startswith("go to")]
            yield generator.choice(local if generator.random() < 0.6 else admissible)
        elif dice < 0.93:
            yield generator.choice(seen)
        else:
            yield generator.choice(NONSENSE)
