"""Scoring and updating from the same rows: our step and that of TRL's GRPOTrainer, in one run.

    python benchmarks/gpu/against_trl.py --size qwen3-0.6b --device cuda --dtype bfloat16

Rows of games are recorded once (see `workload.py`). Ours learn from them by `learn`; TRL is handed the same ids by its
`rollout_func`, so neither generates. Both have the same architecture with random weights, float32 masters, bfloat16
compute on a GPU, AdamW, no KL, as many optimizer updates from the same number of rows, activation checkpointing on both
sides or on neither, and score the rows once with the weights before the first update. TRL pads every row to the longest
of all, so its micro-batch is the number of such rows that the same token budget holds. A TRL "step" here is all updates
from one batch of rows. One side runs after the other, because two models need not fit: on a CPU that others use too,
`processor_seconds` are the ones to compare. Needs TRL 1.16 (`pip install trl==1.16.*`), which the package itself does
not.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.architectures import SIZES, model_config, random_weights
from benchmarks.workload import (
    PACKINGS,
    ROOMS,
    Workload,
    episodes_of,
    fitted_tokenizer,
    machine,
    make_runs,
    peak_gib,
    record,
    row_lengths,
    without_teacher,
)
from sdar_agents.tokens import ChatTokenizer
from sdar_agents.train import PhaseClock, learn

PHASES = ("score", "update")


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = _parser().parse_args(arguments)
    work = _workload(options)
    with tempfile.TemporaryDirectory() as folder:
        rows, ours = _ours(work, Path(folder) / "ours", options.rounds)
        # Of our model nothing is left when TRL's is built.
        gc.collect()
        if work.device.startswith("cuda"):
            torch.cuda.empty_cache()
        theirs = _theirs(work, rows, Path(folder) / "trl", options.rounds)
    tokens = sum(map(sum, row_lengths(rows)))
    report = {
        **machine(work.device),
        **vars(options),
        "rows": len(row_lengths(rows)[0]),
        "row_tokens": tokens,
        "ours": _with_rates(ours, tokens),
        "trl": _with_rates(theirs, tokens),
        "speed_over_trl": {
            **{phase: theirs["seconds"][phase] / ours["seconds"][phase] for phase in (*PHASES, "step")},
            "processor": theirs["processor_seconds"] / ours["processor_seconds"],
        },
    }
    print(json.dumps(report, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="qwen3-0.6b")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--env", default=ROOMS)
    parser.add_argument("--data")
    parser.add_argument("--groups", type=int, default=2)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--turns", type=int, default=32)
    parser.add_argument("--response-tokens", type=int, default=128)
    parser.add_argument("--minibatches", type=int, default=2, help="optimizer updates from all rows")
    parser.add_argument("--microbatch-tokens", type=int, default=8_192)
    parser.add_argument("--activation-checkpointing", action="store_true")
    parser.add_argument("--packing", choices=PACKINGS, default=PACKINGS[0], help="of our side")
    parser.add_argument("--rounds", type=int, default=3, help="measured, after one that is not")
    parser.add_argument("--json", help="file that receives the numbers")
    return parser


def _workload(options: argparse.Namespace) -> Workload:
    names = ("size", "env", "data", "device", "dtype", "groups", "group_size", "turns", "response_tokens",
             "minibatches", "microbatch_tokens", "activation_checkpointing", "packing")  # fmt: skip
    if options.minibatches < 2:
        # With a single update, TRL takes the update's own log-probabilities for the old ones and scores nothing.
        raise SystemExit("--minibatches must be at least 2: with one, TRL does not score the rows beforehand")
    return Workload(**{name: getattr(options, name) for name in names}, kl=0.0)


def _with_rates(side: dict[str, Any], tokens: int) -> dict[str, Any]:
    seconds = side["seconds"]
    return side | {
        "row_tokens_per_second_of_update": tokens / seconds["update"],
        "row_tokens_per_second_of_step": tokens / seconds["step"],
    }


def _ours(work: Workload, folder: Path, rounds: int) -> tuple[Any, dict[str, Any]]:
    run = make_runs(work, ["grpo"], folder)["grpo"]
    rows = without_teacher(record(run, SIZES[work.size].vocabulary))
    seen: list[dict[str, float]] = []
    busy: list[float] = []
    for number in range(rounds + 1):
        begin = time.process_time()
        metrics = learn(run, number, rows, PhaseClock())
        busy.append(time.process_time() - begin)
        seen.append({phase: metrics[f"seconds/{phase}"] for phase in PHASES})
    medians = {phase: statistics.median(row[phase] for row in seen[1:]) for phase in PHASES}
    ratio = {"packing_ratio": metrics["packing_ratio"]} if "packing_ratio" in metrics else {}
    return rows, {
        "seconds": medians | {"step": sum(medians.values())},
        "processor_seconds": statistics.median(busy[1:]),
        "peak_memory_gib": peak_gib(work.device),
        "packing": work.packing,
        **ratio,
    }


def _theirs(work: Workload, rows: Any, folder: Path, rounds: int) -> dict[str, Any]:
    trl = _trl()
    tokenizer = fitted_tokenizer(work.env, work.data)
    prompts, responses = row_lengths(rows)
    # Rows that TRL's sampler cannot deal out in whole groups and whole updates are left out; none with the defaults.
    per_update = len(prompts) // work.minibatches
    fitting = max(1, work.microbatch_tokens // (max(prompts) + max(responses)))
    microbatch = max(size for size in range(1, fitting + 1) if per_update % size == 0)
    used = per_update * work.minibatches
    if used != len(prompts) or used % work.group_size:
        raise SystemExit(f"{len(prompts)} rows cannot be dealt out in {work.minibatches} updates of whole groups")
    on_gpu = work.device.startswith("cuda")
    settings = trl.GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=microbatch,
        gradient_accumulation_steps=per_update // microbatch,
        steps_per_generation=used // microbatch,
        num_generations=work.group_size,
        max_completion_length=work.response_tokens,
        max_steps=work.minibatches * (rounds + 1),
        beta=0.0,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        gradient_checkpointing=work.activation_checkpointing,
        bf16=on_gpu and work.dtype in ("auto", "bfloat16"),
        use_cpu=not on_gpu,
        shuffle_dataset=False,
        disable_dropout=True,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer, clock = _trainer(trl, settings, work, rows, tokenizer)
    trainer.train()
    cycles = clock.cycles(work.minibatches)[1:]
    medians = {phase: statistics.median(cycle[phase] for cycle in cycles) for phase in PHASES}
    return {
        "version": trl.__version__,
        "seconds": medians | {"step": sum(medians.values())},
        "processor_seconds": statistics.median(cycle["processor"] for cycle in cycles),
        "microbatch_rows": microbatch,
        "peak_memory_gib": peak_gib(work.device),
    }


def _trl() -> Any:
    # It warns that what this script needs is experimental.
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    try:
        import trl
    except ImportError as error:
        raise SystemExit(
            f"TRL cannot be imported ({error}): pip install 'trl==1.16.*' (it needs datasets, which needs pyarrow, "
            "pandas, dill, multiprocess and xxhash)"
        ) from error
    return trl


class _Clock:
    """When TRL ended each optimizer update, and how long it scored before it."""

    def __init__(self) -> None:
        self.updates: list[float] = []
        self.scoring: list[float] = [0.0]
        self.begin = 0.0
        self.processor: list[float] = []

    def now(self) -> float:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        return time.perf_counter()

    @contextmanager
    def scored(self) -> Iterator[None]:
        """Adds a block to the scoring before the next update."""
        begin = self.now()
        yield
        self.scoring[-1] += self.now() - begin

    def updated(self) -> None:
        """An optimizer update is done."""
        self.updates.append(self.now())
        self.scoring.append(0.0)
        self.processor.append(time.process_time())

    def cycles(self, updates: int) -> list[dict[str, float]]:
        """Seconds by phase, and of the processor, of all updates from one batch of rows."""
        ends = [self.begin, *self.updates]
        processor = [self.processor[0], *self.processor]
        found = []
        for first in range(0, len(self.updates), updates):
            whole = ends[first + updates] - ends[first]
            score = sum(self.scoring[first : first + updates])
            busy = processor[first + updates] - processor[first]
            found.append({"score": score, "update": whole - score, "processor": busy})
        return found


def _trainer(trl: Any, settings: Any, work: Workload, rows: Any, tokenizer: ChatTokenizer) -> tuple[Any, _Clock]:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, TrainerCallback

    clock = _Clock()
    turns = [(turn, episode.episode_return) for episode in episodes_of(rows) for turn in episode.turns]

    class Stopwatch(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.begin = clock.now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.updated()

    class Timed(trl.GRPOTrainer):  # type: ignore[misc,name-defined]
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            with clock.scored():
                return super()._generate_and_score_completions(inputs)

    def hand_over(prompts: list[Any], _trainer: Any) -> dict[str, list[Any]]:
        if len(prompts) != len(turns):
            raise RuntimeError(f"TRL asks for {len(prompts)} rows, {len(turns)} were recorded")
        return {
            "prompt_ids": [list(turn.prompt_ids) for turn, _ in turns],
            "completion_ids": [list(turn.completion.token_ids) for turn, _ in turns],
            "logprobs": [list(turn.completion.logprobs) for turn, _ in turns],
            "recorded_return": [value for _, value in turns],
        }

    def reward(recorded_return: list[float], **_: Any) -> list[float]:
        return recorded_return

    with tempfile.TemporaryDirectory() as config, random_weights(work.device):
        model_config(SIZES[work.size], tokenizer).save_pretrained(config)
        model = AutoModelForCausalLM.from_pretrained(config, dtype=torch.float32, attn_implementation="sdpa")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Timed(
            model=model,
            args=settings,
            reward_funcs=[reward],
            train_dataset=Dataset.from_dict({"prompt": [str(i) for i in range(len(turns) // work.group_size)]}),
            processing_class=tokenizer.tokenizer,
            callbacks=[Stopwatch()],
            rollout_func=hand_over,
        )
    return trainer, clock


if __name__ == "__main__":
    main()
