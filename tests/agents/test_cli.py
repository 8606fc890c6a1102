"""The command line as a person types it: what it prints, what it writes, how it answers mistakes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sdar_agents.cli import COMMANDS, main
from sdar_agents.commands.evaluate import EvalOptions
from sdar_agents.commands.train import parse_train
from sdar_agents.config import TrainConfig, preset_config, read_config
from sdar_agents.learners import GRPO, GRPOOPSD, LEARNERS, OPSD, RLSD, SDAR, SkillSD
from sdar_agents.options import parse
from sdar_agents.setup import set_up
from sdar_agents.train import train
from sdar_gym.tasks import load_panel
from tests.agents.fragile import Fault, make_fragile

LINE = "sdar_gym/NumberLine-v0"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a refused command says; its exit code is 2 and nothing is printed as a result."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    return streams.err


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"sdar-gym {command}" in capsys.readouterr().out


def test_without_a_command_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(f"  {command}" in printed for command in COMMANDS)


def test_list_names_what_is_registered(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    printed = capsys.readouterr().out
    for name in ("sdar_gym/ALFWorldMini-v0", LINE, *LEARNERS, "task_type", "alfworld_mini", "quickstart"):
        assert name in printed


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["trian"], "did you mean 'train'"),
        (["train", "--grup-size", "4"], "did you mean '--group-size'"),
        (["train", "--learner", "sdra"], "did you mean 'sdar'"),
        (["train", "--learner.gate-sharpnes", "4"], "did you mean '--learner.gate-sharpness'"),
        (["train", "--learner", "grpo", "--learner.gate-sharpness", "4"], "unknown option '--learner.gate-sharpness'"),
        (["train", "--preset", "quikstart"], "did you mean 'quickstart'"),
        (["train", "--env", "sdar_gym/ALFWorldMimi-v0"], "did you mean 'sdar_gym/ALFWorldMini-v0'"),
        (["train", "--env", LINE, "--retriever", "dens"], "did you mean 'dense'"),
        (["train", "--env", LINE, "--retriever-options", "feilds=text"], "did you mean 'fields'"),
        (["train", "--env", LINE, "--retriever-options", "fields=text,observation"], "retrieved once a task"),
        (["train", "--env", LINE, "--retriever-options", "fields"], "write NAME=VALUE"),
        (["train", "--retriever", "task_type", "--retriever-options", "k=3"], "'task_type' takes no options"),
        (["eval", "--env", "NumbrLine-v0"], "did you mean 'sdar_gym/NumberLine-v0'"),
        (["eval", "--env", LINE, "--panel", "vaild"], "did you mean 'valid'"),
        (["train", "--env", LINE, "--env-workers", "inlin"], "did you mean 'inline'"),
        (["eval", "--env", LINE, "--agent", "tiny", "--env-workers", "thread"], "did you mean 'threads'"),
        (["eval", "--env", LINE, "--episods", "3"], "did you mean '--episodes'"),
        (["play", "sdar_gym/NumberLin-v0"], "did you mean 'sdar_gym/NumberLine-v0'"),
        (["quickstart", "--lerners", "grpo"], "did you mean '--learners'"),
        (["warmup", "--dmonstrations", "1"], "did you mean '--demonstrations'"),
    ],
)
def test_a_misspelling_is_refused_with_what_was_meant(
    arguments: list[str],
    meant: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert meant in refused(arguments, capsys)


def test_eval_of_the_oracle_writes_every_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "oracle.json"
    main(["eval", "--env", LINE, "--agent", "oracle", "--panel", "valid", "--episodes", "10", "--json", str(file)])
    result = json.loads(file.read_text(encoding="utf-8"))
    assert result["n"] == 10
    assert result["success_rate"] == result["score_mean"] == 1.0
    # Wilson at 10 of 10: upper 1, lower 1 / (1 + z^2 / 10) with z = 1.96.
    assert result["interval"] == pytest.approx([1 / (1 + 1.959964**2 / 10), 1.0])
    assert len(result["panel_hash"]) == 16
    assert result["steps_per_second"] > 0
    assert "success 1.000" in capsys.readouterr().out


def test_eval_of_a_random_agent_is_worse_and_repeats(tmp_path: Path) -> None:
    results: list[dict[str, Any]] = []
    for name in ("one.json", "two.json"):
        main(["eval", "--env", LINE, "--agent", "random", "--json", str(tmp_path / name)])
        results.append(json.loads((tmp_path / name).read_text(encoding="utf-8")))
    assert 0.0 < results[0]["success_rate"] < 1.0
    assert results[0]["by_task_type"] == results[1]["by_task_type"]


def test_eval_of_a_run_takes_its_settings_and_newest_weights(
    number_line_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    config = number_line_config("sdar", steps=2)
    summary = train(config, console=Console(quiet=True))
    file = tmp_path / "run.json"
    main(["eval", "--agent", config.run, "--episodes", "10", "--json", str(file)])
    result = json.loads(file.read_text(encoding="utf-8"))
    assert result["env"] == LINE
    assert result["panel_hash"] == summary["panel_hash"]
    assert result["success_rate"] == summary["after"]["success_rate"]
    main(["eval", "--agent", config.run, "--episodes", "10", "--skills", "--json", str(file)])
    shown = json.loads(file.read_text(encoding="utf-8"))
    assert shown["success_rate"] == summary["after"]["skills_success_rate"]


def test_eval_of_a_run_asks_the_bandit_that_it_has_taught(
    number_line_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    options = ("exploration=0.1",)
    config = number_line_config("sdar", retriever="ucb", retriever_options=options, steps=6, eval_every=6)
    summary = train(config, console=Console(quiet=True))
    file = tmp_path / "run.json"
    main(["eval", "--agent", config.run, "--episodes", "10", "--skills", "--json", str(file)])
    result = json.loads(file.read_text(encoding="utf-8"))
    assert result["success_rate"] == summary["after"]["skills_success_rate"]


def test_eval_counts_and_says_what_skills_did_not_fit(
    number_line_config: Callable[..., TrainConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A body has three to five tokens: one fits into five, two do not.
    config = number_line_config("grpo", steps=1, retriever="uniform", skills_per_task=2, max_skill_tokens=5)
    train(config, console=Console(quiet=True))
    file = tmp_path / "run.json"
    main(["eval", "--agent", config.run, "--episodes", "10", "--skills", "--json", str(file)])
    # Once a goal: ten walks, some to the same number.
    dropped = json.loads(file.read_text(encoding="utf-8"))["skills_dropped"]
    assert 0 < dropped <= 10
    assert f"{dropped} retrieved skills did not fit" in capsys.readouterr().out


def test_eval_says_loudly_which_tasks_could_not_be_played(
    number_line_config: Callable[..., TrainConfig],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = number_line_config("grpo", steps=1)
    summary = train(config, console=Console(quiet=True))
    lost = load_panel(Path(config.run) / "panel.json").task_ids[0]
    faults = (Fault(lost, 0, "raise", times=9),)
    monkeypatch.setattr("sdar_agents.player.make_agent_env", lambda *_, **__: make_fragile(str(tmp_path), faults))
    file = tmp_path / "result.json"
    capsys.readouterr()
    main(["eval", "--agent", config.run, "--episodes", "10", "--env-workers", "threads", "--json", str(file)])
    printed, result = capsys.readouterr().out, json.loads(file.read_text(encoding="utf-8"))
    assert f"NOT PLAYED, and counted nowhere: 1 of 10 tasks, because their environment crashed twice: {lost}" in printed
    assert (result["n"], result["failed"]) == (9, [lost])
    assert summary["after"]["n"] == 10


def test_settings_of_the_environment_are_given_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, mini = tmp_path / "result.json", ["eval", "--env", "sdar_gym/ALFWorldMini-v0", "--episodes", "2"]
    hashes = []
    for settings in ([], ["--env-options", "things=2", "reliability=1.0"]):
        main([*mini, *settings, "--json", str(file)])
        hashes.append(json.loads(file.read_text())["behaviour_hash"])
    assert len({*hashes}) == 2
    assert all(len(each) == 16 for each in hashes)
    capsys.readouterr()
    assert "did you mean 'things'" in refused([*mini, "--env-options", "thing=2"], capsys)
    assert "write NAME=VALUE" in refused([*mini, "--env-options", "things"], capsys)


def test_a_run_keeps_the_settings_of_its_environment(number_line_config: Callable[..., TrainConfig]) -> None:
    config = number_line_config("grpo", steps=1, eval_episodes=3, env_options=("size=6",))
    train(config)
    stored = read_config(Path(config.run))
    assert stored == config
    assert "train/8-7" not in set_up(config, resume=True).train_ids


def test_eval_refuses_an_unwritable_result_before_playing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["eval", "--env", LINE, "--json", str(tmp_path / "no" / "file.json")], capsys)
    assert "its folder does not exist" in said


def test_eval_refuses_an_agent_that_is_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no model in" in refused(["eval", "--env", LINE, "--agent", str(tmp_path / "nowhere")], capsys)


def test_the_oracle_plays_in_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    main(["play", LINE, "--agent", "oracle", "--task", "train/3-7"])
    printed = capsys.readouterr().out
    assert printed.count("> right") == 4
    assert "solved after 4 turns" in printed


def test_a_person_plays_in_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = iter(["?", "jump", "!", "quit"])
    monkeypatch.setattr("builtins.input", lambda *_: next(lines))
    main(["play", LINE, "--task", "train/3-7"])
    printed = capsys.readouterr().out
    assert "left\nright\nstay" in printed
    assert "That is not possible." in printed
    assert "You are at 4." in printed
    assert "not solved after 2 turns" in printed


def test_train_options_reach_the_config() -> None:
    config, resume = parse_train(
        [
            "--env",
            LINE,
            "--learner",
            "sdar",
            "--learner.gate-sharpness",
            "3",
            "--learner.rl.clip-low=0.1",
            "--steps",
            "7",
        ]
    )
    assert (config.env, config.steps, resume) == (LINE, 7, False)
    assert config.learner.gate_sharpness == 3.0  # type: ignore[attr-defined]
    assert config.learner.rl.clip_low == 0.1  # type: ignore[attr-defined]


def test_without_options_train_is_the_quick_start_with_sdar() -> None:
    assert parse_train([]) == (preset_config("quickstart", "sdar"), False)


@pytest.mark.parametrize("learner", sorted(LEARNERS))
def test_every_learner_can_be_named_on_the_command_line(learner: str) -> None:
    config, _ = parse_train(["--learner", learner, "--preset", "paper-alfworld"])
    assert type(config.learner) is LEARNERS[learner]
    assert config.max_prompt_tokens == 2048


def test_resume_takes_the_runs_own_settings(number_line_config: Callable[..., TrainConfig]) -> None:
    config = number_line_config("grpo", steps=1)
    train(config, console=Console(quiet=True))
    assert parse_train(["--run", config.run, "--resume"]) == (config, True)


def test_a_run_can_be_started_from_a_config_file(
    number_line_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    config = number_line_config("grpo", steps=1)
    train(config, console=Console(quiet=True))
    again, _ = parse_train(["--config", str(Path(config.run) / "config.json"), "--run", "elsewhere", "--seed", "5"])
    assert (again.seed, again.run, again.env) == (5, "elsewhere", LINE)


def rows_of_the_paper() -> dict[str, list[str]]:
    """Row of the paper's table -> the arguments of the command that agents/README.md gives for it."""
    readme = (Path(__file__).parents[2] / "agents" / "README.md").read_text(encoding="utf-8")
    table = readme.partition("### The paper's table, as commands")[2].partition("\n### ")[0]
    found = re.findall(r"^\| ([^|]+) \| `sdar-gym ([^`]+)`", table, re.MULTILINE)
    paper = "--preset paper-alfworld --model MODEL --data DATA"
    return {row: command.replace("PAPER", paper).split() for row, command in found}


