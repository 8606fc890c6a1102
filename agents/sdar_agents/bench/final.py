"""What a finished run is judged by: its last checkpoint plays the panel once more, each episode written down."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from sdar_agents import __version__
from sdar_agents.backends.make import agent_engine
from sdar_agents.bench.folder import EPISODES
from sdar_agents.checkpoint import load_training_state, open_checkpoint
from sdar_agents.config import TrainConfig
from sdar_agents.env_hosts import EnvPool, TextEnvironment, make_agent_env
from sdar_agents.episode import Sampling
from sdar_agents.episode_file import EpisodeHeader, EpisodeWriter, RecordedEpisode, read_episodes
from sdar_agents.machine import package_version
from sdar_agents.policy import compute_dtype
from sdar_agents.rollout import Assignment, RolloutSettings, play
from sdar_agents.setup import (
    DEFAULT_EPISODES,
    env_options,
    evaluation_split,
    make_context,
    resolve_device,
    resolve_style,
)
from sdar_agents.teacher import PrivilegedContext
from sdar_gym.prompts import prompt_hash
from sdar_gym.registration import make, text_env
from sdar_gym.tasks import Panel, make_panel
from sdar_skills.retrievers.base import StatefulRetriever

BATCH = 64
"""Episodes played at once, and at most lost by a kill."""


def play_final(config: TrainConfig, *, episodes: int | None, skills: bool) -> dict[str, Any]:
    """Play the panel with a run's newest checkpoint; what was played before a kill is not played again.

    An episode is decided by the run's seed, its place in the panel and the turn, so that an interrupted pass ends with
    the episodes that it would have had; on the tasks of the run's own last evaluation they are the same.

    Args:
        config: Of the run; its folder holds the checkpoint, and receives the episodes.
        episodes: How many tasks of the panel; by default as many as the run's evaluations.
        skills: Whether the prompt shows the skills.

    Returns:
        Provenance of the episodes, how many tasks the panel has, those that could not be played, and the oracle's
        number of turns for each task.

    Raises:
        ConfigError, CheckpointError, ...: as the part says it.
    """
    folder = Path(config.run)
    options = env_options(config.env, config.data, config.env_options)
    panel = _panel(config, options, episodes)
    checkpoint = open_checkpoint(folder)
    device = resolve_device(config.device)
    backend, tokenizer = agent_engine(
        config.backend,
        source=str(checkpoint.model_folder),
        settings=config.backend_options,
        dtype=str(compute_dtype(config.dtype, device)).removeprefix("torch."),
        device=device,
    )
    style = resolve_style(config.prompt_style, config.model, config.env)
    context, bank = make_context(config, tokenizer)
    if context is not None and isinstance(context.retriever, StatefulRetriever):
        # A retriever that learns answers with what the run has taught it.
        context.retriever.load_state_dict(load_training_state(checkpoint)["moving"]["retriever"])
    pool = EnvPool(
        partial(make_agent_env, config.env, style, **options), config.env_workers, config.env_timeout_seconds
    )
    settings = RolloutSettings(
        env_id=config.env,
        sampling=Sampling(temperature=config.eval_temperature, max_tokens=config.max_response_tokens),
        max_prompt_tokens=config.max_prompt_tokens,
        student_skills=skills and context is not None,
    )
    header = EpisodeHeader(
        env=config.env,
        agent=f"{folder.name}, step {checkpoint.step}",
        panel=panel.name,
        panel_hash=panel.hash,
        behaviour_hash=text_env(pool.example).behaviour_hash,
        bank_hash=bank.hash if bank is not None else None,
        prompt_hash=prompt_hash(style),
        settings={
            "panel_content": panel.content,
            # The panel's content says what the data were; where they lie does not matter.
            "env_options": {key: str(value) for key, value in sorted(options.items()) if key != "data"},
            "temperature": config.eval_temperature,
            "max_prompt_tokens": config.max_prompt_tokens,
            "max_response_tokens": config.max_response_tokens,
            "skills": settings.student_skills,
            "seed": f"{config.seed}/eval",
        },
        version=__version__,
    )
    with closing(pool), closing(backend), EpisodeWriter(folder / EPISODES, header) as writer:
        failed = _play_missing(
            panel, writer, step=checkpoint.step, pool=pool, backend=backend, tokenizer=tokenizer,
            settings=settings, context=context, seed=f"{config.seed}/eval",
        )  # fmt: skip
    return {
        "provenance": provenance(header),
        "tasks": len(panel),
        "failed": failed,
        "oracle_turns": oracle_turns(panel, options),
    }


def _play_missing(
    panel: Panel,
    writer: EpisodeWriter,
    *,
    step: int,
    settings: RolloutSettings,
    context: PrivilegedContext | None,
    seed: str,
    **parts: Any,
) -> list[str]:
    """Play what the file does not hold, in the batches that an uninterrupted pass has; the tasks that failed."""
    known = {recorded.number for recorded in read_episodes(writer.file)}
    failed: list[str] = []
    for first in range(0, len(panel), BATCH):
        numbers = range(first, min(first + BATCH, len(panel)))
        if known.issuperset(numbers):
            continue
        rollout = play(
            [Assignment(panel.task_ids[number], number) for number in numbers],
            settings=settings,
            context=context if settings.student_skills else None,
            seed=seed,
            first=first,
            **parts,
        )
        for episode in rollout.episodes:
            if episode.group not in known:
                writer.add(RecordedEpisode(number=episode.group, episode=episode, step=step))
        failed += [failure.task_id for failure in rollout.failures if failure.group not in known]
    return failed


def _panel(config: TrainConfig, options: Mapping[str, Any], episodes: int | None) -> Panel:
    env = make(config.env, **options)
    split = evaluation_split(config.env, config.panel)
    there = len(text_env(env).task_ids(split))
    return make_panel(env, config.env, split, episodes or config.eval_episodes or min(DEFAULT_EPISODES, there))


def oracle_turns(panel: Panel, options: Mapping[str, Any]) -> dict[str, int | None]:
    """How many turns the environment's oracle needs for each task: its length, whoever plays it.

    None where it does not get there, or where an environment of a third party has none.
    """
    env = make(panel.env_id, **options)
    return {task_id: _oracle_turns(env, task_id) for task_id in panel.task_ids}


def _oracle_turns(env: TextEnvironment, task_id: str) -> int | None:
    core = text_env(env)
    _, info = env.reset(options={"task": task_id})
    count, done = 0, False
    try:
        while not done and (action := core.oracle()) is not None:
            _, _, terminated, truncated, info = env.step(action)
            count, done = count + 1, terminated or truncated
    except NotImplementedError:
        return None
    return count if info["success"] else None


def provenance(header: EpisodeHeader) -> dict[str, Any]:
    """What else a number depends on: hashes of what was played, versions, and the commit of the code."""
    return {
        "version": __version__,
        "commit": source_commit(),
        "panel": header.panel,
        "panel_hash": header.panel_hash,
        "behaviour_hash": header.behaviour_hash,
        "bank_hash": header.bank_hash,
        "prompt_hash": header.prompt_hash,
        "torch": package_version("torch"),
        "transformers": package_version("transformers"),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def source_commit() -> str | None:
    """Commit of the checkout that this code runs from, with `+changes` if files differ; None outside one."""
    here = Path(__file__).resolve().parent
    try:
        # An installed package may lie in somebody else's repository: this file must be of the checkout itself.
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git(here, "rev-parse", "HEAD").strip()
        changed = _git(here, "status", "--porcelain", "--untracked-files=no").strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=20
    ).stdout
