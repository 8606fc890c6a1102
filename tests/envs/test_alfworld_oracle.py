"""The oracle: it wins every type of task, from the start and from wherever a random walk has led."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from sdar_gym.envs.alfworld.engine import Game, NativeEngine, compile_game
from sdar_gym.envs.alfworld.game_file import GameFile
from sdar_gym.envs.alfworld.oracle import next_command

from .conftest import GOALS

if TYPE_CHECKING:
    from .conftest import Kitchen

# No more is ever needed: free the hand (3), twice fetch (3), treat (2) and put (3).
LIMIT = 20


def follow(game: Game, engine: NativeEngine) -> list[str]:
    """The oracle's commands to the end, each of which must be admissible."""
    commands: list[str] = []
    while (command := next_command(game, engine.state)) is not None and len(commands) < LIMIT:
        reply = engine.step(command)
        assert reply.understood, command
        commands.append(command)
    return commands


@pytest.mark.parametrize("task_type", GOALS)
def test_every_task_type_is_recognised_and_won(kitchen: Kitchen, task_type: str) -> None:
    game = compile_game(kitchen.game(GOALS[task_type]))
    assert game.compiled.goal.task_type == task_type
    engine = NativeEngine(game)
    commands = follow(game, engine)
    assert game.is_won(engine.state)
    assert len(commands) <= 9


def test_what_is_in_the_hand_is_put_down_first(kitchen: Kitchen) -> None:
    game = compile_game(kitchen.game(GOALS["pick_clean_then_place_in_recep"]))
    engine = NativeEngine(game)
    for command in ("go to diningtable 1", "take bread 1 from diningtable 1"):
        engine.step(command)
    assert follow(game, engine)[:2] == ["move bread 1 to diningtable 1", "take mug 1 from diningtable 1"]
    assert game.is_won(engine.state)


def test_what_is_placed_untreated_is_fetched_again(kitchen: Kitchen) -> None:
    game = compile_game(kitchen.game(GOALS["pick_heat_then_place_in_recep"]))
    engine = NativeEngine(game)
    engine.step("go to diningtable 1")  # where an unheated mug stands already
    assert follow(game, engine) == [
        "take mug 1 from diningtable 1",
        "heat mug 1 with microwave 1",
        "move mug 1 to diningtable 1",
    ]


def test_what_is_treated_already_is_preferred(kitchen: Kitchen) -> None:
    game = compile_game(kitchen.game(GOALS["pick_cool_then_place_in_recep"]))
    assert follow(game, NativeEngine(game)) == [  # the cool mug in the closed fridge, not the one on the table
        "go to fridge 1",
        "open fridge 1",
        "take mug 2 from fridge 1",
        "go to sinkbasin 1",
        "move mug 2 to sinkbasin 1",
    ]


def test_a_toggled_lamp_is_used_once_more_only_if_it_must_be(kitchen: Kitchen) -> None:
    game = compile_game(kitchen.game(GOALS["look_at_obj_in_light"]))
    engine = NativeEngine(game)
    for command in ("go to diningtable 1", "use desklamp 1"):
        engine.step(command)
    assert follow(game, engine)[-1] == "go to diningtable 1"
    assert game.is_won(engine.state)


def test_it_says_none_where_nothing_helps(kitchen: Kitchen) -> None:
    engine = NativeEngine(game := compile_game(kitchen.game()))
    for command in ("go to diningtable 1", "take statue 1 from diningtable 1"):  # no receptacle takes the statue
        engine.step(command)
    assert next_command(game, engine.state) is None


@pytest.mark.parametrize("task_type", GOALS)
def test_it_wins_from_any_state(kitchen: Kitchen, task_type: str) -> None:
    game = compile_game(kitchen.game(GOALS[task_type]))
    for seed in range(60):
        assert _wins_after_a_walk(game, random.Random(seed)), seed


@pytest.mark.data
def test_it_wins_real_games_from_any_state(real_games: list[GameFile]) -> None:
    for file in real_games:
        game = compile_game(file)
        assert follow(game, engine := NativeEngine(game))
        assert game.is_won(engine.state)
        for seed in range(20):
            assert _wins_after_a_walk(game, random.Random(seed)), (file.origin, seed)


def _wins_after_a_walk(game: Game, generator: random.Random) -> bool:
    engine = NativeEngine(game)
    reply = engine.reset()
    for _ in range(generator.randrange(1, 40)):
        reply = engine.step(generator.choice(reply.admissible))
    held = engine.state.held
    if held >= 0 and not any(accepted >> held & 1 for accepted in game.tables.accepts):
        return True  # a dead end: nothing takes what is in the hand
    follow(game, engine)
    return game.is_won(engine.state)
