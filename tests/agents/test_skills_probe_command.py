"""`sdar-gym skills probe`: areas by hand, and a model that obeys skills likes what wins once it reads the right one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from torch.testing import assert_close

from sdar_agents.cli import main
from sdar_agents.episode import Completion, Episode, Turn
from sdar_agents.episode_file import EpisodeHeader, EpisodeWriter, RecordedEpisode, read_episodes
from sdar_agents.policy import load_policy
from sdar_agents.skill_gaps import ProbedTurn, Scorer, bare_logprobs, gaps
from sdar_agents.skill_probe import Sample, auc, estimate, report_of
from sdar_agents.train import train

NUMBER_LINE = "sdar_gym/NumberLine-v0"


# Areas


def test_an_area_by_hand() -> None:
    # Good 3 and 1, bad 2 and 1: of the pairs 3>2, 3>1, 1<2, 1=1 two are won and one is tied: 2.5 of 4.
    values, good = np.array([3.0, 1.0, 2.0, 1.0]), np.array([True, True, False, False])
    assert auc(values, good, np.ones((1, 4))).tolist() == [0.625]
    # With the good 1 drawn twice and the bad 2 not at all: 3>1, twice 1=1: 2 of 3.
    assert auc(values, good, np.array([[1.0, 2.0, 0.0, 1.0]])).tolist() == pytest.approx([2 / 3])
    assert np.isnan(auc(values, good, np.array([[1.0, 1.0, 0.0, 0.0]]))).all()


def test_many_weightings_at_once_are_what_each_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(0)
    values, good = draws.integers(0, 6, 40) / 2.0, draws.random(40) < 0.4
    weights = draws.integers(0, 4, (30, 40)).astype(float)
    monkeypatch.setattr("sdar_agents.skill_probe.CELLS_AT_ONCE", 200)
    brute = []
    for row in weights:
        pairs = [(g, b) for g in range(40) if good[g] for b in range(40) if not good[b]]
        won = sum(row[g] * row[b] * ((values[g] > values[b]) + 0.5 * (values[g] == values[b])) for g, b in pairs)
        brute.append(won / sum(row[g] * row[b] for g, b in pairs))
    assert auc(values, good, weights).tolist() == pytest.approx(brute)


def turn(episode: int, task: str, won: bool, *, index: int = 0, as_oracle: bool | None = None) -> ProbedTurn:
    return ProbedTurn(episode, task, "kind", index, won, as_oracle)


def test_within_tasks_a_hard_task_does_not_count_against_an_easy_one() -> None:
    # Task a is won mostly and has large gaps, b lost mostly and small ones; within each the loser's gap is larger.
    turns = [turn(0, "a", True), turn(1, "a", True), turn(2, "a", False)]
    turns += [turn(3, "b", True), turn(4, "b", False), turn(5, "b", False)]
    sample = Sample(turns, seed=0)
    values = np.array([1.0, 1.1, 1.2, 0.0, 0.1, 0.2])
    assert sample.curve("won_same_task", values)[0] == 0.0
    # Pooled, the winners of a beat both losers of b: 4 of 9 pairs.
    assert sample.curve("won", values)[0] == pytest.approx(4 / 9)
    assert estimate(sample.curve("as_oracle", values)) is None


def test_right_skills_are_told_from_a_placebo_on_the_same_turns() -> None:
    draws = np.random.default_rng(1)
    turns = [turn(number, f"t{number // 4}", number % 4 == 0, as_oracle=number % 2 == 0) for number in range(400)]
    noise = draws.normal(size=400)
    won = np.array([each.won for each in turns])
    sets = {"oracle": noise + 2.0 * won, "placebo": noise, "random": draws.normal(size=400)}
    found = report_of(Sample(turns, seed=0), sets, {"some-skill": np.where(np.arange(400) < 40, noise, np.nan)})
    verdicts = {(it["second"], it["measure"]): it["verdict"] for it in found["comparisons"]}
    assert verdicts["placebo", "won"] == verdicts["random", "won_same_task"] == "above"
    assert found["sets"]["placebo"]["won"]["interval"][0] < 0.5 < found["sets"]["placebo"]["won"]["interval"][1]
    assert (found["skills"][0]["turns"], found["skills"][0]["tasks"]) == (40, 10)
    assert found["sets"]["oracle"]["by_turn"]["1"]["turns"] == 400


# Gaps


def episode(*responses: tuple[int, ...], won: bool = True) -> Episode:
    turns = tuple(
        Turn((), None, Completion(ids, (0.0,) * len(ids), "", stopped=True), "right", "", 0.0, True, None,
             around_slot=("Task: reach 3", f"Now: {place}"))
        for place, ids in enumerate(responses)
    )  # fmt: skip
    return Episode(NUMBER_LINE, "valid/000000", "go_right", "Reach 3.", 0, turns, won, float(won), False, ())


def test_a_gap_is_the_mean_over_the_tokens_of_one_turn(number_line_model: Path) -> None:
    model, tokenizer = load_policy(str(number_line_model))
    one, other = episode((5, 6, 7), (8,)), episode((9, 10))
    scorer = Scorer(model, tokenizer, temperature=1.0)
    bare = bare_logprobs([one, other], scorer)
    found = gaps([one, other], ["Go right.", ""], scorer, bare=bare)
    # An empty text is the student's own prompt.
    assert found[2] == 0.0
    alone = gaps([one], ["Go right."], scorer, bare=bare[:2])
    assert found[:2].tolist() == pytest.approx(alone.tolist(), abs=1e-5)
    plain = Scorer(model, tokenizer, temperature=1.0)
    plain._packs = False
    assert_close(gaps([one], ["Go right."], plain, bare=bare[:2]), alone, rtol=1e-4, atol=1e-5)


# The command


def probe(model: Path, bank: Path, *arguments: str) -> list[str]:
    own = ["--bank", str(bank), "--retriever", "task_type", "--skills-per-task", "1", "--prompt-style", "compact"]
    return ["skills", "probe", *own, "--agent", str(model), "--max-response-tokens", "4", *arguments]


@pytest.fixture(scope="module")
def played(number_line_model: Path, number_line_bank: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe of freshly played episodes: its report, and the episodes."""
    folder = tmp_path_factory.mktemp("probe")
    files = ["--json", str(folder / "probe.json"), "--html", str(folder / "probe.html")]
    files += ["--save", str(folder / "episodes.jsonl")]
    sizes = ["--env", NUMBER_LINE, "--episodes", "18", "--attempts", "8"]
    main(probe(number_line_model, number_line_bank, *sizes, *files))
    return folder


