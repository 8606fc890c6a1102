"""Several processes (here two on gloo) do what one does: the same episodes, losses, weights and checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from sdar_agents.batch import collate
from sdar_agents.checkpoint import latest_checkpoint
from sdar_agents.config import TrainConfig, to_json
from sdar_agents.distributed import ALONE, World, WorldError, layers, local_device, recomputed_activations
from sdar_agents.learners import GRPO, SDAR
from sdar_agents.learners.adapting import Adaptation
from sdar_agents.policy import load_policy
from sdar_agents.run_log import read_metrics
from sdar_agents.setup import set_up
from sdar_agents.train import collect, train, train_step
from sdar_agents.update import PhaseClock, scored

MakeConfig = Callable[..., TrainConfig]
QUIET = Console(quiet=True)
LEARNING_RATE, UPDATES = 1e-4, 4
"""Of the runs that are compared: two steps of two updates."""
SHARES = ("clip_fraction", "gate_active", "importance_capped")
"""Metrics that count tokens beyond a threshold."""


def torchrun(config: TrainConfig, *arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """`sdar-gym train` of a config in several processes, as a user would launch it."""
    file = Path(config.run).with_suffix(".json")
    file.write_text(json.dumps({"config": to_json(config)}), encoding="utf-8")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = ["-m", "sdar_agents", "train", "--config", str(file), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *launcher, *command], env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def weights(run: str) -> dict[str, torch.Tensor]:
    folder = latest_checkpoint(Path(run)).model_folder
    name = "adapter_model.safetensors" if (folder / "adapter_config.json").exists() else "model.safetensors"
    return load_file(folder / name)


def assert_same_run(one: str, other: str) -> None:
    """Every number of every step, and the weights, agree up to the order in which float32 gradients are added."""
    rows, twins = ([row for row in read_metrics(Path(run)) if row["kind"] == "train"] for run in (one, other))
    assert len(rows) == len(twins) == 2
    for row, twin in zip(rows, twins, strict=True):
        assert row.keys() == twin.keys()
        for name, value in row.items():
            # What rows share depends on who gets which.
            if isinstance(value, float) and not name.startswith("seconds") and not name.endswith("packing_ratio"):
                # Of about 300 tokens, rounding may carry one or two over a threshold.
                near = pytest.approx(value, abs=0.01) if name in SHARES else pytest.approx(value, rel=1e-3, abs=1e-5)
                assert twin[name] == near, name
    last, twin = (read_metrics(Path(run))[-1] for run in (one, other))
    assert (last["kind"], last["success_rate"]) == (twin["kind"], twin["success_rate"])
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    difference = torch.cat([(second[name] - value).abs().flatten() for name, value in first.items()])
    # Adam's first steps are of the learning rate's size whatever the gradient's is, so where a gradient is nothing but
    # rounding, even its sign can differ.
    assert float((difference > 1e-6).float().mean()) < 0.01
    assert float(difference.max()) < 2 * UPDATES * LEARNING_RATE


@pytest.mark.parametrize(
    ("tuning", "packing", "teacher"),
    [
        ("full", "tree", "ema"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("lora", "tree", "reference"),
                ("full", "none", "ema"),
                ("full", "tree", "snapshot"),
                ("full", "tree", "external"),
            )
        ),
    ],
)
def test_two_processes_train_as_one(
    tuning: str, packing: str, teacher: str, number_line_config: MakeConfig, tmp_path: Path
) -> None:
    # Three groups for two processes, and a teacher in copy: nothing divides evenly, everything is sharded.
    settings: dict[str, Any] = {"groups": 3, "teacher": teacher, "tuning": tuning, "packing": packing}
    if teacher == "snapshot":
        settings |= {"teacher": "step_start", "learner": SDAR(form="full_reverse_kl", weight=0.1)}
    if teacher == "external":
        settings["teacher"] = number_line_config("sdar").model
    settings |= {"minibatches": 2, "learning_rate": LEARNING_RATE}
    one = number_line_config("sdar", steps=2, run=str(tmp_path / "one"), **settings)
    two = replace(one, run=str(tmp_path / "two"), activation_checkpointing=True)
    train(one, console=QUIET)
    finished = torchrun(two)
    assert finished.returncode == 0, finished.stderr[:6000]
    assert_same_run(one.run, two.run)


@pytest.mark.slow
def test_two_processes_probe_the_gradients_of_one(number_line_config: MakeConfig, tmp_path: Path) -> None:
    # Two groups are a micro-batch of one process, or one each of two: the probe sees all rows either way.
    adapt = Adaptation(gap_unit="running", gradient_share=0.2, trust="group", memory=0.5)
    settings: dict[str, Any] = {"groups": 2, "steps": 2, "minibatches": 1, "microbatch_tokens": 100_000}
    settings |= {"learner": SDAR(weight=0.1, adapt=adapt), "learning_rate": LEARNING_RATE}
    one = number_line_config("sdar", run=str(tmp_path / "one"), **settings)
    two = replace(one, run=str(tmp_path / "two"))
    train(one, console=QUIET)
    finished = torchrun(two)
    assert finished.returncode == 0, finished.stderr[:6000]
    assert_same_run(one.run, two.run)


def test_two_processes_play_rounds_and_average_over_episodes_as_one(
    number_line_config: MakeConfig, tmp_path: Path
) -> None:
    # Of 5 pairs in each of 2 steps some do alike whatever the model is, so that a further round is played.
    settings: dict[str, Any] = {"groups": 5, "group_size": 2, "sampling_rounds": 3}
    settings |= {"minibatches": 2, "learning_rate": LEARNING_RATE}
    settings["learner"] = SDAR(rl=GRPO(aggregation="trajectory", ratio="sequence", baseline="rloo", clip_high=0.5))
    one = number_line_config("sdar", steps=2, run=str(tmp_path / "one"), **settings)
    two = replace(one, run=str(tmp_path / "two"))
    train(one, console=QUIET)
    finished = torchrun(two)
    assert finished.returncode == 0, finished.stderr[:6000]
    assert_same_run(one.run, two.run)
    assert any(row["played_groups"] > 5 for row in read_metrics(Path(one.run)) if row["kind"] == "train")


@pytest.mark.slow
def test_two_processes_recall_the_turns_that_one_does(number_line_config: MakeConfig, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"groups": 3, "minibatches": 2, "learning_rate": LEARNING_RATE, "teacher": "reference"}
    one = number_line_config("verified_imitation", steps=2, run=str(tmp_path / "one"), **settings)
    two = replace(one, run=str(tmp_path / "two"))
    train(one, console=QUIET)
    finished = torchrun(two)
    assert finished.returncode == 0, finished.stderr[:6000]
    assert_same_run(one.run, two.run)


def test_a_run_of_two_processes_goes_on_in_one(number_line_config: MakeConfig, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"steps": 2, "minibatches": 2, "learning_rate": LEARNING_RATE, "checkpoint_every": 1}
    whole = number_line_config("sdar", run=str(tmp_path / "whole"), **settings)
    train(whole, console=QUIET)
    broken = replace(whole, run=str(tmp_path / "broken"))
    finished = torchrun(replace(broken, steps=1))
    assert finished.returncode == 0, finished.stderr[:6000]
    train(broken, resume=True, console=QUIET)
    assert_same_run(whole.run, broken.run)


def test_more_processes_than_groups_are_refused(
    number_line_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "9")
    with pytest.raises(ValueError, match="9 processes but only 2 groups"):
        set_up(number_line_config("grpo", groups=2), resume=False)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(WorldError, match=r"torch sees 2 .*--nproc-per-node 2"):
        local_device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert local_device("cuda") == "cuda:1"
    assert local_device("cpu") == "cpu"


def test_shares_are_contiguous_whole_and_even() -> None:
    items = list(range(7))
    shares = [World(rank, 3).share(items) for rank in range(3)]
    assert [item for share in shares for item in share] == items
    assert sorted(len(share) for share in shares) == [2, 2, 3]
    assert ALONE.share(items) == items


def test_bfloat16_computes_but_float32_is_trained(number_line_config: MakeConfig) -> None:
    # One unit in the last place of a bfloat16 weight of 0.05 is 2e-4: an update of 1e-6 would be lost.
    settings: dict[str, Any] = {"learning_rate": 1e-6, "teacher": "reference"}
    half = set_up(number_line_config("sdar", dtype="bfloat16", **settings), resume=False)
    full = set_up(replace(half.config, dtype="float32", run=half.config.run + "-full"), resume=False)
    rollout, _ = collect(half, 0, PhaseClock())
    batch = collate(rollout.episodes, pad_id=half.tokenizer.pad_id)
    difference = (scored(half, batch).old_logprobs - scored(full, batch).old_logprobs).abs().max()
    assert 1e-4 < float(difference) < 0.2

    before = [parameter.detach().full_tensor().clone() for parameter in half.model.parameters()]
    train_step(half, 0)
    after = [parameter.detach().full_tensor() for parameter in half.model.parameters()]
    assert all(parameter.dtype == torch.float32 for parameter in after)
    moved = torch.cat([(new - old).abs().flatten() for new, old in zip(after, before, strict=True)])
    assert float((moved > 0).float().mean()) > 0.5
    assert float(moved.max()) < 1e-4


def test_recomputing_activations_keeps_less_and_changes_no_gradient(number_line_model: Path) -> None:
    model = load_policy(str(number_line_model))[0]
    ids = torch.arange(5, 25)[None]

    def gradient_and_kept(*, recompute: bool) -> tuple[torch.Tensor, int]:
        kept = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with (
            recomputed_activations(model, enabled=recompute),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x),
        ):
            loss = model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)[..., 3].mean()
        loss.backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        model.zero_grad()
        return gradient, kept

    plain, much = gradient_and_kept(recompute=False)
    again, little = gradient_and_kept(recompute=True)
    torch.testing.assert_close(again, plain)
    assert little < much / 2
    assert not any(layer.training for layer in layers(model))


def test_adapters_start_the_same_for_a_seed_and_disturb_no_other_draw(number_line_model: Path) -> None:
    state = torch.get_rng_state()
    one, again, other = (load_policy(str(number_line_model), tuning="lora", seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    first, second, third = (
        torch.cat([value.flatten() for value in model.state_dict().values()]) for model in (one, again, other)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
