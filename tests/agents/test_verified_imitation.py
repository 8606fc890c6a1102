"""Verified imitation: who is imitated, after which prompt, what is remembered, and that a resumed run remembers."""

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
from sdar_agents.learners import GRPO, LossOutput, TokenScores, VerifiedImitation
from sdar_agents.run_log import read_metrics
from sdar_agents.setup import set_up
from sdar_agents.train import collect, train
from sdar_agents.update import PhaseClock
from tests.agents.toy_batches import episode, turn

MakeConfig = Callable[..., TrainConfig]
PLAIN = GRPO(kl_coefficient=0.0, normalise_std=False, invalid_penalty=0.0)
QUIET = Console(quiet=True)


def played(
    prompt: tuple[int, ...],
    reward: float = 0.0,
    *,
    skills: bool = False,
    turns: int = 1,
    response: tuple[int, ...] = (2,),
) -> Episode:
    """An episode of equal turns, of which the last is rewarded; with skills, a 3 stands before its prompt."""
    rows = [
        replace(
            turn((3, *prompt) if skills else prompt, response, reward=reward * (number == turns - 1)),
            skills_shown=skills,
            view_prompt_ids={"bare": prompt},
        )
        for number in range(turns)
    ]
    return episode(*rows)


def group_of(*episodes: Episode, learner: VerifiedImitation | None = None) -> TurnBatch:
    """A group, prepared, whose tokens were drawn with log-probability -2."""
    batch = collate(episodes, pad_id=0)
    batch = replace(batch, old_logprobs=torch.full(batch.response_ids.shape, -2.0))
    return (learner or VerifiedImitation(rl=PLAIN)).prepare(batch, 0)


def one_that_wins(*, learner: VerifiedImitation, wins: int = 1, response: tuple[int, ...] = (2,)) -> TurnBatch:
    """Three episodes without skills, of which the first ones win."""
    rows = [played((1, number + 1), float(number < wins), response=response) for number in range(3)]
    return group_of(*rows, learner=learner)


def loss(learner: VerifiedImitation, batch: TurnBatch, logprob: float = -1.0) -> LossOutput:
    return learner.loss(TokenScores(torch.full(batch.response_ids.shape, logprob, requires_grad=True)), None, batch)


