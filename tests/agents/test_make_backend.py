"""From names and settings to engines; and what the vLLM engine says where it cannot be used."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from sdar_agents.backends import BACKENDS, Backend, BackendError, BackendSetup
from sdar_agents.backends import vllm as engine
from sdar_agents.backends.hf import HFBackend
from sdar_agents.backends.make import backend_class, make_backend
from sdar_agents.backends.options import read_options
from sdar_agents.backends.vllm import VLLMBackend, VLLMOptions
from sdar_agents.backends.vllm_version import check_version, installed_vllm
from sdar_agents.policy import LoraSettings, bundled_tiny, load_policy, with_lora
from sdar_agents.setup import set_up
from sdar_agents.tokens import ChatTokenizer


@pytest.fixture(scope="module")
def parts(number_line_model: Path) -> tuple[Any, ChatTokenizer]:
    return load_policy(str(number_line_model))


@dataclass(frozen=True)
class Some:
    count: int = 1
    share: float = 0.5
    name: str | None = None
    fast: bool = False
    way: Literal["files", "nccl"] = "files"


def test_settings_become_values_of_their_kind() -> None:
    given = ["count=3", "share=.25", "name=a=b", "fast=true", "way=nccl"]
    assert read_options(Some, given, backend="some") == Some(3, 0.25, "a=b", True, "nccl")
    assert read_options(Some, ["name=none"], backend="some").name is None


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("cout=3", "unknown setting of the engine some 'cout'; did you mean 'count'"),
        ("count", "write NAME=VALUE"),
        ("count=x", "count=x is not a whole number"),
        ("share=x", "share=x is not a number"),
        ("fast=perhaps", "fast=perhaps: write true or false"),
        ("way=file", "unknown value of way 'file'; did you mean 'files'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(setting: str, words: str) -> None:
    with pytest.raises(BackendError, match=words):
        read_options(Some, [setting], backend="some")


@pytest.mark.parametrize("name", BACKENDS)
def test_every_name_is_an_engine(name: str) -> None:
    assert issubclass(backend_class(name), Backend)


def test_a_misspelt_engine_is_refused_before_anything_is_made(number_line_config: Any, tmp_path: Path) -> None:
    config = replace(number_line_config("grpo"), backend="vlm")
    with pytest.raises(BackendError, match="unknown backend 'vlm'; did you mean 'vllm'"):
        set_up(config, resume=False)
    assert not (tmp_path / "run").exists()


def test_an_engine_of_a_third_party_is_named_by_its_module(parts: tuple[Any, ChatTokenizer]) -> None:
    name = "sdar_agents.backends.hf:HFBackend"
    made = make_backend(name, model=parts[0], tokenizer=parts[1], source="tiny", settings=["max_batch_tokens=999"])
    assert isinstance(made, HFBackend)
    with pytest.raises(BackendError, match="does not import"):
        backend_class("sdar_agents.backends.hf:Nothing")
    with pytest.raises(BackendError, match="must be a subclass"):
        backend_class("sdar_agents.backends.hf:obstacle")


def test_a_scripted_engine_is_made_in_code(parts: tuple[Any, ChatTokenizer]) -> None:
    with pytest.raises(BackendError, match="made in code"):
        make_backend("scripted", model=parts[0], tokenizer=parts[1], source="tiny")


def without_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdar_agents.backends.vllm_version.DISTRIBUTIONS", ("no-such-vllm",))


def test_an_absent_vllm_is_an_error_that_names_the_command(
    parts: tuple[Any, ChatTokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_vllm(monkeypatch)
    with pytest.raises(BackendError, match=r'not installed: pip install "vllm>=0\.20,<0\.34".*sdar-gym\[vllm\]'):
        make_backend("vllm", model=parts[0], tokenizer=parts[1], source="tiny")


@pytest.mark.parametrize(
    ("version", "words"),
    [("0.19.1", "too old"), ("0.34.0rc1", "newer than this version of sdar-gym knows"), ("nightly", "not a release")],
)
def test_a_vllm_of_a_wrong_version_is_an_error_that_names_the_command(
    parts: tuple[Any, ChatTokenizer], monkeypatch: pytest.MonkeyPatch, version: str, words: str
) -> None:
    monkeypatch.setattr(engine, "installed_vllm", lambda: version)
    with pytest.raises(BackendError, match=rf'this environment has vLLM .*{words}.*pip install "vllm>=0\.20'):
        make_backend("vllm", model=parts[0], tokenizer=parts[1], source="tiny")


@pytest.mark.parametrize("version", ["0.20.0", "0.25.1", "0.32.0+cpu", "0.33.0"])
def test_known_versions_are_accepted(version: str) -> None:
    assert check_version(version, where="here") == tuple(int(part) for part in version.split(".")[:2])


def test_a_newer_version_can_be_tried() -> None:
    assert check_version("0.40.0", where="here", any_version=True) == (0, 40)


def test_a_vllm_that_does_not_import_is_an_error_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(engine, "installed_vllm", lambda: "0.32.0")
    # None in sys.modules is how Python marks a module that must not be imported.
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(BackendError, match="installed but does not import"):
        engine.start_engine("folder", VLLMOptions(), dtype="auto", max_lora_rank=None)


def test_sleeping_for_good_and_adapters_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "installed_vllm", lambda: "0.32.0")
    with pytest.raises(BackendError, match="use sleep_level=1 or lora=merged"):
        engine.start_engine("folder", VLLMOptions(sleep_level=2), dtype="auto", max_lora_rank=8)
    with pytest.raises(BackendError, match="write 0, 1 or 2"):
        engine.start_engine("folder", VLLMOptions(sleep_level=3), dtype="auto", max_lora_rank=None)


def test_what_the_engine_loads_is_the_model_under_the_adapters(tmp_path: Path) -> None:
    assert engine.model_folders("tiny") == (str(bundled_tiny()), None)
    assert engine.model_folders("Qwen/Qwen3-1.7B") == ("Qwen/Qwen3-1.7B", None)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "base", "r": 12}))
    assert engine.model_folders(str(tmp_path)) == ("base", tmp_path)
    # The next rank that vLLM takes.
    assert engine.lora_rank(None, tmp_path) == 16


def test_the_rank_is_that_of_the_trained_adapters(number_line_model: Path) -> None:
    model = load_policy(str(number_line_model))[0]
    assert engine.lora_rank(model, None) is None
    assert engine.lora_rank(with_lora(model, LoraSettings(rank=17, alpha=1), seed=0), None) == 32


def test_an_adapter_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "base", "r": 1024}))
    with pytest.raises(BackendError, match="up to rank 512, not 1024: use lora=merged"):
        engine.lora_rank(None, tmp_path)


def test_the_global_generators_are_left_as_they_were() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    with engine.generators_kept():
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), before[2])


class FakeEngine:
    """What the engine is told."""

    class model_config:  # noqa: N801
        max_model_len = 64

    def __init__(self) -> None:
        self.told: list[Any] = []

    def has_unfinished_requests(self) -> bool:
        return False

    def sleep(self, level: int) -> None:
        self.told.append(f"sleep {level}")

    def wake_up(self, tags: list[str]) -> None:
        self.told.append(f"wake {tags[0]}")

    def collective_rpc(self, method: str, kwargs: dict[str, Any]) -> None:
        list(kwargs["weights_iterator"])
        self.told.append(method.removesuffix("_and_head"))

    def reset_prefix_cache(self) -> None:
        self.told.append("forget")


def test_weights_are_woken_before_they_are_taken_over_and_the_cache_after(
    parts: tuple[Any, ChatTokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    fake = FakeEngine()
    backend = VLLMBackend(fake, parts[1], VLLMOptions(sleep_level=2))
    backend.sleep()
    with pytest.raises(BackendError, match="sleeps"):
        backend.generate([(1,)], engine.Sampling(max_tokens=1), [0])
    backend.load_weights(parts[0])
    backend.wake_up()
    assert fake.told == ["sleep 2", "wake weights", "reload_weights", "forget", "wake kv_cache"]


def test_after_sleeping_for_good_weights_come_before_requests(
    parts: tuple[Any, ChatTokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    backend = VLLMBackend(FakeEngine(), parts[1], VLLMOptions(sleep_level=2))
    backend.sleep()
    backend.wake_up()
    with pytest.raises(BackendError, match=r"load_weights\(\) comes before requests"):
        backend.generate([(1,)], engine.Sampling(max_tokens=1), [0])


def test_the_installed_release_is_found_by_either_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdar_agents.backends.vllm_version.DISTRIBUTIONS", ("no-such-vllm", "torch"))
    assert installed_vllm() == torch.__version__ or installed_vllm().startswith("2.")


def test_an_engine_in_this_process_needs_a_module(parts: tuple[Any, ChatTokenizer]) -> None:
    with pytest.raises(BackendError, match="none was loaded"):
        HFBackend.from_setup(BackendSetup(None, parts[1], "tiny"), [])
