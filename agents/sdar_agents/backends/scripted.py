"""A backend without a model: a function says the response. For tests and for playing by rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sdar_agents.episode import Completion, Sampling
from sdar_agents.tokens import ChatTokenizer


class ScriptedBackend:
    """Answers each prompt with `respond(prompt text)`.

    Attributes:
        calls: How many prompts each call to `generate` held.
    """

    def __init__(self, tokenizer: ChatTokenizer, respond: Callable[[str], str]) -> None:
        self.tokenizer = tokenizer
        self.respond = respond
        self.calls: list[int] = []

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        self.calls.append(len(prompts))
        return [self._complete(self.respond(self.tokenizer.decode(list(prompt))), sampling) for prompt in prompts]

    def load_weights(self, model: object) -> None:
        """Nothing to take over: there are no weights."""

    def _complete(self, text: str, sampling: Sampling) -> Completion:
        ids = (*self.tokenizer.text_ids(text), self.tokenizer.eos_id)
        stopped = len(ids) <= sampling.max_tokens
        ids = ids[: sampling.max_tokens]
        return Completion(ids, (0.0,) * len(ids), self.tokenizer.decode(ids), stopped)
