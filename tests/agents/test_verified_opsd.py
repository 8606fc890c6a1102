"""Verified distillation: whose skills are taught, to whom, what is remembered, and that a resumed run remembers."""

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
from sdar_agents.episode import Episode
from sdar_agents.learners import GRPO, TokenScores, VerifiedOPSD
from sdar_agents.run_log import read_metrics
from sdar_agents.train import train
from tests.agents.toy_batches import episode, turn

MakeConfig = Callable[..., TrainConfig]
PLAIN = GRPO(kl_coefficient=0.0, normalise_std=False, invalid_penalty=0.0)
QUIET = Console(quiet=True)


def batch_of(*effects: float, learner: VerifiedOPSD, response: tuple[int, ...] = (2,)) -> TurnBatch:
    """An episode of a turn for each effect |T - F|, all without skills; the first succeeds, the others fail."""
    rows = [played((1, number + 1), response, float(number == 0)) for number in range(len(effects))]
    return learner.prepare(scored(collate(rows, pad_id=0), torch.tensor(effects)), 0)


def played(
    prompt: tuple[int, ...],
    response: tuple[int, ...] = (2,),
    reward: float = 0.0,
    *,
    skills: bool = False,
    turns: int = 1,
) -> Episode:
    """An episode of equal turns, of which the last is rewarded; with skills, its prompt is the teacher's."""
    told = (3, *prompt)
    rows = [
        replace(
            turn(told if skills else prompt, response, teacher_prompt=told, reward=reward * (number == turns - 1)),
            skills_shown=skills,
            view_prompt_ids={"bare": prompt},
        )
        for number in range(turns)
    ]
    return episode(*rows)


def scored(batch: TurnBatch, effects: torch.Tensor) -> TurnBatch:
    """As the training loop leaves it, where skills change each turn's tokens by so much."""
    initial = torch.full(batch.response_ids.shape, -2.0)
    view = replace(batch.views["bare"], logprobs=initial)
    taught = initial + effects[:, None] * batch.response_mask
    return replace(batch, old_logprobs=initial, views={"bare": view}, teacher_logprobs=taught)


def group_of(learner: VerifiedOPSD, *episodes: Episode) -> TurnBatch:
    """A group in which skills change every token by 1 nat, prepared."""
    batch = collate(episodes, pad_id=0)
    return learner.prepare(scored(batch, torch.ones(len(batch))), 0)


def scores(batch: TurnBatch, probability: float) -> TokenScores:
    """Of two possible tokens; the sampled one, number 1, has this probability."""
    both = torch.tensor([1 - probability, probability]).log().expand(*batch.response_ids.shape, 2)
    return TokenScores(both[..., 1], distribution=both.clone().requires_grad_())


def test_a_token_is_taught_by_how_much_skills_change_it() -> None:
    learner = VerifiedOPSD(rl=PLAIN, trials=0.0, weight=2.0, effect=0.1)
    batch, _ = learner.recall(batch_of(0.1, 0.0, learner=learner), None, 0)
    found = learner.loss(scores(batch, 0.5), scores(batch, 0.8), batch)
    distance = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    assert found.distill_loss is not None
    assert_close(found.distill_loss, torch.tensor([[2 * (1 - math.exp(-1)) * distance], [0.0]]))
    # The ratio is exp(log .5 + 2), clipped at 1.2 where the advantage of 1/2 is positive.
    plain = PLAIN.loss(TokenScores(scores(batch, 0.5).logprobs), None, batch)
    assert_close(found.token_loss, plain.token_loss + found.distill_loss)


WORTH = 1 - math.exp(-10)
"""w where skills change a token by 1 nat, at the default scale."""


