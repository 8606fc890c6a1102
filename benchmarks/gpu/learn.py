"""A model trained from scratch: imitate an oracle, then GRPO, GRPO+OPSD and SDAR, a few seeds each, in one table.

    python benchmarks/gpu/learn.py --size 10m --device cuda --folder RUNS --minutes 9
    python benchmarks/gpu/learn.py --env real --data PATH --size 100m --device cuda --folder RUNS --minutes 9

One model a size is warmed up; every run starts from it. `mini` is warmed up as the bundled tiny model is (half of the
demonstrations with skills in the prompt). `rooms` and `real` (published games) are played by their oracle, which sees
what the prompt does not tell, with random moves in between that are never imitated; half of the demonstrations have the
retrieved skills in the prompt. When `--minutes` are over, runs are saved after the step under way, and the same command
continues them. Several runs share the device (`--jobs`). The table stands in FOLDER/<env>-<size>/results.md: means over
seeds with Student's 95 % interval, for seeds that are finished.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks.workload import machine
from sdar_agents.config import PRESETS, TrainConfig, preset_config
from sdar_agents.intervals import mean_and_interval
from sdar_agents.rollout import make_agent_env
from sdar_agents.setup import env_options, resolve_device
from sdar_agents.teacher import PrivilegedContext
from sdar_agents.tiny_model import SupervisedSettings, TinyShape
from sdar_agents.train import train
from sdar_agents.warmup import DemonstratedTurn, imitate, warm_up
from sdar_agents.warmup_alfworld import ALFWORLD, ALFWorldRecipe
from sdar_gym.prompts import TAGGED
from sdar_skills.bank import load_bank
from sdar_skills.retrievers import make_retriever

ENVS = {"mini": "sdar_gym/ALFWorldMini-v0", "rooms": "sdar_gym/ALFWorldRooms-v0", "real": "sdar_gym/ALFWorld-v0"}
LEARNERS = ("grpo", "grpo_opsd", "sdar")
RANDOM_MOVES = 0.15
CHARACTERS_A_TOKEN = 3
LAST_SECONDS = 40.0
"""Kept back from `--minutes` for the step under way and its checkpoint."""


@dataclass(frozen=True, slots=True)
class Size:
    """A model and how it is trained.

    Attributes:
        training: Of the warm-up.
        learning_rate: Of reinforcement learning.
    """

    shape: TinyShape
    training: SupervisedSettings
    learning_rate: float


SIZES = {
    "tiny": Size(TinyShape(), SupervisedSettings(), 1e-3),
    # 9.9 and 97 million parameters.
    "10m": Size(
        TinyShape(384, 6, 6, 2, 64, 1024, vocabulary=1000),
        SupervisedSettings(batch_tokens=16_384, matrix_learning_rate=0.01, other_learning_rate=2e-3),
        3e-4,
    ),
    "100m": Size(
        TinyShape(768, 14, 12, 4, 64, 2304, vocabulary=1000),
        SupervisedSettings(batch_tokens=16_384, matrix_learning_rate=0.01, other_learning_rate=1e-3),
        1e-4,
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    if options.env == "real" and options.data is None:
        raise SystemExit("--env real needs the published games: --data FOLDER (or --env rooms, which needs none)")
    # float32 weights; products of large matrices may round their inputs to 10 bits on a GPU.
    torch.set_float32_matmul_precision("high")
    if options.one is not None:
        _run_one(options)
        return
    until = time.time() + 60.0 * options.minutes
    folder = Path(options.folder) / f"{options.env}-{options.size}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (_model(options) / "config.json").is_file():
        _warm_up(options, until)
    _run_all(options, given, until, folder)
    _report(options, folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="10m")
    parser.add_argument("--env", choices=list(ENVS), default="mini")
    parser.add_argument("--data", help="folder of the published games")
    parser.add_argument("--folder", default="runs/learn", help="of models and runs; keep it to continue")
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=40, help="of each run")
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--eval-episodes", type=int, default=100)
    parser.add_argument("--demonstrations", type=int, help="by default 6000 of mini, else 3000")
    parser.add_argument("--epochs", type=int, help="passes over the demonstrations; by default 2")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--minutes", type=float, default=9.0, help="then save; the same command continues")
    parser.add_argument("--jobs", type=int, default=3, help="runs at a time on the device")
    parser.add_argument("--json", help="file that receives the table's numbers")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    return parser


# ---- warm-up ---------------------------------------------------------------------------------------------


def _model(options: argparse.Namespace) -> Path:
    return Path(options.folder) / f"warm-{options.env}-{options.size}"


def _warm_up(options: argparse.Namespace, until: float) -> None:
    size, begin = SIZES[options.size], time.perf_counter()
    recipe = ALFWorldRecipe(
        demonstrations=options.demonstrations or (6000 if options.env == "mini" else 3000),
        shape=size.shape,
        training=replace(size.training, epochs=options.epochs or size.training.epochs),
    )
    device = resolve_device(options.device)
    progress = _progress(until)
    if options.env == "mini":
        warm_up(ALFWORLD, recipe, _model(options), device=device, on_progress=progress)
    else:
        turns = oracle_turns(options, recipe)
        imitate(turns, recipe, _model(options), style=TAGGED, device=device, on_progress=progress)
    _say(f"warmed up in {time.perf_counter() - begin:.0f} s: {_model(options)}")


def _progress(until: float) -> Callable[[str, int, int, float], None]:
    """Reports now and then; stops a warm-up that cannot end in time, since it is not saved in between."""
    begins: dict[str, float] = {}

    def show(phase: str, done: int, total: int, loss: float) -> None:
        begin = begins.setdefault(phase, time.time())
        left = (time.time() - begin) / done * (total - done)
        if phase == "imitation" and done >= 20 and time.time() + left > until:
            raise SystemExit(
                f"the warm-up needs {left:.0f} s more, {until - time.time():.0f} s are left, and it is not saved in "
                "between: fewer --demonstrations or --epochs, or more --minutes"
            )
        if done % max(1, total // 5) == 0:
            _say(f"{phase}: {done} of {total}, loss {loss:.3f}, {left:.0f} s left")

    return show


def oracle_turns(options: argparse.Namespace, recipe: ALFWorldRecipe) -> list[DemonstratedTurn]:
    """The oracle's turns of training games, with retrieved skills in the prompt in a share of them."""
    env_id = ENVS[options.env]
    env = make_agent_env(env_id, TAGGED, **env_options(env_id, options.data))
    context = PrivilegedContext(
        make_retriever("task_type", load_bank("alfworld"), seed=0),
        "alfworld",
        k=3,
        budget_tokens=1024,
        # There is no tokenizer before there are demonstrations.
        count_tokens=lambda text: len(text) // CHARACTERS_A_TOKEN,
    )
    tasks = env.get_wrapper_attr("task_ids")("train")
    draws = np.random.default_rng(recipe.seed)
    turns: list[DemonstratedTurn] = []
    for number in range(recipe.demonstrations):
        _, info = env.reset(options={"task": tasks[number % len(tasks)]})
        has_skills = draws.random() < recipe.skill_share
        skills = context.lookup(task=info["task"], task_type=info["task_type"]).text if has_skills else ""
        turns += _demonstration(env, info, skills, draws)
    return turns


