"""vLLM in this process, on the device that trains: continuous batches, prefix caching, weights taken over in place."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sdar_agents.backends.base import Backend, BackendError, BackendSetup, Finished, Request, check_length
from sdar_agents.backends.options import read_options
from sdar_agents.backends.vllm_version import FIX, check_version, installed_vllm
from sdar_agents.backends.vllm_worker import EXTENSION, RELOAD
from sdar_agents.backends.weights import full_weights, has_adapters, save_adapter, save_weights
from sdar_agents.episode import Completion, Sampling
from sdar_agents.tokens import ChatTokenizer

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM accepts as the largest rank."""
LARGEST_SEED = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class VLLMOptions:
    """Settings of the engine.

    Attributes:
        gpu_memory_utilization: Share of the GPU's memory that weights and cache may take.
        max_model_len: Longest prompt and response; by default the model's own context.
        max_num_seqs: Requests that are worked on at once.
        dtype: Of the engine's weights; `auto` is float32 on CPU, else what the checkpoint says.
        enforce_eager: No CUDA graphs and no compilation: starts faster, generates slower.
        tensor_parallel_size: GPUs that share a model; above 1 in a single training process only.
        sleep_level: What `sleep` gives back: 0 nothing, 1 the cache and a copy of the weights in host memory, 2 both
            for good (weights come anew with `load_weights`).
        lora: Of a model with adapters, sync these alone, or weights with the adapters merged in.
        any_version: Accept a release of vLLM that is newer than those known.
    """

    gpu_memory_utilization: float = 0.4
    max_model_len: int | None = None
    max_num_seqs: int = 256
    dtype: str = "auto"
    enforce_eager: bool = False
    tensor_parallel_size: int = 1
    sleep_level: int = 1
    lora: Literal["adapters", "merged"] = "adapters"
    any_version: bool = False