def test_skills_that_did_better_are_taught_to_all_who_did_worse_without_them() -> None:
    learner = VerifiedOPSD(rl=PLAIN)
    batch = group_of(
        learner,
        played((1, 1)),
        played((1, 2), reward=1.0, skills=True),
        played((1, 3), reward=1.0),
        played((1, 4), reward=1.0, skills=True),
        played((1, 5), turns=3),
        played((1, 6), skills=True),
    )
    # 1/3 without skills, where an episode of three turns counts once; 2/3 with them.
    expected = [WORTH] * 3 + [WORTH] + [WORTH] * 3 + [0.0]
    assert_close(batch.distill_weight, torch.tensor(expected)[:, None])


def test_skills_that_did_no_better_are_not_taught_to_those_without_them() -> None:
    learner = VerifiedOPSD(rl=PLAIN)
    equal = [played((1, 1)), played((1, 2), reward=1.0, skills=True), played((1, 3), reward=1.0)]
    batch = group_of(learner, *equal, played((1, 4), skills=True))
    # The one that solved the task is worth learning from all the same.
    assert_close(batch.distill_weight, torch.tensor([0.0, WORTH, 0.0, 0.0])[:, None])
    batch = group_of(learner, played((1, 1)), played((1, 2), skills=True))
    assert_close(batch.distill_weight, torch.zeros(2, 1))


def test_a_group_of_which_only_one_kind_is_left_is_not_taught() -> None:
    learner = VerifiedOPSD(rl=PLAIN)
    for skills in (False, True):
        batch = group_of(learner, played((1, 1), reward=1.0, skills=skills), played((1, 2), skills=skills))
        assert_close(batch.distill_weight, torch.zeros(2, 1))


def test_rows_that_count_nowhere_do_not_verify() -> None:
    learner = VerifiedOPSD(rl=PLAIN)
    batch = collate([played((1, 1)), played((1, 2), skills=True), played((1, 3), reward=1.0, skills=True)], pad_id=0)
    batch = scored(replace(batch, weight=torch.tensor([1.0, 1.0, 0.0])), torch.ones(3))
    assert_close(learner.prepare(batch, 0).distill_weight, torch.zeros(3, 1))


def test_groups_are_verified_each_by_itself() -> None:
    learner = VerifiedOPSD(rl=PLAIN)
    helped = [played((1, 1)), played((1, 2), reward=1.0, skills=True)]
    harmed = [replace(each, group=1) for each in (played((1, 3), reward=1.0), played((1, 4), skills=True))]
    batch = group_of(learner, *helped, *harmed)
    assert_close(batch.distill_weight, torch.tensor([WORTH, WORTH, 0.0, 0.0])[:, None])


def test_grpo_compares_those_without_skills_and_sees_nobody_else() -> None:
    learner = VerifiedOPSD(rl=PLAIN)
    bare = [played((1, 1)), played((1, 2), reward=1.0), played((1, 3))]
    batch = group_of(learner, bare[0], played((1, 4), reward=1.0, skills=True), *bare[1:])
    alone = PLAIN.prepare(collate(bare, pad_id=0), 0).advantages
    assert_close(batch.advantages, torch.cat([alone[:1], torch.zeros(1), alone[1:]]))
    found = learner.loss(scores(batch, 0.5), scores(batch, 0.8), batch)
    assert found.distill_loss is not None
    assert_close(found.token_loss[1], found.distill_loss[1])
    plain = PLAIN.loss(TokenScores(scores(batch, 0.5).logprobs), None, batch)
    assert_close((found.token_loss - found.distill_loss)[[0, 2, 3]], plain.token_loss[[0, 2, 3]])
    assert batch.metric_weight.flatten().tolist() == [1.0, 0.0, 1.0, 1.0]


def test_who_acted_with_skills_is_taught_after_the_prompt_without_them() -> None:
    learner = VerifiedOPSD(rl=PLAIN)
    batch = group_of(learner, played((1, 1)), played((1, 2), reward=1.0, skills=True))
    prompts = [ids[mask].tolist() for ids, mask in zip(batch.prompt_ids, batch.prompt_mask, strict=True)]
    assert prompts == [[1, 1], [1, 2]]
    assert batch.teacher_prompt_ids is not None
    assert batch.teacher_prompt_ids.tolist() == [[3, 1, 1], [3, 1, 2]]
    # An unlikely token after one prompt may be a likely one after the other.
    batch = replace(batch, old_logprobs=torch.where(batch.skills_shown[:, None], batch.old_logprobs, -2.0))
    found = learner.loss(TokenScores(torch.full((2, 1), -1e-9), distribution=scores(batch, 0.5).distribution),
                         scores(batch, 0.8), batch)  # fmt: skip
    assert found.token_metrics["ratio"][1] <= 1.0


