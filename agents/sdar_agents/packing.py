"""Scores of rows that share prefixes, each shared token computed once: rows become prefix trees in one sequence.

Rows in lexicographic order are a tree in depth-first order. A token sees its ancestors: those before it whose subtree
it lies in. `policy.score` is the same without sharing, and the reference that tests compare with.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.checkpoint import checkpoint

from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import TokenScores
from sdar_agents.policy import ModelError, WithoutAdapters, score
from sdar_agents.tree_attention import BLOCK, attention_masks, uses_blocks

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CALL_TOKENS = 100
"""What one more call of the model costs, in tokens of work."""
LOGITS_AT_ONCE = 2**26
"""Most logits that exist at a time, where no whole distribution is asked for: 256 MiB in float32."""


@dataclass(slots=True)
class PackingCounts:
    """Tokens with and without sharing; a mutable sum over calls.

    Attributes:
        row_tokens: Tokens of all rows, prompt and response.
        tree_tokens: Tokens that went through the model for them, padding not counted.
    """

    row_tokens: int = 0
    tree_tokens: int = 0

    @property
    def ratio(self) -> float:
        """Row tokens per tree token; 1 where nothing is shared."""
        return self.row_tokens / max(1, self.tree_tokens)


@dataclass(frozen=True, slots=True)
class SortedRows:
    """N rows (prompt, then response) in lexicographic order, so that those that share a prefix are neighbours.

    Attributes:
        order: Number of each row among those given, [N].
        ids: Token ids from the left, -1 beyond the end, [N, W].
        prompts, lengths: Tokens of the prompt, and of prompt and response, [N].
        shared: Leading tokens in common with the row before; 0 for the first, [N].
    """

    order: Ints
    ids: Ints
    prompts: Ints
    lengths: Ints
    shared: Ints

    def __len__(self) -> int:
        return len(self.order)

    def own_tokens(self) -> Ints:
        """Tokens that the first rows add to a tree of all, by how many rows these are, [N + 1]."""
        own: Ints = np.concatenate([[0], np.cumsum(self.lengths - self.shared)])
        return own


@dataclass(frozen=True, slots=True)
class Layout:
    """How trees are laid out for a model.

    Attributes:
        max_tokens: Tokens of one call of the model. A single longer row still makes a call.
        break_even: Length at which attention over a whole [L, L] mask costs as much as everything else; infinite
            where masked blocks are skipped.
        multiple: Sequences are padded to a multiple of this.
    """

    max_tokens: int
    break_even: float
    multiple: int = 1

    def cost(self, tokens: Ints) -> Floats:
        """Work for sequences of these lengths, in tokens: L + L^2 / break_even.

        The first term wants few large trees, which share most, the second many small ones. By operations the two are
        equal at L = 6 H for the hidden size H (24 H^2 a token and layer against 4 H a token and attended token). On a
        CPU, where norms and copies count as much as products, it was nearer to 9 H (H = 64, forward and backward).
        """
        work: Floats = tokens + tokens.astype(np.float64) ** 2 / self.break_even
        return work


@dataclass(frozen=True, slots=True)
class Pack:
    """B sequences of L tree tokens, each a forest in depth-first order, and what they predict.

    S tokens ("sources") predict at least one response token; M response tokens are predicted. Rows that agree up to
    a token share its source, and rows that are equal share everything and keep a target each.

    Attributes:
        token_ids, positions: Token and its depth in its tree, [B, L]; 0 under padding.
        subtree_end: One past the last token of the subtree below it, as an index of its sequence, [B, L].
        sources: Which tokens predict, as indices of the flat [B * L], ascending, [S].
        target_sources: Source of each response token, as an index of `sources`, ascending, [M].
        target_ids: Response tokens, [M].
        rows, columns: Where in [N, R] each response token stands, [M].
        tree_tokens: Tokens without padding.
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    subtree_end: torch.Tensor
    sources: torch.Tensor
    target_sources: torch.Tensor
    target_ids: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    tree_tokens: int