def test_the_right_skill_likes_what_wins_and_the_wrong_one_what_loses(played: Path) -> None:
    report: dict[str, Any] = json.loads((played / "probe.json").read_text(encoding="utf-8"))
    assert report["provenance"]["episodes"] == 144
    right, wrong = (report["sets"][name]["won_same_task"] for name in ("oracle", "wrong"))
    assert right["interval"][0] > 0.5 > wrong["interval"][1]
    assert report["sets"]["oracle"] == report["sets"]["retrieved:task_type"]
    assert report["sets"]["oracle"]["gap_as_oracle"] > 0.0 > report["sets"]["oracle"]["gap_otherwise"]
    verdicts = {(it["first"], it["second"], it["measure"]): it["verdict"] for it in report["comparisons"]}
    assert verdicts["oracle", "wrong", "as_oracle"] == "above"
    assert {it["skill"] for it in report["skills"]} == {"go-left", "go-right"}
    page = (played / "probe.html").read_text(encoding="utf-8")
    assert "go-left" in page
    assert "<script" not in page


def test_recorded_episodes_give_the_same_numbers_as_those_just_played(
    played: Path, number_line_model: Path, number_line_bank: Path, tmp_path: Path
) -> None:
    arguments = ["--episodes-file", str(played / "episodes.jsonl"), "--json", str(tmp_path / "again.json")]
    main(probe(number_line_model, number_line_bank, *arguments))
    first, again = (json.loads(file.read_text("utf-8")) for file in (played / "probe.json", tmp_path / "again.json"))
    for name in ("turns", "won_turns", "oracle_turns", "sets", "comparisons", "skills"):
        assert again[name] == first[name], name


