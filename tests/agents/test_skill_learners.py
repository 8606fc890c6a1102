"""Skill-SD, RLSD, Skill-GRPO and SDAR's gate of before the step: numbers by hand, and when each is its backbone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console
from torch.testing import assert_close

from sdar_agents import losses
from sdar_agents.batch import TurnBatch, collate
from sdar_agents.config import ConfigError, TrainConfig
from sdar_agents.gradient_probe import compare_gradients
from sdar_agents.learners import GRPO, GRPOOPSD, RLSD, SDAR, SkillGRPO, SkillSD, TokenScores
from sdar_agents.learners.base import ActingLearner, Needs
from sdar_agents.setup import set_up
from sdar_agents.train import collect, train
from sdar_agents.update import PhaseClock, scored
from tests.agents.toy_batches import episode, one_row, run, tokens, turn

MakeConfig = Callable[..., TrainConfig]
NO_KL = GRPO(kl_coefficient=0.0)


# Skill-SD


def test_importance_weighted_k3_by_hand() -> None:
    # rho = 2, d = log 2: 2 (2 - log 2 - 1), gradient -2 log 2; rho = 1/2, d = -log 2: -(1/2)(-log 2).
    student = tokens(-1.0, -1.0).requires_grad_()
    old = tokens(-1.0 - math.log(2.0), -1.0 + math.log(2.0))
    value = losses.importance_weighted_k3(student, old, student.detach() + tokens(math.log(2.0), -math.log(2.0)))
    assert_close(value, tokens(2.0 - 2.0 * math.log(2.0), 0.5 * (math.log(2.0) - 0.5)))
    value.sum().backward()
    assert student.grad is not None
    assert_close(student.grad, tokens(-2.0 * math.log(2.0), 0.5 * math.log(2.0)))


def test_importance_weighted_k3_stays_finite_whatever_its_arguments_are() -> None:
    student = tokens(-300.0, 0.0, -1.0).requires_grad_()
    # d = 300 is cut at 20; log rho = 300 at 10.
    value = losses.importance_weighted_k3(student, tokens(-300.0, -300.0, -1.0), tokens(0.0, -0.5, -1.0))
    expected = tokens(math.exp(20.0) - 21.0, math.exp(10.0) * (math.exp(-0.5) + 0.5 - 1.0), 0.0)
    assert_close(value, expected)
    value.sum().backward()
    assert student.grad is not None
    # Cut in d: none. Cut in rho: e^10 (1 - e^-0.5) through k3 alone.
    assert_close(student.grad, tokens(0.0, math.exp(10.0) * (1.0 - math.exp(-0.5)), 0.0))


def enumerated(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of the student, and log-probabilities of the teacher and of the policy that sampled, [V] each."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    return logits[0], torch.log_softmax(logits[1], -1), torch.log_softmax(logits[2], -1)


@pytest.mark.parametrize("seed", range(3))
def test_skill_sd_descends_on_the_exact_reverse_kl_even_off_policy(seed: int) -> None:
    logits, teacher, old = enumerated(seed)
    gradients = []
    for is_exact in (False, True):
        own = logits.clone().requires_grad_()
        student = torch.log_softmax(own, dim=-1)
        if is_exact:
            losses.full_reverse_kl(student[None, None], teacher[None, None]).sum().backward()
        else:
            # Every token is a row, weighted by what the *sampling* policy draws.
            term = losses.importance_weighted_k3(student[:, None], old[:, None], teacher[:, None])[:, 0]
            (term * old.exp()).sum().backward()
        assert own.grad is not None
        gradients.append(own.grad)
    assert_close(gradients[0], gradients[1])


def test_skill_sd_by_hand() -> None:
    # A = 0: weight 3 times the token's -rho d with rho = 2, d = log 2.
    student, old = tokens(-1.0), tokens(-1.0 - math.log(2.0))
    teacher = TokenScores(tokens(-1.0 + math.log(2.0)))
    found, gradient = run(SkillSD(rl=NO_KL, weight=3.0), one_row(advantage=0.0, old=old), student, teacher)
    assert_close(gradient, tokens(-6.0 * math.log(2.0)))
    assert_close(found.token_loss.detach(), tokens(3.0 * (2.0 - 2.0 * math.log(2.0))))
    assert_close(found.distill_loss, found.token_loss)
    assert_close(found.token_metrics["distill_loss"], tokens(2.0 - 2.0 * math.log(2.0)))


def test_on_policy_skill_sd_has_the_gradient_of_grpo_opsd() -> None:
    student, teacher = tokens(-1.0, -2.0), TokenScores(tokens(-0.3, -2.5))
    batch = one_row(advantage=0.7, old=student)
    ours = run(SkillSD(rl=NO_KL, weight=0.1), batch, student, teacher)[1]
    assert_close(ours, run(GRPOOPSD(rl=NO_KL, weight=0.1), batch, student, teacher)[1])


@pytest.mark.parametrize(
    ("learner", "teacher"),
    [(SkillSD(weight=0.0), tokens(-0.1, -3.0)), (SkillSD(weight=1.0), tokens(-0.5, -1.5))],
    ids=["weight 0", "no gap"],
)
def test_skill_sd_without_weight_or_gap_is_grpo_to_the_bit(learner: SkillSD, teacher: torch.Tensor) -> None:
    student, old = tokens(-0.5, -1.5), tokens(-0.7, -1.1)
    batch = one_row(advantage=0.7, old=old, reference=tokens(-0.2, -1.0))
    plain, plain_gradient = run(GRPO(), batch, student)
    found, gradient = run(learner, batch, student, TokenScores(teacher))
    assert torch.equal(found.token_loss, plain.token_loss)
    assert torch.equal(gradient, plain_gradient)


# RLSD


def two_episodes(gap: list[float]) -> TurnBatch:
    """One that succeeds and one that fails, two tokens each, with the same gaps T - O in both."""
    won, lost = turn(response=(1, 1), reward=1.0), turn(response=(1, 1))
    batch = collate([episode(won), episode(lost)], pad_id=0)
    old = torch.tensor([[-1.0, -2.0], [-1.5, -0.5]], dtype=torch.float64)
    return replace(batch, old_logprobs=old, teacher_logprobs=old + torch.tensor(gap, dtype=torch.float64))


UNSCALED = replace(NO_KL, normalise_std=False)


def test_rlsd_by_hand() -> None:
    # A = +-1/2, gaps log 1.1 and -1 (beyond the clip of 0.2).
    # Good: w = 1.1, 0.8; bad: w = 1 / 1.1, 1.2. At weight 1/2 the factors are 1.05, 0.9; 21/22, 1.1.
    batch = RLSD(rl=UNSCALED).prepare(two_episodes([math.log(1.1), -1.0]), 0)
    assert batch.token_advantages is not None
    factors = torch.tensor([[1.05, 0.9], [21.0 / 22.0, 1.1]], dtype=torch.float64)
    sides = torch.tensor([[0.5], [-0.5]], dtype=torch.float64)
    assert_close(batch.token_advantages.double(), sides * factors)
    student = batch.old_logprobs.clone().requires_grad_()
    found = RLSD(rl=UNSCALED).loss(TokenScores(student), None, batch)
    found.token_loss.sum().backward()
    # Ratio 1: -A of each token.
    assert student.grad is not None
    assert_close(student.grad, -sides * factors)
    assert_close(found.token_metrics["advantage_factor"].double(), factors)
    assert_close(found.token_metrics["gap"], torch.tensor([[math.log(1.1), -1.0]] * 2, dtype=torch.float64))
    # What teaches is what the factor adds.
    assert_close(found.distill_loss, -sides * (factors - 1.0))


@pytest.mark.parametrize("seed", range(4))
def test_rlsd_never_changes_the_sign_of_an_advantage(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    gap = (20.0 * torch.randn(2, generator=generator)).tolist()
    batch = RLSD(rl=NO_KL, weight=1.0, clip=0.99).prepare(two_episodes(gap), 0)
    assert batch.token_advantages is not None
    assert torch.equal(batch.token_advantages.sign(), batch.advantages.sign()[:, None].expand(2, 2).double())


@pytest.mark.parametrize(
    ("learner", "gap", "step"),
    [
        (RLSD(weight=0.0), [0.3, -0.4], 0),
        (RLSD(clip=0.0), [0.3, -0.4], 0),
        (RLSD(weight=0.7), [0.0, 0.0], 0),
        (RLSD(decay_steps=10), [0.3, -0.4], 10),
        (RLSD(decay_steps=10), [0.3, -0.4], 25),
    ],
    ids=["weight 0", "clip 0", "no gap", "decayed", "long decayed"],
)
def test_rlsd_that_shares_out_nothing_is_grpo_to_the_bit(learner: RLSD, gap: list[float], step: int) -> None:
    batch = replace(two_episodes(gap), reference_logprobs=torch.full((2, 2), -1.0, dtype=torch.float64))
    results = []
    for each in (GRPO(), learner):
        rows = each.prepare(batch, step)
        student = torch.full((2, 2), -1.2, dtype=torch.float64).requires_grad_()
        found = each.loss(TokenScores(student), None, rows)
        found.token_loss.sum().backward()
        results.append((found.token_loss.detach(), student.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])  # type: ignore[arg-type]


def test_rlsd_s_weight_falls_in_a_straight_line() -> None:
    learner = RLSD(rl=UNSCALED, decay_steps=10)
    found = []
    for step in (0, 4, 9):
        batch = learner.prepare(two_episodes([-1.0, 0.0]), step)
        assert batch.token_advantages is not None
        found.append(batch.token_advantages[0, 0].item())
    # 1/2 (1 - 0.2 lambda), lambda = 0.5, 0.3, 0.05.
    assert found == pytest.approx([0.45, 0.47, 0.495])


def test_rlsd_looks_at_the_teacher_of_before_the_step_alone() -> None:
    assert RLSD(rl=NO_KL).needs == Needs(teacher_at_start=True)
    with pytest.raises(ValueError, match="RLSD needs the teacher's scores at the start of the step"):
        RLSD().prepare(replace(two_episodes([0.0, 0.0]), teacher_logprobs=None), 0)


def test_the_gradient_that_rlsd_adds_is_compared_with_the_rest(number_line_config: MakeConfig) -> None:
    built = set_up(number_line_config("rlsd"), resume=False)
    rollout, _ = collect(built, 0, PhaseClock())
    rows = scored(built, collate(rollout.episodes, pad_id=built.tokenizer.pad_id))
    found = compare_gradients(built, built.config.learner.prepare(rows, 0), 0)
    none = replace(built.config.learner, weight=0.0)  # type: ignore[type-var]
    plain = compare_gradients(replace(built, config=replace(built.config, learner=none)), none.prepare(rows, 0), 0)
    assert plain["gradient_norm/distill"] == 0.0
    assert found["gradient_norm/rl"] == pytest.approx(plain["gradient_norm/rl"], rel=1e-4)
    assert found["gradient_norm/distill"] > 0.01 * found["gradient_norm/rl"]


# SDAR's gate of before the step


def test_a_gate_on_the_old_policy_by_hand() -> None:
    # T - S = log(3) / 5 now, -log(3) / 5 before: gates 3/4 and 1/4; what it multiplies is of now.
    gap = math.log(3.0) / 5.0
    student, old = tokens(-1.0), tokens(-1.2)
    batch = replace(one_row(advantage=0.0, old=old), teacher_logprobs=old - gap)
    teacher = TokenScores(student + gap)
    for on, gate in (("current", 0.75), ("old", 0.25)):
        found, gradient = run(SDAR(rl=NO_KL, weight=1.0, gate_on=on), batch, student, teacher)  # type: ignore[arg-type]
        assert_close(found.token_metrics["gate"], tokens(gate))
        assert_close(gradient, tokens(-gate))
        assert_close(found.token_loss.detach(), tokens(gate * gap))
        assert_close(found.token_metrics["gap"], tokens(gap))


def test_an_entropy_gate_on_the_old_policy_takes_its_entropy() -> None:
    batch = replace(one_row(advantage=0.0, old=tokens(-1.0)), old_entropy=tokens(0.5))
    learner = SDAR(rl=NO_KL, gate="entropy", gate_on="old", gate_sharpness=2.0 * math.log(3.0))
    found, _ = run(learner, batch, tokens(-1.0), TokenScores(tokens(-0.5)), entropy=tokens(9.0))
    assert_close(found.token_metrics["gate"], tokens(0.75))


@pytest.mark.parametrize(
    ("gate", "needs"),
    [
        ("gap", Needs(teacher="logprobs", teacher_at_start=True)),
        ("entropy", Needs(teacher="logprobs", entropy_at_start=True)),
        ("soft_or", Needs(teacher="logprobs", teacher_at_start=True, entropy_at_start=True)),
    ],
)
def test_a_gate_on_the_old_policy_asks_for_what_it_looks_at(gate: Any, needs: Needs) -> None:
    assert SDAR(rl=NO_KL, gate=gate, gate_on="old").needs == needs


def test_a_misspelt_policy_of_the_gate_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown gate_on 'older'; did you mean 'old'"):
        SDAR(gate_on="older")  # type: ignore[arg-type]


# Skill-GRPO


def test_skill_grpo_acts_with_the_skills_in_its_prompt(number_line_config: MakeConfig) -> None:
    learner = SkillGRPO(rl=NO_KL)
    assert isinstance(learner, ActingLearner)
    assert learner.needs == Needs()
    built = set_up(number_line_config("skill_grpo", learner=learner, groups=2, group_size=2), resume=False)
    rollout, _ = collect(built, 0, PhaseClock())
    batch = collate(rollout.episodes, pad_id=built.tokenizer.pad_id)
    assert bool(batch.skills_shown.all())
    for each in rollout.episodes:
        assert each.skill_text in ("Say left.", "Say right.")
        assert all(each.skill_text in built.tokenizer.decode(row.prompt_ids) for row in each.turns)


def test_skill_grpo_s_loss_is_grpo_s() -> None:
    student, batch = tokens(-0.5), one_row(advantage=2.0, old=tokens(-0.6), reference=tokens(-0.7))
    plain, ours = run(GRPO(), batch, student), run(SkillGRPO(), batch, student, TokenScores(tokens(-9.0)))
    assert torch.equal(plain[0].token_loss, ours[0].token_loss)
    assert torch.equal(plain[1], ours[1])


def test_an_evaluation_of_skill_grpo_reports_skills_withdrawn_and_kept(number_line_config: MakeConfig) -> None:
    config = number_line_config("skill_grpo", steps=1, groups=2, eval_episodes=10)
    after = train(config, console=Console(quiet=True))["after"]
    # The walker was taught to obey a skill and to guess without one.
    assert after["skills_success_rate"] > after["success_rate"]


def test_skill_grpo_without_skills_to_show_is_refused(number_line_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="skill_grpo shows the agent skills, but --retriever none finds none"):
        set_up(number_line_config("skill_grpo", retriever="none"), resume=False)
