"""The contract of rollout engines, over all that can run here: the same prompts, the same ids, the same numbers.

`vllm_server` and `openai` run against a fake that speaks the recorded JSON. Those marked `vllm` are the real engine, in
this process and as a server; `.ci/vllm` runs them in an environment of their own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from sdar_agents.backends import Backend, BackendError, BackendSetup, Request
from sdar_agents.backends.hf import HFBackend
from sdar_agents.backends.make import backend_class
from sdar_agents.backends.vllm_worker import EXTENSION
from sdar_agents.backends.weights import has_adapters
from sdar_agents.batch import pad_left, pad_right
from sdar_agents.env_hosts import EnvPool, make_agent_env
from sdar_agents.episode import Completion, Sampling
from sdar_agents.policy import LoraSettings, load_policy, score, with_lora
from sdar_agents.rollout import Assignment, RolloutSettings, play
from sdar_agents.run_log import read_metrics
from sdar_agents.tiny_model import TinyShape, build_model, train_tokenizer
from sdar_agents.tokens import ChatTokenizer
from sdar_agents.train import train
from sdar_gym.prompts import COMPACT
from tests.agents.conftest import write_walker
from tests.agents.fake_vllm import FakeVLLM, serving

MESSAGES = [f"Task: Go to {goal}.\nNow: You are at {here}. Go to {goal}." for goal in range(8) for here in (0, 5)]
GREEDY = Sampling(temperature=0.0, max_tokens=6)
WARM = Sampling(temperature=0.7, max_tokens=6)
CONTEXT = 512
HAS_VLLM = importlib.util.find_spec("vllm") is not None
REAL = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]
KINDS: list[Any] = [
    "hf",
    "vllm_server",
    "openai",
    pytest.param("real vllm", marks=REAL),
    pytest.param("real vllm_server", marks=REAL),
]


@pytest.fixture(scope="module")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with confident opinions; heads of 32, the smallest that vLLM's CPU kernels take."""
    folder = tmp_path_factory.mktemp("policy")
    tokenizer = train_tokenizer([*MESSAGES, "left right stay"], 320)
    shape = TinyShape(hidden=32, layers=2, heads=2, kv_heads=1, head_size=32, feed_forward=64, vocabulary=320)
    model = build_model(shape, tokenizer, seed=0)
    model.config.max_position_embeddings = CONTEXT
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8.0)
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@dataclass
class Engine:
    """An engine under test, and the module whose weights it is given."""

    kind: str
    backend: Backend
    model: Any
    tokenizer: ChatTokenizer

    def generate(self, sampling: Sampling, seeds: list[int], messages: list[str] = MESSAGES) -> list[Completion]:
        prompts = [self.tokenizer.prompt_ids(message) for message in messages]
        return self.backend.generate(prompts, sampling, seeds, messages)

    def said(self, sampling: Sampling, seeds: list[int], messages: list[str] = MESSAGES) -> list[Any]:
        """What can be compared: ids, or text where there are no ids."""
        answers = self.generate(sampling, seeds, messages)
        return [answer.token_ids if self.backend.for_training else answer.text for answer in answers]

    def expected(self, sampling: Sampling, seeds: list[int], model: Any = None) -> list[Any]:
        """The same from the engine in this process."""
        reference = Engine("hf", HFBackend(model or self.model, self.tokenizer), self.model, self.tokenizer)
        answers = reference.generate(sampling, seeds)
        return [answer.token_ids if self.backend.for_training else answer.text for answer in answers]


