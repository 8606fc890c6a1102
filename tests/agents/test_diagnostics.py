"""Diagnostics: by hand on small batches, documented every one, and without any effect on what is trained."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from sdar_agents.batch import collate
from sdar_agents.config import ConfigError, TrainConfig
from sdar_agents.diagnostics import GapSums, cut_skills, success_by_skills, success_by_type
from sdar_agents.distributed import ALONE
from sdar_agents.gradient_probe import PROBE_ROWS, compare_gradients, probe_rows
from sdar_agents.learners import GRPO, GRPOOPSD, SDAR, LossOutput, TokenScores
from sdar_agents.setup import Run, set_up
from sdar_agents.train import collect, train_step
from sdar_agents.update import PhaseClock, scored
from tests.agents.toy_batches import episode, turn

MakeConfig = Callable[..., TrainConfig]
README = Path(__file__).parents[2] / "agents" / "README.md"


def test_the_gap_is_split_by_turn_advantage_and_success() -> None:
    rows = [turn(reward=float(number == 4)) for number in range(5)]
    batch = collate([episode(*rows), episode(turn(response=(1, 1)))], pad_id=0)
    # Five turns that win, of gaps 1 to 5, and a lost one of two tokens, -1 and -2.
    gap = torch.tensor([[1.0, 9.0], [2.0, 9.0], [3.0, 9.0], [4.0, 9.0], [5.0, 9.0], [-1.0, -2.0]])
    batch = replace(batch, advantages=torch.tensor([1.0] * 5 + [-1.0]))
    gaps = GapSums()
    # In two parts, as micro-batches come; padding (9) counts nowhere.
    gaps.add(batch.rows(torch.arange(3)), gap[:3, :1])
    gaps.add(batch.rows(torch.arange(3, 6)), gap[3:])
    found = gaps.metrics(ALONE)
    # Mean 12/7, mean square (55 + 5) / 7.
    assert found.pop("gap_std") == pytest.approx((60 / 7 - (12 / 7) ** 2) ** 0.5)
    assert found == pytest.approx({
        "gap/advantage_positive": 3.0, "gap/advantage_negative": -1.5, "gap/success": 3.0, "gap/failure": -1.5,
        # Turn 1: 1, -1 and -2; turns 2 and 3: 2, 3; turns 4 and 5: 4, 5.
        "gap/turn_1": -2 / 3, "gap/turns_2_3": 2.5, "gap/turns_4_7": 4.5,
    })  # fmt: skip
    assert GapSums().metrics(ALONE) == {}


def test_success_is_told_by_kind_of_task() -> None:
    clean = [replace(episode(turn(reward=reward)), task_type="clean") for reward in (1.0, 0.0, 0.0, 0.0)]
    assert success_by_type([*clean, episode(turn(reward=1.0))]) == {"success/clean": 0.25, "success/toy": 1.0}


def test_success_is_told_with_and_without_skills_where_some_acted_with_them() -> None:
    shown = [episode(replace(turn(reward=reward), skills_shown=True)) for reward in (1.0, 0.0)]
    bare = [episode(turn(reward=reward)) for reward in (1.0, 0.0, 0.0, 0.0)]
    assert success_by_skills([*shown, *bare]) == {"success_with_skills": 0.5, "success_without_skills": 0.25}
    assert success_by_skills(shown) == {"success_with_skills": 0.5}
    assert success_by_skills(bare) == {}


def ready(config: TrainConfig) -> tuple[Run, Any]:
    run = set_up(config, resume=False)
    rollout, _ = collect(run, 0, PhaseClock())
    return run, scored(run, collate(rollout.episodes, pad_id=run.tokenizer.pad_id))


def test_a_cut_skill_is_found_and_a_whole_one_is_not(number_line_config: MakeConfig) -> None:
    run = set_up(number_line_config("sdar"), resume=False)
    episodes = collect(run, 0, PhaseClock())[0].episodes
    assert all(each.skill_text for each in episodes)
    assert cut_skills(episodes, run.tokenizer) == 0
    last = episodes[0].turns[-1]
    bare = replace(episodes[0], turns=(*episodes[0].turns[:-1], replace(last, teacher_prompt_ids=last.prompt_ids)))
    assert cut_skills([bare, *episodes[1:]], run.tokenizer) == 1


def test_the_two_gradients_of_a_turned_round_loss_are_opposite(number_line_config: MakeConfig) -> None:
    class Opposed(GRPO):
        """Its teaching is twice the reinforcement, turned round or not."""

        sign = -1.0

        @property
        def needs(self) -> Any:
            return replace(GRPO.needs.fget(self), teacher="logprobs")  # type: ignore[attr-defined]

        def loss(self, policy: TokenScores, teacher: Any, batch: Any) -> LossOutput:
            rl = GRPO.loss(self, policy, None, batch).token_loss
            return LossOutput(rl + 2.0 * self.sign * rl, {}, 2.0 * self.sign * rl)

    run, batch = ready(number_line_config("sdar", groups=6))
    for sign in (-1.0, 1.0):
        learner = Opposed(kl_coefficient=0.0)
        Opposed.sign = sign
        opposed = replace(run, config=replace(run.config, learner=learner))
        found = compare_gradients(opposed, learner.prepare(batch, 0), 0)
        assert found["gradient_cosine"] == pytest.approx(sign, abs=1e-5)
        assert found["gradient_norm/distill"] == pytest.approx(2.0 * found["gradient_norm/rl"], rel=1e-5)
    assert all(parameter.grad is None for parameter in run.model.parameters())


@pytest.mark.parametrize("learner", [SDAR(weight=0.1), GRPOOPSD(weight=0.1)])
def test_learners_that_teach_show_which_part_does(learner: Any) -> None:
    batch = collate([episode(turn(), turn(reward=1.0)), episode(turn())], pad_id=0)
    batch = replace(learner.prepare(batch, 0), reference_logprobs=torch.zeros(3, 1))
    policy, teacher = TokenScores(torch.full((3, 1), -1.0)), TokenScores(torch.full((3, 1), -0.5))
    whole = learner.loss(policy, teacher, batch)
    alone = learner.rl.loss(policy, None, batch)
    assert whole.distill_loss is not None
    assert_close(whole.token_loss - whole.distill_loss, alone.token_loss)
    assert float(whole.distill_loss.abs().sum()) > 0


def test_the_probe_takes_some_turns_with_an_advantage(number_line_config: MakeConfig) -> None:
    batch = collate([episode(*[turn()] * 30), episode(*[turn()] * 30)], pad_id=0)
    half = replace(batch, advantages=torch.cat([torch.ones(40), torch.zeros(20)]))
    chosen = probe_rows(half, seed=0, step=3)
    assert len(chosen) == PROBE_ROWS
    assert int(chosen.max()) < 40
    assert torch.equal(chosen, probe_rows(half, seed=0, step=3))
    assert not torch.equal(chosen, probe_rows(half, seed=0, step=4))
    assert len(probe_rows(batch, seed=0, step=3)) == 0


def test_diagnostics_change_nothing_that_is_trained(number_line_config: MakeConfig, tmp_path: Path) -> None:
    runs = [
        set_up(number_line_config("sdar", diagnostics_every=every, run=str(tmp_path / str(every))), resume=False)
        for every in (0, 1)
    ]
    rows = [[train_step(run, step) for step in range(2)] for run in runs]
    for bare, full in zip(*rows, strict=True):
        assert {name: value for name, value in full.items() if name in bare and not name.startswith("seconds")} == {
            name: value for name, value in bare.items() if not name.startswith("seconds")
        }
        assert {name for name in full if name not in bare} == {
            "start_entropy", "gradient_cosine", "gradient_norm/rl", "gradient_norm/distill", "distill_share",
        }  # fmt: skip
    states = [run.model.state_dict() for run in runs]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("learner", ["sdar", "gigpo", "grpo_opsd"])
def test_every_number_of_a_step_has_a_line_in_the_readme(learner: str, number_line_config: MakeConfig) -> None:
    rows = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    documented = {name for line in rows for name in re.findall(r"`([^`]+)`", line.split("|")[1])}
    metrics = train_step(set_up(number_line_config(learner), resume=False), 0)
    families = tuple(name.rpartition("<")[0] for name in documented if name.endswith(">"))
    assert families
    assert [name for name in metrics if name not in documented and not name.startswith(families)] == []


def test_a_negative_distance_between_diagnostics_is_refused(number_line_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="--diagnostics-every must be at least 0, got -1"):
        number_line_config("sdar", diagnostics_every=-1)
