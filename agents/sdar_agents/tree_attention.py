"""Attention over prefix trees: who sees whom, in the form that a model's attention takes.

A token of a tree in depth-first order sees itself and its ancestors: the tokens before it whose subtree it lies in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask

TREE_ATTENTION = "sdar_tree"
"""Name among transformers' attention functions: sdpa, and FlexAttention where the mask is a `BlockMask`."""
BLOCK = 128
"""Side of FlexAttention's blocks; sequences for it are a multiple of this long."""

MaskMod = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
Mask = torch.Tensor | BlockMask


def register_tree_attention() -> str:
    """Make `TREE_ATTENTION` known to transformers; its name, for `attn_implementation`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(TREE_ATTENTION, tree_attention)
    AttentionMaskInterface.register(TREE_ATTENTION, sdpa_mask)
    return TREE_ATTENTION


def tree_attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **settings: Any
) -> Any:
    """What transformers has: FlexAttention for a `BlockMask`, else sdpa.

    The choice hangs on the mask and not on a switch, so that a layer that is computed again in the backward pass
    (activation checkpointing) makes the same one.
    """
    from transformers.integrations.flex_attention import flex_attention_forward
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    forward = flex_attention_forward if isinstance(attention_mask, BlockMask) else sdpa_attention_forward
    return forward(module, query, key, value, attention_mask, **settings)


def attention_masks(
    config: Any, positions: torch.Tensor, subtree_end: torch.Tensor, *, dtype: torch.dtype
) -> Mask | dict[str, Mask]:
    """What to pass as `attention_mask`: one mask, or one by the type of layer where some layers see a window.

    Args:
        config: The text model's.
        positions, subtree_end: Of a `Pack`, [B, L].
        dtype: Of the model's activations: where attention adds the mask to its scores, it is of this type.
    """

    def mask(window: int | None) -> Mask:
        return _mask(config._attn_implementation, positions, subtree_end, window=window, dtype=dtype)

    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        # Mistral and its like: all layers see the window, if there is one.
        return mask(window)
    if "sliding_attention" not in kinds:
        return mask(None)
    return {"full_attention": mask(None), "sliding_attention": mask(window)}


def uses_blocks(config: Any, device: torch.device) -> bool:
    """Whether masks are `BlockMask`s. On CPU FlexAttention has no backward pass, so `TREE_ATTENTION` is dense there."""
    kind = config._attn_implementation
    return kind == "flex_attention" or (kind == TREE_ATTENTION and device.type == "cuda")


def _mask(
    implementation: str, positions: torch.Tensor, subtree_end: torch.Tensor, *, window: int | None, dtype: torch.dtype
) -> Mask:
    if implementation == "flex_attention" or (implementation == TREE_ATTENTION and positions.device.type == "cuda"):
        return block_mask(positions, subtree_end, window=window)
    allowed = dense_mask(positions, subtree_end, window=window)
    # sdpa on a CPU would make the sum of a boolean mask in every layer, twice.
    if implementation != "eager" and positions.device.type != "cpu":
        return allowed
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, -torch.inf)


def dense_mask(positions: torch.Tensor, subtree_end: torch.Tensor, *, window: int | None = None) -> torch.Tensor:
    """True where a token (row) sees another (column), [B, 1, L, L] bool.

    Args:
        positions, subtree_end: Of a `Pack`, [B, L].
        window: How many positions a token sees, its own included; all by default.
    """
    index = torch.arange(positions.shape[1], device=positions.device)
    allowed = (index <= index[:, None]) & (index[:, None] < subtree_end[:, None, :])  # [B, L, L]
    if window is not None:
        allowed &= positions[:, :, None] - positions[:, None, :] < window
    return allowed[:, None]


def mask_mod(positions: torch.Tensor, subtree_end: torch.Tensor, *, window: int | None = None) -> MaskMod:
    """The same as `dense_mask`, as FlexAttention asks for it: a function of batch, head, query and key number."""

    def is_seen(batch: torch.Tensor, _: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        seen = (key <= query) & (query < subtree_end[batch, key])
        return seen if window is None else seen & (positions[batch, query] - positions[batch, key] < window)

    return is_seen


def block_mask(positions: torch.Tensor, subtree_end: torch.Tensor, *, window: int | None = None) -> BlockMask:
    """The same as `dense_mask` for FlexAttention, without an [L, L] tensor: blocks are judged by their extremes.

    A block of keys before a block of queries has work if any of its subtrees reaches the first query, and needs no
    mask if all of them reach beyond the last (and the window does too).

    Args:
        positions, subtree_end: Of a `Pack`, [B, L], L a multiple of `BLOCK`.
        window: As in `dense_mask`. Blocks that lie beyond it are masked, not skipped.
    """
    batch, length = positions.shape
    blocks = length // BLOCK
    ends = subtree_end.view(batch, 1, blocks, BLOCK)
    number = torch.arange(blocks, device=positions.device)
    begin = number[:, None] * BLOCK  # of the queries, [blocks, 1]
    before = number < number[:, None]
    has_work = (before & (ends.amax(-1) > begin)) | (number == number[:, None])  # [B, blocks, blocks]
    is_full = before & (ends.amin(-1) >= begin + BLOCK)
    if window is not None:
        depth = positions.view(batch, blocks, BLOCK)
        is_full &= depth.amax(-1)[:, :, None] - depth.amin(-1)[:, None, :] < window
    return BlockMask.from_kv_blocks(
        *_ordered(has_work & ~is_full),
        *_ordered(is_full),
        BLOCK_SIZE=BLOCK,
        mask_mod=mask_mod(positions, subtree_end, window=window),
        seq_lengths=(length, length),
    )


def _ordered(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Number and indices (those that count first) of the True blocks of each row, [B, 1, n] and [B, 1, n, n] int32."""
    indices = torch.argsort(blocks.int(), dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32)[:, None], indices.to(torch.int32)[:, None]
