"""Teachers by name: which weights score, when they move, what is in memory, what a checkpoint needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from sdar_agents.batch import TurnBatch
from sdar_agents.checkpoint import latest_checkpoint, load_training_state
from sdar_agents.config import ConfigError, TrainConfig, from_json, to_json
from sdar_agents.learners import SDAR, LossOutput, Needs, TokenScores
from sdar_agents.policy import WithoutAdapters
from sdar_agents.run_log import read_metrics
from sdar_agents.setup import set_up
from sdar_agents.teacher_weights import TeacherKind, teacher_kind
from sdar_agents.train import train, train_step

MakeConfig = Callable[..., TrainConfig]
QUIET = Console(quiet=True)
WHOLE = SDAR(form="full_reverse_kl")


class _Watched(SDAR):
    """SDAR that notes how far each micro-batch's teacher is from the one that scored at the start of the step."""

    __slots__ = ()
    moved: ClassVar[list[float]] = []

    @property
    def needs(self) -> Needs:
        return replace(super().needs, teacher_at_start=True)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        assert teacher is not None
        assert batch.teacher_logprobs is not None
        difference = (teacher.logprobs - batch.teacher_logprobs).masked_fill(~batch.response_mask, 0.0)
        self.moved.append(float(difference.abs().max()))
        return super().loss(policy, teacher, batch)


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def numbers(run: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in read_metrics(Path(run))]


def saved(run: str) -> dict[str, torch.Tensor]:
    return load_file(latest_checkpoint(Path(run)).model_folder / "model.safetensors")


