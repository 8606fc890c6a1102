"""A server that speaks the JSON of `vllm serve` (recorded in `golden/`), with a transformers model behind it.

It knows what the two server engines use: completions over token ids, chat completions, tokenisation, weights and
adapters from folders, the prefix cache. Like the real one it answers from what it remembers until it is told to forget:
an engine that does not reset the cache after new weights gets old answers.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from sdar_agents.backends.hf import HFBackend
from sdar_agents.episode import Completion, Sampling
from sdar_agents.policy import frozen_copy
from sdar_agents.tokens import ChatTokenizer


class ServerError(Exception):
    """An error that the server answers with."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


@dataclass
class FakeVLLM:
    """State and behaviour of the server.

    Attributes:
        model: A copy is served, so that only what goes over the wire changes it.
        version: What `/version` says.
        served: Name of the model.
        max_model_len: Its context.
        dev_mode: Whether the endpoints for weights exist.
        device, extension: Where it runs, and the class that was mixed into its workers.
        processed: False gives log-probabilities of before the temperature, as without `--logprobs-mode`.
        failures: Statuses that the next answers have, first one first; `retry_after` goes with them.
        keeps_connections: False closes each connection after its answer, as an idle server does.
        delay_seconds: How long an answer takes.
        calls: Paths asked for, with the bodies.
        authorizations: What clients sent to prove who they are.
        most_at_once: Largest number of completions that were under way together.
    """

    model: Any
    tokenizer: ChatTokenizer
    version: str = "0.32.0"
    served: str = "policy"
    max_model_len: int = 512
    dev_mode: bool = True
    device: str = "cuda"
    extension: str = ""
    processed: bool = True
    failures: list[int] = field(default_factory=list)
    retry_after: str | None = None
    keeps_connections: bool = True
    delay_seconds: float = 0.0
    calls: list[tuple[str, Any]] = field(default_factory=list)
    authorizations: set[str | None] = field(default_factory=set)
    most_at_once: int = 0

    def __post_init__(self) -> None:
        self._served = {self.served: frozen_copy(self.model)}
        self._cache: dict[str, Completion] = {}
        self._lock = threading.Lock()
        self._under_way = 0
        self._base = self._served[self.served]

    def answer(self, method: str, path: str, body: Any) -> Any:
        """What the server says; raises `ServerError` for an error."""
        self.calls.append((path, body))
        if self.failures and "completions" in path:
            raise ServerError(
                self.failures.pop(0), "busy", {"Retry-After": self.retry_after} if self.retry_after is not None else {}
            )
        name = path.partition("?")[0].strip("/").removeprefix("v1/").replace("/", "_")
        dev = ("collective_rpc", "server_info", "reset_prefix_cache", "get_world_size", "sleep", "wake_up")
        lora = ("load_lora_adapter", "unload_lora_adapter")
        handler = getattr(self, f"_{name}", None)
        if handler is None or (not self.dev_mode and name in (*dev, *lora)):
            raise ServerError(404, "Not Found")
        return handler(body)

    def _health(self, body: Any) -> None:
        return None

    def _version(self, body: Any) -> Any:
        return {"version": self.version}

    def _models(self, body: Any) -> Any:
        listed = [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "vllm",
                "root": "/models/policy",
                "parent": None if name == self.served else self.served,
                "max_model_len": self.max_model_len if name == self.served else None,
                "permission": [],
            }
            for name in self._served
        ]
        return {"object": "list", "data": listed}

    def _tokenize(self, body: Any) -> Any:
        ids = list(self.tokenizer.text_ids(body["prompt"]))
        return {"count": len(ids), "max_model_len": self.max_model_len, "tokens": ids, "token_strs": None}

    def _completions(self, body: Any) -> Any:
        model = self._find(body)
        prompt, longest = body["prompt"], body["max_tokens"]
        if not 0 <= body["temperature"] <= 2:
            raise ServerError(400, f"temperature must be in [0, 2], got {body['temperature']}.")
        if len(prompt) + longest > self.max_model_len:
            raise ServerError(400, f"max_tokens={longest} cannot be greater than max_model_len={self.max_model_len}.")
        if body.get("allowed_token_ids"):
            (only,) = body["allowed_token_ids"]
            done = Completion((only,), (0.0 if self.processed else -3.0,), "", True)
        else:
            done = self._generate(model, body, tuple(prompt), longest, body["seed"])
        tokens = [self.tokenizer.tokenizer.convert_ids_to_tokens(token) for token in done.token_ids]
        return {
            "id": "cmpl-0",
            "object": "text_completion",
            "created": 0,
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "text": done.text,
                    "logprobs": {
                        "text_offset": [0] * len(tokens),
                        "token_logprobs": list(done.logprobs),
                        "tokens": tokens,
                        "top_logprobs": [{t: p} for t, p in zip(tokens, done.logprobs, strict=True)],
                    },
                    "finish_reason": "stop" if done.stopped else "length",
                    "stop_reason": done.token_ids[-1] if done.stopped else None,
                    "token_ids": list(done.token_ids) if body.get("return_token_ids") else None,
                    "prompt_logprobs": None,
                    "prompt_token_ids": list(prompt) if body.get("return_token_ids") else None,
                    "routed_experts": None,
                }
            ],
            **self._trailer(len(prompt), len(done.token_ids)),
        }

    def _chat_completions(self, body: Any) -> Any:
        model = self._find(body)
        (message,) = body["messages"]
        prompt = self.tokenizer.prompt_ids(message["content"])
        longest = body.get("max_completion_tokens") or body["max_tokens"]
        done = self._generate(model, body, prompt, longest, body.get("seed", 0))
        pieces = [self.tokenizer.decode([token]) for token in done.token_ids]
        content = [
            {"token": piece, "logprob": value, "bytes": list(piece.encode()), "top_logprobs": []}
            for piece, value in zip(pieces, done.logprobs, strict=True)
        ]
        return {
            "id": "chatcmpl-0",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": done.text,
                        "refusal": None,
                        "annotations": None,
                        "audio": None,
                        "function_call": None,
                        "reasoning": None,
                    },
                    "logprobs": {"content": content} if body.get("logprobs") else None,
                    "finish_reason": "stop" if done.stopped else "length",
                    "stop_reason": None,
                    "token_ids": None,
                    "routed_experts": None,
                }
            ],
            **self._trailer(len(prompt), len(done.token_ids)),
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "prompt_text": None,
        }

    def _trailer(self, prompt: int, completion: int) -> dict[str, Any]:
        return {
            "service_tier": None,
            "system_fingerprint": f"vllm-{self.version}",
            "usage": {
                "prompt_tokens": prompt,
                "total_tokens": prompt + completion,
                "completion_tokens": completion,
                "prompt_tokens_details": None,
                "completion_tokens_details": None,
            },
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }

    def _collective_rpc(self, body: Any) -> Any:
        assert body["method"] == ("reload_weights" if self.device == "cuda" else "reload_weights_and_head")
        self.reload(body)
        return {"results": [None]}

    def reload(self, body: Any) -> None:
        """Take over the weights of a folder."""
        state: dict[str, torch.Tensor] = {}
        for file in sorted(Path(body["kwargs"]["weights_path"]).glob("*.safetensors")):
            state |= load_file(file)
        missing, unexpected = self._base.load_state_dict(state, strict=False)
        if unexpected or set(missing) - {"lm_head.weight"}:
            raise ServerError(500, f"unexpected {unexpected}, missing {missing}")

    def _reset_prefix_cache(self, body: Any) -> Any:
        self._cache.clear()
        return {"success": True}

    def _server_info(self, body: Any) -> Any:
        parallel = {"worker_extension_cls": self.extension}
        return {"vllm_config": {"device_config": {"device": self.device}, "parallel_config": parallel}, "vllm_env": {}}

    def _sleep(self, body: Any) -> Any:
        return {"status": "sleeping", "level": 1}

    def _wake_up(self, body: Any) -> Any:
        return {"status": "awake", "tags": None}

    def _get_world_size(self, body: Any) -> Any:
        return {"world_size": 1}

    def _load_lora_adapter(self, body: Any) -> Any:
        if body["lora_path"].startswith("/models/nothing"):
            raise ServerError(404, f"Loading lora {body['lora_name']} failed: No adapter found for <path>")
        self.add_adapter(body["lora_name"], self.adapt(body))
        return f"Success: LoRA adapter '{body['lora_name']}' added successfully."

    def adapt(self, body: Any) -> Any:
        """The model under the adapters of a folder."""
        from peft import PeftModel

        adapted = PeftModel.from_pretrained(frozen_copy(self._base), body["lora_path"])
        return adapted.merge_and_unload()

    def add_adapter(self, name: str, model: Any) -> None:
        """Serve it under a name."""
        self._served[name] = model

    def _unload_lora_adapter(self, body: Any) -> Any:
        del self._served[body["lora_name"]]
        return f"Success: LoRA adapter '{body['lora_name']}' removed successfully."

    def _find(self, body: Any) -> Any:
        if body["model"] not in self._served:
            known = ", ".join(self._served)
            raise ServerError(404, f"The model `{body['model']}` does not exist. Valid aliases: {known}.")
        return self._served[body["model"]]

    def _generate(self, model: Any, body: Any, prompt: tuple[int, ...], longest: int, seed: int) -> Completion:
        key = json.dumps([body["model"], prompt, longest, seed, body["temperature"], body["top_p"]])
        with self._lock:
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        if self.delay_seconds:
            threading.Event().wait(self.delay_seconds)
        with self._lock:
            if key not in self._cache:
                sampling = Sampling(temperature=body["temperature"], top_p=body["top_p"], max_tokens=longest)
                backend = HFBackend(model, self.tokenizer)
                self._cache[key] = backend.generate([prompt], sampling, [seed])[0]
            self._under_way -= 1
        return replace(self._cache[key])


@contextlib.contextmanager
def serving(fake: FakeVLLM, port: int = 0) -> Iterator[str]:
    """The fake behind a port of this machine; its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._respond(None)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self._respond(json.loads(self.rfile.read(length)) if length else None)

        def _respond(self, body: Any) -> None:
            status, headers = 200, dict[str, str]()
            fake.authorizations.add(self.headers.get("Authorization"))
            try:
                found = fake.answer(self.command, self.path, body)
                data = (
                    b"" if found is None else found.encode() if isinstance(found, str) else json.dumps(found).encode()
                )
            except ServerError as problem:
                status, headers = problem.status, problem.headers
                unknown_path = {"detail": "Not Found"}
                named = {"message": str(problem), "type": "Error", "param": None, "code": status}
                data = json.dumps(unknown_path if str(problem) == "Not Found" else {"error": named}).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            if not fake.keeps_connections:
                # Not announced: the client finds out when it asks again.
                self.close_connection = True
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

    server = Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
