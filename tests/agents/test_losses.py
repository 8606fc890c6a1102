"""Every loss: a number derived by hand, its gradient, and the identities that say what it optimises.

The expectations are exact: one position with six tokens, each token a row, weighted by its probability.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.testing import assert_close

from sdar_agents import losses

CLIP = {"clip_low": 0.2, "clip_high": 0.3, "dual_clip": 3.0}


def one(value: float) -> torch.Tensor:
    """A single token of a single row that may get a gradient, [1, 1] float64."""
    return torch.tensor([[value]], dtype=torch.float64, requires_grad=True)


def value_and_gradient(loss: Callable[[torch.Tensor], torch.Tensor], logprob: float) -> tuple[float, float]:
    student = one(logprob)
    value = loss(student)
    value.sum().backward()
    assert value.shape == (1, 1)
    return value.item(), 0.0 if student.grad is None else student.grad.item()


@pytest.mark.parametrize(
    ("advantage", "ratio", "loss", "gradient"),
    [
        # max(-2 * 1.5, -2 * 1.3): beyond 1 + 0.3 there is nothing more to gain.
        (2.0, 1.5, -2.6, 0.0),
        # Inside the interval: -A r, gradient -A r.
        (2.0, 1.1, -2.2, -2.2),
        # max(-2 * 0.5, -2 * 0.8): the way back up is never clipped.
        (2.0, 0.5, -1.0, -1.0),
        # max(0.5, 0.8): already unlikely enough.
        (-1.0, 0.5, 0.8, 0.0),
        # max(1.5, 1.3)
        (-1.0, 1.5, 1.5, 1.5),
        # 4 is above the bound of 3.
        (-1.0, 4.0, 3.0, 0.0),
        (0.0, 1.5, 0.0, 0.0),
    ],
)
def test_clipped_policy_gradient_by_hand(advantage: float, ratio: float, loss: float, gradient: float) -> None:
    old = one(-1.0)

    def surrogate(student: torch.Tensor) -> torch.Tensor:
        return losses.clipped_policy_gradient(student, old, torch.tensor([advantage]), **CLIP)

    assert value_and_gradient(surrogate, -1.0 + math.log(ratio)) == (pytest.approx(loss), pytest.approx(gradient))
    assert old.grad is None


def test_an_infinite_dual_clip_is_plain_ppo() -> None:
    clip = CLIP | {"dual_clip": math.inf}
    # A = -1, r = 4 without the bound: loss 4, gradient 4. A = 0 must not become 0 * inf.
    for advantage, expected in ((-1.0, 4.0), (0.0, 0.0)):
        found = value_and_gradient(
            lambda s, a=advantage: losses.clipped_policy_gradient(s, one(0.0), torch.tensor([a]), **clip), math.log(4.0)
        )
        assert found == (pytest.approx(expected), pytest.approx(expected))


def test_clipped_tokens_are_those_without_policy_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    student = (0.8 * torch.randn(20, 30, generator=generator)).requires_grad_()
    old = torch.zeros(20, 30)
    advantages = torch.randn(20, generator=generator)
    losses.clipped_policy_gradient(student, old, advantages, **CLIP).sum().backward()
    clipped = losses.clipped_tokens(student, old, advantages, **CLIP)
    assert student.grad is not None
    assert_close(clipped, student.grad == 0)
    assert 0 < clipped.sum() < clipped.numel()


def test_a_ratio_of_e_to_the_hundred_leaves_a_finite_gradient() -> None:
    # A > 0: clipped, so the gradient is 0; exp(100) in float32 would make it 0 * inf.
    student = torch.tensor([[100.0]], requires_grad=True)
    losses.clipped_policy_gradient(student, torch.zeros(1, 1), torch.ones(1), **CLIP).sum().backward()
    assert student.grad is not None
    assert student.grad.item() == 0.0


@pytest.mark.parametrize(
    ("estimate", "value", "gradient"),
    [
        # S = log 1/2, F = log 1/4, so S - F = log 2 and d = -log 2.
        (losses.kl_k1, math.log(2.0), 1.0),
        (losses.kl_k2, math.log(2.0) ** 2 / 2.0, math.log(2.0)),
        # exp(d) - d - 1 = 1/2 + log 2 - 1; gradient 1 - exp(d) = 1/2.
        (losses.kl_k3, math.log(2.0) - 0.5, 0.5),
    ],
)
def test_kl_estimates_by_hand(
    estimate: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], value: float, gradient: float
) -> None:
    reference = one(math.log(0.25))
    found = value_and_gradient(lambda student: estimate(student, reference), math.log(0.5))
    assert found == (pytest.approx(value), pytest.approx(gradient))
    assert reference.grad is None


@pytest.mark.parametrize("difference", [5.0, 200.0])
def test_k3_is_cut_at_ten_and_has_no_gradient_there(difference: float) -> None:
    # exp(5) - 6 = 142.4 > 10.
    assert value_and_gradient(lambda student: losses.kl_k3(student, one(0.0)), -difference) == (10.0, 0.0)


@pytest.mark.parametrize("gap", [-7.0, 0.0, 0.3])
@pytest.mark.parametrize("sharpness", [0.0, 1.0, 5.0])
def test_the_centred_gate_is_the_gap_gate_less_one_half(gap: float, sharpness: float) -> None:
    assert_close(
        losses.centred_gap_gate(one(gap), sharpness=sharpness), losses.gap_gate(one(gap), sharpness=sharpness) - 0.5
    )


def test_gates_by_hand() -> None:
    # sigmoid(log 3) = 3 / (1 + 3); each line makes the argument log 3.
    three_quarters = torch.tensor([[0.75]], dtype=torch.float64)
    assert_close(losses.gap_gate(one(math.log(3.0) / 5.0), sharpness=5.0), three_quarters)
    assert_close(losses.entropy_gate(one(math.log(3.0) / 5.0), sharpness=5.0), three_quarters)
    # 1 - (1 - 1/2)(1 - 1/2) = 3/4.
    gate = losses.soft_or_gate(one(0.5), one(0.5), sharpness=math.log(3.0) / 0.75)
    assert_close(gate, three_quarters)


def test_soft_or_falls_with_the_gap_where_entropy_exceeds_one_nat() -> None:
    # 1 - (1 - 2)(1 - gap) = 2 - gap.
    low, high = (losses.soft_or_gate(one(gap), one(2.0), sharpness=1.0) for gap in (0.0, 1.0))
    assert_close(low, torch.sigmoid(torch.tensor([[2.0]], dtype=torch.float64)))
    assert_close(high, torch.sigmoid(torch.tensor([[1.0]], dtype=torch.float64)))


def test_gates_never_carry_a_gradient() -> None:
    gap, entropy = one(0.2), one(0.7)
    gates = [
        losses.gap_gate(gap, sharpness=5.0),
        losses.centred_gap_gate(gap, sharpness=5.0),
        losses.entropy_gate(entropy, sharpness=5.0),
        losses.soft_or_gate(gap, entropy, sharpness=5.0),
        losses.teacher_gap(gap, entropy),
    ]
    assert [gate.requires_grad for gate in gates] == [False] * 5


def test_the_gap_gate_rises_with_slope_at_most_a_quarter_of_the_sharpness() -> None:
    # Proposition 3 of the paper: 0 < dg/dgap <= beta / 4, with equality at gap 0.
    gaps = torch.linspace(-3.0, 3.0, 6001, dtype=torch.float64)[None]
    slopes = losses.gap_gate(gaps, sharpness=5.0).diff() / gaps.diff()
    assert (slopes > 0).all()
    assert slopes.max().item() == pytest.approx(5.0 / 4.0, rel=1e-4)
    assert slopes.max().item() <= 5.0 / 4.0


def test_gated_self_distillation_by_hand() -> None:
    # g (T - S) = 1/4 (-1 + 2); gradient -g. Neither teacher nor gate gets one.
    teacher, gate = one(-1.0), one(0.25)
    found = value_and_gradient(lambda student: losses.gated_self_distillation(student, teacher, gate), -2.0)
    assert found == (pytest.approx(0.25), pytest.approx(-0.25))
    assert teacher.grad is None
    assert gate.grad is None


def test_signed_sampled_reverse_kl_by_hand() -> None:
    # T - S = 1: the value is -1 * -2, the gradient -1 (the token is endorsed, so descent raises it).
    teacher = one(-1.0)
    found = value_and_gradient(lambda student: losses.signed_sampled_reverse_kl(student, teacher), -2.0)
    assert found == (pytest.approx(2.0), pytest.approx(-1.0))
    assert teacher.grad is None


LOG = math.log


@pytest.mark.parametrize(
    ("divergence", "value", "slope"),
    [
        # p = (1/2, 1/2), q = (3/4, 1/4), m = (5/8, 3/8); slope: gradient on the first of the two logits.
        # 1/2 log 2/3 + 1/2 log 2 = 1/2 log 4/3; slope p0 (log p0/q0 - KL) = 1/2 log(2/3 / sqrt(4/3)) = -1/4 log 3.
        (losses.full_reverse_kl, 0.5 * LOG(4 / 3), -0.25 * LOG(3)),
        # 3/4 log 3/2 + 1/4 log 1/2; slope p0 - q0.
        (losses.full_forward_kl, 0.75 * LOG(1.5) - 0.25 * LOG(2), -0.25),
        # KL(p|m) = 1/2 log 4/5 + 1/2 log 4/3 = 1/2 log 16/15, KL(q|m) = 3/4 log 6/5 + 1/4 log 2/3;
        # slope 1/2 p0 (log 4/5 - KL(p|m)) = 1/8 log(16/25 * 15/16).
        (losses.full_js, 0.25 * LOG(16 / 15) + 0.375 * LOG(6 / 5) + 0.125 * LOG(2 / 3), 0.125 * LOG(3 / 5)),
    ],
)
def test_full_divergences_by_hand(
    divergence: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], value: float, slope: float
) -> None:
    logits = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[[0.75, 0.25]]], dtype=torch.float64).log().requires_grad_()
    found = divergence(torch.log_softmax(logits, dim=-1), teacher)
    assert_close(found, torch.tensor([[value]], dtype=torch.float64))
    found.sum().backward()
    assert_close(logits.grad, torch.tensor([[[slope, -slope]]], dtype=torch.float64))
    assert teacher.grad is None


@pytest.mark.parametrize("divergence", [losses.full_reverse_kl, losses.full_forward_kl, losses.full_js])
def test_a_teacher_that_agrees_is_at_distance_zero_with_no_gradient(
    divergence: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    logits, _ = student_and_teacher()
    own = torch.log_softmax(logits, dim=-1)[None, None]
    distance = divergence(own, own.detach())
    distance.sum().backward()
    assert_close(distance, torch.zeros(1, 1, dtype=torch.float64))
    assert_close(logits.grad, torch.zeros(6, dtype=torch.float64))


def test_js_of_disjoint_distributions_is_log_two() -> None:
    student, teacher = torch.tensor([[[0.0, -80.0]]]), torch.tensor([[[-80.0, 0.0]]])
    assert losses.full_js(student, teacher).item() == pytest.approx(math.log(2.0))


def test_full_entropy_by_hand() -> None:
    # 1/2 log 2 + 2 * 1/4 log 4 = 3/2 log 2.
    distribution = torch.tensor([[[0.5, 0.25, 0.25]]]).log()
    assert losses.full_entropy(distribution).item() == pytest.approx(1.5 * math.log(2.0))


# What the sampled losses optimise in expectation


def student_and_teacher() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [6] of the student, which get the gradient, and log-probabilities [6] of the teacher."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(6, generator=generator, dtype=torch.float64).requires_grad_()
    teacher = torch.log_softmax(torch.randn(6, generator=generator, dtype=torch.float64), dim=-1)
    return logits, teacher


def expected_gradient(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], sampler: torch.Tensor | None = None
) -> torch.Tensor:
    """E[grad loss(S, T)] on the student's logits, the token drawn from `sampler` [6] (the student by default)."""
    logits, teacher = student_and_teacher()
    student = torch.log_softmax(logits, dim=-1)
    weights = student.detach().exp() if sampler is None else sampler
    (weights[:, None] * loss(student[:, None], teacher[:, None])).sum().backward()
    assert logits.grad is not None
    return logits.grad


