"""Game files that are broken or hostile: refused with the file and the place named, and nothing in them is run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sdar_gym.envs.alfworld.engine import NativeEngine, compile_game
from sdar_gym.envs.alfworld.game_file import GameFileError, read_game_file

from .conftest import GOALS, TWO

if TYPE_CHECKING:
    from .conftest import Kitchen


def test_a_game_is_read_as_it_was_written(kitchen: Kitchen, tmp_path: Path) -> None:
    game = replace(kitchen.game(), walkthrough=("look", "help"))
    game.write(tmp_path / "game.tw-pddl")
    assert read_game_file(tmp_path / "game.tw-pddl") == game


def test_a_file_cut_short_is_refused_with_its_line(kitchen: Kitchen, tmp_path: Path) -> None:
    path = tmp_path / "game.tw-pddl"
    kitchen.game().write(path)
    path.write_text(path.read_text(encoding="utf-8")[:-500], encoding="utf-8")
    with pytest.raises(GameFileError, match=rf"{path}, line 1, column \d+: .*cut short"):
        read_game_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds a JSON list, not an object"),
        ('{"grammar": "", "pddl_problem": ""}', "has no key 'pddl_domain'; found: grammar, pddl_problem"),
        ('{"grammar": 3, "pddl_problem": "", "pddl_domain": ""}', "key 'grammar': a int where a text belongs"),
        ('{"grammar": "", "pddl_problem": "", "pddl_domain": "", "walkthrough": [1]}', "key 'walkthrough'"),
        ('{"grammar": "", "pddl_problem": "", "pddl_domain": "", "solvable": "yes"}', "key 'solvable'"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "game.tw-pddl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(GameFileError, match=str(path)) as caught:
        read_game_file(path)
    assert message in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GameFileError, match="nowhere cannot be read"):
        read_game_file(tmp_path / "nowhere")
    (tmp_path / "noise").write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(GameFileError, match="byte 7 is not UTF-8"):
        read_game_file(tmp_path / "noise")


def test_a_game_that_does_not_say_it_is_solvable_counts_as_unsolvable(tmp_path: Path) -> None:
    content = {"pddl_domain": "", "grammar": "", "pddl_problem": ""}
    (tmp_path / "game").write_text(json.dumps(content), encoding="utf-8")
    assert not read_game_file(tmp_path / "game").solvable


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(:goal", "(:gaol", "it has 0 parts :goal; one belongs here"),
        ("(define", "define)", "a ')' too many, in line 1"),
        ("(:metric minimize (total-cost)))", "", "1 ')' missing at the end"),
        ("(isCool Mug_bar_1)", "(isCool Cup_bar_9)", "names 'cup_bar_9', which :objects does not declare"),
        ("(isCool Mug_bar_1)", "(isCool FridgeType)", "is of types ('rtype',)"),
        ("(isCool Mug_bar_1)", "(not (isCool Mug_bar_1))", "is no plain fact"),
        ("(atLocation agent1 start)", "", "0 facts atLocation; one belongs there"),
        ("(isCool Mug_bar_1)", "(holds agent1 Pan_bar_1)", "starts with an empty hand"),
        ("(isCool Mug_bar_1)", "(receptacleAtLocation Fridge_bar_1 start)", "holds for more than one location"),
        ("agent1 - agent", "agent1 agent1 - agent", "'agent1' is declared twice"),
        ("agent1 - agent", "- agent", "without a name before and a type after"),
        ("StatueType - otype", "StatueType", "'pantype' has no type"),
        ("(:goal (and", f"(:goal {'(and ' * 5000}{')' * 5000} (and", "nested more than 100 deep"),
    ],
)
def test_a_broken_problem_is_refused_with_its_place(kitchen: Kitchen, old: str, new: str, message: str) -> None:
    problem = kitchen.problem()
    assert old in problem
    game = replace(kitchen.game(), pddl_problem=problem.replace(old, new, 1))
    with pytest.raises(GameFileError, match=rf"^kitchen, pddl_problem.*{re.escape(message)}"):
        compile_game(game)


@pytest.mark.parametrize(
    "goal",
    [
        "(or (isClean Pan_bar_1))",
        "(and (exists (?o - object) (isClean ?o)))",
        GOALS["pick_and_place_simple"].replace("inReceptacle", "wasInReceptacle"),
        TWO.format(thing="MugType", place="SinkBasinType").replace("(not (= ?o1 ?o2))", ""),
        "(forall (?o - object) (isClean ?o))",
        "()",
    ],
)
def test_another_goal_is_refused_and_not_guessed(kitchen: Kitchen, goal: str) -> None:
    with pytest.raises(GameFileError, match=r"^kitchen, pddl_problem, :goal: "):
        compile_game(kitchen.game(goal))


def test_a_goal_is_recognised_whatever_the_order_of_its_parts(kitchen: Kitchen) -> None:
    goal = """(exists (?x - object ?where - receptacle) (and (and (receptacleType ?where FridgeType) (isHot ?x))
        (inReceptacle ?x ?where) (heatable ?x) (objectType ?x MugType)))"""
    assert compile_game(kitchen.game(goal)).compiled.goal.task_type == "pick_heat_then_place_in_recep"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(not (opened ?r))", "(opened ?r)", ":action openobject, :precondition"),
        ("(isClean ?o)", "(isClean ?o) (isHot ?o)", ":action cleanobject, :effect"),
        (":action look", ":action stare", ":action stare: not one of ALFRED's"),
        ("?l - location, ?r", "?l - location ?r", ":action examineobject, :precondition"),
        ("rtype", "sort", ":types"),
    ],
)
def test_another_domain_is_refused_with_its_place(kitchen: Kitchen, old: str, new: str, message: str) -> None:
    game = kitchen.game()
    assert old in game.pddl_domain
    with pytest.raises(GameFileError, match=f"^kitchen, pddl_domain, {message}"):
        compile_game(replace(game, pddl_domain=game.pddl_domain.replace(old, new)))


def test_the_domain_says_what_cleans(kitchen: Kitchen) -> None:
    game = kitchen.game()
    reordered = game.pddl_domain.replace("SinkBasinType", "FridgeType")
    assert reordered != game.pddl_domain
    compiled = compile_game(replace(game, pddl_domain=reordered))
    assert compiled.tables.cleaners == compiled.tables.coolers != 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("You open the {r.name}", "You open the {__import__('os').system('true')}", "the expression"),
        ("You open the {r.name}", "You open the {r.__class__}", "the expression"),
        ("You open the {r.name}", "You open the #nothing of the kind#", "no rule says what #nothing of the kind#"),
        ("You open the {r.name}", "#OpenObject.feedback#", "stands for itself"),
        ("You open the {r.name}", "You open <b>", "cannot be read from '<b>"),
        ("holdsany(a:agent)", "checked(r:receptacle)", "asks for checked"),
        ("holdsany(a:agent)", "holdsany(who:agent)", "names 'who:agent'"),
        ("holdsany(a:agent)", "holdsany(a:agent) | x", "no conjunction of facts"),
        ("action OpenObject", "action TakeObject", "action openobject has no template or no feedback"),
        ('"open {r}"', '"open {r} ', "cannot be read from"),
    ],
)
def test_a_grammar_is_never_run_and_what_cannot_be_read_is_named(
    kitchen: Kitchen, old: str, new: str, message: str
) -> None:
    game = kitchen.game()
    assert old in game.grammar
    with pytest.raises(GameFileError, match=f"^kitchen, grammar.*{message}"):
        compile_game(replace(game, grammar=game.grammar.replace(old, new)))


def test_a_sentence_that_names_an_unknown_thing_is_named_when_it_is_said(kitchen: Kitchen) -> None:
    game = kitchen.game()
    assert "look around your current location" in game.grammar
    grammar = game.grammar.replace("look around your current location", "look around {r.name}")
    with pytest.raises(GameFileError, match=r"^kitchen, grammar: a sentence names 'r'"):
        NativeEngine(compile_game(replace(game, grammar=grammar)))


def test_a_chain_of_symbols_may_not_be_endless(kitchen: Kitchen) -> None:
    chain = ", ".join(f'"s{number}": [{{"rhs": "#s{number + 1}#"}}]' for number in range(3000))
    game = kitchen.game()
    grammar = game.grammar.replace("Your task is to", "#s0# Your task is to") + f'\ngrammar :: """{{{chain}}}""";'
    with pytest.raises(GameFileError, match=r"^kitchen, grammar: 'task' leads through more than 100 symbols"):
        compile_game(replace(game, grammar=grammar))


def test_a_grammar_cut_short_is_refused(kitchen: Kitchen) -> None:
    game = kitchen.game()
    for length in (100, len(game.grammar) // 2, len(game.grammar) - 20):
        with pytest.raises(GameFileError, match=r"^kitchen, grammar"):
            compile_game(replace(game, grammar=game.grammar[:length]))


def test_a_grammar_may_word_things_otherwise(kitchen: Kitchen) -> None:
    game = kitchen.game()
    old = game.grammar.replace('"move {o} to {r}"', '"put {o} in/on {r}"')
    engine = NativeEngine(compile_game(replace(game, grammar=old)))
    for command in ("go to stoveburner 1", "take pan 1 from stoveburner 2", "put pan 1 in/on stoveburner 1"):
        assert engine.step(command).understood


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (
            "Put the “clean” mug … it's hot … away (2/3 full), 100%!",
            "Put the “clean” mug … it's hot … away (2/3 full), 100%!",
        ),
        ('Put a "clean" mug away', "Put a clean mug away"),
        ("Put a mug away; then rest", "Put a mug away"),
        ("Put a mug <away>", "Put a mug"),
        ("Put 1 | 2 mugs away", "Put 1"),
        ('Put a 5" mug away', "Put a 5"),
        ("Put mug # 1 away", "Put mug"),
        ("Put a\tmug\\naway", "Put a\tmug\\naway"),
    ],
)
def test_a_task_in_peoples_own_words_ends_where_the_official_reader_ends_it(
    kitchen: Kitchen, written: str, read: str
) -> None:
    game = kitchen.game()
    task = compile_game(game).compiled.task
    grammar = game.grammar.replace(task, json.dumps(written)[1:-1])
    assert compile_game(replace(game, grammar=grammar)).compiled.task == read
