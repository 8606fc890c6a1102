"""Counts what the published games' rooms are like, and writes the table `figures.json`.

`python -m sdar_gym.envs.alfworld.rooms.statistics --data PATH --out FILE` makes it from a folder of games or from their
tar archive; with `--compare N` it lays generated rooms beside real ones. Every scene counts alike, however many games
play in it. A thing in two receptacles at once (a pan across two burners) counts half for each; things that lie in other
things are counted where those lie.
"""

from __future__ import annotations

import argparse
import json
import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sdar_gym.envs.alfworld.game_file import GAME_FILE_NAME
from sdar_gym.envs.alfworld.kitchen import TASK_TYPES
from sdar_gym.envs.alfworld.pddl import Problem, read_problem
from sdar_gym.envs.alfworld.rooms.figures import NOWHERE, PROPERTIES, ROOMS, room_of

TRAJECTORY_NAME = "traj_data.json"
_KIND = re.compile(r"\b(\w+)Type - [or]type\b")


@dataclass(frozen=True, slots=True)
class RealGame:
    """What the figures are about, of one game.

    Attributes:
        scene: Number of the floor plan.
        task: Task type, kind of thing, kind of receptacle or lamp.
        receptacles: Id -> kind.
        openable: Ids of receptacles.
        locations: Receptacle id -> location.
        things: Id -> kind.
        lies: Thing id -> ids of the receptacles that it lies in or on.
        properties: One of `PROPERTIES`, or `isCool` -> ids of things.
        contains: (kind of receptacle, kind of thing) that go together.
    """

    scene: int
    task: tuple[str, str, str]
    receptacles: Mapping[str, str]
    openable: frozenset[str]
    locations: Mapping[str, str]
    things: Mapping[str, str]
    lies: Mapping[str, tuple[str, ...]]
    properties: Mapping[str, frozenset[str]]
    contains: frozenset[tuple[str, str]]

    @property
    def room(self) -> str:
        """One of `ROOMS`."""
        return room_of(self.scene)

    def placed(self) -> Iterator[tuple[str, str, float]]:
        """(kind of thing, kind of receptacle or `nowhere`, weight) of everything; the weights of a thing sum to 1."""
        for thing, kind in self.things.items():
            places = self.lies.get(thing, ())
            for place in places:
                yield kind, self.receptacles[place], 1 / len(places)
            if not places:
                yield kind, NOWHERE, 1.0


def read_games(data: Path) -> list[RealGame]:
    """All games below a folder, or in a tar archive, sorted by their paths.

    Raises:
        FileNotFoundError: there is no game.
    """
    texts = _of_archive(data) if data.is_file() else _of_folder(data)
    games = [real_game(*pair) for _, pair in sorted(texts.items())]
    if not games:
        raise FileNotFoundError(f"no {GAME_FILE_NAME} with a {TRAJECTORY_NAME} beside it in {data}")
    return games


def _of_folder(folder: Path) -> dict[str, tuple[str, str]]:
    return {
        str(path.parent.relative_to(folder)): (path.read_text("utf-8"), beside.read_text("utf-8"))
        for path in folder.rglob(GAME_FILE_NAME)
        if (beside := path.with_name(TRAJECTORY_NAME)).is_file()
    }


def _of_archive(archive: Path) -> dict[str, tuple[str, str]]:
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    with tarfile.open(archive) as members:
        for member in members:
            path = PurePosixPath(member.name)
            if path.name in (GAME_FILE_NAME, TRAJECTORY_NAME) and (file := members.extractfile(member)) is not None:
                texts[str(path.parent)][path.name] = file.read().decode("utf-8")
    return {name: (pair[GAME_FILE_NAME], pair[TRAJECTORY_NAME]) for name, pair in texts.items() if len(pair) == 2}


def real_game(game: str, trajectory: str) -> RealGame:
    """What the figures are about, from the text of a game file and of the trajectory beside it."""
    text = json.loads(game)["pddl_problem"]
    about = json.loads(trajectory)
    problem = read_problem(text, about["task_id"])
    # The reader makes everything lower case: the names of kinds have capitals inside.
    kinds = {f"{kind}Type".lower(): kind for kind in _KIND.findall(text)}
    wanted = about["pddl_params"]
    things = {thing: kinds[kind] for thing, kind in problem.facts["objecttype"]}
    lies: dict[str, tuple[str, ...]] = {}
    for thing, place in problem.facts["inreceptacle"]:
        lies[thing] = tuple(sorted({*lies.get(thing, ()), place}))
    return RealGame(
        scene=int(about["scene"]["scene_num"]),
        task=(about["task_type"], wanted["object_target"], wanted["parent_target"] or wanted["toggle_target"]),
        receptacles={name: kinds[kind] for name, kind in problem.facts["receptacletype"]},
        openable=_having(problem, "openable"),
        locations=dict(problem.facts["receptacleatlocation"]),  # type: ignore[arg-type]
        things=things,
        lies=lies,
        properties={name: _having(problem, name) for name in (*PROPERTIES, "isCool")},
        contains=frozenset((kinds[place], kinds[thing]) for place, thing in problem.facts["cancontain"]),
    )


