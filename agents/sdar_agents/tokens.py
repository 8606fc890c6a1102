"""Messages to token ids, through the model's own chat template, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Ids = tuple[int, ...]
KEPT_PROMPTS = 4096


class ChatTokenizer:
    """A transformers tokenizer that speaks in whole chat prompts.

    Only prompts are tokenised from text; a response is kept as the ids that were sampled.

    Raises:
        ValueError: the tokenizer has no chat template, or no end-of-turn token.
    """

    def __init__(self, tokenizer: Any, *, source: str) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ValueError(
                f"the tokenizer of {source} has no chat template: use an instruction-tuned model, or put a "
                "chat_template.jinja (or `chat_template` in tokenizer_config.json) into its folder"
            )
        if tokenizer.eos_token_id is None:
            raise ValueError(f"the tokenizer of {source} has no end-of-turn (eos) token: set `eos_token` in its config")
        self.tokenizer = tokenizer
        self.eos_id = int(tokenizer.eos_token_id)
        self._known: dict[str, Ids] = {}
        self.pad_id = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)

    def prompt_ids(self, message: str) -> Ids:
        """Ids of one user message, up to where the assistant's turn begins.

        Qwen3's template would open a reasoning block of its own; the suite asks for `<think>` in its own words, so
        that mode is switched off, as in the official code.
        """
        if message not in self._known:
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": message}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
            )
            # A message is asked for several times (budget, prompt, group members), but not for long.
            if len(self._known) >= KEPT_PROMPTS:
                self._known.clear()
            self._known[message] = self.text_ids(text)
        return self._known[message]

    def count(self, message: str) -> int:
        """Tokens of `prompt_ids(message)`."""
        return len(self.prompt_ids(message))

    def text_ids(self, text: str) -> Ids:
        """Ids of plain text, without any template."""
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: Ids | list[int]) -> str:
        """Text of ids, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def save(self, folder: Path) -> None:
        """Write the tokenizer beside a model's weights."""
        self.tokenizer.save_pretrained(folder)
