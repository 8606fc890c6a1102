"""Warming up a tiny model: imitate demonstrations in many randomised worlds, with their skills in the prompt or not.

What comes out obeys a skill in its prompt and is unsure without one, because every demonstration with a skill is of a
world of its own, whose habits no weights can know. That difference is what a self-teacher teaches. What the worlds are,
and who demonstrates, is in `warmup_alfworld.py` and `warmup_webshop.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from sdar_agents.setup import STYLE_FILE
from sdar_agents.tiny_model import Example, SupervisedSettings, TinyShape, build_model, supervise, train_tokenizer
from sdar_agents.tokens import ChatTokenizer
from sdar_gym.prompts import PromptStyle

RECIPE_FILE = "recipe.json"
OnProgress = Callable[[str, int, int, float], None]
"""Called with (phase, done, total, loss)."""


class Recipe(Protocol):
    """Everything that decides a warmed-up model: a frozen dataclass, with what its world needs besides.

    Attributes:
        demonstrations: Episodes, each in a random world.
        seed: Of worlds, tasks, moves and initial weights.
        shape: Size of the model.
        training: How it imitates.
    """

    @property
    def demonstrations(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def shape(self) -> TinyShape: ...
    @property
    def training(self) -> SupervisedSettings: ...


R = TypeVar("R", bound=Recipe)


@dataclass(frozen=True, slots=True)
class DemonstratedTurn:
    """A prompt as text, and the action that the demonstrator chose there."""

    message: str
    action: str


@dataclass(frozen=True, slots=True)
class Warmup(Generic[R]):
    """How the tiny model of an environment is made.

    Attributes:
        model: Its name, and that of its folder in the package.
        env: Gymnasium id of the environment.
        env_options: The settings with which it is played, as the command line writes them.
        style: Of the prompts.
        preset: That trains it.
        recipe: The recipe of what ships.
        demonstrate: Plays a recipe's demonstrations; each yields the turns that are to be imitated.
    """

    model: str
    env: str
    env_options: tuple[str, ...]
    style: PromptStyle
    preset: str
    recipe: R
    demonstrate: Callable[[R], Iterator[list[DemonstratedTurn]]]


def content_hash(recipe: Recipe) -> str:
    """16 hex digits: recipes that differ in any number make different models."""
    text = json.dumps(_numbers(recipe), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _numbers(recipe: Recipe) -> dict[str, Any]:
    return dataclasses.asdict(recipe)  # type: ignore[call-overload,no-any-return]


def cache_folder(model: str, recipe: Recipe) -> Path:
    """Where a model of this recipe is kept: `$SDAR_GYM_CACHE` or `~/.cache/sdar-gym`."""
    root = os.environ.get("SDAR_GYM_CACHE") or Path.home() / ".cache" / "sdar-gym"
    return Path(root) / f"{model}-{content_hash(recipe)}"


def is_built(folder: Path, recipe: Recipe) -> bool:
    """Whether a folder holds the model of exactly this recipe."""
    file = folder / RECIPE_FILE
    return file.is_file() and json.loads(file.read_text(encoding="utf-8")).get("content_hash") == content_hash(recipe)


def warm_up(
    warmup: Warmup[R],
    recipe: R,
    folder: Path,
    *,
    device: str = "cpu",
    on_progress: OnProgress = lambda *_: None,
) -> None:
    """Build the model of a recipe into a folder: a plain transformers folder with the recipe beside it.

    The same recipe and the same versions of torch and tokenizers give the same bytes on the same machine.

    Args:
        device: Where it imitates.
        on_progress: Called with (phase, done, total, loss).
    """
    turns: list[DemonstratedTurn] = []
    for done, demonstration in enumerate(warmup.demonstrate(recipe)):
        turns += demonstration
        on_progress("demonstrations", done + 1, recipe.demonstrations, 0.0)
    imitate(turns, recipe, folder, style=warmup.style, device=device, on_progress=on_progress)


def imitate(
    turns: Sequence[DemonstratedTurn],
    recipe: Recipe,
    folder: Path,
    *,
    style: PromptStyle,
    device: str = "cpu",
    on_progress: OnProgress = lambda *_: None,
) -> None:
    """Build a model that imitates demonstrated turns into a folder: tokenizer, shape and training by the recipe.

    Args:
        style: Of the demonstrated prompts; the folder says it, so that the model is asked in the same words later.
        device: Where it imitates.
        on_progress: Called with (phase, done, total, loss).
    """
    tokenizer = train_tokenizer((f"{turn.message}\n{turn.action}" for turn in turns), recipe.shape.vocabulary)
    examples = [_example(turn, tokenizer) for turn in turns]
    model = build_model(recipe.shape, tokenizer, recipe.seed).to(device)
    supervise(
        model,
        examples,
        recipe.training,
        pad_id=tokenizer.pad_id,
        on_batch=lambda done, total, loss: on_progress("imitation", done, total, loss),
    )
    _write(folder, model, tokenizer, recipe, style)


def _example(turn: DemonstratedTurn, tokenizer: ChatTokenizer) -> Example:
    return Example(tokenizer.prompt_ids(turn.message), (*tokenizer.text_ids(turn.action), tokenizer.eos_id))


def _write(folder: Path, model: Any, tokenizer: ChatTokenizer, recipe: Recipe, style: PromptStyle) -> None:
    partial = folder.with_name(f".{folder.name}-partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save_pretrained(partial)
    tokenizer.save(partial)
    (partial / STYLE_FILE).write_text(f"{style.name}\n", encoding="utf-8")
    record = {"content_hash": content_hash(recipe), "recipe": _numbers(recipe)}
    (partial / RECIPE_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
