"""Learners of others on our interface: numbers by hand, when each is its backbone, what it keeps of an advantage."""

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

from sdar_agents.batch import TurnBatch, View, collate
from sdar_agents.config import ConfigError, TrainConfig
from sdar_agents.episode_file import read_episodes
from sdar_agents.learners import (
    ADRS,
    ATOD,
    BCSD,
    CRAFT,
    GRPO,
    GRPOOPSD,
    GRSD,
    OPID,
    SDAR,
    UCOB,
    AgentOPSD,
    Learner,
    Skill0,
    TokenScores,
    credit,
)
from sdar_agents.learners.adapting import CERTAIN, Adaptation, telling_tokens
from sdar_agents.learners.base import ActingLearner
from sdar_agents.run_log import read_metrics
from sdar_agents.setup import set_up
from sdar_agents.train import collect, train
from sdar_agents.update import PhaseClock
from tests.agents.toy_batches import episode, one_row, run, tokens, turn

MakeConfig = Callable[..., TrainConfig]
PLAIN = GRPO(kl_coefficient=0.0, normalise_std=False, invalid_penalty=0.0)


def two_episodes(gaps: list[list[float]], *, old: float = -1.0) -> TurnBatch:
    """One that succeeds and one that fails, two turns of one token each, with these gaps T - O; A is +-1/2."""
    won = episode(turn(), turn(reward=1.0))
    lost = episode(turn(), turn())
    batch = collate([won, lost], pad_id=0)
    said = torch.full((4, 1), old, dtype=torch.float64)
    gap = torch.tensor(gaps, dtype=torch.float64).reshape(4, 1)
    views = {
        name: View(batch.prompt_ids, batch.prompt_mask, said + gap) for name in ("full", "pruned", "hindsight", "bare")
    }
    return replace(
        batch,
        old_logprobs=said,
        teacher_logprobs=said + gap,
        reference_logprobs=said,
        old_entropy=torch.ones(4, 1, dtype=torch.float64),
        views=views,
        teacher_prompt_ids=batch.prompt_ids,
        teacher_prompt_mask=batch.prompt_mask,
    )


def shaped(learner: Learner, batch: TurnBatch, step: int = 0) -> torch.Tensor:
    """The advantages of the single tokens of `two_episodes`, [2 episodes, 2 turns]."""
    found = learner.prepare(batch, step).token_advantages
    assert found is not None
    return found.double().reshape(2, 2)


A = torch.tensor([[0.5, 0.5], [-0.5, -0.5]], dtype=torch.float64)
LIKED_THEN_NOT = [[0.4, -0.2], [0.4, -0.2]]


# ---- what they compute ------------------------------------------------------------------------------------


def test_agent_opsd_by_hand() -> None:
    # Half of the group succeeds: B_0 = 1/2. With memory 1: c = .4, .2; B = s(.4), s(.2); it rises, then falls. Of two
    # different numbers the standardised are +1 and -1: factors 1.2, .8, of which half counts; else for the loser.
    found = shaped(AgentOPSD(rl=PLAIN, memory=1.0), two_episodes(LIKED_THEN_NOT))
    assert_close(found, A * torch.tensor([[1.1, 0.9], [0.9, 1.1]], dtype=torch.float64))


def test_agent_opsd_compares_each_belief_with_the_one_before() -> None:
    # B = s(0), s(.2), s(.35): it rises by .050, then by .037, so the second turn did less; from B_0 it would be .087.
    found = shaped(AgentOPSD(rl=PLAIN, memory=1.0), two_episodes([[0.2, 0.15], [0.2, 0.15]]))
    assert_close(found, A * torch.tensor([[1.1, 0.9], [0.9, 1.1]], dtype=torch.float64))


@pytest.mark.parametrize(("memory", "first_did_more"), [(1.0, False), (0.0, True)])
def test_agent_opsd_remembers_as_much_as_its_setting_says(memory: float, first_did_more: bool) -> None:
    # With all of it c = .3, .65: rises of .074 and .083. With none c = .3, .35: .074 and .012.
    found = shaped(AgentOPSD(rl=PLAIN, memory=memory), two_episodes([[0.3, 0.35], [0.3, 0.35]]))
    more, less = (1.1, 0.9) if first_did_more else (0.9, 1.1)
    assert_close(found, A * torch.tensor([[more, less], [less, more]], dtype=torch.float64))