def test_the_commands_for_the_paper_s_rows_exist() -> None:
    rows = rows_of_the_paper()
    assert len(rows) == 12
    for command, *arguments in rows.values():
        assert command in ("eval", "train")
        if command == "eval":
            parse(EvalOptions, arguments, command="eval")
        else:
            assert parse_train(arguments)[0].env == "sdar_gym/ALFWorld-v0"


def test_the_paper_s_rows_have_the_paper_s_numbers() -> None:
    learners = {
        row: parse_train(arguments)[0].learner for row, (command, *arguments) in rows_of_the_paper().items()
        if command == "train"
    }  # fmt: skip
    assert learners["OPSD"] == OPSD(divergence="official_gated", weight=0.01, gate_sharpness=5.0)
    assert learners["GRPO"] == GRPO(kl_coefficient=0.01, clip_low=0.2, clip_high=0.2, dual_clip=3.0)
    assert learners["GRPO+OPSD"] == GRPOOPSD(divergence="official", weight=0.01)
    assert learners["Skill-SD"] == SkillSD(weight=0.001)
    assert learners["RLSD"] == RLSD(weight=0.5, clip=0.2, decay_steps=100)
    assert learners["SDAR"] == SDAR(gate="gap", gate_sharpness=5.0, weight=0.01)
