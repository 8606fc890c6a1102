"""Continuous batching with a transformers model: each `step` is one forward pass for whoever has tokens to compute.

transformers' own continuous batching (`generate_batch`, 5.24) is not used: it draws from one generator for all
requests, so a row depends on its neighbours; it knows no conversations; and on a CPU one call took 12 times as long as
`generate`, the start of its manager included, where this engine took half as long (64 prompts, the bundled model).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sdar_agents.backends.base import Backend, Finished, Request
from sdar_agents.backends.draws import draw
from sdar_agents.backends.hf_batch import cache_argument
from sdar_agents.backends.slot_cache import SlotCache, Span, attending_to_slots, bucket
from sdar_agents.episode import Completion
from sdar_agents.tokens import ChatTokenizer

ROOM_STEP = 128
"""Slots grow by this many tokens, so that a history that gets longer by the turn seldom moves everything."""
WORTH_WAITING = 16
"""A request waits a step for another's prompt if that spares it at least this many tokens."""


@dataclass(slots=True)
class _Row:
    """A response under way.

    Attributes:
        slot: Where its keys and values are.
        length: How many tokens of it are there.
        new: Ids to compute next: what is left of the prompt, then the last drawn.
    """

    request: Request
    slot: int
    length: int
    new: tuple[int, ...]
    uniforms: np.ndarray[Any, np.dtype[np.float64]]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Slot:
    """What a slot holds: the `length` first of `ids` are computed; kept for a conversation when its row has left.

    Attributes:
        used: Number of the step that last worked on it.
    """

    conversation: int | None = None
    row: _Row | None = None
    length: int = 0
    used: int = 0


