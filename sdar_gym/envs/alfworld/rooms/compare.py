"""Do generated rooms look like real ones? Means of both, by kind of room."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, stdev

from sdar_gym.envs.alfworld.engine import NativeEngine, compile_game
from sdar_gym.envs.alfworld.game_file import GAME_FILE_NAME, GameFile, read_game_file
from sdar_gym.envs.alfworld.oracle import next_command
from sdar_gym.envs.alfworld.rooms.figures import ROOMS, room_of
from sdar_gym.envs.alfworld.rooms.generator import generate

_MOST_COMMANDS = 60
_SCENE = re.compile(r"-(\d+)$")


def measured(game_file: GameFile) -> dict[str, float]:
    """What a player meets in a game: quantity to number; text in characters.

    The oracle's texts are what the game answers while the oracle plays, the first text aside.
    """
    game = compile_game(game_file)
    tables, state = game.tables, game.compiled.start
    engine = NativeEngine(game)
    reply = engine.reset()
    figures: dict[str, float] = {
        "receptacles": len(tables.receptacles),
        "locations": sum(bool(each) for each in tables.receptacles_at),
        "closed": (tables.openable & ~state.opened).bit_count(),
        "empty": sum(not contents for contents in state.contents),
        "things": sum(contents.bit_count() for contents in state.contents),
        "portable": sum((contents & tables.pickupable).bit_count() for contents in state.contents),
        "wanted": tables.object_type[game.compiled.goal.object_type].bit_count(),
        "fullest": max(contents.bit_count() for contents in state.contents),
        "admissible": len(reply.admissible),
        "first text": len(reply.text),
    }
    lengths: list[int] = []
    while (command := next_command(game, engine.state)) is not None and len(lengths) < _MOST_COMMANDS:
        lengths.append(len(engine.step(command).text))
    figures["oracle commands"] = len(lengths)
    figures["oracle's texts"] = fmean(lengths)
    return figures


def comparison(data: Path, count: int) -> str:
    """A table of means (and standard deviations): as many real as generated games of each kind of room.

    Args:
        data: A folder with published games.
        count: How many games of each kind of room, at most; drawn with a fixed seed, each real scene as likely.
    """
    rows = [f"{'':26}" + "".join(f"{room:>26}" for room in ROOMS)]
    columns: list[tuple[dict[str, str], dict[str, str]]] = []
    real = _sampled(data, count)
    for room in ROOMS:
        generated = (generate(f"compare {index}", room) for index in range(count))
        columns.append((_summary(map(read_game_file, real[room])), _summary(generated)))
    for quantity in columns[0][0]:
        for name, index in (("real", 0), ("generated", 1)):
            rows.append(f"{quantity:16}{name:10}" + "".join(f"{column[index][quantity]:>26}" for column in columns))
    return "\n".join(rows)


def _summary(games: Iterable[GameFile]) -> dict[str, str]:
    found = [measured(game) for game in games]
    return {
        name: f"{fmean(each[name] for each in found):.1f} ({stdev(each[name] for each in found):.1f})"
        for name in found[0]
    }


def _sampled(data: Path, count: int) -> dict[str, list[Path]]:
    """Game files of each kind of room; their task folders end with the number of the scene."""
    scenes: dict[int, list[Path]] = defaultdict(list)
    for path in sorted(data.rglob(GAME_FILE_NAME)):
        if found := _SCENE.search(path.parent.parent.name):
            scenes[int(found[1])].append(path)
    rng = random.Random(0)
    chosen: dict[str, list[Path]] = {}
    for room in ROOMS:
        own = [number for number in sorted(scenes) if room_of(number) == room]
        if not own:
            raise FileNotFoundError(f"no published game of a {room} in {data}")
        chosen[room] = [rng.choice(scenes[own[index % len(own)]]) for index in range(count)]
    return chosen
