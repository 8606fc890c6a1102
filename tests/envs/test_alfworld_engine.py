"""The rules, on a kitchen written by hand: every expected line is derived from its facts."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from sdar_gym.envs.alfworld.engine import NOTHING, Game, NativeEngine, Reply, compile_game
from sdar_gym.envs.alfworld.game import shown_names
from sdar_gym.envs.alfworld.rooms.games import RoomGames

if TYPE_CHECKING:
    from .conftest import Kitchen


def play(engine: NativeEngine, *commands: str) -> Reply:
    for command in commands:
        reply = engine.step(command)
    return reply


@pytest.fixture
def engine(kitchen: Kitchen) -> NativeEngine:
    return NativeEngine(compile_game(kitchen.game()))


def test_the_start_admits_going_anywhere_and_nothing_at_hand(engine: NativeEngine) -> None:
    places = ("diningtable 1", "fridge 1", "microwave 1", "sinkbasin 1", "stoveburner 1", "stoveburner 2")
    assert engine.reset().admissible == (*(f"go to {place}" for place in places), "help", "inventory", "look")


def test_things_of_one_name_are_numbered_downwards_and_basins_have_a_name_of_their_own() -> None:
    ids = sorted(["mug_bar_1", "mug_bar_2", "sink_bar_1", "sink_bar_1_bar_sinkbasin", "agent1"])
    assert shown_names(ids) == {
        "mug_bar_1": "mug 2",
        "mug_bar_2": "mug 1",
        "sink_bar_1": "sink 1",
        "sink_bar_1_bar_sinkbasin": "sinkbasin 1",
        "agent1": "agent1 ",
    }


def test_a_closed_receptacle_hides_what_is_in_it_until_it_is_opened(engine: NativeEngine) -> None:
    arrival = play(engine, "go to fridge 1")
    assert arrival.text == "You arrive at fridge 1. The fridge 1 is closed."
    assert "take mug 2 from fridge 1" not in arrival.admissible
    opened = play(engine, "open fridge 1")
    assert opened.text == "You open the fridge 1. The fridge 1 is open. In it, you see a mug 2."
    assert "take mug 2 from fridge 1" in opened.admissible
    assert "close fridge 1" in opened.admissible
    assert "open fridge 1" not in opened.admissible


def test_one_hand_holds_one_thing(engine: NativeEngine) -> None:
    held = play(engine, "go to diningtable 1", "take knife 1 from diningtable 1")
    assert not [command for command in held.admissible if command.startswith("take")]
    assert "move knife 1 to diningtable 1" in held.admissible
    assert play(engine, "take bread 1 from diningtable 1").text == NOTHING
    assert play(engine, "inventory").text == "You are carrying: a knife 1."


def test_places_that_share_a_location_are_at_hand_together_and_not_to_be_gone_to(engine: NativeEngine) -> None:
    there = play(engine, "go to stoveburner 1")
    assert {"examine stoveburner 1", "examine stoveburner 2", "take pan 1 from stoveburner 2"} <= set(there.admissible)
    assert not [command for command in there.admissible if command.startswith("go to stoveburner")]


def test_a_closed_microwave_heats_but_takes_nothing(engine: NativeEngine) -> None:
    held = play(engine, "go to microwave 1", "take bread 1 from diningtable 1")
    assert "heat bread 1 with microwave 1" in held.admissible
    assert "move bread 1 to microwave 1" not in held.admissible


def test_heat_and_cold_drive_each_other_out(engine: NativeEngine) -> None:
    play(engine, "go to fridge 1", "open fridge 1", "take mug 2 from fridge 1")
    assert play(engine, "examine mug 2").text == "This is a cold mug 2."
    play(engine, "go to microwave 1", "heat mug 2 with microwave 1")
    assert (engine.state.hot.bit_count(), engine.state.cool) == (1, 0)
    assert play(engine, "examine mug 2").text == "This is a hot mug 2."
    play(engine, "go to fridge 1", "cool mug 2 with fridge 1")
    assert (engine.state.hot, engine.state.cool.bit_count()) == (0, 1)


def test_a_thing_is_examined_only_in_the_hand(engine: NativeEngine) -> None:
    assert play(engine, "go to diningtable 1", "examine bread 1").text == NOTHING
    assert play(engine, "take bread 1 from diningtable 1", "examine bread 1").understood


def test_a_knife_slices_what_lies_at_the_same_place(engine: NativeEngine) -> None:
    there = play(engine, "go to diningtable 1", "take knife 1 from diningtable 1")
    assert "slice bread 1 with knife 1" in there.admissible
    assert play(engine, "slice bread 1 with knife 1").text == "You sliced the bread 1 with the knife 1."
    assert "slice bread 1 with knife 1" not in play(engine, "go to fridge 1").admissible


def test_what_was_carried_off_is_no_longer_sliced(engine: NativeEngine) -> None:
    with_bread = play(engine, "go to diningtable 1", "take knife 1 from diningtable 1")
    play(engine, "move knife 1 to diningtable 1", "take bread 1 from diningtable 1", "go to fridge 1", "open fridge 1")
    without = play(engine, "move bread 1 to fridge 1", "go to diningtable 1", "take knife 1 from diningtable 1")
    assert set(with_bread.admissible) - set(without.admissible) == {"slice bread 1 with knife 1"}


def test_every_admissible_command_is_understood_and_no_other_is(engine: NativeEngine) -> None:
    generator = random.Random(0)
    reply, seen = engine.reset(), set[str]()
    for _ in range(150):
        seen.update(reply.admissible)
        for command in sorted(seen):
            fork = engine.fork()
            assert fork.step(command).understood == (command in reply.admissible), command
        reply = engine.step(generator.choice(reply.admissible))
    assert len(seen) > 40


def test_a_fork_leaves_the_original_as_it_was(engine: NativeEngine) -> None:
    play(engine, "go to diningtable 1")
    before = engine.state.copy()
    play(engine.fork(), "take mug 1 from diningtable 1", "go to sinkbasin 1", "clean mug 1 with sinkbasin 1")
    assert engine.state == before


def test_spaces_at_the_ends_are_forgiven_and_case_is_not(engine: NativeEngine) -> None:
    assert play(engine, "  look\n").understood
    assert not play(engine, "Look").understood


def test_what_is_kept_for_speed_never_changes_an_answer(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    def answers() -> list[Reply]:
        generator, engine = random.Random(1), NativeEngine(compile_game(kitchen.game()))
        replies = [engine.reset()]
        for _ in range(400):
            replies.append(engine.step(generator.choice(replies[-1].admissible)))
        return replies

    kept = answers()
    # With room for one entry, everything is worked out anew.
    monkeypatch.setattr("sdar_gym.envs.alfworld.engine._KEPT_CHOICES", 1)
    monkeypatch.setattr("sdar_gym.envs.alfworld.engine._KEPT_ANSWERS", 1)
    assert answers() == kept


@pytest.mark.parametrize("task_id", ["train/000003", "train/000010", "valid/000021"])
def test_what_is_kept_is_what_would_be_said_anew(task_id: str) -> None:
    # Burners and other receptacles that share a place make `look` depend on what was taken from where.
    engine = NativeEngine(compile_game(RoomGames(rooms=("kitchen",)).load(task_id)))
    generator = random.Random(task_id)
    for _ in range(8):
        admissible = engine.reset().admissible
        for _ in range(60):
            local = [command for command in admissible if not command.startswith("go to")]
            command = generator.choice(local if generator.random() < 0.7 else admissible)
            fresh = NativeEngine(Game(engine.game.compiled))
            fresh.go_to(engine.state)
            reply = engine.step(command)
            assert fresh.step(command) == reply
            admissible = reply.admissible


def test_look_depends_on_what_lies_here_and_on_nothing_elsewhere(kitchen: Kitchen) -> None:
    engine = NativeEngine(compile_game(kitchen.game()))

    def texts(*commands: str) -> list[str]:
        replies = [engine.step(command) for command in commands]
        assert all(reply.understood for reply in replies)
        return [reply.text for reply in replies]

    table = texts("go to diningtable 1", "take spoon 1 from diningtable 1", "look")[-1]
    facing = "You are facing the stoveburner 2, and stoveburner 1. Next to it, you see "
    moved = ["take pan 1 from stoveburner 2", "look", "move pan 1 to stoveburner 1", "look"]
    texts("move spoon 1 to diningtable 1", "go to stoveburner 1")
    # What is moved between burners of one place counts as lying beside the one that it was taken from.
    assert texts("look", *moved)[::2] == [f"{facing}nothing.", f"{facing}nothing.", f"{facing}a pan 1."]
    texts("go to diningtable 1", "take spoon 1 from diningtable 1")
    kept = len(engine.game._answers)
    # At the table all is as it was; what was said then is said again.
    assert texts("look") == [table]
    assert len(engine.game._answers) == kept
