"""Turns as tensors: padding, cutting and means change nothing that counts."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch.testing import assert_close

from sdar_agents.batch import TurnBatch, View, collate, pad_left, pad_right, token_mean
from sdar_agents.episode import Episode, Turn
from tests.agents.toy_batches import episode, turn

PAD = 0


def two_episodes() -> list[Episode]:
    return [
        episode(turn((1, 2, 3), (4, 5)), turn((6,), (7, 8, 9), reward=0.5, is_valid=False), group=4),
        episode(turn((1, 2), (3,), reward=1.0), group=5),
    ]


def random_batch(count: int, *, teacher: bool, seed: int = 0) -> TurnBatch:
    generator = torch.Generator().manual_seed(seed)

    def ids(longest: int) -> tuple[int, ...]:
        length = int(torch.randint(1, longest + 1, (1,), generator=generator))
        return tuple(torch.randint(1, 9, (length,), generator=generator).tolist())

    def row() -> Turn:
        return turn(ids(20), ids(20), teacher_prompt=ids(30) if teacher else None)

    batch = collate([episode(row(), group=number) for number in range(count)], pad_id=PAD)
    return replace(batch, old_logprobs=torch.randn(batch.response_ids.shape, generator=generator))


def test_prompts_end_and_responses_begin_at_the_border() -> None:
    batch = collate(two_episodes(), pad_id=PAD)
    assert batch.prompt_ids.tolist() == [[1, 2, 3], [0, 0, 6], [0, 1, 2]]
    assert batch.prompt_mask.int().tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1]]
    assert batch.response_ids.tolist() == [[4, 5, 0], [7, 8, 9], [3, 0, 0]]
    assert batch.response_mask.int().tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]


def test_a_row_knows_its_turn_its_episode_and_its_group() -> None:
    batch = collate(two_episodes(), pad_id=PAD)
    assert batch.turn.tolist() == [0, 1, 0]
    assert batch.trajectory.tolist() == [0, 0, 1]
    assert batch.group.tolist() == [4, 4, 5]
    assert batch.returns.tolist() == [0.5, 0.5, 1.0]
    assert batch.invalid_turns.tolist() == [1.0, 1.0, 0.0]
    assert batch.is_valid.tolist() == [True, False, True]


def test_a_pad_id_that_occurs_in_the_text_is_still_a_real_token() -> None:
    batch = collate([episode(turn((PAD, 1), (PAD, 2)), turn((3,), (4,)))], pad_id=PAD)
    assert batch.prompt_mask.tolist() == [[True, True], [False, True]]
    assert batch.response_mask.tolist() == [[True, True], [True, False]]


def test_no_turn_is_nothing_to_train_on() -> None:
    with pytest.raises(ValueError, match="hold no turn"):
        collate([episode()], pad_id=PAD)


def test_teacher_prompts_are_for_all_turns_or_none() -> None:
    with pytest.raises(ValueError, match="1 of 2 turns have a teacher prompt"):
        collate([episode(turn(teacher_prompt=(1,)), turn())], pad_id=PAD)


def test_responses_without_a_token_keep_the_types_of_ids_and_masks() -> None:
    for pad in (pad_left, pad_right):
        ids, mask = pad([(), ()], PAD)
        assert (ids.shape, ids.dtype, mask.dtype) == ((2, 0), torch.int64, torch.bool)


@pytest.mark.parametrize("teacher", [False, True])
def test_a_picked_row_holds_the_same_tokens(teacher: bool) -> None:
    batch = random_batch(12, teacher=teacher)
    for row in range(12):
        alone = batch.rows(torch.tensor([row]))
        assert alone.prompt_mask.all()
        assert alone.response_mask.all()
        assert_close(alone.prompt_ids[0], batch.prompt_ids[row][batch.prompt_mask[row]])
        assert_close(alone.response_ids[0], batch.response_ids[row][batch.response_mask[row]])
        assert_close(alone.old_logprobs[0], batch.old_logprobs[row][batch.response_mask[row]])
        if batch.teacher_prompt_ids is not None and batch.teacher_prompt_mask is not None:
            assert alone.teacher_prompt_ids is not None
            assert_close(alone.teacher_prompt_ids[0], batch.teacher_prompt_ids[row][batch.teacher_prompt_mask[row]])


def test_picking_rows_takes_every_field_along() -> None:
    batch = random_batch(5, teacher=True)
    of_tokens = ("reference_logprobs", "teacher_logprobs", "old_entropy", "token_advantages", "distill_weight")
    batch = replace(
        batch, signals={"trust": 0.5}, **{name: torch.randn(batch.response_ids.shape) for name in of_tokens}
    )
    prompt_ids, prompt_mask = pad_left([(1,) * length for length in (5, 2, 5, 1, 5)], PAD)
    batch = replace(batch, views={"full": View(prompt_ids, prompt_mask, torch.randn(batch.response_ids.shape))})
    picked = batch.rows(torch.tensor([3, 1]))
    for field in fields(TurnBatch):
        value = getattr(picked, field.name)
        if isinstance(value, torch.Tensor):
            assert len(value) == 2, field.name
    assert picked.group.tolist() == [3, 1]
    for name in of_tokens:
        assert_close(getattr(picked, name), getattr(batch, name)[[3, 1], : picked.response_ids.shape[1]])
    assert picked.views["full"].prompt_mask.tolist() == [[False, True], [True, True]]
    assert picked.views["full"].logprobs is not None
    assert picked.views["full"].logprobs.shape == picked.response_ids.shape
    assert picked.signals == {"trust": 0.5}


def test_turns_of_a_group_that_answer_one_observation_are_in_one_state() -> None:
    seen = [replace(turn(), seen=text) for text in ("a door", "a wall", "a door")]
    one, other = episode(*seen, group=0), episode(seen[0], group=1)
    state = collate([one, other], pad_id=PAD).state.tolist()
    assert state[0] == state[2]
    assert len(set(state)) == 3


def test_views_are_for_all_turns_or_none() -> None:
    with pytest.raises(ValueError, match="other teacher views"):
        collate([episode(replace(turn(), view_prompt_ids={"full": (1,)}), turn())], pad_id=PAD)


@pytest.mark.parametrize("teacher", [False, True])
@pytest.mark.parametrize("max_tokens", [1, 60, 150, 10_000])
def test_splitting_loses_and_repeats_no_row(teacher: bool, max_tokens: int) -> None:
    parts = list(random_batch(30, teacher=teacher).split(max_tokens))
    assert sorted(row for part in parts for row in part.group.tolist()) == list(range(30))


@pytest.mark.parametrize("teacher", [False, True])
def test_a_micro_batch_stays_within_its_padded_tokens(teacher: bool) -> None:
    # A long prompt with a short response beside the opposite pads both ways: rows of 21 tokens can be 40 wide.
    for part in random_batch(40, teacher=teacher).split(150):
        prompt = part.prompt_ids.shape[1]
        if part.teacher_prompt_ids is not None:
            prompt = max(prompt, part.teacher_prompt_ids.shape[1])
        assert len(part) == 1 or len(part) * (prompt + part.response_ids.shape[1]) <= 150


def test_a_row_longer_than_the_budget_is_a_micro_batch_of_its_own() -> None:
    assert [len(part) for part in random_batch(6, teacher=False).split(1)] == [1] * 6


def test_token_mean_by_hand() -> None:
    # (1 * 1 + 2 * 1 + 4 * 1) / 3: the masked 100 and the row of weight 0 count nowhere.
    values = torch.tensor([[1.0, 2.0], [4.0, 100.0], [7.0, 7.0]])
    batch = collate([episode(turn(response=(1, 1)), turn(response=(1,)), turn(response=(1, 1)))], pad_id=PAD)
    batch = replace(batch, weight=torch.tensor([1.0, 1.0, 0.0]))
    assert token_mean(values, batch.token_weight).item() == pytest.approx(7.0 / 3.0)


@pytest.mark.parametrize("max_tokens", [1, 60, 150])
def test_means_of_micro_batches_add_up_to_the_mean_of_the_step(max_tokens: int) -> None:
    batch = random_batch(30, teacher=False)
    total = batch.token_weight.sum()
    parts = [token_mean(part.old_logprobs, part.token_weight, total) for part in batch.split(max_tokens)]
    assert_close(torch.stack(parts).sum(), token_mean(batch.old_logprobs, batch.token_weight))
