"""The trained model: loading, LoRA, and the scores (log-probabilities) that losses are made of."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from sdar_agents.distributed import load_full_model_state
from sdar_agents.learners.base import TokenScores
from sdar_agents.tokens import ChatTokenizer
from sdar_agents.tree_attention import register_tree_attention
from sdar_gym.errors import unknown

Tuning = Literal["full", "lora"]
TINY = "tiny"
"""Name of the warmed-up model that ships with the package: of the household, or of the environment that is played."""
TINY_OF = {"sdar_gym/WebShopMini-v0": "tiny_webshop", "sdar_gym/SearchQAMini-v0": "tiny_search_qa"}
"""Gymnasium id -> the warmed-up model of an environment that has one of its own."""
BUNDLED = (TINY, *TINY_OF.values())
"""Names of all models that ship with the package; their folders are called so."""


class ModelError(ValueError):
    """A model that cannot be loaded or used, and what to do about it."""


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Low-rank adapters (Hu et al., 2021) on every linear layer, by peft.

    Attributes:
        rank: Rank of the update.
        alpha: Scale; the update is multiplied by alpha / rank.
    """

    rank: int = 16
    alpha: int = 32


def load_policy(
    model: str,
    *,
    dtype: str = "auto",
    device: str = "cpu",
    tuning: Tuning = "full",
    lora: LoraSettings | None = None,
    seed: int = 0,
) -> tuple[Any, ChatTokenizer]:
    """A causal language model and its tokenizer.

    Args:
        model: A name of `BUNDLED`, a folder with transformers files, or a hub id.
        dtype: `auto` (the checkpoint's on GPU, float32 on CPU, where half precision is slower), or a torch name.
        tuning: Train all weights, or adapters only.
        seed: Of the adapters' first weights.

    Raises:
        ModelError: no such folder or hub id, files that do not load, or no chat template.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    source = str(bundled_tiny(model)) if model in BUNDLED else model
    # The same as sdpa but for packed rows, see `tree_attention`.
    attention = register_tree_attention() if device.startswith("cuda") else "sdpa"
    looks_local = model not in BUNDLED and (source.startswith((".", "/", "~")) or Path(source).exists())
    folder = Path(source).expanduser()
    # A folder of adapters names its base model; transformers loads both.
    if looks_local and not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise ModelError(f"no model in {source}: expected a folder with config.json, weights and tokenizer files")
    try:
        tokenizer = ChatTokenizer(AutoTokenizer.from_pretrained(str(folder) if looks_local else source), source=model)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(folder) if looks_local else source, dtype=_dtype(dtype, device), attn_implementation=attention
        )
    except (OSError, KeyError) as error:
        raise ModelError(
            f"cannot load the model {model!r}: {str(error).splitlines()[0]} "
            f"(give {TINY!r}, a folder that holds a transformers model, or a hub id that can be reached)"
        ) from error
    loaded = loaded.to(device)
    # Dropout would make old and new log-probabilities differ for no reason.
    loaded.eval()
    if tuning == "lora":
        loaded = with_lora(loaded, lora or LoraSettings(), seed=seed)
    return loaded, tokenizer


def load_tokenizer(model: str) -> ChatTokenizer:
    """The tokenizer of a model, for engines that hold the weights elsewhere.

    Raises:
        ModelError: no such folder or hub id, or no tokenizer in it.
    """
    from transformers import AutoTokenizer

    source = model_folder(model)
    try:
        found = AutoTokenizer.from_pretrained(str(source) if source.is_dir() else model)
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(f"cannot load the tokenizer of {model!r}: {str(error).splitlines()[0]}") from error
    return ChatTokenizer(found, source=model)


def model_of(model: str, env_id: str) -> str:
    """The model that is meant for an environment: `tiny` is the environment's own where it has one."""
    return TINY_OF.get(env_id, model) if model == TINY else model


def bundled_tiny(name: str = TINY) -> Path:
    """Folder of a tiny model in the package.

    Args:
        name: One of `BUNDLED`.

    Raises:
        ModelError: the package was built without it.
    """
    folder = Path(__file__).parent / "models" / name
    if not (folder / "config.json").is_file():
        raise ModelError(f"the bundled model {name!r} is missing from this installation: run `sdar-gym warmup`")
    return folder


def model_folder(model: str) -> Path:
    """Where a model would lie that is bundled or named by a folder; whether it is there is not asked."""
    return bundled_tiny(model) if model in BUNDLED else Path(model).expanduser()


