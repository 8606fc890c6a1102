"""`sdar-gym skills lift`: an agent that obeys skills is lifted by right ones, and by nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdar_agents.cli import main
from sdar_agents.episode import Episode
from sdar_agents.lift_report import missed, read_bound
from sdar_agents.skill_lift import Condition, Played, conditions_of, report_of

NUMBER_LINE = "sdar_gym/NumberLine-v0"


def lift(model: Path, bank: Path, *arguments: str) -> list[str]:
    own = ["--env", NUMBER_LINE, "--agent", str(model), "--bank", str(bank), "--retriever", "task_type"]
    sizes = ["--skills-per-task", "1", "--prompt-style", "compact", "--max-response-tokens", "4"]
    return ["skills", "lift", *own, *sizes, *arguments]


@pytest.fixture(scope="module")
def report(obedient_model: Path, number_line_bank: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("lift")
    files = ["--json", str(folder / "lift.json"), "--html", str(folder / "lift.html")]
    main(lift(obedient_model, number_line_bank, "--episodes", "18", *files))
    page = (folder / "lift.html").read_text(encoding="utf-8")
    assert "retrieved:task_type" in page
    found: dict[str, Any] = json.loads((folder / "lift.json").read_text(encoding="utf-8"))
    return found


def test_right_skills_lift_an_agent_that_obeys_and_wrong_ones_sink_it(report: dict[str, Any]) -> None:
    rates = {name: it["success_rate"] for name, it in report["conditions"].items()}
    assert rates["oracle"] == rates["retrieved:task_type"] == 1.0
    assert 0.2 < rates["none"] < 0.8
    assert rates["wrong"] < 0.1
    by_pair = {(it["first"], it["second"]): it for it in report["comparisons"]}
    assert by_pair["oracle", "none"]["difference"] == pytest.approx(1.0 - rates["none"])
    assert by_pair["retrieved:task_type", "wrong"]["interval"][0] > 0.8
    assert by_pair["wrong", "none"]["interval"][1] < 0.0
    assert by_pair["oracle", "retrieved:task_type"]["difference"] == 0.0


def test_each_skill_is_held_against_none_on_its_own_tasks(report: dict[str, Any]) -> None:
    rows = [row for row in report["by_skill"] if row["condition"] == "oracle"]
    assert sum(row["n"] for row in rows) == report["tasks"] == 18
    none = sum(row["none"] * row["n"] for row in rows) / 18
    assert none == pytest.approx(report["conditions"]["none"]["success_rate"])
    assert all(row["success_rate"] == 1.0 and row["is_few"] for row in rows)


def test_a_killed_lift_goes_on_and_ends_the_same(
    obedient_model: Path, number_line_bank: Path, report: dict[str, Any], tmp_path: Path
) -> None:
    run, file = tmp_path / "run", tmp_path / "lift.json"
    arguments = lift(obedient_model, number_line_bank, "--run", str(run), "--json", str(file), "--episodes")
    main([*arguments, "18"])
    # As a kill leaves it: a condition half played, its last line cut, others not begun.
    (run / "wrong.jsonl").unlink()
    lines = (run / "oracle.jsonl").read_bytes().splitlines(keepends=True)
    (run / "oracle.jsonl").write_bytes(b"".join(lines[:7]) + lines[7][:30])
    before = (run / "none.jsonl").read_bytes()
    main([*arguments, "18"])
    again = json.loads(file.read_text(encoding="utf-8"))
    assert (run / "none.jsonl").read_bytes() == before
    for name in ("conditions", "comparisons", "by_task_type", "by_skill"):
        assert again[name] == report[name]


def test_episodes_of_other_settings_are_refused_and_kept(
    obedient_model: Path, number_line_bank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = lift(obedient_model, number_line_bank, "--run", str(tmp_path), "--conditions", "oracle")
    main([*arguments, "--episodes", "4"])
    before = (tmp_path / "none.jsonl").read_bytes()
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--episodes", "4", "--temperature", "0.9"])
    assert stopped.value.code == 2
    assert "settings.temperature: 0.4 -> 0.9" in capsys.readouterr().err
    assert (tmp_path / "none.jsonl").read_bytes() == before


def test_a_missed_bound_is_an_exit_code(
    obedient_model: Path, number_line_bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = lift(obedient_model, number_line_bank, "--conditions", "wrong,oracle", "--episodes", "4")
    main([*arguments, "--min", "oracle-wrong=0.9"])
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--min", "wrong-none=0.5"])
    assert stopped.value.code == 1
    assert "MISSED wrong - none is" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--conditions", "orcale"], "did you mean 'oracle'"),
        (["--conditions", "none"], "names nothing to compare with none"),
        (["--retriever", "dens"], "did you mean 'dense'"),
        (["--agent", "oracle"], "reads no prompt"),
        (["--env", "sdar_gym/ALFWorldMini-v0", "--agent", "/nowhere/model"], "no model in /nowhere/model"),
        (["--min", "oracle=0.5"], "write FIRST-SECOND=NUMBER"),
        (["--html", "/nowhere/page.html"], "its folder does not exist"),
        (["--episodes", "0"], "--episodes must be at least 1"),
        (["--epsiodes", "4"], "did you mean '--episodes'"),
        (["--bank", "/nowhere/bank"], "/nowhere/bank"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["skills", "lift", "--env", NUMBER_LINE, *arguments])
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err


def test_none_is_always_played_and_each_retriever_is_a_condition() -> None:
    found = conditions_of(["placebo", "retrieved"], ["dense", "lexical"])
    assert [each.name for each in found] == ["none", "retrieved:dense", "retrieved:lexical", "placebo"]
    assert found[-1] == Condition("placebo", retriever="dense", view="placebo")


def played(name: str, outcomes: list[bool | None], skills: tuple[str, ...] = ()) -> Played:
    episodes = {
        place: Episode("e", f"t{place}", "ab"[place % 2], "Go.", place, (), won, float(won), False, skills)
        for place, won in enumerate(outcomes)
        if won is not None
    }
    return Played(Condition(name), episodes, 0)


def test_only_tasks_that_every_condition_played_count() -> None:
    # Place 3 is missing in one condition. Of 0, 1, 2: none solves 1, oracle 3; task type b is place 1 alone.
    none = played("none", [True, False, False, True])
    oracle = played("oracle", [True, True, True, None], ("s",))
    found = report_of([none, oracle], seed=0)
    assert (found["tasks"], found["left_out"]) == (3, 1)
    assert found["comparisons"][0]["difference"] == pytest.approx(2 / 3)
    assert found["by_task_type"]["b"]["lift"]["oracle"]["difference"] == 1.0
    assert found["by_skill"][0]["none"] == pytest.approx(1 / 3)
    # Three tasks, two of which differ, both the same way: of the 4 ways to toss them 2 are as extreme.
    assert found["comparisons"][0]["p"] == pytest.approx(0.5, abs=0.02)


def test_bounds_name_conditions_that_may_have_hyphens_of_their_own() -> None:
    names = ["none", "retrieved:my-package:Mine"]
    bound = read_bound("retrieved:my-package:Mine-none=0.25", names)
    assert bound == ("retrieved:my-package:Mine", "none", 0.25)
    report = {"conditions": {"none": {"success_rate": 0.5}, names[1]: {"success_rate": 0.7}}}
    assert missed([bound], report) == ["retrieved:my-package:Mine - none is +0.200, below 0.25"]
    assert np.isclose(bound[2], 0.25)
