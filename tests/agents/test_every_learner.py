"""What every registered learner promises, in every setting of each of its options."""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from torch.testing import assert_close

from sdar_agents.batch import TurnBatch, View, collate, token_mean
from sdar_agents.episode import Turn
from sdar_agents.learners import LEARNERS, Learner, LossOutput, Needs, TokenScores
from sdar_agents.learners.sdar import SDAR, Gate
from tests.agents.toy_batches import VOCABULARY, episode, table_scores, turn


def settings() -> Iterator[Any]:
    """Each learner as it comes, and with every value of every option that is a choice."""
    for name, learner in LEARNERS.items():
        yield pytest.param(learner(), id=name)
        for option, hint in get_type_hints(learner).items():
            if get_origin(hint) is Literal:
                for value in get_args(hint):
                    # Fewer tokens than the toy vocabulary has, or there would be no tail.
                    more = {"top_k": 2} if str(value).startswith("topk_") else {}
                    yield pytest.param(learner(**{option: value}, **more), id=f"{name}-{option}-{value}")
    for gate in get_args(Gate):
        yield pytest.param(SDAR(gate=gate, gate_on="old"), id=f"sdar-{gate}-on-old")


MODELS_WORDS = ("old_logprobs", "reference_logprobs", "teacher_logprobs", "old_entropy")
"""What models said of a batch's tokens before the update."""
OF_TOKENS = (*MODELS_WORDS, "token_advantages", "distill_weight")
"""Whatever else of a batch is [N, R]."""
EVERY_SETTING = pytest.mark.parametrize("learner", list(settings()))


def table(seed: int) -> torch.Tensor:
    """A bigram model: logits [V, V]."""
    return torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def prepared(learner: Learner, *, seed: int = 0) -> TurnBatch:
    """Nine turns of three groups, lengths 1 to 4, with all that `needs` asks for and nothing else."""
    generator = torch.Generator().manual_seed(seed)

    def ids(longest: int) -> tuple[int, ...]:
        length = int(torch.randint(1, longest + 1, (1,), generator=generator))
        return tuple(torch.randint(VOCABULARY, (length,), generator=generator).tolist())

    def row(reward: float) -> Turn:
        skills = ids(6) if learner.needs.teacher_prompts else None
        return turn(ids(5), ids(4), teacher_prompt=skills, reward=reward, is_valid=len(ids(3)) > 1)

    shape = [(0, 2, 1.0), (0, 1, 0.0), (1, 1, 0.0), (1, 2, 1.0), (2, 1, 1.0), (2, 2, 0.0)]
    episodes = [episode(*[row(0.0)] * (turns - 1), row(reward), group=group) for group, turns, reward in shape]
    batch = collate(episodes, pad_id=0)
    return learner.prepare(scored(batch, learner.needs), 0)


def scored(batch: TurnBatch, needs: Needs) -> TurnBatch:
    """What the training loop computes before `prepare`, of other tables than the policy's and the teacher's."""

    def of(seed: int, *, teacher: bool = False, entropy: bool = False) -> TokenScores:
        return table_scores(table(seed), batch, Needs(entropy=entropy), teacher=teacher)

    mask, old = batch.response_mask, of(10, entropy=True)
    found = {"old_logprobs": old.logprobs * mask}
    if needs.entropy_at_start:
        assert old.entropy is not None
        found["old_entropy"] = old.entropy * mask
    if needs.reference:
        found["reference_logprobs"] = of(11).logprobs * mask
    if needs.teacher_at_start:
        found["teacher_logprobs"] = of(14, teacher=True).logprobs * mask
    views = {}
    for number, name in enumerate(needs.views):
        # What a view says at its own table, after the student's prompts.
        said = of(20 + number).logprobs * mask
        views[name] = View(batch.prompt_ids, batch.prompt_mask, said)
    views |= {name: View(batch.prompt_ids, batch.prompt_mask) for name in needs.prompts}
    return replace(batch, views=views, **found)


def policy_scores(learner: Learner, batch: TurnBatch, weights: torch.Tensor) -> TokenScores:
    return table_scores(weights, batch, learner.needs)


def teacher_scores(learner: Learner, batch: TurnBatch, weights: torch.Tensor | None = None) -> TokenScores | None:
    if learner.needs.teacher == "none":
        return None
    scores = table_scores(table(12) if weights is None else weights, batch, learner.needs, teacher=True)
    return scores if learner.needs.teacher == "distribution" else replace(scores, distribution=None)


def output(learner: Learner, batch: TurnBatch, weights: torch.Tensor) -> LossOutput:
    return learner.loss(policy_scores(learner, batch, weights), teacher_scores(learner, batch), batch)


