"""Several processes, one a GPU: who they are, what they share, and how a model is cut into shards (FSDP2)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import MethodType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)

Value = TypeVar("Value")
# Ranks wait for one another's rollouts, and one slow episode may take long.
TIMEOUT = timedelta(hours=2)


class WorldError(ValueError):
    """Processes that cannot work together as launched, and how to launch them."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run.

    Attributes:
        rank: Number of this process, 0 to size - 1; rank 0 writes files and prints.
        size: How many there are; 1 without a launcher.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def share(self, items: Sequence[Value]) -> Sequence[Value]:
        """This process's part of a sequence: contiguous, in the order of the ranks, sizes differing by one at most."""
        begin, end = (len(items) * rank // self.size for rank in (self.rank, self.rank + 1))
        return items[begin:end]

    def gather(self, value: Value) -> list[Value]:
        """Everybody's value, in the order of the ranks. Values are pickled."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def together(self, work: Callable[[], Value]) -> list[Value]:
        """Everybody does their part of the work; all of it, in the order of the ranks.

        Raises:
            WorldError: another process failed (its own error is raised there), so that nobody waits for it in vain.
            Exception: what this process's own work raised.
        """
        if self.size == 1:
            return [work()]
        try:
            value, error = work(), None
        except Exception as raised:
            value, error = None, raised
        outcomes = self.gather((value, None if error is None else f"{type(error).__name__}: {error}"))
        if error is not None:
            raise error
        for rank, (_, text) in enumerate(outcomes):
            if text is not None:
                raise WorldError(f"process {rank} of {self.size} failed: {text}")
        return [outcome for outcome, _ in outcomes]  # type: ignore[misc]

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over the processes of a tensor in main memory, which itself receives it."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def max(self, number: int) -> int:
        """The largest of everybody's numbers."""
        if self.size == 1:
            return number
        largest = torch.tensor(number)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def any(self, claim: bool) -> bool:
        """Whether anybody claims it."""
        return (self.size > 1 and any(self.gather(claim))) or claim

    def barrier(self) -> None:
        """Wait for everybody."""
        if self.size > 1:
            dist.barrier()


ALONE = World()


def launched_size() -> int:
    """How many processes the launcher (torchrun, accelerate) started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_device(device: str) -> str:
    """The device of this process: `cuda` becomes the GPU of its local rank.

    Raises:
        WorldError: more processes on this machine than it has GPUs.
    """
    if device.partition(":")[0] != "cuda" or launched_size() == 1:
        return device
    local, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= count:
        raise WorldError(
            f"process {local} of this machine has no GPU of its own: torch sees {count} "
            f"(start at most {count} processes here: torchrun --nproc-per-node {max(1, count)} ...)"
        )
    return f"cuda:{local}"


def join_world(device: str) -> World:
    """Meet the processes that the launcher started; alone without one.

    Args:
        device: Of this process; GPUs talk over NCCL, CPUs over gloo.

    Raises:
        WorldError: the launcher's variables are incomplete, or the others did not come.
    """
    if launched_size() == 1:
        return ALONE
    if not dist.is_initialized():
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        # Objects and CPU tensors travel over gloo, the shards of a model on GPUs over NCCL.
        backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
        try:
            dist.init_process_group(backend, timeout=TIMEOUT)
        except (ValueError, RuntimeError) as error:
            raise WorldError(
                f"{launched_size()} processes were asked for, but they could not meet ({str(error).splitlines()[0]}): "
                "launch with `torchrun --nproc-per-node N -m sdar_agents train ...` or `accelerate launch`"
            ) from error
    return World(dist.get_rank(), dist.get_world_size())


def leave_world() -> None:
    """End the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def shard(
    model: Any, *, device: str, dtype: torch.dtype | None, methods: Mapping[str, Callable[..., Any]] | None = None
) -> Any:
    """Cut a model's weights, gradients and (later) optimizer state over all processes, layer by layer, by FSDP2.

    Each layer is put together for the time of its forward and backward pass. Weights stay float32; where `dtype` is a
    shorter type, the layers are put together, and compute, in that, and gradients are summed in float32. A single
    process without a launcher can be given too, for that precision.

    Args:
        model: A transformers model on `device`, with or without adapters; changed in place.
        device: Of this process.
        dtype: What layers compute in; None for the weights' own.
        methods: By name, other functions of the model than `forward` that compute with its weights: they become methods
            around which its outermost weights are put together too.
    """
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
    mesh = init_device_mesh(torch.device(device).type, (dist.get_world_size(),))
    precision = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=None if dtype is None else torch.float32)
    for layer in layers(model):
        fully_shard(layer, mesh=mesh, mp_policy=precision)
    # By default the outermost part would stay whole until a backward pass, which a teacher never has.
    fully_shard(model, mesh=mesh, mp_policy=precision, reshard_after_forward=True)
    for name, function in (methods or {}).items():
        setattr(model, name, MethodType(function, model))
        register_fsdp_forward_method(model, name)
    return model


