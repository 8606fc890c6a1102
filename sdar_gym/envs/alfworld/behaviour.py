"""Which rules are played, as a hash: a fixed walk through a fixed kitchen, and everything that is answered on it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Literal

from sdar_gym.envs.alfworld.engine import NativeEngine, compile_game
from sdar_gym.envs.alfworld.game_file import GameFile, GameSource
from sdar_gym.envs.alfworld.generator import written_rules
from sdar_gym.envs.alfworld.legacy import step_legacy

_PLACE = (
    "(and (exists (?r - receptacle) (exists (?o - object) (and {state}(objectType ?o {thing})"
    " (receptacleType ?r {place}) (inReceptacle ?o ?r)))))"
)
_GOALS = (
    _PLACE.format(state="", thing="PanType", place="FridgeType"),
    _PLACE.format(state="(cleanable ?o) (isClean ?o) ", thing="MugType", place="DiningTableType"),
    _PLACE.format(state="(heatable ?o) (isHot ?o) ", thing="BreadType", place="DiningTableType"),
    _PLACE.format(state="(coolable ?o) (isCool ?o) ", thing="MugType", place="SinkBasinType"),
    "(and (exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 MugType) (receptacleType ?r FridgeType)"
    " (inReceptacle ?o1 ?r) (exists (?o2 - object) (and (not (= ?o1 ?o2)) (objectType ?o2 MugType)"
    " (receptacleType ?r FridgeType) (inReceptacle ?o2 ?r)))))))",
    "(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?ot DeskLampType)"
    " (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))"
    " (exists (?o - object ?a - agent) (and (objectType ?o SpoonType) (holds ?a ?o))))",
)
PROBE_WALK: tuple[str, ...] = tuple(
    """look;inventory;help;examine mug 1;go to stoveburner 1;go to stoveburner 1;examine stoveburner 1;look
take pan 1 from stoveburner 2;examine pan 1;look;move pan 1 to stoveburner 1;look;take pan 1 from stoveburner 1
inventory;go to sinkbasin 1;clean pan 1 with sinkbasin 1;examine pan 1;move pan 1 to sinkbasin 1
take pan 1 from sinkbasin 1;go to fridge 1;move pan 1 to fridge 1;open fridge 1;open fridge 1;move pan 1 to fridge 1
look;take mug 2 from fridge 1;examine mug 2;cool mug 2 with fridge 1;close fridge 1;go to sinkbasin 1
put mug 2 in/on sinkbasin 1;take mug 2 from sinkbasin 1;move mug 2 to sinkbasin 1;take mug 2 from sinkbasin 1
clean mug 2 with sinkbasin 1;go to diningtable 1
heat mug 2 with microwave 1;examine mug 2;move mug 2 to diningtable 1;look;take knife 1 from diningtable 1
slice bread 1 with knife 1;inventory;move knife 1 to diningtable 1;take bread 1 from diningtable 1;examine bread 1
heat bread 1 with microwave 1;open microwave 1;move bread 1 to microwave 1;examine microwave 1
take bread 1 from microwave 1;move bread 1 to diningtable 1;close microwave 1;use desklamp 1;use desklamp 1
examine diningtable 1;take spoon 1 from diningtable 1;go to fridge 1;go to diningtable 1
move spoon 1 to diningtable 1;take mug 1 from diningtable 1;go to fridge 1;open fridge 1;move mug 1 to fridge 1
go to diningtable 1;take mug 2 from diningtable 1;go to fridge 1;move mug 2 to fridge 1
take mug 2 from fridge 1;go to sinkbasin 1;move mug 2 to sinkbasin 1;take mug 2 from sinkbasin 1;go to fridge 1
cool mug 2 with fridge 1;examine mug 2;move mug 2 to fridge 1;go to diningtable 1
take statue 1 from diningtable 1;move statue 1 to diningtable 1;put statue 1 in/on diningtable 1;xyzzy;; LOOK ;Look
look\x00""".replace("\n", ";").split(";")
)
"""What is played. It must be the same for ever."""
_GENERATED = 12


def probe_games() -> list[GameFile]:
    """The kitchen of the walk, once with a goal of each task type."""
    domain, grammar = written_rules()
    problem = files("sdar_gym.envs.alfworld").joinpath("rules", "probe.pddl").read_text("utf-8")
    return [GameFile(domain, grammar, problem.replace("GOAL", goal), origin="the probe") for goal in _GOALS]


@cache
def rules_hash(engine: Literal["native", "textworld"] = "native", legacy_actions: bool = False) -> str:
    """The hash of the rules of ALFWorld as an engine plays them: 16 hex digits.

    For the native engine it is taken from what is answered to `PROBE_WALK`, so that it cannot state what is not so. The
    official engine takes half a minute for that: its hash is that of the versions of its packages.
    """
    if engine == "native":
        said: object = [_transcript(game, legacy_actions) for game in probe_games()]
    else:
        said = [*(f"{package} {version(package)}" for package in ("textworld", "alfworld")), legacy_actions]
    return digest(said)


def digest(content: object) -> str:
    """16 hex digits for a value that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def world_hash(games: GameSource) -> str:
    """The hash of a generator: of what it makes of the first tasks of each split."""
    ids = [task_id for split in games.splits for task_id in games.task_ids(split)[:_GENERATED]]
    return digest([asdict(games.load(task_id)) for task_id in ids])


def _transcript(game: GameFile, legacy_actions: bool) -> list[object]:
    engine = NativeEngine(compile_game(game))
    replies = [engine.reset()]
    for command in PROBE_WALK:
        replies.append(step_legacy(engine, command) if legacy_actions else engine.step(command))
    return [tuple(reply) for reply in replies]