def test_evidence_fades_from_turn_to_turn() -> None:
    # Memory 1/2: c = .4, .2 + .3 = .5.
    batch = two_episodes([[0.4, 0.3], [0.4, 0.3]])
    now, before = credit.carried(credit.turn_sum(credit.start_gap(batch, "x"), batch), batch, keep=0.5)
    assert_close(now.reshape(2, 2)[0], torch.tensor([0.4, 0.5], dtype=torch.float64))
    assert_close(before.reshape(2, 2)[0], torch.tensor([0.0, 0.4], dtype=torch.float64))


def test_grsd_by_hand() -> None:
    # v = exp(+-.4) - 1, exp(-+.2) - 1 by the advantage's sign; each over the mean size is beyond the clip of .2.
    gaps = [[0.4, -0.2], [0.4, -0.2]]
    found = shaped(GRSD(rl=PLAIN), two_episodes(gaps))
    assert_close(found, A * torch.tensor([[1.1, 0.9], [0.9, 1.1]], dtype=torch.float64))
    # A wide clip: shares v / mean |v|, the factor never below the floor.
    values = [math.expm1(0.4), math.expm1(-0.2), math.expm1(-0.4), math.expm1(0.2)]
    size = sum(abs(value) for value in values) / 4
    factors = [max(0.1, 1.0 + 0.5 * value / size) for value in values]
    found = shaped(GRSD(rl=PLAIN, clip=100.0), two_episodes(gaps))
    assert_close(found, A * torch.tensor(factors, dtype=torch.float64).reshape(2, 2))


def test_grsd_leaves_groups_alone_in_which_all_fail() -> None:
    learner = GRSD(rl=replace(PLAIN, invalid_penalty=0.5))
    lost = [episode(turn(is_valid=False)), episode(turn())]
    batch = collate(lost, pad_id=0)
    old = torch.tensor([[-1.0], [-1.0]])
    ready = learner.prepare(replace(batch, old_logprobs=old, teacher_logprobs=old + 1.0), 0)
    assert ready.token_advantages is not None
    assert torch.equal(ready.token_advantages[:, 0], ready.advantages)
    assert ready.advantages.tolist() == [-0.25, 0.25]


def test_adrs_by_hand() -> None:
    # T = -.6, -1.2 in both episodes: mean -.9, deviation .3, r = +-1. The first turns answer one observation and the
    # teacher likes both, so the group decides: liked turns returned 1 and 0, the others as well: V = 0, gate 1/2.
    found = shaped(ADRS(rl=PLAIN, weight=0.1), two_episodes(LIKED_THEN_NOT))
    assert_close(found, A + 0.05 * torch.tensor([[1.0, -1.0], [1.0, -1.0]], dtype=torch.float64))


def test_adrs_follows_a_teacher_as_far_as_that_paid() -> None:
    # It likes both turns of the winner and none of the loser: V = 1, gate s(2), by the observation or by the group.
    batch = two_episodes([[0.3, 0.3], [-0.3, -0.3]])
    found = shaped(ADRS(rl=PLAIN, weight=0.1), batch)
    gate = 1.0 / (1.0 + math.exp(-2.0))
    assert_close(found, A + 0.1 * gate * torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64))
    # All liked alike: nothing to compare, and T - F = .3 decides.
    alike = two_episodes([[0.3, 0.3], [0.3, 0.2]])
    gates = [1.0 / (1.0 + math.exp(-2.0 * gap)) for gap in (0.3, 0.3, 0.3, 0.2)]
    said = torch.tensor([-0.7, -0.7, -0.7, -0.8], dtype=torch.float64)
    reward = (said - said.mean()) / said.std(correction=0)
    expected = A + (0.1 * torch.tensor(gates, dtype=torch.float64) * reward).reshape(2, 2)
    assert_close(shaped(ADRS(rl=PLAIN, weight=0.1), alike), expected)