# From rows to trees


def sort_rows(
    prompt_ids: torch.Tensor, prompt_mask: torch.Tensor, response_ids: torch.Tensor, response_mask: torch.Tensor
) -> SortedRows:
    """Rows in lexicographic order, and what each shares with the one before.

    Args:
        prompt_ids, prompt_mask: [N, P], padded on the left.
        response_ids, response_mask: [N, R], padded on the right.

    Raises:
        ValueError: a prompt without a token: nothing would predict the response's first.
    """
    prompts = prompt_mask.sum(1).cpu().numpy()
    if not prompts.all():
        raise ValueError(f"row {int(prompts.argmin())} has no prompt token, so nothing predicts its response")
    lengths = prompts + response_mask.sum(1).cpu().numpy()
    padded = torch.cat([prompt_ids, response_ids], dim=1).cpu().numpy()
    columns = np.arange(lengths.max())
    first = prompt_ids.shape[1] - prompts
    ids = np.take_along_axis(padded, np.minimum(first[:, None] + columns, padded.shape[1] - 1), axis=1)
    ids = np.where(columns < lengths[:, None], ids, -1)  # [N, W]
    # Bytes compare like the ids if they are big-endian; 0 is the end of a row, so ids start at 1.
    keys = np.ascontiguousarray((ids + 1).astype(">u4")).view(f"S{4 * len(columns)}")[:, 0]
    order = np.argsort(keys, kind="stable")
    ids, lengths = ids[order], lengths[order]
    differs = np.ones((len(ids) - 1, len(columns) + 1), dtype=bool)
    differs[:, :-1] = ids[1:] != ids[:-1]
    shared = np.minimum(differs.argmax(1), lengths[1:])
    return SortedRows(order, ids, prompts[order], lengths, np.concatenate([[0], shared]))


def cheapest_cuts(count: int, first: Ints, cost: Callable[[Ints, int], Floats]) -> list[tuple[int, int]]:
    """Consecutive parts [begin, end) of 0..count whose costs add up to the least.

    Args:
        first: The earliest begin of a part that ends before each item, [count]; at most the item's number.
        cost: Of the parts from each of `begin` [n] to before `end`.
    """
    best = np.zeros(count + 1)
    begins = np.zeros(count + 1, dtype=np.int64)
    for end in range(1, count + 1):
        candidates = np.arange(first[end - 1], end)
        total = best[candidates] + cost(candidates, end)
        chosen = int(total.argmin())
        best[end], begins[end] = total[chosen], candidates[chosen]
    parts, end = [], count
    while end:
        parts.append((int(begins[end]), end))
        end = int(begins[end])
    return parts[::-1]


def cut_trees(rows: SortedRows, layout: Layout) -> list[tuple[int, int]]:
    """Parts [begin, end) of the sorted rows that make a tree each, at the least total work."""
    own = rows.own_tokens()
    # Own tokens alone, without the shared beginning, are a lower bound of a tree's size.
    largest = min(layout.max_tokens, 4 * layout.break_even)
    first = np.minimum(np.searchsorted(own, own[1:] - largest), np.arange(len(rows)))
    unfinished = rows.shared - own[:-1]

    def cost(begin: Ints, end: int) -> Floats:
        tokens = unfinished[begin] + own[end]
        too_large = (tokens > layout.max_tokens) & (begin < end - 1)
        return np.where(too_large, np.inf, layout.cost(tokens))

    return cheapest_cuts(len(rows), first, cost)


def tree_sizes(rows: SortedRows, trees: Sequence[tuple[int, int]]) -> Ints:
    """Tokens of each tree, [trees]."""
    bounds = np.array(trees, dtype=np.int64).reshape(-1, 2)
    own = rows.own_tokens()
    sizes: Ints = rows.shared[bounds[:, 0]] + own[bounds[:, 1]] - own[bounds[:, 0]]
    return sizes


