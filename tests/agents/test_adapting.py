"""What adapts: schedules by hand, off is off to the bit, weights that go where they are told, values that are saved."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from sdar_agents.batch import TurnBatch, collate
from sdar_agents.checkpoint import latest_checkpoint, load_training_state
from sdar_agents.commands.train import parse_train
from sdar_agents.config import ConfigError, TrainConfig, from_json, preset_config, to_json
from sdar_agents.gradient_probe import compare_gradients, probe_rows
from sdar_agents.learners import GRPO, GRPOOPSD, SDAR, LossOutput, Needs, TokenScores
from sdar_agents.learners.adapting import Adaptation, group_trust
from sdar_agents.learners.base import AdaptingLearner
from sdar_agents.options import OptionError
from sdar_agents.run_log import read_metrics
from sdar_agents.schedules import Schedule
from sdar_agents.setup import Run, set_up
from sdar_agents.train import collect, train
from sdar_agents.update import PhaseClock, backward, scored
from tests.agents.toy_batches import episode, turn

MakeConfig = Callable[..., TrainConfig]
QUIET = Console(quiet=True)
NO_KL = GRPO(kl_coefficient=0.0)


# ---- schedules -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (Schedule(), [1, 1, 1, 1, 1, 1]),
        (Schedule(start=0.5), [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
        (Schedule("linear", over=4), [1, 0.75, 0.5, 0.25, 0, 0]),
        (Schedule("linear", start=1, end=3, over=2), [1, 2, 3, 3, 3, 3]),
        # cos of 0, a quarter, a half, three quarters of pi: 1, .7071, 0, -.7071.
        (Schedule("cosine", over=4), [1, 0.853553, 0.5, 0.146447, 0, 0]),
        (Schedule("cosine", start=2, end=1, over=2), [2, 1.5, 1, 1, 1, 1]),
        (Schedule("warmup", start=2, over=4), [0, 0.5, 1, 1.5, 2, 2]),
    ],
)
def test_schedules_by_hand(schedule: Schedule, factors: list[float]) -> None:
    assert [schedule(step) for step in range(6)] == pytest.approx(factors, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule("liner"), "did you mean 'linear'"),  # type: ignore[arg-type]
        (lambda: Schedule(over=0), "takes at least 1"),
        (lambda: Schedule(end=-1.0), "must be at least 0"),
        (lambda: Adaptation(gap_unit="runing"), "did you mean 'running'"),  # type: ignore[arg-type]
        (lambda: Adaptation(gradient_share=0.1, weight=Schedule("linear")), "both decide the weight"),
        (lambda: SDAR(weight=0.0, adapt=Adaptation(gradient_share=0.1)), "set one to start from"),
        (lambda: SDAR(gate="entropy", adapt=Adaptation(gap_unit="running")), "this learner has none"),
        (lambda: GRPOOPSD(adapt=Adaptation(sharpness=Schedule("linear"))), "this learner has none"),
    ],
)
def test_what_would_change_nothing_or_contradicts_itself_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# ---- in a loss -------------------------------------------------------------------------------------------


def rows() -> TurnBatch:
    """Two episodes of one group, four and two tokens."""
    episodes = [
        episode(turn((1,), (2, 3, 4, 1), teacher_prompt=(1, 1), reward=1.0)),
        episode(turn((1,), (3, 2), teacher_prompt=(1, 1))),
    ]
    batch = collate(episodes, pad_id=0)
    return replace(batch, old_logprobs=torch.full(batch.response_ids.shape, -1.0) * batch.response_mask)


STUDENT = TokenScores(torch.tensor([[-1.0, -0.5, -2.0, -1.5], [-0.7, -0.2, 0.0, 0.0]]))
TEACHER = TokenScores(torch.tensor([[-0.5, -1.5, -0.1, -1.5], [-0.9, -0.3, 0.0, 0.0]]))


def answer(learner: Any, *, step: int = 0, signals: dict[str, float] | None = None) -> LossOutput:
    batch = learner.prepare(replace(rows(), teacher_logprobs=TEACHER.logprobs, signals=signals or {}), step)
    output: LossOutput = learner.loss(STUDENT, TEACHER, batch)
    return output


def test_by_default_nothing_adapts_and_nothing_more_is_needed_or_logged() -> None:
    for learner in (SDAR(rl=NO_KL), GRPOOPSD(rl=NO_KL)):
        off = learner.adapt
        assert not off.is_on
        assert off.needs(learner.rl.needs) == learner.rl.needs
        output = answer(learner)
        distill = output.token_metrics["distill_loss"]
        assert output.distill_loss is not None
        assert torch.equal(output.distill_loss, learner.weight * distill)
        assert not {"distill_weight", "gap_size", "trust", "sharpness_factor"} & set(output.token_metrics)
        assert learner.observe({"gap": 1.0}, {"weight": 3.0}) == {}


def test_what_teaches_and_what_reinforces_make_up_the_loss() -> None:
    for learner in (SDAR(rl=NO_KL, weight=0.3), GRPOOPSD(rl=NO_KL, weight=0.3)):
        output, rl = answer(learner), answer(NO_KL)
        assert output.distill_loss is not None
        torch.testing.assert_close(output.token_loss - output.distill_loss, rl.token_loss)
        assert output.distill_loss.abs().max() > 0


@pytest.mark.parametrize("make", [SDAR, GRPOOPSD])
def test_a_schedule_multiplies_the_weight(make: Callable[..., Any]) -> None:
    fading = make(rl=NO_KL, weight=0.4, adapt=Adaptation(weight=Schedule("linear", over=4)))
    for step, factor in ((0, 1.0), (1, 0.75), (3, 0.25)):
        plain = answer(make(rl=NO_KL, weight=0.4 * factor))
        torch.testing.assert_close(answer(fading, step=step).token_loss, plain.token_loss)
        assert answer(fading, step=step).token_metrics["distill_weight"].mean() == pytest.approx(0.4 * factor)
    assert torch.equal(answer(fading, step=4).token_loss, answer(NO_KL).token_loss)
    rising = make(rl=NO_KL, weight=0.4, adapt=Adaptation(weight=Schedule("warmup", over=4)))
    assert torch.equal(answer(rising, step=0).token_loss, answer(NO_KL).token_loss)
    assert torch.equal(answer(rising, step=4).token_loss, answer(make(rl=NO_KL, weight=0.4)).token_loss)


@pytest.mark.parametrize("gate", ["gap", "centred_gap"])
def test_a_schedule_multiplies_the_sharpness(gate: Any) -> None:
    changing = SDAR(rl=NO_KL, gate=gate, gate_sharpness=2.0, adapt=Adaptation(sharpness=Schedule("linear", over=4)))
    plain = SDAR(rl=NO_KL, gate=gate, gate_sharpness=0.5)
    torch.testing.assert_close(answer(changing, step=3).token_loss, answer(plain).token_loss)


def test_a_running_unit_divides_the_gap_by_its_usual_size() -> None:
    adapting = SDAR(rl=NO_KL, gate_sharpness=2.0, adapt=Adaptation(gap_unit="running", memory=0.75))
    # No step has been yet: one nat.
    assert torch.equal(answer(adapting).token_loss, answer(SDAR(rl=NO_KL, gate_sharpness=2.0)).token_loss)
    halved = answer(adapting, signals={"gap_size": 0.5})
    torch.testing.assert_close(halved.token_loss, answer(SDAR(rl=NO_KL, gate_sharpness=4.0)).token_loss)
    # What is logged is the gap in nats: .5, 1, 1.9, 0, .2, .1 on six tokens.
    sizes = halved.token_metrics["gap_size"][rows().response_mask]
    torch.testing.assert_close(sizes, torch.tensor([0.5, 1.0, 1.9, 0.0, 0.2, 0.1]))
    assert adapting.observe({"gap_size": 0.8}, {}) == {"gap_size": 0.8}
    assert adapting.observe({"gap_size": 0.8}, {"gap_size": 0.4}) == {"gap_size": pytest.approx(0.5)}
    assert adapting.observe({"gap_size": math.nan}, {"gap_size": 0.4}) == {"gap_size": 0.4}
    # A teacher that agrees does not make the gate a step function of rounding.
    tiny = answer(adapting, signals={"gap_size": 1e-9}).token_metrics["gate"]
    assert tiny[0, 3] == 0.5


def test_the_weight_goes_towards_the_asked_share_by_hand() -> None:
    learner = SDAR(weight=0.1, adapt=Adaptation(gradient_share=0.2, memory=0.5))
    # A quarter of what was asked: half the way, in logarithms, is a factor of two.
    assert learner.observe({"distill_share": 0.05}, {}) == {"weight": pytest.approx(0.2)}
    assert learner.observe({"distill_share": 0.8}, {"weight": 0.3}) == {"weight": pytest.approx(0.15)}
    for nothing in (0.0, math.nan, math.inf):
        assert learner.observe({"distill_share": nothing}, {"weight": 0.3}) == {"weight": 0.3}
    # Never more than a hundred times, or less than a hundredth, of what was set.
    assert learner.observe({"distill_share": 1e-9}, {"weight": 9.0}) == {"weight": pytest.approx(10.0)}
    assert learner.observe({"distill_share": 1e9}, {"weight": 0.01}) == {"weight": pytest.approx(0.001)}
    used = answer(replace(learner, rl=NO_KL), signals={"weight": 0.3})
    torch.testing.assert_close(used.token_loss, answer(SDAR(rl=NO_KL, weight=0.3)).token_loss)


# ---- trust -----------------------------------------------------------------------------------------------


def judged(groups: list[list[tuple[float, float]]]) -> TurnBatch:
    """Episodes of one token each: (gap, return) by group."""
    flat = [(number, gap, reward) for number, group in enumerate(groups) for gap, reward in group]
    batch = collate([episode(turn(reward=reward), group=number) for number, _, reward in flat], pad_id=0)
    return replace(batch, teacher_logprobs=torch.tensor([[gap] for _, gap, _ in flat]))


def test_a_teacher_is_trusted_as_far_as_its_gaps_go_with_the_returns() -> None:
    # Gaps 1, 0, -1 and returns 1, 0, 0: covariance 1, norms sqrt 2 and sqrt(2/3): correlation .8660.
    agreeing, opposed = [(1.0, 1.0), (0.0, 0.0), (-1.0, 0.0)], [(-1.0, 1.0), (0.0, 0.0), (1.0, 0.0)]
    unmixed, silent = [(1.0, 0.0), (0.0, 0.0)], [(0.5, 1.0), (0.5, 0.0)]
    trust, mean = group_trust(judged([agreeing, opposed, unmixed, silent]), running=0.25)
    assert trust.tolist() == pytest.approx([0.8660254] * 3 + [0.0] * 3 + [0.25] * 4)
    # Of the two groups with evidence.
    assert mean == pytest.approx(0.4330127)
    assert group_trust(judged([unmixed]), running=0.25)[1] == 0.25


def test_long_episodes_count_once_and_rows_without_weight_not_at_all() -> None:
    batch = judged([[(1.0, 1.0), (0.0, 0.0), (-1.0, 0.0), (5.0, 0.0)]])
    batch = replace(batch, weight=torch.tensor([1.0, 1.0, 1.0, 0.0]))
    assert group_trust(batch, running=0.0)[1] == pytest.approx(0.8660254)
    # The first two rows are one episode, whose mean gap is 1.
    batch = judged([[(1.5, 1.0), (0.5, 1.0), (0.0, 0.0), (-1.0, 0.0)]])
    batch = replace(batch, trajectory=torch.tensor([0, 0, 1, 2]))
    assert group_trust(batch, running=0.0)[1] == pytest.approx(0.8660254)


def test_a_distrusted_groups_teaching_is_nothing_and_its_reinforcement_stays() -> None:
    learner = SDAR(rl=NO_KL, weight=0.4, adapt=Adaptation(trust="group", memory=0.5))
    assert learner.needs.teacher_at_start
    # The solved episode's mean gap (T less -1) is .1, the other's .4: they go against each other.
    assert torch.equal(answer(learner).token_loss, answer(NO_KL).token_loss)
    assert answer(learner).token_metrics["trust"].unique().tolist() == [0.0]
    assert learner.observe({"trust": 1.0}, {"trust": 0.5}) == {"trust": 0.75}


# ---- in a run --------------------------------------------------------------------------------------------

EVERYTHING = Adaptation(
    sharpness=Schedule("cosine", end=0.5, over=3), gap_unit="running", gradient_share=0.2, trust="group", memory=0.5
)


class _Probed(SDAR):
    __slots__ = ()

    @property
    def needs(self) -> Needs:
        return replace(super().needs, gradient_probe=True)


def timeless(run: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in read_metrics(Path(run))]


def same_weights(one: str, other: str) -> bool:
    first, second = (load_file(latest_checkpoint(Path(run)).model_folder / "model.safetensors") for run in (one, other))
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("form", ["sampled", "full_js"])
def test_a_run_in_which_everything_adapts_resumes_exactly(
    form: Any, number_line_config: MakeConfig, tmp_path: Path
) -> None:
    learner = SDAR(rl=NO_KL, form=form, adapt=EVERYTHING)
    assert isinstance(learner, AdaptingLearner)
    whole = number_line_config("sdar", learner=learner, run=str(tmp_path / "whole"))
    train(whole, console=QUIET)
    broken = replace(whole, steps=2, run=str(tmp_path / "broken"))
    train(broken, console=QUIET)
    signals = load_training_state(latest_checkpoint(Path(broken.run)))["moving"]["signals"]
    assert sorted(signals) == ["gap_size", "trust", "weight"]
    train(replace(broken, steps=4), resume=True, console=QUIET)
    assert timeless(whole.run) == timeless(broken.run)
    assert same_weights(whole.run, broken.run)
    rows = [row for row in timeless(whole.run) if row["kind"] == "train"]
    assert len({row["distill_weight"] for row in rows}) == 4
    assert [row["sharpness_factor"] for row in rows] == pytest.approx([1.0, 0.875, 0.625, 0.5])


def test_probing_gradients_changes_nothing_of_a_run(
    number_line_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sdar_agents.config.LEARNERS", {"sdar": SDAR, "probed": _Probed})
    runs = []
    for learner in (SDAR(weight=0.1), _Probed(weight=0.1)):
        run = str(tmp_path / type(learner).__name__)
        config = number_line_config("sdar", learner=learner, steps=2, run=run, diagnostics_every=0)
        train(config, console=QUIET)
        runs.append(config.run)
    probes = {"gradient_norm/rl", "gradient_norm/distill", "distill_share", "gradient_cosine"}
    plain, probed = timeless(runs[0]), timeless(runs[1])
    assert plain == [{name: value for name, value in row.items() if name not in probes} for row in probed]
    assert all(probes <= set(row) for row in probed if row["kind"] == "train")
    assert same_weights(*runs)


def prepared(config: TrainConfig) -> tuple[Run, TurnBatch]:
    run = set_up(config, resume=False)
    rollout, _ = collect(run, 0, PhaseClock())
    batch = scored(run, collate(rollout.episodes, pad_id=run.tokenizer.pad_id))
    return run, config.learner.prepare(batch, 0)


def test_the_probed_gradients_add_up_to_the_one_that_is_learned_from(number_line_config: MakeConfig) -> None:
    run, batch = prepared(number_line_config("sdar", learner=SDAR(weight=0.5), microbatch_tokens=100_000))
    found = compare_gradients(run, batch, 0)
    # The probed rows are one micro-batch.
    batch = batch.rows(probe_rows(batch, seed=run.config.seed, step=0))
    backward(run, batch, float(batch.token_weight.sum()))
    squares = [float(each.grad.square().sum()) for each in run.model.parameters() if each.grad is not None]
    rl, distill = found["gradient_norm/rl"], found["gradient_norm/distill"]
    assert found["distill_share"] == pytest.approx(distill / rl)
    by_parts = rl**2 + distill**2 + 2 * rl * distill * found["gradient_cosine"]
    assert sum(squares) == pytest.approx(by_parts, rel=1e-4)
    # Twice the weight, twice the norm.
    run.optimizer.zero_grad()
    twice = compare_gradients(replace(run, config=replace(run.config, learner=SDAR(weight=1.0))), batch, 0)
    assert twice["gradient_norm/distill"] == pytest.approx(2 * distill, rel=1e-4)
    assert twice["gradient_norm/rl"] == pytest.approx(rl, rel=1e-3)


def test_a_run_reaches_the_share_that_was_asked_for(number_line_config: MakeConfig) -> None:
    learner = SDAR(rl=NO_KL, weight=0.01, adapt=Adaptation(gradient_share=0.5, memory=0.0))
    config = number_line_config("sdar", learner=learner, steps=6, eval_every=9, microbatch_tokens=100_000)
    train(config, console=QUIET)
    rows = [row for row in timeless(config.run) if row["kind"] == "train"]
    assert rows[0]["distill_share"] < 0.1
    # Without memory: the weight with which the step before would have had the share, within a factor of 100.
    for before, after in pairwise(rows):
        expected = min(1.0, before["distill_weight"] * 0.5 / before["distill_share"])
        assert after["distill_weight"] == pytest.approx(expected, rel=1e-4)
    # What a step measures of its few groups scatters about it.
    assert 0.25 < geometric_mean(row["distill_share"] for row in rows[2:]) < 1.0


def test_a_config_with_schedules_survives_its_json_form() -> None:
    config = replace(preset_config("quickstart", "sdar"), learner=SDAR(adapt=EVERYTHING))
    assert from_json(to_json(config)) == config
    values = to_json(config)
    values["learner"]["adapt"]["sharpness"]["shap"] = "linear"
    with pytest.raises(ConfigError, match="unknown Schedule setting 'shap'; did you mean 'shape'"):
        from_json(values)
    # Configs of before there was anything to adapt.
    del values["learner"]["adapt"]
    assert from_json(values).learner == SDAR()


def test_schedules_are_options_of_the_command_line() -> None:
    asked = ["--learner.adapt.weight.shape", "warmup", "--learner.adapt.weight.over", "7"]
    config, _ = parse_train(asked)
    assert isinstance(config.learner, SDAR)
    assert config.learner.adapt == Adaptation(weight=Schedule("warmup", over=7))
    with pytest.raises(OptionError, match=r"did you mean '--learner\.adapt\.weight\.shape'"):
        parse_train(["--learner.adapt.weight.shap", "x"])
