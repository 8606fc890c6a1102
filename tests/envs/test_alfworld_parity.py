"""Our engine against the official one, command by command: real games, and a kitchen full of its quirks."""

from __future__ import annotations

import importlib.resources
import random
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sdar_gym.envs.alfworld import official
from sdar_gym.envs.alfworld.engine import NativeEngine, Reply, compile_game
from sdar_gym.envs.alfworld.env import HouseholdEnv
from sdar_gym.envs.alfworld.folder import GameFolder
from sdar_gym.envs.alfworld.game_file import GameFile
from sdar_gym.envs.alfworld.official import OfficialEngine, is_installed
from sdar_gym.envs.alfworld.parity import Difference, compare_games, compare_walk, draw_commands, explain, spread

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
    differences = [compare_walk(game, random.Random(number), 8) for number, game in enumerate(real_games)]
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
@pytest.mark.data
@pytest.mark.parametrize(
    "variant", ["wheel's logic", "put in/on", "own words", "one place", "states", "things in things", "lower"]
)
def test_variants_of_a_real_game_are_answered_as_by_the_official_engine(
    variant: str, real_games: list[GameFile]
) -> None:
    assert compare_walk(varied(real_games[2], variant), random.Random(variant), 10) is None


@needs_official
def test_a_walk_reaches_the_goal_and_goes_on(kitchen: Kitchen) -> None:
    # The pan lies on stoveburner 2 and is wanted in the fridge.
    walkthrough = ("go to stoveburner 2", "take pan 1 from stoveburner 2", "go to fridge 1", "open fridge 1")
    game = replace(kitchen.game(), walkthrough=(*walkthrough, "move pan 1 to fridge 1"))
    won_at = []
    for seed in range(40):
        native = NativeEngine(compile_game(game))
        native.reset()
        wins = [native.step(command).won for command in draw_commands(native, game, random.Random(seed), 30)]
        assert len(wins) == 30
        won_at.append(wins.index(True) if True in wins else 30)
    # Half of the walks are made to win, with eight commands to spare.
    assert sum(turn < 30 - 8 for turn in won_at) > 12
    assert len(set(won_at)) > 5


def test_walks_hold_admissible_commands_others_and_nonsense(kitchen: Kitchen) -> None:
    game = kitchen.game()
    understood, other = 0, set()
    for seed in range(30):
        native = NativeEngine(compile_game(game))
        native.reset()
        for command in draw_commands(native, game, random.Random(seed), 30):
            reply = native.step(command)
            understood += reply.understood
            if not reply.understood:
                other.add(command)
    assert 0.6 < understood / 900 < 0.95
    assert max(map(len, other)) >= 100_000
    assert any("\x00" in command for command in other)
    # Admissible elsewhere, and nearly right.
    assert "open fridge 1" in other
    assert {command for command in other if command.lower().strip(".") == "open microwave 1"}


def test_every_game_is_drawn_once_before_any_twice_whatever_the_file_system_says(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = [f"{split}/{kind}-{scene}/trial" for split in ("train", "valid_seen") for kind in "ab" for scene in "123"]
    for name in names:
        (tmp_path / name).mkdir(parents=True)
        kitchen.game().write(tmp_path / name / "game.tw-pddl")
    order = spread(GameFolder(tmp_path), 3)
    assert sorted(order) == sorted(names)
    # Two splits of two types each take turns.
    heads = [name.partition("-")[0] for name in order]
    assert sorted(heads[:4]) == ["train/a", "train/b", "valid_seen/a", "valid_seen/b"]
    assert heads[:4] == heads[4:8] == heads[8:]
    assert spread(GameFolder(tmp_path), 4) != order
    listed = GameFolder.task_ids
    monkeypatch.setattr(GameFolder, "task_ids", lambda games, split: tuple(reversed(listed(games, split))))
    assert spread(GameFolder(tmp_path), 3) == order


@needs_official
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Statue_bar_1", "St_minus_atue_bar_1"),
        ("Statue_bar_1", "St\u00e4tue_bar_1"),
        ("(:domain alfred)", "(:domain other)"),
        ("(= (total-cost) 0)", "(= (total-cost) 0.5)"),
        ("(atLocation agent1 start)", ""),
        ("(pickupable Pan_bar_1)", "(pickupable Pot_bar_1)"),
        ("(:goal (and", "(:goal (xor"),
    ],
)
def test_what_the_official_engine_refuses_is_refused(kitchen: Kitchen, old: str, new: str, tmp_path: Path) -> None:
    problem = kitchen.problem()
    assert old in problem
    path = tmp_path / "game.tw-pddl"
    replace(kitchen.game(), pddl_problem=problem.replace(old, new)).write(path)
    ((result,),) = compare_games(GameFolder(path), walks=1, seed=0)
    assert result.difference is None
    assert result.refusal is not None
    assert f"native: {path}, pddl_problem" in result.refusal
    assert "the official engine refuses it" in result.refusal


