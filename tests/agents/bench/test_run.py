"""Running a bench on the number line: kills, failures, Ctrl-C, changed files, and what the report makes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from rich.console import Console
from safetensors.torch import load_file

from sdar_agents.bench.file import Bench, chosen, read_bench
from sdar_agents.bench.folder import BenchFolderError, claim, read_manifest, state_of
from sdar_agents.bench.report import Question, make_report
from sdar_agents.bench.results import ResultError, read_results
from sdar_agents.bench.run import run_bench
from sdar_agents.checkpoint import checkpoints, latest_checkpoint
from sdar_agents.cli import main
from sdar_agents.episode_file import read_episodes, read_header
from sdar_agents.run_log import read_metrics
from tests.signals import take_interrupts

QUIET = Console(quiet=True)
LEARNERS = ("grpo", "sdar")


def facts(cell: Path) -> dict[str, Any]:
    """All of a cell that does not tell the time."""
    timeless = [
        {key: value for key, value in row.items() if not key.startswith("seconds")} for row in read_metrics(cell)
    ]
    result = json.loads((cell / "cell.json").read_text(encoding="utf-8"))
    return {
        "metrics": timeless,
        "episodes": list(read_episodes(cell / "final_episodes.jsonl")),
        "result": {key: value for key, value in result.items() if key != "seconds"},
        "weights": {
            name: tensor.tolist()
            for name, tensor in load_file(latest_checkpoint(cell).model_folder / "model.safetensors").items()
        },
    }


def start(file: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sdar_agents", "bench", "run", str(file), "--out", str(out), *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=take_interrupts
    )


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 240
    while not reached():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.02)


def lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def test_a_cell_holds_what_its_number_rests_on(whole: tuple[Path, Bench]) -> None:
    out, _ = whole
    for learner in LEARNERS:
        cell = out / "line" / learner / "seed-1"
        result = json.loads((cell / "cell.json").read_text(encoding="utf-8"))
        header = read_header(cell / "final_episodes.jsonl")
        provenance = result["provenance"]
        for name in ("panel_hash", "bank_hash", "prompt_hash"):
            assert provenance[name]
            assert provenance[name] == getattr(header, name)
        stored = json.loads((cell / "config.json").read_text(encoding="utf-8"))
        assert stored["config"]["seed"] == 1
        assert stored["config"]["learner"]["name"] == learner
        assert stored["provenance"]["prompt_hash"] == provenance["prompt_hash"]
        assert provenance["version"]
        assert provenance["torch"]
        assert len(list(read_episodes(cell / "final_episodes.jsonl"))) == result["tasks"] == 18
        assert len(checkpoints(cell)) == 1


def test_the_final_panel_is_played_as_the_last_evaluation_was(whole: tuple[Path, Bench]) -> None:
    cell = whole[0] / "line" / "sdar" / "seed-0"
    last = [row for row in read_metrics(cell) if row["kind"] == "eval"][-1]
    panel = json.loads((cell / "panel.json").read_text(encoding="utf-8"))["task_ids"]
    played = {it.episode.task_id: it.episode.success for it in read_episodes(cell / "final_episodes.jsonl")}
    assert [task for task in panel if played[task]] == last["solved"]


def test_the_oracle_says_how_long_a_task_is(whole: tuple[Path, Bench]) -> None:
    result = json.loads((whole[0] / "line" / "grpo" / "seed-0" / "cell.json").read_text(encoding="utf-8"))
    # A task `valid/3-7` goes from 3 to 7, a step a turn.
    for task, turns in result["oracle_turns"].items():
        begin, end = map(int, task.rpartition("/")[2].split("-"))
        assert turns == abs(end - begin)


def test_finished_cells_are_taken_as_they_are(whole: tuple[Path, Bench]) -> None:
    out, bench = whole
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file() and file.name != "bench.json"}
    assert set(run_bench(bench, out, jobs=1, console=QUIET).values()) == {"finished"}
    assert before == {
        file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file() and file.name != "bench.json"
    }


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_bench_killed_again_and_again_ends_as_if_nothing_had_happened(
    jobs: str, whole: tuple[Path, Bench], write_file: Callable[..., Path], tmp_path: Path
) -> None:
    file, out = write_file(tmp_path), tmp_path / "out"
    cells = [out / "line" / learner / f"seed-{seed}" for seed in (0, 1) for learner in LEARNERS]
    moments: list[Callable[[], bool]] = [
        lambda: lines(cells[0] / "metrics.jsonl") >= 3,  # in training, after its first step
        lambda: lines(cells[1] / "final_episodes.jsonl") >= 6,  # in the final panel
        lambda: (cells[2] / "config.json").is_file(),  # at the very beginning
    ]
    for reached in moments:
        process = start(file, out, "--jobs", jobs)
        wait_until(reached, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start(file, out, "--jobs", jobs)
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 0, said
    assert "4 of 4 cells finished" in said
    for cell in cells:
        other = whole[0] / cell.relative_to(out)
        assert {key: value for key, value in facts(cell).items() if key != "weights"} == {
            key: value for key, value in facts(other).items() if key != "weights"
        }
        assert facts(cell)["weights"] == facts(other)["weights"]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_saves_the_step_and_the_same_command_goes_on(
    jobs: str, write_file: Callable[..., Path], tmp_path: Path
) -> None:
    file, out = (
        write_file(tmp_path, ("steps = 2", "steps = 400"), ("eval_every = 1", "eval_every = 400")),
        tmp_path / "o",
    )
    process = start(file, out, "--jobs", jobs, "--only", "seed-0")
    first = out / "line" / "grpo" / "seed-0"
    wait_until(lambda: lines(first / "metrics.jsonl") >= 3, process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 130, said
    assert "seed-0 stopped: the same command goes on with it" in said
    assert "cells finished" in said
    assert 1 <= latest_checkpoint(first).step < 400
    assert latest_checkpoint(first).step == lines(first / "metrics.jsonl") - 1
    assert state_of(first) == "begun"


def test_a_cell_that_fails_is_told_and_tried_again_and_the_rest_goes_on(
    write_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A context that is too short shows only when the model is loaded.
    failing = ("options = { weight = 0.3 }", "options = { weight = 0.3 }\nmax_prompt_tokens = 100000")
    out = tmp_path / "out"
    file = write_file(tmp_path, failing, ("seeds = [0, 1]", "seeds = [0]"), ("steps = 2", "steps = 1"))
    for _ in range(2):
        with pytest.raises(SystemExit) as stop:
            main(["bench", "run", str(file), "--out", str(out)])
        assert stop.value.code == 1
        said = capsys.readouterr().err
        assert "line/sdar/seed-0 failed: ConfigError: prompt 100000" in said
        assert "1 of 2 cells finished, 1 failed" in said
    error = json.loads((out / "line" / "sdar" / "seed-0" / "error.json").read_text(encoding="utf-8"))
    assert "Traceback" in error["traceback"]
    main(["bench", "report", str(out), "--json", str(tmp_path / "report.json")])
    assert "line/sdar/seed-0: failed, ConfigError: prompt 100000" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [it["state"] for it in report["missing"]] == ["failed"]
    assert list(report["environments"]["line"]["learners"]) == ["grpo"]


def test_a_process_that_dies_fails_its_cell_alone(
    write_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdar_agents.bench import run

    monkeypatch.setattr(run, "_process", dies_for_sdar)
    bench = read_bench(write_file(tmp_path, ("seeds = [0, 1]", "seeds = [0]")))
    endings = run_bench(bench, tmp_path / "out", jobs=2, console=QUIET)
    assert {cell.learner: ending for cell, ending in endings.items()} == {"grpo": "finished", "sdar": "failed"}
    error = json.loads((tmp_path / "out" / "line" / "sdar" / "seed-0" / "error.json").read_text(encoding="utf-8"))
    assert error["error"] == "its process ended by signal SIGKILL"


def dies_for_sdar(job: Any) -> None:
    """What a process does in the test above: nothing, or it is killed, as for want of memory."""
    if job.cell.learner == "sdar":
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_cell_that_another_process_works_on_is_left_to_it(write_file: Callable[..., Path], tmp_path: Path) -> None:
    from sdar_agents.bench.folder import locked

    bench = read_bench(write_file(tmp_path))
    with locked(tmp_path / "out2" / "x") as mine:
        assert mine
        with locked(tmp_path / "out2" / "x") as again:
            assert not again
    claim(tmp_path / "out", bench)
    with locked(tmp_path / "out" / "line" / "grpo" / "seed-0"):
        endings = run_bench(bench, tmp_path / "out", jobs=1, only=["line/grpo/seed-0"], console=QUIET)
    assert list(endings.values()) == ["held"]


def test_a_changed_file_is_refused_and_more_seeds_and_learners_are_not(
    whole: tuple[Path, Bench], write_file: Callable[..., Path], tmp_path: Path
) -> None:
    out, _ = whole
    before = (out / "bench.json").read_bytes()
    for change, words in {
        ("steps = 2", "steps = 3"): r"\(steps: 2 -> 3\)",
        ("weight = 0.3", "weight = 0.4"): r"\(line/sdar: learner.weight: 0.3 -> 0.4\)",
        ("final_episodes = 18", "final_episodes = 12"): r"final_episodes: 18 -> 12",
    }.items():
        with pytest.raises(BenchFolderError, match=words):
            claim(out, read_bench(write_file(tmp_path, change)))
        assert (out / "bench.json").read_bytes() == before
    more = ('[[learners]]\nname = "grpo"', '[[learners]]\nname = "grpo"\n[[learners]]\nname = "grpo_opsd"')
    kept = ("steps = 2", "steps = 2\nkeep_checkpoints = 5\nmicrobatch_tokens = 4096")
    grown = read_bench(write_file(tmp_path, more, kept, ("seeds = [0, 1]", "seeds = [0, 1, 2]")))
    assert len(claim(out, grown).cells) == 9
    results = read_results([out])
    assert len(results.rows) == 4
    assert sorted(it.name for it in results.missing) == [
        "line/grpo/seed-2",
        *(f"line/grpo_opsd/seed-{seed}" for seed in range(3)),
        "line/sdar/seed-2",
    ]  # fmt: skip
    assert {it.state for it in results.missing} == {"not begun"}
    # What is not listed any more stays, and is told.
    claim(out, read_bench(write_file(tmp_path, ("seeds = [0, 1]", "seeds = [0]"))))
    assert read_results([out]).left_out == ("line/grpo/seed-1", "line/sdar/seed-1")
    claim(out, read_bench(write_file(tmp_path)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 99, "version": "9.0"}, r"format 99, made by sdar-gym 9\.0; this is sdar-gym"),
        ({"version": "0.0.1"}, r"made by sdar-gym 0\.0\.1, this is"),
        ({"cells": [[1]]}, r"damaged .*: put a copy of it back"),
    ],
)
def test_a_folder_of_another_version_is_refused_by_name(
    change: dict[str, Any], words: str, write_file: Callable[..., Path], tmp_path: Path
) -> None:
    bench, out = read_bench(write_file(tmp_path)), tmp_path / "out"
    claim(out, bench)
    manifest = json.loads((out / "bench.json").read_text(encoding="utf-8"))
    (out / "bench.json").write_text(json.dumps(manifest | change), encoding="utf-8")
    before = (out / "bench.json").read_bytes()
    with pytest.raises(BenchFolderError, match=words):
        claim(out, bench)
    assert (out / "bench.json").read_bytes() == before


def test_a_folder_that_holds_something_else_is_left_alone(write_file: Callable[..., Path], tmp_path: Path) -> None:
    bench = read_bench(write_file(tmp_path))
    with pytest.raises(BenchFolderError, match="holds no bench"):
        claim(tmp_path, bench)
    with pytest.raises(BenchFolderError, match="holds no bench"):
        read_manifest(tmp_path)


def test_patterns_choose_cells_and_a_misspelt_one_is_told(
    write_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [cell.name for cell in read_bench(write_file(tmp_path)).cells()]
    assert chosen(names, ["sdar"]) == ["line/sdar/seed-0", "line/sdar/seed-1"]
    assert chosen(names, ["line/*/seed-1"]) == ["line/grpo/seed-1", "line/sdar/seed-1"]
    assert chosen(names, ["line/sdar"]) == ["line/sdar/seed-0", "line/sdar/seed-1"]
    assert chosen(names, []) == names
    with pytest.raises(SystemExit):
        main(["bench", "run", str(tmp_path / "line.toml"), "--out", str(tmp_path / "out"), "--only", "sdra"])
    assert "--only 'sdra' names no cell; did you mean 'sdar'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_episode_file_that_was_cut_is_told_and_the_rest_reported(whole: tuple[Path, Bench], tmp_path: Path) -> None:
    import shutil

    out = tmp_path / "copy"
    shutil.copytree(whole[0], out)
    file = out / "line" / "sdar" / "seed-0" / "final_episodes.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    results = read_results([out])
    (missing,) = results.missing
    assert (missing.name, missing.state) == ("line/sdar/seed-0", "unreadable")
    assert "holds 17 of 18 episodes, and its last line is cut" in missing.error
    assert len(results.rows) == 3
    # As it says: without the result, running again plays the one that is missing.
    (file.parent / "cell.json").unlink()
    assert set(run_bench(whole[1], out, jobs=1, console=QUIET).values()) == {"finished"}
    assert facts(file.parent)["episodes"] == facts(whole[0] / "line" / "sdar" / "seed-0")["episodes"]


@pytest.mark.parametrize(
    ("change", "words"),
    [(lambda text: text[:100], "is damaged"), (lambda text: text.replace(": 1", ": 99", 1), "format 99")],
)
def test_a_damaged_result_of_a_cell_is_made_again_from_its_episodes(
    change: Callable[[str], str], words: str, whole: tuple[Path, Bench], tmp_path: Path
) -> None:
    import shutil

    out = tmp_path / "copy"
    shutil.copytree(whole[0], out)
    place = out / "line" / "sdar" / "seed-0"
    file = place / "cell.json"
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
    results = read_results([out])
    (missing,) = results.missing
    assert (missing.name, len(results.rows)) == ("line/sdar/seed-0", 3)
    assert words in missing.error
    assert f"delete {file} and run the bench again" in missing.error
    # As it says.
    episodes = (place / "final_episodes.jsonl").read_bytes()
    file.unlink()
    assert set(run_bench(whole[1], out, jobs=1, console=QUIET).values()) == {"finished"}
    assert (place / "final_episodes.jsonl").read_bytes() == episodes
    assert len(read_results([out]).rows) == 4


def test_the_page_of_a_bench_is_asked_for_by_its_cells(
    whole: tuple[Path, Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["view", str(whole[0])])
    assert "its cells do: sdar-gym view " in capsys.readouterr().err


def test_the_report_tells_what_a_step_costs(whole: tuple[Path, Bench]) -> None:
    found = make_report(read_results([whole[0]]), Question())["environments"]["line"]["learners"]
    for learner in LEARNERS:
        of_seeds = []
        for seed in (0, 1):
            steps = [
                row for row in read_metrics(whole[0] / "line" / learner / f"seed-{seed}") if row["kind"] == "train"
            ]
            parts = ("rollout", "score", "update", *(("teacher",) if learner == "sdar" else ()))
            of_seeds.append(median(sum(row[f"tokens/{part}"] for part in parts) for row in steps))
        assert found[learner]["tokens_per_step"] == median(of_seeds)
        assert found[learner]["seconds_per_step"] > 0
    assert found["sdar"]["tokens_per_step"] > 1.3 * found["grpo"]["tokens_per_step"]


def test_the_report_tells_the_course_of_training_metrics(
    whole: tuple[Path, Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["bench", "report", str(whole[0]), "--show", "gap", "success"])
    said = capsys.readouterr().out
    assert "training, first quarter -> last" in said
    found = make_report(read_results([whole[0]]), Question(show=("gap", "success")))["environments"]["line"]["learners"]
    assert list(found["grpo"]["training"]) == ["success"]
    gaps = [
        [row["gap"] for row in read_metrics(whole[0] / "line" / "sdar" / f"seed-{seed}") if row["kind"] == "train"]
        for seed in (0, 1)
    ]
    assert found["sdar"]["training"]["gap"]["first"]["per_seed"] == [values[0] for values in gaps]
    assert found["sdar"]["training"]["gap"]["last"]["mean"] == pytest.approx(sum(values[-1] for values in gaps) / 2)
    assert f"{found['sdar']['training']['gap']['last']['mean']:.3g}" in said
    with pytest.raises(SystemExit):
        main(["bench", "report", str(whole[0]), "--show", "gatte"])
    assert "unknown training metric 'gatte'; did you mean 'gate'?" in capsys.readouterr().err


def test_plain_runs_are_compared_by_their_last_evaluation(
    whole: tuple[Path, Bench], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs = [str(whole[0] / "line" / learner / f"seed-{seed}") for learner in LEARNERS for seed in (0, 1)]
    main(["bench", "report", *runs, "--json", str(tmp_path / "report.json")])
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    learners = report["environments"]["NumberLine-v0"]["learners"]
    for learner in LEARNERS:
        last = [
            [row for row in read_metrics(whole[0] / "line" / learner / f"seed-{seed}") if row["kind"] == "eval"][-1]
            for seed in (0, 1)
        ]
        assert learners[learner]["per_seed"] == [row["success_rate"] for row in last]
    assert learners["grpo"]["score"] is None
    with pytest.raises(ResultError, match="are both grpo with seed 0"):
        read_results([Path(runs[0]), Path(runs[0])])
    with pytest.raises(ResultError, match="is a whole bench"):
        read_results([whole[0], Path(runs[0])])


def test_a_pilot_says_what_its_spread_needs(whole: tuple[Path, Bench], capsys: pytest.CaptureFixture[str]) -> None:
    main(["bench", "plan", "--pilot", str(whole[0]), "--effect", "0.2", "--seeds", "2", "5"])
    said = capsys.readouterr().out
    assert "line, 18 tasks:" in said
    assert "standard deviation of 2 seeds" in said
    assert "sdar - grpo: with these tasks" in said


def test_a_file_is_planned_before_it_runs(
    write_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["bench", "plan", str(write_file(tmp_path)), "--between-seed-std", "0.05"])
    said = capsys.readouterr().out
    assert "line: 4 cells (2 pairs of environment and learner x 2 seeds)" in said
    assert "with 2 seeds of 18 final episodes, a difference of" in said
