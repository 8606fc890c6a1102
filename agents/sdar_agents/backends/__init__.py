"""Rollout engines: token ids in, sampled token ids out."""

from sdar_agents.backends.base import Backend, BackendError, BackendSetup, Finished, Request
from sdar_gym.errors import unknown

BACKENDS: dict[str, str] = {
    "hf": "sdar_agents.backends.hf:HFBackend",
    "scripted": "sdar_agents.backends.scripted:ScriptedBackend",
    "vllm": "sdar_agents.backends.vllm:VLLMBackend",
    "vllm_server": "sdar_agents.backends.vllm_server:VLLMServerBackend",
    "openai": "sdar_agents.backends.openai:OpenAIBackend",
}

__all__ = ["BACKENDS", "Backend", "BackendError", "BackendSetup", "Finished", "Request", "check_backend"]


def check_backend(name: str) -> None:
    """Refuse a misspelt name; imports nothing.

    Raises:
        BackendError: the text suggests the nearest.
    """
    if name not in BACKENDS and ":" not in name:
        raise BackendError(unknown("backend", name, BACKENDS))
