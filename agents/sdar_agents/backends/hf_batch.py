"""Sampling with any transformers model: whole batches with the model's own cache; finished rows leave it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sdar_agents.backends.base import BatchBackend, Request
from sdar_agents.backends.draws import draw
from sdar_agents.batch import pad_left
from sdar_agents.episode import Completion, Sampling
from sdar_agents.tokens import ChatTokenizer


class LockStepEngine(BatchBackend):
    """Takes what is waiting, pads it, and generates until the last row is done: asks nothing of the cache's form."""

    def __init__(self, model: Any, tokenizer: ChatTokenizer, *, max_batch_tokens: int = 65_536) -> None:
        """Args:
        max_batch_tokens: Padded prompt and response tokens that are in flight at once; more is done in turns.
        """
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.max_batch_tokens = max_batch_tokens

    @torch.no_grad()
    def generate_batch(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        prompts = [request.prompt_ids for request in requests]
        seeds = [request.seed for request in requests]
        done: list[Completion | None] = [None] * len(prompts)
        # Rows of like length together: little padding.
        order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
        while order:
            rows = self._next_chunk(order, prompts, sampling)
            order = order[len(rows) :]
            for row, completion in zip(rows, self._generate_chunk(rows, prompts, sampling, seeds), strict=True):
                done[row] = completion
        return [completion for completion in done if completion is not None]

    def _next_chunk(self, order: list[int], prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[int]:
        size = 1
        while size < len(order):
            longest = len(prompts[order[size]]) + sampling.max_tokens
            if longest * (size + 1) > self.max_batch_tokens:
                break
            size += 1
        return order[:size]

    def _generate_chunk(
        self, rows: Sequence[int], prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]
    ) -> list[Completion]:
        device = next(self.model.parameters()).device
        uniforms = np.stack([np.random.default_rng(seeds[row]).random(sampling.max_tokens) for row in rows])
        ids, mask = (tensor.to(device) for tensor in pad_left([prompts[row] for row in rows], self.tokenizer.pad_id))
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)
        tokens: list[list[int]] = [[] for _ in rows]
        logprobs: list[list[float]] = [[] for _ in rows]
        alive = list(range(len(rows)))
        cache, cache_name = None, cache_argument(self.model)
        for step in range(sampling.max_tokens):
            output = self.model(
                input_ids=ids, attention_mask=mask.long(), position_ids=positions,
                use_cache=True, logits_to_keep=1, **{cache_name: cache},
            )  # fmt: skip
            cache = output[cache_name]
            draws = torch.from_numpy(uniforms[alive, step]).to(device)
            chosen, chosen_logprobs = draw(output.logits[:, -1], draws, sampling)
            for row, token, logprob in zip(alive, chosen.tolist(), chosen_logprobs.tolist(), strict=True):
                tokens[row].append(token)
                logprobs[row].append(logprob)
            keep = chosen != self.tokenizer.eos_id
            if not bool(keep.any()):
                break
            if not bool(keep.all()):
                index = keep.nonzero().squeeze(1)
                alive = [alive[position] for position in index.tolist()]
                cache.batch_select_indices(index)
                mask, positions, chosen = mask[index], positions[index], chosen[index]
            ids = chosen[:, None]
            mask = torch.cat([mask, torch.ones_like(ids, dtype=torch.bool)], dim=1)
            positions = positions[:, -1:] + 1
        return [self._completion(row, values) for row, values in zip(tokens, logprobs, strict=True)]

    def _completion(self, ids: list[int], logprobs: list[float]) -> Completion:
        stopped = bool(ids) and ids[-1] == self.tokenizer.eos_id
        return Completion(tuple(ids), tuple(logprobs), self.tokenizer.decode(ids), stopped)


def cache_argument(model: Any) -> str:
    """How a model's `forward`, and its output, call the KV cache: transformers renamed it in 5.24."""
    # Adapters pass everything on to the model inside.
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "cache" if "cache" in inspect.signature(inner.forward).parameters else "past_key_values"
