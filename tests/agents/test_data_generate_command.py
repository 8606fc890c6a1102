"""`sdar-gym data generate`: what it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdar_agents.cli import main
from sdar_gym.envs.alfworld.folder import find_games
from sdar_gym.envs.alfworld.rooms.games import RoomGames
from sdar_gym.envs.alfworld.rooms.scenario import Difficulty


def generate(*options: str) -> None:
    main(["data", "generate", "alfworld", *options])


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    with pytest.raises(SystemExit) as error:
        generate(*options)
    assert error.value.code == 2
    return capsys.readouterr().err


def written(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_rooms_are_the_default_world_and_can_be_played_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate("--out", str(tmp_path / "games"), "--count", "5", "--seed", "7")
    assert f"5 games in {tmp_path / 'games'}" in capsys.readouterr().out
    RoomGames().write(tmp_path / "expected", 5, 7)
    assert written(tmp_path / "games") == written(tmp_path / "expected")
    assert len(written(tmp_path / "games")) == 2 * 5
    games = find_games(tmp_path / "games")
    assert games.splits == ("train",)
    assert len(games.task_ids("train")) == 5


def test_every_option_reaches_the_generator(tmp_path: Path) -> None:
    options = "--count 3 --split valid_seen --rooms bathroom kitchen --task-types pick_and_place_simple"
    numbers = "--receptacles 12 --objects 20 --distractors 3 --closed 0.25"
    generate("--out", str(tmp_path / "games"), *options.split(), *numbers.split())
    games = RoomGames(("kitchen", "bathroom"), ("pick_and_place_simple",), Difficulty(12, 20, 3, 0.25))
    games.write(tmp_path / "expected", 3, 0, split="valid_seen")
    assert written(tmp_path / "games") == written(tmp_path / "expected")
    assert all(name.startswith("valid_seen/pick_and_place_simple-") for name in written(tmp_path / "games"))


def test_the_mini_world_is_a_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate("--out", str(tmp_path), "--count", "6", "--world", "mini")
    kinds = sorted(name.split("/")[1].partition("-")[0] for name in written(tmp_path) if name.endswith("pddl"))
    assert len(set(kinds)) == 6, "its task types take turns"
    for option in ("--objects 9", "--rooms kitchen", "--closed 0.5"):
        message = refused(capsys, "--out", str(tmp_path), "--world", "mini", *option.split())
        assert f"{option.split()[0]} is for --world rooms" in message


def test_a_second_run_finishes_the_first_and_another_seed_adds_to_it(tmp_path: Path) -> None:
    generate("--out", str(tmp_path), "--count", "2")
    first = written(tmp_path)
    generate("--out", str(tmp_path), "--count", "4")
    assert len(written(tmp_path)) == 2 * 4
    assert first.items() <= written(tmp_path).items()
    generate("--out", str(tmp_path), "--count", "2", "--seed", "1")
    assert len(written(tmp_path)) == 2 * 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--count 0", "--count must be at least 1"),
        ("--receptacles 3", "receptacles must be from 5 to 60"),
        ("--closed 2", "from 0 to 1; got 2"),
        ("--rooom kitchen", "did you mean '--rooms'"),
        ("--rooms kitchn", "invalid choice 'kitchn'"),
        ("--rooms bathroom --task-types pick_heat_then_place_in_recep", "no bathroom has such a task"),
    ],
)
def test_mistakes_are_answered_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, message: str
) -> None:
    assert message in refused(capsys, "--out", str(tmp_path / "games"), *options.split())
    assert not (tmp_path / "games").exists()


def test_other_games_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate("--out", str(tmp_path), "--count", "2")
    before = written(tmp_path)
    message = refused(capsys, "--out", str(tmp_path), "--count", "2", "--objects", "10")
    assert "write to another folder, take another seed, or delete it" in message
    assert written(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "games"
    assert f"{place}" in refused(capsys, "--out", str(place), "--count", "1")
