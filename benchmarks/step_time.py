"""Seconds of a training step by phase, for a model of any size with random weights (speed does not depend on them).

    python benchmarks/step_time.py --size tiny --learners grpo sdar
    python benchmarks/step_time.py --size qwen3-1.7b --device cuda --dtype bfloat16 --turns 4
    python benchmarks/step_time.py --size qwen3-1.7b --device cuda --dtype bfloat16 --rows recorded --groups 4

The learners take turns step by step in one process, so that a busy machine slows them alike, and share one model and
one optimizer; medians are printed. The tiny model plays ALFWorldMini by itself. The others, of published sizes with
the published vocabulary, have random weights: their responses have the length that is asked for (the end of a turn is
one of 151,936 tokens), and a random admissible action is played for each, see `workload.py`. `--rows recorded` leaves
out the rollout: the same rows of random tokens go through scoring, teacher and update each time.

Where not all groups or turns of a whole step were run, `is_extrapolated` is true and `whole_step` is what they add up
to: scoring, teacher and update in proportion to the rows; the rollout in proportion to the turns (and, where there are
fewer groups, to these: too much, since larger batches are faster).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.architectures import SIZES
from benchmarks.workload import (
    PACKINGS,
    ROOMS,
    Workload,
    machine,
    make_runs,
    peak_gib,
    record,
    row_lengths,
    teacher_prompt_tokens,
    with_learner,
    without_teacher,
)
from sdar_agents.config import preset_config
from sdar_agents.setup import Run, set_up
from sdar_agents.train import PhaseClock, collect, learn

PHASES = ("rollout", "score", "teacher", "update")
__all__ = ["SIZES", "main"]


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = _parser().parse_args(arguments)
    if options.size == "tiny" and options.rows == "recorded":
        raise SystemExit("the tiny model plays by itself: --rows recorded is for the published sizes")
    with tempfile.TemporaryDirectory() as folder:
        runs = _tiny_runs(options, Path(folder)) if options.size == "tiny" else _runs(options, Path(folder))
        report = _measure(runs, options)
    first = next(iter(runs.values()))
    report = {**machine(first.device), **vars(options), **report}
    print(json.dumps(report, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["tiny", *SIZES], default="tiny")
    parser.add_argument("--learners", nargs="+", default=["grpo", "grpo_opsd", "sdar"])
    parser.add_argument("--steps", type=int, default=5, help="measured, after one that is not")
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--env", help="default: ALFWorldMini for the tiny model, else ALFWorldRooms")
    parser.add_argument("--data")
    parser.add_argument("--json", help="file that receives the numbers")
    sized = parser.add_argument_group("published sizes")
    sized.add_argument("--rows", choices=["played", "recorded"], default="played")
    sized.add_argument("--turns", type=int, default=50, help="longest episode")
    sized.add_argument("--response-tokens", type=int, default=128)
    sized.add_argument("--minibatches", type=int, help="optimizer updates; by default one a group")
    sized.add_argument("--microbatch-tokens", type=int, default=8_192)
    sized.add_argument("--activation-checkpointing", action="store_true")
    sized.add_argument("--packing", choices=PACKINGS, default=PACKINGS[0])
    sized.add_argument("--kl", type=float, default=0.01, help="0 spares the reference, a second copy of the weights")
    sized.add_argument("--backend", default="hf")
    sized.add_argument("--backend-options", nargs="*", default=[])
    sized.add_argument("--whole-groups", type=int, default=16, help="of the step that is extrapolated to")
    sized.add_argument("--whole-turns", type=int, default=50)
    return parser


def _tiny_runs(options: argparse.Namespace, folder: Path) -> dict[str, Run]:
    rules = {name: preset_config("quickstart", name).learner for name in options.learners}
    first = max(rules, key=lambda name: rules[name].needs.teacher != "none")
    config = replace(
        preset_config("quickstart", first),
        env=options.env or "sdar_gym/ALFWorldMini-v0",
        data=options.data,
        device=options.device,
        dtype=options.dtype,
        groups=options.groups,
        group_size=options.group_size,
        retriever="task_type",
        run=str(folder / "run"),
    )
    run = set_up(config, resume=False)
    return {name: with_learner(run, name, rule) for name, rule in rules.items()}


def _runs(options: argparse.Namespace, folder: Path) -> dict[str, Run]:
    names = ("size", "data", "device", "dtype", "groups", "group_size", "turns", "response_tokens", "packing", "kl")
    work = Workload(
        env=options.env or ROOMS,
        minibatches=options.minibatches or options.groups,
        microbatch_tokens=options.microbatch_tokens,
        activation_checkpointing=options.activation_checkpointing,
        backend=options.backend,
        backend_options=tuple(options.backend_options),
        **{name: getattr(options, name) for name in names},
    )
    return make_runs(work, options.learners, folder)


def _measure(runs: dict[str, Run], options: argparse.Namespace) -> dict[str, Any]:
    recorded = _recorded(runs, options) if options.rows == "recorded" else {}
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    lengths: dict[str, tuple[list[int], list[int]]] = {}
    peaks: dict[str, float | None] = {}
    teacher_tokens: dict[str, float | None] = {}
    for step in range(options.steps + 1):
        for name, run in runs.items():
            clock = PhaseClock()
            collected = recorded.get(name) or collect(run, step, clock)
            metrics = learn(run, step, collected, clock)
            lengths[name] = row_lengths(collected)
            teacher_tokens[name] = teacher_prompt_tokens(collected)
            peaks[name] = peak_gib(run.device)
            # The first step pays for allocations and kernels.
            if step:
                seen[name].append(metrics)
    learners = {
        name: {"teacher_prompt_tokens": teacher_tokens[name], **_summary(rows, lengths[name], peaks[name], options)}
        for name, rows in seen.items()
    }
    report: dict[str, Any] = {"learners": learners}
    if {"grpo", "sdar"} <= learners.keys():
        grpo, sdar = learners["grpo"]["whole_step"], learners["sdar"]["whole_step"]
        ratios = {"without_rollout": _without_rollout(sdar) / _without_rollout(grpo)}
        report["sdar_over_grpo"] = ratios | ({"whole_step": sdar["step"] / grpo["step"]} if "rollout" in grpo else {})
    return report


def _recorded(runs: dict[str, Run], options: argparse.Namespace) -> dict[str, Any]:
    taught = max(runs.values(), key=lambda run: run.rollout.teacher_prompts)
    rows = record(taught, SIZES[options.size].vocabulary)
    return {name: rows if run.rollout.teacher_prompts else without_teacher(rows) for name, run in runs.items()}


def _summary(
    rows: list[dict[str, float]],
    lengths: tuple[list[int], list[int]],
    peak: float | None,
    options: argparse.Namespace,
) -> dict[str, Any]:
    keys = {key for key in rows[0] if key.startswith("seconds/") or key.endswith("packing_ratio")}
    medians = {key: statistics.median(row[key] for row in rows) for key in sorted(keys)}
    seconds = {phase: medians[f"seconds/{phase}"] for phase in PHASES if f"seconds/{phase}" in medians}
    prompts, responses = lengths
    trained = sum(prompts) + sum(responses)
    result: dict[str, Any] = {
        "seconds": seconds,
        "rows": len(prompts),
        "prompt_tokens": statistics.mean(prompts),
        "response_tokens": statistics.mean(responses),
        "row_tokens_per_second_of_update": trained / seconds["update"],
        "peak_memory_gib": peak,
        **{key: value for key, value in medians.items() if key.endswith("packing_ratio")},
    }
    if "rollout" in seconds:
        result["generated_tokens_per_second"] = sum(responses) / seconds["rollout"]
    if options.size != "tiny":
        result["whole_step"] = _whole_step(seconds, len(prompts), options)
        result["is_extrapolated"] = (options.groups, options.turns) != (options.whole_groups, options.whole_turns)
    else:
        result["whole_step"] = {**seconds, "step": sum(seconds.values())}
    return result


def _whole_step(seconds: dict[str, float], rows: int, options: argparse.Namespace) -> dict[str, float]:
    all_rows = options.whole_groups * options.group_size * options.whole_turns
    whole = {phase: value * all_rows / rows for phase, value in seconds.items()}
    if "rollout" in whole:
        more = options.whole_groups / options.groups * options.whole_turns / options.turns
        whole["rollout"] = seconds["rollout"] * more
    return {**whole, "step": sum(whole.values())}


def _without_rollout(seconds: dict[str, float]) -> float:
    return sum(value for phase, value in seconds.items() if phase in PHASES and phase != "rollout")


if __name__ == "__main__":
    main()
