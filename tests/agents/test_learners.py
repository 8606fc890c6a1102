"""GRPO, GRPO+OPSD and SDAR: numbers by hand, and what each is when another's option is switched off."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from sdar_agents.batch import TurnBatch, collate, token_mean
from sdar_agents.learners import GRPO, GRPOOPSD, LEARNERS, SDAR, GiGPO, Learner, TokenScores, learner_class
from sdar_agents.learners.base import Needs
from tests.agents.toy_batches import episode, one_row, run, tokens, turn

NO_KL = GRPO(kl_coefficient=0.0)


def test_grpo_by_hand() -> None:
    # Token 1: r = 1, loss -2, gradient -2. Token 2: r = 3/2 above 1.2, loss -2.4, gradient 0.
    # KL: F - S = log 2 on token 1: k3 = 2 - log 2 - 1, gradient 1 - 2; 0 on token 2. Coefficient 1/2.
    old = tokens(-1.0, -1.0)
    student = tokens(-1.0, -1.0 + math.log(1.5))
    batch = one_row(advantage=2.0, old=old, reference=student + tokens(math.log(2.0), 0.0))
    found, gradient = run(GRPO(kl_coefficient=0.5), batch, student)
    k3 = 1.0 - math.log(2.0)
    assert_close(found.token_loss.detach(), tokens(-2.0 + 0.5 * k3, -2.4))
    assert_close(gradient, tokens(-2.0 - 0.5, 0.0))
    assert_close(found.token_metrics["pg_loss"], tokens(-2.0, -2.4))
    assert_close(found.token_metrics["kl"], tokens(k3, 0.0))
    assert_close(found.token_metrics["ratio"], tokens(1.0, 1.5))
    assert_close(found.token_metrics["ppo_kl"], tokens(0.0, -math.log(1.5)))
    assert found.token_metrics["clip_fraction"].tolist() == [[0.0, 1.0]]


def test_an_entropy_coefficient_is_a_bonus() -> None:
    entropy = tokens(0.3).requires_grad_()
    batch = one_row(advantage=0.0, old=tokens(-1.0))
    found, _ = run(replace(NO_KL, entropy_coefficient=0.1), batch, tokens(-1.0), entropy=entropy)
    # Descent raises entropy.
    assert_close(entropy.grad, tokens(-0.1))
    assert_close(found.token_metrics["entropy"], tokens(0.3))


def test_group_statistics_choose_what_is_compared() -> None:
    # One turn against three: over episodes the mean is 1/2, over rows 1/4.
    batch = collate([episode(turn(reward=1.0)), episode(turn(), turn(), turn())], pad_id=0)
    unscaled = replace(NO_KL, normalise_std=False)
    assert_close(unscaled.prepare(batch, 0).advantages, torch.tensor([0.5, -0.5, -0.5, -0.5]))
    by_row = replace(unscaled, group_statistics="row")
    assert_close(by_row.prepare(batch, 0).advantages, torch.tensor([0.75, -0.25, -0.25, -0.25]))


def test_an_invalid_turn_costs_the_penalty() -> None:
    batch = collate([episode(turn(is_valid=False)), episode(turn())], pad_id=0)
    learner = replace(NO_KL, normalise_std=False, invalid_penalty=0.2)
    assert_close(learner.prepare(batch, 0).advantages, torch.tensor([-0.1, 0.1]))


def test_sdar_by_hand() -> None:
    # A = 0 leaves the distillation. T - S = +-log(3)/5 at sharpness 5: gates 3/4 and 1/4.
    # Loss 2 g (T - S), gradient -2 g.
    gap = math.log(3.0) / 5.0
    student = tokens(-1.0, -1.0)
    found, gradient = run(
        SDAR(rl=NO_KL, weight=2.0),
        one_row(advantage=0.0, old=student),
        student,
        TokenScores(tokens(-1 + gap, -1 - gap)),
    )
    assert_close(found.token_loss.detach(), tokens(1.5 * gap, -0.5 * gap))
    assert_close(gradient, tokens(-1.5, -0.5))
    assert_close(found.token_metrics["gap"], tokens(gap, -gap))
    assert_close(found.token_metrics["gate"], tokens(0.75, 0.25))
    assert found.token_metrics["gate_active"].tolist() == [[1.0, 0.0]]
    assert_close(found.token_metrics["distill_loss"], tokens(0.75 * gap, -0.25 * gap))
    # exp(d) - d - 1 with d = gap.
    k3 = tokens(math.exp(gap) - gap - 1.0, math.exp(-gap) + gap - 1.0)
    assert_close(found.token_metrics["teacher_k3"], k3)


def test_the_centred_gate_pushes_rejected_tokens_down() -> None:
    gap = math.log(3.0) / 5.0
    student = tokens(-1.0, -1.0)
    learner = SDAR(rl=NO_KL, weight=2.0, gate="centred_gap")
    teacher = TokenScores(tokens(-1 + gap, -1 - gap))
    found, gradient = run(learner, one_row(advantage=0.0, old=student), student, teacher)
    assert_close(gradient, tokens(-0.5, 0.5))
    assert found.token_metrics["gate_active"].tolist() == [[1.0, 0.0]]


def test_entropy_and_soft_or_gates_by_hand() -> None:
    # h = gap = 1/2: entropy gate sigmoid(1/2 s); soft-or sigmoid((1 - 1/2 * 1/2) s).
    student, entropy = tokens(-1.0), tokens(0.5)
    teacher = TokenScores(tokens(-0.5))
    for gate, sharpness in (("entropy", 2.0 * math.log(3.0)), ("soft_or", math.log(3.0) / 0.75)):
        learner = SDAR(rl=NO_KL, weight=1.0, gate=gate, gate_sharpness=sharpness)  # type: ignore[arg-type]
        found, gradient = run(learner, one_row(advantage=0.0, old=student), student, teacher, entropy=entropy)
        assert_close(found.token_metrics["gate"], tokens(0.75))
        assert_close(gradient, tokens(-0.75))


def test_the_gate_follows_the_current_student_not_the_one_that_sampled() -> None:
    student, old = tokens(-0.5), tokens(-2.0)
    found, _ = run(SDAR(rl=NO_KL), one_row(advantage=0.0, old=old), student, TokenScores(tokens(-1.0)))
    # T - S = -1/2; the policy that sampled would give +1.
    assert_close(found.token_metrics["gap"], tokens(-0.5))
    assert_close(found.token_metrics["gate"], tokens(1.0 / (1.0 + math.exp(2.5))))


@pytest.mark.parametrize("gate", ["gap", "centred_gap"])
def test_a_teacher_that_agrees_leaves_the_gate_at_its_middle(gate: Any) -> None:
    student = tokens(-0.3, -4.0, -11.0)
    found, _ = run(SDAR(rl=NO_KL, gate=gate), one_row(advantage=0.0, old=student), student, TokenScores(student))
    assert_close(found.token_metrics["gate"], torch.full_like(student, 0.5 if gate == "gap" else 0.0))
    assert found.token_metrics["gate_active"].tolist() == [[0.0, 0.0, 0.0]]


def pair(seed: int) -> tuple[TurnBatch, torch.Tensor, TokenScores]:
    """A row of six tokens with everything random: batch, student, teacher."""
    generator = torch.Generator().manual_seed(seed)
    old, student, teacher, reference = -torch.rand(4, 1, 6, generator=generator, dtype=torch.float64)
    return one_row(advantage=0.7, old=old, reference=reference), student, TokenScores(teacher)


@pytest.mark.parametrize("learner", [SDAR(weight=0.0), GRPOOPSD(weight=0.0)])
def test_distillation_with_zero_weight_is_grpo(learner: Learner) -> None:
    batch, student, teacher = pair(0)
    plain, plain_gradient = run(GRPO(), batch, student)
    found, gradient = run(learner, batch, student, teacher)
    assert torch.equal(found.token_loss, plain.token_loss)
    assert torch.equal(gradient, plain_gradient)


def test_the_weight_scales_the_difference_to_grpo() -> None:
    batch, student, teacher = pair(0)
    _, plain = run(GRPO(), batch, student)
    differences = [run(SDAR(weight=weight), batch, student, teacher)[1] - plain for weight in (0.1, 0.2)]
    assert differences[0].abs().min() > 0.01
    assert_close(differences[1], 2.0 * differences[0])


def test_official_grpo_opsd_is_sdar_without_sharpness() -> None:
    batch, student, teacher = pair(1)
    official = run(GRPOOPSD(divergence="official"), batch, student, teacher)
    flat = run(SDAR(gate_sharpness=0.0), batch, student, teacher)
    assert torch.equal(official[0].token_loss, flat[0].token_loss)
    assert torch.equal(official[1], flat[1])


def test_official_grpo_opsd_does_not_hear_its_teacher() -> None:
    batch, student, teacher = pair(2)
    other = TokenScores(teacher.logprobs - 3.0)
    for divergence, hears in (("official", False), ("sampled_reverse_kl", True)):
        learner = GRPOOPSD(divergence=divergence)  # type: ignore[arg-type]
        _, one = run(learner, batch, student, teacher)
        _, two = run(learner, batch, student, other)
        assert torch.equal(one, two) is not hears


def test_sampled_reverse_kl_by_hand() -> None:
    # -(T - S) S with T - S = 1/2 and -1/2; gradient -(T - S), times the weight of 2.
    student = tokens(-1.0, -1.0)
    teacher = TokenScores(tokens(-0.5, -1.5))
    found, gradient = run(GRPOOPSD(rl=NO_KL, weight=2.0), one_row(advantage=0.0, old=student), student, teacher)
    assert_close(gradient, tokens(-1.0, 1.0))
    assert_close(found.token_metrics["distill_loss"], tokens(0.5, -0.5))


P, Q = (
    torch.tensor([[[0.5, 0.5]]], dtype=torch.float64).log(),
    torch.tensor([[[0.75, 0.25]]], dtype=torch.float64).log(),
)
REVERSE, FORWARD = 0.5 * math.log(4 / 3), 0.75 * math.log(1.5) - 0.25 * math.log(2)
JS = 0.25 * math.log(16 / 15) + 0.375 * math.log(6 / 5) + 0.125 * math.log(2 / 3)


@pytest.mark.parametrize(
    ("form", "value"), [("full_reverse_kl", REVERSE), ("full_forward_kl", FORWARD), ("full_js", JS)]
)
def test_full_forms_by_hand(form: Any, value: float) -> None:
    # P = (1/2, 1/2), Q = (3/4, 1/4), derived in test_losses. The sampled token is the first: T - S = log 3/2,
    # so the gate at sharpness 1 is (3/2) / (1 + 3/2) = 3/5.
    student, teacher = P[..., 0], TokenScores(Q[..., 0], distribution=Q)
    batch = one_row(advantage=0.0, old=student)
    opsd = GRPOOPSD(rl=NO_KL, divergence=form).loss(TokenScores(student, distribution=P), teacher, batch)
    sdar = SDAR(rl=NO_KL, form=form, gate_sharpness=1.0).loss(TokenScores(student, distribution=P), teacher, batch)
    assert_close(opsd.token_metrics["distill_loss"], tokens(value))
    assert_close(sdar.token_metrics["distill_loss"], tokens(0.6 * value))
    assert_close(opsd.token_loss, tokens(0.01 * value))
    assert_close(sdar.token_loss, tokens(0.01 * 0.6 * value))


def test_in_a_full_form_the_gate_carries_no_gradient() -> None:
    # S enters only through the gate there (A = 0, no KL): nothing may come back through it.
    student = P[..., 0].clone().requires_grad_()
    distribution = P.clone().requires_grad_()
    learner = SDAR(rl=NO_KL, form="full_reverse_kl")
    found = learner.loss(
        TokenScores(student, distribution=distribution), TokenScores(Q[..., 0], distribution=Q),
        one_row(advantage=0.0, old=P[..., 0]),
    )  # fmt: skip
    found.token_loss.sum().backward()
    assert student.grad is not None
    assert student.grad.item() == 0.0
    assert distribution.grad is not None
    assert distribution.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("learner", "needs"),
    [
        (GRPO(), Needs(reference=True)),
        (NO_KL, Needs()),
        (replace(NO_KL, entropy_coefficient=0.001), Needs(entropy=True)),
        (SDAR(), Needs(teacher="logprobs", reference=True)),
        (SDAR(rl=NO_KL), Needs(teacher="logprobs")),
        (SDAR(rl=NO_KL, gate="centred_gap"), Needs(teacher="logprobs")),
        (SDAR(rl=NO_KL, gate="entropy"), Needs(teacher="logprobs", entropy=True)),
        (SDAR(rl=NO_KL, gate="soft_or"), Needs(teacher="logprobs", entropy=True)),
        (SDAR(rl=replace(NO_KL, entropy_coefficient=0.1)), Needs(teacher="logprobs", entropy=True)),
        (SDAR(rl=NO_KL, form="full_forward_kl"), Needs(teacher="distribution", distribution=True)),
        (GRPOOPSD(), Needs(teacher="logprobs", reference=True)),
        (GRPOOPSD(rl=NO_KL, divergence="official"), Needs(teacher="logprobs")),
        (GRPOOPSD(rl=NO_KL, divergence="full_js"), Needs(teacher="distribution", distribution=True)),
        (GRPOOPSD(rl=replace(NO_KL, entropy_coefficient=0.1)), Needs(teacher="logprobs", entropy=True)),
    ],
)
def test_a_learner_asks_for_what_its_options_use_and_no_more(learner: Learner, needs: Needs) -> None:
    assert learner.needs == needs


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SDAR(gate="gapp"), r"unknown gate 'gapp'; did you mean 'gap'\? known: gap, centred_gap"),
        (lambda: SDAR(form="sample"), r"unknown form 'sample'; did you mean 'sampled'\?"),
        (lambda: GRPOOPSD(divergence="kl"), r"unknown divergence 'kl'.*known: sampled_reverse_kl"),
        (lambda: GRPO(group_statistics="rows"), r"unknown group_statistics 'rows'; did you mean 'row'\?"),
        (lambda: SDAR(gate="centred_gap", form="full_js"), r"away\* from the teacher .* use form 'sampled'"),
        (lambda: SDAR(weight=-0.01), r"weight is -0.01; it must lie between 0"),
        (lambda: SDAR(gate_sharpness=math.nan), r"gate_sharpness is nan"),
        (lambda: GRPOOPSD(weight=-1.0), r"weight is -1"),
        (lambda: GRPO(clip_low=1.5), r"clip_low is 1.5; it must lie between 0.0 and 1.0"),
        (lambda: GRPO(dual_clip=0.5), r"dual_clip is 0.5"),
    ],
)
def test_nonsensical_options_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_learners_are_found_by_name() -> None:
    assert learner_class("sdar") is SDAR
    assert {"gigpo", "grpo", "grpo_opsd", "opsd", "sdar"} <= set(LEARNERS)


def test_a_misspelt_learner_is_refused_with_a_guess() -> None:
    with pytest.raises(ValueError, match=r"unknown learner 'sdra'; did you mean 'sdar'\? known: grpo"):
        learner_class("sdra")


@pytest.mark.parametrize(
    "learner",
    [
        SDAR(rl=NO_KL, weight=1.0),
        SDAR(rl=NO_KL, weight=1.0, gate="centred_gap"),
        SDAR(rl=NO_KL, weight=1.0, form="full_reverse_kl"),
        GRPOOPSD(rl=NO_KL, weight=1.0),
        GRPOOPSD(rl=NO_KL, weight=1.0, divergence="full_forward_kl"),
    ],
)
def test_without_reward_the_student_moves_towards_its_teacher(learner: Learner) -> None:
    # One position, four tokens, each a row that is drawn afresh from the student; advantages are 0.
    generator = torch.Generator().manual_seed(0)
    logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([0.7, 0.1, 0.1, 0.1], dtype=torch.float64).log()
    for _ in range(60):
        student = torch.log_softmax(logits, dim=-1)
        drawn = torch.multinomial(student.detach().exp(), 256, replacement=True, generator=generator)
        batch = collate([episode(*[turn(response=(int(token),)) for token in drawn])], pad_id=0)
        batch = replace(batch, old_logprobs=student.detach()[drawn][:, None])
        spread = student.expand(256, 1, 4), teacher.expand(256, 1, 4)
        found = learner.loss(
            TokenScores(student[drawn][:, None], distribution=spread[0]),
            TokenScores(teacher[drawn][:, None], distribution=spread[1]),
            batch,
        )
        (gradient,) = torch.autograd.grad(token_mean(found.token_loss, batch.token_weight), logits)
        logits = (logits - 1.0 * gradient).detach().requires_grad_()
    # From 0.25; the teacher says 0.7.
    assert torch.softmax(logits.detach(), dim=-1)[0].item() > 0.55


def test_a_gspo_ratio_is_the_geometric_mean_of_the_response_and_is_clipped_as_a_whole() -> None:
    # Log-ratios log 4 and 0: s = sqrt 4 = 2 in both tokens, though each token's own ratio is 4 and 1.
    old = tokens(-2.0, -1.0)
    student = old + tokens(math.log(4.0), 0.0)
    batch = one_row(advantage=-1.0, old=old)
    found, gradient = run(replace(NO_KL, ratio="sequence"), batch, student)
    assert_close(found.token_loss.detach(), tokens(2.0, 2.0))
    assert_close(found.token_metrics["ratio"], tokens(2.0, 2.0))
    # -A s times the mean of grad S, from each of two tokens: 2 (2 * 1/2).
    assert_close(gradient, tokens(2.0, 2.0))
    # A > 0 and s above 1.5: no token moves, although the second one's own ratio is 1.
    found, gradient = run(
        replace(NO_KL, ratio="sequence", clip_high=0.5), replace(batch, advantages=tokens(1.0)[0]), student
    )
    assert_close(gradient, tokens(0.0, 0.0))
    assert found.token_metrics["clip_fraction"].tolist() == [[1.0, 1.0]]


def test_gspo_token_moves_a_token_by_its_own_advantage() -> None:
    # s = 2 as above; -A_t s: +2 and -6. GSPO itself mixes them: (2 - 6) / 2 each.
    old = tokens(-2.0, -1.0)
    student = old + tokens(math.log(4.0), 0.0)
    batch = replace(one_row(advantage=0.0, old=old), token_advantages=tokens(-1.0, 3.0))
    wide: dict[str, Any] = {"clip_high": 5.0, "dual_clip": math.inf}
    _, alone = run(replace(NO_KL, ratio="sequence_token", **wide), batch, student)
    assert_close(alone, tokens(2.0, -6.0))
    _, mixed = run(replace(NO_KL, ratio="sequence", **wide), batch, student)
    assert_close(mixed, tokens(-2.0, -2.0))


def test_padding_is_no_part_of_a_response_s_ratio() -> None:
    long, short = turn(response=(1, 1)), turn(response=(1,))
    batch = replace(collate([episode(long), episode(short)], pad_id=0), advantages=torch.ones(2))
    student = torch.tensor([[0.2, 0.0], [0.3, 99.0]])
    found = replace(NO_KL, ratio="sequence").loss(TokenScores(student), None, batch)
    # exp(0.2 / 2) and exp(0.3 / 1).
    ratio = found.token_metrics["ratio"]
    assert_close(ratio[:, 0], torch.tensor([0.1, 0.3]).exp())


@pytest.mark.parametrize("ratio", ["sequence", "sequence_token"])
def test_at_ratio_one_gspo_has_the_gradient_of_grpo(ratio: Any) -> None:
    old = tokens(-1.0, -2.0, -0.5)
    batch = one_row(advantage=1.5, old=old)
    assert_close(run(replace(NO_KL, ratio=ratio), batch, old)[1], run(NO_KL, batch, old)[1])


def test_each_kl_estimator_has_its_own_gradient() -> None:
    # F - S = log 2: grad k1 = 1; k2: S - F; k3: 1 - 2.
    student = tokens(-1.0)
    batch = one_row(advantage=0.0, old=student, reference=student + math.log(2.0))
    for estimator, expected in (("k1", 1.0), ("k2", -math.log(2.0)), ("k3", -1.0)):
        found, gradient = run(GRPO(kl_coefficient=0.5, kl_estimator=estimator), batch, student)  # type: ignore[arg-type]
        assert_close(gradient, tokens(0.5 * expected))
        assert_close(found.token_metrics["kl"], tokens(2.0 - math.log(2.0) - 1.0))


def test_gigpo_adds_what_other_answers_to_the_same_observation_returned() -> None:
    # Both begin at "start"; the first wins after a turn more. R of the first turns: 0.5 * 1 and 0: mean 1/4.
    won = episode(replace(turn(), seen="start"), replace(turn(reward=1.0), seen="door"))
    lost = episode(replace(turn(), seen="start"), replace(turn(), seen="wall"))
    batch = collate([won, lost], pad_id=0)
    learner = GiGPO(rl=replace(NO_KL, normalise_std=False), step_weight=2.0, discount=0.5)
    # A^E = +-1/2; A^S = +-1/4 in the first turns, 0 where nobody else was.
    assert_close(learner.prepare(batch, 0).advantages, torch.tensor([1.0, 0.5, -1.0, -0.5]))
    # Divided by the unbiased deviations sqrt(1/2) and 1/2 sqrt(1/2), all differences become 1/2 / sqrt(1/2).
    scaled = replace(learner, rl=NO_KL).prepare(batch, 0).advantages
    assert_close(scaled, 0.5**0.5 * torch.tensor([3.0, 1.0, -3.0, -1.0]), atol=1e-4, rtol=0)


def test_gigpo_without_weight_or_without_repeated_states_is_grpo_to_the_bit() -> None:
    won = episode(replace(turn(), seen="a"), replace(turn(reward=1.0), seen="b"))
    lost = episode(replace(turn(is_valid=False), seen="a"), replace(turn(), seen="c"))
    batch = collate([won, lost], pad_id=0)
    expected = NO_KL.prepare(batch, 0).advantages
    assert torch.equal(GiGPO(rl=NO_KL, step_weight=0.0).prepare(batch, 0).advantages, expected)
    lonely = replace(batch, state=torch.arange(4))
    assert torch.equal(GiGPO(rl=NO_KL).prepare(lonely, 0).advantages, expected)
    assert not torch.equal(GiGPO(rl=NO_KL).prepare(batch, 0).advantages, expected)
