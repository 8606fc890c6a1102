"""`sdar-gym data import` and `download` as a person types them."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from sdar_agents.cli import main
from sdar_agents.commands import data_download
from sdar_gym.downloads import RemoteFile
from sdar_gym.envs.alfworld.mini import MiniGames


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two good games, one that is not solvable, one that is cut short."""
    game = MiniGames().load("train/000000")
    path = tmp_path / "games.zip"
    with zipfile.ZipFile(path, "w") as out:
        for place, solvable in (("train/a/1", True), ("valid_seen/b/2", True), ("train/c/3", False)):
            file = tmp_path / "game"
            replace(game, solvable=solvable).write(file)
            out.write(file, f"json_2.1.1/{place}/game.tw-pddl")
        out.writestr("json_2.1.1/train/d/4/game.tw-pddl", file.read_bytes()[:500])
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    return tmp_path / "home" / ".cache" / "alfworld"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert len(streams.err.strip().splitlines()) == 1
    return streams.err


def test_an_import_says_what_is_there_and_what_comes_next(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = archive.parent / "out"
    main(["data", "import", str(archive), "--out", str(out)])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"2 files written, 0 were there already: {out}/json_2.1.1"
    assert "left out, unsolvable, or not known to be solvable: 1 (train/c/3/game.tw-pddl)" in printed
    assert any(line.startswith("left out, unreadable: line 1") and "(train/d/4/" in line for line in printed)
    assert printed[-4:] == [
        "train 1 of 3553: incomplete",
        "valid_seen 1 of 140: incomplete",
        "valid_unseen 0 of 134: not here",
        f"next: sdar-gym eval --env sdar_gym/ALFWorld-v0 --agent oracle --panel valid_seen --data {out}",
    ]


def test_the_environment_may_be_named_and_the_next_command_works(
    archive: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["data", "import", "alfworld", str(archive)])
    command = capsys.readouterr().out.splitlines()[-1]
    assert command == "next: sdar-gym eval --env sdar_gym/ALFWorld-v0 --agent oracle --panel valid_seen"
    assert (home / "json_2.1.1" / "valid_seen" / "b" / "2" / "game.tw-pddl").is_file()
    main(command.removeprefix("next: sdar-gym ").split())
    assert "success 1.000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["data", "imprt", "x"], "did you mean 'import'"),
        (["data", "import", "nowhere"], "nowhere does not exist"),
        (["data", "import", "nowhere", "--forse"], "did you mean '--force'"),
        (["data", "download", "alfworld", "--relase", "2.1.3"], "did you mean '--release'"),
        (["data", "download", "alfworld", "--release", "2.1.4"], "did you mean '2.1.3'"),
        (["data", "download", "alfworld", "--sha256", "12"], "a SHA-256 has 64 hex digits"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert told in refused(arguments, capsys)


def test_a_damaged_archive_is_told_in_one_line(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive.write_bytes(archive.read_bytes()[:-500])
    assert "damaged or cut short" in refused(["data", "import", str(archive)], capsys)


def test_offline_a_download_names_the_address_and_the_import(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RemoteFile("http://127.0.0.1:9/json.zip")  # the port of `discard`: nobody listens
    monkeypatch.setattr(data_download, "chosen_release", lambda _name: file)
    with pytest.raises(SystemExit):
        main(["data", "download", "alfworld"])
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"http://127.0.0.1:9/json.zip -> {home}"
    assert told[1].startswith("sdar-gym data: error: http://127.0.0.1:9/json.zip cannot be fetched:")
    assert told[1].endswith("; fetch that file elsewhere and run `sdar-gym data import json.zip`")
    assert len(told) == 2


def test_what_was_downloaded_is_not_fetched_again(
    archive: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RemoteFile("http://127.0.0.1:9/json.zip", 0, "0" * 64)
    monkeypatch.setattr(data_download, "chosen_release", lambda _name: file)
    main(["data", "import", str(archive)])
    entry = {"sha256": "0" * 64, "bytes": 0, "games": {"train": 1, "valid_seen": 1}}
    (home / "downloads.json").write_text(json.dumps({file.url: entry}))
    capsys.readouterr()
    main(["data", "download", "alfworld"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"json.zip: complete already, SHA-256 {'0' * 64}"
    assert "valid_seen 1 of 140: incomplete" in printed


def test_progress_is_a_line_a_tenth_where_no_one_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    show = data_download.progress_line()
    for there in range(0, 2_000_001, 10_000):
        show(there, 2_000_000)
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["  0.0 MB of 2.0 MB, 0 %", "  0.2 MB of 2.0 MB, 10 %"]
    assert len(lines) == 11


@pytest.mark.parametrize("action", ["download", "import"])
def test_the_help_states_the_folder_and_the_checksum(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["data", action, "--help"])
    assert stop.value.code == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "by default ALFWORLD_DATA, else ~/.cache/alfworld" in printed
    assert ("The publisher states no checksum" in printed) == (action == "download")
