"""Which games a folder holds: the order, the filters of the official loader, and what a setting may name."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sdar_gym.envs.alfworld import folder as folder_module
from sdar_gym.envs.alfworld.folder import (
    NUMBERED_TASK_TYPES,
    GameFolder,
    completeness,
    default_folder,
    find_games,
    task_type_names,
    task_type_of,
)
from sdar_gym.envs.alfworld.game_file import GameFileError
from sdar_gym.text_env import UnknownTaskError

from .conftest import GOALS

if TYPE_CHECKING:
    from .conftest import Kitchen


def put(kitchen: Kitchen, root: Path, place: str, task_type: str = "pick_and_place_simple") -> Path:
    """Write a game of a type to `root/place/game.tw-pddl`."""
    path = root / place / "game.tw-pddl"
    path.parent.mkdir(parents=True)
    kitchen.game(GOALS[task_type]).write(path)
    return path


@pytest.fixture
def tree(kitchen: Kitchen, tmp_path: Path) -> Path:
    """One game of each type in train, in folders that say nothing of it, and one in valid_seen."""
    for number, task_type in enumerate(GOALS):
        put(kitchen, tmp_path, f"json_2.1.1/train/task{number}/trial", task_type)
    put(kitchen, tmp_path, "json_2.1.1/valid_seen/task/trial")
    return tmp_path


def test_the_variable_goes_before_the_default_folder(
    tree: Path, kitchen: Kitchen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    put(kitchen, home, ".cache/alfworld/json_2.1.1/valid_unseen/a/b")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    assert default_folder() == home / ".cache/alfworld"
    assert find_games(None).splits == ("valid_unseen",)
    monkeypatch.setenv("ALFWORLD_DATA", str(tree))
    assert find_games(None).splits == ("train", "valid_seen")


def test_without_games_the_remedy_is_our_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    expected = "neither data nor ALFWORLD_DATA is set, and .*alfworld does not exist; `sdar-gym data download alfworld`"
    with pytest.raises(FileNotFoundError, match=expected):
        find_games(None)
    (tmp_path / ".cache" / "alfworld").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"is set, and no solvable game.tw-pddl below"):
        find_games(None)


def test_an_archive_beside_the_tree_is_not_taken_for_it(tree: Path) -> None:
    (tree / "json_2.1.3_tw-pddl.zip").write_bytes(b"whatever")
    assert find_games(tree).root == tree / "json_2.1.1"


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.xz", "tar.gz"])
def test_an_archive_as_data_names_the_import(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"games.{suffix}"
    if suffix == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", "b")
    else:
        with tarfile.open(path, f"w:{suffix.partition('.')[2]}") as archive:  # type: ignore[call-overload]
            archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    with pytest.raises(ValueError, match=f"is an archive; `sdar-gym data import {path}`"):
        find_games(path)


class Reversed:
    """`os.scandir`, in another order."""

    def __init__(self, path: str, scandir: Any) -> None:
        with scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name, reverse=True)
        self._entries = iter(found)

    def __enter__(self) -> Reversed:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Reversed:
        return self

    def __next__(self) -> os.DirEntry[str]:
        return next(self._entries)


def test_the_order_is_not_that_of_the_file_system(
    kitchen: Kitchen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b/2", "b/10", "a/3", "B/1", "b-1/1"):
        put(kitchen, tmp_path, f"train/{name}")
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: Reversed(str(path), scandir))
    assert [entry.name for entry in os.scandir(tmp_path / "train")] == ["b-1", "b", "a", "B"]
    ids = GameFolder(tmp_path).task_ids("train")
    assert ids == ("train/B/1", "train/a/3", "train/b-1/1", "train/b/10", "train/b/2")


def test_a_game_that_does_not_say_that_it_is_solvable_is_left_out(kitchen: Kitchen, tmp_path: Path) -> None:
    path = put(kitchen, tmp_path, "train/a/silent")
    content = json.loads(path.read_text())
    del content["solvable"]
    path.write_text(json.dumps(content))
    put(kitchen, tmp_path, "train/a/solvable")
    assert GameFolder(tmp_path).task_ids("train") == ("train/a/solvable",)


def test_a_game_added_to_a_split_is_seen(kitchen: Kitchen, tree: Path) -> None:
    games = find_games(tree)
    before = games.task_ids("valid_seen")
    put(kitchen, tree, "json_2.1.1/valid_seen/new task/trial")
    assert set(games.task_ids("valid_seen")) - set(before) == {"valid_seen/new task/trial"}


def test_task_types_are_those_of_the_goals_by_name_or_official_number(tree: Path) -> None:
    kinds = list(GOALS)
    heat = find_games(tree, ["pick_heat_then_place_in_recep"])
    assert heat.task_ids("train") == (f"train/task{kinds.index('pick_heat_then_place_in_recep')}/trial",)
    assert heat.splits == ("train",)  # the game of valid_seen is of another type
    for number, name in enumerate(NUMBERED_TASK_TYPES, start=1):
        expected = (f"train/task{kinds.index(name)}/trial",)
        assert find_games(tree, [number]).task_ids("train") == find_games(tree, [str(number)]).task_ids("train")
        assert find_games(tree, [number]).task_ids("train") == expected
    assert len(find_games(tree, [1, 2, 3, 4, 5, 6]).task_ids("train")) == 6


def test_a_game_of_another_type_is_no_task_of_the_filtered_folder(tree: Path) -> None:
    games = find_games(tree, [4])
    for split in ("valid_seen", "valid_unseen", "all"):
        with pytest.raises(UnknownTaskError, match=f"unknown split '{split}'.* known: train;"):
            games.task_ids(split)
    for task_id in ("valid_seen/task/trial", f"train/task{list(GOALS).index('look_at_obj_in_light')}/trial"):
        with pytest.raises(UnknownTaskError, match="no task"):
            games.load(task_id)


def test_the_numbers_are_the_official_ones() -> None:
    assert task_type_names([6, 1, "2", 1]) == (
        "pick_and_place_simple",
        "look_at_obj_in_light",
        "pick_two_obj_and_place",
    )
    assert task_type_names("look_at_obj_in_light") == ("look_at_obj_in_light",)
    assert GameFolder(Path("x"), ("5",)) == GameFolder(Path("x"), ("pick_cool_then_place_in_recep",))


def test_an_unknown_task_type_is_refused_with_what_was_meant(tree: Path) -> None:
    with pytest.raises(ValueError, match="'pick_heat_then_place'; did you mean 'pick_heat_then_place_in_recep'"):
        find_games(tree, ["pick_heat_then_place"])
    for wrong in (0, 7, "clean"):
        with pytest.raises(ValueError, match=f"unknown task type '{wrong}'.*or 1 to 6"):
            find_games(tree, [wrong])
    with pytest.raises(ValueError, match="no task type is chosen"):
        find_games(tree, [])


def test_a_type_that_no_game_has_is_said(kitchen: Kitchen, tmp_path: Path) -> None:
    put(kitchen, tmp_path, "train/a/b")
    with pytest.raises(FileNotFoundError, match="no ALFWorld games of type look_at_obj_in_light below"):
        find_games(tmp_path, [2])


def test_the_type_is_read_wherever_the_goal_stands_in_the_file(kitchen: Kitchen, tmp_path: Path) -> None:
    for number, (task_type, goal) in enumerate(GOALS.items()):
        path = tmp_path / f"{number}.tw-pddl"
        kitchen.game(goal).write(path)
        assert task_type_of(path) == task_type
        content = json.loads(path.read_text())
        # The problem first, and so much behind it that the end of the file says nothing.
        turned = {key: content[key] for key in reversed(content)} | {"walkthrough": ["look"] * 3000}
        path.write_text(json.dumps(dict(sorted(turned.items(), key=lambda item: item[0] != "pddl_problem"))))
        assert task_type_of(path) == task_type


def test_a_broken_goal_names_the_file_and_is_listed_under_every_type(kitchen: Kitchen, tmp_path: Path) -> None:
    game = kitchen.game()
    for name, problem in (
        ("none", game.pddl_problem.replace("(:goal", "(:gaol")),
        ("strange", kitchen.problem("(and (isHot mug))")),
    ):
        (tmp_path / "train" / name).mkdir(parents=True)
        path = tmp_path / "train" / name / "game.tw-pddl"
        replace(game, pddl_problem=problem).write(path)
        with pytest.raises(GameFileError, match=str(path)):
            task_type_of(path)
    assert GameFolder(tmp_path, ("2",)).task_ids("train") == ("train/none", "train/strange")


def test_completeness_counts_against_the_paper(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert completeness(find_games(tree)) == [
        "train 6 of 3553: incomplete",
        "valid_seen 1 of 140: incomplete",
        "valid_unseen 0 of 134: not here",
    ]
    monkeypatch.setattr(folder_module, "PUBLISHED_COUNTS", {"train": 6, "valid_seen": 0})
    assert completeness(find_games(tree)) == ["train 6 of 6", "valid_seen 1 of 0: more than published"]


@pytest.mark.data
def test_goals_trajectories_and_folders_agree_on_the_type_of_real_games(alfworld_games: Path) -> None:
    paths = sorted(alfworld_games.glob("*/*/*/game.tw-pddl"))
    assert len(paths) >= 36
    for path in paths:
        trajectory = json.loads(path.with_name("traj_data.json").read_text())
        assert task_type_of(path) == trajectory["task_type"] == path.parts[-3].partition("-")[0]


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("task_types", [[1, 2, 3, 4, 5, 6], [4], [2, 6]])
def test_the_official_loader_finds_the_same_games(alfworld_games: Path, task_types: list[int]) -> None:
    official = pytest.importorskip("alfworld.agents.environment.alfred_tw_env")
    games = find_games(alfworld_games, task_types)
    for split, train_eval in (("train", "train"), ("valid_seen", "eval_in_distribution")):
        place = str(alfworld_games / split)
        paths = {"data_path": place, "eval_id_data_path": place, "num_train_games": -1, "num_eval_games": -1}
        loader = official.AlfredTWEnv.__new__(official.AlfredTWEnv)  # its constructor asks for much more
        loader.config = {"env": {"task_types": task_types, "goal_desc_human_anns_prob": 0}, "dataset": paths}
        loader.train_eval = train_eval
        loader.collect_game_files()
        theirs = {f"{split}/{Path(file).parent.relative_to(place).as_posix()}" for file in loader.game_files}
        assert theirs == set(games.task_ids(split))