@needs_official
def test_a_game_that_only_one_engine_refuses_is_a_difference(kitchen: Kitchen, tmp_path: Path) -> None:
    path = tmp_path / "game.tw-pddl"
    kitchen.game(more_facts="(holdsAny agent1) (holds agent1 Spoon_bar_1)").write(path)
    ((result,),) = compare_games(GameFolder(path), walks=3, seed=0)
    assert result.difference is not None
    assert (result.difference.field, result.difference.official) == ("refused", "plays it")
    assert "empty hand" in explain(result.difference)


@needs_official
def test_an_official_engine_that_raises_is_a_difference(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def failing(engine: OfficialEngine, command: str) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(OfficialEngine, "step", failing)
    path = tmp_path / "game.tw-pddl"
    kitchen.game().write(path)
    ((result,),) = compare_games(GameFolder(path), walks=1, seed=0)
    assert result.difference is not None
    assert (result.difference.turn, result.difference.field) == (1, "raised")
    assert result.difference.official == "raised IndexError('list index out of range')"


@needs_official
def test_the_score_is_compared(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    right = OfficialEngine.step

    def half_right(engine: OfficialEngine, command: str) -> Reply:
        reply = right(engine, command)
        engine.score = 0.5
        return reply

    assert compare_walk(kitchen.game(), ["look"], 1) is None
    monkeypatch.setattr(OfficialEngine, "step", half_right)
    difference = compare_walk(kitchen.game(), ["look"], 1)
    assert difference == Difference(1, ("look",), "score", 0.0, 0.5)


@needs_official
@pytest.mark.slow
def test_what_is_compared_does_not_depend_on_the_number_of_processes(kitchen: Kitchen, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        kitchen.game().write(tmp_path / name / "game.tw-pddl")
    one, two = (list(compare_games(GameFolder(tmp_path), walks=4, seed=1, steps=3, jobs=jobs)) for jobs in (1, 2))
    assert one == two
    assert [len(results) for results in one] == [2, 1, 1]


def test_a_long_text_is_shown_around_its_first_difference() -> None:
    ours, theirs = "a" * 500 + "b" + "c" * 500, "a" * 500 + "d" + "c" * 500
    shown = explain(Difference(1, ("look",), "text", ours, theirs))
    assert "after command 1, 'look': text differs from character 501 on" in shown
    # A quarter of the window lies before it.
    assert f"native:   ... '{'a' * 40}b{'c' * 119}' ..." in shown
    lists = explain(Difference(0, (), "admissible", ("help", "look"), ("help", "inventory", "look")))
    assert "native:   []" in lists
    assert "official: ['inventory']" in lists
    order = explain(Difference(0, (), "admissible", ("help", "look"), ("look", "help")))
    assert "in order or repetition from entry 1 on" in order


def varied(game: GameFile, variant: str) -> GameFile:
    """A game as other grammars, domains or kitchens would have it."""
    problem = game.pddl_problem
    things = re.findall(r"\(pickupable (\S+)\)", problem)
    if variant == "wheel's logic":
        folder = Path(str(importlib.resources.files("alfworld"))) / "data"
        task = re.search(r"Your task is to: [^\"]*", game.grammar)
        assert task is not None
        grammar = (folder / "alfred.twl2").read_text(encoding="utf-8")
        grammar = grammar.replace("Your task is to: UNKNOWN GOAL.", task[0])
        return replace(game, grammar=grammar, pddl_domain=(folder / "alfred.pddl").read_text(encoding="utf-8"))
    if variant == "put in/on":
        grammar = game.grammar.replace("move {o} to {r}", "put {o} in/on {r}")
        walkthrough = tuple(re.sub(r"^move (.*) to ", r"put \1 in/on ", command) for command in game.walkthrough)
        return replace(game, grammar=grammar, walkthrough=walkthrough)
    if variant == "own words":
        # As JSON has it: quotes, a tab, a backslash before an n.
        task = r"Your task is to: \"clean\"\t\\n#empty#\tit… or; nothing"
        grammar = re.sub(r"Your task is to: [^\"]*", lambda _: task, game.grammar)
        return replace(game, grammar=grammar + '\ngrammar :: """ {"empty": [{"rhs": "\\\\n"}]} """;')
    if variant == "one place":
        place = re.findall(r"\(receptacleAtLocation \S+ (\S+)\)", problem)[0]
        return replace(game, pddl_problem=re.sub(r"(\(receptacleAtLocation \S+) \S+\)", rf"\1 {place})", problem))
    if variant == "lower":
        return replace(game, pddl_problem=problem.lower())
    if variant == "states":
        words = ("isHot", "isCool", "isClean", "isSliced", "isToggled", "isOn")
        facts = [f"({words[number % 6]} {thing})" for number, thing in enumerate(things)]
        facts += [f"(opened {name})" for name in re.findall(r"\(openable (\S+)\)", problem)[::2]]
    else:
        facts = [f"(isReceptacleObject {thing})" for thing in things[:5]]
        facts += [f"(inReceptacleObject {inner} {outer})" for inner, outer in zip(things[1:], things, strict=False)]
    return replace(game, pddl_problem=problem.replace("(:init", f"(:init {' '.join(facts)}", 1))


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
