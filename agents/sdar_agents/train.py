"""The training loop: play, score, learn, evaluate, save. One loop for every learner; read it straight down."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.distributed.tensor import DTensor

from sdar_agents.batch import TurnBatch, collate, token_mean
from sdar_agents.checkpoint import checkpoints, latest_checkpoint, load_training_state, save_checkpoint
from sdar_agents.config import TrainConfig
from sdar_agents.distributed import (
    full_model_state,
    full_optimizer_state,
    is_sharded,
    leave_world,
    load_full_model_state,
    load_full_optimizer_state,
    put_together,
    recomputed_activations,
)
from sdar_agents.episode import Episode
from sdar_agents.evaluate import Evaluation, evaluate_policy
from sdar_agents.importance import importance_weights
from sdar_agents.learners.base import TokenScores
from sdar_agents.policy import load_weights, move_towards, score
from sdar_agents.rollout import Assignment, Rollout, RolloutCounts, RolloutError, RolloutSettings, joined, play
from sdar_agents.run_log import RunLog, SilentLog, plot_runs, read_metrics
from sdar_agents.setup import Run, set_up


@dataclass(slots=True)
class PhaseClock:
    """Seconds by phase of one step."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time of a block to a phase."""
        begin = time.perf_counter()
        yield
        # A GPU works behind Python's back: what it still does belongs to this phase.
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        self.seconds[name] += time.perf_counter() - begin


def train(config: TrainConfig, *, resume: bool = False, console: Console | None = None) -> dict[str, Any]:
    """Run a whole training.

    Everything that can be wrong with the settings is checked before the first step. Ctrl-C finishes the step
    under way and saves; the same settings with `resume=True` continue as if nothing had happened. What only shows
    while playing (a corrupt game file, a prompt that cannot fit) saves the finished steps before it is raised.

    Args:
        resume: Continue from the newest checkpoint of `config.run`; from the start if it was stopped before the first.

    Returns:
        The summary that is also written to `summary.json`: evaluations before and after, n, intervals, seconds.

    Raises:
        ConfigError, ModelError, CheckpointError, SkillBankError, ...: what is wrong, and how to mend it.
    """
    console = console or Console(stderr=True)
    try:
        return _train(set_up(config, resume=resume), resume=resume, console=console)
    finally:
        leave_world()


def _train(run: Run, *, resume: bool, console: Console) -> dict[str, Any]:
    config = run.config
    start = _restore(run) if resume else 0
    with (
        closing(run.pool),
        closing(run.backend),
        _log(run, start, console) as log,
        _finish_step_on_interrupt(log) as interrupted,
    ):
        step, stopping = start, False
        if start == 0:
            log.evaluation(0, evaluate(run))
        while step < config.steps and not stopping:
            clock = PhaseClock()
            try:
                collected = collect(run, step, clock)
            except Exception:
                # Nothing of this step has touched the weights: they are those after `step` steps.
                if step > start:
                    _save(run, step)
                raise
            for failure in collected[0].failures:
                log.say(f"left out with its group: {failure}")
            metrics = learn(run, step, collected, clock)
            step += 1
            log.train_step(step, metrics)
            # A signal reaches some processes sooner than others; all stop after the same step.
            stopping = run.world.any(interrupted.is_set())
            last = step == config.steps
            if last or step % config.eval_every == 0:
                log.evaluation(step, evaluate(run))
            if last or step % config.checkpoint_every == 0 or stopping:
                _save(run, step)
        if stopping and step < config.steps:
            log.say(f"stopped after step {step} of {config.steps}; continue with --resume --run {config.run}")
    run.world.barrier()
    return _summarise(run, step)


def _log(run: Run, start: int, console: Console) -> RunLog | SilentLog:
    if not run.world.is_main:
        return SilentLog()
    return RunLog(run.folder, steps=run.config.steps, resumed_after=start or None, console=console)


def train_step(run: Run, step: int) -> dict[str, float]:
    """Play the groups of a step, learn from them, and say what happened."""
    clock = PhaseClock()
    return learn(run, step, collect(run, step, clock), clock)


