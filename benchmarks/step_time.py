"""Seconds of a training step by phase, for a model of any size with random weights (speed does not depend on them).

    python benchmarks/step_time.py --size tiny --learners grpo sdar
    python benchmarks/step_time.py --size qwen3-1.7b --device cuda --dtype bfloat16 --style tagged

The learners take turns step by step in one process, so that a busy machine slows them alike; medians are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from sdar_agents.config import TrainConfig, preset_config
from sdar_agents.policy import bundled_tiny, load_policy
from sdar_agents.setup import Run, set_up
from sdar_agents.tiny_model import TinyShape, build_model
from sdar_agents.train import train_step

SIZES = {
    "qwen3-0.6b": TinyShape(1024, 28, 16, 8, 128, 3072, context=40_960),
    "qwen3-1.7b": TinyShape(2048, 28, 16, 8, 128, 6144, context=40_960),
}
"""Published shapes; the vocabulary is the tiny tokenizer's, so the output layer is smaller than the original's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["tiny", *SIZES], default="tiny")
    parser.add_argument("--learners", nargs="+", default=["grpo", "grpo_opsd", "sdar"])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--style", default="auto", help="prompt style: compact or tagged")
    parser.add_argument("--max-response-tokens", type=int, default=16)
    parser.add_argument("--env", default="sdar_gym/ALFWorldMini-v0")
    parser.add_argument("--data")
    parser.add_argument("--json", help="file that receives the numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: set_up(_config(options, name, Path(folder)), resume=False) for name in options.learners}
        rows = _measure(runs, options.steps)
    report = {"torch": torch.__version__, "threads": torch.get_num_threads(), **vars(options), "seconds": rows}
    if options.device.startswith("cuda"):
        report |= {
            "gpu": torch.cuda.get_device_name(),
            "peak_memory_gib": torch.cuda.max_memory_allocated() / 2**30,
        }
    print(json.dumps(report, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _config(options: argparse.Namespace, learner: str, folder: Path) -> TrainConfig:
    model = str(bundled_tiny())
    if options.size != "tiny":
        model = str(folder / "model")
        if not Path(model).exists():
            tokenizer = load_policy("tiny")[1]
            build_model(SIZES[options.size], tokenizer, seed=0).save_pretrained(model)
            tokenizer.save(Path(model))
    tagged = options.style == "tagged"
    return replace(
        preset_config("quickstart", learner),
        env=options.env,
        data=options.data,
        model=model,
        device=options.device,
        dtype=options.dtype,
        prompt_style=options.style,
        max_prompt_tokens=2048 if tagged else 512,
        max_response_tokens=options.max_response_tokens,
        groups=options.groups,
        retriever="task_type",
        run=str(folder / learner),
    )


def _measure(runs: dict[str, Run], steps: int) -> dict[str, dict[str, float]]:
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for step in range(steps + 1):
        for name, run in runs.items():
            metrics = train_step(run, step)
            # The first step pays for allocations and kernels.
            if step:
                seen[name].append(metrics)
    wanted = ("seconds/rollout", "seconds/score", "seconds/teacher", "seconds/update", "seconds/step", "prompt_tokens")
    return {name: {key: statistics.median(row[key] for row in rows) for key in wanted} for name, rows in seen.items()}


if __name__ == "__main__":
    main()
