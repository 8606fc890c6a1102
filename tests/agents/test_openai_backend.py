"""OpenAI-compatible endpoints: messages in, text out, patience with busy servers, and no training."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdar_agents.backends import BackendError
from sdar_agents.backends.openai import OpenAIBackend, OpenAIOptions
from sdar_agents.cli import main
from sdar_agents.episode import Completion, Sampling
from sdar_agents.policy import load_policy
from sdar_agents.setup import set_up
from sdar_agents.tokens import ChatTokenizer
from tests.agents.fake_vllm import FakeVLLM, serving

SAMPLING = Sampling(temperature=0.5, max_tokens=4)


@pytest.fixture(scope="module")
def parts(number_line_model: Path) -> tuple[Any, ChatTokenizer]:
    return load_policy(str(number_line_model))


Connect = Callable[..., contextlib.AbstractContextManager[tuple[OpenAIBackend, FakeVLLM, list[float]]]]


@pytest.fixture
def connect(parts: tuple[Any, ChatTokenizer]) -> Connect:
    @contextlib.contextmanager
    def connected(**options: Any) -> Iterator[tuple[OpenAIBackend, FakeVLLM, list[float]]]:
        server, pauses = FakeVLLM(*parts), list[float]()
        with serving(server) as address:
            settings = OpenAIOptions(**({"model": "policy", "base_url": f"{address}/v1"} | options))
            backend = OpenAIBackend(parts[1], settings, pause=pauses.append)
            try:
                yield backend, server, pauses
            finally:
                backend.close()

    return connected


def generate(backend: OpenAIBackend, count: int = 1) -> list[Completion]:
    message = "Task: Go to 7.\nNow: You are at 3. Go to 7."
    prompt = backend.tokenizer.prompt_ids(message)
    return backend.generate([prompt] * count, SAMPLING, list(range(count)), [message] * count)


def test_the_message_goes_as_one_user_turn(connect: Connect) -> None:
    with connect() as (backend, server, _):
        generate(backend)
        (sent,) = [body for _, body in server.calls]
    assert sent["messages"] == [{"role": "user", "content": "Task: Go to 7.\nNow: You are at 3. Go to 7."}]
    assert (sent["temperature"], sent["max_completion_tokens"], sent["seed"]) == (0.5, 4, 0)
    assert "logprobs" not in sent


def test_fields_that_endpoints_differ_in_can_be_set(connect: Connect) -> None:
    with connect(length_field="max_tokens", seed=False, logprobs=True) as (backend, server, _):
        generate(backend)
        (sent,) = [body for _, body in server.calls]
    assert sent["max_tokens"] == 4
    assert sent["logprobs"] is True
    assert not {"seed", "max_completion_tokens"} & sent.keys()


def test_log_probabilities_are_unavailable_unless_the_endpoint_gives_them(connect: Connect) -> None:
    with connect() as (backend, _, _):
        (answer,) = generate(backend)
        assert answer.token_ids == backend.tokenizer.text_ids(answer.text)
        assert len(answer.logprobs) == len(answer.token_ids)
        assert all(math.isnan(value) for value in answer.logprobs)
    with connect(logprobs=True) as (backend, _, _):
        answers = generate(backend, 8)
        # Given where the endpoint's tokens are ours one by one.
        assert any(answer.logprobs and all(value <= 0 for value in answer.logprobs) for answer in answers)


def test_a_busy_endpoint_is_asked_again_after_growing_pauses(connect: Connect) -> None:
    with connect() as (backend, server, pauses):
        server.failures = [429, 503, 500]
        assert len(generate(backend)) == 1
        assert backend.usage.retries == 3
    # Half to all of 1, 2, 4 seconds.
    assert [0.5 * 2**n <= pause <= 2**n for n, pause in enumerate(pauses)] == [True] * 3


def test_a_pause_that_the_endpoint_asks_for_is_kept(connect: Connect) -> None:
    with connect() as (backend, server, pauses):
        server.failures, server.retry_after = [429], "7"
        generate(backend)
    assert pauses == [7.0]


def test_patience_ends(connect: Connect) -> None:
    with connect(retries=2) as (backend, server, pauses):
        server.failures = [429] * 3
        with pytest.raises(BackendError, match="answers 429: busy; given up after 2 retries"):
            generate(backend)
        assert len(pauses) == 2


@pytest.mark.parametrize(("status", "words"), [(401, "variable OPENAI_API_KEY"), (404, "/v1"), (400, "length_field")])
def test_what_does_not_pass_is_not_asked_again(connect: Connect, status: int, words: str) -> None:
    with connect() as (backend, server, pauses):
        server.failures = [status]
        with pytest.raises(BackendError, match=words):
            generate(backend)
        assert not pauses


def test_usage_is_counted(connect: Connect) -> None:
    with connect() as (backend, _, _):
        answers = generate(backend, 3)
        assert backend.usage.requests == 3
        assert backend.usage.prompt_tokens == 3 * backend.tokenizer.count("Task: Go to 7.\nNow: You are at 3. Go to 7.")
        assert backend.usage.completion_tokens >= sum(len(answer.token_ids) for answer in answers)


def test_the_key_comes_from_its_variable_and_shows_nowhere(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    with connect(api_key_variable="MY_KEY") as (backend, server, _):
        generate(backend)
        assert server.authorizations == {"Bearer sk-secret"}
        server.failures = [401]
        with pytest.raises(BackendError) as raised:
            generate(backend)
    assert "sk-secret" not in f"{raised.value}{backend.options}{vars(backend)}"


def test_no_key_is_sent_where_none_is_set(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with connect() as (backend, server, _):
        generate(backend)
        assert server.authorizations == {None}


def test_a_request_without_its_message_is_refused(connect: Connect) -> None:
    with connect() as (backend, _, _), pytest.raises(BackendError, match="takes text"):
        backend.generate([(5, 6)], SAMPLING, [0])


def test_training_refuses_it(number_line_config: Any) -> None:
    config = replace(number_line_config("grpo"), backend="openai", backend_options=("model=gpt",))
    with pytest.raises(BackendError, match=r"without the sampled token ids.*train with hf, vllm or vllm_server"):
        set_up(config, resume=False)


def evaluated(file: Path, *arguments: str) -> dict[str, Any]:
    """What `sdar-gym eval` writes for a greedy player of the number line."""
    settings = {"env": "sdar_gym/NumberLine-v0", "episodes": "4", "panel": "valid", "prompt-style": "compact",
                "max-prompt-tokens": "200", "max-response-tokens": "4", "temperature": "0"}  # fmt: skip
    options = [word for name, value in settings.items() for word in (f"--{name}", value)]
    main(["eval", *options, "--json", str(file), *arguments])
    result: dict[str, Any] = json.loads(file.read_text())
    return {name: result[name] for name in ("agent", "n", "success_rate", "turns_mean")}


def test_eval_plays_endpoints_and_servers_as_it_plays_the_model(
    parts: tuple[Any, ChatTokenizer], tmp_path: Path, number_line_model: Path
) -> None:
    file, folder = tmp_path / "result.json", str(number_line_model)
    here = evaluated(file, "--agent", folder)
    with serving(FakeVLLM(*parts)) as address:
        endpoint = [f"base_url={address}/v1", f"tokenizer={folder}"]
        there = evaluated(file, "--agent", "openai:policy", "--backend-options", *endpoint)
        served = evaluated(
            file, "--agent", folder, "--backend", "vllm_server", "--backend-options", f"base_url={address}"
        )
    assert there == here | {"agent": "openai:policy"}
    assert served == here


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--agent", "tiny", "--backend", "openai"], "--agent openai:MODEL"),
        (["--agent", "oracle", "--backend", "vllm"], "plays by rule and needs no --backend"),
        (["--agent", "tiny", "--backend", "vlm"], "unknown backend 'vlm'; did you mean 'vllm'"),
    ],
)
def test_engines_that_cannot_be_meant_are_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["eval", *arguments])
    assert words in " ".join(capsys.readouterr().err.split())
