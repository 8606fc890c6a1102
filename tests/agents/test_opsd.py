"""Self-distillation in all the forms that its name can mean: what each gradient depends on, and numbers by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from torch.testing import assert_close

from sdar_agents import losses
from sdar_agents.batch import collate, token_mean
from sdar_agents.learners import GRPO, GRPOOPSD, OPSD, SDAR, TokenScores
from sdar_agents.learners.adapting import Adaptation
from sdar_agents.learners.opsd import OPSDDivergence
from sdar_agents.schedules import Schedule
from tests.agents.toy_batches import episode, one_row, run, tokens, turn

NO_KL = GRPO(kl_coefficient=0.0)
FORMS = get_args(OPSDDivergence)
SAMPLED = [name for name in FORMS if not name.startswith(("full", "topk"))]


def logs(*probabilities: float) -> torch.Tensor:
    """A distribution of one token of one row, [1, 1, V]."""
    return torch.tensor([[probabilities]], dtype=torch.float64).log()


P, Q = logs(0.5, 0.25, 0.125, 0.125), logs(0.125, 0.5, 0.25, 0.125)


def distributions(seed: int, vocabulary: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2.0 * torch.randn(2, 3, 4, vocabulary, generator=generator, dtype=torch.float64)
    student, teacher = torch.log_softmax(logits, dim=-1)
    return student, teacher


# The tail bucket


def test_the_tail_is_one_event_with_the_rest_of_the_probability() -> None:
    # Two of P stand by themselves: 1/2 and 1/4, rest 1/4. At the same places Q has 1/8, 1/2, rest 3/8.
    student, teacher = losses.top_k_and_tail(P, Q, k=2, chosen_by=P)
    assert_close(student, logs(0.5, 0.25, 0.25))
    assert_close(teacher, logs(0.125, 0.5, 0.375))
    # Q's own two likeliest are the second and the third token.
    student, teacher = losses.top_k_and_tail(P, Q, k=2, chosen_by=Q)
    assert_close(student, logs(0.25, 0.125, 0.625))
    assert_close(teacher, logs(0.5, 0.25, 0.25))


TOP_2 = {
    # 1/2 log 4 + 1/4 log 1/2 + 1/4 log 2/3, over the student's two.
    "topk_reverse_kl": 0.5 * math.log(4.0) - 0.25 * math.log(2.0) + 0.25 * math.log(2.0 / 3.0),
    # 1/2 log 2 + 1/4 log 2 + 1/4 log 2/5, over the teacher's two.
    "topk_forward_kl": 0.75 * math.log(2.0) + 0.25 * math.log(0.4),
    # m = 5/16, 3/8, 5/16 over the student's two.
    "topk_js": 0.5 * (0.5 * math.log(1.6) + 0.25 * math.log(2 / 3) + 0.25 * math.log(0.8))
    + 0.5 * (0.125 * math.log(0.4) + 0.5 * math.log(4 / 3) + 0.375 * math.log(1.2)),
}


@pytest.mark.parametrize("form", TOP_2)
def test_top_k_forms_by_hand(form: Any) -> None:
    student, teacher = P[..., 0], TokenScores(Q[..., 0], distribution=Q)
    batch = one_row(advantage=3.0, old=student)
    for learner in (OPSD(rl=NO_KL, divergence=form, top_k=2), GRPOOPSD(rl=NO_KL, divergence=form, top_k=2)):
        found = learner.loss(TokenScores(student, distribution=P), teacher, batch)
        assert_close(found.token_metrics["distill_loss"], tokens(TOP_2[form]))


@pytest.mark.parametrize("form", ["reverse_kl", "forward_kl", "js"])
@pytest.mark.parametrize("k", [6, 7, 20])
def test_top_k_with_every_token_is_the_full_divergence_to_the_bit(form: str, k: int) -> None:
    student, teacher = distributions(0)
    batch = collate([episode(turn(response=(1,) * 4)) for _ in range(3)], pad_id=0)
    results = []
    for name in (f"full_{form}", f"topk_{form}"):
        own = student.clone().requires_grad_()
        learner = OPSD(rl=NO_KL, divergence=name, top_k=k)  # type: ignore[arg-type]
        scores = TokenScores(student[..., 0], distribution=own)
        found = learner.loss(scores, TokenScores(teacher[..., 0], distribution=teacher), batch)
        found.token_loss.sum().backward()
        assert own.grad is not None
        results.append((found.token_loss.detach(), own.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("full", [losses.full_reverse_kl, losses.full_forward_kl, losses.full_js])
def test_the_more_tokens_stand_by_themselves_the_more_of_the_divergence_is_seen(full: Any) -> None:
    # Merging outcomes never makes two distributions easier to tell apart.
    student, teacher = distributions(1)
    values = [full(*losses.top_k_and_tail(student, teacher, k=k, chosen_by=student)) for k in range(1, 7)]
    assert all(bool((less <= more + 1e-12).all()) for less, more in pairwise(values))
    assert bool((values[0] < values[-1]).all())
    assert_close(values[-1], full(student, teacher))


def test_a_tail_of_almost_nothing_keeps_its_value_and_a_finite_gradient() -> None:
    logits = torch.tensor([[[30.0, 29.0, -30.0, -31.0]]], requires_grad=True)
    student, teacher = torch.log_softmax(logits, dim=-1), torch.log_softmax(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), -1)
    coarse, _ = losses.top_k_and_tail(student, teacher, k=2, chosen_by=student)
    # exp(-60) + exp(-61) over exp(0) + exp(-1).
    expected = -60.0 + math.log1p(math.exp(-1.0)) - math.log1p(math.exp(-1.0))
    assert coarse[0, 0, 2].item() == pytest.approx(expected, rel=1e-5)
    losses.full_reverse_kl(*losses.top_k_and_tail(student, teacher, k=2, chosen_by=student)).sum().backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_the_gradient_of_a_tail_token_is_its_share_of_the_tail() -> None:
    # A coarse forward KL: -q_tail grad log(sum of the tail's p), i.e. to each of log p of the tail -q_tail p / p_tail.
    student = P.clone().requires_grad_()
    coarse = losses.top_k_and_tail(student, Q, k=2, chosen_by=P)
    losses.full_forward_kl(*coarse).sum().backward()
    assert_close(student.grad, torch.tensor([[[-0.125, -0.5, -0.1875, -0.1875]]], dtype=torch.float64))


# What the gradient depends on


@pytest.mark.parametrize("form", FORMS)
def test_rewards_and_advantages_do_not_matter(form: Any) -> None:
    student, teacher = distributions(2)
    batch = collate([episode(turn(response=(1,) * 4, reward=float(n))) for n in range(3)], pad_id=0)
    learner = OPSD(divergence=form, top_k=2, rl=GRPO(kl_coefficient=0.5))
    results = []
    for advantages in (torch.zeros(3), torch.tensor([1.0, -2.0, 5.0])):
        own, whole = student[..., 0].clone().requires_grad_(), student.clone().requires_grad_()
        rows = replace(batch, advantages=advantages, reference_logprobs=student[..., 1])
        scores = TokenScores(own, distribution=whole)
        found = learner.loss(scores, TokenScores(teacher[..., 0], distribution=teacher), rows)
        found.token_loss.sum().backward()
        results.append((own.grad, torch.zeros(()) if whole.grad is None else whole.grad))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("form", "weights"),
    [
        # d = log 2 and -log 2. -d; 1 - exp(d); -sigmoid(5 d) = -32/33 and -1/33.
        ("sampled_reverse_kl", (-math.log(2.0), math.log(2.0))),
        ("k3", (-1.0, 0.5)),
        ("official_gated", (-32.0 / 33.0, -1.0 / 33.0)),
    ],
)
def test_sampled_forms_by_hand(form: Any, weights: tuple[float, float]) -> None:
    student = tokens(-1.0, -1.0)
    teacher = TokenScores(student + tokens(math.log(2.0), -math.log(2.0)))
    _, gradient = run(
        OPSD(rl=NO_KL, divergence=form, weight=2.0), one_row(advantage=1.0, old=student), student, teacher
    )
    assert_close(gradient, 2.0 * tokens(*weights))


def test_k3_beside_grpo_has_the_gradient_that_it_has_alone() -> None:
    student = tokens(-1.0, -1.0)
    teacher = TokenScores(student + tokens(math.log(2.0), -math.log(2.0)))
    learner = GRPOOPSD(rl=NO_KL, divergence="k3", weight=2.0)
    found, gradient = run(learner, one_row(advantage=0.0, old=student), student, teacher)
    assert_close(gradient, tokens(-2.0, 1.0))
    assert_close(found.token_metrics["distill_loss"], tokens(1.0 - math.log(2.0), math.log(2.0) - 0.5))


def test_the_official_form_is_sdar_without_its_policy_gradient() -> None:
    student, old = tokens(-0.5, -1.5), tokens(-0.6, -1.2)
    teacher, batch = TokenScores(tokens(-0.4, -2.0)), one_row(advantage=0.0, old=old, reference=old)
    official = run(OPSD(divergence="official_gated", weight=0.01), batch, student, teacher)
    sdar = run(SDAR(), batch, student, teacher)
    assert torch.equal(official[0].token_loss, sdar[0].token_loss)
    assert torch.equal(official[1], sdar[1])


@pytest.mark.parametrize("form", FORMS)
def test_a_teacher_that_agrees_changes_nothing_but_in_the_official_form(form: Any) -> None:
    whole = P.clone().requires_grad_()
    student = torch.log_softmax(whole, dim=-1)
    scores = TokenScores(student[..., 0], distribution=student)
    teacher = TokenScores(P[..., 0], distribution=P)
    learner = OPSD(rl=NO_KL, divergence=form, top_k=2)
    learner.loss(scores, teacher, one_row(advantage=1.0, old=P[..., 0])).token_loss.sum().backward()
    assert whole.grad is not None
    if form == "official_gated":
        # The gate is 1/2 where they agree: -1/2 grad log p.
        assert_close(whole.grad[0, 0], -0.5 * (torch.tensor([1.0, 0, 0, 0], dtype=torch.float64) - P[0, 0].exp()))
    else:
        assert whole.grad.abs().max() < 1e-15


@pytest.mark.parametrize("form", FORMS)
def test_weight_zero_is_the_kl_to_the_start_alone(form: Any) -> None:
    student, old = tokens(-0.5), tokens(-0.7)
    batch = one_row(advantage=2.0, old=old, reference=tokens(-0.9))
    plain = run(GRPO(), replace(batch, advantages=torch.zeros(1)), student)
    learner = OPSD(divergence=form, weight=0.0)
    found, gradient = run(learner, batch, student, TokenScores(tokens(-3.0), distribution=Q), distribution=P)
    assert torch.equal(found.token_loss, plain[0].token_loss)
    assert torch.equal(gradient, plain[1])


def expected_gradient(form: Any) -> torch.Tensor:
    """Of the logits behind P over all tokens of the vocabulary, each weighted by its probability, [V]."""
    logits = P[0, 0].clone().requires_grad_()
    student = torch.log_softmax(logits, dim=-1)
    vocabulary = len(student)
    batch = collate([episode(*[turn(response=(token,)) for token in range(vocabulary)])], pad_id=0)
    batch = replace(batch, old_logprobs=student.detach()[:, None])
    scores = TokenScores(student[:, None], distribution=student.expand(vocabulary, 1, vocabulary))
    teacher = TokenScores(Q[0, 0][:, None], distribution=Q[0].expand(vocabulary, 1, vocabulary))
    loss = OPSD(rl=NO_KL, divergence=form).loss(scores, teacher, batch).token_loss[:, 0]
    (loss * student.detach().exp()).sum().backward()
    assert logits.grad is not None
    return logits.grad


def test_each_sampled_form_descends_on_its_own_divergence() -> None:
    assert_close(expected_gradient("sampled_reverse_kl"), expected_gradient("full_reverse_kl"))
    assert_close(expected_gradient("k3"), expected_gradient("full_forward_kl"))
    gated = expected_gradient("official_gated")
    assert not torch.allclose(gated, expected_gradient("full_reverse_kl"))


@pytest.mark.parametrize("form", FORMS)
def test_without_any_reward_the_student_comes_nearer_to_its_teacher(form: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([0.7, 0.1, 0.1, 0.1], dtype=torch.float64).log()
    learner = OPSD(rl=NO_KL, divergence=form, top_k=2)
    for _ in range(60):
        student = torch.log_softmax(logits, dim=-1)
        drawn = torch.multinomial(student.detach().exp(), 128, replacement=True, generator=generator)
        batch = collate([episode(*[turn(response=(int(token),)) for token in drawn])], pad_id=0)
        batch = learner.prepare(replace(batch, old_logprobs=student.detach()[drawn][:, None]), 0)
        found = learner.loss(
            TokenScores(student[drawn][:, None], distribution=student.expand(128, 1, 4)),
            TokenScores(teacher[drawn][:, None], distribution=teacher.expand(128, 1, 4)),
            batch,
        )
        (gradient,) = torch.autograd.grad(token_mean(found.token_loss, batch.token_weight), logits)
        logits = (logits - gradient).detach().requires_grad_()
    # From 0.25; the teacher says 0.7.
    assert torch.softmax(logits.detach(), dim=-1)[0].item() > 0.5


@pytest.mark.parametrize("form", SAMPLED)
def test_its_weight_follows_a_schedule(form: Any) -> None:
    adapt = Adaptation(weight=Schedule("linear", over=4))
    learner = OPSD(rl=NO_KL, divergence=form, adapt=adapt)
    student, teacher = tokens(-1.0), TokenScores(tokens(-0.5))
    gradients = []
    for step in (0, 2, 4):
        batch = learner.prepare(one_row(advantage=0.0, old=student), step)
        gradients.append(run(learner, batch, student, teacher)[1].item())
    assert gradients[1] == pytest.approx(gradients[0] / 2)
    assert gradients[2] == 0.0
    assert gradients[0] < 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OPSD(divergence="topk_revers_kl"), "did you mean 'topk_reverse_kl'"),
        (lambda: OPSD(top_k=0), "top_k is 0"),
        (lambda: GRPOOPSD(top_k=0), "top_k is 0"),
        (lambda: OPSD(weight=-1.0), "weight is -1"),
        (lambda: OPSD(adapt=Adaptation(gradient_share=0.3)), "opsd has none: set the weight"),
        (lambda: OPSD(adapt=Adaptation(gap_unit="running")), "this learner has none"),
    ],
)
def test_nonsensical_options_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
