"""Seconds of one step by phase: as it is, without packing, and in a plain loop over transformers.

    python benchmarks/packing.py
    python benchmarks/packing.py --env sdar_gym/ALFWorld-v0 --data PATH --style tagged --groups 4 --group-size 4
    python benchmarks/packing.py --synthetic --size qwen3-1.7b --device cuda --dtype bfloat16 --turns 30

The same episodes go through all three in turns, in one process; medians are printed. `plain` is what a loop over
transformers does by itself: `generate` on the padded prompts of each turn (environments not counted), then rows in
shuffled order, padded to the longest of their micro-batch. `none` is
`--packing none`, which takes rows of like length together; `tree` is the default.
`--synthetic` makes episodes of random tokens in ALFWorld's shape instead of playing any: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from step_time import SIZES

from sdar_agents.batch import TurnBatch, collate, pad_left, token_mean
from sdar_agents.config import TrainConfig, preset_config
from sdar_agents.episode import Completion, Episode, Turn
from sdar_agents.policy import bundled_tiny, load_policy, score
from sdar_agents.rollout import Rollout, RolloutCounts
from sdar_agents.setup import Run, set_up
from sdar_agents.tiny_model import build_model
from sdar_agents.train import collect, learn
from sdar_agents.update import PhaseClock

PHASES = ("rollout", "score", "teacher", "update")
Collected = tuple[Rollout, RolloutCounts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learner", default="sdar")
    parser.add_argument("--size", choices=["tiny", *SIZES], default="tiny")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--style", default="auto", help="prompt style: compact or tagged")
    parser.add_argument("--env", default="sdar_gym/ALFWorldMini-v0")
    parser.add_argument("--data")
    parser.add_argument("--microbatch-tokens", type=int, default=8_192)
    parser.add_argument("--synthetic", action="store_true", help="random tokens in ALFWorld's shape, nothing is played")
    parser.add_argument("--turns", type=int, default=30, help="of a synthetic episode")
    parser.add_argument("--response-tokens", type=int, default=128, help="of a synthetic turn")
    parser.add_argument("--json", help="file that receives the numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: set_up(_config(options, name, Path(folder)), resume=False) for name in ("tree", "none")}
        collected = _synthetic(options) if options.synthetic else collect(runs["tree"], 0, PhaseClock())
        report = _measure(runs, collected, options.rounds, synthetic=options.synthetic)
    report |= {"torch": torch.__version__, "threads": torch.get_num_threads(), **vars(options)}
    if options.device.startswith("cuda"):
        report |= {"gpu": torch.cuda.get_device_name(), "peak_gib": torch.cuda.max_memory_allocated() / 2**30}
    print(json.dumps(report, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _config(options: argparse.Namespace, packing: str, folder: Path) -> TrainConfig:
    model = str(bundled_tiny())
    if options.size != "tiny":
        model = str(folder / "model")
        if not Path(model).exists():
            tokenizer = load_policy("tiny")[1]
            build_model(SIZES[options.size], tokenizer, seed=0).save_pretrained(model)
            tokenizer.save(Path(model))
    tagged = options.style == "tagged"
    changes: dict[str, Any] = {"packing": packing, "run": str(folder / packing), "retriever": "task_type"}
    for name in ("env", "data", "device", "dtype", "groups", "group_size", "microbatch_tokens"):
        changes[name] = getattr(options, name)
    # A small step keeps the weights, and with them the work, alike over the rounds.
    changes |= {"model": model, "prompt_style": options.style, "learning_rate": 1e-6}
    changes |= {"max_prompt_tokens": 2048 if tagged else 512, "max_skill_tokens": 1024 if tagged else 256}
    return replace(preset_config("quickstart", options.learner), **changes)


def _synthetic(options: argparse.Namespace) -> Collected:
    """A group shares 400 tokens; a turn adds its 40-token observation to the history and ends with 150 of its own."""
    generator = np.random.default_rng(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(generator.integers(3, 500, count).tolist())

    counts = RolloutCounts()
    episodes = []
    for group in range(options.groups):
        task, skills = ids(400), ids(300)
        for _ in range(options.group_size):
            history: tuple[int, ...] = ()
            turns = []
            for _ in range(options.turns):
                end, response = ids(150), ids(options.response_tokens)
                completion = Completion(response, (0.0,) * len(response), "", stopped=True)
                prompt, teacher = task + history + end, task + skills + history + end
                turns.append(Turn(prompt, teacher, completion, "go", "gone", 0.0, True, None))
                history += ids(40)
                counts.turns += 1
            won = bool(generator.integers(2))
            episodes.append(Episode("e", f"{group}", "t", "Go.", group, tuple(turns), won, float(won), False, ()))
    return Rollout(tuple(episodes)), counts


def _measure(runs: dict[str, Run], collected: Collected, rounds: int, *, synthetic: bool) -> dict[str, Any]:
    batch = collate(collected[0].episodes, pad_id=runs["none"].tokenizer.pad_id)
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in (*runs, "plain")}
    ratios = {}
    for number in range(rounds + 1):
        for name, run in runs.items():
            clock = PhaseClock()
            if not synthetic:
                # Played again for its time; all learn from the same episodes.
                collect(run, 0, clock)
            metrics = learn(run, number, collected, clock)
            seconds[name].append({phase: metrics.get(f"seconds/{phase}", 0.0) for phase in PHASES})
            ratios |= {key: value for key, value in metrics.items() if "packing_ratio" in key}
        clock = PhaseClock()
        if not synthetic:
            with clock.phase("rollout"):
                _plain_generate(runs["none"], collected[0])
        seconds["plain"].append(_plain_step(runs["none"], batch, number, clock))
    # The first round pays for allocations and kernels.
    medians = {
        name: {phase: statistics.median(row[phase] for row in rows[1:]) for phase in PHASES}
        | {"all": statistics.median(sum(row.values()) for row in rows[1:])}
        for name, rows in seconds.items()
    }
    student = int(batch.prompt_mask.sum() + batch.response_mask.sum())
    return {
        "seconds": medians,
        **{
            f"speed_over_{name}": {key: medians[name][key] / value for key, value in medians["tree"].items() if value}
            for name in ("none", "plain")
        },
        "row_tokens_per_second": {name: student / row["update"] for name, row in medians.items()},
        "rows": len(batch),
        "row_tokens": student,
        **ratios,
    }


@torch.no_grad()
def _plain_generate(run: Run, rollout: Rollout) -> None:
    """`generate` on the padded prompts of each turn, of the episodes that last so long."""
    for turn in range(max(len(episode.turns) for episode in rollout.episodes)):
        prompts = [episode.turns[turn].prompt_ids for episode in rollout.episodes if turn < len(episode.turns)]
        ids, mask = pad_left(prompts, run.tokenizer.pad_id)
        run.model.generate(
            ids.to(run.device), attention_mask=mask.long().to(run.device), do_sample=True, top_k=0,
            max_new_tokens=run.config.max_response_tokens, pad_token_id=run.tokenizer.pad_id,
        )  # fmt: skip


def _plain_step(run: Run, batch: TurnBatch, number: int, clock: PhaseClock) -> dict[str, float]:
    """What `learn` does, with rows as they come."""
    learner = run.config.learner
    order = np.random.default_rng([run.config.seed, number]).permutation(len(batch))
    with clock.phase("score"):
        old = torch.zeros(batch.response_ids.shape)
        for index in _as_they_come(batch, np.arange(len(batch)), run.config.microbatch_tokens):
            rows = batch.rows(index).to(run.device)
            with torch.no_grad():
                old[index, : rows.response_ids.shape[1]] = _plain_score(run, rows, teacher=False).logprobs.cpu()
    batch = learner.prepare(replace(batch, old_logprobs=old * batch.response_mask), number)
    for part in np.array_split(order, run.config.minibatches):
        total = float(batch.token_weight[torch.from_numpy(part)].sum())
        for index in _as_they_come(batch, part, run.config.microbatch_tokens):
            rows = batch.rows(index).to(run.device)
            with clock.phase("teacher"), torch.no_grad():
                teacher = _plain_score(run, rows, teacher=True) if run.teacher is not None else None
            with clock.phase("update"):
                output = learner.loss(_plain_score(run, rows, teacher=False), teacher, rows)
                token_mean(output.token_loss, rows.token_weight, total).backward()  # type: ignore[no-untyped-call]
        with clock.phase("update"):
            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=True)
    return {phase: clock.seconds[phase] for phase in PHASES}


def _as_they_come(batch: TurnBatch, rows: Any, max_tokens: int) -> Iterator[torch.Tensor]:
    width = batch.response_ids.shape[1] + int(batch.row_lengths().max())
    yield from torch.from_numpy(rows).split(max(1, max_tokens // width))


def _plain_score(run: Run, rows: TurnBatch, *, teacher: bool) -> Any:
    ids, mask = (rows.teacher_prompt_ids, rows.teacher_prompt_mask) if teacher else (rows.prompt_ids, rows.prompt_mask)
    assert ids is not None
    assert mask is not None
    return score(
        run.teacher if teacher else run.model,
        prompt_ids=ids,
        prompt_mask=mask,
        response_ids=rows.response_ids,
        response_mask=rows.response_mask,
        temperature=run.config.temperature,
        entropy=run.config.learner.needs.entropy,
        distribution=run.config.learner.needs.distribution,
    )


if __name__ == "__main__":
    main()