def _having(problem: Problem, predicate: str) -> frozenset[str]:
    return frozenset(row[0] for row in problem.facts.get(predicate.lower(), ()))


def tabulate(games: Sequence[RealGame]) -> dict[str, Any]:
    """The table, as `figures.read_figures` reads it."""
    rooms = {room: [game for game in games if game.room == room] for room in ROOMS}
    return {
        "about": "what the rooms of the published ALFWorld games are like; made by rooms/statistics.py",
        "games": len(games),
        "scenes": len({game.scene for game in games}),
        "properties": {name: _kinds_with(games, name) for name in PROPERTIES},
        "contains": _contains(games),
        "wanted": {task_type: _wanted_counts(games, task_type) for task_type in TASK_TYPES},
        "cold": {task_type: _share_cold(games, task_type) for task_type in TASK_TYPES},
        "rooms": {room: _room(members) for room, members in rooms.items()},
    }


def _kinds_with(games: Sequence[RealGame], name: str) -> list[str]:
    found: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for game in games:
        total.update(game.things.values())
        found.update(game.things[thing] for thing in game.properties[name] if thing in game.things)
    # A few instances have a property that the others of their kind lack, which decides nothing.
    return sorted(kind for kind, count in found.items() if 2 * count > total[kind])


def _contains(games: Sequence[RealGame]) -> dict[str, list[str]]:
    pairs = sorted({pair for game in games for pair in game.contains})
    contains: dict[str, list[str]] = {}
    for place, thing in pairs:
        contains.setdefault(place, []).append(thing)
    return contains


def _wanted_counts(games: Sequence[RealGame], task_type: str) -> dict[str, float]:
    counts = Counter(
        sum(kind == game.task[1] for kind in game.things.values()) for game in games if game.task[0] == task_type
    )
    return _shares(counts)


def _share_cold(games: Sequence[RealGame], task_type: str) -> float:
    inside = cold = 0
    for game in games:
        if game.task[0] != task_type:
            continue
        kept = {
            thing for thing, places in game.lies.items() if any(game.receptacles[each] == "Fridge" for each in places)
        }
        inside += len(kept)
        cold += len(kept & game.properties["isCool"])
    return _rounded(cold / inside) if inside else 0.0


def _room(games: Sequence[RealGame]) -> dict[str, Any]:
    scenes: dict[int, list[RealGame]] = defaultdict(list)
    for game in games:
        scenes[game.scene].append(game)
    # All games of a scene have the same receptacles.
    first = [members[0] for _, members in sorted(scenes.items())]
    return {
        "scenes": len(scenes),
        "receptacles": _receptacles(first, games),
        "shared": _shared_places(first),
        "things": _things(scenes),
        "tasks": _tasks(games),
    }


