"""What learners start from in tests: a minute model that walks the number line badly, and obeys a skill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdar_agents.config import TrainConfig, preset_config
from sdar_agents.rollout import make_agent_env
from sdar_agents.tiny_model import Example, SupervisedSettings, TinyShape, build_model, supervise, train_tokenizer
from sdar_gym.prompts import COMPACT

NUMBER_LINE = "sdar_gym/NumberLine-v0"
BODIES = {"go_left": "Say left.", "go_right": "Say right."}


@pytest.fixture(scope="session")
def number_line_bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A skill bank for the number line: which way to go."""
    folder = tmp_path_factory.mktemp("bank")
    for task_type, body in BODIES.items():
        name = task_type.replace("_", "-")
        (folder / name).mkdir()
        (folder / name / "SKILL.md").write_text(
            f"---\nname: {name}\ndescription: When to {name}.\nlicense: MIT\nmetadata:\n  env: number_line\n"
            f"  task_type: {task_type}\n  title: {name}\n  keywords: [walk]\n---\n{body}\n",
            encoding="utf-8",
        )
    return folder


@pytest.fixture(scope="session")
def number_line_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model of about 20,000 parameters that goes left or right at random, and the right way when told."""
    return write_walker(tmp_path_factory.mktemp("model"), head_size=16)


@pytest.fixture(scope="session")
def obedient_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, trained longer: it obeys a skill nearly always, on whatever processor it was trained."""
    return write_walker(tmp_path_factory.mktemp("obedient"), head_size=16, epochs=10)


def write_walker(folder: Path, *, head_size: int, epochs: int = 4) -> Path:
    """Train the walker of the number line and write it to a folder."""
    env = make_agent_env(NUMBER_LINE, COMPACT)
    generator = np.random.default_rng(0)
    texts: list[tuple[str, str]] = []
    for number in range(400):
        _, info = env.reset(seed=number)
        body, done = BODIES[info["task_type"]] if number % 2 else "", False
        while not done and len(texts) < 40 * (number + 1):
            # Right always with a skill, and twice in three without: there is something to sharpen.
            is_right = bool(body) or generator.random() < 2 / 3
            way = "right" if info["task_type"] == "go_right" else "left"
            action = way if is_right else {"left": "right", "right": "left"}[way]
            texts.append((info["prompt"].render(body), action))
            _, _, terminated, truncated, info = env.step(action)
            done = terminated or truncated
    tokenizer = train_tokenizer([f"{prompt} {action}" for prompt, action in texts], 320)
    shape = TinyShape(hidden=32, layers=2, heads=2, kv_heads=1, head_size=head_size, feed_forward=64, vocabulary=320)
    model = build_model(shape, tokenizer, seed=0)
    examples = [
        Example(tokenizer.prompt_ids(prompt), (*tokenizer.text_ids(action), tokenizer.eos_id))
        for prompt, action in texts
    ]
    supervise(model, examples, SupervisedSettings(epochs=epochs, batch_tokens=2048), pad_id=tokenizer.pad_id)
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture
def number_line_config(number_line_model: Path, number_line_bank: Path, tmp_path: Path) -> Any:
    """Makes a small training on the number line; settings can be changed by name."""

    def make(name: str, **changes: Any) -> TrainConfig:
        from dataclasses import replace

        settings: dict[str, Any] = {
            "env": NUMBER_LINE,
            "model": str(number_line_model),
            "bank": str(number_line_bank),
            "retriever": "task_type",
            "skills_per_task": 1,
            "prompt_style": "compact",
            "max_prompt_tokens": 200,
            "max_skill_tokens": 20,
            "max_response_tokens": 4,
            "device": "cpu",
            "run": str(tmp_path / "run"),
            "steps": 4,
            "groups": 4,
            "group_size": 4,
            "eval_episodes": 10,
            "eval_every": 2,
            "checkpoint_every": 2,
        }
        return replace(preset_config("quickstart", name), **(settings | changes))

    return make