def gradient(learner: Learner, parts: list[TurnBatch]) -> torch.Tensor:
    """Of one optimizer step on the table, the mean over the tokens of all parts."""
    weights = table(13).requires_grad_()
    total = torch.stack([part.token_weight.sum() for part in parts]).sum()
    for part in parts:
        token_mean(output(learner, part, weights).token_loss, part.token_weight, total).backward()
    assert weights.grad is not None
    return weights.grad


@EVERY_SETTING
def test_loss_and_metrics_are_one_finite_value_a_token(learner: Learner) -> None:
    batch = prepared(learner)
    found = output(learner, batch, table(13).requires_grad_())
    assert found.token_loss.shape == batch.response_ids.shape
    assert found.token_loss.requires_grad
    for name, values in {"loss": found.token_loss, **found.token_metrics}.items():
        assert values.shape == batch.response_ids.shape, name
        assert values[batch.response_mask].isfinite().all(), name


@EVERY_SETTING
def test_metrics_are_detached(learner: Learner) -> None:
    found = output(learner, prepared(learner), table(13).requires_grad_())
    assert found.token_metrics
    assert [name for name, values in found.token_metrics.items() if values.requires_grad] == []


@EVERY_SETTING
def test_every_real_token_gets_a_gradient_and_no_padding_does(learner: Learner) -> None:
    batch = prepared(learner)
    # The policy that sampled: nothing is clipped.
    scores = policy_scores(learner, batch, table(10))
    inputs = [
        value.requires_grad_() for value in (scores.logprobs, scores.entropy, scores.distribution) if value is not None
    ]
    found = learner.loss(scores, teacher_scores(learner, batch), batch)
    token_mean(found.token_loss, batch.token_weight).backward()
    moved = torch.zeros_like(batch.response_mask)
    for value in inputs:
        if value.grad is not None:
            moved |= value.grad.reshape(*moved.shape, -1).ne(0).any(-1)
    assert not moved[~batch.response_mask].any()
    assert moved[batch.response_mask].all()


@EVERY_SETTING
@pytest.mark.parametrize("nonsense", [math.inf, -math.inf, math.nan])
def test_what_a_model_says_of_padding_is_never_looked_at(learner: Learner, nonsense: float) -> None:
    batch = prepared(learner)
    outside = ~batch.response_mask

    def loss(fill: float) -> tuple[torch.Tensor, torch.Tensor]:
        scores, teacher = policy_scores(learner, batch, table(13)), teacher_scores(learner, batch)
        logprobs = scores.logprobs.masked_fill(outside, fill).requires_grad_()
        if teacher is not None:
            teacher = replace(teacher, logprobs=teacher.logprobs.masked_fill(outside, fill))
        known = {name: getattr(batch, name) for name in MODELS_WORDS}
        filled = replace(batch, **{name: v.masked_fill(outside, fill) for name, v in known.items() if v is not None})
        value = token_mean(
            learner.loss(replace(scores, logprobs=logprobs), teacher, filled).token_loss, batch.token_weight
        )
        value.backward()
        assert logprobs.grad is not None
        return value.detach(), logprobs.grad

    for found, expected in zip(loss(nonsense), loss(0.0), strict=True):
        assert torch.equal(found, expected)


@EVERY_SETTING
def test_teacher_reference_and_old_policy_are_data(learner: Learner) -> None:
    batch = prepared(learner)
    known = {name: getattr(batch, name) for name in MODELS_WORDS}
    given = {name: value.clone().requires_grad_() for name, value in known.items() if value is not None}
    data, batch = list(given.values()), replace(batch, **given)
    weights = table(12).requires_grad_()
    data.append(weights)
    found = learner.loss(
        policy_scores(learner, batch, table(13).requires_grad_()), teacher_scores(learner, batch, weights), batch
    )
    token_mean(found.token_loss, batch.token_weight).backward()
    assert [value.grad for value in data] == [None] * len(data)


@EVERY_SETTING
@pytest.mark.parametrize("max_tokens", [1, 24])
def test_cutting_into_micro_batches_changes_no_gradient(learner: Learner, max_tokens: int) -> None:
    batch = prepared(learner)
    parts = list(batch.split(max_tokens))
    assert len(parts) > 1
    assert_close(gradient(learner, parts), gradient(learner, [batch]))


@EVERY_SETTING
def test_more_padding_on_the_right_changes_no_gradient(learner: Learner) -> None:
    batch = prepared(learner)

    def wider(value: torch.Tensor | None) -> torch.Tensor | None:
        return None if value is None else torch.nn.functional.pad(value, (0, 3))

    names = ("response_ids", "response_mask", *OF_TOKENS)
    padded: dict[str, Any] = {name: wider(getattr(batch, name)) for name in names}
    padded["views"] = {name: replace(view, logprobs=wider(view.logprobs)) for name, view in batch.views.items()}
    assert_close(gradient(learner, [replace(batch, **padded)]), gradient(learner, [batch]))


