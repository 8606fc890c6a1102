"""`doctor`, `checkpoints` and `export` as a person types them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from sdar_agents.checkpoint import latest_checkpoint
from sdar_agents.cli import main
from sdar_agents.config import TrainConfig
from sdar_agents.machine import try_import, usable_cpus
from sdar_agents.run_log import read_metrics
from sdar_agents.train import train

MakeConfig = Callable[..., TrainConfig]
QUIET = Console(quiet=True)
GIB = 2**30


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


# ---- doctor ----------------------------------------------------------------------------------------------


def test_doctor_shows_the_machine_the_plan_and_the_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "doctor.json"
    main(["doctor", "--device", "cpu", "--learner", "grpo", "--run", str(tmp_path / "run"), "--json", str(file)])
    printed = capsys.readouterr().out
    for text in (
        "torch",
        torch.__version__,
        "182,176 parameters",
        "activations",
        "peak, update",
        "an estimate",
        "fits",
    ):
        assert text in printed
    report = json.loads(file.read_text(encoding="utf-8"))
    assert report["machine"]["packages"]["torch"] == torch.__version__
    assert report["plan"]["fits"]
    assert report["plan"]["peak"] > 0
    assert report["time"]["seconds"]["teacher"] == 0.0
    assert min(report["time"]["seconds"][phase] for phase in ("rollout", "score", "update")) > 0
    assert not (tmp_path / "run").exists()


def test_doctor_refuses_what_does_not_fit_with_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdar_agents.machine.device_memory", lambda _: (2 * GIB, GIB))
    file = tmp_path / "doctor.json"
    # Four million tokens at once: 75 GiB of activations.
    arguments = ["doctor", "--device", "cpu", "--microbatch-tokens", "4000000", "--json", str(file)]
    said = refused(arguments, capsys)
    assert "1.00 GiB free: use a smaller --microbatch-tokens, --activation-checkpointing, --tuning lora" in said
    assert json.loads(file.read_text(encoding="utf-8"))["plan"]["fits"] is False


def test_doctor_shares_out_among_gpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = []
    for gpus in ("1", "2"):
        file = tmp_path / f"{gpus}.json"
        main(["doctor", "--device", "cpu", "--gpus", gpus, "--json", str(file)])
        items = json.loads(file.read_text(encoding="utf-8"))["plan"]["items"]
        sizes.append(next(item["size"] for item in items if item["name"] == "optimizer"))
    assert sizes[0] == 2 * sizes[1] == 8 * 182_176
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["--gpu", "2"], "did you mean '--gpus'"),
        (["--gpus", "0"], "--gpus must be at least 1"),
        (["--microbatch-token", "4"], "did you mean '--microbatch-tokens'"),
        (["--json", "no/where.json"], "its folder does not exist"),
        (["--model", "./nowhere"], "cannot read the config of the model"),
    ],
)
def test_doctor_answers_mistakes(arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert meant in refused(["doctor", "--device", "cpu", *arguments], capsys)


def test_a_package_that_breaks_on_import_is_reported_and_not_imported_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code in (
        ("breaks", "raise ImportError('no libcudart')"),
        ("dies", "import os; os.abort()"),
        ("good", ""),
    ):
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert try_import("breaks") == "does not import: ImportError: no libcudart"
    assert try_import("dies").startswith("does not import: ")
    assert try_import("good") == "imports"
    assert try_import("absent_package") == "not installed"
    assert not {"breaks", "dies", "good"} & sys.modules.keys()


@pytest.mark.slow
def test_the_estimated_time_of_a_step_is_within_a_factor_of_three(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    busy = os.getloadavg()[0]
    if busy > usable_cpus():
        pytest.skip(f"the estimate is for a free machine, but {busy:.1f} processes wait for {usable_cpus()} processors")
    settings = ["--device", "cpu", "--steps", "3", "--eval-episodes", "5", "--run", str(tmp_path / "run")]
    estimates = []
    for name in ("before", "after"):
        main(["doctor", *settings, "--json", str(tmp_path / name)])
        seconds = json.loads((tmp_path / name).read_text(encoding="utf-8"))["time"]["seconds"]
        estimates.append(sum(seconds.values()))
        if name == "before":
            main(["train", *settings])
    measured = [row["seconds/step"] for row in read_metrics(tmp_path / "run") if row["kind"] == "train"]
    # Other work on the machine only adds to either: the smallest of each say most.
    ratio = min(estimates) / min(measured)
    assert 1 / 3 < ratio < 3
    capsys.readouterr()


# ---- export and checkpoints ------------------------------------------------------------------------------


@pytest.fixture
def trained(number_line_config: MakeConfig, tmp_path: Path) -> TrainConfig:
    config = number_line_config("sdar", steps=4, run=str(tmp_path / "run"))
    train(config, console=QUIET)
    return config


def test_an_exported_run_is_a_plain_model_folder_that_plays_as_the_run_does(
    trained: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "model"
    main(["export", trained.run, "--out", str(out)])
    newest = latest_checkpoint(Path(trained.run)).model_folder
    loaded = AutoModelForCausalLM.from_pretrained(out).state_dict()
    saved = load_file(newest / "model.safetensors")
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)
    assert AutoTokenizer.from_pretrained(out).chat_template
    assert (out / "prompt_style.txt").read_text(encoding="utf-8") == "compact\n"
    assert (out / "generation_config.json").is_file()
    results = []
    budgets = ["--max-prompt-tokens", "200", "--max-response-tokens", "4"]
    for agent, more in ((trained.run, []), (str(out), budgets)):
        arguments = ["eval", "--env", trained.env, "--agent", agent, "--episodes", "10", *more]
        main([*arguments, "--json", str(tmp_path / "result.json")])
        result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
        results.append((result["success_rate"], result["turns_mean"], result["panel_hash"]))
    assert results[0] == results[1]
    capsys.readouterr()


def test_an_earlier_step_can_be_exported_and_nothing_is_overwritten_unasked(
    trained: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    main(["export", trained.run, "--out", str(out), "--step", "2"])
    early = load_file(out / "model.safetensors")
    capsys.readouterr()
    assert "is already there: --force replaces it" in refused(["export", trained.run, "--out", str(out)], capsys)
    main(["export", trained.run, "--out", str(out), "--force"])
    late = load_file(out / "model.safetensors")
    assert any(not torch.equal(early[name], late[name]) for name in early)
    wanted = ["export", trained.run, "--out", str(tmp_path / "x"), "--step", "3"]
    assert "no checkpoint of step 3; there are: 2, 4" in refused(wanted, capsys)
    assert "would replace the run itself" in refused(["export", trained.run, "--out", trained.run, "--force"], capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_an_export_that_fails_leaves_nothing_and_what_was_there(
    trained: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("", encoding="utf-8")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sdar_agents.files.sync_tree", full)
    with pytest.raises(OSError, match="No space"):
        main(["export", trained.run, "--out", str(out), "--force"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]
    assert [path.name for path in out.iterdir()] == ["mine"]


def test_adapters_are_exported_merged_or_alone(number_line_config: MakeConfig, tmp_path: Path) -> None:
    config = number_line_config("sdar", steps=2, tuning="lora", learning_rate=0.05, run=str(tmp_path / "run"))
    train(config, console=QUIET)
    main(["export", config.run, "--out", str(tmp_path / "merged")])
    main(["export", config.run, "--out", str(tmp_path / "alone"), "--no-merge"])
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    assert not (tmp_path / "alone" / "model.safetensors").exists()
    merged, alone, base = (
        AutoModelForCausalLM.from_pretrained(folder).eval()
        for folder in (tmp_path / "merged", tmp_path / "alone", config.model)
    )
    ids = torch.arange(20)[None]
    with torch.no_grad():
        results = [model(input_ids=ids).logits for model in (merged, alone, base)]
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(results[0], results[2], atol=1e-2)


def test_checkpoints_are_listed_with_their_state(trained: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    file = latest_checkpoint(Path(trained.run)).folder / "training.pt"
    file.write_bytes(file.read_bytes()[:-3])
    main(["checkpoints", trained.run])
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[:2] == ["step", "2"]
    assert first.endswith("MiB  intact")
    assert "step-000004/training.pt has" in second
    assert "is not a folder" in refused(["checkpoints", "nowhere"], capsys)
