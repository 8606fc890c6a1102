"""The training loop: play, score, learn, evaluate, save. One loop for every learner; read it straight down."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

import numpy as np
from rich.console import Console

from sdar_agents.alarms import Alarm, watch
from sdar_agents.batch import TurnBatch, collate
from sdar_agents.checkpoint import (
    check_same_model,
    checkpoints,
    clear_leftovers,
    load_training_state,
    open_checkpoint,
    save_checkpoint,
)
from sdar_agents.config import TrainConfig
from sdar_agents.diagnostics import cut_skills, start_entropy, success_by_skills, success_by_type, token_counts
from sdar_agents.distributed import (
    full_model_state,
    full_optimizer_state,
    is_sharded,
    leave_world,
    load_full_model_state,
    load_full_optimizer_state,
    put_together,
)
from sdar_agents.episode import Episode
from sdar_agents.evaluate import Evaluation, evaluate_policy
from sdar_agents.gradient_probe import compare_gradients
from sdar_agents.learners.base import AdaptingLearner, RecallingLearner
from sdar_agents.policy import load_weights
from sdar_agents.probe import probe_longest_rows
from sdar_agents.recorder import Recorder
from sdar_agents.rollout import Assignment, Rollout, RolloutCounts, RolloutError, RolloutSettings, joined, play
from sdar_agents.run_log import RunLog, SilentLog, plot_runs, read_metrics
from sdar_agents.run_state import capture_moving, restore_moving
from sdar_agents.sampling_rounds import assignments, further_assignments, mixed_groups, trained_episodes
from sdar_agents.setup import Run, set_up
from sdar_agents.update import PhaseClock, mismatch_metrics, scored, update


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
    probe_longest_rows(run)
    recorder = Recorder(run, resumed_after=start or None)
    with (
        closing(run.pool),
        closing(run.backend),
        closing(recorder),
        _log(run, start, console) as log,
        _finish_step_on_interrupt(log) as interrupted,
    ):
        step, stopping, halted = start, False, False
        if start == 0:
            log.evaluation(0, evaluate(run, 0, recorder))
        while step < config.steps and not stopping:
            clock, moving = PhaseClock(), _moving(run)
            try:
                collected = collect(run, step, clock)
            except Exception:
                # Nothing of this step has touched the weights: they are those after `step` steps.
                if step > start:
                    _save(run, step, moving, in_flight=step + 1)
                raise
            for failure in collected[0].failures:
                log.say(f"left out with its group: {failure}")
            metrics = learn(run, step, collected, clock, recorder)
            step += 1
            log.train_step(step, metrics)
            # A signal reaches some processes sooner than others; all stop after the same step.
            stopping = run.world.any(interrupted.is_set())
            alarms = _alarms(run, metrics)
            for alarm in alarms:
                log.alarm(step, alarm)
            halted = bool(alarms) and config.alarms.on_alarm == "stop"
            stopping = stopping or halted
            last = step == config.steps
            if last or step % config.eval_every == 0:
                log.evaluation(step, evaluate(run, step, recorder))
            if last or step % config.checkpoint_every == 0 or stopping or alarms:
                _save(run, step, _moving(run))
        if stopping and step < config.steps:
            how = " by an alarm; start anew with other settings, or go on" if halted else "; continue"
            log.say(f"stopped after step {step} of {config.steps}{how} with --resume --run {config.run}")
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
    config, counts, seed = run.config, RolloutCounts(), f"{run.config.seed}/train/{step}"
    with clock.phase("rollout"):
        assigned = assignments_of_step(run.train_ids, config=config, step=step)
        rollout = _played(run, assigned, counts, seed)
        for turn in range(1, config.sampling_rounds):
            missing, played = config.groups - len(mixed_groups(rollout.episodes)), rollout.episodes
            if missing <= 0:
                break
            further = further_assignments(
                run.train_ids, config=config, step=step, turn=turn, count=missing, played=played
            )
            rollout = joined([rollout, _played(run, further, counts, f"{seed}/round/{turn}")])
    if not rollout.episodes:
        raise RolloutError(
            f"every group of step {step + 1} lost a member, nothing to learn from: {rollout.failures[0]}"
        )
    return rollout, counts


def _played(run: Run, assigned: Sequence[Assignment], counts: RolloutCounts, seed: str) -> Rollout:
    """Everybody's share of whole groups, played; what was counted is added to `counts`."""
    size = run.config.group_size
    mine = run.world.share(range(len(assigned) // size))

    def play_mine() -> tuple[Rollout, RolloutCounts]:
        own = RolloutCounts()
        with _generating(run):
            # Of few groups, a process may have none to play.
            rollout = (
                Rollout(())
                if not mine
                else play(
                    assigned[mine[0] * size : (mine[-1] + 1) * size],
                    pool=run.pool,
                    backend=run.backend,
                    tokenizer=run.tokenizer,
                    settings=run.rollout,
                    context=run.context,
                    seed=seed,
                    counts=own,
                    first=mine[0] * size,
                )
            )
        return rollout, own

    parts = run.world.together(play_mine)
    for _, part in parts:
        counts.add(part)
    return joined([part for part, _ in parts])


def _generating(run: Run) -> AbstractContextManager[None]:
    """What the engine needs around its work: whole weights, if it generates with the trained module."""
    return put_together(run.model) if run.backend.shares_module else nullcontext()


def learn(
    run: Run,
    step: int,
    collected: tuple[Rollout, RolloutCounts],
    clock: PhaseClock,
    recorder: Recorder | None = None,
) -> dict[str, float]:
    """Score the rows of a step, let the learner prepare them, update the weights; the step's metrics."""
    episodes, counts = collected[0].episodes, collected[1]
    trained = trained_episodes(episodes, run.config)
    batch = collate(trained, pad_id=run.tokenizer.pad_id)
    # An engine on the same GPU makes room for the update, and takes over its weights after it: what it remembers was
    # computed with the weights before.
    run.backend.sleep()
    with clock.phase("score"):
        batch = scored(run, batch)
    drawn = batch
    learner = run.config.learner
    batch = learner.prepare(replace(batch, signals=dict(run.signals)), step)
    with clock.phase("diagnostics"):
        compared = compare_gradients(run, batch, step)
    if isinstance(learner, RecallingLearner):
        batch, run.memory.rows = learner.recall(batch, run.memory.rows, step)
    with clock.phase("update"):
        tokens = None if recorder is None else recorder.tokens(step)
        learned = update(run, batch, step, clock, tokens)
    if recorder is not None and tokens is not None:
        recorder.train_step(step + 1, trained, batch, tokens)
    with clock.phase("sync"):
        run.backend.load_weights(run.model)
        run.backend.wake_up()
    if run.context is not None:
        run.context.learn(episodes)
    clock.seconds["update"] -= clock.seconds["teacher"]
    metrics = {
        **_episode_metrics(episodes, counts, run),
        **mismatch_metrics(drawn, cap=run.config.importance_cap),
        **start_entropy(batch),
        **token_counts(drawn, batch, learner.needs, drawn=counts.response_tokens),
        **compared,
        **learned,
    }
    if isinstance(learner, AdaptingLearner):
        signals = learner.observe(metrics, dict(run.signals))
        run.signals.clear()
        run.signals.update(signals)
    return {
        **metrics,
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
    return assignments(chosen, config=config, step=step)


def _episode_metrics(episodes: Sequence[Episode], counts: RolloutCounts, run: Run) -> dict[str, float]:
    n, turns = len(episodes), counts.turns
    groups = {episode.group for episode in episodes}
    mixed = mixed_groups(episodes)
    return {
        "success": sum(episode.success for episode in episodes) / n,
        "reward": sum(episode.episode_return for episode in episodes) / n,
        "episode_turns": turns / n,
        "valid_actions": 1.0 - sum(episode.invalid_turns for episode in episodes) / turns,
        "mixed_groups": len(mixed) / len(groups),
        "played_groups": float(len(groups)),
        "trained_groups": float(len({episode.group for episode in trained_episodes(tuple(episodes), run.config)})),
        "prompt_tokens": counts.prompt_tokens / turns,
        "response_tokens": counts.response_tokens / turns,
        "cut_responses": counts.cut_responses / turns,
        "dropped_history": counts.dropped_history / turns,
        "dropped_admissible": counts.dropped_admissible / turns,
        "dropped_skills": counts.dropped_skills / turns,
        "failed_episodes": float(counts.failed_episodes),
        "dropped_groups": float(counts.dropped_groups),
        "skills_dropped": float(run.context.dropped_skills if run.context else 0),
        "skills_cut": float(cut_skills(episodes, run.tokenizer)),
        **success_by_type(episodes),
        **success_by_skills(episodes),
        "skill_matches_type": sum(_saw_own_skill(episode, run) for episode in episodes) / n,
        "wrong_skills": sum(run.context.is_wrong(episode.task_id) for episode in episodes) / n if run.context else 0.0,
    }


def _saw_own_skill(episode: Episode, run: Run) -> bool:
    return any(episode.task_type in run.skill_types[skill] for skill in episode.skill_ids)


def evaluate(run: Run, step: int = 0, recorder: Recorder | None = None) -> dict[str, Any]:
    """Success on the frozen panel: as the student acts, and (unless `eval_skills` is off) with skills in its prompt."""
    bare = _evaluation(run, skills=False, heard=None if recorder is None else partial(recorder.evaluation, step))
    results = {"panel_hash": bare.panel_hash, **_numbers(bare)}
    if run.config.eval_skills and run.context is not None and run.context.shows_skills:
        shown = _evaluation(run, skills=True)
        results |= {"skills_success_rate": shown.success_rate, "skills_interval": list(shown.interval)}
    return results


def _evaluation(run: Run, *, skills: bool, heard: Callable[[Sequence[Episode]], None] | None = None) -> Evaluation:
    sampling = replace(run.rollout.sampling, temperature=run.config.eval_temperature)
    with _generating(run):
        bare = replace(run.rollout, sampling=sampling, student_skills=skills, teacher_prompts=False, views=())
        return _panel_result(run, bare, heard)


def _panel_result(
    run: Run, settings: RolloutSettings, heard: Callable[[Sequence[Episode]], None] | None = None
) -> Evaluation:
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
        heard=heard,
    )


def _numbers(evaluation: Evaluation) -> dict[str, Any]:
    values = evaluation.to_json()
    names = ("n", "failed", "success_rate", "interval", "score_mean", "turns_mean", "seconds", "solved")
    return {name: values[name] for name in names}


def _alarms(run: Run, metrics: dict[str, float]) -> list[Alarm]:
    """What the first process finds: all must save, and stop, or none."""
    return run.world.gather(watch(run.config.alarms, metrics, run.alarm_state))[0]


def _moving(run: Run) -> dict[str, Any]:
    memory = {} if run.memory.rows is None else {"memory": run.memory.rows.state_dict()}
    return {**capture_moving(run.context, run.signals), "alarms": dict(run.alarm_state), **memory}


def _save(run: Run, step: int, moving: dict[str, Any], *, in_flight: int | None = None) -> None:
    """Write a checkpoint; it does not depend on how many processes there are."""
    training: dict[str, Any] = {"optimizer": full_optimizer_state(run.model, run.optimizer), "moving": moving}
    weights = full_model_state(run.model) if is_sharded(run.model) else None
    if run.config.teacher == "ema" and run.teacher is not None:
        training["ema"] = full_model_state(run.teacher)
    if run.world.is_main:
        save_checkpoint(
            run.folder,
            step=step,
            model=run.model,
            name=run.config.model,
            tokenizer=run.tokenizer,
            training=training,
            keep=run.config.keep_checkpoints,
            keep_every=run.config.keep_every,
            weights=weights,
            in_flight=in_flight,
        )
    run.world.barrier()


def _restore(run: Run) -> int:
    if run.world.is_main:
        clear_leftovers(run.folder)
    run.world.barrier()
    if not checkpoints(run.folder):
        return 0
    checkpoint = open_checkpoint(run.folder)
    check_same_model(checkpoint, run.model, run.config.model)
    training = load_training_state(checkpoint)
    load_weights(run.model, checkpoint.model_folder)
    load_full_optimizer_state(run.model, run.optimizer, training["optimizer"])
    if "ema" in training and run.teacher is not None:
        load_full_model_state(run.teacher, training["ema"])
    restore_moving(run.context, run.signals, training["moving"])
    run.alarm_state.update(training["moving"].get("alarms", {}))
    if "memory" in training["moving"]:
        run.memory.rows = TurnBatch.from_state_dict(training["moving"]["memory"])
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
        "alarms": [{"step": row["step"], "alarm": row["alarm"]} for row in rows if row["kind"] == "alarm"],
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