def _receptacles(scenes: Sequence[RealGame], games: Sequence[RealGame]) -> dict[str, Any]:
    counts = [Counter(scene.receptacles.values()) for scene in scenes]
    opening = Counter(scene.receptacles[each] for scene in scenes for each in scene.openable)
    kinds = sorted({kind for count in counts for kind in count})
    held: dict[str, list[int]] = defaultdict(list)
    for game in games:
        numbers = Counter(place for places in game.lies.values() for place in places)
        for receptacle, kind in game.receptacles.items():
            held[kind].append(numbers[receptacle])
    return {
        kind: {
            "counts": {str(n): scenes for n, scenes in sorted(Counter(count[kind] for count in counts).items())},
            "openable": _rounded(opening[kind] / sum(count[kind] for count in counts)),
            "most": max(1, sorted(held[kind])[99 * len(held[kind]) // 100]),
        }
        for kind in kinds
    }


def _shared_places(scenes: Sequence[RealGame]) -> dict[str, float]:
    shared: Counter[str] = Counter()
    for scene in scenes:
        at: dict[str, list[str]] = defaultdict(list)
        for receptacle, location in scene.locations.items():
            at[location].append(scene.receptacles[receptacle])
        shared.update(" ".join(sorted(kinds)) for kinds in at.values() if len(kinds) > 1)
    return {kinds: _rounded(count / len(scenes)) for kinds, count in sorted(shared.items())}


def _things(scenes: Mapping[int, Sequence[RealGame]]) -> dict[str, Any]:
    """Of each kind: how often it is there, how many, and where. A game does not tell of the kind that it is about."""
    kinds = sorted({kind for games in scenes.values() for game in games for kind in game.things.values()})
    counted = {kind: _CountedKind() for kind in kinds}
    for _, games in sorted(scenes.items()):
        lying = [_Lying(game) for game in games]
        for kind in kinds:
            telling = [each for each in lying if each.game.task[1] != kind]
            if telling:
                counted[kind].add_scene(kind, telling)
    return {kind: each.figures() for kind, each in counted.items() if set(each.lying) - {NOWHERE}}


class _Lying:
    """How many things of each kind a game has, and what weight of them lies where."""

    def __init__(self, game: RealGame) -> None:
        self.game = game
        self.numbers = Counter(game.things.values())
        self.places: dict[str, dict[str, float]] = {}
        for kind, place, weight in game.placed():
            weights = self.places.setdefault(kind, {})
            weights[place] = weights.get(place, 0.0) + weight


class _CountedKind:
    """The sums over scenes for one kind of thing."""

    def __init__(self) -> None:
        self.lying: dict[str, float] = defaultdict(float)
        self._room_for: dict[str, float] = defaultdict(float)
        self._presence: list[float] = []
        self._counts: dict[int, float] = defaultdict(float)

    def add_scene(self, kind: str, games: Sequence[_Lying]) -> None:
        numbers = Counter(each.numbers[kind] for each in games)
        self._presence.append(1 - numbers[0] / len(games))
        for number, times in sorted(numbers.items()):
            if number:
                self._counts[number] += times / len(games)
        for each in games:
            for place, weight in each.places.get(kind, {}).items():
                self.lying[place] += weight / len(games)
        mean = sum(number * times for number, times in numbers.items()) / len(games)
        # Of this kind, so many would lie in each kind of receptacle if all things of the scene lay in each one.
        for place, count in Counter(games[0].game.receptacles.values()).items():
            self._room_for[place] += mean * count

    def figures(self) -> dict[str, Any]:
        return {
            "present": _rounded(sum(self._presence) / len(self._presence)),
            "counts": _shares(self._counts),
            "nowhere": _rounded(self.lying[NOWHERE] / sum(self.lying.values())),
            "lies": {
                place: _rounded(weight / self._room_for[place])
                for place, weight in sorted(self.lying.items())
                if place != NOWHERE
            },
        }


def _tasks(games: Sequence[RealGame]) -> dict[str, dict[str, int]]:
    asked: dict[str, dict[str, set[int]]] = {task_type: defaultdict(set) for task_type in TASK_TYPES}
    for game in games:
        task_type, thing, goal = game.task
        asked[task_type][f"{thing} {goal}"].add(game.scene)
    return {
        task_type: {pair: len(scenes) for pair, scenes in sorted(pairs.items())}
        for task_type, pairs in asked.items()
        if pairs
    }


def _shares(counts: Mapping[int, float]) -> dict[str, float]:
    total = sum(counts.values())
    return {str(number): _rounded(count / total) for number, count in sorted(counts.items())}


def _rounded(number: float) -> float:
    return float(f"{number:.2g}") if number < 0.1 else round(number, 3)


def as_text(table: Mapping[str, Any]) -> str:
    """The table as JSON, with one kind a line."""
    return _indented(table, depth=4) + "\n"


def _indented(value: Any, depth: int, indent: str = "") -> str:
    inner = indent + " "
    flat = json.dumps(value)
    if not isinstance(value, Mapping) or depth == 0 or len(indent) + len(flat) <= 100:
        return flat
    lines = (f"{inner}{json.dumps(key)}: {_indented(entry, depth - 1, inner)}" for key, entry in value.items())
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def main(arguments: Iterable[str] | None = None) -> None:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m sdar_gym.envs.alfworld.rooms.statistics", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with published games, or their tar archive")
    parser.add_argument("--out", type=Path, help="file to write the table to")
    parser.add_argument("--compare", type=int, metavar="N", help="compare N real with N generated games of each room")
    options = parser.parse_args(None if arguments is None else list(arguments))
    if options.out is None and options.compare is None:
        parser.error("nothing to do: give --out FILE, --compare N, or both")
    if options.out is not None:
        try:
            games = read_games(options.data)
        except FileNotFoundError as error:
            parser.error(str(error))
        options.out.write_text(as_text(tabulate(games)), encoding="utf-8")
        print(f"{len(games)} games of {len({game.scene for game in games})} scenes: {options.out}")
    if options.compare is not None:
        from sdar_gym.envs.alfworld.rooms.compare import comparison

        print(comparison(options.data, options.compare))


if __name__ == "__main__":
    main()
