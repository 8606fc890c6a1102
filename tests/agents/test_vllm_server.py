"""The connection to `vllm serve`: what it insists on, what it says when something is wrong, how it stays busy."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdar_agents.backends import BackendError, BackendSetup
from sdar_agents.backends.vllm import temporary_folder
from sdar_agents.backends.vllm_server import VLLMServerBackend, VLLMServerOptions
from sdar_agents.backends.vllm_worker import EXTENSION, WeightSync
from sdar_agents.episode import Sampling
from sdar_agents.policy import LoraSettings, load_policy, with_lora
from sdar_agents.tiny_model import train_tokenizer
from sdar_agents.tokens import ChatTokenizer
from tests.agents.fake_vllm import FakeVLLM, serving

GOLDEN = json.loads((Path(__file__).parent / "golden" / "vllm_0.32_wire.json").read_text(encoding="utf-8"))
SAMPLING = Sampling(max_tokens=4)


@pytest.fixture(scope="module")
def parts(number_line_model: Path) -> tuple[Any, ChatTokenizer]:
    return load_policy(str(number_line_model))


Connect = Callable[..., contextlib.AbstractContextManager[tuple[VLLMServerBackend, FakeVLLM]]]


@pytest.fixture
def connect(parts: tuple[Any, ChatTokenizer]) -> Connect:
    @contextlib.contextmanager
    def connected(options: dict[str, Any] | None = None, **fake: Any) -> Iterator[tuple[VLLMServerBackend, FakeVLLM]]:
        server = FakeVLLM(*parts, **fake)
        with serving(server) as address:
            backend = VLLMServerBackend(parts[1], VLLMServerOptions(base_url=address, **(options or {})))
            try:
                yield backend, server
            finally:
                backend.close()

    return connected


def generate(backend: VLLMServerBackend, count: int = 1) -> list[Any]:
    prompt = backend.tokenizer.prompt_ids("Go to 7.")
    return backend.generate([prompt] * count, SAMPLING, list(range(count)))


def shape(value: Any) -> Any:
    """The kind of a JSON value: keys and types, whatever the numbers and texts."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def fits(fake: Any, real: Any) -> bool:
    """Whether each thing that the fake says is one that the real server says, by the same name and of the same kind."""
    if isinstance(fake, dict) and isinstance(real, dict):
        # Keys that are texts of tokens differ; a stop reason is there only after a stop.
        differing = ("top_logprobs", "stop_reason")
        return all(key in real and (key in differing or fits(inner, real[key])) for key, inner in fake.items())
    if isinstance(fake, list) and isinstance(real, list):
        return not fake or not real or fits(fake[0], real[0])
    return bool(fake == real)