@pytest.mark.parametrize(
    ("share", "members"), [(0.5, [1, 3, 5, 7]), (0.25, [3, 7]), (0.0, []), (0.75, [1, 2, 3, 5, 6, 7])]
)
def test_the_share_of_a_group_that_acts_with_skills(share: float, members: list[int]) -> None:
    learner = VerifiedOPSD(trials=share)
    assert [member for member in range(8) if learner.shows_skills(3, member)] == members


def test_without_a_measure_of_effects_every_token_is_taught_alike() -> None:
    learner = VerifiedOPSD(rl=PLAIN, trials=0.0, effect=0.0)
    assert not learner.needs.teacher_at_start
    assert_close(batch_of(0.5, 0.0, learner=learner).distill_weight, torch.ones(2, 1))


def test_remembered_turns_come_back_without_reward_and_as_trajectories_of_their_own() -> None:
    learner = VerifiedOPSD(rl=PLAIN, trials=0.0, replay=1.0)
    first = batch_of(1.0, 2.0, 0.0, learner=learner)
    together, memory = learner.recall(first, None, 0)
    assert len(together) == 3
    # What skills change nothing of is not remembered.
    assert sorted(memory.prompt_ids[:, -1].tolist()) == [1, 2]
    second = batch_of(0.0, 0.0, 3.0, learner=learner, response=(2, 1))
    together, memory = learner.recall(second, memory, 1)
    assert together.only_taught is not None
    assert together.only_taught.tolist() == [False] * 3 + [True] * 2
    assert len(set(together.trajectory.tolist())) == 5
    assert together.advantages[3:].tolist() == [0.0, 0.0]
    assert together.advantages[:3].abs().sum() > 0
    # Responses of one token beside those of two: padding stands behind them.
    assert together.response_mask[3:].tolist() == [[True, False]] * 2
    assert_close(together.distill_weight[3:, 1], torch.zeros(2))  # type: ignore[index]
    assert memory.prompt_ids[:, -1].tolist()[0] == 3
    assert len(memory) == 3


def test_a_recalled_turn_is_only_taught_and_counts_in_no_metric() -> None:
    learner = VerifiedOPSD(rl=PLAIN, trials=0.0)
    _, memory = learner.recall(batch_of(1.0, 1.0, learner=learner), None, 0)
    batch, _ = learner.recall(batch_of(1.0, 1.0, learner=learner), memory, 1)
    found = learner.loss(scores(batch, 0.5), scores(batch, 0.8), batch)
    assert found.distill_loss is not None
    assert_close(found.token_loss[2:], found.distill_loss[2:])
    assert (found.token_loss[:2] != found.distill_loss[:2]).any()
    assert batch.metric_weight.tolist() == [[1.0], [1.0], [0.0], [0.0]]
    assert batch.token_weight.tolist() == [[1.0]] * 4


def test_what_skills_change_more_is_recalled_more_often() -> None:
    learner = VerifiedOPSD(rl=PLAIN, trials=0.0, replay=0.5)
    _, memory = learner.recall(batch_of(0.02, 1.0, learner=learner), None, 0)
    drawn = []
    for step in range(200):
        batch, _ = learner.recall(batch_of(0.0, 0.0, learner=learner), memory, step)
        drawn += batch.prompt_ids[2:, -1].tolist()
    assert len(drawn) == 200
    # Effects of .18 and 1.
    assert 0.75 < drawn.count(2) / 200 < 0.94