class VLLMBackend(Backend):
    """Holds weights of its own; `load_weights` must be called before the first request and after each update.

    Prompts and responses are token ids. The only end token is the tokenizer's, as with the engine `hf`; a
    log-probability is that of the distribution that was sampled from. A request's draws depend on its seed alone, up
    to the rounding of batched kernels, but they are not the engine `hf`'s draws.
    """

    @classmethod
    def from_setup(cls, setup: BackendSetup, settings: Sequence[str]) -> VLLMBackend:
        options = read_options(VLLMOptions, settings, backend="vllm")
        folder, adapter = model_folders(setup.source)
        rank = lora_rank(setup.model, adapter) if options.lora == "adapters" else None
        dtype = options.dtype if options.dtype != "auto" else setup.dtype
        engine = start_engine(folder, options, dtype=dtype, max_lora_rank=rank)
        backend = cls(engine, setup.tokenizer, options)
        if adapter is not None and setup.model is None:
            if rank is None:
                raise BackendError(f"{setup.source} holds adapters alone: leave out lora=merged")
            backend.use_adapter(adapter)
        return backend

    def __init__(self, engine: Any, tokenizer: ChatTokenizer, options: VLLMOptions | None = None) -> None:
        """Args:
        engine: A `vllm.LLMEngine` from `start_engine`.
        """
        self.tokenizer = tokenizer
        self.options = options or VLLMOptions()
        self._engine = engine
        self._adapter: Any | None = None
        self._syncs = 0
        # None: awake; otherwise what is still asleep.
        self._asleep: set[str] = set()
        self._weights_lost = False
        self._reload = "reload_weights" if torch.cuda.is_available() else RELOAD
        self._folder: Path | None = None

    def add(self, request: Request) -> None:
        engine = self._open()
        if self._asleep:
            raise BackendError("the vLLM engine sleeps: wake_up() comes before requests")
        if self._weights_lost:
            raise BackendError("sleep_level=2 gave the weights up: load_weights() comes before requests")
        check_length(request, int(engine.model_config.max_model_len))
        from vllm.inputs import TokensPrompt

        try:
            engine.add_request(
                str(request.id),
                TokensPrompt(prompt_token_ids=list(request.prompt_ids)),
                sampling_params(request.sampling, seed=request.seed, eos_id=self.tokenizer.eos_id),
                lora_request=self._adapter,
            )
        except ValueError as error:
            raise BackendError(f"vLLM refuses the request: {error}") from error

    def step(self) -> list[Finished]:
        engine = self._open()
        if not engine.has_unfinished_requests():
            return []
        try:
            outputs = engine.step()
        except Exception as error:
            raise BackendError(
                f"the vLLM engine died: {type(error).__name__}: {error}; if memory ran out, lower "
                "gpu_memory_utilization or max_num_seqs, or use enforce_eager=true"
            ) from error
        return [Finished(int(output.request_id), self._completion(output)) for output in outputs if output.finished]

    def _completion(self, output: Any) -> Completion:
        answer = output.outputs[0]
        ids = tuple(int(token) for token in answer.token_ids)
        logprobs = tuple(float(place[token].logprob) for place, token in zip(answer.logprobs, ids, strict=True))
        stopped = bool(ids) and ids[-1] == self.tokenizer.eos_id
        return Completion(ids, logprobs, self.tokenizer.decode(ids), stopped)

    def load_weights(self, model: object) -> None:
        engine = self._open()
        if engine.has_unfinished_requests():
            raise BackendError("load_weights() while requests are under way: step until they are done")
        self._wake({"weights"})
        self._syncs += 1
        if self.options.lora == "adapters" and has_adapters(model):
            if self._weights_lost:
                raise BackendError("sleep_level=2 gave up the weights under the adapters: use sleep_level=1")
            folder = self._sync_folder() / f"adapter-{self._syncs}"
            save_adapter(model, folder)
            self.use_adapter(folder)
        elif self.options.tensor_parallel_size > 1:
            # The workers are other processes: they read the weights from shared memory.
            folder = self._sync_folder() / "weights"
            save_weights(model, folder)
            engine.collective_rpc(self._reload, kwargs={"weights_path": str(folder)})
            shutil.rmtree(folder)
        else:
            engine.collective_rpc(self._reload, kwargs={"weights_iterator": full_weights(model)})
        self._weights_lost = False
        # Keys and values of the old weights must not serve the new ones.
        engine.reset_prefix_cache()

    def use_adapter(self, folder: Path) -> None:
        """Generate with the adapters of a folder from now on."""
        from vllm.lora.request import LoRARequest

        before, number = self._adapter, max(1, self._syncs)
        # A new number each time: the engine keeps what it knows by it.
        self._adapter = LoRARequest(f"sdar-{number}", number, str(folder))
        self._open().add_lora(self._adapter)
        if before is not None:
            self._open().remove_lora(before.lora_int_id)
            if self._folder is not None and Path(before.lora_path).is_relative_to(self._folder):
                shutil.rmtree(before.lora_path)

    def sleep(self) -> None:
        if self.options.sleep_level == 0 or self._asleep or not torch.cuda.is_available():
            return
        self._open().sleep(level=self.options.sleep_level)
        self._asleep = {"weights", "kv_cache"}
        self._weights_lost = self.options.sleep_level == 2

    def wake_up(self) -> None:
        self._wake({"weights", "kv_cache"})

    def _wake(self, tags: set[str]) -> None:
        # Weights first: with the cache still asleep there is room for the trainer's copy beside them.
        for tag in sorted(tags & self._asleep, reverse=True):
            self._open().wake_up(tags=[tag])
        self._asleep -= tags

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.engine_core.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _sync_folder(self) -> Path:
        if self._folder is None:
            self._folder = temporary_folder(self, shared_memory())
        return self._folder

    def _open(self) -> Any:
        if self._engine is None:
            raise BackendError("the vLLM engine is closed: make another")
        return self._engine