def _demonstration(env: Any, info: dict[str, Any], skills: str, draws: np.random.Generator) -> list[DemonstratedTurn]:
    turns: list[DemonstratedTurn] = []
    is_over = False
    while not is_over:
        action = env.get_wrapper_attr("oracle")()
        if action is None:
            break
        if draws.random() < RANDOM_MOVES:
            action = f"<think></think><action>{draws.choice(info['prompt'].admissible_actions)}</action>"
        else:
            turns.append(DemonstratedTurn(info["prompt"].render(skills), action))
        _, _, terminated, truncated, info = env.step(action)
        is_over = terminated or truncated
    return turns


# ---- runs ------------------------------------------------------------------------------------------------


def _run_all(options: argparse.Namespace, given: list[str], until: float, folder: Path) -> None:
    """Start the runs that are not finished, seed by seed, some at a time, until the time is over."""
    # Seed 0 of every learner first: three curves of one seed tell more than three seeds of one learner.
    waiting = [f"{name}:{seed}" for seed in options.seeds for name in options.learners]
    waiting = [one for one in waiting if not _is_finished(_run_folder(folder, one), options.steps)]
    running: dict[str, subprocess.Popen[bytes]] = {}
    while running or (waiting and time.time() < until - LAST_SECONDS):
        while waiting and len(running) < options.jobs and time.time() < until - LAST_SECONDS:
            one = waiting.pop(0)
            command = [sys.executable, __file__, *given, "--one", one, "--until", str(until - LAST_SECONDS)]
            log = (folder / f"{one.replace(':', '-')}.log").open("ab")
            running[one] = subprocess.Popen(command, stdout=log, stderr=log)
            log.close()
        time.sleep(0.2)
        for one, process in list(running.items()):
            # A step that does not end in time is lost; the checkpoint before it is not.
            if process.poll() is None and time.time() > until:
                process.terminate()
                process.wait()
            if process.poll() is not None:
                finished = _is_finished(_run_folder(folder, one), options.steps)
                saved = f"ended with {process.returncode}, see {one.replace(':', '-')}.log"
                _say(f"{one}: {'finished' if finished else 'to be continued' if process.returncode == 0 else saved}")
                del running[one]