def test_adrs_believes_turns_at_one_observation_before_the_group() -> None:
    # At the first observation the liked turn won and the other lost: V = 1. The second turns stand alone, and in the
    # group liked turns returned as much as the others: V = 0. T = -.7, -1.3, -1.3, -.7, so r = 1, -1, -1, 1.
    batch = replace(two_episodes([[0.3, -0.3], [-0.3, 0.3]]), state=torch.tensor([1, 2, 1, 3]))
    gate = 1.0 / (1.0 + math.exp(-2.0))
    expected = A + 0.1 * torch.tensor([[gate, -0.5], [-gate, 0.5]], dtype=torch.float64)
    assert_close(shaped(ADRS(rl=PLAIN, weight=0.1), batch), expected)


def test_atod_by_hand() -> None:
    # |gap| .4, .2 is ranged to 1, 0; -O is the same in all turns: 1/2. w = 1, 1/2. In step 0 kappa = rho = 1.
    gap = torch.tensor(LIKED_THEN_NOT, dtype=torch.float64)
    turns = torch.tensor([[1.0, 0.5], [1.0, 0.5]], dtype=torch.float64)
    assert_close(shaped(ATOD(rl=PLAIN), two_episodes(LIKED_THEN_NOT)), gap * turns + A)
    late = shaped(ATOD(rl=PLAIN), two_episodes(LIKED_THEN_NOT), step=80)
    assert_close(late, 0.1 * gap * turns + 2.0 * A)


def test_the_handover_of_atod() -> None:
    found = [ATOD().coefficients(step) for step in (0, 40, 80, 200)]
    assert found == [(1.0, 1.0), (pytest.approx(0.55), 1.5), (pytest.approx(0.1), 2.0), (pytest.approx(0.1), 2.0)]


def test_bcsd_by_hand() -> None:
    # d = .9 log 1.1 + .1 log 1.1; w = 1.1 for the winner, 1 / 1.1 for the loser; weight .1, and half of it half way.
    batch = two_episodes([[math.log(1.1)] * 2] * 2)
    for step, weight in ((0, 0.1), (75, 0.05), (150, 0.0), (200, 0.0)):
        factors = torch.tensor([[1.0 + weight * 0.1] * 2, [1.0 + weight * (1 / 1.1 - 1)] * 2], dtype=torch.float64)
        assert_close(shaped(BCSD(rl=PLAIN), batch, step), A * factors)


def test_bcsd_mixes_two_views() -> None:
    batch = two_episodes([[0.1] * 2] * 2)
    assert batch.views["full"].logprobs is not None
    opposite = View(batch.prompt_ids, batch.prompt_mask, batch.old_logprobs - 0.1)
    batch = replace(batch, views={**batch.views, "pruned": opposite})
    found = shaped(BCSD(rl=PLAIN, weight=1.0, mix=0.5), batch)
    assert_close(found, A)
    found = shaped(BCSD(rl=PLAIN, weight=1.0, mix=0.75), batch)
    assert_close(found, A * torch.tensor([[math.exp(0.05)] * 2, [math.exp(-0.05)] * 2], dtype=torch.float64))


def test_opid_by_hand() -> None:
    gap = torch.tensor(LIKED_THEN_NOT, dtype=torch.float64)
    found = shaped(OPID(rl=PLAIN, episode_weight=0.5, step_weight=0.25), two_episodes(LIKED_THEN_NOT))
    assert_close(found, A + 0.75 * gap)


def test_skill0_takes_the_skills_away_in_stages() -> None:
    learner = Skill0(stages=2, stage_steps=10)
    shares = [sum(learner.shows_skills(step, member) for member in range(8)) for step in (0, 9, 10, 19, 20, 500)]
    assert shares == [8, 8, 4, 4, 0, 0]
    learner = Skill0(stages=3, stage_steps=1)
    thirds = [sum(learner.shows_skills(step, member) for member in range(9)) for step in range(5)]
    assert thirds == [9, 6, 3, 0, 0]