def cut_calls(sizes: Ints, layout: Layout) -> list[Ints]:
    """Numbers of the trees of each call of the model: trees of like size together, so that little is padding."""
    order = np.argsort(sizes, kind="stable")
    ordered = sizes[order]

    def cost(begin: Ints, end: int) -> Floats:
        trees = end - begin
        too_large = (trees * ordered[end - 1] > layout.max_tokens) & (trees > 1)
        return np.where(too_large, np.inf, CALL_TOKENS + trees * layout.cost(ordered[end - 1 : end]))

    parts = cheapest_cuts(len(order), np.zeros(len(order), dtype=np.int64), cost)
    return [order[begin:end] for begin, end in parts]


def build_pack(rows: SortedRows, trees: Sequence[tuple[int, int]], *, multiple: int = 1) -> Pack:
    """Lay trees out, one a sequence.

    Args:
        trees: Parts [begin, end) of the sorted rows.
        multiple: The length of the sequences is a multiple of this.
    """
    picked = np.concatenate([np.arange(begin, end) for begin, end in trees])  # [n]
    row_tree = np.repeat(np.arange(len(trees)), [end - begin for begin, end in trees])
    lengths, shared = rows.lengths[picked], rows.shared[picked].copy()
    shared[np.flatnonzero(np.diff(row_tree, prepend=-1))] = 0
    ids = rows.ids[picked, : lengths.max()]
    depth = np.arange(ids.shape[1])
    # Row i adds the tokens at depths shared[i] to lengths[i] to the forest, in this order.
    starts = np.cumsum(lengths - shared) - (lengths - shared)
    total = int((lengths - shared).sum())
    is_own = (depth >= shared[:, None]) & (depth < lengths[:, None])  # [n, W]
    # Numbers grow, so the largest so far is what the newest row with tokens of its own at that depth has put there.
    nodes = np.maximum.accumulate(np.where(is_own, (starts - shared)[:, None] + depth, -1), axis=0)
    # A subtree ends where a later row first leaves the path at this depth or above.
    leaves = np.where(depth >= shared[:, None], starts[:, None], total)
    later = np.concatenate([leaves[1:], np.full((1, len(depth)), total)])
    ends = np.minimum.accumulate(later[::-1], axis=0)[::-1]

    sizes = np.bincount(row_tree, weights=lengths - shared).astype(np.int64)
    width = int(-(-sizes.max() // multiple) * multiple)
    # Token j of tree b moves from its place in the forest to b * width + j.
    move = np.repeat(np.arange(len(trees)) * width - (np.cumsum(sizes) - sizes), sizes)
    places = np.arange(total) + move
    token_ids, positions = np.zeros((2, len(trees) * width), dtype=np.int64)
    subtree_end = np.tile(np.arange(1, width + 1), len(trees))
    token_ids[places] = ids[is_own]
    positions[places] = np.broadcast_to(depth, ids.shape)[is_own]
    subtree_end[places] = ends[is_own] + move - places // width * width

    is_target = (depth >= rows.prompts[picked][:, None]) & (depth < lengths[:, None])
    row, column = np.nonzero(is_target)
    parents = places[nodes[row, column - 1]]  # [M]
    ascending = np.argsort(parents, kind="stable")
    row, column = row[ascending], column[ascending]
    sources, target_sources = np.unique(parents[ascending], return_inverse=True)
    return Pack(
        token_ids=torch.from_numpy(token_ids.reshape(-1, width)),
        positions=torch.from_numpy(positions.reshape(-1, width)),
        subtree_end=torch.from_numpy(subtree_end.reshape(-1, width)),
        sources=torch.from_numpy(sources),
        target_sources=torch.from_numpy(target_sources),
        target_ids=torch.from_numpy(ids[row, column]),
        rows=torch.from_numpy(rows.order[picked][row]),
        columns=torch.from_numpy(column - rows.prompts[picked][row]),
        tree_tokens=total,
    )


# From trees to scores


def score_packed(
    model: Any,
    *,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    response_ids: torch.Tensor,
    response_mask: torch.Tensor,
    max_tokens: int,
    temperature: float = 1.0,
    entropy: bool = False,
    distribution: bool = False,
    counts: PackingCounts | None = None,
    calls: Callable[[int], int] = int,
) -> TokenScores:
    """As `policy.score`, each shared token computed once, and no more than `LOGITS_AT_ONCE` logits at a time.

    A whole distribution, where it is asked for, takes N x R x V floats here as there.

    Args:
        prompt_ids, prompt_mask: [N, P], padded on the left.
        response_ids, response_mask: [N, R], padded on the right.
        max_tokens: Tokens of one call of the model; a longer row still makes a call.
        temperature: Of the rollout; must be above 0.
        entropy: Also the entropy a token.
        distribution: Also the log-probabilities of the whole vocabulary.
        counts: Receives the numbers of tokens.
        calls: From how many calls of the model this process needs to how many all must make, where they are
            collective; what is made beyond need counts nothing.

    Returns:
        Scores in float32; 0 under padding.
    """
    weights, adapters = _unwrapped(model)
    forward = getattr(weights, "packed_forward", None) or partial(packed_forward, weights)
    config = _text_config(weights)
    device = next(weights.parameters()).device
    rows = sort_rows(prompt_ids, prompt_mask, response_ids, response_mask)
    packs = pack_rows(rows, layout_for(config, device, max_tokens))
    at_once = max(1, LOGITS_AT_ONCE // config.vocab_size)
    run = partial(_run, forward, device=device, at_once=at_once, temperature=temperature)
    # Agreed on before the first call, in which the processes already wait for one another.
    beyond = calls(len(packs)) - len(packs)
    with adapters:
        parts = [run(pack, entropy=entropy, distribution=distribution) for pack in packs]
        # A call beyond need is in the backward pass too, which is as collective: multiplied by 0 and added to all that
        # a loss may read, for some read only one of them.
        idle = [run(packs[0], entropy=False, distribution=False)[0].sum() * 0.0 for _ in range(beyond)]
    if counts is not None:
        counts.row_tokens += int(rows.lengths.sum())
        counts.tree_tokens += sum(pack.tree_tokens for pack in packs)
    at = tuple(torch.cat([getattr(pack, name) for pack in packs]).to(device) for name in ("rows", "columns"))

    def spread(values: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
        known = [value for value in values if value is not None]  # [M] or [M, V] each
        if not known:
            return None
        empty = known[0].new_zeros((*response_ids.shape, *known[0].shape[1:]))  # [N, R] or [N, R, V]
        return empty.index_put(at, sum(idle, torch.cat(known)))

    logprobs, entropies, distributions = (spread(values) for values in zip(*parts, strict=True))
    assert logprobs is not None
    return TokenScores(logprobs, entropies, distributions)


def pack_rows(rows: SortedRows, layout: Layout) -> list[Pack]:
    """Every row in some pack: trees that are cheap, in calls that hold like sizes."""
    trees = cut_trees(rows, layout)
    calls = cut_calls(tree_sizes(rows, trees), layout)
    return [build_pack(rows, [trees[number] for number in call], multiple=layout.multiple) for call in calls]


def layout_for(config: Any, device: torch.device, max_tokens: int) -> Layout:
    """The layout that suits a model (its text config) on a device."""
    if uses_blocks(config, device):
        return Layout(max_tokens, break_even=np.inf, multiple=BLOCK)
    return Layout(max_tokens, break_even=9.0 * config.hidden_size)


def tree_chunks(batch: TurnBatch, model: Any, max_tokens: int) -> list[torch.Tensor]:
    """Row numbers of micro-batches of at most `max_tokens` tree tokens of the student; a teacher changes nothing.

    Rows come in lexicographic order and whole trees stay together, so that a micro-batch packs as the batch does.
    """
    weights, _ = _unwrapped(model)
    rows = sort_rows(batch.prompt_ids, batch.prompt_mask, batch.response_ids, batch.response_mask)
    layout = layout_for(_text_config(weights), next(weights.parameters()).device, max_tokens)
    trees = cut_trees(rows, layout)
    chunks: list[Ints] = []
    filled = 0
    for (begin, end), size in zip(trees, tree_sizes(rows, trees).tolist(), strict=True):
        filled += size
        if chunks and filled <= max_tokens:
            chunks[-1] = np.concatenate([chunks[-1], rows.order[begin:end]])
        else:
            chunks.append(rows.order[begin:end])
            filled = size
    return [torch.from_numpy(chunk) for chunk in chunks]


def packed_forward(
    model: Any,
    token_ids: torch.Tensor,
    positions: torch.Tensor,
    subtree_end: torch.Tensor,
    sources: torch.Tensor,
    target_sources: torch.Tensor,
    target_ids: torch.Tensor,
    *,
    chunks: Sequence[tuple[int, int]],
    temperature: float,
    entropy: bool,
    distribution: bool,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Everything that touches weights, in one function: the body on whole trees, the head on some sources at a time.

    `score_packed` calls a `packed_forward` of the model's own if there is one, so that a wrapper that gathers sharded
    weights around a module's methods (FSDP's `register_fsdp_forward_method`) can do so here.

    Args:
        model: A causal language model of transformers, or a LoRA model of peft around one.
        token_ids, positions, subtree_end, sources, target_sources, target_ids: Of a `Pack`.
        chunks: Numbers of sources and of targets of each part of the head's work. With more than one part, logits
            are computed again in the backward pass instead of being kept.
        temperature, entropy, distribution: As in `score_packed`.

    Returns:
        Log-probability of each target [M], entropy at each target [M], log-probabilities at each target [M, V].
    """
    causal = _causal_model(model)
    config = _text_config(model)
    embedding = causal.get_input_embeddings().weight
    hidden = causal.get_decoder()(
        input_ids=token_ids,
        attention_mask=attention_masks(config, positions, subtree_end, dtype=embedding.dtype),
        position_ids=positions,
        use_cache=False,
    ).last_hidden_state  # [B, L, H]
    picked = hidden.flatten(0, 1).index_select(0, sources)  # [S, H]
    part = partial(_head, causal, config, temperature=temperature, entropy=entropy, distribution=distribution)
    results = []
    source = target = 0
    for source_count, target_count in chunks:
        targets = slice(target, target + target_count)
        inputs = (
            picked[source : source + source_count],
            target_sources[targets] - source,
            target_ids[targets],
        )
        if len(chunks) > 1 and torch.is_grad_enabled():
            results.append(checkpoint(part, *inputs, use_reentrant=False))
        else:
            results.append(part(*inputs))
        source, target = source + source_count, target + target_count
    logprobs, entropies, distributions = zip(*results, strict=True)
    return (
        torch.cat(logprobs),
        torch.cat(entropies) if entropy else None,
        torch.cat(distributions) if distribution else None,
    )


def _head(
    causal: Any,
    config: Any,
    hidden: torch.Tensor,
    target_sources: torch.Tensor,
    target_ids: torch.Tensor,
    *,
    temperature: float,
    entropy: bool,
    distribution: bool,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    logits = _logits(causal, config, hidden).float() / temperature  # [s, V]
    log_probabilities = torch.log_softmax(logits, dim=-1)
    logprobs = log_probabilities[target_sources, target_ids]  # [m]
    entropies = -(log_probabilities.exp() * log_probabilities).sum(-1)[target_sources] if entropy else None
    return logprobs, entropies, log_probabilities[target_sources] if distribution else None


def _logits(causal: Any, config: Any, hidden: torch.Tensor) -> torch.Tensor:
    """What the model's own forward makes of hidden states; `check_packing` compares the two."""
    logits: torch.Tensor = causal.get_output_embeddings()(hidden)
    if getattr(config, "logits_scaling", None) is not None:  # Granite
        logits = logits / config.logits_scaling
    if getattr(config, "logit_scale", None) is not None:  # Cohere
        logits = logits * config.logit_scale
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma
    return logits if cap is None else torch.tanh(logits / cap) * cap


def _run(
    forward: Callable[..., Any],
    pack: Pack,
    *,
    device: torch.device,
    at_once: int,
    temperature: float,
    entropy: bool,
    distribution: bool,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    result: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None] = forward(
        pack.token_ids.to(device),
        pack.positions.to(device),
        pack.subtree_end.to(device),
        pack.sources.to(device),
        pack.target_sources.to(device),
        pack.target_ids.to(device),
        chunks=head_chunks(pack, at_once),
        temperature=temperature,
        entropy=entropy,
        distribution=distribution,
    )
    return result


def head_chunks(pack: Pack, at_once: int) -> list[tuple[int, int]]:
    """Parts of at most `at_once` sources: the numbers of sources and of targets of each."""
    sources = len(pack.sources)
    bounds = torch.tensor([*range(0, max(1, sources), at_once), sources])
    targets = torch.searchsorted(pack.target_sources, bounds)
    return list(zip(bounds.diff().tolist(), targets.diff().tolist(), strict=True))


# Models


def check_packing(model: Any) -> None:
    """Refuse a model that cannot be packed, or whose scores come out otherwise than by its own forward pass.

    Raises:
        ModelError: why, and that `--packing none` trains it all the same.
    """
    reason = _why_not(model) or _difference(model)
    if reason is not None:
        raise ModelError(f"prefix trees do not work for this model: {reason}; train it with --packing none")


def _why_not(model: Any) -> str | None:
    causal, config = _causal_model(model), _text_config(model)
    name = type(causal).__name__
    if getattr(causal, "_is_stateful", False):
        return f"{name} carries a state from token to token, which cannot branch"
    if "position_ids" not in inspect.signature(causal.get_decoder().forward).parameters:
        return f"{name} takes no position_ids"
    if getattr(config, "alibi", False):
        return f"{name} weighs tokens by their place in the sequence (ALiBi), not by position_ids"
    unknown = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if unknown:
        return f"{name} has layers of type {', '.join(sorted(unknown))}"
    if config._attn_implementation.startswith(("flash", "kernels")):
        return f"attention {config._attn_implementation!r} takes no mask"
    return None


@torch.no_grad()
def _difference(model: Any) -> str | None:
    """Compare both ways on two rows that fork."""
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5]])
    inputs = {
        "prompt_ids": ids[:, :2],
        "prompt_mask": torch.ones(2, 2, dtype=torch.bool),
        "response_ids": ids[:, 2:],
        "response_mask": torch.ones(2, 2, dtype=torch.bool),
    }
    packed = score_packed(model, **inputs, max_tokens=1_000, entropy=True)  # type: ignore[arg-type]
    plain = score(model, **inputs, entropy=True)  # type: ignore[arg-type]
    assert packed.entropy is not None
    assert plain.entropy is not None
    difference = max(
        float((packed.logprobs - plain.logprobs).abs().max()), float((packed.entropy - plain.entropy).abs().max())
    )
    allowed = 1e-3 if next(model.parameters()).dtype == torch.float32 else 0.25
    return None if difference < allowed else f"log-probabilities differ by {difference:.3g} nats"


def _unwrapped(model: Any) -> tuple[Any, AbstractContextManager[Any]]:
    """The module that holds the weights, and the context in which to call it."""
    if isinstance(model, WithoutAdapters):
        return model.model, model.model.disable_adapter()
    return model, nullcontext()


def _causal_model(model: Any) -> Any:
    """The transformers model; adapters of peft are inside its layers."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _text_config(model: Any) -> Any:
    return _causal_model(model).config.get_text_config()
