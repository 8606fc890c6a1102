"""What moves in a run besides weights and optimizer: generators, the retriever's state, signals."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from sdar_agents.teacher import PrivilegedContext
from sdar_skills.retrievers.base import StatefulRetriever


def capture_moving(context: PrivilegedContext | None, signals: Mapping[str, float]) -> dict[str, Any]:
    """Plain values and tensors from which `restore_moving` brings a run back to this moment.

    The tasks of a step, the order of its rows and the seeds of its draws are functions of (seed, step), so the step's
    number is their whole state.
    """
    state: dict[str, Any] = {"generators": capture_generators(), "signals": dict(signals)}
    if context is not None:
        state["context"] = context.state_dict()
        if isinstance(context.retriever, StatefulRetriever):
            state["retriever"] = context.retriever.state_dict()
    return state


def restore_moving(context: PrivilegedContext | None, signals: dict[str, float], state: dict[str, Any]) -> None:
    """Bring a run back to the moment of `capture_moving`."""
    restore_generators(state["generators"])
    signals.clear()
    # Checkpoints of before there were signals have none.
    signals.update(state.get("signals", {}))
    if context is not None and "context" in state:
        context.load_state_dict(state["context"])
        if isinstance(context.retriever, StatefulRetriever) and "retriever" in state:
            context.retriever.load_state_dict(state["retriever"])


def capture_generators() -> dict[str, Any]:
    """State of the global generators of Python, NumPy and torch, on the CPU and on every CUDA device.

    This package draws from none of them; third parties' environments and retrievers may.
    """
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(kind), torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, float(cached)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_generators(state: dict[str, Any]) -> None:
    """Set the global generators; those of CUDA devices that are not there any more are left out."""
    random.setstate(state["python"])
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        for device, values in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(values, device)
