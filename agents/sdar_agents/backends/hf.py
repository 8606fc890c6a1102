"""The transformers backend: continuous batching where the model's attention allows it, whole batches elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sdar_agents.backends.base import Backend, BackendError, BackendSetup, Finished, Request, check_length
from sdar_agents.backends.hf_batch import LockStepEngine
from sdar_agents.backends.hf_continuous import ContinuousEngine
from sdar_agents.backends.options import read_options
from sdar_agents.tokens import ChatTokenizer


@dataclass(frozen=True, slots=True)
class HFOptions:
    """Settings of the engine in this process.

    Attributes:
        max_batch_tokens: Bound of the memory: prompt and response tokens in flight or kept; more waits its turn.
    """

    max_batch_tokens: int = 65_536


class HFBackend(Backend):
    """Shares the module that is trained, so there are never two sets of weights.

    Every row draws from a generator of its own (its seed), so a row's tokens do not depend on its neighbours
    (up to the rounding of batched kernels).

    Attributes:
        whole_batches_because: Why this model is not batched continuously; None if it is.
    """

    shares_module: ClassVar[bool] = True

    @classmethod
    def from_setup(cls, setup: BackendSetup, settings: Sequence[str]) -> HFBackend:
        options = read_options(HFOptions, settings, backend="hf")
        if setup.model is None:
            raise BackendError("the engine `hf` generates with a module in this process, and none was loaded")
        return cls(setup.model, setup.tokenizer, max_batch_tokens=options.max_batch_tokens)

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
        check_length(request, self._context)
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