def other_file(source: Path, file: Path, **changes: Any) -> Path:
    header = EpisodeHeader(**{"env": NUMBER_LINE, "agent": "tiny", "settings": {"prompt_style": "compact"}, **changes})
    with EpisodeWriter(file, header) as writer:
        for each in read_episodes(source):
            writer.add(each)
    return file


def test_files_that_cannot_be_probed_are_refused_with_the_fix(
    played: Path, number_line_bank: Path, number_line_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = played / "episodes.jsonl"

    def complaint(*arguments: str, model: str = str(number_line_model)) -> str:
        with pytest.raises(SystemExit) as stopped:
            main(probe(Path(model), number_line_bank, *arguments))
        assert stopped.value.code == 2
        return capsys.readouterr().err

    assert "no file of episodes" in complaint("--episodes-file", str(tmp_path / "none.jsonl"))
    wrong_env = ["--env", "sdar_gym/ALFWorldMini-v0", "--episodes-file", str(source)]
    assert f"holds episodes of {NUMBER_LINE}" in complaint(*wrong_env)
    elsewhere = other_file(source, tmp_path / "tiny.jsonl")
    assert "another model; name it with --agent" in complaint("--episodes-file", str(elsewhere), model="tiny")
    ruled = tmp_path / "oracle.jsonl"
    main(["eval", "--env", NUMBER_LINE, "--agent", "oracle", "--episodes", "2", "--episodes-file", str(ruled)])
    capsys.readouterr()
    assert "keeps no token ids" in complaint("--episodes-file", str(ruled))
    shown = tmp_path / "shown.jsonl"
    with EpisodeWriter(shown, EpisodeHeader(env=NUMBER_LINE, agent="x")) as writer:
        writer.add(RecordedEpisode(0, _with_skills(next(iter(read_episodes(source))).episode)))
    assert "no episode that was played without skills" in complaint("--episodes-file", str(shown))


def test_a_runs_own_episodes_are_probed_with_its_own_weights(
    number_line_config: Any, number_line_bank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = number_line_config("grpo", steps=1, record_episodes=16)
    train(config, console=Console(quiet=True))
    file = tmp_path / "probe.json"
    capsys.readouterr()
    main(["skills", "probe", "--run", config.run, "--retriever", "task_type", "--json", str(file)])
    report = json.loads(file.read_text(encoding="utf-8"))
    assert report["provenance"]["episodes"] == 16 + 2 * 10
    assert report["provenance"]["bank"] == str(number_line_bank)
    assert report["sets"]["oracle"]["won"]["value"] > 0.5


def _with_skills(known: Episode) -> Episode:
    from dataclasses import replace

    return replace(known, turns=tuple(replace(each, skills_shown=True) for each in known.turns))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--sets", "orcale"], "did you mean 'oracle'"),
        (["--sets", "none"], "without skills there is no gap"),
        (["--agent", "openai:some-model"], "an endpoint cannot score given tokens"),
        (["--agent", "oracle"], "has no weights that could score"),
        (["--temperature", "0"], "--temperature must be above 0"),
        (["--attempts", "0"], "--attempts must be at least 1"),
        (["--run", "/nowhere/run"], "no such folder"),
        (["--save", "/nowhere/e.jsonl"], "its folder does not exist"),
        (["--atempts", "4"], "did you mean '--attempts'"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["skills", "probe", *arguments])
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err