def _run_one(options: argparse.Namespace) -> None:
    """One run, stopped as by Ctrl-C when the time is over: the step under way is finished and saved."""
    folder = _run_folder(Path(options.folder) / f"{options.env}-{options.size}", options.one)
    timer = threading.Timer(max(1.0, options.until - time.time()), os.kill, (os.getpid(), signal.SIGINT))
    timer.daemon = True
    timer.start()
    try:
        train(_config(options, folder), resume=(folder / "config.json").is_file(), console=Console(stderr=True))
    except KeyboardInterrupt:
        _say("stopped before a step was under way")
    finally:
        timer.cancel()


def _config(options: argparse.Namespace, folder: Path) -> TrainConfig:
    name, _, seed = options.one.partition(":")
    mini = options.env == "mini"
    return replace(
        preset_config("quickstart", name),
        env=ENVS[options.env],
        data=options.data,
        # From afar, a penalty or a leash moves a model that was just warmed up the wrong way: see `quickstart`.
        learner=PRESETS["quickstart"].learners[name],
        model=str(_model(options)),
        run=str(folder),
        seed=int(seed),
        device=options.device,
        dtype="float32",
        prompt_style="auto",
        retriever="task_type",
        max_prompt_tokens=512 if mini else 1536,
        max_skill_tokens=256 if mini else 1024,
        max_response_tokens=16 if mini else 32,
        steps=options.steps,
        groups=options.groups,
        group_size=options.group_size,
        learning_rate=SIZES[options.size].learning_rate,
        microbatch_tokens=8_192 if resolve_device(options.device) == "cpu" else 65_536,
        eval_episodes=options.eval_episodes,
        eval_every=max(1, options.steps // 2),
        checkpoint_every=5,
        keep_checkpoints=1,
    )


def _run_folder(folder: Path, one: str) -> Path:
    return folder / one.replace(":", "-")


def _is_finished(folder: Path, steps: int) -> bool:
    summary = _summary(folder)
    return summary is not None and summary["finished"] and summary["steps"] >= steps


def _summary(folder: Path) -> dict[str, Any] | None:
    file = folder / "summary.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


# ---- table -----------------------------------------------------------------------------------------------


def _report(options: argparse.Namespace, folder: Path) -> None:
    rows = [_row(options, folder, name) for name in options.learners]
    report = {**machine(resolve_device(options.device)), **vars(options), "learners": rows}
    text = _table(options, rows)
    (folder / "results.md").write_text(text, encoding="utf-8")
    for file in (folder / "results.json", options.json):
        if file is not None:
            Path(file).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    _say(text)


def _row(options: argparse.Namespace, folder: Path, name: str) -> dict[str, Any]:
    summaries = [_summary(_run_folder(folder, f"{name}:{seed}")) for seed in options.seeds]
    done = [one for one in summaries if one is not None and one["finished"] and one["steps"] >= options.steps]
    return {
        "learner": name,
        "finished": len(done),
        "of": len(options.seeds),
        "before": [one["before"]["success_rate"] for one in done],
        "after": [one["after"]["success_rate"] for one in done],
        "after_with_skills": [one["after"]["skills_success_rate"] for one in done],
        "before_with_skills": [one["before"]["skills_success_rate"] for one in done],
        "seconds_a_step": [one["seconds"].get("step", 0.0) for one in done],
    }


def _table(options: argparse.Namespace, rows: list[dict[str, Any]]) -> str:
    head = (
        f"{ENVS[options.env]}, {options.size}, {options.steps} steps of {options.groups} x {options.group_size} "
        f"episodes, {options.eval_episodes} held-out tasks, success: mean over seeds [95 % interval]\n\n"
        "| learner | seeds | before | after | before, skills shown | after, skills shown | s a step |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    keys = ("before", "after", "before_with_skills", "after_with_skills")
    return head + "".join(
        f"| {row['learner']} | {row['finished']} of {row['of']} | "
        + " | ".join(_cell(row[key]) for key in keys)
        + f" | {_mean(row['seconds_a_step'])} |\n"
        for row in rows
    )


def _cell(values: list[float]) -> str:
    if len(values) < 2:
        return _mean(values)
    mean, low, high = mean_and_interval(values)
    return f"{mean:.3f} [{max(0.0, low):.3f}, {min(1.0, high):.3f}]"


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.3f}" if values else "-"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
