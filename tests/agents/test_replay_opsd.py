"""Replayed distillation: what counts, what is remembered, what is recalled, and that a resumed run remembers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch.testing import assert_close

from sdar_agents.batch import TurnBatch, collate, joined
from sdar_agents.config import TrainConfig
from sdar_agents.learners import GRPO, ReplayOPSD, TokenScores
from sdar_agents.run_log import read_metrics
from sdar_agents.train import train
from tests.agents.toy_batches import episode, turn

MakeConfig = Callable[..., TrainConfig]
PLAIN = GRPO(kl_coefficient=0.0, normalise_std=False, invalid_penalty=0.0)
QUIET = Console(quiet=True)


def batch_of(*effects: float, learner: ReplayOPSD, response: tuple[int, ...] = (2,)) -> TurnBatch:
    """An episode of a turn for each effect |T - F|; the first succeeds, the others fail."""
    rows = [
        episode(turn((1, number + 1), response, teacher_prompt=(3, 1), reward=float(number == 0)))
        for number in range(len(effects))
    ]
    batch = collate(rows, pad_id=0)
    initial = torch.full(batch.response_ids.shape, -2.0)
    batch = replace(
        batch,
        old_logprobs=initial,
        reference_logprobs=initial,
        teacher_logprobs=initial + torch.tensor(effects)[:, None] * batch.response_mask,
    )
    return learner.prepare(batch, 0)


def scores(batch: TurnBatch, probability: float) -> TokenScores:
    """Of two possible tokens; the sampled one, number 1, has this probability."""
    both = torch.tensor([1 - probability, probability]).log().expand(*batch.response_ids.shape, 2)
    return TokenScores(both[..., 1], distribution=both.clone().requires_grad_())


def test_a_token_is_taught_by_how_much_skills_change_it() -> None:
    learner = ReplayOPSD(rl=PLAIN, weight=2.0, effect=0.1)
    batch, _ = learner.recall(batch_of(0.1, 0.0, learner=learner), None, 0)
    found = learner.loss(scores(batch, 0.5), scores(batch, 0.8), batch)
    distance = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    assert found.distill_loss is not None
    assert_close(found.distill_loss, torch.tensor([[2 * (1 - math.exp(-1)) * distance], [0.0]]))
    # The ratio is exp(log .5 + 2), clipped at 1.2 where the advantage of 1/2 is positive.
    plain = PLAIN.loss(TokenScores(scores(batch, 0.5).logprobs), None, batch)
    assert_close(found.token_loss, plain.token_loss + found.distill_loss)


@pytest.mark.parametrize(("student", "teacher", "factor"), [(0.5, 0.8, 1.0), (0.8, 0.5, 0.500402 / 0.693147)])
def test_a_teacher_that_is_less_sure_than_the_student_counts_less(
    student: float, teacher: float, factor: float
) -> None:
    found = []
    for sure in (False, True):
        learner = ReplayOPSD(rl=PLAIN, sure=sure)
        batch, _ = learner.recall(batch_of(1.0, 1.0, learner=learner), None, 0)
        found.append(learner.loss(scores(batch, student), scores(batch, teacher), batch).distill_loss)
    assert found[0] is not None
    assert found[1] is not None
    assert_close(found[1], found[0] * factor, rtol=1e-5, atol=1e-6)


def test_without_a_measure_of_effects_every_token_is_taught_alike() -> None:
    learner = ReplayOPSD(rl=PLAIN, effect=0.0)
    assert not learner.needs.teacher_at_start
    assert not learner.needs.reference
    assert_close(batch_of(0.5, 0.0, learner=learner).distill_weight, torch.ones(2, 1))


def test_remembered_turns_come_back_without_reward_and_as_trajectories_of_their_own() -> None:
    learner = ReplayOPSD(rl=PLAIN, replay=1.0)
    first = batch_of(1.0, 2.0, 0.0, learner=learner)
    together, memory = learner.recall(first, None, 0)
    assert len(together) == 3
    # What skills change nothing of is not remembered.
    assert sorted(memory.prompt_ids[:, -1].tolist()) == [1, 2]
    second = batch_of(0.0, 0.0, 3.0, learner=learner, response=(2, 1))
    together, memory = learner.recall(second, memory, 1)
    assert together.recalled is not None
    assert together.recalled.tolist() == [False] * 3 + [True] * 2
    assert len(set(together.trajectory.tolist())) == 5
    assert together.advantages[3:].tolist() == [0.0, 0.0]
    assert together.advantages[:3].abs().sum() > 0
    # Responses of one token beside those of two: padding stands behind them.
    assert together.response_mask[3:].tolist() == [[True, False]] * 2
    assert_close(together.distill_weight[3:, 1], torch.zeros(2))  # type: ignore[index]
    assert memory.prompt_ids[:, -1].tolist()[0] == 3
    assert len(memory) == 3


def test_a_recalled_turn_is_only_taught_and_counts_in_no_metric() -> None:
    learner = ReplayOPSD(rl=PLAIN)
    _, memory = learner.recall(batch_of(1.0, 1.0, learner=learner), None, 0)
    batch, _ = learner.recall(batch_of(1.0, 1.0, learner=learner), memory, 1)
    found = learner.loss(scores(batch, 0.5), scores(batch, 0.8), batch)
    assert found.distill_loss is not None
    assert_close(found.token_loss[2:], found.distill_loss[2:])
    assert (found.token_loss[:2] != found.distill_loss[:2]).any()
    assert batch.metric_weight.tolist() == [[1.0], [1.0], [0.0], [0.0]]
    assert batch.token_weight.tolist() == [[1.0]] * 4


def test_what_skills_change_more_is_recalled_more_often() -> None:
    learner = ReplayOPSD(rl=PLAIN, replay=0.5)
    _, memory = learner.recall(batch_of(0.02, 1.0, learner=learner), None, 0)
    drawn = []
    for step in range(200):
        batch, _ = learner.recall(batch_of(0.0, 0.0, learner=learner), memory, step)
        drawn += batch.prompt_ids[2:, -1].tolist()
    assert len(drawn) == 200
    # Effects of .18 and 1.
    assert 0.75 < drawn.count(2) / 200 < 0.94


def test_the_oldest_turns_are_forgotten_first() -> None:
    learner = ReplayOPSD(rl=PLAIN, memory=3)
    memory = None
    for step, response in enumerate([(2,), (3,), (4,)]):
        _, memory = learner.recall(batch_of(1.0, 1.0, learner=learner, response=response), memory, step)
    assert memory is not None
    assert memory.response_ids[:, 0].tolist() == [4, 4, 3]


def test_with_weight_0_nothing_is_remembered() -> None:
    learner = ReplayOPSD(rl=PLAIN, weight=0.0)
    batch, memory = learner.recall(batch_of(1.0, 1.0, learner=learner), None, 0)
    assert (len(batch), len(memory)) == (2, 0)
    batch, memory = learner.recall(batch_of(1.0, 1.0, learner=learner), memory, 1)
    assert (len(batch), len(memory)) == (2, 0)


@pytest.mark.parametrize(
    ("option", "value"), [("weight", -1.0), ("replay", -0.5), ("memory", 0), ("effect", -0.1), ("weight", math.nan)]
)
def test_impossible_options_are_refused(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=option):
        ReplayOPSD(**{option: value})


def test_joined_rows_are_those_of_both() -> None:
    learner = ReplayOPSD(rl=PLAIN)
    one, other = batch_of(1.0, learner=learner), batch_of(0.5, 0.5, learner=learner, response=(2, 3, 4))
    both = joined(one, replace(other, old_entropy=torch.ones(2, 3)))
    assert len(both) == 3
    assert both.response_ids.tolist() == [[2, 0, 0], [2, 3, 4], [2, 3, 4]]
    assert both.old_entropy is None
    back = both.rows(torch.tensor([0]))
    assert_close(back.response_ids, one.response_ids)
    assert_close(back.distill_weight, one.distill_weight)


def test_what_a_checkpoint_holds_of_rows_gives_them_back() -> None:
    learner = ReplayOPSD(rl=PLAIN)
    _, memory = learner.recall(batch_of(1.0, 2.0, learner=learner, response=(2, 3)), None, 0)
    state = memory.state_dict()
    back = TurnBatch.from_state_dict(state)
    assert back.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in back.state_dict().items())
    assert (back.old_entropy, dict(back.views), dict(back.signals)) == (None, {}, {})


def test_a_run_that_was_stopped_remembers_what_it_had_seen(number_line_config: MakeConfig, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"steps": 3, "checkpoint_every": 1, "teacher": "reference", "eval_every": 3}
    whole = number_line_config("replay_opsd", run=str(tmp_path / "whole"), **settings)
    train(whole, console=QUIET)
    broken = replace(whole, run=str(tmp_path / "broken"))
    train(replace(broken, steps=1), console=QUIET)
    train(broken, resume=True, console=QUIET)
    first, second = (
        [{name: value for name, value in row.items() if not name.startswith("seconds")} for row in read_metrics(folder)]
        for folder in (tmp_path / "whole", tmp_path / "broken")
    )
    expected = [row for row in first if row["kind"] == "train"]
    assert [row for row in second if row["kind"] == "train"] == expected
    # Turns come back at all, from the second step on: their update is of more tokens than were played.
    assert all(row["effect"] > 0 for row in expected)


@pytest.mark.parametrize("learning_rate", [1e-3, 1e-30])
def test_recalled_turns_change_what_is_learnt_and_no_metric(
    learning_rate: float, number_line_config: MakeConfig, tmp_path: Path
) -> None:
    rows = {}
    for replay in (0.0, 2.0):
        settings: dict[str, Any] = {"steps": 2, "teacher": "reference", "learner": ReplayOPSD(rl=PLAIN, replay=replay)}
        config = number_line_config(
            "replay_opsd", run=str(tmp_path / str(replay)), learning_rate=learning_rate, minibatches=2, **settings
        )
        train(config, console=QUIET)
        rows[replay] = [row for row in read_metrics(Path(config.run)) if row["kind"] == "train"]
    assert rows[0.0][0]["loss"] == rows[2.0][0]["loss"]
    assert rows[0.0][1]["gradient_norm"] != rows[2.0][1]["gradient_norm"]
    if learning_rate > 1e-10:
        return
    # Nothing moves, so what the step's own turns say must not depend on who stands behind them.
    for name in ("loss", "gap", "gap_std", "effect", "distill_loss", "teacher_k3", "gap/turn_1", "gap/failure"):
        assert rows[2.0][1][name] == pytest.approx(rows[0.0][1][name], rel=1e-4, abs=1e-6), name