def test_the_oldest_turns_are_forgotten_first() -> None:
    learner = VerifiedOPSD(rl=PLAIN, trials=0.0, memory=3)
    memory = None
    for step, response in enumerate([(2,), (3,), (4,)]):
        _, memory = learner.recall(batch_of(1.0, 1.0, learner=learner, response=response), memory, step)
    assert memory is not None
    assert memory.response_ids[:, 0].tolist() == [4, 4, 3]


def test_with_weight_0_nothing_is_remembered() -> None:
    learner = VerifiedOPSD(rl=PLAIN, trials=0.0, weight=0.0)
    batch, memory = learner.recall(batch_of(1.0, 1.0, learner=learner), None, 0)
    assert (len(batch), len(memory)) == (2, 0)
    batch, memory = learner.recall(batch_of(1.0, 1.0, learner=learner), memory, 1)
    assert (len(batch), len(memory)) == (2, 0)


@pytest.mark.parametrize(
    ("option", "value"),
    [("weight", -1.0), ("replay", -0.5), ("memory", 0), ("effect", -0.1), ("weight", math.nan), ("trials", 1.0)],
)
def test_impossible_options_are_refused(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=option):
        VerifiedOPSD(**{option: value})


def test_joined_rows_are_those_of_both() -> None:
    learner = VerifiedOPSD(rl=PLAIN, trials=0.0)
    one, other = batch_of(1.0, learner=learner), batch_of(0.5, 0.5, learner=learner, response=(2, 3, 4))
    both = joined(one, replace(other, old_entropy=torch.ones(2, 3)))
    assert len(both) == 3
    assert both.response_ids.tolist() == [[2, 0, 0], [2, 3, 4], [2, 3, 4]]
    assert both.old_entropy is None
    back = both.rows(torch.tensor([0]))
    assert_close(back.response_ids, one.response_ids)
    assert_close(back.distill_weight, one.distill_weight)


def test_what_a_checkpoint_holds_of_rows_gives_them_back() -> None:
    learner = VerifiedOPSD(rl=PLAIN, trials=0.0)
    _, memory = learner.recall(batch_of(1.0, 2.0, learner=learner, response=(2, 3)), None, 0)
    state = memory.state_dict()
    back = TurnBatch.from_state_dict(state)
    assert back.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in back.state_dict().items())
    assert (back.old_entropy, dict(back.views), dict(back.signals)) == (None, {}, {})


def test_a_run_that_was_stopped_remembers_what_it_had_seen(number_line_config: MakeConfig, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"steps": 3, "checkpoint_every": 1, "teacher": "reference", "eval_every": 3}
    whole = number_line_config("verified_opsd", run=str(tmp_path / "whole"), **settings)
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
        settings: dict[str, Any] = {
            "steps": 2,
            "teacher": "reference",
            "learner": VerifiedOPSD(rl=PLAIN, replay=replay),
        }
        config = number_line_config(
            "verified_opsd", run=str(tmp_path / str(replay)), learning_rate=learning_rate, minibatches=2, **settings
        )
        train(config, console=QUIET)
        rows[replay] = [row for row in read_metrics(Path(config.run)) if row["kind"] == "train"]
    assert rows[0.0][0]["loss"] == rows[2.0][0]["loss"]
    assert rows[0.0][1]["gradient_norm"] != rows[2.0][1]["gradient_norm"]
    # Who came back is taught, not scored anew.
    assert rows[2.0][1]["tokens/update"] > rows[0.0][1]["tokens/update"]
    assert rows[2.0][0]["tokens/score"] == rows[0.0][0]["tokens/score"] > rows[0.0][0]["tokens/update"]
    if learning_rate > 1e-10:
        return
    # Nothing moves, so what the step's own turns say must not depend on who stands behind them.
    for name in (
        "loss",
        "gap",
        "gap_std",
        "effect",
        "distill_loss",
        "teacher_k3",
        "gap/turn_1",
        "tokens/score",
        "sampler_mismatch",
    ):
        assert rows[2.0][1][name] == pytest.approx(rows[0.0][1][name], rel=1e-4, abs=1e-6), name
