"""From a name and settings to an engine; the only place where engines are constructed for a run."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Literal

from sdar_agents.backends import BACKENDS, check_backend
from sdar_agents.backends.base import Backend, BackendError, BackendSetup
from sdar_agents.policy import load_policy, load_tokenizer
from sdar_agents.tokens import ChatTokenizer

Purpose = Literal["training", "evaluation"]


def backend_class(name: str) -> type[Backend]:
    """The class of a registered engine, or of `module:Class`.

    Raises:
        BackendError: no such engine; the text suggests the nearest.
    """
    check_backend(name)
    module, _, attribute = BACKENDS.get(name, name).partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise BackendError(f"the engine {name!r} does not import: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise BackendError(f"{name!r} is not an engine: it must be a subclass of sdar_agents.backends.Backend")
    return found


def make_backend(
    name: str,
    *,
    model: Any | None,
    tokenizer: ChatTokenizer,
    source: str,
    settings: Sequence[str] = (),
    dtype: str = "auto",
    purpose: Purpose = "training",
) -> Backend:
    """An engine, ready to take requests.

    Args:
        name: Of the registry, or `module:Class`.
        model: The trained module; may be None for engines with weights of their own.
        source: The model's name as it was given, for engines that load it themselves.
        settings: `NAME=VALUE` each; `docs/backends.md` lists them.

    Raises:
        BackendError: no such engine or setting; an engine that cannot be used here, or not for this purpose.
    """
    kind = backend_class(name)
    if purpose == "training" and not kind.for_training:
        raise BackendError(
            f"the engine {name!r} takes text and returns text, without the sampled token ids and their "
            "log-probabilities that a policy gradient needs: train with hf, vllm or vllm_server"
        )
    backend = kind.from_setup(BackendSetup(model, tokenizer, source, dtype), settings)
    if purpose == "training" and not kind.shares_module:
        # A server may still have the weights of another run.
        backend.load_weights(model)
    return backend


def agent_engine(
    name: str, *, source: str, settings: Sequence[str], dtype: str, device: str
) -> tuple[Backend, ChatTokenizer]:
    """An engine that plays a model as it is, and the tokenizer of its prompts.

    Weights are loaded into this process only for engines that generate with them here.

    Args:
        source: The model: `tiny`, a folder or a hub id. An endpoint's model is named in `settings`.
        device: Of a model in this process.
    """
    kind = backend_class(name)
    if kind.shares_module:
        model, tokenizer = load_policy(source, dtype=dtype, device=device)
    else:
        model, tokenizer = None, load_tokenizer(kind.tokenizer_source(source, settings))
    return kind.from_setup(BackendSetup(model, tokenizer, source, dtype), settings), tokenizer