def sampling_params(sampling: Sampling, *, seed: int, eos_id: int) -> Any:
    """A sampling as vLLM takes it; the tokenizer's end token is the only one, whatever the checkpoint lists."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_tokens,
        seed=seed & LARGEST_SEED,
        logprobs=0,
        ignore_eos=True,
        stop_token_ids=[eos_id],
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def start_engine(model: str, options: VLLMOptions, *, dtype: str, max_lora_rank: int | None) -> Any:
    """A `vllm.LLMEngine` in this process.

    Args:
        model: Folder or hub id with full weights.
        dtype: `auto` or a torch name.
        max_lora_rank: Largest rank of adapters; None without adapters.

    Raises:
        BackendError: vLLM is absent, of a wrong version, does not import or does not start.
    """
    found = installed_vllm()
    check_version(found, where="this environment", any_version=options.any_version)
    if options.sleep_level not in (0, 1, 2):
        raise BackendError(f"sleep_level={options.sleep_level}: write 0, 1 or 2")
    if options.sleep_level == 2 and max_lora_rank is not None:
        raise BackendError("sleep_level=2 gives up the weights under the adapters: use sleep_level=1 or lora=merged")
    processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    if processes > 1 and options.tensor_parallel_size > 1:
        raise BackendError(
            f"tensor_parallel_size={options.tensor_parallel_size} in a run of {processes} processes: each has an "
            "engine on its own GPU; leave it at 1, or use --backend vllm_server for models that need several GPUs"
        )
    # The engine's core must live here, to see the trained module; read when the engine starts.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    try:
        from vllm import LLM
    except ImportError as error:
        raise BackendError(f"vLLM {found} is installed but does not import ({error}): {FIX}") from error
    has_gpu = torch.cuda.is_available()
    arguments: dict[str, Any] = {
        "model": model,
        "dtype": dtype if dtype != "auto" or has_gpu else "float32",
        "max_model_len": options.max_model_len,
        "max_num_seqs": options.max_num_seqs,
        "enforce_eager": options.enforce_eager,
        "tensor_parallel_size": options.tensor_parallel_size,
        "enable_prefix_caching": True,
        "logprobs_mode": "processed_logprobs",
        # Only arguments of ours decide how tokens are drawn, not the checkpoint's generation_config.json.
        "generation_config": "vllm",
    }
    if has_gpu:
        arguments |= {
            "gpu_memory_utilization": options.gpu_memory_utilization,
            "enable_sleep_mode": options.sleep_level > 0,
        }
    else:
        arguments["worker_extension_cls"] = EXTENSION
    if max_lora_rank is not None:
        # Two: the next adapter is loaded before the last is removed.
        arguments |= {"enable_lora": True, "max_lora_rank": max_lora_rank, "max_loras": 2}
    if processes > 1:
        # Engines side by side under torchrun, each alone with its GPU; vLLM joins the trainer's process group.
        arguments["distributed_executor_backend"] = "external_launcher"
    try:
        with generators_kept():
            return LLM(**arguments).llm_engine
    except Exception as error:
        raise BackendError(
            f"vLLM {found} does not start with {model}: {type(error).__name__}: {error}; if memory is short, set "
            "--backend-options gpu_memory_utilization=... or max_model_len=..., else see docs/backends.md"
        ) from error


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Leave the global random generators as they were: vLLM seeds them when it starts in this process."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


def model_folders(source: str) -> tuple[str, Path | None]:
    """What the engine loads: a model with full weights, and the adapters on top where `source` holds such."""
    import json

    from sdar_agents.policy import BUNDLED, bundled_tiny

    if source in BUNDLED:
        return str(bundled_tiny(source)), None
    folder = Path(source).expanduser()
    file = folder / "adapter_config.json"
    if not file.is_file():
        return (str(folder) if folder.is_dir() else source), None
    return str(json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"]), folder


def lora_rank(model: Any | None, adapter: Path | None) -> int | None:
    """The smallest rank that vLLM accepts and that holds the adapters; None without adapters."""
    import json

    if has_adapters(model):
        rank = int(model.peft_config[model.active_adapter].r)  # type: ignore[union-attr]
    elif adapter is not None and model is None:
        rank = int(json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"])
    else:
        return None
    fitting = [known for known in LORA_RANKS if known >= rank]
    if not fitting:
        raise BackendError(f"vLLM takes adapters up to rank {LORA_RANKS[-1]}, not {rank}: use lora=merged")
    return fitting[0]


def temporary_folder(owner: object, parent: str | None) -> Path:
    """A new folder that goes when its owner does, or when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="sdar-weights-", dir=parent))
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder


def shared_memory() -> str | None:
    """A folder in memory, where the system has one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
