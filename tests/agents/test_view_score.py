"""`sdar-gym view --score`: tokens of recorded episodes scored anew, and what is refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sdar_agents.cli import main
from sdar_agents.config import TrainConfig
from sdar_agents.episode_file import read_episodes, read_header
from sdar_agents.page_scores import Scoring, scored_episodes
from sdar_agents.policy import load_policy
from sdar_agents.skill_gaps import Scorer
from sdar_agents.train import train
from sdar_gym.prompts import fill_slot

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def played(number_line_config: MakeConfig, tmp_path: Path) -> tuple[str, Path]:
    """A run on the number line, and a file of eight episodes that its agent played without skills."""
    config = number_line_config("sdar", steps=2)
    train(config, console=Console(quiet=True))
    file = tmp_path / "e.jsonl"
    main(["eval", "--agent", config.run, "--episodes", "8", "--episodes-file", str(file)])
    return config.run, file


def test_every_token_is_scored_without_and_with_the_skill(played: tuple[str, Path]) -> None:
    run, file = played
    header, episodes = read_header(file), list(read_episodes(file))
    found, tokenizer = scored_episodes(header, episodes, Scoring(run, gate_sharpness=2.0))
    assert len(found) == 8
    model, _ = load_policy(header.settings["model"])
    scorer = Scorer(model, tokenizer, temperature=float(header.settings["temperature"]))
    differ = 0
    for each, recorded in zip(found, episodes, strict=True):
        assert not recorded.episode.skill_text
        # The bank of the number line: `right` or `left`, by the task's type.
        assert each.episode.skill_text
        assert each.traces is not None
        for turn, trace in zip(each.episode.turns, each.traces, strict=True):
            assert len(trace.student) == len(turn.completion.token_ids)
            prompts = [fill_slot(turn.around_slot, text) for text in ("", each.episode.skill_text)]
            bare, taught = scorer.token_logprobs(prompts, [turn.completion.token_ids] * 2)
            assert trace.student == pytest.approx(bare, abs=1e-5)
            assert trace.teacher == pytest.approx(taught, abs=1e-5)
            gate = [1.0 / (1.0 + math.exp(-2.0 * (t - s))) for s, t in zip(bare, taught, strict=True)]
            assert trace.gate == pytest.approx(gate, abs=1e-5)
            differ += trace.student != trace.teacher
    assert differ > 0


def test_the_mean_over_a_response_is_that_of_its_tokens(played: tuple[str, Path]) -> None:
    header, episodes = read_header(played[1]), list(read_episodes(played[1]))
    model, tokenizer = load_policy(header.settings["model"])
    scorer = Scorer(model, tokenizer, temperature=1.0)
    turn = episodes[0].episode.turns[0]
    ids = turn.completion.token_ids
    message = fill_slot(turn.around_slot, "")
    tokens = scorer.token_logprobs([message], [ids])[0]
    assert scorer.mean_logprobs([message, message], [ids, ()]).tolist() == pytest.approx([sum(tokens) / len(ids), 0.0])


def test_the_page_shows_the_scores_and_what_the_teacher_read(
    played: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run, file = played
    main(["view", str(file), "--score", run])
    assert re.search(r"scored \d+ turns by ", capsys.readouterr().out)
    text = file.with_suffix(".html").read_text(encoding="utf-8")
    assert f"scored by {run}" in text
    found, _ = scored_episodes(read_header(file), list(read_episodes(file)), Scoring(run))
    assert json.dumps(found[0].episode.skill_text)[1:-1] in text
    assert found[0].episode.skill_ids[0] in text


def test_what_was_recorded_with_an_episode_is_what_its_teacher_reads(
    number_line_config: MakeConfig, number_line_bank: Path
) -> None:
    config = number_line_config("sdar", steps=1, record_episodes=4, record_every=1)
    train(config, console=Console(quiet=True))
    file = Path(config.run) / "episodes.jsonl"
    episodes = [each for each in read_episodes(file) if each.phase == "train"]
    found, _ = scored_episodes(read_header(file), episodes, Scoring(config.run, retriever="none"))
    assert [each.episode.skill_text for each in found] == [each.episode.skill_text for each in episodes]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--score", "openai:gpt"], "an endpoint cannot score given tokens"),
        (["--score", "oracle"], "has no weights that could score"),
        (["--score", "tiny"], "another model; name it with --score"),
        (["--score", "RUN", "--retriever", "none"], "nothing that a teacher could read"),
        (["--score", "RUN", "--step", "77"], "77"),
        (["--retriever", "dense"], "--retriever belongs to --score"),
        (["--gate-sharpness", "-1"], "--gate-sharpness must be at least 0"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    arguments: list[str], message: str, played: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run, file = played
    before: Any = file.read_bytes()
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["view", str(file), *[run if each == "RUN" else each for each in arguments]])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert file.read_bytes() == before


def test_a_checkpoint_of_a_run_is_evaluated_by_its_step(
    number_line_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = number_line_config("grpo", steps=4, keep_checkpoints=4)
    train(config, console=Console(quiet=True))
    capsys.readouterr()
    files = {step: tmp_path / f"{step}.jsonl" for step in (2, 4)}
    for step, file in files.items():
        main(["eval", "--agent", config.run, "--step", str(step), "--episodes", "5", "--episodes-file", str(file)])
    headers = {step: read_header(file).settings for step, file in files.items()}
    assert {step: known["checkpoint"] for step, known in headers.items()} == {2: 2, 4: 4}
    with pytest.raises(SystemExit):
        main(["eval", "--agent", config.run, "--step", "3", "--episodes", "5"])
    assert "3" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["eval", "--agent", "tiny", "--step", "2", "--episodes", "5"])
    assert "--step chooses a checkpoint of a run" in capsys.readouterr().err
