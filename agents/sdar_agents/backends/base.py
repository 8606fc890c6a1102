"""The interface of a rollout engine: requests go in when they come up, completions come out when they are done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sdar_agents.episode import Completion, Sampling
from sdar_agents.tokens import ChatTokenizer


class BackendError(RuntimeError):
    """An engine that cannot be used as asked (absent, of a wrong version, not reachable), and how to mend it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One response that is asked for.

    Attributes:
        id: Names the request; no two that are under way share one.
        prompt_ids: Token ids of the whole prompt.
        sampling: How tokens are drawn.
        seed: It alone decides the draws, whatever else the engine is doing.
        conversation: Requests of one number follow one another (the turns of an episode) and mostly begin alike,
            so an engine may keep what it computed for the last; None where nothing of the kind is known.
        message: The user message that the prompt was made of, for engines behind a chat interface, which take text.
    """

    id: int
    prompt_ids: tuple[int, ...]
    sampling: Sampling
    seed: int
    conversation: int | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A request that has its response."""

    id: int
    completion: Completion


@dataclass(frozen=True, slots=True)
class BackendSetup:
    """What an engine is made from.

    Attributes:
        model: The trained module, for engines that share it; None where only an engine with weights of its own will do.
        tokenizer: Of the prompts.
        source: The model's name as it was given: `tiny`, a folder or a hub id.
        dtype: `auto` or a torch name, as the trained module was loaded with.
    """

    model: Any | None
    tokenizer: ChatTokenizer
    source: str
    dtype: str = "auto"


class Backend(ABC):
    """Samples responses for many requests at once.

    Weights reach it by sharing the trained module, or by `load_weights` where it holds its own.

    Attributes:
        shares_module: Whether it generates with the trained module itself.
        for_training: Whether it returns the ids that were sampled, with their log-probabilities.
    """

    shares_module: ClassVar[bool] = False
    for_training: ClassVar[bool] = True

    @classmethod
    def from_setup(cls, setup: BackendSetup, settings: Sequence[str]) -> Backend:
        """An engine for a run.

        Args:
            settings: `NAME=VALUE` each, such as `gpu_memory_utilization=0.4`.

        Raises:
            BackendError: it cannot be used here, and how to mend it; a setting that it does not have.
        """
        raise BackendError(f"{cls.__name__} is made in code, not by name: use another --backend")

    @classmethod
    def tokenizer_source(cls, source: str, settings: Sequence[str]) -> str:
        """The model whose tokenizer makes the prompts; the played model itself, unless an engine hides it."""
        return source

    @abstractmethod
    def add(self, request: Request) -> None:
        """Take a request in; `step` works on it, together with all others.

        Raises:
            BackendError: a prompt that the engine can never serve, such as one longer than its context.
        """

    @abstractmethod
    def step(self) -> list[Finished]:
        """Work for a while (one token each, or until the next response arrives); what was finished by that.

        May return nothing although requests are under way; must return in bounded time.
        """

    def load_weights(self, model: object) -> None:
        """Take over the trained weights; nothing to do where the module is shared.

        Must be called after every change of the weights and while no request is under way: whatever the engine
        remembers of the old weights (such as the keys and values of prompts) is dropped.
        """

    def end(self, conversation: int) -> None:
        """Nothing more will come of a conversation: what is kept for it goes, and a request of it under way too."""

    def sleep(self) -> None:
        """Give the engine's memory back for the time of the update; nothing to do for most."""

    def wake_up(self) -> None:
        """Take the memory again that `sleep` gave back."""

    def close(self) -> None:
        """End processes and connections."""

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seeds: Sequence[int],
        messages: Sequence[str] | None = None,
    ) -> list[Completion]:
        """One response a prompt, in order: all are added, then stepped until the last is done.

        Args:
            prompts: Token ids; lengths may differ.
            seeds: One a prompt.
            messages: The text of each prompt, for engines that take text.
        """
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds")
        texts = messages if messages is not None else [None] * len(prompts)
        for number, (prompt, seed, text) in enumerate(zip(prompts, seeds, texts, strict=True)):
            self.add(Request(number, tuple(prompt), sampling, seed, message=text))
        done: dict[int, Completion] = {}
        while len(done) < len(prompts):
            done |= {finished.id: finished.completion for finished in self.step()}
        return [done[number] for number in range(len(prompts))]


def check_length(request: Request, context: int | None) -> None:
    """Refuse a request whose longest response would not fit.

    Raises:
        BackendError: with the numbers.
    """
    if context is None:
        return
    needed = len(request.prompt_ids) + request.sampling.max_tokens
    if needed > context:
        raise BackendError(
            f"a prompt of {len(request.prompt_ids)} tokens and a response of up to {request.sampling.max_tokens} are "
            f"{needed} tokens, but the engine's context is {context}: lower --max-prompt-tokens or "
            "--max-response-tokens, or raise max_model_len where the model allows it"
        )


class BatchBackend(Backend):
    """A backend that does whole batches: `step` generates for everything that was added since."""

    def __init__(self) -> None:
        self._waiting: list[Request] = []

    def add(self, request: Request) -> None:
        self._waiting.append(request)

    def end(self, conversation: int) -> None:
        self._waiting = [request for request in self._waiting if request.conversation != conversation]

    def step(self) -> list[Finished]:
        requests, self._waiting = self._waiting, []
        finished = []
        # Requests of one sampling make one batch; the order of the first of each.
        for sampling in dict.fromkeys(request.sampling for request in requests):
            batch = [request for request in requests if request.sampling == sampling]
            completions = self.generate_batch(batch, sampling)
            finished += [Finished(r.id, completion) for r, completion in zip(batch, completions, strict=True)]
        return finished

    @abstractmethod
    def generate_batch(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        """One response a request, in order."""
