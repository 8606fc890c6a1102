"""Success on a frozen panel: of an oracle, a random agent, or a trained model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sdar_agents.backends.base import Backend
from sdar_agents.distributed import ALONE, World
from sdar_agents.env_hosts import EnvPool, TextEnvironment
from sdar_agents.episode import Completion, Episode, Turn
from sdar_agents.episode_file import EpisodeHeader, EpisodeWriter, RecordedEpisode, read_episodes
from sdar_agents.intervals import wilson
from sdar_agents.rollout import ATTEMPTS, Assignment, Rollout, RolloutError, RolloutSettings, draw_seed, joined, play
from sdar_agents.teacher import PrivilegedContext
from sdar_agents.tokens import ChatTokenizer
from sdar_gym.registration import make, text_env
from sdar_gym.tasks import Panel
from sdar_gym.text_env import INTERRUPTED, TextEnv

RuleAgent = Literal["oracle", "random", "human"]
Choice = Callable[[TextEnvironment, str, dict[str, Any]], str | None]
"""From the environment, what was seen and its info to an action; None stops the evaluation."""


class EvaluationRecord:
    """The episodes of one evaluation in a file: those that were played before, and each further one as it ends.

    Raises:
        EpisodeFileError: the file holds something else, or an evaluation of other settings; it is left as it is.
    """

    def __init__(self, file: Path, header: EpisodeHeader) -> None:
        self._writer = EpisodeWriter(file, header)
        self.known = {each.number: each.episode for each in read_episodes(file)}
        """Number in the panel to the episode."""

    def add(self, number: int, episode: Episode) -> None:
        """Append an episode."""
        self._writer.add(RecordedEpisode(number, episode))

    def close(self) -> None:
        """Close the file; another evaluation of the same settings can go on with it."""
        self._writer.close()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of one agent on one panel.

    Attributes:
        env, agent, panel, panel_hash: What was played by whom; the hash says exactly which tasks.
        behaviour_hash: By which rules; None where the environment does not state it.
        n: Episodes; every task of the panel once, less those that failed.
        failed: Tasks that could not be played, because their environment crashed twice. They count nowhere.
        success_rate: Share solved.
        interval: Its 95 % Wilson score interval.
        score_mean: Mean final score, 0 to 1.
        turns_mean: Mean episode length.
        by_task_type: Task type to [solved, played].
        steps_per_second: Environment steps over wall time, the agent's thinking included.
        seconds: Wall time.
        solved: Tasks of the panel that were solved, in its order; what two evaluations are compared by, task by task.
    """

    env: str
    agent: str
    panel: str
    panel_hash: str
    behaviour_hash: str | None
    n: int
    failed: tuple[str, ...]
    success_rate: float
    interval: tuple[float, float]
    score_mean: float
    turns_mean: float
    by_task_type: dict[str, tuple[int, int]]
    steps_per_second: float
    seconds: float
    solved: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return asdict(self)


def summarise(
    episodes: Sequence[Episode],
    *,
    panel: Panel,
    behaviour_hash: str | None,
    agent: str,
    seconds: float,
    failed: Sequence[str] = (),
) -> Evaluation:
    """The evaluation that recorded episodes amount to."""
    return _summary(
        episodes,
        env=panel.env_id,
        agent=agent,
        panel=panel.name,
        panel_hash=panel.hash,
        behaviour_hash=behaviour_hash,
        failed=failed,
        seconds=seconds,
    )


def rescored(header: EpisodeHeader, episodes: Sequence[Episode]) -> Evaluation:
    """The evaluation that a file of episodes amounts to; tasks that it lacks are in `failed`.

    Raises:
        ValueError: no episode.
    """
    if not episodes:
        raise ValueError("the file holds no whole episode of an evaluation: nothing to score")
    played = {episode.task_id for episode in episodes}
    return _summary(
        episodes,
        env=header.env,
        agent=header.agent,
        panel=header.panel or "",
        panel_hash=header.panel_hash or "",
        behaviour_hash=header.behaviour_hash,
        failed=[task for task in header.settings.get("task_ids", ()) if task not in played],
        seconds=0.0,
    )


def _summary(
    episodes: Sequence[Episode],
    *,
    env: str,
    agent: str,
    panel: str,
    panel_hash: str,
    behaviour_hash: str | None,
    failed: Sequence[str],
    seconds: float,
) -> Evaluation:
    solved, count = sum(each.success for each in episodes), len(episodes)
    turns = sum(len(each.turns) for each in episodes)
    by_type = {
        kind: (sum(e.success for e in episodes if e.task_type == kind), sum(e.task_type == kind for e in episodes))
        for kind in sorted({each.task_type for each in episodes})
    }
    return Evaluation(
        env=env,
        agent=agent,
        panel=panel,
        panel_hash=panel_hash,
        behaviour_hash=behaviour_hash,
        n=count,
        failed=tuple(failed),
        success_rate=solved / count,
        interval=wilson(solved, count),
        score_mean=sum(each.score for each in episodes) / count,
        turns_mean=turns / count,
        by_task_type=by_type,
        steps_per_second=turns / seconds if seconds > 0 else 0.0,
        seconds=seconds,
        solved=tuple(each.task_id for each in episodes if each.success),
    )


