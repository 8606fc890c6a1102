"""The bench file: what it means, and that whatever is wrong with it is said before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdar_agents.bench.file import Bench, Cell, read_bench
from sdar_agents.cli import main
from sdar_agents.config import preset_config
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.sdar import SDAR

FILE = """
name = "study"
seeds = [0, 7]
final_episodes = 50

[settings]
steps = 4
learning-rate = 1
max_prompt_tokens = 300

[[environments]]
env = "sdar_gym/NumberLine-v0"
bank = "alfworld"
retriever = "none"

[[environments]]
label = "household"
env = "sdar_gym/ALFWorldMini-v0"
steps = 6

[[learners]]
name = "grpo"

[[learners]]
name = "sdar"
label = "sdar-0.3"
options = { weight = 0.3, rl = { clip_low = 0.1 } }
max_prompt_tokens = 200
"""


def read(folder: Path, text: str, name: str = "bench.toml") -> Bench:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return read_bench(file)


def test_a_cell_takes_the_preset_then_the_file_then_the_environment_then_the_learner(tmp_path: Path) -> None:
    bench = read(tmp_path, FILE)
    config = bench.config(Cell("household", "sdar-0.3", 7), tmp_path / "x")
    assert (config.seed, config.run) == (7, str(tmp_path / "x"))
    assert (config.steps, config.learning_rate, config.max_prompt_tokens) == (6, 1.0, 200)
    assert isinstance(config.learning_rate, float)
    preset = preset_config("quickstart", "sdar").learner
    assert isinstance(preset, SDAR)
    assert isinstance(config.learner, SDAR)
    assert (config.learner.weight, config.learner.rl.clip_low) == (0.3, 0.1)
    # What is not named is the preset's, within the learner too.
    assert config.learner.rl.kl_coefficient == preset.rl.kl_coefficient == 0.0
    assert config.learner.gate_sharpness == preset.gate_sharpness
    plain = bench.config(Cell("NumberLine-v0", "grpo", 0), tmp_path / "y")
    assert (plain.steps, plain.max_prompt_tokens, type(plain.learner)) == (4, 300, GRPO)


def test_an_environment_may_have_fewer_final_tasks_than_the_rest(tmp_path: Path) -> None:
    bench = read(tmp_path, FILE.replace("steps = 6", "steps = 6\nfinal_episodes = 20"))
    assert [bench.final_episodes_of(each) for each in bench.environments] == [50, 20]
    bench = read(tmp_path, FILE.replace("final_episodes = 50", ""))
    assert [bench.final_episodes_of(each) for each in bench.environments] == [None, None]


def test_one_checkpoint_is_kept_unless_more_are_asked_for(tmp_path: Path) -> None:
    bench = read(tmp_path, FILE)
    assert bench.config(Cell("household", "grpo", 0), tmp_path).keep_checkpoints == 1
    bench = read(tmp_path, FILE.replace("steps = 4", "steps = 4\nkeep_checkpoints = 3"))
    assert bench.config(Cell("household", "grpo", 0), tmp_path).keep_checkpoints == 3


def test_cells_come_seed_by_seed(tmp_path: Path) -> None:
    names = [cell.name for cell in read(tmp_path, FILE).cells()]
    assert names[:4] == [
        "NumberLine-v0/grpo/seed-0", "NumberLine-v0/sdar-0.3/seed-0",
        "household/grpo/seed-0", "household/sdar-0.3/seed-0",
    ]  # fmt: skip
    assert len(names) == 8
    assert all(name.endswith("seed-7") for name in names[4:])


def test_json_says_the_same_as_toml(tmp_path: Path) -> None:
    import tomllib

    as_json = json.dumps(tomllib.loads(FILE))
    assert read(tmp_path, as_json, "bench.json") == read(tmp_path, FILE)


def test_the_example_in_the_repository_is_a_bench() -> None:
    for file in sorted((Path(__file__).parents[3] / "benchmarks" / "study").glob("*.toml")):
        assert list(read_bench(file).cells())


def test_the_file_in_the_documents_is_a_bench(tmp_path: Path) -> None:
    import re

    page = (Path(__file__).parents[3] / "docs" / "bench.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```toml\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    bench = read(tmp_path, text)
    assert len(list(bench.cells())) == 5 * 2 * 3
    assert bench.config(Cell("household-uniform", "sdar-0.1", 4), tmp_path).teacher == "ema"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "final_episodes",
            "final_episode",
            "unknown key of bench.toml 'final_episode'; did you mean 'final_episodes'?",
        ),
        ("seeds = [0, 7]", "", "'seeds' is missing"),
        ("seeds = [0, 7]", "seeds = [0, 0]", "hold a number twice"),
        ("seeds = [0, 7]", "seeds = [true]", "whole numbers from 0 on"),
        ("steps = 4", "stpes = 4", "unknown key of settings 'stpes'; did you mean 'steps'?"),
        ("steps = 4", "steps = 4.5", "settings: steps is a whole number, not 4.5"),
        ("steps = 4", "steps = true", "settings: steps is a whole number, not True"),
        ("steps = 4", "steps = 0", "--steps must be at least 1"),
        ("steps = 4", "seed = 4", "'seed' in settings: the bench decides it"),
        ("steps = 4", 'tuning = "lorra"', "did you mean 'lora'?"),
        ("steps = 4", "env_options = 3", "env_options is a list, not 3"),
        ("steps = 4", "learning_rate = 1", "'learning-rate' is given twice"),
        ("steps = 4", "final_episodes = 3", "unknown key of settings 'final_episodes'"),
        (
            'env = "sdar_gym/ALFWorldMini-v0"',
            'env = "sdar_gym/ALFWrldMini-v0"',
            "did you mean 'sdar_gym/ALFWorldMini-v0'?",
        ),
        ('env = "sdar_gym/ALFWorldMini-v0"', "", "lacks `env`"),
        (
            'env = "sdar_gym/ALFWorldMini-v0"',
            'env = "sdar_gym/ALFWorldMini-v0"\nenv_options = ["a=1"]',
            "unknown setting",
        ),
        ('env = "sdar_gym/ALFWorldMini-v0"', 'env = "sdar_gym/ALFWorldMini-v0"\nbank = "/nowhere"', "/nowhere"),
        ('label = "household"', 'label = "NUMBERLINE-v0"', "two environments are called 'NumberLine-v0'"),
        ('label = "household"', 'label = "a/b"', "names a folder"),
        ('name = "sdar"', 'name = "sdra"', "unknown learner 'sdra'; did you mean 'sdar'?"),
        ('name = "sdar"', "", "lacks `name`"),
        ('label = "sdar-0.3"', 'label = "grpo"', "two learners are called 'grpo'"),
        ("weight = 0.3", "wieght = 0.3", "unknown option of learner 'sdar-0.3' 'wieght'; did you mean 'weight'?"),
        ("weight = 0.3", 'weight = "much"', "weight is a number, not 'much'"),
        ("weight = 0.3", "weight = -1", "weight"),
        ("clip_low = 0.1", "clip_lo = 0.1", "did you mean 'clip_low'?"),
        ("rl = { clip_low = 0.1 }", "rl = 1", "rl of learner 'sdar-0.3' is a table"),
        ("max_prompt_tokens = 200", "final_skills = true", "the retriever is `none`"),
        ('name = "study"', 'preset = "quickstrat"', "did you mean 'quickstart'?"),
        ('name = "study"', 'name = "a/b"', "names a folder"),
        ("seeds = [0, 7]", "seeds = [0, 7", "cannot be read"),
        ("final_episodes = 50", "final_episodes = 1", "at least 2"),
        ("steps = 6", "final_episodes = 1", "at least 2"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    old: str, new: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in FILE
    (tmp_path / "bench.toml").write_text(FILE.replace(old, new), encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        main(["bench", "run", str(tmp_path / "bench.toml"), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
