"""Rollout engines: token ids in, sampled token ids out."""

from sdar_agents.backends.base import Backend, BackendError, Finished, Request

BACKENDS: dict[str, str] = {
    "hf": "sdar_agents.backends.hf:HFBackend",
    "scripted": "sdar_agents.backends.scripted:ScriptedBackend",
}

__all__ = ["BACKENDS", "Backend", "BackendError", "Finished", "Request"]