def collect(run: Run, step: int, clock: PhaseClock) -> tuple[Rollout, RolloutCounts]:
    """Play the groups of a step; the weights are only read.

    Every process plays whole groups of its own, and hears of everybody's episodes: learners see the whole step.

    Raises:
        RolloutError: every group lost a member to a failing environment.
    """
    assignments = assignments_of_step(run.train_ids, config=run.config, step=step)
    mine = run.world.share(range(run.config.groups))
    counts = RolloutCounts()

    def play_mine() -> tuple[Rollout, RolloutCounts]:
        own = RolloutCounts()
        with put_together(run.model):
            rollout = play(
                [assignment for assignment in assignments if assignment.group in mine],
                pool=run.pool,
                backend=run.backend,
                tokenizer=run.tokenizer,
                settings=run.rollout,
                context=run.context,
                seed=f"{run.config.seed}/train/{step}",
                counts=own,
                first=mine[0] * run.config.group_size,
            )
        return rollout, own

    with clock.phase("rollout"):
        parts = run.world.together(play_mine)
    for _, part in parts:
        counts.add(part)
    rollout = joined([part for part, _ in parts])
    if not rollout.episodes:
        raise RolloutError(
            f"every group of step {step + 1} lost a member, nothing to learn from: {rollout.failures[0]}"
        )
    return rollout, counts


def learn(run: Run, step: int, collected: tuple[Rollout, RolloutCounts], clock: PhaseClock) -> dict[str, float]:
    """Score the rows of a step, let the learner prepare them, update the weights; the step's metrics."""
    episodes, counts = collected[0].episodes, collected[1]
    run.backend.sleep()
    batch = collate(episodes, pad_id=run.tokenizer.pad_id)
    with clock.phase("score"):
        batch = replace(batch, old_logprobs=_logprobs(run, run.model, batch))
        if run.reference is not None:
            batch = replace(batch, reference_logprobs=_logprobs(run, run.reference, batch))
    batch = replace(batch, importance=_importance(run, batch))
    batch = run.config.learner.prepare(batch, step)
    with clock.phase("update"):
        learned = update(run, batch, step, clock)
    # What the engine remembers was computed with the weights before.
    run.backend.load_weights(run.model)
    run.backend.wake_up()
    clock.seconds["update"] -= clock.seconds["teacher"]
    return {
        **_episode_metrics(episodes, counts, run),
        **_mismatch_metrics(batch, cap=run.config.importance_cap),
        **learned,
        **{f"seconds/{phase}": seconds for phase, seconds in clock.seconds.items()},
        "seconds/step": sum(clock.seconds.values()),
    }


def assignments_of_step(task_ids: Sequence[str], *, config: TrainConfig, step: int) -> list[Assignment]:
    """The tasks of a step: every task once, in a seeded order, before any comes again.

    A function of the seed and the step alone, so that a resumed run meets the tasks it would have met.
    """
    chosen = []
    for position in range(step * config.groups, (step + 1) * config.groups):
        epoch, index = divmod(position, len(task_ids))
        order = np.random.default_rng([config.seed, epoch]).permutation(len(task_ids))
        chosen.append(task_ids[int(order[index])])
    return [Assignment(task, group) for group, task in enumerate(chosen) for _ in range(config.group_size)]


def update(run: Run, batch: TurnBatch, step: int, clock: PhaseClock) -> dict[str, float]:
    """The optimizer updates of one step.

    The mean is over the tokens of each whole minibatch, so its division into micro-batches cannot change the
    gradient. The teacher is scored here, beside the student, with the weights that `config.teacher` names.
    """
    config = run.config
    order = np.random.default_rng([config.seed, step]).permutation(len(batch))
    sums: dict[str, float] = defaultdict(float)
    tokens = 0.0
    norms = []
    for rows in np.array_split(order, min(config.minibatches, len(batch))):
        minibatch = batch.rows(torch.from_numpy(rows))
        total = float(minibatch.token_weight.sum())
        tokens += total
        for micro in _micro_batches(run, minibatch):
            micro = micro.to(run.device)
            with clock.phase("teacher"):
                teacher = _teacher_scores(run, micro)
            with recomputed_activations(run.model, enabled=config.activation_checkpointing):
                policy = _scores(run, run.model, micro)
                output = config.learner.loss(policy, teacher, micro)
                loss = token_mean(output.token_loss * micro.importance, micro.token_weight, total)
                # Sharded gradients are averaged over the processes, where a sum is meant.
                (loss * run.world.size).backward()  # type: ignore[no-untyped-call]
            for name, values in {"loss": output.token_loss.detach(), **output.token_metrics}.items():
                sums[name] += float((values * micro.token_weight).sum())
        norms.append(_optimizer_step(run))
    finite = [norm for norm in norms if math.isfinite(norm)]
    names = sorted(sums)
    everywhere = run.world.sum(torch.tensor([sums[name] for name in names], dtype=torch.float64)).tolist()
    return {
        **{name: value / tokens for name, value in zip(names, everywhere, strict=True)},
        "gradient_norm": sum(finite) / max(1, len(finite)),
        "skipped_updates": float(len(norms) - len(finite)),
    }


