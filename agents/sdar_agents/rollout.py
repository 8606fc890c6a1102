"""Playing many episodes at once: environments step in turn, their prompts meet in one generation batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym

from sdar_agents.backends.base import Backend
from sdar_agents.episode import Completion, Episode, Sampling, Turn
from sdar_agents.teacher import PrivilegedContext
from sdar_agents.tokens import ChatTokenizer
from sdar_gym.prompts import HistoryPrompt, Prompt, PromptStyle, fit
from sdar_gym.registration import make
from sdar_gym.wrappers import TaggedAction

TextEnvironment = gym.Env[str, str]


@dataclass(frozen=True, slots=True)
class Assignment:
    """One episode to play: a task, and the group whose members share it."""

    task_id: str
    group: int


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How episodes are played.

    Attributes:
        env_id: Gymnasium id.
        sampling: How tokens are drawn.
        max_prompt_tokens: Budget of the student's prompt.
        student_skills: Whether the acting prompt itself shows the skills (evaluation with skills on).
        teacher_prompts: Whether each turn also carries the teacher's prompt.
    """

    env_id: str
    sampling: Sampling
    max_prompt_tokens: int
    student_skills: bool = False
    teacher_prompts: bool = False


@dataclass(slots=True)
class RolloutCounts:
    """What had to be cut from prompts; reported with the metrics, so that nothing is lost in silence."""

    turns: int = 0
    prompt_tokens: int = 0
    response_tokens: int = 0
    dropped_history: int = 0
    dropped_admissible: int = 0
    cut_responses: int = 0


def make_agent_env(env_id: str, style: PromptStyle, **options: Any) -> TextEnvironment:
    """An environment that shows prompts and takes raw responses; with tags, an action needs its thinking."""
    env: TextEnvironment = HistoryPrompt(make(env_id, **options), style)
    return TaggedAction(env, plain=style.plain_actions, require_think=not style.plain_actions)


@dataclass(slots=True)
class EnvPool:
    """Environments, made when first needed and reused; each plays one episode at a time."""

    make: Callable[[], TextEnvironment]
    envs: list[TextEnvironment] = field(default_factory=list)

    def take(self, count: int) -> list[TextEnvironment]:
        """The first `count` environments."""
        while len(self.envs) < count:
            self.envs.append(self.make())
        return self.envs[:count]


@dataclass(slots=True)
class _Running:
    """An episode under way."""

    number: int
    assignment: Assignment
    env: TextEnvironment
    info: dict[str, Any]
    skill_text: str
    skill_ids: tuple[str, ...]
    message: str = ""
    turns: list[Turn] = field(default_factory=list)
    done: bool = False
    truncated: bool = False


def play(
    assignments: Sequence[Assignment],
    *,
    pool: EnvPool,
    backend: Backend,
    tokenizer: ChatTokenizer,
    settings: RolloutSettings,
    context: PrivilegedContext | None,
    seed: str,
    counts: RolloutCounts | None = None,
    first: int = 0,
) -> list[Episode]:
    """Play every assignment to its end.

    A finished episode is neither stepped nor generated for. The same `seed`, assignments and weights give the
    same episodes: each draw is seeded by (seed, episode number, turn), whatever else is in the batch.

    Args:
        context: Where skills come from; needed if the settings show them to anybody.
        seed: Names this rollout, such as `0/train/12`.
        counts: Is added to.
        first: Number of the first episode, where a long list is played in parts.

    Returns:
        One episode an assignment, in order.
    """
    if context is None and (settings.student_skills or settings.teacher_prompts):
        raise ValueError("the rollout settings ask for skills, but there is no privileged context to take them from")
    counts = counts or RolloutCounts()
    running = [
        _start(number, assignment, env, context)
        for number, (assignment, env) in enumerate(
            zip(assignments, pool.take(len(assignments)), strict=True), start=first
        )
    ]
    while active := [episode for episode in running if not episode.done]:
        prompts = [_prompt_ids(episode, tokenizer, settings, counts) for episode in active]
        seeds = [draw_seed(seed, episode.number, len(episode.turns)) for episode in active]
        messages = [episode.message for episode in active]
        completions = backend.generate([student for student, _ in prompts], settings.sampling, seeds, messages)
        for episode, (student, teacher), completion in zip(active, prompts, completions, strict=True):
            _advance(episode, student, teacher, completion)
            counts.turns += 1
            counts.prompt_tokens += len(student)
            counts.response_tokens += len(completion.token_ids)
            counts.cut_responses += not completion.stopped
    return [_finish(episode, settings.env_id) for episode in running]


def draw_seed(name: str, episode: int, turn: int) -> int:
    """The seed of one response: the same on every machine and in every process."""
    digest = hashlib.blake2b(f"{name}/{episode}/{turn}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _start(number: int, assignment: Assignment, env: TextEnvironment, context: PrivilegedContext | None) -> _Running:
    _, info = env.reset(options={"task": assignment.task_id})
    if context is None:
        return _Running(number, assignment, env, info, "", ())
    rendering = context.lookup(task=str(info["task"]), task_type=str(info["task_type"]))
    return _Running(number, assignment, env, info, rendering.text, tuple(rendering.skill_ids))


def _prompt_ids(
    episode: _Running, tokenizer: ChatTokenizer, settings: RolloutSettings, counts: RolloutCounts
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    prompt: Prompt = episode.info["prompt"]
    fitted = fit(prompt, budget_tokens=settings.max_prompt_tokens, count_tokens=tokenizer.count)
    counts.dropped_history += fitted.dropped_history
    counts.dropped_admissible += fitted.dropped_admissible
    episode.message = fitted.prompt.render(episode.skill_text if settings.student_skills else "")
    student = tokenizer.prompt_ids(episode.message)
    if not settings.teacher_prompts:
        return student, None
    return student, tokenizer.prompt_ids(fitted.prompt.render(episode.skill_text))


def _advance(
    episode: _Running, student: tuple[int, ...], teacher: tuple[int, ...] | None, completion: Completion
) -> None:
    observation, reward, terminated, truncated, info = episode.env.step(completion.text)
    episode.turns.append(
        Turn(
            prompt_ids=student,
            teacher_prompt_ids=teacher,
            completion=completion,
            action=str(info["action"]),
            observation=observation,
            reward=float(reward),
            is_valid=bool(info["is_action_valid"]),
            failure=info["failure"],
        )
    )
    episode.info, episode.done, episode.truncated = info, terminated or truncated, truncated and not terminated


def _finish(episode: _Running, env_id: str) -> Episode:
    info = episode.info
    return Episode(
        env_id=env_id,
        task_id=str(info["task_id"]),
        task_type=str(info["task_type"]),
        task=str(info["task"]),
        group=episode.assignment.group,
        turns=tuple(episode.turns),
        success=bool(info["success"]),
        score=float(info["score"]),
        truncated=episode.truncated,
        skill_ids=episode.skill_ids,
    )
