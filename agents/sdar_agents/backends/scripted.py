"""A backend without a model: a function says the response. For tests and for playing by rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sdar_agents.backends.base import BatchBackend, Request
from sdar_agents.episode import Completion, Sampling
from sdar_agents.tokens import ChatTokenizer


class ScriptedBackend(BatchBackend):
    """Answers each prompt with `respond(prompt text)`.

    Attributes:
        calls: How many prompts each batch held.
    """

    def __init__(self, tokenizer: ChatTokenizer, respond: Callable[[str], str]) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.respond = respond
        self.calls: list[int] = []

    def generate_batch(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        self.calls.append(len(requests))
        texts = [self.respond(self.tokenizer.decode(list(request.prompt_ids))) for request in requests]
        return [self._complete(text, sampling) for text in texts]

    def load_weights(self, model: object) -> None:
        """Nothing to take over: there are no weights."""

    def _complete(self, text: str, sampling: Sampling) -> Completion:
        ids = (*self.tokenizer.text_ids(text), self.tokenizer.eos_id)
        stopped = len(ids) <= sampling.max_tokens
        ids = ids[: sampling.max_tokens]
        return Completion(ids, (0.0,) * len(ids), self.tokenizer.decode(ids), stopped)
