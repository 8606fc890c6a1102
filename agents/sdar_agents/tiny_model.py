"""A Qwen3-architecture model of a few hundred thousand parameters, its tokenizer, and supervised training for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sdar_agents.batch import pad_right
from sdar_agents.tokens import ChatTokenizer

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class TinyShape:
    """Size of a tiny model.

    Attributes:
        hidden: Width.
        layers: Depth.
        heads, kv_heads, head_size: Attention; grouped queries as in Qwen3.
        feed_forward: Width of the gated MLP.
        vocabulary: Largest number of tokens; byte-level, so any text can be written.
        context: Longest sequence, in tokens.
    """

    hidden: int = 64
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 16
    feed_forward: int = 192
    vocabulary: int = 640
    context: int = 4096


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> ChatTokenizer:
    """A byte-level BPE tokenizer with a ChatML-style template, learned from `texts`.

    Frequent words become one token; any other text still goes through, byte by byte, and comes back unchanged.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(set(texts)), trainer)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[TURN_START],
        chat_template=CHAT_TEMPLATE,
    )
    return ChatTokenizer(fast, source="the tiny model")


def build_model(shape: TinyShape, tokenizer: ChatTokenizer, seed: int) -> Any:
    """A randomly initialised Qwen3 causal language model; the same seed gives the same weights."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=len(tokenizer.tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_id,
        pad_token_id=tokenizer.pad_id,
    )
    # transformers draws initial weights from the global generator; its state is put back afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config).eval()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the response that is to be imitated.

    Attributes:
        prompt_ids: Context, never a label.
        response_ids: Labels, the end-of-turn token included.
    """

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SupervisedSettings:
    """How a tiny model is warmed up.

    Attributes:
        epochs: Passes over the examples.
        batch_tokens: Padded tokens a batch.
        matrix_learning_rate: Muon's, for the weight matrices inside the layers.
        other_learning_rate: AdamW's, for embeddings and norms.
        seed: Order of the examples.
    """

    epochs: int = 2
    batch_tokens: int = 2048
    matrix_learning_rate: float = 0.02
    other_learning_rate: float = 5e-3
    seed: int = 0


def supervise(
    model: Any,
    examples: Sequence[Example],
    settings: SupervisedSettings,
    *,
    pad_id: int,
    on_batch: Callable[[int, int, float], None] = lambda _done, _total, _loss: None,
) -> list[float]:
    """Teach a model to imitate the examples: next-token cross-entropy on the responses.

    Args:
        on_batch: Called after each update with (updates done, updates in all, loss).

    Returns:
        The loss in nats a token after each update.
    """
    batches = _batches(examples, settings)
    optimizers = _optimizers(model, settings)
    total, losses = len(batches), []
    for done, rows in enumerate(batches):
        # Warm-up for 5 % of the updates, then a straight line to a tenth.
        scale = min(1.0, (done + 1) / max(1, total // 20)) * (1.0 - 0.9 * done / total)
        loss = _imitation_loss(model, [examples[row] for row in rows], pad_id)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        on_batch(done + 1, total, losses[-1])
    return losses


def _batches(examples: Sequence[Example], settings: SupervisedSettings) -> list[list[int]]:
    generator = np.random.default_rng(settings.seed)
    lengths = [len(example.prompt_ids) + len(example.response_ids) for example in examples]
    batches: list[list[int]] = []
    for _ in range(settings.epochs):
        # Shuffle, then sort within large blocks: little padding, and still a new order each epoch.
        order = generator.permutation(len(examples)).tolist()
        epoch: list[list[int]] = []
        for start in range(0, len(order), 2048):
            block = sorted(order[start : start + 2048], key=lambda row: lengths[row])
            current: list[int] = []
            for row in block:
                if current and lengths[row] * (len(current) + 1) > settings.batch_tokens:
                    epoch.append(current)
                    current = []
                current.append(row)
            epoch.append(current)
        batches += [epoch[position] for position in generator.permutation(len(epoch)).tolist()]
    return batches


def _optimizers(model: Any, settings: SupervisedSettings) -> list[tuple[torch.optim.Optimizer, float]]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    known = {id(parameter) for parameter in matrices}
    others = [p for p in model.parameters() if id(p) not in known]
    return [
        (torch.optim.Muon(matrices, lr=settings.matrix_learning_rate, weight_decay=0.0), settings.matrix_learning_rate),
        (torch.optim.AdamW(others, lr=settings.other_learning_rate, weight_decay=0.0), settings.other_learning_rate),
    ]


def _imitation_loss(model: Any, examples: Sequence[Example], pad_id: int) -> torch.Tensor:
    ids, mask = pad_right([example.prompt_ids + example.response_ids for example in examples], pad_id)
    labels = torch.zeros_like(mask)
    for row, example in enumerate(examples):
        labels[row, len(example.prompt_ids) : len(example.prompt_ids) + len(example.response_ids)] = True
    device = next(model.parameters()).device
    ids, mask, labels = ids.to(device), mask.to(device), labels.to(device)
    hidden = model.model(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state
    # Only label positions reach the vocabulary: most of a row is prompt.
    predicted = model.lm_head(hidden[:, :-1][labels[:, 1:]])  # [labels, V]
    return torch.nn.functional.cross_entropy(predicted, ids[:, 1:][labels[:, 1:]])
