"""A bench on the number line, and one that has run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from sdar_agents.bench.file import Bench, read_bench
from sdar_agents.bench.run import run_bench


@pytest.fixture(scope="session")
def write_file(number_line_model: Path, number_line_bank: Path) -> Callable[..., Path]:
    """Writes a bench of two learners and two seeds on the number line; lines can be replaced."""

    def write(folder: Path, *changes: tuple[str, str]) -> Path:
        text = f"""
name = "line"
seeds = [0, 1]
final_episodes = 18

[settings]
steps = 2
groups = 2
group_size = 4
minibatches = 1
eval_episodes = 10
eval_every = 1
checkpoint_every = 1
model = "{number_line_model}"
retriever = "task_type"
skills_per_task = 1
prompt_style = "compact"
max_prompt_tokens = 200
max_skill_tokens = 20
max_response_tokens = 4
device = "cpu"

[[environments]]
label = "line"
env = "sdar_gym/NumberLine-v0"
bank = "{number_line_bank}"

[[learners]]
name = "grpo"

[[learners]]
name = "sdar"
options = {{ weight = 0.3 }}
"""
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        folder.mkdir(exist_ok=True, parents=True)
        file = folder / "line.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture(scope="session")
def whole(write_file: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bench]:
    """A bench that ran without any trouble."""
    folder = tmp_path_factory.mktemp("whole")
    bench = read_bench(write_file(folder))
    endings = run_bench(bench, folder / "out", jobs=1, console=Console(quiet=True))
    assert set(endings.values()) == {"finished"}
    assert len(endings) == 4
    return folder / "out", bench
