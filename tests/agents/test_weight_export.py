"""What engines are given: checkpoint names, whole tensors, adapters merged or alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from sdar_agents.backends.weights import full_weights, gather, save_adapter, save_weights, weight_shapes
from sdar_agents.policy import LoraSettings, load_policy, load_weights, with_lora


@pytest.fixture
def model(number_line_model: Path) -> Any:
    return load_policy(str(number_line_model))[0]


def adapted(model: Any) -> Any:
    lora = with_lora(model, LoraSettings(rank=2, alpha=6), seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in lora.named_parameters():
            if ".lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return lora


def test_names_and_values_are_those_of_the_checkpoint(model: Any, number_line_model: Path) -> None:
    saved = load_file(number_line_model / "model.safetensors")
    found = dict(full_weights(model))
    assert found.keys() == saved.keys()
    assert all(torch.equal(found[name], saved[name]) for name in saved)


def test_shapes_are_known_without_gathering_and_in_the_same_order(model: Any) -> None:
    for kind in (model, adapted(model)):
        weights = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in full_weights(kind)]
        assert [(shape.name, shape.dtype, shape.shape) for shape in weight_shapes(kind)] == weights


def test_wrappers_leave_no_trace_in_the_names(model: Any) -> None:
    plain = {name for name, _ in full_weights(model)}
    for number, layer in enumerate(model.model.layers):
        model.model.layers[number] = checkpoint_wrapper(layer)
    assert any("_checkpoint_wrapped_module" in name for name, _ in model.named_parameters())
    assert {name for name, _ in full_weights(model)} == plain


def test_merged_adapters_are_what_peft_merges(model: Any) -> None:
    lora = adapted(model)
    merged = dict(full_weights(lora))
    theirs = dict(lora.merge_and_unload().named_parameters())
    assert merged.keys() == theirs.keys()
    changed = 0
    for name, tensor in theirs.items():
        torch.testing.assert_close(merged[name], tensor)
        changed += name.endswith("_proj.weight")
    assert changed == 14


def test_a_merge_leaves_the_trained_weights_alone(model: Any) -> None:
    lora = adapted(model)
    before = {name: parameter.clone() for name, parameter in lora.named_parameters()}
    list(full_weights(lora))
    assert all(torch.equal(before[name], parameter) for name, parameter in lora.named_parameters())


def test_files_hold_every_weight_once_however_they_are_cut(model: Any, tmp_path: Path) -> None:
    save_weights(model, tmp_path / "whole")
    save_weights(model, tmp_path / "cut", shard_bytes=10_000)
    whole, *others = sorted((tmp_path / "whole").iterdir())
    assert not others
    parts = [load_file(file) for file in sorted((tmp_path / "cut").iterdir())]
    assert len(parts) > 1
    assert sum(len(part) for part in parts) == len(load_file(whole))
    joined = {name: tensor for part in parts for name, tensor in part.items()}
    assert all(torch.equal(joined[name], tensor) for name, tensor in full_weights(model))


def test_a_saved_adapter_is_one_that_peft_loads(model: Any, number_line_model: Path, tmp_path: Path) -> None:
    lora = adapted(model)
    save_adapter(lora, tmp_path)
    again = with_lora(load_policy(str(number_line_model))[0], LoraSettings(rank=2, alpha=6), seed=0)
    load_weights(again, tmp_path)
    expected = dict(lora.named_parameters())
    assert all(torch.equal(parameter, expected[name]) for name, parameter in again.named_parameters())
    assert (tmp_path / "adapter_config.json").is_file()


def test_shards_are_gathered() -> None:
    class Shard:
        def full_tensor(self) -> torch.Tensor:
            return torch.ones(3, requires_grad=True)

    whole = gather(Shard())  # type: ignore[arg-type]
    assert whole.tolist() == [1, 1, 1]
    assert not whole.requires_grad
