"""How much memory a configuration takes, from the model's config alone: arithmetic, nothing is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from sdar_agents.config import ConfigError, TrainConfig
from sdar_agents.machine import device_memory
from sdar_agents.packing import LOGITS_AT_ONCE
from sdar_agents.policy import BUNDLED, TINY, LoraSettings, ModelError, bundled_tiny, compute_dtype
from sdar_agents.teacher_weights import teacher_kind

Phase = Literal["always", "rollout", "update"]
GIB = 2**30
ROLLOUT_TOKENS = 65_536
"""Tokens in flight at once in the backend `hf`."""
VLLM_SHARE = 0.4
"""Of a GPU's memory, where `gpu_memory_utilization` is not given."""
PROCESS_BYTES = {"cpu": int(0.6 * GIB), "cuda": GIB}
"""What Python, torch and (on a GPU) the CUDA context and fragmentation take before anything else."""
FIXES = "a smaller --microbatch-tokens, --activation-checkpointing, --tuning lora, a smaller model, or more GPUs"


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What of a model decides its memory and its arithmetic.

    Attributes:
        parameters: All of them, tied ones once.
        embeddings: Those of the input and output embeddings among them.
        adapted: Sum of inputs and outputs over all linear layers that adapters would sit on.
        bytes_per_weight: Of the type that layers compute in; weights that are trained are kept in float32.
        per_head_norm: Whether queries and keys are normalised (Qwen3), which keeps copies of them.
    """

    architecture: str
    parameters: int
    embeddings: int
    adapted: int
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    bytes_per_weight: int
    per_head_norm: bool = False

    def trainable(self, tuning: str) -> int:
        """Parameters that get a gradient."""
        return self.parameters if tuning == "full" else LoraSettings().rank * self.adapted


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a plan: bytes on each GPU, and when they are there."""

    name: str
    size: int
    phase: Phase
    note: str = ""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes on one device."""

    items: tuple[Item, ...]

    def size(self, phase: Phase) -> int:
        """Bytes of a phase: what is always there and what comes with it."""
        return sum(item.size for item in self.items if item.phase in ("always", phase))

    @property
    def peak(self) -> int:
        """The larger of rollout and update: they take turns."""
        return max(self.size("rollout"), self.size("update"))

    @property
    def fixed(self) -> int:
        """What no smaller micro-batch can save: weights, optimizer, gradients, copies."""
        return self.size("always") + sum(item.size for item in self.items if item.name == "gradients")


def model_shape(model: str, *, dtype: str = "auto", device: str = "cpu") -> ModelShape:
    """The shape of a model that is not loaded: its config builds it without memory, on torch's meta device.

    Raises:
        ModelError: its config cannot be read.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    source = _config_source(model)
    try:
        config: Any = AutoConfig.from_pretrained(source)
        with torch.device("meta"):
            built: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(
            f"cannot read the config of the model {model!r}: {str(error).splitlines()[0]} (give {TINY!r}, a folder "
            "that holds a transformers model, or a hub id that can be reached)"
        ) from error
    text = config.get_text_config()
    output = built.get_output_embeddings()
    embedded = {id(layer.weight): layer.weight.numel() for layer in (built.get_input_embeddings(), output) if layer}
    linear = [layer for layer in built.modules() if isinstance(layer, torch.nn.Linear) and layer is not output]
    heads = int(text.num_attention_heads)
    return ModelShape(
        architecture=type(built).__name__,
        parameters=sum(parameter.numel() for parameter in built.parameters()),
        embeddings=sum(embedded.values()),
        adapted=sum(layer.in_features + layer.out_features for layer in linear),
        layers=int(text.num_hidden_layers),
        hidden=int(text.hidden_size),
        feed_forward=int(getattr(text, "intermediate_size", None) or 4 * text.hidden_size),
        heads=heads,
        kv_heads=int(getattr(text, "num_key_value_heads", None) or heads),
        head_size=int(getattr(text, "head_dim", None) or text.hidden_size // heads),
        vocabulary=int(text.vocab_size),
        bytes_per_weight=compute_dtype(dtype, device).itemsize,
        per_head_norm=any(name.endswith(".q_norm") for name, _ in built.named_modules()),
    )


def plan_memory(
    config: TrainConfig,
    shape: ModelShape,
    *,
    device: str,
    device_bytes: int,
    world: int = 1,
    teacher: ModelShape | None = None,
) -> MemoryPlan:
    """Bytes on each device.

    Sharded over the processes: weights, gradients, optimizer, copies for teacher and reference; float32, all of them,
    where all weights are trained. Activations, logits and the KV cache belong to each process's own rows.

    Args:
        device_bytes: Memory of one GPU, of which vLLM reserves a share.
        world: Processes, one a GPU.
        teacher: Of a teacher that is another model (`external_teacher`).
    """
    trainable, full = shape.trainable(config.tuning), config.tuning == "full"
    kept = 4 if full else shape.bytes_per_weight
    weights = shape.parameters * kept
    items = [
        Item("weights", weights // world, "always", f"{shape.parameters:,} x {kept} bytes"),
        Item("adapters", 0 if full else 4 * trainable // world, "always", f"rank {LoraSettings().rank}, float32"),
        Item("optimizer", 8 * trainable // world, "always", f"AdamW: two float32 moments of {trainable:,}"),
        Item("reference, teacher", _copies(config) * weights // world, "always", "copies that do not train with it"),
        Item("external teacher", _held(teacher) // world, "always", f"{config.teacher}, in what layers compute in"),
        Item("process", PROCESS_BYTES["cuda" if device.startswith("cuda") else "cpu"], "always", "torch, context"),
        Item("gradients", 4 * trainable // world, "update", f"of {trainable:,}, float32"),
        Item("gradient probe", _probed(config, trainable) // world, "update", "a second set, compared with the first"),
    ]
    if world > 1 or (full and shape.bytes_per_weight < kept):
        layer = 2 * (shape.parameters - shape.embeddings) // shape.layers * shape.bytes_per_weight
        items.append(Item("gathered layers", layer, "update", "two layers in whole while they are computed"))
        if config.backend == "hf":
            whole = shape.parameters * shape.bytes_per_weight
            items.append(Item("gathered weights", whole, "rollout", "all layers in whole, to generate with"))
    return MemoryPlan((*items, *_update_items(config, shape), *_rollout_items(config, shape, device_bytes, world)))


def external_teacher(config: TrainConfig, *, device: str) -> ModelShape | None:
    """The shape of a teacher that is another model; None where it is none.

    Raises:
        ModelError: its config cannot be read.
    """
    if teacher_kind(config) != "external":
        return None
    return model_shape(config.teacher, dtype=config.dtype, device=device)


def activation_bytes(shape: ModelShape, tokens: int, *, checkpointing: bool) -> int:
    """Bytes that the layers keep for the backward pass.

    A token keeps, in each layer, with b bytes a number, width h, feed-forward width f, queries q = heads x head size
    and keys k = kv heads x head size: for each of two norms its input in float32, the normalised input and the
    output, 2 h (4 + 2 b); for the attention its queries, keys, values (these two repeated for each head) and output,
    4 b q; where queries and keys are normalised also (4 + b) (q + k); in the feed-forward layer four of its widths,
    4 b f. With activation checkpointing a layer keeps its input only, b h, and one layer at a time is computed again.
    Flash or memory-efficient attention is assumed: no [tokens, tokens] matrix is kept.
    """
    b, h = shape.bytes_per_weight, shape.hidden
    queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    attention = 4 * b * queries + ((4 + b) * (queries + keys) if shape.per_head_norm else 0)
    layer = 2 * h * (4 + 2 * b) + attention + 4 * b * shape.feed_forward
    if checkpointing:
        return tokens * (shape.layers * b * h + layer)
    return tokens * shape.layers * layer


def logit_bytes(shape: ModelShape, tokens: int, *, entropy: bool, distribution: bool) -> int:
    """Bytes at the vocabulary for `tokens` scored tokens: logits, their log-softmax, and both gradients in float32.

    The entropy keeps two more tensors of that size, a teacher's whole distribution one.
    """
    tensors = 4 * (4 + 2 * entropy + distribution)
    return tokens * shape.vocabulary * (shape.bytes_per_weight + tensors)


def scored_tokens(config: TrainConfig, vocabulary: int) -> int:
    """Most response tokens whose logits exist at once: all of a micro-batch, or those of a chunk of the output layer.

    Rows with short prompts hold more of them than the longest rows do; a quarter of the prompt budget is taken for a
    short prompt. Packed rows go through the output layer in chunks, unless whole distributions are kept.
    """
    rows = max(1, config.microbatch_tokens // (config.max_prompt_tokens // 4 + config.max_response_tokens))
    tokens = rows * (config.max_response_tokens + 1)
    if config.packing == "none" or config.learner.needs.distribution:
        return tokens
    return min(tokens, max(1, LOGITS_AT_ONCE // vocabulary))


def longest_row(config: TrainConfig) -> int:
    """Tokens of the longest row that the settings allow: a teacher's prompt (of any view) and the response."""
    skills = config.max_skill_tokens if config.learner.needs.has_teacher else 0
    return config.max_prompt_tokens + skills + config.max_response_tokens


def kv_bytes_per_token(shape: ModelShape) -> int:
    """Keys and values of one token in all layers."""
    return 2 * shape.layers * shape.kv_heads * shape.head_size * shape.bytes_per_weight


def check_memory(config: TrainConfig, *, device: str, world: int = 1) -> None:
    """Refuse a configuration whose weights and optimizer alone are more than the device has.

    What only estimates say (activations, logits) is not a reason here: the probe before the first step finds out.

    Raises:
        ConfigError: with the numbers and what to change.
    """
    try:
        shape = model_shape(config.model, dtype=config.dtype, device=device)
        teacher = external_teacher(config, device=device)
    except ModelError:
        # Loading the model says it better, a moment later.
        return
    total, _ = device_memory(device)
    plan = plan_memory(config, shape, device=device, device_bytes=total, world=world, teacher=teacher)
    if plan.fixed > total:
        raise ConfigError(too_large(config, shape, plan, have=total, need=plan.fixed, what="in all"))


def too_large(config: TrainConfig, shape: ModelShape, plan: MemoryPlan, *, have: int, need: int, what: str) -> str:
    """One line: what is needed, what of it is what, what there is, and what would help."""
    largest = sorted((item for item in plan.items if item.size), key=lambda item: -item.size)[:4]
    parts = ", ".join(f"{item.name} {item.size / GIB:.2f}" for item in largest)
    return (
        f"{config.model} ({shape.architecture}, {shape.parameters:,} parameters, tuning {config.tuning}) needs "
        f"{need / GIB:.2f} GiB a device ({parts} GiB, ...), but the device has {have / GIB:.2f} GiB {what}: use "
        f"{FIXES} (sdar-gym doctor shows the whole plan)"
    )


def _update_items(config: TrainConfig, shape: ModelShape) -> tuple[Item, Item]:
    needs = config.learner.needs
    tokens, scored = max(config.microbatch_tokens, longest_row(config)), scored_tokens(config, shape.vocabulary)
    activations = activation_bytes(shape, tokens, checkpointing=config.activation_checkpointing)
    logits = logit_bytes(shape, scored, entropy=needs.entropy, distribution=needs.teacher == "distribution")
    checkpointing = "with" if config.activation_checkpointing else "without"
    return (
        Item("activations", activations, "update", f"{tokens:,} tokens, {checkpointing} activation checkpointing"),
        Item("logits", logits, "update", f"{scored:,} response tokens x {shape.vocabulary:,}"),
    )


def _rollout_items(config: TrainConfig, shape: ModelShape, device_bytes: int, world: int) -> tuple[Item, ...]:
    if config.backend == "vllm":
        share = _vllm_share(config)
        return (Item("vLLM", int(share * device_bytes), "rollout", f"gpu_memory_utilization {share}"),)
    if config.backend != "hf":
        return ()
    episodes = -(-config.groups * config.group_size // world)
    longest = config.max_prompt_tokens + config.max_response_tokens
    tokens = min(max(ROLLOUT_TOKENS, longest), episodes * longest)
    working = tokens * shape.bytes_per_weight * (4 * shape.hidden + 2 * shape.feed_forward)
    note = f"{tokens:,} tokens of {episodes} episodes"
    return (
        Item("KV cache", tokens * kv_bytes_per_token(shape), "rollout", note),
        Item("prefill", working, "rollout", "one layer's values for all of them"),
    )


def _vllm_share(config: TrainConfig) -> float:
    for option in config.backend_options:
        name, _, value = option.partition("=")
        if name == "gpu_memory_utilization":
            return float(value)
    return VLLM_SHARE


def _copies(config: TrainConfig) -> int:
    """Whole copies of the weights beside the trained ones; under adapters the initial weights need none."""
    kind = teacher_kind(config)
    initial = int(config.learner.needs.reference) + int(kind == "initial")
    return int(kind in ("average", "snapshot")) + (initial if config.tuning == "full" else 0)


def _probed(config: TrainConfig, trainable: int) -> int:
    return 4 * trainable if config.learner.needs.gradient_probe else 0


def _held(shape: ModelShape | None) -> int:
    """Bytes of weights that are never trained."""
    return 0 if shape is None else shape.parameters * shape.bytes_per_weight


def _config_source(model: str) -> str:
    if model in BUNDLED:
        return str(bundled_tiny(model))
    adapters = Path(model).expanduser() / "adapter_config.json"
    if adapters.is_file() and not adapters.with_name("config.json").is_file():
        return str(json.loads(adapters.read_text(encoding="utf-8"))["base_model_name_or_path"])
    return str(Path(model).expanduser()) if Path(model).expanduser().exists() else model
