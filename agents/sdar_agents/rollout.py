"""Playing many episodes at once, each at its own pace: every episode is a coroutine, and `play` drives them all.

An episode waits for one of two things, an answer of its environment or a completion. Completions of all episodes are
drawn in the engine's running batch, environments step where their host puts them; nobody waits for a third party.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sdar_agents.backends.base import Backend, Request
from sdar_agents.env_hosts import Call, EnvCrash, EnvHost, EnvPool, EnvTurn, TextEnvironment, make_agent_env
from sdar_agents.episode import Completion, Episode, Sampling, Turn
from sdar_agents.teacher import PrivilegedContext
from sdar_agents.teacher_views import teacher_view
from sdar_agents.tokens import ChatTokenizer
from sdar_gym.prompts import Prompt, fill_slot, fit
from sdar_skills.rendering import Rendering

__all__ = [
    "Assignment", "EnvPool", "EpisodeFailure", "Rollout", "RolloutCounts", "RolloutError", "RolloutSettings",
    "TextEnvironment", "draw_seed", "make_agent_env", "play",
]  # fmt: skip

ATTEMPTS = 2
"""How often an episode is played whose environment crashes or is interrupted."""
POLL_SECONDS = 1.0
"""How long to wait for environments at a time while nothing is being generated."""
_numbers = itertools.count()
"""Of requests and conversations: no two of this process are alike, so a late answer is never taken for another's."""


class RolloutError(RuntimeError):
    """Environments failed so often that nothing is left to learn from, or to report."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One episode to play: a task, the group whose members share it, and whether the agent is shown the skills."""

    task_id: str
    group: int
    show_skills: bool = False


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How episodes are played.

    Attributes:
        env_id: Gymnasium id.
        sampling: How tokens are drawn.
        max_prompt_tokens: Budget of the student's prompt.
        student_skills: Whether every acting prompt shows the skills (evaluation with skills on); an assignment can ask
            for them by itself.
        teacher_prompts: Whether each turn also carries the teacher's prompt, with the context's own view.
        views: Further views (`teacher_views.py`) whose prompts each turn carries.
    """

    env_id: str
    sampling: Sampling
    max_prompt_tokens: int
    student_skills: bool = False
    teacher_prompts: bool = False
    views: tuple[str, ...] = ()


@dataclass(slots=True)
class RolloutCounts:
    """What had to be cut or left out; reported with the metrics, so that nothing is lost in silence.

    The first seven are of the episodes that are returned. `dropped_skills` has the whole skills (of the view
    `hindsight`: actions) that did not fit the budget, once for each prompt that lacks them.
    """

    turns: int = 0
    prompt_tokens: int = 0
    response_tokens: int = 0
    dropped_history: int = 0
    dropped_admissible: int = 0
    dropped_skills: int = 0
    cut_responses: int = 0
    failed_episodes: int = 0
    dropped_groups: int = 0

    def add(self, other: RolloutCounts) -> None:
        """Add another's numbers to these."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(frozen=True, slots=True)
class EpisodeFailure:
    """An episode that could not be played to its end, although it was tried afresh.

    Attributes:
        errors: What happened to its environment, each time.
    """

    env_id: str
    task_id: str
    group: int
    errors: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.env_id}, task {self.task_id!r}: its environment failed twice: " + "; then ".join(self.errors)


@dataclass(frozen=True, slots=True)
class Rollout:
    """What came of a list of assignments.

    Attributes:
        episodes: Of the groups whose every member was played to its end, in the order of the assignments.
        failures: Of the others; a group that lost a member is left out whole.
    """

    episodes: tuple[Episode, ...]
    failures: tuple[EpisodeFailure, ...] = ()