def _micro_batches(run: Run, batch: TurnBatch) -> Iterator[TurnBatch]:
    """This process's micro-batches of a batch that every process holds.

    All have equally many, because passes through a sharded model are collective; where that leaves one over, it is a
    micro-batch of weight 0.
    """
    for index, is_own in _own_chunks(run, batch):
        rows = batch.rows(index)
        yield rows if is_own else replace(rows, weight=torch.zeros_like(rows.weight))


def _own_chunks(run: Run, batch: TurnBatch) -> list[tuple[torch.Tensor, bool]]:
    """Row numbers of this process's micro-batches, and False for what is there to keep step only."""
    size = run.world.size
    share = math.ceil(int(batch.row_lengths().sum()) / size)
    chunks = batch.row_chunks(min(run.config.microbatch_tokens, share) if size > 1 else run.config.microbatch_tokens)
    own = [(chunk, True) for chunk in chunks[run.world.rank :: size]]
    return own + [(chunks[0], False)] * (math.ceil(len(chunks) / size) - len(own))


def _optimizer_step(run: Run) -> float:
    parameters = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
    total = torch.nn.utils.clip_grad_norm_(parameters, run.config.max_grad_norm)
    norm = float(total.full_tensor() if isinstance(total, DTensor) else total)
    # One row that overflows must not destroy the weights; it is counted in `skipped_updates`.
    if math.isfinite(norm):
        run.optimizer.step()
        if run.config.teacher == "ema" and run.teacher is not None:
            move_towards(run.teacher, run.model, run.config.teacher_decay)
    run.optimizer.zero_grad(set_to_none=True)
    return norm


def _scores(run: Run, model: Any, batch: TurnBatch) -> TokenScores:
    needs = run.config.learner.needs
    return score(
        model,
        prompt_ids=batch.prompt_ids,
        prompt_mask=batch.prompt_mask,
        response_ids=batch.response_ids,
        response_mask=batch.response_mask,
        temperature=run.config.temperature,
        entropy=needs.entropy,
        distribution=needs.distribution,
    )


@torch.no_grad()
def _teacher_scores(run: Run, batch: TurnBatch) -> TokenScores | None:
    needs = run.config.learner.needs
    if run.teacher is None or batch.teacher_prompt_ids is None or batch.teacher_prompt_mask is None:
        return None
    return score(
        run.teacher,
        prompt_ids=batch.teacher_prompt_ids,
        prompt_mask=batch.teacher_prompt_mask,
        response_ids=batch.response_ids,
        response_mask=batch.response_mask,
        temperature=run.config.temperature,
        distribution=needs.teacher == "distribution",
    )


@torch.no_grad()
def _logprobs(run: Run, model: Any, batch: TurnBatch) -> torch.Tensor:
    result = torch.zeros(batch.response_ids.shape)
    for index, is_own in _own_chunks(run, batch):
        rows = batch.rows(index)
        scores = score(
            model,
            prompt_ids=rows.prompt_ids,
            prompt_mask=rows.prompt_mask,
            response_ids=rows.response_ids,
            response_mask=rows.response_mask,
            temperature=run.config.temperature,
        )
        if is_own:
            result[index, : rows.response_ids.shape[1]] = scores.logprobs.cpu() * rows.response_mask
    return run.world.sum(result)


def _importance(run: Run, batch: TurnBatch) -> torch.Tensor:
    return importance_weights(
        batch.old_logprobs,
        batch.sampler_logprobs,
        batch.response_mask,
        correction=run.config.importance_correction,
        cap=run.config.importance_cap,
    )


def _mismatch_metrics(batch: TurnBatch, *, cap: float) -> dict[str, float]:
    """How far the engine that drew the tokens is from the trainer that learns from them."""
    # float64: of two numbers that agree, exp(d) - 1 - d would be nothing but rounding.
    difference = (batch.old_logprobs - batch.sampler_logprobs)[batch.response_mask].double()
    weights = batch.importance[batch.response_mask]
    return {
        "sampler_mismatch": float(difference.abs().mean()),
        # k3 of KL(sampler || trainer): never negative, and 0 only where they agree.
        "sampler_kl": float((torch.expm1(difference) - difference).mean()),
        "importance": float(weights.mean()),
        "importance_capped": float((weights >= cap).float().mean()),
    }