def test_craft_by_hand() -> None:
    # The winner's return is 1 above its only sibling's, whatever that is weighted by; the loser's 1 below.
    learner = CRAFT(sdar=SDAR(rl=PLAIN, weight=0.2))
    ready = learner.prepare(two_episodes(LIKED_THEN_NOT), 0)
    assert ready.distill_weight is not None
    assert_close(ready.distill_weight.reshape(2, 2), torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
    student = ready.old_logprobs
    gate = torch.sigmoid(5.0 * torch.tensor([0.4, -0.2], dtype=torch.float64))
    found, gradient = run(learner, ready, student, TokenScores(ready.teacher_logprobs))  # type: ignore[arg-type]
    # Of the policy gradient -A, of the teaching -weight c g.
    expected = -A - 0.2 * torch.stack([gate, -gate])
    assert_close(gradient.reshape(2, 2), expected)
    assert found.distill_loss is not None


def test_craft_compares_first_with_siblings_that_answer_the_same_observation() -> None:
    # Three episodes; the first and second answer one observation, the third another.
    batch = collate([episode(turn(reward=1.0)), episode(turn()), episode(turn(reward=0.5))], pad_id=0)
    old = torch.full((3, 1), -1.0)
    batch = replace(batch, old_logprobs=old, teacher_logprobs=old + 0.1, state=torch.tensor([5, 5, 7]))
    credits = CRAFT().prepare(batch, 0).distill_weight
    assert credits is not None
    # First: 1 - 0. Second: 0 - 1. Third, with nobody alike: .5 - mean(1, 0) = 0.
    assert_close(credits[:, 0], torch.tensor([1.0, -1.0, 0.0]))


def test_craft_listens_to_siblings_whom_the_teacher_sees_alike() -> None:
    batch = collate([episode(turn(reward=1.0)), episode(turn()), episode(turn(reward=1.0))], pad_id=0)
    old = torch.full((3, 1), -1.0)
    batch = replace(batch, old_logprobs=old, teacher_logprobs=old + torch.tensor([[0.0], [0.5], [0.0]]))
    credits = CRAFT(temperature=0.5).prepare(batch, 0).distill_weight
    assert credits is not None
    # exp(-1) against 1 of the twin, who returned as much.
    share = math.exp(-1.0) / (1.0 + math.exp(-1.0))
    assert_close(credits[:, 0], torch.tensor([share, -1.0, share]))


# ---- UCOB -------------------------------------------------------------------------------------------------


def branches() -> TurnBatch:
    """Two episodes of one turn after one observation: the second, which acted with skills (9), wins."""
    bare, skilled = turn((1,), (2, 3)), turn((9, 1), (2, 4), reward=1.0)
    batch = collate([episode(bare), episode(skilled)], pad_id=0)
    ids, mask = torch.tensor([[0, 1], [0, 1]]), torch.tensor([[False, True], [False, True]])
    with_skills = torch.tensor([[9, 1], [9, 1]])
    return replace(
        batch,
        skills_shown=torch.tensor([False, True]),
        state=torch.tensor([3, 3]),
        views={"bare": View(ids, mask, torch.zeros(2, 2))},
        teacher_prompt_ids=with_skills,
        teacher_prompt_mask=torch.ones_like(with_skills, dtype=torch.bool),
    )


def test_ucob_teaches_the_branch_that_lost_what_the_other_did() -> None:
    learner = UCOB(rl=PLAIN)
    ready = learner.prepare(branches(), 0)
    assert len(ready) == 3
    # The winner's response after the prompt without skills; its own prompt is the teacher's.
    assert ready.response_ids[2].tolist() == [2, 4]
    assert ready.prompt_ids[2][ready.prompt_mask[2]].tolist() == [1]
    assert ready.teacher_prompt_ids is not None
    assert ready.teacher_prompt_ids[2].tolist() == [9, 1]
    assert ready.advantages.tolist() == [-0.5, 0.5, 0.0]
    assert ready.trajectory.tolist() == [0, 1, 2]
    # Difference 1, unit .2: cut at 2.
    assert ready.distill_weight is not None
    assert ready.distill_weight.tolist() == [[0.0, 0.0], [0.0, 0.0], [2.0, 2.0]]


def test_ucob_counts_two_losers_at_most() -> None:
    skilled = episode(turn((9, 1), (2, 4), reward=1.0))
    batch = collate([skilled, *[episode(turn((1,), (2, 3)))] * 3], pad_id=0)
    ids, mask = torch.ones(4, 1, dtype=torch.int64), torch.ones(4, 1, dtype=torch.bool)
    batch = replace(
        batch,
        skills_shown=torch.tensor([True, False, False, False]),
        state=torch.full((4,), 3),
        views={"bare": View(ids, mask, torch.zeros(4, 2))},
        teacher_prompt_ids=ids,
        teacher_prompt_mask=mask,
    )
    weight = UCOB(rl=PLAIN).prepare(batch, 0).distill_weight
    assert weight is not None
    # Each is 1 behind, five units, and counts 2.
    assert weight[4].tolist() == [4.0, 4.0]


def test_ucob_goes_the_other_way_where_skills_lost() -> None:
    batch = branches()
    batch = replace(batch, reward=batch.reward.flip(0), returns=batch.returns.flip(0))
    ready = UCOB(rl=PLAIN).prepare(batch, 0)
    assert ready.response_ids[2].tolist() == [2, 3]
    assert ready.prompt_ids[2].tolist() == [9, 1]
    assert ready.teacher_prompt_ids is not None
    assert ready.teacher_prompt_mask is not None
    assert ready.teacher_prompt_ids[2][ready.teacher_prompt_mask[2]].tolist() == [1]


@pytest.mark.parametrize("change", ["one branch", "other states", "equal returns"])
def test_ucob_without_a_loser_of_the_other_branch_is_grpo(change: str) -> None:
    batch = branches()
    changed = {
        "one branch": {"skills_shown": torch.tensor([True, True])},
        "other states": {"state": torch.tensor([3, 4])},
        "equal returns": {"reward": torch.ones(2), "returns": torch.ones(2)},
    }
    batch = replace(batch, **changed[change])  # type: ignore[arg-type]
    assert len(UCOB(rl=PLAIN).prepare(batch, 0)) == 2


def test_ucob_s_loss_of_a_winner_s_copy_by_hand() -> None:
    ready = UCOB(rl=PLAIN, weight=0.5, top_k=1).prepare(branches(), 0)
    ready = replace(ready, old_logprobs=torch.full((3, 2), math.log(0.5)))
    student = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log().expand(3, 2, 3)
    teacher = torch.tensor([0.8, 0.1, 0.1], dtype=torch.float64).log().expand(3, 2, 3)
    own, other = student[..., 0].clone(), teacher[..., 0].clone()
    learner = UCOB(rl=PLAIN, weight=0.5, top_k=1)
    found = learner.loss(TokenScores(own, distribution=student), TokenScores(other, distribution=teacher), ready)
    # .8 log(.8/.5) + .2 log(.2/.5); gate s(5 log 1.6); worth 2, weight 1/2.
    distance = 0.8 * math.log(1.6) + 0.2 * math.log(0.4)
    gate = 1.0 / (1.0 + math.exp(-5.0 * math.log(1.6)))
    assert_close(found.token_loss[2], tokens(gate * distance, gate * distance)[0])
    # Ratio 1: -A.
    assert_close(found.token_loss[:2, 0].double(), torch.tensor([0.5, -0.5], dtype=torch.float64))


def test_ucob_with_weight_0_teaches_no_copies() -> None:
    # A copy without a gradient would still count in the mean over tokens, and shrink GRPO's by a third here.
    batch = branches()
    ready, plain = UCOB(rl=PLAIN, weight=0.0).prepare(batch, 0), PLAIN.prepare(batch, 0)
    assert len(ready) == len(plain) == 2
    assert torch.equal(ready.advantages, plain.advantages)


# ---- what all keep ----------------------------------------------------------------------------------------

SHARING = [AgentOPSD(rl=PLAIN), GRSD(rl=PLAIN), BCSD(rl=PLAIN, weight=1.0)]
SHAPING: list[Any] = [*SHARING, ADRS(rl=PLAIN), ATOD(rl=PLAIN), OPID(rl=PLAIN)]


def name(learner: Learner) -> str:
    return type(learner).__name__


@pytest.mark.parametrize("learner", SHARING, ids=name)
@pytest.mark.parametrize("seed", range(3))
def test_who_shares_out_keeps_the_sign_of_every_advantage(learner: Learner, seed: int) -> None:
    gaps = 5.0 * torch.randn(2, 2, generator=torch.Generator().manual_seed(seed))
    found = shaped(learner, two_episodes(gaps.tolist()))
    assert torch.equal(found.sign(), A.sign())
    assert not torch.equal(found, A)


@pytest.mark.parametrize("learner", [*SHARING, ATOD(rl=PLAIN), OPID(rl=PLAIN)], ids=name)
def test_without_a_gap_nothing_changes(learner: Learner) -> None:
    ready = learner.prepare(two_episodes([[0.0, 0.0], [0.0, 0.0]]), 0)
    assert ready.token_advantages is not None
    assert torch.equal(ready.token_advantages, ready.advantages[:, None].expand(4, 1).to(ready.token_advantages.dtype))


@pytest.mark.parametrize("learner", SHAPING, ids=name)
def test_with_weight_0_each_is_its_backbone_to_the_bit(learner: Any) -> None:
    none = {"episode_weight": 0.0, "step_weight": 0.0} if isinstance(learner, OPID) else {"weight": 0.0}
    batch = two_episodes(LIKED_THEN_NOT)
    student = batch.old_logprobs - 0.3
    plain, plain_gradient = run(PLAIN, PLAIN.prepare(batch, 0), student)
    off = replace(learner, **none)
    found, gradient = run(off, off.prepare(batch, 0), student)
    assert torch.equal(found.token_loss, plain.token_loss)
    assert torch.equal(gradient, plain_gradient)
    on = run(learner, learner.prepare(batch, 0), student)[1]
    assert not torch.equal(on, plain_gradient)


def test_craft_without_siblings_is_sdar_to_the_bit() -> None:
    batch = two_episodes(LIKED_THEN_NOT)
    sdar = SDAR(rl=PLAIN, weight=0.2)
    teacher = TokenScores(batch.teacher_logprobs)  # type: ignore[arg-type]
    plain = run(sdar, sdar.prepare(batch, 0), batch.old_logprobs, teacher)[1]
    off = CRAFT(sdar=sdar, siblings=False)
    assert torch.equal(run(off, off.prepare(batch, 0), batch.old_logprobs, teacher)[1], plain)


@pytest.mark.parametrize("learner", SHAPING, ids=name)
def test_a_copied_row_of_weight_0_changes_no_advantage(learner: Learner) -> None:
    batch = two_episodes(LIKED_THEN_NOT)
    copied = batch.rows(torch.tensor([0, 0, 1, 2, 3, 3]))
    copied = replace(copied, weight=torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0, 0.0]))
    found = learner.prepare(copied, 0).token_advantages
    assert found is not None
    assert_close(found.double()[[0, 2, 3, 4], 0].reshape(2, 2), shaped(learner, batch))


