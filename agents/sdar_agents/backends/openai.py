"""Any endpoint with OpenAI's chat completions: text in, text out, for evaluation only."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sdar_agents.backends.base import Backend, BackendError, BackendSetup, Finished, Request
from sdar_agents.backends.options import read_options
from sdar_agents.backends.wire import InFlight, JsonClient, RefusedError, UnreachableError
from sdar_agents.episode import Completion
from sdar_agents.tokens import ChatTokenizer

PASSING = (408, 409, 429, 500, 502, 503, 504, 529)
"""Statuses that pass by themselves."""
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class OpenAIOptions:
    """Settings of the connection.

    Attributes:
        model: Name at the endpoint; `--agent openai:MODEL` sets it.
        base_url: Up to and with `/v1`.
        api_key_variable: Environment variable that holds the key; none is sent where it is not set.
        concurrency: Requests in flight at once.
        timeout_seconds: Longest wait for an answer.
        retries: How often a request is sent again after 429, 5xx or a lost connection.
        length_field: How the endpoint calls the longest response.
        logprobs: Ask for log-probabilities; not every endpoint gives them.
        seed: Send the seed; not every endpoint takes one, and none promises the same answer.
        tokenizer: A model whose tokenizer counts tokens for the prompt's budget: `tiny`, a folder or a hub id.
    """

    model: str = ""
    base_url: str = "https://api.openai.com/v1"
    api_key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 16
    timeout_seconds: float = 300.0
    retries: int = 6
    length_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    logprobs: bool = False
    seed: bool = True
    tokenizer: str = "tiny"


@dataclass(slots=True)
class Usage:
    """What the endpoint says it counted; `retries` are ours."""

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class OpenAIBackend(Backend):
    """Sends each request's message as one user message.

    A completion's token ids are those of our tokenizer for the answered text, for counting only. Its log-probabilities
    are the endpoint's where it gave one for each of these ids, else NaN: unavailable. Training refuses this engine.

    Attributes:
        usage: What was asked so far.
    """

    for_training: ClassVar[bool] = False

    @classmethod
    def from_setup(cls, setup: BackendSetup, settings: Sequence[str]) -> OpenAIBackend:
        return cls(setup.tokenizer, read_options(OpenAIOptions, settings, backend="openai"))

    @classmethod
    def tokenizer_source(cls, source: str, settings: Sequence[str]) -> str:
        return read_options(OpenAIOptions, settings, backend="openai").tokenizer

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        options: OpenAIOptions,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Args:
        pause: Waits so many seconds; replaced in tests.
        """
        if not options.model:
            raise BackendError("which model? write --agent openai:MODEL, or --backend-options model=MODEL")
        self.tokenizer = tokenizer
        self.options = options
        self.usage = Usage()
        self._pause = pause
        self._lock = threading.Lock()
        self._jitter = random.Random(0)
        key = os.environ.get(options.api_key_variable)
        self._client = JsonClient(options.base_url, timeout_seconds=options.timeout_seconds, api_key=key)
        self._in_flight = InFlight(options.concurrency)
        self._is_closed = False

    def add(self, request: Request) -> None:
        self._check_open()
        if request.message is None:
            raise BackendError("the engine openai takes text: the request has token ids but no message")
        self._in_flight.submit(request.id, lambda: self._complete(request))

    def step(self) -> list[Finished]:
        self._check_open()
        return self._in_flight.wait()

    def load_weights(self, model: object) -> None:
        raise BackendError("an OpenAI-compatible endpoint takes no weights: train with hf, vllm or vllm_server")

    def close(self) -> None:
        self._is_closed = True
        self._in_flight.close()
        self._client.close()

    def _complete(self, request: Request) -> Completion:
        answer = self._ask(self._body(request))
        choice = answer["choices"][0]
        # A refusal or a response that was all reasoning has no content.
        text = str(choice["message"].get("content") or "")
        ids = self.tokenizer.text_ids(text)
        return Completion(ids, self._logprobs(choice, len(ids)), text, choice.get("finish_reason") != "length")

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.options.model,
            "messages": [{"role": "user", "content": request.message}],
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            self.options.length_field: request.sampling.max_tokens,
        }
        if self.options.seed:
            # Some endpoints take 32 bits only.
            body["seed"] = request.seed & 0x7FFF_FFFF
        if self.options.logprobs:
            body["logprobs"] = True
        return body

    def _logprobs(self, choice: dict[str, Any], length: int) -> tuple[float, ...]:
        given = (choice.get("logprobs") or {}).get("content") or ()
        values = tuple(float(token["logprob"]) for token in given)
        # The end token has no text, so it is not among our ids.
        values = values[:length] if len(values) == length + 1 else values
        return values if len(values) == length else (float("nan"),) * length

    def _ask(self, body: dict[str, Any]) -> Any:
        for attempt in range(self.options.retries + 1):
            try:
                answer = self._client.post("/chat/completions", body)
                self._count(answer.get("usage") or {})
                return answer
            except (RefusedError, UnreachableError) as error:
                if isinstance(error, RefusedError) and error.status not in PASSING:
                    raise self._explained(error) from error
                if attempt == self.options.retries:
                    raise BackendError(f"{error}; given up after {attempt} retries") from error
                self._pause(self._delay(attempt, getattr(error, "retry_after", None)))
        raise AssertionError("unreachable")

    def _explained(self, error: RefusedError) -> BackendError:
        if error.status in (401, 403):
            return BackendError(f"{error}; the key is read from the variable {self.options.api_key_variable}")
        if error.status == 404:
            return BackendError(f"{error}; base_url ends with /v1 for most endpoints, and model must be served there")
        if error.status == 400:
            return BackendError(
                f"{error}; endpoints differ: see the settings length_field, seed and logprobs in docs/backends.md"
            )
        return error

    def _delay(self, attempt: int, asked: float | None) -> float:
        with self._lock:
            self.usage.retries += 1
            spread = self._jitter.uniform(0.5, 1.0)
        return asked if asked is not None else min(LONGEST_PAUSE_SECONDS, 2.0**attempt) * spread

    def _count(self, usage: dict[str, Any]) -> None:
        with self._lock:
            self.usage.requests += 1
            self.usage.prompt_tokens += int(usage.get("prompt_tokens") or 0)
            self.usage.completion_tokens += int(usage.get("completion_tokens") or 0)

    def _check_open(self) -> None:
        if self._is_closed:
            raise BackendError("the connection to the endpoint is closed: make another")