def exact_gradient(divergence: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    logits, teacher = student_and_teacher()
    divergence(torch.log_softmax(logits, dim=-1)[None, None], teacher[None, None]).sum().backward()
    assert logits.grad is not None
    return logits.grad


def sdar(sharpness: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        gate = losses.gap_gate(losses.teacher_gap(student, teacher), sharpness=sharpness)
        return losses.gated_self_distillation(student, teacher, gate)

    return loss


def test_expected_sdar_gradient_is_a_policy_gradient_on_the_gate_with_its_mean_as_baseline() -> None:
    # grad log p_v on the logits is e_v - p, so E[-grad] = p (g - E g): unlikely gates are pushed down on average.
    logits, teacher = student_and_teacher()
    p = torch.softmax(logits.detach(), dim=-1)
    gate = torch.sigmoid(5.0 * (teacher - p.log()))
    assert_close(-expected_gradient(sdar(5.0)), p * (gate - (p * gate).sum()))


def test_sdar_with_a_soft_gate_is_reverse_kl_times_a_quarter_of_the_sharpness() -> None:
    # sigmoid(x) = 1/2 + x/4 - x^3/48 ...: at sharpness 1e-4 the cubic term is below 1e-8 of the linear one.
    assert_close(expected_gradient(sdar(1e-4)) / (1e-4 / 4.0), exact_gradient(losses.full_reverse_kl))


@pytest.mark.parametrize("sharpness", [0.5, 5.0])
def test_the_centred_gate_has_the_same_expected_gradient(sharpness: float) -> None:
    def centred(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        gate = losses.centred_gap_gate(losses.teacher_gap(student, teacher), sharpness=sharpness)
        return losses.gated_self_distillation(student, teacher, gate)

    assert_close(expected_gradient(centred), expected_gradient(sdar(sharpness)))


def test_without_sharpness_the_expected_gradient_is_zero() -> None:
    assert_close(expected_gradient(sdar(0.0)), torch.zeros(6, dtype=torch.float64))


def test_without_sharpness_and_off_policy_only_a_pull_to_the_sampler_remains() -> None:
    # E_old[1/2 (e_v - p)] = 1/2 (old - p).
    logits, _ = student_and_teacher()
    old = torch.softmax(torch.arange(6, dtype=torch.float64), dim=-1)
    pull = -expected_gradient(sdar(0.0), sampler=old)
    assert_close(pull, 0.5 * (old - torch.softmax(logits.detach(), dim=-1)))


@pytest.mark.parametrize(
    ("sampled", "exact"),
    [
        (losses.signed_sampled_reverse_kl, losses.full_reverse_kl),
        (losses.kl_k2, losses.full_reverse_kl),
        (losses.kl_k3, losses.full_forward_kl),
    ],
)
def test_sampled_gradients_are_in_expectation_those_of_the_exact_divergence(
    sampled: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    exact: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    assert_close(expected_gradient(sampled), exact_gradient(exact))


def test_k1_as_a_loss_teaches_nothing() -> None:
    assert_close(expected_gradient(losses.kl_k1), torch.zeros(6, dtype=torch.float64))


@pytest.mark.parametrize("estimate", [losses.kl_k1, losses.kl_k3])
def test_k1_and_k3_have_the_value_of_the_reverse_kl(
    estimate: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    logits, teacher = student_and_teacher()
    student = torch.log_softmax(logits.detach(), dim=-1)
    expected = (student.exp()[:, None] * estimate(student[:, None], teacher[:, None])).sum()
    assert_close(expected, losses.full_reverse_kl(student[None, None], teacher[None, None]).squeeze())


def test_an_advantage_of_each_token_counts_for_that_token_alone() -> None:
    # Ratio 1: -A of each token; equal advantages in a row are the advantage of the row.
    advantages = torch.tensor([[2.0, -1.0, 0.5]])
    loss = losses.clipped_policy_gradient(torch.zeros(1, 3), torch.zeros(1, 3), advantages, **CLIP)
    assert_close(loss, -advantages)
    logprobs = torch.tensor([[0.3, -0.3, 0.05], [0.3, -0.3, 0.05]])
    row = torch.tensor([1.5, -0.5])
    by_row = losses.clipped_policy_gradient(logprobs, torch.zeros(2, 3), row, **CLIP)
    by_token = losses.clipped_policy_gradient(logprobs, torch.zeros(2, 3), row[:, None].expand(2, 3), **CLIP)
    assert torch.equal(by_row, by_token)


# Shapes


TOKENS, FEWER, ROW, DISTRIBUTION = torch.zeros(2, 3), torch.zeros(2, 2), torch.zeros(2), torch.zeros(2, 3, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.kl_k3(TOKENS, FEWER), r"kl_k3: logprobs \[2, 3\] and reference \[2, 2\] must have one shape"),
        (lambda: losses.kl_k1(ROW, ROW), r"kl_k1: logprobs \[2\] and reference \[2\] must be \[N, R\]"),
        (lambda: losses.gap_gate(ROW, sharpness=1.0), r"gap_gate: gap \[2\] must be \[N, R\]"),
        (lambda: losses.soft_or_gate(TOKENS, FEWER, sharpness=1.0), r"soft_or_gate: .* must have one shape"),
        (
            # A gate [2, 1] would broadcast without a word.
            lambda: losses.gated_self_distillation(TOKENS, TOKENS, TOKENS[:, :1]),
            r"gated_self_distillation: .*gate \[2, 1\] must have one shape",
        ),
        (
            # One advantage a token is a form of its own, one for some of the tokens is not.
            lambda: losses.clipped_policy_gradient(TOKENS, TOKENS, FEWER, **CLIP),
            r"advantages \[2, 2\] and logprobs \[2, 3\] must be \[N\] \(one advantage a row\) or \[N, R\]",
        ),
        (
            lambda: losses.clipped_policy_gradient(TOKENS, TOKENS, torch.zeros(3), **CLIP),
            r"advantages \[3\] and logprobs \[2, 3\]",
        ),
        (lambda: losses.full_js(TOKENS, TOKENS), r"full_js: .* must be \[N, R, V\]"),
        (lambda: losses.full_reverse_kl(DISTRIBUTION, DISTRIBUTION[..., :2]), r"full_reverse_kl: .* one shape"),
        (lambda: losses.full_entropy(TOKENS), r"full_entropy: distribution \[2, 3\] must be \[N, R, V\]"),
    ],
)
def test_wrong_shapes_are_refused_by_name(call: Callable[[], torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