def layers(model: Any) -> list[torch.nn.Module]:
    """The decoder layers of a transformers model: the largest parts that repeat.

    Raises:
        WorldError: the model does not say which they are.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    names = set(getattr(base, "_no_split_modules", None) or ())
    # Sharding gives a layer a class of its own, derived from what it was.
    found = [module for module in model.modules() if names & {kind.__name__ for kind in type(module).__mro__}]
    if not found:
        raise WorldError(f"{type(base).__name__} does not say what its layers are: it cannot be sharded")
    return found


def is_sharded(model: Any) -> bool:
    """Whether `shard` was called on it."""
    return isinstance(model, FSDPModule)


@contextmanager
def put_together(model: Any) -> Iterator[None]:
    """All weights of a sharded model in every process, for the time of the block: to generate without waiting.

    Forward passes in the block are not collective: each process makes as many as it likes, without gradients.
    """
    parts = [module for module in model.modules() if isinstance(module, FSDPModule)] if is_sharded(model) else []
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(True, recurse=False)


@contextmanager
def recomputed_activations(model: Any, *, enabled: bool) -> Iterator[None]:
    """Layers keep only their inputs for the backward pass in the block, and compute the rest again.

    Transformers does so for layers in training mode only, and models here are in evaluation mode, because dropout would
    make log-probabilities differ for no reason: so the layers alone are told, not what is in them.
    """
    if not enabled:
        yield
        return
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    # transformers 5.24 renamed the pair.
    enable = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
    disable = getattr(base, "activation_checkpointing_disable", None) or base.gradient_checkpointing_disable
    enable({"use_reentrant": False})
    for layer in layers(model):
        layer.training = True
    try:
        yield
    finally:
        for layer in layers(model):
            layer.training = False
        disable()


def full_model_state(model: Any) -> dict[str, torch.Tensor]:
    """Whole weights in main memory, on rank 0 (empty elsewhere). Collective."""
    state: dict[str, Any] = get_model_state_dict(model, options=_WHOLE)
    # Weights under two names (tied embeddings) were gathered twice; they are saved once.
    first_names: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first = first_names.setdefault(id(parameter), name)
        if name in state and first in state:
            state[name] = state[first]
    return state


def load_full_model_state(model: Any, state: dict[str, torch.Tensor], *, partial: bool = False) -> None:
    """Take over whole weights, which every process has. Collective.

    Args:
        partial: Whether the state may leave out weights (those under adapters); it must not hold others.

    Raises:
        WorldError: weights that the model does not have.
    """
    options = StateDictOptions(full_state_dict=True, strict=not partial)
    unknown = set_model_state_dict(model, dict[str, Any](state), options=options).unexpected_keys
    if unknown:
        raise WorldError(f"{len(unknown)} weights are not the model's, such as {unknown[0]}")


def full_optimizer_state(model: Any, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Whole optimizer state by parameter name, in main memory, on rank 0. Collective.

    It does not depend on how many processes there are: a run can be continued with more or fewer.
    """
    return dict(get_optimizer_state_dict(model, optimizer, options=_WHOLE))


def load_full_optimizer_state(model: Any, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over what `full_optimizer_state` gave, which every process has read. Collective."""
    set_optimizer_state_dict(model, optimizer, state, options=StateDictOptions(full_state_dict=True))


_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
