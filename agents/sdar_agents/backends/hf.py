"""The transformers backend: continuous batching where the model's attention allows it, whole batches elsewhere."""

from __future__ import annotations

from typing import Any

from sdar_agents.backends.base import Backend, BackendError, Finished, Request
from sdar_agents.backends.hf_batch import LockStepEngine
from sdar_agents.backends.hf_continuous import ContinuousEngine
from sdar_agents.tokens import ChatTokenizer


class HFBackend(Backend):
    """Shares the module that is trained, so there are never two sets of weights.

    Every row draws from a generator of its own (its seed), so a row's tokens do not depend on its neighbours
    (up to the rounding of batched kernels).

    Attributes:
        whole_batches_because: Why this model is not batched continuously; None if it is.
    """

    def __init__(self, model: Any, tokenizer: ChatTokenizer, *, max_batch_tokens: int = 65_536) -> None:
        """Args:
        max_batch_tokens: Bound of the memory: prompt and response tokens in flight or kept; more waits its turn.
        """
        self.model = model
        self.whole_batches_because = obstacle(model)
        engine = ContinuousEngine if self.whole_batches_because is None else LockStepEngine
        self._engine: Backend = engine(model, tokenizer, max_batch_tokens=max_batch_tokens)
        self._context = getattr(model.config, "max_position_embeddings", None)

    def add(self, request: Request) -> None:
        needed = len(request.prompt_ids) + request.sampling.max_tokens
        if self._context is not None and needed > self._context:
            raise BackendError(
                f"a prompt of {len(request.prompt_ids)} tokens and a response of {request.sampling.max_tokens} do not "
                f"fit the model's context of {self._context}: lower --max-prompt-tokens or --max-response-tokens"
            )
        self._engine.add(request)

    def step(self) -> list[Finished]:
        return self._engine.step()

    def end(self, conversation: int) -> None:
        self._engine.end(conversation)

    def load_weights(self, model: object) -> None:
        """Nothing to copy, as the module is shared; forgets what was computed with the weights before."""
        if model is not self.model:
            raise ValueError("HFBackend generates with the module it was built on; build another for another model")
        self._engine.load_weights(model)

    def sleep(self) -> None:
        self._engine.sleep()


def obstacle(model: Any) -> str | None:
    """Why a model cannot attend to slots, in words; None if it can.

    It can if all its layers attend to everything before, and it takes its attention function from transformers'
    registry, positions as they are given, and logits of chosen tokens.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = inner.config
    if not getattr(inner, "_supports_attention_backend", False):
        return f"{type(inner).__name__} does not take its attention function from transformers' registry"
    layers = getattr(config, "layer_types", None)
    if layers is not None:
        other = sorted({*layers} - {"full_attention"})
        if other:
            return f"{type(inner).__name__} has layers of {', '.join(other)}"
    elif getattr(config, "sliding_window", None):
        return f"{type(inner).__name__} attends within a window of {config.sliding_window} tokens"
    if getattr(config, "is_encoder_decoder", False):
        return f"{type(inner).__name__} has an encoder"
    return None
