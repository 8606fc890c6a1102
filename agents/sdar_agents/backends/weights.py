"""The trained weights under their checkpoint names: gathered from shards, adapters merged in or alone.

Dense models whose parameters carry the names of their checkpoint, as transformers writes them. In a sharded run
gathering is a collective: every process iterates, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sdar_agents.backends.base import BackendError

WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.")
"""What torch.compile and activation checkpointing put into parameter names."""
SHARD_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class WeightShape:
    """One parameter, without its values."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]


def has_adapters(model: Any) -> bool:
    """Whether only the adapters of a peft model are trained."""
    return hasattr(model, "disable_adapter")


def weight_shapes(model: Any) -> list[WeightShape]:
    """What `full_weights` yields, in its order; gathers nothing."""
    return [WeightShape(name, p.dtype, tuple(p.shape)) for name, _, p in _parameters(model)]


def full_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Every weight by its checkpoint name, whole; low-rank updates are added to the weights that they adapt.

    Tied weights come once. One gathered tensor is alive at a time, unless the caller keeps it.
    """
    layers = _adapted_layers(model)
    for name, owner, parameter in _parameters(model):
        tensor = gather(parameter)
        yield name, tensor if owner not in layers else _merged(tensor, layers[owner])


def adapter_weights(model: Any) -> dict[str, torch.Tensor]:
    """The adapters alone, by the names of their file."""
    from peft import get_peft_model_state_dict

    gathered = {name: gather(p) for name, p in model.named_parameters() if ".lora_" in name}
    state: dict[str, torch.Tensor] = get_peft_model_state_dict(model, state_dict=gathered)
    return {_bare(name): tensor.cpu().contiguous() for name, tensor in state.items()}


def save_weights(model: Any, folder: Path, *, shard_bytes: int = SHARD_BYTES) -> None:
    """Write `full_weights` as safetensors; in a sharded run all gather and the first process writes.

    Args:
        shard_bytes: A file ends where it would get larger, so that never the whole model is copied.
    """
    from safetensors.torch import save_file

    part: dict[str, torch.Tensor] = {}
    size = files = 0
    if is_first_process():
        folder.mkdir(parents=True, exist_ok=True)
    for name, tensor in full_weights(model):
        if not is_first_process():
            continue
        bytes_ = tensor.numel() * tensor.element_size()
        if part and size + bytes_ > shard_bytes:
            save_file(part, folder / f"model-{files:05d}.safetensors")
            part, size, files = {}, 0, files + 1
        # A copy: views of one storage cannot be written.
        part[name] = tensor.detach().to("cpu", copy=True).contiguous()
        size += bytes_
    if part:
        save_file(part, folder / f"model-{files:05d}.safetensors")


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapters as peft does; in a sharded run all gather and the first process writes."""
    from safetensors.torch import save_file

    weights = adapter_weights(model)
    if not is_first_process():
        return
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors")
    model.peft_config[model.active_adapter].save_pretrained(str(folder))


def gather(parameter: torch.Tensor) -> torch.Tensor:
    """A tensor that is whole on this process: shards are gathered, others pass through."""
    whole = getattr(parameter, "full_tensor", None)
    result: torch.Tensor = whole() if callable(whole) else parameter
    return result.detach()


def is_first_process() -> bool:
    """True also where nothing is distributed."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def wait_for_all() -> None:
    """Meet the other processes of a sharded run."""
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        torch.distributed.barrier()


def _parameters(model: Any) -> Iterator[tuple[str, str, torch.Tensor]]:
    """Checkpoint name, name of the owning module and parameter, adapters left out."""
    for raw, parameter in model.named_parameters():
        if ".lora_" in raw:
            continue
        owner = raw.removesuffix(".base_layer.weight") if raw.endswith(".base_layer.weight") else ""
        name = _bare(raw).removeprefix("base_model.model." if has_adapters(model) else "").replace(".base_layer.", ".")
        yield name, owner, parameter


def _bare(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _adapted_layers(model: Any) -> dict[str, Any]:
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
    for name, layer in layers.items():
        if any(getattr(layer, "use_dora", {}).values()) or getattr(layer, "fan_in_fan_out", False):
            raise BackendError(f"the adapter of {name} is not plain LoRA: train plain LoRA, or use the engine hf")
    return layers


def _merged(weight: torch.Tensor, layer: Any) -> torch.Tensor:
    merged = weight.float()
    for adapter in layer.active_adapters:
        up, down = (gather(side[adapter].weight).float() for side in (layer.lora_B, layer.lora_A))
        merged = merged + layer.scaling[adapter] * (up @ down)
    return merged.to(weight.dtype)