def test_within_a_step_the_current_teacher_moves_the_average_less_and_the_others_not_at_all(
    number_line_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sdar_agents.config.LEARNERS", {"watched": _Watched})
    moved: dict[str, list[float]] = {}
    for teacher in ("current", "step_start", "ema", "reference"):
        # Comparing gradients asks the learner too; here only its updates are watched.
        settings = {"teacher": teacher, "run": str(tmp_path / teacher), "diagnostics_every": 0}
        config = number_line_config("sdar", learner=_Watched(), **settings)
        run = set_up(config, resume=False)
        _Watched.moved.clear()
        train_step(run, 0)
        moved[teacher] = list(_Watched.moved)
    assert all(len(values) == 4 for values in moved.values())
    assert moved["step_start"] == [0.0] * 4
    # Scored twice, in other micro-batches: rounding.
    assert max(moved["reference"]) < 1e-5
    assert moved["current"][0] < 1e-5
    assert moved["ema"][0] < 1e-5
    assert moved["current"][3] > moved["ema"][3] > 1e-4


@pytest.mark.parametrize("teacher", ["step_start", "reference", "ema"])
def test_from_step_to_step_each_copy_holds_the_weights_that_its_name_says(
    teacher: str, number_line_config: MakeConfig
) -> None:
    run = set_up(number_line_config("sdar", learner=WHOLE, teacher=teacher), resume=False)
    assert run.teacher is not run.model
    initial = state(run.model)
    for step in range(2):
        before = state(run.model)
        train_step(run, step)
        after, held = state(run.model), state(run.teacher)
        assert not same(before, after)
        assert same(held, before) == (teacher == "step_start" or (teacher == "reference" and step == 0))
        assert same(held, initial) == (teacher == "reference" or (teacher == "step_start" and step == 0))
        assert not same(held, after)


def test_an_average_is_what_its_decay_says(number_line_config: MakeConfig) -> None:
    run = set_up(number_line_config("sdar", teacher="ema", teacher_decay=0.75, minibatches=1), resume=False)
    before = state(run.model)
    train_step(run, 0)
    for name, value in state(run.teacher).items():
        torch.testing.assert_close(value, 0.75 * before[name] + 0.25 * run.model.state_dict()[name])


def test_with_one_update_a_step_the_step_starts_teacher_is_the_current_one(
    number_line_config: MakeConfig, tmp_path: Path
) -> None:
    rows = {}
    for teacher in ("current", "step_start"):
        run = str(tmp_path / teacher)
        train(number_line_config("sdar", teacher=teacher, minibatches=1, steps=2, run=run), console=QUIET)
        rows[teacher] = [row for row in numbers(run) if row["kind"] == "train"]
    for one, other in zip(rows["current"], rows["step_start"], strict=True):
        assert other["gap"] == pytest.approx(one["gap"], rel=1e-4, abs=1e-6)
        assert other["gate"] == pytest.approx(one["gate"], rel=1e-4)
        # Nothing is scored beside the student.
        assert "teacher_packing_ratio" in one
        assert "teacher_packing_ratio" not in other


def test_the_models_own_folder_as_teacher_is_the_reference(number_line_config: MakeConfig, tmp_path: Path) -> None:
    reference = number_line_config("sdar", teacher="reference", run=str(tmp_path / "reference"))
    external = replace(reference, teacher=reference.model, run=str(tmp_path / "external"))
    for config in (reference, external):
        train(config, console=QUIET)
    assert numbers(reference.run) == numbers(external.run)
    assert same(saved(reference.run), saved(external.run))
    # Neither is in a checkpoint: both come from where they came from at the start.
    assert "ema" not in load_training_state(latest_checkpoint(Path(external.run)))


@pytest.mark.parametrize(("teacher", "learner"), [("external", SDAR()), ("step_start", WHOLE)])
def test_a_run_with_this_teacher_resumes_exactly(
    teacher: str, learner: SDAR, number_line_config: MakeConfig, tmp_path: Path
) -> None:
    whole = number_line_config("sdar", learner=learner, run=str(tmp_path / "whole"))
    whole = replace(whole, teacher=whole.model if teacher == "external" else teacher)
    train(whole, console=QUIET)
    broken = replace(whole, steps=2, run=str(tmp_path / "broken"))
    train(broken, console=QUIET)
    train(replace(broken, steps=4), resume=True, console=QUIET)
    assert numbers(whole.run) == numbers(broken.run)
    assert same(saved(whole.run), saved(broken.run))


def test_adapters_are_taught_by_their_base_by_a_snapshot_and_by_another_model(
    number_line_config: MakeConfig, tmp_path: Path
) -> None:
    base = number_line_config("sdar", tuning="lora", steps=1)
    reference = set_up(replace(base, teacher="reference", run=str(tmp_path / "1")), resume=False)
    assert isinstance(reference.teacher, WithoutAdapters)
    snapshot = set_up(replace(base, learner=WHOLE, teacher="step_start", run=str(tmp_path / "2")), resume=False)
    for step in range(2):
        before = state(snapshot.model)
        train_step(snapshot, step)
        assert same(state(snapshot.teacher), before)
    external = replace(base, teacher=base.model, run=str(tmp_path / "3"))
    train(external, console=QUIET)
    # Adapters start at zero: before the first update, base and model say the same.
    train(replace(base, teacher="reference", run=str(tmp_path / "4")), console=QUIET)
    of_base, of_model = (
        next(row["gap"] for row in numbers(run) if row["kind"] == "train")
        for run in (str(tmp_path / "4"), external.run)
    )
    assert of_model == pytest.approx(of_base, rel=1e-5)


def test_another_vocabulary_is_refused_with_what_to_do(number_line_config: MakeConfig) -> None:
    said = r"--teacher tiny has another vocabulary than --model .*: [\d,]+ of its [\d,]+ tokens .*same tokenizer"
    with pytest.raises(ConfigError, match=said):
        set_up(number_line_config("sdar", teacher="tiny"), resume=False)


def test_a_teacher_that_is_neither_a_name_nor_a_model_is_refused(number_line_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'reference'.*or the folder of a model"):
        set_up(number_line_config("sdar", teacher="refrence"), resume=False)
    with pytest.raises(ValueError, match="no model in /nowhere"):
        set_up(number_line_config("sdar", teacher="/nowhere"), resume=False)


def test_names_of_before_mean_what_they_meant(number_line_config: MakeConfig) -> None:
    config = number_line_config("sdar", steps=1)
    assert (replace(config, teacher="live").teacher, replace(config, teacher="frozen").teacher) == (
        "current",
        "reference",
    )
    values = to_json(config)
    assert from_json({**values, "teacher": "live"}) == config
    train(config, console=QUIET)
    # A run that was started with the old name goes on.
    assert train(replace(config, steps=2, teacher="live"), resume=True, console=QUIET)["finished"]


@pytest.mark.parametrize(
    ("teacher", "learner", "kind"),
    [
        ("current", SDAR(), "model"),
        ("step_start", SDAR(), "model"),
        ("step_start", WHOLE, "snapshot"),
        ("ema", SDAR(), "average"),
        ("reference", SDAR(), "initial"),
        ("some/model", SDAR(), "external"),
        ("ema", SDAR().rl, "none"),
    ],
)
def test_nothing_is_in_memory_that_the_teacher_does_not_need(
    teacher: str, learner: Any, kind: TeacherKind, number_line_config: MakeConfig
) -> None:
    assert teacher_kind(number_line_config("sdar", learner=learner, teacher=teacher)) == kind