class ContinuousEngine(Backend):
    """Rows join when they are asked for and leave when they are done.

    A slot keeps the keys and values of its conversation, and only what follows the common beginning is computed for
    the next prompt. A new conversation copies the longest beginning that any slot holds: the members of a group
    compute their first prompt once. Slots times their length stay below `max_batch_tokens` (a request that is longer
    by itself is served alone); where all are busy requests wait in order, and the conversation that has been silent
    for longest gives its slot up first.

    Args:
        max_batch_tokens: Bound of the tokens held.
        max_step_tokens: Bound of the tokens of one forward pass; a longer prompt goes through alone. By default
            8,192, on a CPU 1,024: there more at once falls out of its caches and takes a sixth longer.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: ChatTokenizer,
        *,
        max_batch_tokens: int = 65_536,
        max_step_tokens: int | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_batch_tokens = max_batch_tokens
        self.computed_tokens = 0
        """Tokens that went through the model so far."""
        parameter = next(model.parameters())
        self.max_step_tokens = max_step_tokens or (1_024 if parameter.device.type == "cpu" else 8_192)
        self._cache = SlotCache(parameter.device, parameter.dtype)
        self._cache_name = cache_argument(model)
        self._waiting: list[Request] = []
        self._slots: list[_Slot] = []
        self._ids = np.zeros((0, 0), dtype=np.int64)  # [slots, room]
        self._step = 0

    def add(self, request: Request) -> None:
        self._waiting.append(request)

    @torch.no_grad()
    def step(self) -> list[Finished]:
        self._step += 1
        self._admit()
        # As the cache wants them: alike ones together, in the order of their slots.
        rows = [slot.row for slot in self._slots if slot.row is not None]
        rows.sort(key=lambda row: (bucket(len(row.new)), row.slot))
        if not rows:
            return []
        logits = self._forward(rows)  # [B, V]
        finished = []
        for row in self._draw(rows, logits):
            finished.append(Finished(row.request.id, self._completion(row)))
            self._release(row)
        return finished

    def end(self, conversation: int) -> None:
        self._waiting = [request for request in self._waiting if request.conversation != conversation]
        for number, slot in enumerate(self._slots):
            if slot.conversation == conversation:
                self._slots[number] = _Slot()
        # Between rollouts the memory is the trainer's, and every rollout starts from the same state.
        if not self._waiting and all(slot.row is None and slot.conversation is None for slot in self._slots):
            self.sleep()

    def load_weights(self, model: object) -> None:
        if self._waiting or any(slot.row is not None for slot in self._slots):
            raise RuntimeError("weights change while requests are under way: finish or end these first")
        self.sleep()

    def sleep(self) -> None:
        self._cache.clear()
        self._slots, self._ids = [], np.zeros((0, 0), dtype=np.int64)

    # ---- who gets a slot ---------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Give slots to waiting requests, in order, as long as there is room for their tokens."""
        budget = self.max_step_tokens - sum(slot.row is not None for slot in self._slots)
        left, joined = list[Request](), list[_Row]()
        for position, request in enumerate(self._waiting):
            if budget <= 0 or not self._make_room(request, len(self._waiting) - position):
                left += self._waiting[position:]
                break
            reused, source = self._longest_beginning(request, joined)
            if source is None:
                left.append(request)
                continue
            row = self._seat(request, reused, source)
            joined.append(row)
            budget -= len(row.new)
        self._waiting = left

    def _make_room(self, request: Request, waiting: int) -> bool:
        """Whether there is a slot for it that is long enough, perhaps after a change of their form."""
        busy = [slot.row is not None for slot in self._slots]
        needed = len(request.prompt_ids) + request.sampling.max_tokens
        room = self._cache.room
        if needed > room:
            room = max(needed, min(-(-needed // ROOM_STEP) * ROOM_STEP, self.max_batch_tokens))
        limit = max(1, self.max_batch_tokens // room)
        if sum(busy) >= limit:
            return False
        if room == self._cache.room and (not all(busy) or len(self._slots) >= limit):
            return True
        wanted = max(len(self._slots), sum(busy) + waiting)
        self._resize(min(limit, wanted), room)
        return True

    def _resize(self, count: int, room: int) -> None:
        # Rows under way first, then what was used last; in the old order, which keeps neighbours together.
        ranked = sorted(range(len(self._slots)), key=lambda number: self._rank(self._slots[number]))
        keep = sorted(ranked[:count])
        self._cache.resize(count, room, keep)
        ids = np.zeros((count, room), dtype=np.int64)
        length = min(room, self._ids.shape[1])
        ids[: len(keep), :length] = self._ids[keep, :length]
        self._ids = ids
        self._slots = [self._slots[number] for number in keep] + [_Slot() for _ in range(count - len(keep))]
        for number, slot in enumerate(self._slots):
            if slot.row is not None:
                slot.row.slot = number

    @staticmethod
    def _rank(slot: _Slot) -> tuple[bool, bool, int]:
        return slot.row is None, slot.conversation is None, -slot.used

    def _longest_beginning(self, request: Request, joined: list[_Row]) -> tuple[int, int | None]:
        """How much of a prompt is computed already, and in which slot; no slot if it is better to wait a step."""
        prompt = np.asarray(request.prompt_ids)
        same = self._ids[:, : len(prompt)] == prompt
        common = np.where(same.all(1), len(prompt), same.argmin(1))
        computed = np.array([slot.length for slot in self._slots])
        # The last token always is computed: its logits are what the first draw is made from.
        available = np.minimum(np.minimum(common, computed), len(prompt) - 1)
        own = self._slot_of(request.conversation)
        source = own if own is not None else int(available.argmax())
        reused = int(available[source])
        # By row: a longer request may have renumbered the slots since.
        soon = max((int(common[row.slot]) for row in joined), default=0)
        return reused, None if min(soon, len(prompt) - 1) - reused >= WORTH_WAITING else source

    def _slot_of(self, conversation: int | None) -> int | None:
        if conversation is None:
            return None
        return next((n for n, slot in enumerate(self._slots) if slot.conversation == conversation), None)

    def _seat(self, request: Request, reused: int, source: int) -> _Row:
        number = self._slot_of(request.conversation)
        if number is None:
            # An unused slot, else the one that was silent for longest.
            free = [n for n, slot in enumerate(self._slots) if slot.row is None]
            number = min(free, key=lambda n: (self._slots[n].conversation is not None, self._slots[n].used, n))
        if number != source and reused:
            self._cache.copy_prefix(source, number, reused)
        prompt = request.prompt_ids
        uniforms = np.random.default_rng(request.seed).random(request.sampling.max_tokens)
        row = _Row(request, number, reused, tuple(prompt[reused:]), uniforms)
        self._slots[number] = _Slot(request.conversation, row, reused, self._step)
        self._ids[number, : len(prompt)] = prompt
        return row

    def _release(self, row: _Row) -> None:
        slot = self._slots[row.slot]
        slot.row = None
        if slot.conversation is None:
            self._slots[row.slot] = _Slot()

    # ---- one forward pass --------------------------------------------------------------------------------

    def _forward(self, rows: list[_Row]) -> torch.Tensor:
        positions = self._cache.plan([Span(row.slot, row.length, len(row.new)) for row in rows])
        packed = [token for row in rows for token in row.new]
        last = np.cumsum([len(row.new) for row in rows]) - 1
        device = self._cache.device
        inner = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        with attending_to_slots(inner.config):
            output = self.model(
                input_ids=torch.tensor([packed], device=device),
                position_ids=positions,
                use_cache=True,
                logits_to_keep=torch.from_numpy(last).to(device),
                slot_cache=self._cache,
                **{self._cache_name: self._cache},
            )
        self.computed_tokens += len(packed)
        for row in rows:
            end = row.length + len(row.new)
            self._ids[row.slot, row.length : end] = row.new
            row.length = self._slots[row.slot].length = end
            self._slots[row.slot].used = self._step
        logits: torch.Tensor = output.logits[0]
        return logits

    def _draw(self, rows: list[_Row], logits: torch.Tensor) -> list[_Row]:
        """Draw a token for every row; those that are done by it."""
        done = []
        for sampling in dict.fromkeys(row.request.sampling for row in rows):
            index = [number for number, row in enumerate(rows) if row.request.sampling == sampling]
            chosen = logits if len(index) == len(rows) else logits[index]
            uniforms = torch.tensor([rows[n].uniforms[len(rows[n].tokens)] for n in index], dtype=torch.float64)
            tokens, logprobs = draw(chosen, uniforms.to(logits.device), sampling)
            for number, token, logprob in zip(index, tokens.tolist(), logprobs.tolist(), strict=True):
                row = rows[number]
                row.tokens.append(token)
                row.logprobs.append(logprob)
                row.new = (token,)
                if token == self.tokenizer.eos_id or len(row.tokens) == sampling.max_tokens:
                    done.append(row)
        return done

    def _completion(self, row: _Row) -> Completion:
        stopped = row.tokens[-1] == self.tokenizer.eos_id
        return Completion(tuple(row.tokens), tuple(row.logprobs), self.tokenizer.decode(row.tokens), stopped)
