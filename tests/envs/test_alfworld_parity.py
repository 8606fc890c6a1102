"""Our engine against the official one, command by command: real games, and a kitchen full of its quirks."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sdar_gym.envs.alfworld import official
from sdar_gym.envs.alfworld.engine import NativeEngine, compile_game
from sdar_gym.envs.alfworld.env import HouseholdEnv
from sdar_gym.envs.alfworld.game_file import GameFile
from sdar_gym.envs.alfworld.official import OfficialEngine, is_installed
from sdar_gym.envs.alfworld.parity import compare_walk

if TYPE_CHECKING:
    from .conftest import Kitchen

needs_official = pytest.mark.skipif(not is_installed(), reason='needs the extra: pip install "sdar-gym[alfworld]"')

# Everything that is easily got wrong: two receptacles at one place, a thing put where it was not, toggling twice,
# slicing, things in things, states that exclude each other, things that fit nowhere.
QUIRKS = """look / go to stoveburner 1 / examine stoveburner 1 / take pan 1 from stoveburner 2 / look
move pan 1 to stoveburner 1 / look / take pan 1 from stoveburner 1 / move pan 1 to stoveburner 2 / look
take pan 1 from stoveburner 2 / examine pan 1 / inventory / go to stoveburner 2 / go to sinkbasin 1
clean pan 1 with sinkbasin 1 / examine pan 1 / move pan 1 to sinkbasin 1 / look / go to diningtable 1
use desklamp 1 / use desklamp 1 / take knife 1 from diningtable 1 / slice bread 1 with knife 1 / inventory
slice bread 1 with knife 1 / move knife 1 to diningtable 1 / examine bread 1 / take bread 1 from diningtable 1
examine bread 1 / heat bread 1 with microwave 1 / examine bread 1 / open microwave 1 / move bread 1 to microwave 1
close microwave 1 / examine microwave 1 / take mug 1 from diningtable 1 / examine mug 1 / go to fridge 1
cool mug 1 with fridge 1 / open fridge 1 / move mug 1 to fridge 1 / take mug 2 from fridge 1 / examine mug 2
go to microwave 1 / heat mug 2 with microwave 1 / examine mug 2 / move mug 2 to diningtable 1
take statue 1 from diningtable 1 / move statue 1 to diningtable 1 / go to fridge 1 / close fridge 1 / help"""


@needs_official
@pytest.mark.data
def test_real_games_of_every_type_are_answered_as_by_the_official_engine(real_games: list[GameFile]) -> None:
    types = {compile_game(game).compiled.goal.task_type for game in real_games}
    assert len(types) == 6
    differences = [compare_walk(game, random.Random(number), 12) for number, game in enumerate(real_games)]
    assert differences == [None] * 8


@needs_official
@pytest.mark.data
def test_the_quirks_of_the_official_engine_are_kept(kitchen: Kitchen, real_games: list[GameFile]) -> None:
    published = real_games[0]
    game = replace(kitchen.game(), grammar=published.grammar, pddl_domain=published.pddl_domain)
    walk = QUIRKS.replace("\n", " / ").split(" / ")
    assert compare_walk(game, walk, len(walk)) is None
    engine = NativeEngine(compile_game(game))
    texts = [engine.step(command).text for command in walk[:7]]
    # Moved between burners of one place, the pan counts as lying beside the burner that it was taken from.
    assert texts[-1] == "You are facing the stoveburner 2, and stoveburner 1. Next to it, you see a pan 1."
    assert compare_walk(game, random.Random(5), 40) is None


@needs_official
def test_a_difference_is_found_and_told(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    # The official engine plays the same kitchen with a mug on the burner: the arrival there must differ.
    other = kitchen.game(more_facts="(inReceptacle Mug_bar_1 StoveBurner_bar_2)")
    engine = OfficialEngine(other)
    monkeypatch.setattr("sdar_gym.envs.alfworld.parity.OfficialEngine", lambda game: engine)
    difference = compare_walk(kitchen.game(), ["inventory", "go to stoveburner 1", "look"], 3)
    assert difference is not None
    assert (difference.turn, difference.field) == (2, "text")
    assert difference.native == "You arrive at stoveburner 1. On the stoveburner 1, you see nothing."
    assert difference.official == "You arrive at stoveburner 1. On the stoveburner 1, you see a mug 2."


@needs_official
def test_the_environment_plays_the_official_engine_too(kitchen: Kitchen) -> None:
    games = OneGame(kitchen.game())
    arguments = list(sys.argv)
    ours, theirs = HouseholdEnv(games), HouseholdEnv(games, engine="textworld")
    assert ours.reset(seed=0) == theirs.reset(seed=0)
    snapshot = None
    while (command := ours.oracle()) is not None:
        assert theirs.oracle() == command
        snapshot = theirs.snapshot()
        outcome = ours.step(command)
        assert theirs.step(command) == outcome
    assert outcome[1:4] == (1.0, True, False)
    assert snapshot is not None
    theirs.restore(snapshot)
    assert theirs.step("move pan 1 to fridge 1") == outcome
    assert sys.argv == arguments


def test_a_missing_official_engine_is_named_with_its_remedy(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textworld", None)
    with pytest.raises(official.MissingOfficialEngineError, match=r'pip install "sdar-gym\[alfworld\]"'):
        OfficialEngine(kitchen.game())


class OneGame:
    """A source of one game."""

    splits = ("train",)

    def __init__(self, game: GameFile) -> None:
        self._game = game

    def task_ids(self, split: str) -> tuple[str, ...]:
        return ("train/0",)

    def load(self, task_id: str) -> GameFile:
        return self._game
