"""Packed rows: the trees hold every row, and scores and gradients are those of the rows one by one."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_mask, flex_attention
from torch.testing import assert_close

from sdar_agents import packing
from sdar_agents.batch import TurnBatch, collate, pad_left, pad_right
from sdar_agents.learners.base import TokenScores
from sdar_agents.packing import (
    Layout,
    Pack,
    PackingCounts,
    build_pack,
    cheapest_cuts,
    check_packing,
    cut_trees,
    pack_rows,
    packed_forward,
    score_packed,
    sort_rows,
    tree_chunks,
    tree_sizes,
)
from sdar_agents.policy import LoraSettings as Lora
from sdar_agents.policy import ModelError, WithoutAdapters, load_policy, score, with_lora
from sdar_agents.tree_attention import block_mask, dense_mask, mask_mod, register_tree_attention
from tests.agents.toy_batches import episode, turn

Row = tuple[Sequence[int], Sequence[int]]

FORKED: list[Row] = [
    ((1, 2, 3, 4, 5, 6), (7, 8)),
    ((1, 2, 3, 4, 5, 6), (7, 9, 9)),
    ((1, 2, 3, 4, 5, 6), (7, 8)),  # the first once more
    ((1, 2, 3, 4, 5, 6, 7, 8), (5,)),  # goes on where the first ends
    ((1, 2, 3), (4, 5)),  # is a beginning of the first
    ((1, 2, 5, 5), (6, 6, 6, 6)),
    ((9,), (1, 2)),  # shares nothing
]
ROWS = st.lists(
    st.tuples(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.lists(st.integers(1, 3), max_size=4)),
    min_size=1,
    max_size=10,
)
SMALL = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "pad_token_id": 0,
         "num_key_value_heads": 1, "intermediate_size": 24, "max_position_embeddings": 64, "bos_token_id": 1,
         "eos_token_id": 2}  # fmt: skip
# Windows are shorter than the rows, and scales and caps bite.
FAMILIES: dict[str, tuple[Any, str]] = {
    "qwen3": (transformers.Qwen3Config(**SMALL, head_dim=8), "sdpa"),
    "qwen2, one layer with a window": (
        transformers.Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=4, max_window_layers=1),
        "sdpa",
    ),
    "llama": (transformers.LlamaConfig(**SMALL), "sdpa"),
    "mistral, all layers with a window": (transformers.MistralConfig(**SMALL, sliding_window=4), "sdpa"),
    "gemma2": (transformers.Gemma2Config(**SMALL, head_dim=8, sliding_window=4, final_logit_softcapping=2.0), "eager"),
    "gemma3": (
        transformers.Gemma3TextConfig(
            **SMALL, head_dim=8, sliding_window=4, layer_types=["sliding_attention", "full_attention"]
        ),
        "sdpa",
    ),
    "gpt2": (
        transformers.GPT2Config(
            vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2
        ),
        "sdpa",
    ),
    "granite": (transformers.GraniteConfig(**SMALL, logits_scaling=3.0), "sdpa"),
    "cohere": (transformers.CohereConfig(**SMALL, logit_scale=0.25), "sdpa"),
}


def make_model(config: Any, attention: str = "sdpa") -> Any:
    torch.manual_seed(0)
    # A copy: a test may change it.
    config = copy.deepcopy(config)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    for parameter in model.parameters():
        # The usual scale of 0.02 would leave attention next to uniform.
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def model() -> Any:
    return make_model(*FAMILIES["qwen3"])


def inputs(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    prompt_ids, prompt_mask = pad_left([prompt for prompt, _ in rows], 0)
    response_ids, response_mask = pad_right([response for _, response in rows], 0)
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "response_ids": response_ids,
        "response_mask": response_mask,
    }


def masked(values: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """0 where the score is of padding."""
    mask = inputs(rows)["response_mask"]
    return values * (mask if values.ndim == 2 else mask[..., None])


def gradient(model: Any, scores: TokenScores, rows: Sequence[Row]) -> torch.Tensor:
    """Of a loss that weighs every token differently, and the second row with 0."""
    mask = inputs(rows)["response_mask"]
    weight = torch.linspace(-1, 1, mask.numel()).view(mask.shape) * mask / mask.sum()
    if len(weight) > 1:
        weight[1] = 0.0
    model.zero_grad()
    assert scores.entropy is not None
    ((scores.logprobs + 0.3 * scores.entropy) * weight).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def assert_same_as_unpacked(model: Any, rows: Sequence[Row], *, max_tokens: int = 1_000, **how: Any) -> None:
    plain = score(model, **inputs(rows), entropy=True, distribution=True, temperature=0.7)
    expected = gradient(model, plain, rows)
    packed = score_packed(
        model, **inputs(rows), max_tokens=max_tokens, entropy=True, distribution=True, temperature=0.7, **how
    )
    assert_close(packed.logprobs, masked(plain.logprobs, rows))
    assert plain.entropy is not None
    assert packed.entropy is not None
    assert_close(packed.entropy, masked(plain.entropy, rows))
    assert plain.distribution is not None
    assert packed.distribution is not None
    assert_close(packed.distribution, masked(plain.distribution, rows), rtol=1e-5, atol=1e-5)
    assert float(expected.abs().max()) > 0.1
    assert_close(gradient(model, packed, rows), expected, rtol=1e-5, atol=1e-5)


# ---- trees -----------------------------------------------------------------------------------------------


def test_a_tree_by_hand() -> None:
    #   1 - 2 - 3          first row, response 3
    #     |   \ 4 - 5      second, responses 4 5
    #     \ 6              third, response 6
    rows = sort_rows(**inputs([((1, 2), (4, 5)), ((1,), (6,)), ((1, 2), (3,))]))
    pack = build_pack(rows, [(0, 3)])
    assert pack.token_ids.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert pack.positions.tolist() == [[0, 1, 2, 2, 3, 1]]
    assert pack.subtree_end.tolist() == [[6, 5, 3, 5, 5, 6]]
    # Token 0 predicts the 6 of row 1, token 1 the 3 of row 2 and the 4 of row 0, token 3 the 5 of row 0.
    assert pack.sources.tolist() == [0, 1, 3]
    targets = zip(pack.target_sources.tolist(), pack.target_ids.tolist(), pack.rows.tolist(), strict=True)
    assert list(targets) == [(0, 6, 1), (1, 3, 2), (1, 4, 0), (2, 5, 0)]
    assert pack.columns.tolist() == [0, 0, 0, 1]


@given(rows=ROWS, max_tokens=st.integers(1, 40), break_even=st.sampled_from([2.0, 20.0, np.inf]))
@settings(deadline=None)
def test_every_response_token_is_predicted_from_all_that_comes_before_it(
    rows: list[Row], max_tokens: int, break_even: float
) -> None:
    packs = pack_rows(sort_rows(**inputs(rows)), Layout(max_tokens, break_even))
    found = {}
    for pack in packs:
        seen = dense_mask(pack.positions, pack.subtree_end)[:, 0]
        width = pack.token_ids.shape[1]
        for target, (row, column) in enumerate(zip(pack.rows.tolist(), pack.columns.tolist(), strict=True)):
            sequence, place = divmod(int(pack.sources[pack.target_sources[target]]), width)
            path = seen[sequence, place]
            assert pack.positions[sequence][path].tolist() == list(range(int(path.sum())))
            found[row, column] = (*pack.token_ids[sequence][path].tolist(), int(pack.target_ids[target]))
    assert found == {
        (number, column): (*prompt, *response[: column + 1])
        for number, (prompt, response) in enumerate(rows)
        for column in range(len(response))
    }


@given(rows=ROWS)
@settings(deadline=None)
def test_where_attention_costs_nothing_a_tree_has_a_token_for_every_distinct_prefix(rows: list[Row]) -> None:
    prefixes = {
        tuple(row[:end])
        for prompt, response in rows
        for row in [[*prompt, *response]]
        for end in range(1, len(row) + 1)
    }
    (pack,) = pack_rows(sort_rows(**inputs(rows)), Layout(1_000, np.inf))
    assert pack.tree_tokens == len(prefixes)


@given(rows=ROWS, max_tokens=st.integers(1, 40))
@settings(deadline=None)
def test_trees_hold_every_row_once_and_keep_to_the_budget(rows: list[Row], max_tokens: int) -> None:
    ordered = sort_rows(**inputs(rows))
    trees = cut_trees(ordered, Layout(max_tokens, 10.0))
    assert [row for begin, end in trees for row in range(begin, end)] == list(range(len(rows)))
    for (begin, end), size in zip(trees, tree_sizes(ordered, trees).tolist(), strict=True):
        assert size == build_pack(ordered, [(begin, end)]).tree_tokens
        assert size <= max_tokens or end == begin + 1


@given(costs=st.lists(st.integers(0, 9), min_size=15, max_size=15), count=st.integers(1, 5))
@settings(deadline=None)
def test_no_other_cut_is_cheaper(costs: list[int], count: int) -> None:
    table = dict(zip(itertools.combinations(range(6), 2), costs, strict=True))

    def total(bounds: Sequence[int]) -> int:
        return sum(table[part] for part in itertools.pairwise(bounds))

    parts = cheapest_cuts(
        count, np.zeros(count, dtype=np.int64), lambda begin, end: np.array([table[int(b), end] * 1.0 for b in begin])
    )
    every = [(0, *middle, count) for size in range(count) for middle in itertools.combinations(range(1, count), size)]
    assert total([0, *(end for _, end in parts)]) == min(map(total, every))


def test_a_response_without_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1 has no prompt token"):
        sort_rows(**inputs([((1,), (2,)), ((), (2,))]))


# ---- scores ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_gradients_are_those_of_the_unpacked_rows(family: str) -> None:
    assert_same_as_unpacked(make_model(*FAMILIES[family]), FORKED)


@pytest.mark.parametrize("family", ["gemma3", "gpt2"])
def test_attention_that_adds_its_mask_gets_one_to_add(family: str) -> None:
    assert_same_as_unpacked(make_model(FAMILIES[family][0], "eager"), FORKED)


@pytest.mark.parametrize(
    "rows",
    [FORKED[:1], [FORKED[0]] * 3, [FORKED[0], FORKED[6]], [FORKED[0], FORKED[3]], [((1,), (2,)), ((1,), (2, 3))]],
    ids=["one row", "equal rows", "nothing shared", "a response begins another prompt", "short rows"],
)
def test_special_rows_are_scored_as_unpacked(model: Any, rows: list[Row]) -> None:
    assert_same_as_unpacked(model, rows)


@pytest.mark.parametrize("max_tokens", [1, 9, 14])
def test_cutting_into_more_calls_changes_nothing(model: Any, max_tokens: int) -> None:
    assert_same_as_unpacked(model, FORKED, max_tokens=max_tokens)


@pytest.mark.parametrize("sources", [1, 3])
def test_cutting_the_head_finer_changes_nothing_and_bounds_the_logits(
    model: Any, sources: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LOGITS_AT_ONCE", sources * 40)
    assert_same_as_unpacked(model, FORKED)
    seen: list[int] = []
    model.lm_head.register_forward_hook(lambda _, __, logits: seen.append(logits.shape[0]))
    scores = score_packed(model, **inputs(FORKED), max_tokens=1_000)
    forward = len(seen)
    scores.logprobs.sum().backward()
    assert max(seen) == sources
    # None of them was kept: each is made again in the backward pass.
    assert len(seen) == 2 * forward


def test_equal_rows_keep_their_own_weights(model: Any) -> None:
    twice = [FORKED[0], FORKED[0]]
    weight = torch.tensor([[0.25], [0.5]])
    model.zero_grad()
    (score_packed(model, **inputs(twice), max_tokens=1_000).logprobs * weight).sum().backward()
    both = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    (score(model, **inputs(twice[:1])).logprobs * 0.75).sum().backward()
    for one, other in zip(both, model.parameters(), strict=True):
        assert_close(one, other.grad, rtol=1e-5, atol=1e-5)


def test_adapters_are_trained_and_the_base_is_scored_without_them(model: Any) -> None:
    adapted = with_lora(model, Lora(rank=2))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    assert_same_as_unpacked(adapted, FORKED)
    base = WithoutAdapters(adapted)
    packed = score_packed(base, **inputs(FORKED), max_tokens=1_000)
    assert_close(packed.logprobs, masked(score(base, **inputs(FORKED)).logprobs, FORKED))
    assert not torch.allclose(packed.logprobs, score_packed(adapted, **inputs(FORKED), max_tokens=1_000).logprobs)


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated:FutureWarning")
def test_activation_checkpointing_changes_nothing(model: Any) -> None:
    model.gradient_checkpointing_enable({"use_reentrant": False})
    # transformers checkpoints in training mode only; this model has no dropout.
    model.train()
    assert_same_as_unpacked(model, FORKED)


def test_scores_are_float32_under_autocast(model: Any) -> None:
    exact = score(model, **inputs(FORKED))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        packed = score_packed(model, **inputs(FORKED), max_tokens=1_000)
        plain = score(model, **inputs(FORKED))
    assert packed.logprobs.dtype == torch.float32
    packed_error = (packed.logprobs - masked(exact.logprobs, FORKED)).abs().mean()
    plain_error = (masked(plain.logprobs, FORKED) - masked(exact.logprobs, FORKED)).abs().mean()
    assert 0 < packed_error < 2 * plain_error


def test_a_model_with_a_packed_forward_of_its_own_is_asked(model: Any) -> None:
    calls = []

    def own(*tensors: torch.Tensor, **settings: Any) -> Any:
        calls.append(tensors[0].shape)
        return packed_forward(model, *tensors, **settings)

    expected = score_packed(model, **inputs(FORKED), max_tokens=1_000)
    model.packed_forward = own
    assert_close(score_packed(model, **inputs(FORKED), max_tokens=1_000).logprobs, expected.logprobs)
    assert len(calls) == 1


@pytest.mark.parametrize("read", ["logprobs", "entropy", "distribution"])
def test_whatever_a_loss_reads_all_calls_are_in_its_backward_pass(model: Any, read: str) -> None:
    # Where weights are sharded, a process that leaves one out waits for the others for ever.
    backward_calls = 0

    def count(*_: Any) -> None:
        nonlocal backward_calls
        backward_calls += 1

    model.model.layers[0].register_full_backward_hook(count)
    wanted: dict[str, Any] = {"max_tokens": 1_000, "entropy": True, "distribution": True}
    gradients = []
    for beyond in (0, 2):
        backward_calls = 0
        model.zero_grad()
        scores = score_packed(model, **inputs(FORKED), **wanted, calls=lambda own, more=beyond: own + more)
        getattr(scores, read).sum().backward()
        assert backward_calls == 1 + beyond
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert_close(gradients[1], gradients[0])


def test_counts_say_what_was_shared(model: Any) -> None:
    counts = PackingCounts()
    for _ in range(2):
        score_packed(model, **inputs([((1, 2), (3,)), ((1, 2), (4,))]), max_tokens=1_000, counts=counts)
    assert (counts.row_tokens, counts.tree_tokens, counts.ratio) == (12, 8, 1.5)


# ---- micro-batches ---------------------------------------------------------------------------------------


def shared_batch(*, teacher: bool) -> TurnBatch:
    """Five episodes whose prompts grow by a token a turn, out of an alphabet of 3."""
    generator = np.random.default_rng(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(generator.integers(1, 4, count).tolist())

    episodes = []
    for group in range(5):
        history, turns = ids(6), []
        for _ in range(6):
            turns.append(turn(history, ids(2), teacher_prompt=(9, *history) if teacher else None))
            history += ids(1)
        episodes.append(episode(*turns, group=group))
    return collate(episodes, pad_id=0)


@pytest.mark.parametrize("max_tokens", [1, 25, 60, 1_000])
def test_micro_batches_hold_every_row_once_and_keep_to_the_budget_of_tree_tokens(model: Any, max_tokens: int) -> None:
    batch = shared_batch(teacher=False)
    chunks = tree_chunks(batch, model, max_tokens)
    assert sorted(row for chunk in chunks for row in chunk.tolist()) == list(range(len(batch)))
    for chunk in chunks:
        counts = PackingCounts()
        rows = batch.rows(chunk)
        score_packed(
            model,
            prompt_ids=rows.prompt_ids,
            prompt_mask=rows.prompt_mask,
            response_ids=rows.response_ids,
            response_mask=rows.response_mask,
            max_tokens=max_tokens,
            counts=counts,
        )
        assert counts.tree_tokens <= max_tokens or len(chunk) == 1


def test_a_teacher_does_not_change_the_micro_batches(model: Any) -> None:
    with_teacher, without = (tree_chunks(shared_batch(teacher=teacher), model, 40) for teacher in (True, False))
    assert [chunk.tolist() for chunk in with_teacher] == [chunk.tolist() for chunk in without]


# ---- FlexAttention ---------------------------------------------------------------------------------------


def long_pack(seed: int) -> Pack:
    """Two sequences of 512 tokens in four blocks, with branches that begin and end within and between blocks."""
    generator = np.random.default_rng(seed)
    # Trunks that fill blocks, and whose subtrees end within one.
    trunks = [[1 + number] * int(generator.integers(140, 180)) for number in range(2)]
    rows: list[Row] = []
    for number in range(24):
        kept = trunks[number % 2] if number < 8 else list(rows[-1][0])[: int(generator.integers(0, 60))]
        rows.append(([*kept, *generator.integers(5, 30, int(generator.integers(1, 40))).tolist()], (1, 2)))
    ordered = sort_rows(**inputs(rows))
    return build_pack(ordered, [(0, 10), (10, 24)], multiple=512)


@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize("seed", range(3))
def test_the_block_mask_is_the_dense_mask(seed: int, window: int | None) -> None:
    pack = long_pack(seed)
    batch, length = pack.token_ids.shape
    assert length >= 512
    dense = dense_mask(pack.positions, pack.subtree_end, window=window)
    mod = mask_mod(pack.positions, pack.subtree_end, window=window)
    assert torch.equal(create_mask(mod, batch, 1, length, length, device="cpu"), dense)
    blocks = block_mask(pack.positions, pack.subtree_end, window=window)
    # A block without work has no True in it, and one that counts as full no False.
    tiles = dense.view(batch, length // 128, 128, length // 128, 128).transpose(2, 3)
    has_work = blocks.to_dense()[:, 0].bool()
    assert not tiles[~has_work].any()
    full_count, full = blocks.full_kv_num_blocks, blocks.full_kv_indices
    assert full_count is not None
    assert full is not None
    for sequence, query in itertools.product(range(batch), range(length // 128)):
        for key in full[sequence, 0, query, : int(full_count[sequence, 0, query])].tolist():
            assert tiles[sequence, query, key].all()


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.parametrize("window", [None, 20])
def test_flex_attention_over_blocks_is_attention_over_the_dense_mask(window: int | None) -> None:
    pack = long_pack(0)
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 2, pack.token_ids.shape[1], 16) for _ in range(3))
    dense = dense_mask(pack.positions, pack.subtree_end, window=window)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=dense)
    compiled: Callable[..., Any] = flex_attention
    actual = compiled(query, key, value, block_mask=block_mask(pack.positions, pack.subtree_end, window=window))
    assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_the_attention_for_trees_is_sdpa_where_there_are_no_blocks() -> None:
    config, _ = FAMILIES["qwen3"]
    model = make_model(config, register_tree_attention())
    assert_same_as_unpacked(model, FORKED)
    plain = make_model(config)
    assert torch.equal(score(model, **inputs(FORKED)).logprobs, score(plain, **inputs(FORKED)).logprobs)


# ---- models that cannot be packed ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (transformers.MambaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, state_size=4), "carries a state"),
        (transformers.BloomConfig(vocab_size=40, hidden_size=16, n_layer=1, n_head=2), "takes no position_ids"),
        (
            transformers.FalconConfig(
                vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, alibi=True
            ),
            "ALiBi",
        ),
    ],
    ids=["mamba", "bloom", "falcon"],
)
def test_a_model_whose_rows_cannot_branch_is_refused_with_the_reason(config: Any, reason: str) -> None:
    with pytest.raises(ModelError, match=f"{reason}.*--packing none"):
        check_packing(make_model(config, "eager"))


def test_a_model_with_layers_of_an_unknown_kind_is_refused(model: Any) -> None:
    model.config.layer_types = ["full_attention", "chunked_attention"]
    with pytest.raises(ModelError, match="layers of type chunked_attention"):
        check_packing(model)


def test_a_model_whose_own_forward_says_something_else_is_refused(model: Any) -> None:
    check_packing(model)

    class Scaled(type(model)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = super().forward(*args, **kwargs)
            output.logits = output.logits * 1.5
            return output

    model.__class__ = Scaled
    with pytest.raises(ModelError, match="log-probabilities differ by"):
        check_packing(model)


def test_the_bundled_model_packs(number_line_model: Path) -> None:
    model, _ = load_policy(str(number_line_model))
    check_packing(model)


def test_weights_of_zero_change_no_gradient(model: Any) -> None:
    # A row of weight 0 is in the tree, and shares its beginning, but nothing flows through it.
    batch = replace(shared_batch(teacher=False), weight=torch.tensor([1.0, 0.0] * 15))
    kept = batch.rows(torch.arange(0, 30, 2))
    gradients = []
    for rows in (batch, kept):
        scores = score_packed(
            model,
            prompt_ids=rows.prompt_ids,
            prompt_mask=rows.prompt_mask,
            response_ids=rows.response_ids,
            response_mask=rows.response_mask,
            max_tokens=1_000,
        )
        model.zero_grad()
        ((scores.logprobs * rows.token_weight).sum() / rows.token_weight.sum()).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-5)