def test_whoever_returned_more_than_those_without_skills_on_average_is_imitated() -> None:
    batch = group_of(
        played((1, 1)),
        played((1, 2), 1.0, skills=True),
        played((1, 3), 1.0),
        played((1, 4), 0.25, skills=True),
        played((1, 5), turns=3),
        played((1, 6), 0.5, skills=True, turns=2),
    )
    # 1/3 without skills, where an episode of three turns counts once.
    expected = [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    assert_close(batch.distill_weight, torch.tensor(expected)[:, None])


def test_where_nobody_is_better_nobody_is_imitated() -> None:
    nobody = group_of(played((1, 1)), played((1, 2), skills=True))
    everybody = group_of(played((1, 1), 1.0), played((1, 2), 1.0, skills=True))
    with_skills_alone = group_of(played((1, 1), 1.0, skills=True), played((1, 2), skills=True))
    for batch in (nobody, everybody, with_skills_alone):
        assert_close(batch.distill_weight, torch.zeros(2, 1))


def test_rows_that_count_nowhere_are_neither_imitated_nor_compared_with() -> None:
    batch = collate([played((1, 1)), played((1, 2), 1.0), played((1, 3), 0.4, skills=True)], pad_id=0)
    ready = VerifiedImitation(rl=PLAIN).prepare(replace(batch, weight=torch.tensor([1.0, 0.0, 1.0])), 0)
    assert_close(ready.distill_weight, torch.tensor([[0.0], [0.0], [1.0]]))


def test_groups_are_compared_each_by_itself() -> None:
    easy = [played((1, 1), 1.0), played((1, 2), 1.0, skills=True)]
    hard = [replace(each, group=1) for each in (played((1, 3)), played((1, 4), 0.5, skills=True))]
    assert_close(group_of(*easy, *hard).distill_weight, torch.tensor([0.0, 0.0, 0.0, 1.0])[:, None])


def test_the_loss_by_hand() -> None:
    learner = VerifiedImitation(rl=PLAIN, weight=0.5)
    batch = group_of(played((1, 1)), played((1, 2), 1.0), played((1, 3), 1.0, skills=True), learner=learner)
    found = loss(learner, batch)
    assert found.distill_loss is not None
    assert_close(found.distill_loss, torch.tensor([[0.0], [0.5], [0.5]]))
    # The ratio is e: clipped to 1.2 where the advantage is 1/2, at 3 by nothing where it is -1/2.
    assert_close(found.token_loss, torch.tensor([[0.5 * math.e], [-0.5 * 1.2 + 0.5], [0.5]]))


def test_grpo_compares_those_without_skills_and_sees_nobody_else() -> None:
    bare = [played((1, 1)), played((1, 2), 1.0), played((1, 3))]
    batch = group_of(bare[0], played((1, 4), 1.0, skills=True), *bare[1:])
    alone = PLAIN.prepare(collate(bare, pad_id=0), 0).advantages
    assert_close(batch.advantages, torch.cat([alone[:1], torch.zeros(1), alone[1:]]))
    assert batch.metric_weight.flatten().tolist() == [1.0, 0.0, 1.0, 1.0]
    assert batch.token_weight.flatten().tolist() == [1.0] * 4


def test_who_acted_with_skills_is_imitated_after_the_prompt_without_them() -> None:
    batch = group_of(played((1, 1)), played((1, 2), 1.0, skills=True))
    prompts = [ids[mask].tolist() for ids, mask in zip(batch.prompt_ids, batch.prompt_mask, strict=True)]
    assert prompts == [[1, 1], [1, 2]]


def test_prompts_that_were_not_asked_for_are_named() -> None:
    batch = collate([episode(turn((1, 1))), episode(turn((1, 2), reward=1.0))], pad_id=0)
    with pytest.raises(ValueError, match="VerifiedImitation needs the prompts without skills and got none"):
        VerifiedImitation(rl=PLAIN).prepare(batch, 0)


def test_a_token_that_was_unlikely_with_skills_does_not_overflow_without_them() -> None:
    learner = VerifiedImitation(rl=PLAIN)
    batch = collate([played((1, 1)), played((1, 2), skills=True)], pad_id=0)
    batch = learner.prepare(replace(batch, old_logprobs=torch.tensor([[-2.0], [-500.0]])), 0)
    logprobs = torch.full((2, 1), -1.0, requires_grad=True)
    learner.loss(TokenScores(logprobs), None, batch).token_loss.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.isfinite().all()


@pytest.mark.parametrize(
    ("share", "members"), [(0.5, [1, 3, 5, 7]), (0.25, [3, 7]), (0.0, []), (0.75, [1, 2, 3, 5, 6, 7])]
)
def test_the_share_of_a_group_that_acts_with_skills(share: float, members: list[int]) -> None:
    learner = VerifiedImitation(trials=share)
    assert [member for member in range(8) if learner.shows_skills(3, member)] == members


def test_remembered_turns_come_back_without_reward_and_as_trajectories_of_their_own() -> None:
    learner = VerifiedImitation(rl=PLAIN)
    together, memory = learner.recall(one_that_wins(learner=learner, wins=2), None, 0)
    assert len(together) == 3
    assert memory.prompt_ids[:, -1].tolist() == [1, 2]
    second = one_that_wins(learner=learner, response=(2, 1))
    together, memory = learner.recall(second, memory, 1)
    assert together.only_taught is not None
    assert together.only_taught.tolist() == [False] * 3 + [True] * 2
    assert len(set(together.trajectory.tolist())) == 5
    assert together.advantages[3:].tolist() == [0.0, 0.0]
    assert together.advantages[:3].abs().sum() > 0
    # Responses of one token beside those of two: padding stands behind them.
    assert together.response_mask[3:].tolist() == [[True, False]] * 2
    assert_close(together.distill_weight[3:], torch.tensor([[1.0, 0.0]] * 2))  # type: ignore[index]
    assert len(memory) == 3
    assert memory.response_mask[0].tolist() == [True, True]


def test_a_remembered_turn_is_only_imitated_and_counts_in_no_metric() -> None:
    learner = VerifiedImitation(rl=PLAIN)
    _, memory = learner.recall(one_that_wins(learner=learner), None, 0)
    batch, _ = learner.recall(one_that_wins(learner=learner), memory, 1)
    found = loss(learner, batch)
    assert found.distill_loss is not None
    assert_close(found.token_loss[3:], torch.ones(1, 1))
    assert (found.token_loss[:3] != found.distill_loss[:3]).all()
    assert batch.metric_weight.flatten().tolist() == [1.0, 1.0, 1.0, 0.0]


def test_as_many_turns_come_back_as_are_asked_for_each_once() -> None:
    learner = VerifiedImitation(rl=PLAIN, replay=2 / 3)
    memory, seen = None, []
    for step in range(40):
        batch, memory = learner.recall(one_that_wins(learner=learner, wins=2), memory, step)
        if step:
            assert len(batch) == 5
            seen += batch.prompt_ids[3:, -1].tolist()
    assert memory is not None
    assert len(memory) == 80
    assert 0.3 < seen.count(1) / len(seen) < 0.7


def test_the_oldest_turns_are_forgotten_first() -> None:
    learner = VerifiedImitation(rl=PLAIN, memory=3)
    memory = None
    for step, response in enumerate([(2,), (3,), (4,)]):
        _, memory = learner.recall(one_that_wins(learner=learner, wins=2, response=response), memory, step)
    assert memory is not None
    assert memory.response_ids[:, 0].tolist() == [4, 4, 3]


def test_with_weight_0_it_is_grpo() -> None:
    learner = VerifiedImitation(rl=PLAIN, weight=0.0)
    assert not any(learner.shows_skills(0, member) for member in range(8))
    batch, memory = learner.recall(one_that_wins(learner=learner), None, 0)
    batch, memory = learner.recall(one_that_wins(learner=learner), memory, 1)
    assert (len(batch), len(memory)) == (3, 0)
    plain = PLAIN.prepare(replace(batch, only_taught=None, distill_weight=None), 0)
    expected = PLAIN.loss(TokenScores(torch.full((3, 1), -1.0)), None, plain).token_loss
    assert torch.equal(loss(learner, batch).token_loss, expected)


@pytest.mark.parametrize(
    ("option", "value"), [("weight", -1.0), ("replay", -0.5), ("memory", 0), ("trials", 1.0), ("weight", math.nan)]
)
def test_impossible_options_are_refused(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=option):
        VerifiedImitation(**{option: value})


def test_joined_rows_are_those_of_both() -> None:
    learner = VerifiedImitation(rl=PLAIN)
    one, other = one_that_wins(learner=learner), one_that_wins(learner=learner, response=(2, 3, 4))
    both = joined(one, replace(other, old_entropy=torch.ones(3, 3)))
    assert len(both) == 6
    assert both.response_ids.tolist() == [[2, 0, 0]] * 3 + [[2, 3, 4]] * 3
    assert both.old_entropy is None
    back = both.rows(torch.tensor([0]))
    assert_close(back.response_ids, one.response_ids[:1])
    assert_close(back.distill_weight, one.distill_weight[:1])  # type: ignore[index]


def test_what_a_checkpoint_holds_of_rows_gives_them_back() -> None:
    learner = VerifiedImitation(rl=PLAIN)
    _, memory = learner.recall(one_that_wins(learner=learner, wins=2, response=(2, 3)), None, 0)
    state = memory.state_dict()
    back = TurnBatch.from_state_dict(state)
    assert back.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in back.state_dict().items())
    assert (back.old_entropy, dict(back.views), dict(back.signals)) == (None, {}, {})


