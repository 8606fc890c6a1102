"""`sdar-gym parity`: what it prints and writes, and its exit codes."""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from sdar_agents.cli import main
from sdar_gym.envs.alfworld.engine import NativeEngine, Reply
from sdar_gym.envs.alfworld.mini import MiniGames
from sdar_gym.envs.alfworld.official import is_installed

needs_official = pytest.mark.skipif(not is_installed(), reason='needs the extra: pip install "sdar-gym[alfworld]"')


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three generated games: two of the split train, one of valid_seen."""
    root = tmp_path_factory.mktemp("games") / "json_2.1.1"
    for number, name in enumerate(("train/pick_a-1/trial_1", "train/pick_b-1/trial_1", "valid_seen/pick_a-2/trial_1")):
        (root / name).mkdir(parents=True)
        MiniGames().load(f"train/{number:06}").write(root / name / "game.tw-pddl")
    return root.parent


def exit_code(arguments: list[str]) -> int:
    try:
        main(["parity", *arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@needs_official
def test_equal_engines_exit_with_0_and_a_full_record(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "parity.json"
    options = ["--walks", "4", "--seed", "7", "--steps", "10", "--json", str(file)]
    assert exit_code(["alfworld", "--games", str(tree), *options]) == 0
    assert capsys.readouterr().out.startswith("0 differences in 4 walks (40 commands, ")
    result = json.loads(file.read_text(encoding="utf-8"))
    assert (result["differences"], result["walks"], result["commands"], result["games"]) == (0, 4, 40, 3)
    # Four walks over three games: each once, and one of them twice.
    assert {split: counts["games"] for split, counts in result["by_split"].items()} == {"train": 2, "valid_seen": 1}
    assert sum(counts["walks"] for counts in result["by_split"].values()) == 4
    assert sum(counts["walks"] for counts in result["by_task_type"].values()) == 4
    assert result["requested"] == {"walks": 4, "seed": 7, "steps": 10, "jobs": 1}
    assert result["seconds"] > 0
    assert not result["interrupted"]
    assert all(result["versions"][name] for name in ("sdar-gym", "textworld", "alfworld", "python"))


@needs_official
def test_a_wrong_answer_is_shown_with_both_texts_and_exits_with_1(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = NativeEngine.step

    def wrong(engine: NativeEngine, command: str) -> Reply:
        reply = right(engine, command)
        return reply if reply.understood else reply._replace(text="Nothing happened.")

    monkeypatch.setattr(NativeEngine, "step", wrong)
    file = tmp_path / "parity.json"
    assert exit_code(["alfworld", "--games", str(tree), "--walks", "1", "--seed", "2", "--json", str(file)]) == 1
    printed = capsys.readouterr().out
    assert "text differs from character 15 on" in printed
    assert "native:   'Nothing happened.'" in printed
    assert "official: 'Nothing happens.'" in printed
    assert "1 difference in 1 walk (" in printed
    (found,) = json.loads(file.read_text(encoding="utf-8"))["differing"]
    assert (found["field"], found["native"], found["official"]) == ("text", "Nothing happened.", "Nothing happens.")
    assert len(found["commands"]) == found["turn"]


@needs_official
def test_a_game_that_both_engines_refuse_is_named_and_counted(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, broken = tmp_path / "a_good-1", tmp_path / "b_broken-1"
    game = MiniGames().load("train/000000")
    for folder, content in ((good, None), (broken, "{")):
        folder.mkdir()
        game.write(folder / "game.tw-pddl")
        if content is not None:
            (folder / "game.tw-pddl").write_text(content, encoding="utf-8")
    assert exit_code(["alfworld", "--games", str(tmp_path), "--walks", "2", "--steps", "3"]) == 0
    printed = capsys.readouterr().out
    assert "all/b_broken-1: refused by both engines; native: " in printed
    assert "0 differences in 1 walk (3 commands, " in printed
    assert printed.endswith("1 game refused by both engines\n")
    # Nothing was compared: that is no agreement.
    assert exit_code(["alfworld", "--games", str(broken), "--walks", "1"]) == 2
    assert "nothing was compared" in capsys.readouterr().err


@needs_official
def test_stopping_tells_what_was_compared(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right, steps = NativeEngine.step, []

    def stopped(engine: NativeEngine, command: str) -> Reply:
        steps.append(command)
        if len(steps) > 5:
            raise KeyboardInterrupt
        return right(engine, command)

    monkeypatch.setattr(NativeEngine, "step", stopped)
    file = tmp_path / "parity.json"
    options = ["--walks", "3", "--steps", "4", "--json", str(file)]
    assert exit_code(["alfworld", "--games", str(tree), *options]) == 130
    assert "stopped early: 0 differences in 1 walk (4 commands, " in capsys.readouterr().out
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert (result["interrupted"], result["walks"]) == (True, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["alfworld", "--wlaks", "3"], "did you mean '--walks'"),
        (["alfworld", "--games", "{tree}", "--walks", "0"], "--walks must be at least 1, got 0"),
        (["alfworld", "--games", "{tree}", "--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["alfworld", "--games", "{tree}/nowhere"], "nowhere does not exist"),
        (["alfworld", "--games", "{tree}", "--json", "{tree}/no/file.json"], "its folder does not exist"),
        (["webshop", "--games", "{tree}"], "alfworld"),
    ],
)
def test_a_mistake_is_told_with_its_remedy_and_exits_with_2(
    arguments: list[str], said: str, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code([argument.replace("{tree}", str(tree)) for argument in arguments]) == 2
    assert said in capsys.readouterr().err


def test_an_archive_is_refused_with_the_command_that_unpacks_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "games.tar.xz"
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with tarfile.open(archive, "w:xz") as content:
        content.add(tmp_path / "file", "file")
    assert exit_code(["alfworld", "--games", str(archive)]) == 2
    assert f"sdar-gym data import {archive}" in capsys.readouterr().err


def test_without_the_official_packages_the_extra_is_named(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "textworld", None)
    assert exit_code(["alfworld", "--games", str(tree), "--walks", "1"]) == 2
    assert 'pip install "sdar-gym[alfworld]"' in capsys.readouterr().err
