"""`vllm serve` in a process or on a machine of its own: token ids over HTTP, weights by shared files or NCCL."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

import torch

from sdar_agents.backends.base import Backend, BackendError, BackendSetup, Finished, Request, check_length
from sdar_agents.backends.options import read_options
from sdar_agents.backends.vllm import LARGEST_SEED, shared_memory, temporary_folder
from sdar_agents.backends.vllm_version import FIX, TRAINER_NCCL, check_version, installed_vllm
from sdar_agents.backends.vllm_worker import EXTENSION, RELOAD
from sdar_agents.backends.weights import (
    full_weights,
    has_adapters,
    is_first_process,
    save_adapter,
    save_weights,
    wait_for_all,
    weight_shapes,
)
from sdar_agents.backends.wire import InFlight, JsonClient, RefusedError, UnreachableError
from sdar_agents.episode import Completion
from sdar_agents.tokens import ChatTokenizer

PROBE = "The quick brown fox opens fridge 1, takes 2 eggs & goes home."
DEV_MODE = "start the server with VLLM_SERVER_DEV_MODE=1 in its environment"
LORA_MODE = "start the server with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, --enable-lora and --max-loras 2"


@dataclass(frozen=True, slots=True)
class VLLMServerOptions:
    """Settings of the connection.

    Attributes:
        base_url: Address of `vllm serve`, without `/v1`.
        model: Name under which it serves the model; may be left out where it serves one.
        concurrency: Requests in flight at once: the server's continuous batch is as large as that, or `max_num_seqs`.
        timeout_seconds: Longest wait for an answer.
        wait_seconds: How long to wait for a server that is still starting.
        sync: How weights get there: `files` in a folder that both see, `nccl`, or `none` (evaluation).
        sync_folder: For `files`; by default in this machine's shared memory.
        lora: Of a model with adapters, sync these alone, or weights with the adapters merged in.
        nccl_host: Address of this machine for `nccl`; by default the one that faces the server.
        nccl_port: Free port on it; 0 picks one.
        sleep_level: What the server gives back during the update, where it shares the GPU: 0 nothing, 1 or 2.
        any_version: Accept a server that is newer than those known.
    """

    base_url: str = "http://localhost:8000"
    model: str | None = None
    concurrency: int = 256
    timeout_seconds: float = 600.0
    wait_seconds: float = 0.0
    sync: Literal["files", "nccl", "none"] = "files"
    sync_folder: str | None = None
    lora: Literal["adapters", "merged"] = "adapters"
    nccl_host: str | None = None
    nccl_port: int = 0
    sleep_level: int = 0
    any_version: bool = False


class VLLMServerBackend(Backend):
    """Holds weights of its own; `load_weights` must be called before the first request and after each update.

    As `VLLMBackend`: the tokenizer's end token is the only one, log-probabilities are those of the distribution that
    was sampled from (the server is asked for that at start: `--logprobs-mode processed_logprobs`).
    """

    @classmethod
    def from_setup(cls, setup: BackendSetup, settings: Sequence[str]) -> VLLMServerBackend:
        return cls(setup.tokenizer, read_options(VLLMServerOptions, settings, backend="vllm_server"))

    def __init__(self, tokenizer: ChatTokenizer, options: VLLMServerOptions | None = None) -> None:
        """Connect, and see that the server is what is needed.

        Raises:
            BackendError: it cannot be reached, is of a wrong version, serves another model, or is set up otherwise.
        """
        self.tokenizer = tokenizer
        self.options = options or VLLMServerOptions()
        self._client = JsonClient(self.options.base_url, timeout_seconds=self.options.timeout_seconds)
        self._in_flight = InFlight(self.options.concurrency)
        self._is_closed = False
        self._syncs = 0
        self._adapter: str | None = None
        self._reload: str | None = None
        self._sender: Any | None = None
        self._folder: Path | None = None
        try:
            self._wait_for_server()
            release = self._client.get("/version")["version"]
            self.version = check_version(release, where=self.options.base_url, any_version=self.options.any_version)
            self._model, self._context = self._served_model()
            self._check_tokenizer()
            self._check_answers()
        except BaseException:
            self.close()
            raise

    def add(self, request: Request) -> None:
        self._check_open()
        check_length(request, self._context)
        self._in_flight.submit(request.id, lambda: self._complete(request))

    def step(self) -> list[Finished]:
        self._check_open()
        return self._in_flight.wait()

    def _complete(self, request: Request) -> Completion:
        answer = self._client.post("/v1/completions", self._body(request))
        choice = answer["choices"][0]
        ids = tuple(int(token) for token in choice["token_ids"])
        logprobs = tuple(float(value) for value in choice["logprobs"]["token_logprobs"])
        if len(ids) != len(logprobs):
            raise BackendError(f"{self.options.base_url} sent {len(ids)} ids but {len(logprobs)} log-probabilities")
        stopped = bool(ids) and ids[-1] == self.tokenizer.eos_id
        return Completion(ids, logprobs, self.tokenizer.decode(ids), stopped)

    def _body(self, request: Request) -> dict[str, Any]:
        return {
            "model": self._adapter or self._model,
            "prompt": list(request.prompt_ids),
            "max_tokens": request.sampling.max_tokens,
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            # Said, so that no default of the server or of the checkpoint's generation_config.json applies.
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "seed": request.seed & LARGEST_SEED,
            "logprobs": 0,
            "return_token_ids": True,
            "ignore_eos": True,
            "stop_token_ids": [self.tokenizer.eos_id],
        }

    def load_weights(self, model: object) -> None:
        self._check_open()
        if len(self._in_flight):
            raise BackendError("load_weights() while requests are under way: step until they are done")
        self._syncs += 1
        if self.options.sync == "none":
            raise BackendError("sync=none: the server keeps its weights; choose sync=files or sync=nccl to train")
        if self.options.lora == "adapters" and has_adapters(model):
            self._load_adapter(model)
        elif self.options.sync == "nccl":
            self._send_by_nccl(model)
        else:
            self._load_files(model)
        if is_first_process():
            self._reset_prefix_cache()
        wait_for_all()

    def _load_files(self, model: object) -> None:
        folder = self._sync_folder() / f"weights-{self._syncs}"
        save_weights(model, folder)
        if is_first_process():
            arguments = {"weights_path": str(folder)}
            self._control("/collective_rpc", {"method": self._reload_method(), "kwargs": arguments}, fix=DEV_MODE)
            shutil.rmtree(folder)

    def _reload_method(self) -> str:
        """What the server's workers are told; on CPU they need the extension, or tied output layers stay old."""
        if self._reload is None:
            config = self._control("/server_info?config_format=json", None, fix=DEV_MODE)["vllm_config"]
            is_cpu = config["device_config"]["device"] == "cpu"
            if is_cpu and config["parallel_config"]["worker_extension_cls"] != EXTENSION:
                raise BackendError(
                    f"{self.options.base_url} runs on CPU, where a reload misses tied output layers: start the server "
                    f"with --worker-extension-cls {EXTENSION}"
                )
            self._reload = RELOAD if is_cpu else "reload_weights"
        return self._reload

    def _load_adapter(self, model: object) -> None:
        if self.options.sync == "nccl":
            raise BackendError("sync=nccl sends whole weights: use sync=files for adapters, or lora=merged")
        before, name = self._adapter, f"sdar-{self._syncs}"
        folder = self._sync_folder() / name
        save_adapter(model, folder)
        if is_first_process():
            body = {"lora_name": name, "lora_path": str(folder)}
            self._control("/v1/load_lora_adapter", body, fix=LORA_MODE)
            if before is not None:
                self._control("/v1/unload_lora_adapter", {"lora_name": before}, fix=LORA_MODE)
                shutil.rmtree(folder.parent / before)
        # A new name each time: the server keeps what it computed by it.
        self._adapter = name

    def _send_by_nccl(self, model: object) -> None:
        if self._sender is None:
            self._sender = self._make_sender(model)
        self._sender.send_weights()

    def _make_sender(self, model: object) -> Any:
        """The trainer side of vLLM: drives the weight-transfer endpoints of the server and broadcasts beside them."""
        found = installed_vllm()
        if min(self.version, check_version(found, where="this environment", any_version=True)) < TRAINER_NCCL:
            raise BackendError(
                f"sync=nccl needs vLLM {TRAINER_NCCL[0]}.{TRAINER_NCCL[1]} or later here ({found}) and at the server "
                f"({'.'.join(map(str, self.version))}): {FIX}, or use sync=files"
            )
        if not torch.cuda.is_available():
            raise BackendError("sync=nccl needs the trained weights on a GPU: use sync=files")
        from vllm.distributed.weight_transfer.clients import HTTPVLLMWeightSyncClient
        from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        workers = int(self._control("/get_world_size", None, fix=DEV_MODE)["world_size"])
        info = NCCLTrainerInitInfo(
            master_address=self.options.nccl_host or self._own_address(),
            master_port=self.options.nccl_port or _free_port(),
            world_size=1 + workers,
            rank=torch.distributed.get_rank() if torch.distributed.is_initialized() else 0,
        )
        client = HTTPVLLMWeightSyncClient(self.options.base_url, timeout=self.options.timeout_seconds)
        return WeightTransferTrainerFactory.trainer_init(info, client=client, source=weight_source(model))

    def sleep(self) -> None:
        if self.options.sleep_level and is_first_process():
            self._control("/sleep?" + urlencode({"level": self.options.sleep_level}), {}, fix=DEV_MODE)

    def wake_up(self) -> None:
        if self.options.sleep_level and is_first_process():
            self._control("/wake_up", {}, fix=DEV_MODE)

    def close(self) -> None:
        self._is_closed = True
        self._in_flight.close()
        self._client.close()
        if self._sender is not None:
            self._sender.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_for_server(self) -> None:
        patience = time.monotonic() + self.options.wait_seconds
        while True:
            try:
                self._client.get("/health")
                return
            except UnreachableError:
                if time.monotonic() >= patience:
                    raise
                time.sleep(0.5)

    def _served_model(self) -> tuple[str, int | None]:
        served = {model["id"]: model for model in self._client.get("/v1/models")["data"] if not model.get("parent")}
        name = self.options.model or next(iter(served))
        if name not in served or (self.options.model is None and len(served) > 1):
            raise BackendError(
                f"{self.options.base_url} serves {', '.join(served)}, not {name!r}: choose with "
                "--backend-options model=NAME, or start the server with the model that is trained"
            )
        return name, served[name].get("max_model_len")

    def _check_tokenizer(self) -> None:
        body = {"model": self._model, "prompt": PROBE, "add_special_tokens": False}
        theirs = tuple(self._client.post("/tokenize", body)["tokens"])
        if theirs != self.tokenizer.text_ids(PROBE):
            raise BackendError(
                f"model mismatch: {self.options.base_url} serves {self._model}, whose tokenizer gives other ids than "
                "the trained model's: start `vllm serve` with the same model folder"
            )

    def _check_answers(self) -> None:
        """One token, of which only one is allowed: its log-probability is 0 where it is that of the sampler."""
        body = {
            "model": self._model,
            "prompt": list(self.tokenizer.text_ids(PROBE)),
            "max_tokens": 1,
            "temperature": 1.0,
            "logprobs": 0,
            "return_token_ids": True,
            "allowed_token_ids": [self.tokenizer.eos_id],
        }
        choice = self._client.post("/v1/completions", body)["choices"][0]
        if choice.get("token_ids") != [self.tokenizer.eos_id] or not choice.get("logprobs"):
            raise BackendError(f"{self.options.base_url} does not return sampled token ids: {FIX}")
        if abs(choice["logprobs"]["token_logprobs"][0]) > 1e-3:
            raise BackendError(
                f"{self.options.base_url} returns log-probabilities of before temperature and top-p: start the server "
                "with --logprobs-mode processed_logprobs"
            )

    def _reset_prefix_cache(self) -> None:
        answer = self._control("/reset_prefix_cache", {}, fix=DEV_MODE)
        if isinstance(answer, dict) and not answer.get("success", True):
            raise BackendError(
                f"{self.options.base_url} could not drop its prefix cache, so it might answer with old weights: is "
                "someone else using this server?"
            )

    def _control(self, path: str, body: Any, *, fix: str) -> Any:
        try:
            return self._client.get(path) if body is None else self._client.post(path, body)
        except RefusedError as error:
            if error.status == 404 and error.reason == "Not Found":
                raise BackendError(f"{self.options.base_url} has no {path.partition('?')[0]}: {fix}") from error
            raise BackendError(
                f"{error}; the server must see the folder of the weights: same machine, or sync_folder=... on a disk "
                "that both share"
            ) from error

    def _sync_folder(self) -> Path:
        if self._folder is None:
            parent = self.options.sync_folder or shared_memory()
            try:
                self._folder = temporary_folder(self, parent)
            except OSError as error:
                raise BackendError(
                    f"cannot write to the folder for weights, {parent}: {error.strerror}; choose one that this process "
                    "and the server both see with --backend-options sync_folder=..."
                ) from error
        return self._folder

    def _own_address(self) -> str:
        parts = urlsplit(self.options.base_url)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Sends nothing: asks the system which of its addresses faces the server.
            probe.connect((str(parts.hostname), parts.port or 80))
            return str(probe.getsockname()[0])

    def _check_open(self) -> None:
        if self._is_closed:
            raise BackendError("the connection to the vLLM server is closed: make another")


def weight_source(model: object) -> Any:
    """The trained weights as vLLM's trainer side takes them."""
    from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

    class TrainedWeights(WeightSource):  # type: ignore[misc]
        def metadata(self) -> list[Any]:
            return [ParamMeta(weight.name, weight.dtype, weight.shape) for weight in weight_shapes(model)]

        def __iter__(self) -> Any:
            return full_weights(model)

    return TrainedWeights()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