def joined(parts: Iterable[Rollout]) -> Rollout:
    """Several rollouts as one."""
    parts = tuple(parts)
    return Rollout(
        tuple(episode for part in parts for episode in part.episodes),
        tuple(failure for part in parts for failure in part.failures),
    )


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
    numbers: Sequence[int] | None = None,
    on_episode: Callable[[int, Episode], None] | None = None,
) -> Rollout:
    """Play every assignment to its end.

    The same `seed`, assignments and weights give the same episodes: each draw is seeded by (seed, episode number,
    turn), whatever else is in the batch and however long any environment takes. An environment that crashes (raises,
    outlasts its timeout, dies with its process, reports that it was interrupted) is replaced and the episode played
    afresh, once; what fails twice is in `Rollout.failures`. Errors that somebody has to mend are raised: a `TaskError`
    or a missing file or package from the environment, and whatever goes wrong on this side of it (skills, prompts,
    engine).

    Args:
        context: Where skills come from; needed if the settings show them to anybody.
        seed: Names this rollout, such as `0/train/12`.
        counts: Is added to.
        first: Number of the first episode, where a long list is played in parts.
        numbers: Of every episode, where some of a list are left out; by default they count from `first`.
        on_episode: Hears of each episode as it ends, with its number; in the order in which they end.
    """
    shown = settings.student_skills or any(each.show_skills for each in assignments)
    if context is None and (shown or settings.teacher_prompts or settings.views):
        raise ValueError("the rollout settings ask for skills, but there is no privileged context to take them from")
    if context is not None and shown and teacher_view(context.view).before is None:
        raise ValueError(f"the view {context.view!r} is known after the episode: an acting prompt cannot show it")
    table = _Table(pool.host, backend, tokenizer, settings, context, seed)
    numbers = range(first, first + len(assignments)) if numbers is None else numbers
    players = [_play(table, number, each) for number, each in zip(numbers, assignments, strict=True)]

    def ended(place: int, outcome: _Outcome) -> None:
        if on_episode is not None and not isinstance(outcome, EpisodeFailure):
            on_episode(numbers[place], outcome[0])

    outcomes = _drive(players, table, ended)
    failures = tuple(outcome for outcome in outcomes if isinstance(outcome, EpisodeFailure))
    broken = {failure.group for failure in failures}
    played = [o for o in outcomes if not isinstance(o, EpisodeFailure) and o[0].group not in broken]
    total = RolloutCounts(failed_episodes=len(failures), dropped_groups=len(broken))
    for _, own in played:
        total.add(own)
    episodes = _with_late_views([episode for episode, _ in played], table, total)
    if counts is not None:
        counts.add(total)
    return Rollout(tuple(episodes), failures)


