"""The probe before the first step: as large as anything that can come up, and without a trace."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from sdar_agents import probe as probe_module
from sdar_agents import train as train_module
from sdar_agents.batch import TurnBatch
from sdar_agents.checkpoint import checkpoints, latest_checkpoint
from sdar_agents.config import ConfigError, TrainConfig
from sdar_agents.learners import LEARNERS
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.sdar import SDAR
from sdar_agents.probe import longest_rows, probe_longest_rows
from sdar_agents.run_log import read_metrics
from sdar_agents.setup import Run, set_up
from sdar_agents.train import train

MakeConfig = Callable[..., TrainConfig]
QUIET = Console(quiet=True)


def test_the_rows_are_the_longest_allowed_and_share_no_beginning(number_line_config: MakeConfig) -> None:
    run = set_up(number_line_config("sdar", microbatch_tokens=1000), resume=False)
    batch = longest_rows(run, prompt=200, skills=20)
    # 1000 // (200 + 20 + 4)
    assert batch.prompt_ids.shape == (4, 200)
    assert batch.teacher_prompt_ids is not None
    assert batch.teacher_prompt_ids.shape == (4, 220)
    assert batch.response_ids.shape == (4, 4)
    assert len(list(batch.split(1000))) == 1
    firsts = [*batch.prompt_ids[:, 0].tolist(), *batch.teacher_prompt_ids[:, 0].tolist()]
    assert len(set(firsts)) == 8


@pytest.mark.parametrize("learner", sorted(LEARNERS))
def test_every_learner_is_probed_with_gradients_everywhere(learner: str, number_line_config: MakeConfig) -> None:
    run = set_up(number_line_config(learner), resume=False)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    norms: list[float] = []
    zero = run.optimizer.zero_grad

    def seen(**settings: Any) -> None:
        norms.append(sum(float(p.grad.norm()) for p in run.model.parameters() if p.grad is not None))
        zero(**settings)

    run.optimizer.zero_grad = seen  # type: ignore[method-assign]
    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # type: ignore[index,union-attr]
    probe_longest_rows(run)
    assert [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()] == states  # type: ignore[index,union-attr]
    assert len(norms) == 2
    assert min(norms) > 0
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    assert all(parameter.grad is None for parameter in run.model.parameters())
    assert not run.optimizer.state


def test_a_run_is_the_same_with_and_without_it(
    number_line_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    learner = SDAR(rl=GRPO(kl_coefficient=0.1))
    results = []
    for name in ("with", "without"):
        if name == "without":
            monkeypatch.setattr(train_module, "probe_longest_rows", lambda _: None)
        config = number_line_config("sdar", learner=learner, steps=2, teacher="ema", run=str(tmp_path / name))
        train(config, console=QUIET)
        rows = [{k: v for k, v in row.items() if "seconds" not in k} for row in read_metrics(Path(config.run))]
        weights = load_file(latest_checkpoint(Path(config.run)).model_folder / "model.safetensors")
        results.append((rows, {key: value.tolist() for key, value in weights.items()}))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
    ids=["cuda", "python", "cpu"],
)
def test_out_of_memory_is_answered_with_the_numbers_before_anything_is_played(
    error: Exception, number_line_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = number_line_config("sdar", microbatch_tokens=1000)

    def fail(_run: Run, _micro: TurnBatch, *_: Any) -> None:
        raise error

    monkeypatch.setattr(probe_module, "backward", fail)
    monkeypatch.setattr(train_module, "play", lambda *_, **__: pytest.fail("played"))
    said = r"out of memory on cpu \(.* GiB.*: 4 rows, 896 tokens at once .*longest row has 224.*--microbatch-tokens"
    with pytest.raises(ConfigError, match=said):
        train(config, console=QUIET)
    monkeypatch.undo()
    # The advice can be followed in the same folder.
    train(replace(config, microbatch_tokens=500, steps=1), console=QUIET)
    assert [each.step for each in checkpoints(Path(config.run))] == [1]


def test_another_error_stays_what_it_is(number_line_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(probe_module, "backward", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        train(number_line_config("sdar"), console=QUIET)