# ---- choice of tokens, cap --------------------------------------------------------------------------------


def scored_row(entropy: list[float], gap: list[float]) -> TurnBatch:
    old = tokens(*[-1.0] * len(gap))
    return replace(one_row(advantage=0.0, old=old), old_entropy=tokens(*entropy), teacher_logprobs=old + tokens(*gap))


def test_telling_tokens_by_hand() -> None:
    # Entropy ranged: 0, 1, 1/2, 0; |gap| ranged: 0, 0, 1/2, 1. Scores 0, 1, 3/4, 1.
    batch = scored_row([0.2, 1.2, 0.7, 0.2], [0.0, 0.0, -1.0, 2.0])
    assert telling_tokens(batch, share=0.5).tolist() == [[False, True, False, True]]
    assert telling_tokens(batch, share=0.75).tolist() == [[False, True, True, True]]
    # Of equal scores none is preferred.
    assert telling_tokens(batch, share=0.25).tolist() == [[False, True, False, True]]


def test_only_telling_tokens_teach() -> None:
    batch = scored_row([0.2, 1.2, 0.7, 0.2], [0.5, 0.5, -0.5, 2.0])
    learner = SDAR(rl=PLAIN, weight=1.0, adapt=Adaptation(keep=0.5))
    assert learner.needs.teacher_at_start
    assert learner.needs.entropy_at_start
    ready = replace(learner.adapt.prepare(batch, 0), advantages=batch.advantages)
    gradient = run(learner, ready, batch.old_logprobs, TokenScores(batch.teacher_logprobs))[1]  # type: ignore[arg-type]
    whole = run(SDAR(rl=PLAIN, weight=1.0), batch, batch.old_logprobs, TokenScores(batch.teacher_logprobs))[1]  # type: ignore[arg-type]
    assert_close(gradient, whole * tokens(0.0, 1.0, 0.0, 1.0))


