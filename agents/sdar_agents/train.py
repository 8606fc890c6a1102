"""The training loop: play, score, learn, evaluate, save. One loop for every learner; read it straight down."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import numpy as np
import torch
from rich.console import Console

from sdar_agents.batch import TurnBatch, collate, token_mean
from sdar_agents.checkpoint import checkpoints, latest_checkpoint, load_training_state, save_checkpoint
from sdar_agents.config import TrainConfig
from sdar_agents.episode import Episode
from sdar_agents.evaluate import Evaluation, evaluate_policy
from sdar_agents.learners.base import TokenScores
from sdar_agents.packing import PackingCounts, score_packed, tree_chunks
from sdar_agents.policy import load_weights, move_towards, score
from sdar_agents.rollout import Assignment, RolloutCounts, play
from sdar_agents.run_log import RunLog, plot_runs, read_metrics
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
    run = set_up(config, resume=resume)
    start = _restore(run) if resume else 0
    with (
        RunLog(run.folder, steps=config.steps, resumed_after=start or None, console=console) as log,
        _finish_step_on_interrupt(log) as interrupted,
    ):
        step = start
        if start == 0:
            log.evaluation(0, evaluate(run))
        while step < config.steps and not interrupted.is_set():
            clock = PhaseClock()
            try:
                collected = collect(run, step, clock)
            except Exception:
                # Nothing of this step has touched the weights: they are those after `step` steps.
                if step > start:
                    _save(run, step)
                raise
            metrics = learn(run, step, collected, clock)
            step += 1
            log.train_step(step, metrics)
            last = step == config.steps
            if last or step % config.eval_every == 0:
                log.evaluation(step, evaluate(run))
            if last or step % config.checkpoint_every == 0 or interrupted.is_set():
                _save(run, step)
        if interrupted.is_set() and step < config.steps:
            log.say(f"stopped after step {step} of {config.steps}; continue with --resume --run {config.run}")
    return _summarise(run, step)


def train_step(run: Run, step: int) -> dict[str, float]:
    """Play the groups of a step, learn from them, and say what happened."""
    clock = PhaseClock()
    return learn(run, step, collect(run, step, clock), clock)


def collect(run: Run, step: int, clock: PhaseClock) -> tuple[list[Episode], RolloutCounts]:
    """Play the groups of a step; the weights are only read."""
    counts = RolloutCounts()
    with clock.phase("rollout"):
        episodes = play(
            assignments_of_step(run.train_ids, config=run.config, step=step),
            pool=run.pool,
            backend=run.backend,
            tokenizer=run.tokenizer,
            settings=run.rollout,
            context=run.context,
            seed=f"{run.config.seed}/train/{step}",
            counts=counts,
        )
    return episodes, counts


def learn(run: Run, step: int, collected: tuple[list[Episode], RolloutCounts], clock: PhaseClock) -> dict[str, float]:
    """Score the rows of a step, let the learner prepare them, update the weights; the step's metrics."""
    episodes, counts = collected
    batch = collate(episodes, pad_id=run.tokenizer.pad_id)
    with clock.phase("score"):
        batch = replace(batch, old_logprobs=_logprobs(run, run.model, batch))
        if run.reference is not None:
            batch = replace(batch, reference_logprobs=_logprobs(run, run.reference, batch))
    batch = run.config.learner.prepare(batch, step)
    with clock.phase("update"):
        learned = update(run, batch, step, clock)
    clock.seconds["update"] -= clock.seconds["teacher"]
    return {
        **_episode_metrics(episodes, counts, run),
        "sampler_mismatch": _sampler_mismatch(episodes, batch),
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
    packed, teacher_packed = PackingCounts(), PackingCounts()
    sums: dict[str, float] = defaultdict(float)
    tokens = 0.0
    norms = []
    for rows in minibatch_rows(batch, config=config, step=step):
        minibatch = batch.rows(rows)
        total = float(minibatch.token_weight.sum())
        tokens += total
        for index in _row_chunks(run, run.model, minibatch):
            micro = minibatch.rows(index).to(run.device)
            with clock.phase("teacher"):
                teacher = _teacher_scores(run, micro, teacher_packed)
            policy = _scores(run, run.model, micro, packed)
            output = config.learner.loss(policy, teacher, micro)
            token_mean(output.token_loss, micro.token_weight, total).backward()  # type: ignore[no-untyped-call]
            for name, values in {"loss": output.token_loss.detach(), **output.token_metrics}.items():
                sums[name] += float((values * micro.token_weight).sum())
        norms.append(_optimizer_step(run))
    finite = [norm for norm in norms if math.isfinite(norm)]
    return {
        **{name: value / tokens for name, value in sums.items()},
        "gradient_norm": sum(finite) / max(1, len(finite)),
        "skipped_updates": float(len(norms) - len(finite)),
        **({"packing_ratio": packed.ratio} if packed.tree_tokens else {}),
        **({"teacher_packing_ratio": teacher_packed.ratio} if teacher_packed.tree_tokens else {}),
    }


def minibatch_rows(batch: TurnBatch, *, config: TrainConfig, step: int) -> list[torch.Tensor]:
    """Row numbers of each optimizer update: whole trajectories in a seeded order, about as many rows each.

    The turns of a trajectory share most of their prompts, so they stay together (rows at random would halve what
    packing saves). There are no more updates than trajectories, and fewer where one is longer than two shares.
    """
    trajectories, row_counts = np.unique(batch.trajectory.numpy(), return_counts=True)
    order = np.random.default_rng([config.seed, step]).permutation(len(trajectories))
    ends = np.cumsum(row_counts[order])
    count = min(config.minibatches, len(trajectories))
    # A trajectory goes where its middle row would go if rows were cut evenly.
    middles = ends - row_counts[order] / 2
    parts = (middles * count / ends[-1]).astype(int)
    chosen = [np.isin(batch.trajectory.numpy(), trajectories[order[parts == part]]) for part in range(count)]
    return [torch.from_numpy(np.flatnonzero(rows)) for rows in chosen if rows.any()]


def _optimizer_step(run: Run) -> float:
    parameters = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
    norm: float = torch.nn.utils.clip_grad_norm_(parameters, run.config.max_grad_norm).item()
    # One row that overflows must not destroy the weights; it is counted in `skipped_updates`.
    if math.isfinite(norm):
        run.optimizer.step()
        if run.config.teacher == "ema" and run.teacher is not None:
            move_towards(run.teacher, run.model, run.config.teacher_decay)
    run.optimizer.zero_grad(set_to_none=True)
    return norm


def _row_chunks(run: Run, model: Any, batch: TurnBatch) -> list[torch.Tensor]:
    """Row numbers of micro-batches."""
    if run.config.packing == "tree":
        return tree_chunks(batch, model, run.config.microbatch_tokens)
    return batch.row_chunks(run.config.microbatch_tokens)


def _scores(run: Run, model: Any, batch: TurnBatch, counts: PackingCounts) -> TokenScores:
    needs = run.config.learner.needs
    return _score(
        run,
        model,
        batch,
        (batch.prompt_ids, batch.prompt_mask),
        entropy=needs.entropy,
        distribution=needs.distribution,
        counts=counts,
    )


@torch.no_grad()
def _teacher_scores(run: Run, batch: TurnBatch, counts: PackingCounts) -> TokenScores | None:
    if run.teacher is None or batch.teacher_prompt_ids is None or batch.teacher_prompt_mask is None:
        return None
    prompt = (batch.teacher_prompt_ids, batch.teacher_prompt_mask)
    distribution = run.config.learner.needs.teacher == "distribution"
    return _score(run, run.teacher, batch, prompt, distribution=distribution, counts=counts)


@torch.no_grad()
def _logprobs(run: Run, model: Any, batch: TurnBatch) -> torch.Tensor:
    result = torch.zeros(batch.response_ids.shape)
    for index in _row_chunks(run, model, batch):
        rows = batch.rows(index)
        scores = _score(run, model, rows, (rows.prompt_ids, rows.prompt_mask))
        result[index, : rows.response_ids.shape[1]] = scores.logprobs.cpu() * rows.response_mask
    return result


def _score(
    run: Run,
    model: Any,
    batch: TurnBatch,
    prompt: tuple[torch.Tensor, torch.Tensor],
    *,
    entropy: bool = False,
    distribution: bool = False,
    counts: PackingCounts | None = None,
) -> TokenScores:
    """Scores of the responses after a prompt (ids and mask), packed or not."""
    if run.config.packing == "none":
        return score(
            model,
            prompt_ids=prompt[0],
            prompt_mask=prompt[1],
            response_ids=batch.response_ids,
            response_mask=batch.response_mask,
            temperature=run.config.temperature,
            entropy=entropy,
            distribution=distribution,
        )
    return score_packed(
        model,
        prompt_ids=prompt[0],
        prompt_mask=prompt[1],
        response_ids=batch.response_ids,
        response_mask=batch.response_mask,
        max_tokens=run.config.microbatch_tokens,
        temperature=run.config.temperature,
        entropy=entropy,
        distribution=distribution,
        counts=counts,
    )


def _sampler_mismatch(episodes: Sequence[Episode], batch: TurnBatch) -> float:
    """Mean absolute difference in nats between the sampler's and the trainer's log-probability of a sampled token."""
    rows = [turn.completion.logprobs for episode in episodes for turn in episode.turns]
    differences = [
        abs(own - sampled)
        for row, sampled_row in zip(batch.old_logprobs.tolist(), rows, strict=True)
        for own, sampled in zip(row, sampled_row, strict=False)
    ]
    return float(sum(differences) / len(differences))


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
    return evaluate_policy(
        run.panel,
        agent=run.config.run,
        pool=run.pool,
        backend=run.backend,
        tokenizer=run.tokenizer,
        settings=replace(run.rollout, sampling=sampling, student_skills=skills, teacher_prompts=False),
        context=run.context,
        seed=f"{run.config.seed}/eval",
    )


def _numbers(evaluation: Evaluation) -> dict[str, Any]:
    values = evaluation.to_json()
    return {name: values[name] for name in ("n", "success_rate", "interval", "score_mean", "turns_mean", "seconds")}


def _save(run: Run, step: int) -> None:
    training: dict[str, Any] = {"optimizer": run.optimizer.state_dict()}
    if run.config.teacher == "ema" and run.teacher is not None:
        training["ema"] = run.teacher.state_dict()
    save_checkpoint(
        run.folder,
        step=step,
        model=run.model,
        tokenizer=run.tokenizer,
        training=training,
        keep=run.config.keep_checkpoints,
    )


def _restore(run: Run) -> int:
    if not checkpoints(run.folder):
        return 0
    checkpoint = latest_checkpoint(run.folder)
    training = load_training_state(checkpoint)
    load_weights(run.model, checkpoint.model_folder)
    run.optimizer.load_state_dict(training["optimizer"])
    if "ema" in training and run.teacher is not None:
        run.teacher.load_state_dict(training["ema"])
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
    (run.folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    plot_runs({run.learner: [run.folder]}, run.folder / "plot.png", title=f"{run.learner} on {run.config.env}")
    return summary


@contextmanager
def _finish_step_on_interrupt(log: RunLog) -> Iterator[threading.Event]:
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
