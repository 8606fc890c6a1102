"""Published model shapes with random weights that are drawn where they are used: speed does not depend on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import torch

from sdar_agents.tiny_model import TinyShape
from sdar_agents.tokens import ChatTokenizer


@dataclass(frozen=True, slots=True)
class Architecture(TinyShape):
    """A published shape.

    Attributes:
        kind: `qwen3` normalises queries and keys, `qwen2` has biases on them.
        vocabulary: Of the embedding, tied to the output layer. The tokenizer here is a small one: ids beyond it are
            drawn and trained on like any other, and decode to nothing.
    """

    kind: Literal["qwen2", "qwen3"] = "qwen3"


PUBLISHED_VOCABULARY = 151_936

# hidden, layers, heads, kv heads, head size, feed-forward: config.json of Qwen/Qwen3-0.6B, Qwen/Qwen3-1.7B and
# Qwen/Qwen2.5-3B-Instruct. `smoke` is for tests of the scripts.
SIZES: dict[str, Architecture] = {
    "smoke": Architecture(32, 2, 4, 2, 8, 64, vocabulary=2_000, context=8192),
    "qwen3-0.6b": Architecture(1024, 28, 16, 8, 128, 3072, vocabulary=PUBLISHED_VOCABULARY, context=40_960),
    "qwen3-1.7b": Architecture(2048, 28, 16, 8, 128, 6144, vocabulary=PUBLISHED_VOCABULARY, context=40_960),
    "qwen2.5-3b": Architecture(
        2048, 36, 16, 2, 128, 11_008, vocabulary=PUBLISHED_VOCABULARY, context=32_768, kind="qwen2"
    ),
}


def model_config(shape: Architecture, tokenizer: ChatTokenizer) -> Any:
    """The transformers config of a shape."""
    from transformers import Qwen2Config, Qwen3Config

    if shape.vocabulary < len(tokenizer.tokenizer):
        raise ValueError(f"a vocabulary of {shape.vocabulary} for a tokenizer of {len(tokenizer.tokenizer)}")
    settings: dict[str, Any] = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": shape.context,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
    }
    if shape.kind == "qwen2":
        return Qwen2Config(**settings, architectures=["Qwen2ForCausalLM"])
    return Qwen3Config(**settings, head_dim=shape.head_size, architectures=["Qwen3ForCausalLM"])


def write_folder(shape: Architecture, tokenizer: ChatTokenizer, folder: Path) -> Path:
    """A model folder without weights; load it inside `random_weights`."""
    folder.mkdir(parents=True, exist_ok=True)
    model_config(shape, tokenizer).save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@contextmanager
def random_weights(device: str, seed: int = 0) -> Iterator[None]:
    """Models that are loaded in the block get random weights, drawn on `device`, in place of those in their folder.

    A file of 12 GB need not be written and read to time a model of 3 billion parameters.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    def draw(source: str, **settings: Any) -> Any:
        cuda = [torch.cuda.current_device()] if device.startswith("cuda") else []
        with torch.random.fork_rng(devices=cuda), torch.device(device):
            torch.manual_seed(seed)
            return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source), **settings)

    with patch.object(AutoModelForCausalLM, "from_pretrained", draw):
        yield
