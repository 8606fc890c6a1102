"""The text-only demonstrator: it wins, and what it knows of the household is worth a lot. That gap makes a teacher."""

from __future__ import annotations

import itertools

import pytest

from sdar_gym.envs.alfworld.engine import NativeEngine, compile_game
from sdar_gym.envs.alfworld.explorer import Explorer, Goal, read_task
from sdar_gym.envs.alfworld.household import HOUSEHOLD, Household
from sdar_gym.envs.alfworld.kitchen import TASK_TYPES
from sdar_gym.envs.alfworld.mini import MiniGames

LIMIT = 14
LIMIT_OF_SEARCH = 80


def turns_to_win(games: MiniGames, task_id: str, explorer: Explorer, *, is_noisy: bool = False) -> int:
    engine = NativeEngine(compile_game(games.load(task_id)))
    observation = engine.reset().text
    explorer.begin(games.scenario(task_id).sentence + ".", observation)
    for turn in itertools.count(1):
        reply = engine.step(explorer.act(observation))
        assert reply.understood or is_noisy, (task_id, observation)
        if reply.won:
            return turn
        assert turn < LIMIT_OF_SEARCH, f"{task_id} is never solved"
        observation = reply.text
    raise AssertionError("unreachable")


@pytest.fixture(scope="module")
def turns() -> dict[str, list[int]]:
    games = MiniGames()
    ids = games.task_ids("valid")[:120]
    return {
        "with": [turns_to_win(games, id, Explorer(HOUSEHOLD)) for id in ids],
        "without": [turns_to_win(games, id, Explorer(None)) for id in ids],
    }


def test_knowing_the_household_raises_success_within_the_limit_by_more_than_two_fifths(
    turns: dict[str, list[int]],
) -> None:
    success = {name: sum(turn <= LIMIT for turn in found) / len(found) for name, found in turns.items()}
    assert success["with"] - success["without"] > 0.4
    assert success["with"] > 0.8
    # Not hopeless without: reinforcement learning needs a first success.
    assert 0.05 < success["without"] < 0.4


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_knowing_the_household_helps_with_every_task_type(turns: dict[str, list[int]], task_type: str) -> None:
    # Task types take turns, so every sixth task is of this one.
    first = TASK_TYPES.index(task_type)
    with_household, without = turns["with"][first::6], turns["without"][first::6]
    assert sum(turn <= LIMIT for turn in with_household) > sum(turn <= LIMIT for turn in without) + 5


def test_it_wins_however_wrong_its_beliefs_are() -> None:
    games = MiniGames()
    for seed, task_id in enumerate(games.task_ids("train")[:36]):
        assert turns_to_win(games, task_id, Explorer(Household.random(seed))) < LIMIT_OF_SEARCH


def test_it_wins_with_noise_and_says_which_moves_were_noise() -> None:
    games = MiniGames()
    for seed, task_id in enumerate(games.task_ids("train")[:24]):
        turns_to_win(games, task_id, Explorer(HOUSEHOLD, seed, noise=0.3), is_noisy=True)
    explorer = Explorer(HOUSEHOLD, noise=1.0)
    explorer.begin("put a mug in shelf.", "you see a cabinet 2, and a shelf 1.")
    explorer.act("you see a cabinet 2, and a shelf 1.")
    assert explorer.was_noise


def test_the_same_seed_makes_the_same_moves() -> None:
    def moves(seed: int) -> list[str]:
        explorer = Explorer(None, seed, sweep="shuffled", noise=0.2)
        explorer.begin("put a mug in shelf.", "you see a cabinet 2, a cabinet 1, a drawer 1, and a shelf 1.")
        return [explorer.act("Nothing happens.") for _ in range(6)]

    assert moves(4) == moves(4)
    assert len({tuple(moves(seed)) for seed in range(8)}) > 1


def test_with_a_household_it_looks_where_the_thing_is_kept_first() -> None:
    opening = "you see a cabinet 3, a cabinet 2, a cabinet 1, a countertop 1, a shelf 1, and a sidetable 1."
    explorer = Explorer(HOUSEHOLD)
    explorer.begin("heat some mug and put it in sidetable.", opening)
    answers = [
        ("", "go to cabinet 2"),
        ("You arrive at cabinet 2. The cabinet 2 is closed.", "open cabinet 2"),
        ("You open the cabinet 2. The cabinet 2 is open. In it, you see nothing.", "go to countertop 1"),
        (
            "You arrive at countertop 1. On the countertop 1, you see a pan 1, and a mug 1.",
            "take mug 1 from countertop 1",
        ),
        ("You pick up the mug 1 from the countertop 1.", "go to microwave 1"),
        ("You arrive at microwave 1. The microwave 1 is closed.", "heat mug 1 with microwave 1"),
        ("You heat the mug 1 using the microwave 1.", "go to sidetable 1"),
        ("You arrive at sidetable 1. On the sidetable 1, you see a apple 1.", "move mug 1 to sidetable 1"),
    ]
    for observation, action in answers:
        assert explorer.act(observation or opening) == action


def test_without_a_household_it_sweeps_in_the_order_of_the_list() -> None:
    opening = "you see a cabinet 3, a countertop 1, and a shelf 1."
    explorer = Explorer(None)
    explorer.begin("put a mug in shelf.", opening)
    closed, empty = "The cabinet 3 is closed.", "The cabinet 3 is open. In it, you see nothing."
    moves = [explorer.act(text) for text in (opening, closed, empty)]
    assert moves == ["go to cabinet 3", "open cabinet 3", "go to countertop 1"]


@pytest.mark.parametrize(
    ("task", "goal"),
    [
        ("put a mug in shelf.", Goal("mug", "shelf", None, 1)),
        ("put some mug on shelf.", Goal("mug", "shelf", None, 1)),
        ("put a hot mug in fridge.", Goal("mug", "fridge", "heat", 1)),
        ("heat some mug and put it in fridge.", Goal("mug", "fridge", "heat", 1)),
        ("put a cool mug in microwave.", Goal("mug", "microwave", "cool", 1)),
        ("cool some mug and put it in microwave.", Goal("mug", "microwave", "cool", 1)),
        ("put a clean mug in shelf.", Goal("mug", "shelf", "clean", 1)),
        ("Your task is to: clean some mug and put it in shelf.", Goal("mug", "shelf", "clean", 1)),
        ("put two mug in shelf.", Goal("mug", "shelf", None, 2)),
        ("find two mug and put them in shelf.", Goal("mug", "shelf", None, 2)),
        ("look at mug under the desklamp.", Goal("mug", "desklamp", None, 1)),
        ("examine the mug with the desklamp.", Goal("mug", "desklamp", None, 1)),
    ],
)
def test_every_wording_of_a_task_is_read(task: str, goal: Goal) -> None:
    assert read_task(task) == goal


def test_what_it_cannot_read_is_an_error() -> None:
    with pytest.raises(ValueError, match="put a hot mug in fridge"):
        read_task("dance.")
    with pytest.raises(ValueError, match="lists no place"):
        Explorer(None).begin("put a mug in shelf.", "You see nothing.")
    with pytest.raises(RuntimeError, match="call begin"):
        Explorer(None).act("You see nothing.")
    with pytest.raises(ValueError, match="did you mean 'listed'"):
        Explorer(None, sweep="list")  # type: ignore[arg-type]