@EVERY_SETTING
def test_permuting_rows_permutes_gradients(learner: Learner) -> None:
    batch = prepared(learner)
    order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(5))

    def token_gradient(rows: TurnBatch, pick: torch.Tensor) -> torch.Tensor:
        scores = policy_scores(learner, batch, table(13))
        whole = {"logprobs": scores.logprobs, "entropy": scores.entropy, "distribution": scores.distribution}
        picked = {name: None if value is None else value[pick].requires_grad_() for name, value in whole.items()}
        found = learner.loss(TokenScores(**picked), teacher_scores(learner, rows), rows)
        token_mean(found.token_loss, rows.token_weight).backward()
        grads = [
            v.grad.reshape(*rows.response_mask.shape, -1)
            for v in picked.values()
            if v is not None and v.grad is not None
        ]
        return torch.cat(grads, dim=-1)

    straight = token_gradient(batch, torch.arange(len(batch)))
    assert_close(token_gradient(batch.rows(order), order), straight[order])


@EVERY_SETTING
def test_a_row_of_weight_zero_counts_nowhere(learner: Learner) -> None:
    batch = prepared(learner)
    with_copy = batch.rows(torch.tensor([*range(len(batch)), 0, 4]))
    weight = torch.ones(len(with_copy))
    weight[-2:] = 0.0
    assert_close(gradient(learner, [learner.prepare(replace(with_copy, weight=weight), 0)]), gradient(learner, [batch]))


@EVERY_SETTING
def test_what_is_needed_and_missing_is_named(learner: Learner) -> None:
    batch, needs = prepared(learner), learner.needs
    scores, teacher = policy_scores(learner, batch, table(13)), teacher_scores(learner, batch)
    if needs.teacher != "none":
        with pytest.raises(ValueError, match="needs the teacher's scores"):
            learner.loss(scores, None, batch)
    if needs.teacher == "distribution":
        assert teacher is not None
        with pytest.raises(ValueError, match="needs the teacher's distribution"):
            learner.loss(scores, replace(teacher, distribution=None), batch)
    if needs.distribution:
        with pytest.raises(ValueError, match="needs the policy's distribution"):
            learner.loss(replace(scores, distribution=None), teacher, batch)
    if needs.entropy:
        with pytest.raises(ValueError, match="needs the policy's entropy"):
            learner.loss(replace(scores, entropy=None), teacher, batch)
    if needs.reference:
        with pytest.raises(ValueError, match="needs reference log-probabilities"):
            learner.loss(scores, teacher, replace(batch, reference_logprobs=None))


@EVERY_SETTING
def test_scores_of_another_batch_are_refused(learner: Learner) -> None:
    batch = prepared(learner)
    scores = policy_scores(learner, batch, table(13))
    with pytest.raises(ValueError, match=r"log-probabilities .* of a batch whose responses are"):
        learner.loss(replace(scores, logprobs=scores.logprobs[:, :-1]), teacher_scores(learner, batch), batch)


@EVERY_SETTING
def test_prepare_gives_advantages_and_leaves_its_input_alone(learner: Learner) -> None:
    batch = prepared(learner)
    before = replace(batch, advantages=torch.zeros(len(batch)))
    after = learner.prepare(before, 0)
    assert torch.equal(before.advantages, torch.zeros(len(batch)))
    assert (after.advantages > 0).any()
    assert (after.advantages < 0).any()


@EVERY_SETTING
def test_a_learner_is_a_frozen_value(learner: Learner) -> None:
    assert is_dataclass(learner)
    assert learner == replace(learner)
    assert hash(learner) == hash(replace(learner))
    with pytest.raises(FrozenInstanceError):
        setattr(learner, fields(learner)[0].name, None)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_option_says_in_one_line_what_it_does(name: str) -> None:
    # The command line's help is made of these lines.
    tree = ast.parse(inspect.getsource(LEARNERS[name])).body[0]
    assert isinstance(tree, ast.ClassDef)
    documented = {
        statement.target.id: following.value.value
        for statement, following in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
    }
    for field in fields(LEARNERS[name]):  # type: ignore[arg-type]
        assert field.name in documented
        assert "\n" not in str(documented[field.name])


@EVERY_SETTING
def test_every_metric_is_explained(learner: Learner) -> None:
    readme = (Path(__file__).parents[2] / "agents" / "README.md").read_text(encoding="utf-8")
    names = output(learner, prepared(learner), table(13)).token_metrics
    assert [name for name in names if f"| `{name}` |" not in readme] == []