def test_half_of_a_real_group_acts_with_skills_and_no_teacher_is_asked(number_line_config: MakeConfig) -> None:
    run = set_up(number_line_config("verified_imitation", group_size=4), resume=False)
    assert run.teacher is None
    rollout, _ = collect(run, 0, PhaseClock())
    batch = collate(rollout.episodes, pad_id=run.tokenizer.pad_id)
    assert batch.teacher_prompt_ids is None
    shown = {number: bool(batch.skills_shown[batch.trajectory == number].all()) for number in range(8)}
    assert list(shown.values()) == [False, True] * 4
    ready = run.config.learner.prepare(batch, 0)
    longer = batch.prompt_mask.sum(1) - ready.prompt_mask.sum(1)
    assert longer[batch.skills_shown].min() > 0
    assert longer[~batch.skills_shown].abs().max() == 0


def test_a_run_that_was_stopped_remembers_what_it_had_seen(number_line_config: MakeConfig, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"steps": 3, "checkpoint_every": 1, "eval_every": 3, "minibatches": 2}
    whole = number_line_config("verified_imitation", run=str(tmp_path / "whole"), **settings)
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
    assert all(row["verified"] > 0 for row in expected)


@pytest.mark.parametrize("learning_rate", [1e-3, 1e-30])
def test_remembered_turns_change_what_is_learnt_and_no_metric(
    learning_rate: float, number_line_config: MakeConfig, tmp_path: Path
) -> None:
    rows = {}
    for replay in (0.0, 2.0):
        learner = VerifiedImitation(rl=PLAIN, replay=replay)
        settings: dict[str, Any] = {"steps": 2, "learner": learner, "learning_rate": learning_rate, "minibatches": 2}
        config = number_line_config("verified_imitation", run=str(tmp_path / str(replay)), **settings)
        train(config, console=QUIET)
        rows[replay] = [row for row in read_metrics(Path(config.run)) if row["kind"] == "train"]
    assert rows[0.0][0]["loss"] == rows[2.0][0]["loss"]
    assert rows[0.0][1]["gradient_norm"] != rows[2.0][1]["gradient_norm"]
    # Who came back is trained on, not scored anew.
    assert rows[2.0][1]["tokens/update"] > rows[0.0][1]["tokens/update"]
    assert rows[2.0][0]["tokens/score"] == rows[0.0][0]["tokens/score"]
    if learning_rate > 1e-10:
        return
    # Nothing moves, so what the step's own turns say must not depend on who stands behind them.
    for name in ("loss", "verified", "imitation_loss", "start_entropy", "tokens/score", "sampler_mismatch"):
        assert rows[2.0][1][name] == pytest.approx(rows[0.0][1][name], rel=1e-4, abs=1e-6), name