def draw_seed(name: str, episode: int, turn: int) -> int:
    """The seed of one response: the same on every machine and in every process."""
    digest = hashlib.blake2b(f"{name}/{episode}/{turn}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


# ---- one episode, from top to bottom ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Table:
    """What all episodes of a rollout share."""

    host: EnvHost
    backend: Backend
    tokenizer: ChatTokenizer
    settings: RolloutSettings
    context: PrivilegedContext | None
    seed: str


@dataclass(frozen=True, slots=True)
class _Wait:
    """What an episode waits for: `await` hands it to `_drive`, and gives what came of it."""

    what: Call | Request

    def __await__(self) -> Generator[_Wait, Any, Any]:
        return (yield self)


_Outcome = tuple[Episode, RolloutCounts] | EpisodeFailure
_Player = Coroutine[_Wait, Any, _Outcome]


async def _play(table: _Table, number: int, assignment: Assignment) -> _Outcome:
    """An episode; afresh if its environment crashes, with the same task and the same seeds."""
    errors: list[str] = []
    while len(errors) < ATTEMPTS:
        conversation = next(_numbers)
        try:
            return await _play_once(table, number, assignment, conversation)
        except EnvCrash as crash:
            errors.append(str(crash))
        finally:
            table.backend.end(conversation)
    return EpisodeFailure(table.settings.env_id, assignment.task_id, assignment.group, tuple(errors))


async def _play_once(
    table: _Table, number: int, assignment: Assignment, conversation: int
) -> tuple[Episode, RolloutCounts]:
    counts, turns = RolloutCounts(), list[Turn]()
    answer: EnvTurn = await _Wait(Call("reset", assignment.task_id))
    shown = table.settings.student_skills or assignment.show_skills
    skills, views = _skills(table, answer.info)
    taught = [*views.values(), *([skills] if shown or table.settings.teacher_prompts else [])]
    while not (answer.terminated or answer.truncated):
        prompt = _fitted(answer.info["prompt"], table, counts)
        message = prompt.render(skills.text if shown else "")
        student = table.tokenizer.prompt_ids(message)
        draws = draw_seed(table.seed, number, len(turns))
        request = Request(next(_numbers), student, table.settings.sampling, draws, conversation, message)
        completion: Completion = await _Wait(request)
        answer = await _Wait(Call("step", completion.text))
        turns.append(
            Turn(
                prompt_ids=student,
                teacher_prompt_ids=_ids(table, prompt, skills) if table.settings.teacher_prompts else None,
                completion=completion,
                action=str(answer.info["action"]),
                observation=answer.info["prompt"].observation,
                reward=answer.reward,
                is_valid=bool(answer.info["is_action_valid"]),
                failure=answer.info["failure"],
                seen=prompt.observation,
                skills_shown=shown and bool(skills.text),
                view_prompt_ids={name: _ids(table, prompt, view) for name, view in views.items()},
                around_slot=prompt.around_slot(),
            )
        )
        counts.turns += 1
        counts.prompt_tokens += len(student)
        counts.response_tokens += len(completion.token_ids)
        counts.dropped_skills += sum(len(rendering.dropped_ids) for rendering in taught)
        counts.cut_responses += not completion.stopped
    episode = Episode(
        env_id=table.settings.env_id,
        task_id=str(answer.info["task_id"]),
        task_type=str(answer.info["task_type"]),
        task=str(answer.info["task"]),
        group=assignment.group,
        turns=tuple(turns),
        success=bool(answer.info["success"]),
        score=float(answer.info["score"]),
        truncated=answer.truncated and not answer.terminated,
        skill_ids=skills.skill_ids,
        skill_text=skills.text,
    )
    return episode, counts


def _skills(table: _Table, info: dict[str, Any]) -> tuple[Rendering, dict[str, Rendering]]:
    """What the teacher is shown of the task, by default and in further views; views known later are left empty."""
    context = table.context
    if context is None:
        return Rendering("", (), 0, ()), {}
    task = {name: str(info[name]) for name in ("task", "task_type", "task_id")}
    return context.lookup(**task), {name: context.lookup(**task, view=name) for name in table.settings.views}


def _fitted(prompt: Prompt, table: _Table, counts: RolloutCounts) -> Prompt:
    """The prompt cut to its budget; what was cut is counted."""
    fitted = fit(prompt, budget_tokens=table.settings.max_prompt_tokens, count_tokens=table.tokenizer.count)
    counts.dropped_history += fitted.dropped_history
    counts.dropped_admissible += fitted.dropped_admissible
    return fitted.prompt


def _ids(table: _Table, prompt: Prompt, skills: Rendering) -> tuple[int, ...]:
    return table.tokenizer.prompt_ids(prompt.render(skills.text))


def _with_late_views(episodes: Sequence[Episode], table: _Table, counts: RolloutCounts) -> list[Episode]:
    """The episodes with the prompts of the views that are known only now; whole groups are here."""
    context, settings = table.context, table.settings
    late = [name for name in settings.views if teacher_view(name).after is not None]
    is_default = context is not None and settings.teacher_prompts and teacher_view(context.view).after is not None
    if context is None or not (late or is_default):
        return list(episodes)
    finished = []
    for episode in episodes:
        group = [other for other in episodes if other.group == episode.group]
        for name in late:
            view = context.look_back(episode, group, view=name)
            episode = _with_view(episode, view, name, table, counts)
        if is_default:
            view = context.look_back(episode, group, view=context.view)
            episode = replace(_with_view(episode, view, None, table, counts), skill_text=view.text)
        finished.append(episode)
    return finished


def _with_view(episode: Episode, view: Rendering, name: str | None, table: _Table, counts: RolloutCounts) -> Episode:
    """The episode with the prompts of a view: a further one by its name, or (None) the teacher's own."""
    turns = []
    for turn in episode.turns:
        ids = table.tokenizer.prompt_ids(fill_slot(turn.around_slot, view.text))
        own = {"teacher_prompt_ids": ids} if name is None else {"view_prompt_ids": {**turn.view_prompt_ids, name: ids}}
        turns.append(replace(turn, **own))
    counts.dropped_skills += len(view.dropped_ids) * len(turns)
    return replace(episode, turns=tuple(turns))


# ---- all episodes together -------------------------------------------------------------------------------


def _drive(players: Sequence[_Player], table: _Table, ended: Callable[[int, _Outcome], None]) -> list[_Outcome]:
    """Run the episodes to their ends: hand each what it waited for, as it comes.

    Each takes a seat of the host for its whole length; further ones begin when a seat is free.
    """
    host, backend = table.host, table.backend
    outcomes: dict[int, _Outcome] = {}
    seats = deque(range(min(len(players), host.seats or len(players))))
    waiting = deque(range(len(players)))
    seated: dict[int, int] = {}  # seat to episode
    asking: dict[int, int] = {}  # request id to seat

    def resume(seat: int, result: Any) -> None:
        """Give an episode what it waited for, and start what it wants next."""
        player = players[seated[seat]]
        try:
            if isinstance(result, EnvCrash):
                host.renew(seat)
                wanted = player.throw(result).what
            else:
                wanted = player.send(result).what
        except StopIteration as end:
            place = seated.pop(seat)
            outcomes[place] = end.value
            seats.append(seat)
            ended(place, end.value)
            return
        if isinstance(wanted, Call):
            host.send(seat, wanted)
        else:
            asking[wanted.id] = seat
            backend.add(wanted)

    try:
        while len(outcomes) < len(players):
            while seats and waiting:
                seat = seats.popleft()
                seated[seat] = waiting.popleft()
                resume(seat, None)
            for seat, result in host.poll(0.0 if asking else POLL_SECONDS):
                if isinstance(result, Exception) and not isinstance(result, EnvCrash):
                    raise result
                resume(seat, result)
            for finished in backend.step() if asking else ():
                if finished.id in asking:
                    resume(asking.pop(finished.id), finished.completion)
    finally:
        # After an error: nobody's environment is left in the middle of a call, no request under way.
        for seat, number in seated.items():
            players[number].close()
            host.renew(seat)
        for number in waiting:
            players[number].close()
    return [outcomes[number] for number in range(len(players))]