def test_the_cap_holds_where_the_policy_is_nearly_certain() -> None:
    assert pytest.approx(-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)), abs=1e-3) == CERTAIN
    batch = scored_row([0.3, 0.35], [0.5, 0.5])
    teacher = TokenScores(batch.teacher_logprobs)  # type: ignore[arg-type]
    for weight, expected in ((0.01, 0.01), (0.2, 0.05)):
        learner = GRPOOPSD(rl=PLAIN, weight=weight, adapt=Adaptation(cap=0.05))
        ready = replace(learner.adapt.prepare(batch, 0), advantages=batch.advantages)
        found, gradient = run(learner, ready, batch.old_logprobs, teacher)
        assert_close(gradient, tokens(-expected * 0.5, -weight * 0.5))
        assert_close(found.token_metrics["distill_weight"].double(), tokens(expected, weight))


def test_the_cap_holds_for_what_pushes_away_too() -> None:
    # Credits are +1 and -1, the weight .2, the cap .05.
    learner = CRAFT(sdar=SDAR(rl=PLAIN, weight=0.2, adapt=Adaptation(cap=0.05)))
    certain = replace(two_episodes(LIKED_THEN_NOT), old_entropy=torch.zeros(4, 1, dtype=torch.float64))
    ready = learner.prepare(certain, 0)
    found, _ = run(learner, ready, ready.old_logprobs, TokenScores(ready.teacher_logprobs))  # type: ignore[arg-type]
    assert_close(found.token_metrics["distill_weight"].double().reshape(2, 2), 0.1 * A)


