"""The scripts of `benchmarks/` still start, and what they compute is what they say."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch

from benchmarks import architectures, step_time, workload
from benchmarks.gpu import agree, learn, mfu
from sdar_agents import tree_attention
from sdar_agents.backends.base import Request
from sdar_agents.episode import Sampling
from sdar_agents.policy import load_policy

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    path
    for path in (ROOT / "benchmarks").rglob("*.py")
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("script", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_every_benchmark_says_what_it_does(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As if started by its path: its own folder comes first.
    monkeypatch.syspath_prepend(str(script.parent))
    monkeypatch.setattr(sys, "argv", [script.name, "--help"])
    module = importlib.import_module(".".join(script.relative_to(ROOT).with_suffix("").parts))
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {script.name}")


def test_the_shell_script_parses() -> None:
    subprocess.run(["bash", "-n", str(ROOT / "benchmarks" / "gpu" / "all.sh")], check=True)


def test_the_readme_names_every_script_of_the_folder() -> None:
    text = (ROOT / "benchmarks" / "gpu" / "README.md").read_text(encoding="utf-8")
    names = [path.name for path in (ROOT / "benchmarks" / "gpu").iterdir() if path.suffix in (".sh", ".py")]
    assert [name for name in names if name not in text and name != "__init__.py"] == []


@pytest.mark.parametrize(
    ("size", "billions"),
    # The model cards: 0.6 B, 1.7 B and 3.09 B parameters.
    [("qwen3-0.6b", 0.596), ("qwen3-1.7b", 1.721), ("qwen2.5-3b", 3.086)],
)
def test_published_sizes_have_the_published_number_of_parameters(size: str, billions: float) -> None:
    from transformers import AutoModelForCausalLM

    shape = architectures.SIZES[size]
    config = architectures.model_config(shape, load_policy("tiny")[1])
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e9 == pytest.approx(billions, abs=5e-4)
    # The formula of the FLOPs knows the same weights: a row of one token, less attention and output layer.
    matrices = [module for module in model.model.modules() if isinstance(module, torch.nn.Linear)]
    layers = sum(matrix.weight.numel() for matrix in matrices)
    attention = 6 * shape.layers * shape.heads * shape.head_size
    assert mfu.row_flops(shape, 1, 0) == 6 * layers + attention


def test_flops_of_a_row_by_hand() -> None:
    shape = architectures.Architecture(2, 1, 1, 1, 2, 3, vocabulary=5)
    # Weights: hidden 2 x (queries 2 + output 2 + keys 2 + values 2 + three matrices of 3) = 34; 6 x 34 x 4 tokens: 816.
    # Attention: 6 x 1 layer x 2 x 4^2 = 192. Output layer: 6 x 5 x 2 x 1 response token = 60.
    assert mfu.row_flops(shape, 4, 1) == 816 + 192 + 60


def test_a_card_is_known_by_its_name() -> None:
    assert mfu.card_peak("NVIDIA H100 80GB HBM3") == 989.4
    assert mfu.card_peak("NVIDIA H100 PCIe") == 756.0
    assert mfu.card_peak("NVIDIA H200") == 989.4
    assert mfu.card_peak("a card of tomorrow") is None


def test_the_wanderer_says_an_action_of_its_prompt() -> None:
    tokenizer = load_policy("tiny")[1]
    engine = workload.Wanderer(workload.RandomTokens(2000), tokenizer)
    prompt = tokenizer.prompt_ids("Now: here.\nAdmissible actions: help; go to bed 1; look\nThink first.")
    for number in range(8):
        engine.add(Request(number, prompt, Sampling(max_tokens=5), seed=number))
    completions = [finished.completion for finished in engine.step()]
    said = {completion.text for completion in completions}
    assert said == {f"<think></think><action>{action}</action>" for action in ("go to bed 1", "look")}
    assert all(len(completion.token_ids) == 5 for completion in completions)


def test_steps_are_timed_and_extrapolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The script sets the time limit of the environment for its process, which here is that of other tests too.
    spec = gym.spec(workload.ROOMS)
    monkeypatch.setattr(spec, "max_episode_steps", spec.max_episode_steps)
    file = tmp_path / "numbers.json"
    few = "--size smoke --rows recorded --steps 1 --groups 1 --group-size 2 --turns 2 --response-tokens 4"
    report = step_time.main([*few.split(), "--learners", "grpo", "sdar", "--json", str(file)])
    assert json.loads(file.read_text(encoding="utf-8")) == report
    grpo, sdar = report["learners"]["grpo"], report["learners"]["sdar"]
    assert grpo["rows"] == sdar["rows"] == 1 * 2 * 2
    assert grpo["response_tokens"] == 4
    # A whole step is 16 x 2 episodes of 50 turns: 400 times as many rows.
    assert grpo["is_extrapolated"]
    assert grpo["whole_step"]["update"] == pytest.approx(400 * grpo["seconds"]["update"])
    assert report["sdar_over_grpo"].keys() == {"without_rollout"}


@pytest.mark.parametrize("is_wrong", [False, True], ids=["the trees' own attention", "attention to all before"])
def test_packed_rows_agree_with_single_ones_unless_they_look_elsewhere(
    is_wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = gym.spec(workload.ROOMS)
    monkeypatch.setattr(spec, "max_episode_steps", spec.max_episode_steps)
    if is_wrong:
        ends = tree_attention.dense_mask
        monkeypatch.setattr(
            tree_attention,
            "dense_mask",
            lambda positions, end, *, window: ends(positions, torch.full_like(end, end.shape[1]), window=window),
        )
    file = tmp_path / "numbers.json"
    report = agree.main(f"--size smoke --group-size 2 --turns 2 --response-tokens 4 --json {file}".split())
    assert json.loads(file.read_text(encoding="utf-8")) == report
    assert report["rows"] == 4
    assert report["packing_ratio"] > 1
    assert report["agrees"] is not is_wrong


def test_numbers_that_are_none_do_not_agree() -> None:
    fine: dict[str, Any] = {"logprob_distance": 0.0, "entropy_distance": 0.0, "gradient_distance": 0.0}
    fine["bfloat16_error"] = {"packed": 0.2, "plain": 0.1}
    assert agree.agrees(fine, 1e-3)
    assert not agree.agrees(fine | {"gradient_distance": float("nan")}, 1e-3)
    assert not agree.agrees(fine | {"bfloat16_error": {"packed": 0.21, "plain": 0.1}}, 1e-3)


def test_the_table_of_learning_shows_what_is_finished() -> None:
    options = learn._parser().parse_args(["--steps", "4"])
    row = {"learner": "sdar", "finished": 2, "of": 3, "before": [0.0, 0.0], "after": [0.2, 0.4],
           "before_with_skills": [], "after_with_skills": [0.5], "seconds_a_step": [1.0, 2.0]}  # fmt: skip
    table = learn._table(options, [row])
    # Two seeds, one degree of freedom: 0.3 -/+ 12.706 x 0.1, cut off at 0 and 1.
    assert "| sdar | 2 of 3 | 0.000 [0.000, 0.000] | 0.300 [0.000, 1.000] | - | 0.500 | 1.500 |" in table