def _episode_metrics(episodes: Sequence[Episode], counts: RolloutCounts, run: Run) -> dict[str, float]:
    n, turns = len(episodes), counts.turns
    groups: dict[int, set[float]] = defaultdict(set)
    for episode in episodes:
        groups[episode.group].add(episode.episode_return)
    return {
        "success": sum(episode.success for episode in episodes) / n,
        "reward": sum(episode.episode_return for episode in episodes) / n,
        "episode_turns": turns / n,
        "valid_actions": 1.0 - sum(episode.invalid_turns for episode in episodes) / turns,
        "mixed_groups": sum(len(returns) > 1 for returns in groups.values()) / len(groups),
        "prompt_tokens": counts.prompt_tokens / turns,
        "response_tokens": counts.response_tokens / turns,
        "cut_responses": counts.cut_responses / turns,
        "dropped_history": counts.dropped_history / turns,
        "dropped_admissible": counts.dropped_admissible / turns,
        "failed_episodes": float(counts.failed_episodes),
        "dropped_groups": float(counts.dropped_groups),
        "skills_dropped": float(run.context.dropped_skills if run.context else 0),
        "skill_matches_type": sum(_saw_own_skill(episode, run) for episode in episodes) / n,
    }


def _saw_own_skill(episode: Episode, run: Run) -> bool:
    return any(run.skill_types[skill] == episode.task_type for skill in episode.skill_ids)


def evaluate(run: Run) -> dict[str, Any]:
    """Success on the frozen panel: as the student acts, and with the skills in its prompt."""
    bare = _evaluation(run, skills=False)
    results = {"panel_hash": bare.panel_hash, **_numbers(bare)}
    if run.context is not None and run.context.retriever is not None:
        shown = _evaluation(run, skills=True)
        results |= {"skills_success_rate": shown.success_rate, "skills_interval": list(shown.interval)}
    return results


def _evaluation(run: Run, *, skills: bool) -> Evaluation:
    sampling = replace(run.rollout.sampling, temperature=run.config.eval_temperature)
    with put_together(run.model):
        return _panel_result(run, replace(run.rollout, sampling=sampling, student_skills=skills, teacher_prompts=False))


def _panel_result(run: Run, settings: RolloutSettings) -> Evaluation:
    return evaluate_policy(
        run.panel,
        agent=run.config.run,
        pool=run.pool,
        backend=run.backend,
        tokenizer=run.tokenizer,
        settings=settings,
        context=run.context,
        seed=f"{run.config.seed}/eval",
        world=run.world,
    )


def _numbers(evaluation: Evaluation) -> dict[str, Any]:
    values = evaluation.to_json()
    names = ("n", "failed", "success_rate", "interval", "score_mean", "turns_mean", "seconds")
    return {name: values[name] for name in names}


def _save(run: Run, step: int) -> None:
    """Write a checkpoint; it does not depend on how many processes there are."""
    training: dict[str, Any] = {"optimizer": full_optimizer_state(run.model, run.optimizer)}
    weights = full_model_state(run.model) if is_sharded(run.model) else None
    if run.config.teacher == "ema" and run.teacher is not None:
        training["ema"] = full_model_state(run.teacher)
    if run.world.is_main:
        save_checkpoint(
            run.folder,
            step=step,
            model=run.model,
            weights=weights,
            tokenizer=run.tokenizer,
            training=training,
            keep=run.config.keep_checkpoints,
        )
    run.world.barrier()


def _restore(run: Run) -> int:
    if not checkpoints(run.folder):
        return 0
    checkpoint = latest_checkpoint(run.folder)
    training = load_training_state(checkpoint)
    load_weights(run.model, checkpoint.model_folder)
    load_full_optimizer_state(run.model, run.optimizer, training["optimizer"])
    if "ema" in training and run.teacher is not None:
        load_full_model_state(run.teacher, training["ema"])
    run.backend.load_weights(run.model)
    return checkpoint.step


def _summarise(run: Run, step: int) -> dict[str, Any]:
    rows = read_metrics(run.folder)
    evaluations = [row for row in rows if row["kind"] == "eval"]
    steps = [row for row in rows if row["kind"] == "train"]
    summary = {
        "env": run.config.env,
        "steps": step,
        "finished": step >= run.config.steps,
        "panel": run.panel.name,
        "panel_hash": run.panel.hash,
        "before": evaluations[0],
        "after": evaluations[-1],
        "seconds": {
            phase: float(np.median([row[f"seconds/{phase}"] for row in steps]))
            for phase in ("rollout", "score", "teacher", "update", "step")
            if steps and f"seconds/{phase}" in steps[0]
        },
    }
    if not run.world.is_main:
        return summary
    (run.folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    plot_runs({run.learner: [run.folder]}, run.folder / "plot.png", title=f"{run.learner} on {run.config.env}")
    return summary


@contextmanager
def _finish_step_on_interrupt(log: RunLog | SilentLog) -> Iterator[threading.Event]:
    """The first Ctrl-C asks for a stop after the step under way; the second stops at once."""
    asked = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        log.say("finishing this step, then saving; Ctrl-C again stops at once and keeps the last checkpoint")

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