@pytest.mark.parametrize("options", [{"keep": 0.0}, {"keep": 1.5}, {"cap": -1.0}])
def test_impossible_choices_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Adaptation(**options)  # type: ignore[arg-type]


# ---- in the loop ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", ["bcsd", "skill0", "ucob"])
def test_who_acts_with_skills_does(learner: str, number_line_config: MakeConfig) -> None:
    run_ = set_up(number_line_config(learner), resume=False)
    assert isinstance(run_.config.learner, ActingLearner)
    rollout, _ = collect(run_, 0, PhaseClock())
    expected = 0.5 if learner == "ucob" else 1.0
    shown = [each.turns[0].skills_shown for each in rollout.episodes]
    assert sum(shown) == expected * len(shown)


def test_ucob_s_copies_are_trained_on_and_not_recorded(number_line_config: MakeConfig) -> None:
    config = number_line_config("ucob", groups=6, group_size=8, record_episodes=48, record_every=1, steps=1)
    train(config, console=Console(quiet=True))
    metrics = next(row for row in read_metrics(Path(config.run)) if "distill_loss" in row)
    assert metrics["distill_loss"] > 0
    recorded = [each for each in read_episodes(Path(config.run) / "episodes.jsonl") if each.phase == "train"]
    assert len(recorded) == 48
    # A copy of a winner's turn has no advantage; the turn itself has.
    assert any(each.advantages[0] > 0 for each in recorded if each.episode.success)


def test_a_given_reflection_is_what_the_teacher_reads(number_line_config: MakeConfig, tmp_path: Path) -> None:
    file = tmp_path / "reflection.txt"
    file.write_text("go right\n", encoding="utf-8")
    config = number_line_config("grsd", teacher_view="text", teacher_text=str(file))
    rollout, _ = collect(set_up(config, resume=False), 0, PhaseClock())
    assert {each.skill_text for each in rollout.episodes} == {"go right"}
    for each in rollout.episodes:
        assert all(len(row.teacher_prompt_ids or ()) > len(row.prompt_ids) for row in each.turns)


def test_a_text_that_is_not_there_or_not_shown_is_refused(number_line_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read --teacher-text"):
        set_up(number_line_config("grsd", teacher_view="text", teacher_text=str(tmp_path / "none")), resume=False)
    with pytest.raises(ConfigError, match="--teacher-view text"):
        set_up(number_line_config("grsd", teacher_view="text"), resume=False)
    with pytest.raises(ConfigError, match="--teacher-view text"):
        set_up(number_line_config("grsd", teacher_text=str(tmp_path / "none")), resume=False)
    empty = tmp_path / "empty"
    empty.write_text(" \n", encoding="utf-8")
    with pytest.raises(ConfigError, match="is empty"):
        set_up(number_line_config("grsd", teacher_view="text", teacher_text=str(empty)), resume=False)