@pytest.mark.parametrize("recorded", GOLDEN, ids=lambda exchange: f"{exchange['path']} {exchange['status']}")
def test_the_fake_speaks_what_was_recorded(
    recorded: dict[str, Any], parts: tuple[Any, ChatTokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdar_agents.backends.wire import JsonClient, RefusedError

    fake = FakeVLLM(*parts, device="cpu" if "and_head" in str(recorded["body"]) else "cuda")
    monkeypatch.setattr(fake, "reload", lambda body: None)
    monkeypatch.setattr(fake, "adapt", lambda body: parts[0])
    if recorded["path"] == "/v1/unload_lora_adapter":
        fake.add_adapter("b", parts[0])
    with serving(fake) as address:
        client = JsonClient(address, timeout_seconds=10)
        body, status = recorded["body"], 200
        try:
            answer = client.get(recorded["path"]) if body is None else client.post(recorded["path"], body)
        except RefusedError as error:
            answer, status = recorded["answer"], error.status
        finally:
            client.close()
    assert status == recorded["status"]
    assert fits(shape(answer), shape(recorded["answer"])), (shape(answer), shape(recorded["answer"]))


def test_what_is_read_from_an_answer_is_in_the_recorded_one() -> None:
    answer = next(e for e in GOLDEN if e["path"] == "/v1/completions")["answer"]["choices"][0]
    assert len(answer["token_ids"]) == len(answer["logprobs"]["token_logprobs"]) == 3


def test_what_is_sent_is_what_was_recorded(connect: Connect) -> None:
    recorded = next(e for e in GOLDEN if e["path"] == "/v1/completions")["body"]
    with connect() as (backend, server):
        generate(backend)
        sent = [body for path, body in server.calls if path == "/v1/completions"][-1]
    assert sent.keys() == recorded.keys()


def test_a_server_that_is_not_there_is_an_error_with_its_address(parts: tuple[Any, ChatTokenizer]) -> None:
    options = VLLMServerOptions(base_url="http://127.0.0.1:9")
    with pytest.raises(BackendError, match=r"no answer from http://127.0.0.1:9 .*base_url"):
        VLLMServerBackend(parts[1], options)


def test_an_address_that_is_none_is_refused(parts: tuple[Any, ChatTokenizer]) -> None:
    with pytest.raises(BackendError, match="localhost:8000 is not an address: write such as http"):
        VLLMServerBackend(parts[1], VLLMServerOptions(base_url="localhost:8000"))


@pytest.mark.parametrize(("version", "words"), [("0.19.1", "too old"), ("0.99.0", "newer than"), ("dev", "not a")])
def test_a_server_of_a_wrong_version_is_refused_with_the_fix(connect: Connect, version: str, words: str) -> None:
    with pytest.raises(BackendError, match=rf'{words}.*pip install "vllm>=0\.20,<0\.34"'), connect(version=version):
        pass


def test_a_newer_server_can_be_tried(connect: Connect) -> None:
    with connect({"any_version": True}, version="0.99.0") as (backend, _):
        assert len(generate(backend)) == 1


def test_another_model_is_refused(connect: Connect) -> None:
    with pytest.raises(BackendError, match=r"serves policy, not 'qwen'.*model=NAME"), connect({"model": "qwen"}):
        pass


def test_another_tokenizer_is_refused(parts: tuple[Any, ChatTokenizer]) -> None:
    other = train_tokenizer(["quite another text, with eggs and fridges"], 320)
    with serving(FakeVLLM(*parts)) as address, pytest.raises(BackendError, match="model mismatch"):
        VLLMServerBackend(other, VLLMServerOptions(base_url=address))


def test_raw_log_probabilities_are_refused(connect: Connect) -> None:
    with pytest.raises(BackendError, match="--logprobs-mode processed_logprobs"), connect(processed=False):
        pass


def test_weights_need_the_development_endpoints(connect: Connect, parts: tuple[Any, ChatTokenizer]) -> None:
    with connect(dev_mode=False) as (backend, _):
        assert len(generate(backend)) == 1
        with pytest.raises(BackendError, match="VLLM_SERVER_DEV_MODE=1"):
            backend.load_weights(parts[0])


def test_adapters_need_runtime_updating(connect: Connect, number_line_model: Path) -> None:
    lora = with_lora(load_policy(str(number_line_model))[0], LoraSettings(rank=2, alpha=2), seed=0)
    with (
        connect(dev_mode=False) as (backend, _),
        pytest.raises(BackendError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, --enable-lora"),
    ):
        backend.load_weights(lora)


def test_a_server_on_cpu_needs_the_extension(connect: Connect, parts: tuple[Any, ChatTokenizer]) -> None:
    with (
        connect(device="cpu") as (backend, _),
        pytest.raises(BackendError, match=f"--worker-extension-cls {EXTENSION}"),
    ):
        backend.load_weights(parts[0])
    with connect(device="cpu", extension=EXTENSION) as (backend, server):
        backend.load_weights(parts[0])
        assert any(body["method"] == "reload_weights_and_head" for path, body in server.calls if "rpc" in path)


def test_the_extension_packs_output_layers_anew() -> None:
    done: list[Any] = []

    class Method:
        def process_weights_after_loading(self, module: Any) -> None:
            done.append(module)

    class ParallelLMHead:
        quant_method = Method()
        cpu_linear = None

    class Other(ParallelLMHead):
        pass

    head = ParallelLMHead()

    class Worker(WeightSync):
        def reload_weights(self, **arguments: Any) -> None:
            done.append(arguments)

        def get_model(self) -> Any:
            return self

        def modules(self) -> list[Any]:
            return [Other(), head]

    Worker().reload_weights_and_head(weights_path="folder")
    assert done == [{"weights_path": "folder"}, head]


def test_weights_that_are_not_to_change_do_not(connect: Connect, parts: tuple[Any, ChatTokenizer]) -> None:
    with connect({"sync": "none"}) as (backend, _), pytest.raises(BackendError, match="sync=none"):
        backend.load_weights(parts[0])


def test_nccl_without_vllm_here_says_what_it_needs(connect: Connect, parts: tuple[Any, ChatTokenizer]) -> None:
    with (
        connect({"sync": "nccl"}) as (backend, _),
        pytest.raises(BackendError, match=r"pip install \"vllm|needs the trained weights on a GPU"),
    ):
        backend.load_weights(parts[0])


def test_adapters_are_not_sent_by_nccl(connect: Connect, number_line_model: Path) -> None:
    lora = with_lora(load_policy(str(number_line_model))[0], LoraSettings(rank=2, alpha=2), seed=0)
    with connect({"sync": "nccl"}) as (backend, _), pytest.raises(BackendError, match="lora=merged"):
        backend.load_weights(lora)


def test_merged_adapters_go_as_whole_weights(connect: Connect, number_line_model: Path) -> None:
    lora = with_lora(load_policy(str(number_line_model))[0], LoraSettings(rank=2, alpha=2), seed=0)
    with connect({"lora": "merged"}) as (backend, server):
        backend.load_weights(lora)
        paths = [path for path, _ in server.calls]
    assert "/collective_rpc" in paths
    assert "/v1/load_lora_adapter" not in paths


def test_nothing_is_left_in_the_sync_folder(connect: Connect, parts: tuple[Any, ChatTokenizer], tmp_path: Path) -> None:
    with connect({"sync_folder": str(tmp_path)}) as (backend, _):
        backend.load_weights(parts[0])
        backend.load_weights(parts[0])
        (folder,) = tmp_path.iterdir()
        assert not list(folder.iterdir())
    assert not list(tmp_path.iterdir())


def test_a_sync_folder_that_cannot_be_written_is_an_error(connect: Connect, parts: tuple[Any, ChatTokenizer]) -> None:
    with (
        connect({"sync_folder": "/nowhere"}) as (backend, _),
        pytest.raises(BackendError, match=r"/nowhere: .*sync_folder="),
    ):
        backend.load_weights(parts[0])


def test_requests_meet_in_the_servers_batch(connect: Connect) -> None:
    with connect(delay_seconds=0.1) as (backend, server):
        begin = time.perf_counter()
        assert len(generate(backend, 24)) == 24
        # One after the other they would take 2.4 s.
        assert server.most_at_once >= 12
        assert time.perf_counter() - begin < 2.0


def test_concurrency_is_a_bound(connect: Connect) -> None:
    with connect({"concurrency": 3}, delay_seconds=0.02) as (backend, server):
        generate(backend, 12)
        assert server.most_at_once <= 3


def test_a_connection_that_the_server_closed_is_made_anew(connect: Connect) -> None:
    with connect({"concurrency": 1}, keeps_connections=False) as (backend, _):
        for _ in range(3):
            assert len(generate(backend)) == 1


def test_an_answer_that_takes_too_long_is_an_error(connect: Connect) -> None:
    with (
        connect({"timeout_seconds": 0.2}, delay_seconds=1.0) as (backend, _),
        pytest.raises(BackendError, match=r"did not answer within 0.2 s: raise timeout_seconds"),
    ):
        generate(backend)


def test_an_error_of_the_server_reaches_the_caller_and_ends_all_requests(connect: Connect) -> None:
    with connect() as (backend, server):
        server.failures = [500]
        with pytest.raises(BackendError, match=r"/v1/completions answers 500: busy"):
            generate(backend, 8)
        assert backend.step() == []
        assert len(generate(backend, 2)) == 2


def test_a_lost_server_is_an_error_with_the_fix(parts: tuple[Any, ChatTokenizer]) -> None:
    with serving(FakeVLLM(*parts, keeps_connections=False)) as address:
        backend = VLLMServerBackend(parts[1], VLLMServerOptions(base_url=address))
    with pytest.raises(BackendError, match="is the server running"):
        generate(backend)
    backend.close()


def test_it_waits_for_a_server_that_is_starting(parts: tuple[Any, ChatTokenizer]) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fake, stop = FakeVLLM(*parts), threading.Event()

    def late() -> None:
        time.sleep(0.7)
        with serving(fake, port=port):
            stop.wait(20)

    thread = threading.Thread(target=late)
    thread.start()
    try:
        options = VLLMServerOptions(base_url=f"http://127.0.0.1:{port}", wait_seconds=15)
        backend = VLLMServerBackend(parts[1], options)
        assert len(generate(backend)) == 1
        backend.close()
    finally:
        stop.set()
        thread.join()


def test_sleep_is_asked_for_only_if_set(connect: Connect) -> None:
    for level, expected in ((0, []), (2, ["/sleep?level=2", "/wake_up"])):
        with connect({"sleep_level": level}) as (backend, server):
            backend.sleep()
            backend.wake_up()
            assert [path for path, _ in server.calls if "sleep" in path or "wake" in path] == expected


def test_settings_are_read_by_name(parts: tuple[Any, ChatTokenizer]) -> None:
    setup = BackendSetup(None, parts[1], "tiny")
    with pytest.raises(BackendError, match="engine vllm_server 'base_ur'; did you mean 'base_url'"):
        VLLMServerBackend.from_setup(setup, ["base_ur=http://localhost"])
    with serving(FakeVLLM(*parts)) as address:
        backend = VLLMServerBackend.from_setup(setup, [f"base_url={address}", "concurrency=2", "sync=none"])
        assert backend.options == VLLMServerOptions(base_url=address, concurrency=2, sync="none")
        backend.close()


def test_a_folder_for_weights_goes_with_its_owner(tmp_path: Path) -> None:
    owner = threading.Event()
    folder = temporary_folder(owner, str(tmp_path))
    assert folder.is_dir()
    del owner
    assert not folder.exists()