@contextlib.contextmanager
def real_server(folder: Path, *extra: str) -> Iterator[str]:
    """`vllm serve` in a process of its own; its address."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # What `vllm serve` runs; its command looks for a distribution called vllm, and the CPU build has another name.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--dtype", "float32",
               "--served-model-name", "policy", "--host", "127.0.0.1", "--port", str(port), "--enforce-eager",
               "--logprobs-mode", "processed_logprobs", "--enable-lora", "--max-loras", "2", "--max-lora-rank", "8",
               "--max-model-len", str(CONTEXT), "--worker-extension-cls", EXTENSION, *extra]  # fmt: skip
    settings = {
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**os.environ, **settings}, stdout=output, stderr=output)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


@contextlib.contextmanager
def running(kind: str, folder: Path, *, lora: bool = False) -> Iterator[Engine]:
    """An engine of a kind that has the weights of `folder`, with fresh adapters if asked for."""
    if kind.startswith("real") and not HAS_VLLM:
        pytest.skip("vllm is not installed here: .ci/vllm runs this in an environment of its own")
    model, tokenizer = load_policy(str(folder))
    model = with_lora(model, LoraSettings(rank=4, alpha=8), seed=0) if lora else model
    name = kind.removeprefix("real ")
    with contextlib.ExitStack() as stack:
        settings: list[str] = []
        if kind == "real vllm_server":
            settings = [f"base_url={stack.enter_context(real_server(folder))}", "wait_seconds=240"]
        elif kind == "real vllm":
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
            settings = ["enforce_eager=true", "max_num_seqs=64", f"max_model_len={CONTEXT}"]
        elif name in ("vllm_server", "openai"):
            plain = load_policy(str(folder))[0]
            address = stack.enter_context(serving(FakeVLLM(plain, tokenizer, max_model_len=CONTEXT)))
            settings = [f"base_url={address}/v1", "model=policy"] if name == "openai" else [f"base_url={address}"]
        setup = BackendSetup(model, tokenizer, str(folder))
        backend = backend_class(name).from_setup(setup, settings)
        stack.callback(backend.close)
        if backend.for_training:
            backend.load_weights(model)
        yield Engine(kind, backend, model, tokenizer)


@pytest.fixture(scope="module", params=KINDS)
def engine(request: pytest.FixtureRequest, policy_folder: Path) -> Iterator[Engine]:
    with running(request.param, policy_folder) as made:
        yield made


@contextlib.contextmanager
def changed(engine: Engine, change: Callable[[torch.Tensor], None]) -> Iterator[None]:
    """Other trained weights for a while."""
    before = [parameter.detach().clone() for parameter in engine.model.parameters()]
    with torch.no_grad():
        for parameter in engine.model.parameters():
            if parameter.requires_grad:
                change(parameter)
    engine.backend.load_weights(engine.model)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, old in zip(engine.model.parameters(), before, strict=True):
                parameter.copy_(old)
        engine.backend.load_weights(engine.model)


def nudge(parameter: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(parameter.numel())
    parameter.add_(torch.randn(parameter.shape, generator=generator) * (parameter.std() + 0.1))


def test_the_same_greedy_episode_has_the_same_tokens(engine: Engine) -> None:
    def episodes(backend: Backend) -> list[Any]:
        played = play(
            [Assignment("train/3-7", 0), Assignment("train/2-0", 1)],
            pool=EnvPool(lambda: make_agent_env("sdar_gym/NumberLine-v0", COMPACT)),
            backend=backend,
            tokenizer=engine.tokenizer,
            settings=RolloutSettings("sdar_gym/NumberLine-v0", Sampling(temperature=0.0, max_tokens=4), 200),
            context=None,
            seed="0",
        ).episodes
        if engine.backend.for_training:
            return [[(turn.prompt_ids, turn.completion.token_ids) for turn in episode.turns] for episode in played]
        return [[(turn.prompt_ids, turn.completion.text) for turn in episode.turns] for episode in played]

    assert episodes(engine.backend) == episodes(HFBackend(engine.model, engine.tokenizer))


@pytest.mark.parametrize("sampling", [GREEDY, WARM, Sampling(temperature=1.0, max_tokens=6)])
def test_log_probabilities_are_the_trainers(engine: Engine, sampling: Sampling) -> None:
    if not engine.backend.for_training:
        pytest.skip("gives no log-probabilities of ids")
    answers = engine.generate(sampling, list(range(len(MESSAGES))))
    prompt_ids, prompt_mask = pad_left([engine.tokenizer.prompt_ids(m) for m in MESSAGES], engine.tokenizer.pad_id)
    response_ids, response_mask = pad_right([answer.token_ids for answer in answers], engine.tokenizer.pad_id)
    with torch.no_grad():
        scores = score(
            engine.model,
            prompt_ids=prompt_ids,
            prompt_mask=prompt_mask,
            response_ids=response_ids,
            response_mask=response_mask,
            temperature=sampling.temperature or 1.0,
        )
    for row, answer in zip(scores.logprobs.tolist(), answers, strict=True):
        assert row[: len(answer.logprobs)] == pytest.approx(list(answer.logprobs), abs=2e-4)


def test_a_seed_decides_the_draws_whatever_else_is_under_way(engine: Engine) -> None:
    seeds = [2**64 - 1 - number for number in range(len(MESSAGES))]
    together = engine.said(WARM, seeds)
    assert engine.said(WARM, seeds) == together
    assert engine.said(WARM, seeds[3:4], MESSAGES[3:4]) == together[3:4]
    assert engine.said(WARM, [seed - 1000 for seed in seeds]) != together


def test_responses_come_in_the_order_of_their_prompts(engine: Engine) -> None:
    seeds = [0] * len(MESSAGES)
    forwards, backwards = engine.said(GREEDY, seeds), engine.said(GREEDY, seeds, MESSAGES[::-1])
    assert forwards == backwards[::-1]
    assert len(set(forwards)) > len(MESSAGES) // 2


def test_the_end_token_ends_a_response_and_belongs_to_it(engine: Engine) -> None:
    if not engine.backend.for_training:
        pytest.skip("gives no ids")
    answers = engine.generate(Sampling(temperature=2.0, max_tokens=60), list(range(len(MESSAGES))))
    eos = engine.tokenizer.eos_id
    assert {answer.stopped for answer in answers} == {True, False}
    for answer in answers:
        assert answer.stopped == (answer.token_ids[-1] == eos)
        assert eos not in answer.token_ids[:-1]
        assert answer.stopped or len(answer.token_ids) == 60
        assert answer.text == engine.tokenizer.decode(answer.token_ids)


def test_new_weights_take_effect_at_once(engine: Engine) -> None:
    if not engine.backend.for_training:
        pytest.skip("takes no weights")
    seeds = [0] * len(MESSAGES)
    old = engine.said(GREEDY, seeds)
    with changed(engine, nudge):
        new = engine.said(GREEDY, seeds)
        assert new == engine.expected(GREEDY, seeds)
        # Most differ: nothing was answered from what is remembered of the old weights.
        assert sum(a != b for a, b in zip(old, new, strict=True)) > len(old) // 2
    assert engine.said(GREEDY, seeds) == old


def test_requests_may_come_while_others_are_under_way(engine: Engine) -> None:
    requests = [
        Request(number, engine.tokenizer.prompt_ids(message), GREEDY, 0, message=message)
        for number, message in enumerate(MESSAGES[:4])
    ]
    done: dict[int, Completion] = {}
    for request in requests:
        engine.backend.add(request)
        done |= {finished.id: finished.completion for finished in engine.backend.step()}
    for _ in range(200):
        if len(done) == len(requests):
            break
        done |= {finished.id: finished.completion for finished in engine.backend.step()}
    said = [done[number].token_ids if engine.backend.for_training else done[number].text for number in range(4)]
    assert said == engine.said(GREEDY, [0] * 4, MESSAGES[:4])
    assert engine.backend.step() == []


def test_a_prompt_that_cannot_fit_is_refused_with_the_numbers(engine: Engine) -> None:
    if not engine.backend.for_training:
        pytest.skip("the endpoint decides")
    with pytest.raises(BackendError, match=f"500 tokens.* up to 13 .*513 tokens.*context is {CONTEXT}"):
        engine.backend.add(Request(0, (5,) * 500, Sampling(max_tokens=13), 0))
    assert engine.backend.step() == []


def test_sleeping_and_waking_keeps_what_is_said(engine: Engine) -> None:
    before = engine.said(GREEDY, [0] * len(MESSAGES))
    engine.backend.sleep()
    if engine.backend.for_training:
        engine.backend.load_weights(engine.model)
    engine.backend.wake_up()
    assert engine.said(GREEDY, [0] * len(MESSAGES)) == before


# The last of this fixture: the engine is of no use afterwards.
def test_a_closed_engine_says_so(engine: Engine) -> None:
    if engine.kind == "hf":
        pytest.skip("has nothing to close")
    engine.backend.close()
    with pytest.raises(BackendError, match="closed"):
        engine.backend.step()
    with pytest.raises(BackendError, match="closed"):
        engine.generate(GREEDY, [0], MESSAGES[:1])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("hf", "openai")])
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_training_keeps_the_engine_in_step_with_the_weights(
    kind: str, tuning: str, tmp_path: Path, number_line_config: Any
) -> None:
    if kind.startswith("real") and not HAS_VLLM:
        pytest.skip("vllm is not installed here: .ci/vllm runs this in an environment of its own")
    folder = write_walker(tmp_path, head_size=32)
    model, tokenizer = load_policy(str(folder))
    with contextlib.ExitStack() as stack:
        settings = ("enforce_eager=true", "max_num_seqs=64", f"max_model_len={CONTEXT}")
        if kind == "real vllm_server":
            settings = (
                f"base_url={stack.enter_context(real_server(folder, '--max-lora-rank', '16'))}",
                "wait_seconds=240",
            )
        elif kind == "vllm_server":
            settings = (f"base_url={stack.enter_context(serving(FakeVLLM(model, tokenizer, max_model_len=CONTEXT)))}",)
        # With a teacher there is a gradient even where all members of every group fare alike.
        config = number_line_config(
            "sdar", model=str(folder), backend=kind.removeprefix("real "), backend_options=settings, tuning=tuning,
            learning_rate=3e-3, steps=3, eval_every=3,
        )  # fmt: skip
        train(config, console=Console(quiet=True))
    steps = [row for row in read_metrics(Path(config.run)) if row["kind"] == "train"]
    assert len(steps) == 3
    assert all(row["gradient_norm"] > 0 for row in steps)
    # An engine that is an update behind is off by hundredths.
    assert all(row["sampler_mismatch"] < 1e-4 for row in steps)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "openai"])
def test_adapters_are_synced(kind: str, policy_folder: Path) -> None:
    with running(kind, policy_folder, lora=True) as engine:
        assert has_adapters(engine.model)
        seeds = [0] * len(MESSAGES)
        old = engine.said(GREEDY, seeds)
        assert old == engine.expected(GREEDY, seeds)
        for _ in range(2):
            with changed(engine, nudge):
                new = engine.said(GREEDY, seeds)
                assert new == engine.expected(GREEDY, seeds)
                assert sum(a != b for a, b in zip(old, new, strict=True)) > len(old) // 2
        assert engine.said(GREEDY, seeds) == old
