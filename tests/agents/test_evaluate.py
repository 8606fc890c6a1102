"""An evaluation goes on after a kill with the same result, and its file alone tells it again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sdar_agents.cli import main
from sdar_agents.episode_file import EpisodeFileError, EpisodeWriter, is_cut, read_episodes, read_header
from tests.agents.test_episode_file import HEADER, recorded

LINE = "sdar_gym/NumberLine-v0"
TIMES = ("seconds", "steps_per_second", "differences")


def evaluate(file: Path, result: Path, *more: str, agent: str = "random") -> dict[str, object]:
    command = ["eval", "--env", LINE, "--agent", agent, "--episodes", "12", "--episodes-file", str(file)]
    main([*command, "--json", str(result), *more])
    return numbers(result)


def numbers(result: Path) -> dict[str, object]:
    values: dict[str, object] = json.loads(result.read_text())
    return {name: value for name, value in values.items() if name not in TIMES}


@pytest.mark.parametrize("agent", ["random", "oracle", "tiny"])
def test_an_evaluation_cut_after_five_episodes_ends_as_an_unbroken_one(agent: str, tmp_path: Path) -> None:
    whole = evaluate(tmp_path / "whole.jsonl", tmp_path / "whole.json", "--batch", "4", agent=agent)
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 13
    (tmp_path / "cut.jsonl").write_bytes(b"".join(lines[:6]) + lines[6][:50])
    assert evaluate(tmp_path / "cut.jsonl", tmp_path / "cut.json", "--batch", "4", agent=agent) == whole
    outcomes = [
        {each.number: (each.episode.task_id, [t.completion.text for t in each.episode.turns], each.episode.score)
         for each in read_episodes(tmp_path / name)}
        for name in ("whole.jsonl", "cut.jsonl")
    ]  # fmt: skip
    assert outcomes[0] == outcomes[1]
    assert sorted(outcomes[0]) == list(range(12))


def test_a_killed_evaluation_of_a_model_goes_on_to_the_same_result(tmp_path: Path) -> None:
    file = tmp_path / "killed.jsonl"
    command = [sys.executable, "-m", "sdar_agents", "eval", "--env", "sdar_gym/ALFWorldMini-v0", "--agent", "tiny"]
    command += ["--episodes", "8", "--batch", "2", "--episodes-file"]
    process = subprocess.Popen([*command, str(file)], env=dict(os.environ), stdout=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while time.monotonic() < end and (not file.exists() or file.read_bytes().count(b"\n") < 3):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 2 <= file.read_bytes().count(b"\n") - 1 < 8
    arguments = command[3:]
    main([*arguments, str(file), "--json", str(tmp_path / "killed.json")])
    main([*arguments, str(tmp_path / "whole.jsonl"), "--json", str(tmp_path / "whole.json")])
    assert numbers(tmp_path / "killed.json") == numbers(tmp_path / "whole.json")


@pytest.mark.parametrize("agent", ["random", "tiny"])
def test_a_file_alone_tells_the_result_and_the_environment_still_answers_so(agent: str, tmp_path: Path) -> None:
    file = tmp_path / "e.jsonl"
    whole = evaluate(file, tmp_path / "whole.json", agent=agent)
    main(["eval", "--rescore", str(file), "--replay", "--json", str(tmp_path / "again.json")])
    assert numbers(tmp_path / "again.json") == whole
    assert json.loads((tmp_path / "again.json").read_text())["differences"] == []


def test_a_replay_names_the_turn_whose_reward_is_another_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "e.jsonl"
    evaluate(file, tmp_path / "whole.json", agent="oracle")
    everything = list(read_episodes(file))
    turns = everything[3].episode.turns
    changed = replace(everything[3].episode, turns=(*turns[:-1], replace(turns[-1], reward=turns[-1].reward + 0.5)))
    with EpisodeWriter(tmp_path / "old.jsonl", read_header(file)) as writer:
        for each in everything:
            writer.add(replace(each, episode=changed) if each.number == 3 else each)
    main(["eval", "--rescore", str(tmp_path / "old.jsonl"), "--replay"])
    said = capsys.readouterr().out
    assert "12 episodes again: 1 differences" in said
    assert f"task {changed.task_id}: turn {len(turns)}: reward" in said


def test_an_evaluation_of_other_settings_is_refused_and_the_file_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "e.jsonl"
    evaluate(file, tmp_path / "r.json")
    before = file.read_bytes()
    with pytest.raises(SystemExit):
        evaluate(file, tmp_path / "r.json", "--seed", "7")
    assert "settings.seed: 0 -> 7" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_a_header_that_a_kill_cut_is_begun_anew_but_another_file_is_not(tmp_path: Path) -> None:
    file = tmp_path / "e.jsonl"
    with EpisodeWriter(file, HEADER):
        pass
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(EpisodeFileError, match="cut off in its first line"):
        read_header(file)
    with EpisodeWriter(file, HEADER) as writer:
        writer.add(recorded(0))
    assert [each.number for each in read_episodes(file)] == [0]
    (tmp_path / "mine.txt").write_text("dear diary")
    with pytest.raises(EpisodeFileError, match="does not begin like"):
        EpisodeWriter(tmp_path / "mine.txt", HEADER)
    assert (tmp_path / "mine.txt").read_text() == "dear diary"


def test_log_probabilities_that_an_endpoint_does_not_tell_are_null_in_the_file(tmp_path: Path) -> None:
    episode = recorded(0).episode
    completion = replace(episode.turns[0].completion, logprobs=(float("nan"), -1.0))
    episode = replace(episode, turns=(replace(episode.turns[0], completion=completion),))
    with EpisodeWriter(tmp_path / "e.jsonl", HEADER) as writer:
        writer.add(replace(recorded(0), episode=episode))
    assert "NaN" not in (tmp_path / "e.jsonl").read_text()
    (back,) = read_episodes(tmp_path / "e.jsonl")
    assert str(back.episode.turns[0].completion.logprobs) == "(nan, -1.0)"
    assert not is_cut(tmp_path / "e.jsonl")


def test_a_person_plays_a_panel_and_goes_on_where_they_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(["!"] * 12 + ["quit"])
    monkeypatch.setattr("rich.console.Console.input", lambda *_args, **_more: next(typed))
    file = tmp_path / "e.jsonl"
    with pytest.raises(SystemExit):
        evaluate(file, tmp_path / "r.json", agent="human")
    assert "which counts as not played" in capsys.readouterr().err
    played = len(list(read_episodes(file)))
    assert 0 < played < 12
    typed = iter(["!"] * 1000)
    assert evaluate(file, tmp_path / "r.json", agent="human")["success_rate"] == 1.0
