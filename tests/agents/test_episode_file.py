"""Recorded episodes come back as they were; what a kill cut is left out, what is of other settings is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sdar_agents.episode import Completion, Episode, Turn
from sdar_agents.episode_file import (
    EpisodeFileError,
    EpisodeHeader,
    EpisodeWriter,
    RecordedEpisode,
    TokenTrace,
    is_cut,
    read_episodes,
    read_header,
)

HEADER = EpisodeHeader(env="toy", agent="tiny", settings={"temperature": 0.4, "fields": ("text",)})


def recorded(number: int) -> RecordedEpisode:
    completion = Completion((2, 3), (-0.5, -1.25), "go nörth", stopped=True)
    turn = Turn((), None, completion, "go", "A wall.\n", 1.0, True, None, "A door.", around_slot=("Task", "Now"))
    episode = Episode("toy", f"task-{number}", "kind", "Go.", 0, (turn, turn), True, 1.0, False, ("a", "b"), "Look.")
    trace = TokenTrace(student=(-0.5, -1.0), teacher=(-0.25, -2.0))
    return RecordedEpisode(number, episode, "train", 3, (0.5, -0.5), (trace, replace(trace, gate=(0.5, 0.75))))


def write(file: Path, *numbers: int) -> None:
    with EpisodeWriter(file, HEADER) as writer:
        for number in numbers:
            writer.add(recorded(number))


def test_episodes_come_back_as_they_were(tmp_path: Path) -> None:
    write(tmp_path / "e.jsonl", 0, 1)
    write(tmp_path / "e.jsonl", 2)
    assert list(read_episodes(tmp_path / "e.jsonl")) == [recorded(number) for number in range(3)]
    assert read_header(tmp_path / "e.jsonl").settings == {"temperature": 0.4, "fields": ["text"]}


def test_a_cut_line_is_left_out_and_removed_by_the_next_writer(tmp_path: Path) -> None:
    file = tmp_path / "e.jsonl"
    write(file, 0, 1)
    file.write_bytes(file.read_bytes()[:-40])
    assert is_cut(file)
    assert list(read_episodes(file)) == [recorded(0)]
    write(file, 1, 2)
    assert list(read_episodes(file)) == [recorded(0), recorded(1), recorded(2)]


def test_episodes_of_other_settings_are_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "e.jsonl"
    write(file, 0)
    before = file.read_bytes()
    with pytest.raises(EpisodeFileError, match=r"settings.temperature: 0.4 -> 1.0"):
        EpisodeWriter(file, replace(HEADER, settings={**HEADER.settings, "temperature": 1.0}))
    assert file.read_bytes() == before


def test_damage_in_the_middle_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "e.jsonl"
    write(file, 0, 1)
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text(lines[0] + lines[1][:50] + "\n" + lines[2], encoding="utf-8")
    with pytest.raises(EpisodeFileError, match=r"line 2 is not a recorded episode .*: take that line out"):
        list(read_episodes(file))
    # As it says: without that line the rest can be read.
    file.write_text(lines[0] + lines[2], encoding="utf-8")
    assert list(read_episodes(file)) == [recorded(1)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{}\n", "does not begin like a file of episodes"),
        ("hello\n", "does not begin like a file of episodes"),
        (
            '{"format": 99, "env": "toy", "agent": "tiny"}\n',
            r"of format 99, made by sdar-gym \(no version\); .*: use that version",
        ),
        ('{"format": 99, "env": "toy", "version": "7.0"}\n', r"of format 99, made by sdar-gym 7\.0; "),
        ('{"format": 1, "colour": "red"}\n', "does not begin like a file of episodes"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "e.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(EpisodeFileError, match=complaint):
        read_header(tmp_path / "e.jsonl")
    with pytest.raises(EpisodeFileError, match="no file of episodes"):
        read_header(tmp_path / "none.jsonl")