def evaluate_policy(
    panel: Panel,
    *,
    agent: str,
    pool: EnvPool,
    backend: Backend,
    tokenizer: ChatTokenizer,
    settings: RolloutSettings,
    context: PrivilegedContext | None,
    seed: str,
    batch: int = 128,
    world: World = ALONE,
    record: EvaluationRecord | None = None,
    heard: Callable[[Sequence[Episode]], None] | None = None,
) -> Evaluation:
    """Play a panel with a model; `settings.student_skills` says whether its prompt shows the skills.

    Args:
        seed: Of the sampling; the same seed makes evaluations comparable draw by draw.
        batch: Episodes played at once; the result does not depend on it.
        world: The processes that share out the panel; each gets the whole result.
        record: Keeps each episode as it ends; what it holds already is not played again. For a single process.
        heard: Is given the episodes at the end, in the order of the panel.

    Raises:
        RolloutError: no task could be played.
    """
    begin = time.perf_counter()
    known = {} if record is None else record.known
    numbers = [number for number in range(len(panel)) if number not in known]
    assignments = [Assignment(panel.task_ids[number], number) for number in numbers]

    def play_mine() -> Rollout:
        mine = world.share(range(len(assignments)))
        return joined(
            play(
                assignments[first : min(first + batch, mine[-1] + 1)],
                pool=pool,
                backend=backend,
                tokenizer=tokenizer,
                settings=settings,
                context=context if settings.student_skills else None,
                seed=seed,
                numbers=numbers[first : min(first + batch, mine[-1] + 1)],
                on_episode=None if record is None else record.add,
            )
            for first in mine[::batch]
        )

    rollout = joined(world.together(play_mine) if numbers else ())
    episodes = {**known, **{episode.group: episode for episode in rollout.episodes}}
    if not episodes:
        raise RolloutError(f"no task of the panel {panel.name} could be played: {rollout.failures[0]}")
    ordered = [episodes[number] for number in sorted(episodes)]
    if heard is not None:
        heard(ordered)
    return summarise(
        ordered,
        panel=panel,
        behaviour_hash=text_env(pool.example).behaviour_hash,
        agent=agent,
        seconds=time.perf_counter() - begin,
        failed=[failure.task_id for failure in rollout.failures],
    )


def evaluate_rule(
    agent: RuleAgent,
    *,
    panel: Panel,
    env_options: dict[str, Any],
    seed: int = 0,
    on_episode: Callable[[int], None] = lambda _done: None,
    record: EvaluationRecord | None = None,
    ask: Choice | None = None,
) -> Evaluation:
    """Play a panel by the environment's oracle, by drawing among the admissible actions, or by asking a person.

    An episode that is interrupted is played afresh once, then left out, as for a model.

    Args:
        record: Keeps each episode as it ends; what it holds already is not played again.
        ask: Asks the person, for the agent `human`.

    Raises:
        ValueError: a random agent in an environment that neither lists admissible actions nor draws any.
        RolloutError: no task could be played, or the person stopped.
    """
    env = make(panel.env_id, **env_options)
    episodes = {} if record is None else dict(record.known)
    failed, reason, begin = list[str](), "", time.perf_counter()
    for number, task_id in enumerate(panel.task_ids):
        if number not in episodes:
            fresh = partial(_choice, agent, draw_seed(f"random/{seed}", number, 0), ask)
            played = _played_by_rule(fresh, env, task_id, number)
            if isinstance(played, str):
                failed.append(task_id)
                reason = played
            else:
                episodes[number] = played
                if record is not None:
                    record.add(number, played)
        on_episode(number + 1)
    if not episodes:
        raise RolloutError(f"no task of the panel {panel.name} could be played: {reason}")
    return summarise(
        [episodes[number] for number in sorted(episodes)],
        panel=panel,
        behaviour_hash=text_env(env).behaviour_hash,
        agent=agent,
        seconds=time.perf_counter() - begin,
        failed=failed,
    )


def _choice(agent: RuleAgent, seed: int, ask: Choice | None) -> Choice:
    if agent == "human":
        if ask is None:
            raise ValueError("the agent `human` needs somebody to ask")
        return ask
    if agent == "oracle":
        return lambda env, _seen, _info: text_env(env).oracle()
    generator = np.random.default_rng(seed)
    return lambda env, _seen, info: _random_action(text_env(env), info, generator)


def _played_by_rule(fresh: Callable[[], Choice], env: TextEnvironment, task_id: str, number: int) -> Episode | str:
    """One episode, or what interrupted it each time."""
    played: Episode | str = ""
    for _ in range(ATTEMPTS):
        played = _play_by_rule(fresh(), env, task_id, number)
        if isinstance(played, Episode):
            break
    return played


def _play_by_rule(choose: Choice, env: TextEnvironment, task_id: str, number: int) -> Episode | str:
    """One episode, or what interrupted it."""
    seen, info = env.reset(options={"task": task_id})
    turns, terminated, truncated = list[Turn](), False, False
    while not (terminated or truncated):
        action = choose(env, seen, info)
        if action is None:
            break
        before = seen
        seen, reward, terminated, truncated, info = env.step(action)
        if info.get(INTERRUPTED):
            return str(info[INTERRUPTED])
        valid = bool(info.get("is_action_valid", True))
        completion = Completion((), (), action, stopped=True)
        turns.append(Turn((), None, completion, action, seen, float(reward), valid, info.get("failure"), before))
    return Episode(
        env_id=str(env.spec.id) if env.spec is not None else "",
        task_id=task_id,
        task_type=str(info["task_type"]),
        task=str(info["task"]),
        group=number,
        turns=tuple(turns),
        success=bool(info["success"]),
        score=float(info["score"]),
        truncated=bool(truncated and not terminated),
        skill_ids=(),
    )


def _random_action(core: TextEnv, info: dict[str, Any], generator: np.random.Generator) -> str:
    actions: list[str] = info["admissible_actions"]
    drawn = actions[int(generator.integers(len(actions)))] if actions else core.random_action(generator)
    if drawn is None:
        raise ValueError("this environment lists no admissible actions: a random agent has nothing to draw from")
    return drawn