def with_lora(model: Any, settings: LoraSettings, *, seed: int = 0) -> Any:
    """The model with adapters on its linear layers; only they are trained. The same seed, the same first weights."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ModelError('LoRA needs peft: pip install "sdar-gym[lora]"') from error
    adapters = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    # peft draws from the global generators; what else is drawn from them must not notice.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(model, adapters)


class WithoutAdapters:
    """The base weights under a LoRA model, without a second copy in memory."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, **inputs: Any) -> Any:
        with self.model.disable_adapter():
            return self.model(**inputs)

    def parameters(self) -> Any:
        return self.model.parameters()


def initial_weights(model: Any) -> Any:
    """The model as it is now, for good: a copy, or the base under fresh LoRA adapters."""
    return WithoutAdapters(model) if hasattr(model, "disable_adapter") else frozen_copy(model)


def frozen_copy(model: Any) -> Any:
    """A copy whose weights never get a gradient."""
    twin = copy.deepcopy(model)
    twin.requires_grad_(False)
    return twin


@torch.no_grad()
def take_over(copy: Any, model: Any) -> None:
    """Make a frozen copy equal to the model again; of adapters alone, where only they are trained."""
    for own, now in zip(copy.parameters(), model.parameters(), strict=True):
        if now.requires_grad:
            own.copy_(now)


@torch.no_grad()
def move_towards(average: Any, model: Any, decay: float) -> None:
    """Exponential moving average: average <- decay * average + (1 - decay) * model."""
    for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast.to(slow.dtype), 1.0 - decay)


def load_weights(model: Any, folder: Path) -> None:
    """Take over the weights that `save_pretrained` wrote: all of them, or the adapters of a LoRA model."""
    if hasattr(model, "disable_adapter"):
        from safetensors.torch import load_file

        # peft's files leave out the adapter's name, which is "default" in the module.
        saved = load_file(folder / "adapter_model.safetensors")
        named = {re.sub(r"\.(lora_[AB])\.", r".\1.default.", name): value for name, value in saved.items()}
        load_full_model_state(model, named, partial=True)
        return
    from transformers import AutoModelForCausalLM

    saved_model = AutoModelForCausalLM.from_pretrained(folder, dtype=next(model.parameters()).dtype)
    load_full_model_state(model, saved_model.state_dict())


def score(
    model: Any,
    *,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    response_ids: torch.Tensor,
    response_mask: torch.Tensor,
    temperature: float = 1.0,
    entropy: bool = False,
    distribution: bool = False,
) -> TokenScores:
    """What the model says of each response token, under the sampler's temperature.

    Args:
        prompt_ids, prompt_mask: [N, P], padded on the left.
        response_ids, response_mask: [N, R], padded on the right.
        temperature: Of the rollout, so that ratios compare like with like; must be above 0.
        entropy: Also the entropy a token.
        distribution: Also the log-probabilities of the whole vocabulary (memory: N x R x V floats).

    Returns:
        Scores in float32; what stands under padding is meaningless and must be masked.
    """
    device = next(model.parameters()).device
    mask = torch.cat([prompt_mask, response_mask], dim=1)  # [N, P+R]
    ids = torch.cat([prompt_ids, response_ids], dim=1)
    response = response_ids.shape[1]
    logits = model(
        input_ids=ids.to(device),
        attention_mask=mask.long().to(device),
        position_ids=(mask.long().cumsum(1) - 1).clamp(min=0).to(device),
        use_cache=False,
        logits_to_keep=response + 1,
    ).logits  # [N, R+1, V]
    log_probabilities = torch.log_softmax(logits[:, :-1].float() / temperature, dim=-1)  # [N, R, V]
    logprobs = log_probabilities.gather(-1, response_ids.to(device)[..., None]).squeeze(-1)
    entropies = -(log_probabilities.exp() * log_probabilities).sum(-1) if entropy else None
    return TokenScores(logprobs, entropies, log_probabilities if distribution else None)


def _dtype(name: str, device: str) -> torch.dtype | str:
    if name == "auto":
        return torch.float32 if device == "cpu" else "auto"
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ModelError(f"unknown dtype {name!r}; known: auto, float32, bfloat16, float16")
    return dtype


def compute_dtype(name: str, device: str) -> torch.dtype:
    """What layers compute in: `auto` is bfloat16 on a GPU and float32 on a CPU, where half precision is slower.

    Raises:
        ModelError: no such type.
    """
    if name == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if name not in known:
        raise ModelError(unknown("dtype", name, ("auto", *known)))
    return known[name]
