"""Keys and values of many conversations, a slot each, and attention over one row of packed tokens.

The new tokens of all conversations stand one behind another in a single row, so that no layer computes padding; only
attention, which must look into each slot apart, works on small padded groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

ATTENTION = "sdar_slots"
"""Name under which transformers knows `slot_attention`."""


@dataclass(frozen=True, slots=True)
class Span:
    """New tokens of one slot: `count` of them, the first at position `start`."""

    slot: int
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class _Group:
    """Spans of similar length, which attention takes as one padded batch.

    Attributes:
        tokens: Where in the packed row they stand.
        slots: Theirs, as a slice where they follow one another: then no key is copied.
        rows, width, length: B spans, S queries a span after padding, L keys.
        gather: Padded query to packed token, [B*S]; None if nothing is padded.
        real: Which padded queries are tokens, [T']; None if all are.
        mask: 0 where a query may look, else -inf, [B, 1, S, L].
    """

    tokens: slice
    slots: slice | torch.Tensor
    rows: int
    width: int
    length: int
    gather: torch.Tensor | None
    real: torch.Tensor | None
    mask: torch.Tensor


class SlotCache(Cache):
    """Room for `slots` conversations of at most `room` tokens; `plan` says where the tokens of a forward pass belong.

    Layers are made when first written to, so nothing has to be known of the model.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(layers=[])
        self.device, self.dtype = device, dtype
        self.slots = self.room = 0
        # [slots, room, heads, size] each
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._groups: list[_Group] = []
        self._places = torch.empty(0)

    def resize(self, slots: int, room: int, keep: Sequence[int]) -> None:
        """Make it `slots` times `room`; the old slot `keep[i]` becomes slot i, and all others are forgotten."""
        length = min(room, self.room)
        for tensors in (self._keys, self._values):
            for layer, old in enumerate(tensors):
                # Zeros, not what the memory holds: a masked key still enters as 0 times its value.
                new = old.new_zeros(slots, room, *old.shape[2:])
                new[: len(keep), :length] = old[list(keep), :length]
                tensors[layer] = new
        self.slots, self.room = slots, room

    def clear(self) -> None:
        """Forget everything and give the memory back."""
        self.slots = self.room = 0
        self._keys, self._values, self._groups = [], [], []

    def copy_prefix(self, source: int, target: int, count: int) -> None:
        """The first `count` tokens of a slot, in another as well."""
        for tensor in (*self._keys, *self._values):
            tensor[target, :count] = tensor[source, :count]

    def plan(self, spans: Sequence[Span]) -> torch.Tensor:
        """Prepare a forward pass over the tokens of these spans, packed in this order.

        Args:
            spans: Those of a `bucket` together, in the order of their slots.

        Returns:
            Positions of the tokens, [1, T].
        """
        positions = [span.start + offset for span in spans for offset in range(span.count)]
        places = [span.slot * self.room + span.start + offset for span in spans for offset in range(span.count)]
        self._places = torch.tensor(places, device=self.device)
        self._groups, first = [], 0
        for _, group in groupby(spans, key=lambda span: bucket(span.count)):
            self._groups.append(self._group(tuple(group), first))
            first = self._groups[-1].tokens.stop
        return torch.tensor([positions], device=self.device)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write keys and values [1, heads, T, size] to their places. `slot_attention` reads them from there."""
        for tensors, new in ((self._keys, key_states), (self._values, value_states)):
            packed = new[0].transpose(0, 1)  # [T, heads, size]
            if layer_idx == len(tensors):
                tensors.append(packed.new_zeros(self.slots, self.room, *packed.shape[1:]))
            tensors[layer_idx].view(-1, *packed.shape[1:])[self._places] = packed
        return key_states, value_states

    def attend(self, query: torch.Tensor, layer: int, scaling: float | None) -> torch.Tensor:
        """Attention of packed queries [T, H, D] to their own slots up to their own positions; [T, H, D]."""
        parts = [self._attend_group(group, query[group.tokens], layer, scaling) for group in self._groups]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _attend_group(self, group: _Group, query: torch.Tensor, layer: int, scaling: float | None) -> torch.Tensor:
        keys, values = (
            tensors[layer][group.slots, : group.length].transpose(1, 2) for tensors in (self._keys, self._values)
        )  # [B, K, L, D]
        heads, size, kv_heads = query.shape[1], query.shape[2], keys.shape[1]
        shared = heads // kv_heads
        if group.gather is not None:
            query = query[group.gather]
        # The query heads that share a key head stand below one another: keys are neither repeated nor copied.
        query = query.view(group.rows, group.width, kv_heads, shared, size).permute(0, 2, 3, 1, 4)
        query = query.reshape(group.rows, kv_heads, shared * group.width, size)  # [B, K, nS, D]
        mask = group.mask if shared == 1 or group.width == 1 else group.mask.repeat(1, 1, shared, 1)
        output = scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scaling)
        output = output.view(group.rows, kv_heads, shared, group.width, -1).permute(0, 3, 1, 2, 4)
        output = output.reshape(group.rows * group.width, heads, -1)  # [B*S, H, D]
        return output if group.real is None else output[group.real]

    def _group(self, spans: Sequence[Span], first: int) -> _Group:
        total = sum(span.count for span in spans)
        spans = _without_gaps(spans)
        width = max(span.count for span in spans)
        # A multiple of 8 suits the kernels; what lies beyond a span's own end is masked.
        length = min(self.room, -(-max(span.start + span.count for span in spans) // 8) * 8)
        gather: torch.Tensor | None = None
        real: torch.Tensor | None = None
        starts = torch.tensor([span.start for span in spans], device=self.device)[:, None]
        offsets = torch.arange(width, device=self.device)[None]
        if total != width * len(spans):
            counts = torch.tensor([span.count for span in spans], device=self.device)[:, None]
            real = (offsets < counts).flatten().nonzero().squeeze(1)
            offsets = torch.minimum(offsets, (counts - 1).clamp(min=0))  # padding repeats the last token
            gather = (counts.cumsum(0) - counts + offsets).clamp(max=total - 1).flatten()
        visible = torch.arange(length, device=self.device) <= (starts + offsets)[..., None]  # [B, S, L]
        mask = torch.zeros(visible.shape, dtype=self.dtype, device=self.device).masked_fill_(~visible, float("-inf"))
        return _Group(
            tokens=slice(first, first + total),
            slots=_index([span.slot for span in spans], self.device),
            rows=len(spans),
            width=width,
            length=length,
            gather=gather,
            real=real,
            mask=mask[:, None],
        )


def bucket(count: int) -> int:
    """Spans of one bucket make one group: none is twice as long as another."""
    return count.bit_length()


def _without_gaps(spans: Sequence[Span]) -> Sequence[Span]:
    """With empty spans for the slots between, where each has one token and most of these slots have one.

    To look once at a slot costs as much as to copy it beside the others.
    """
    numbers = {span.slot: span for span in spans}
    reach = range(spans[0].slot, spans[-1].slot + 1)
    if spans[0].count > 1 or len(reach) > 2 * len(spans):
        return spans
    return [numbers.get(slot, Span(slot, 0, 0)) for slot in reach]


def _index(slots: list[int], device: torch.device) -> slice | torch.Tensor:
    if slots == list(range(slots[0], slots[0] + len(slots))):
        return slice(slots[0], slots[0] + len(slots))
    return torch.tensor(slots, device=device)


def slot_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    slot_cache: SlotCache,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in the place of its own attention; query [1, H, T, D], output [1, T, H, D]."""
    for name in ("softcap", "position_bias", "s_aux", "sliding_window"):
        if options.get(name) is not None:
            raise NotImplementedError(f"attention with {name} is not what the slot cache computes")
    return slot_cache.attend(query[0].transpose(0, 1), module.layer_idx, scaling)[None], None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, slot_attention)


@contextmanager
def attending_to_slots(config: Any) -> Iterator[None]:
    """Lets a model attend by `slot_attention` for a while; the trainer's own attention is put back."""
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before
