"""Success on a frozen panel: of an oracle, a random agent, or a trained model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from sdar_agents.backends.base import Backend
from sdar_agents.distributed import ALONE, World
from sdar_agents.env_hosts import EnvPool, TextEnvironment
from sdar_agents.episode import Episode
from sdar_agents.intervals import wilson
from sdar_agents.rollout import ATTEMPTS, Assignment, Rollout, RolloutError, RolloutSettings, draw_seed, joined, play
from sdar_agents.teacher import PrivilegedContext
from sdar_agents.tokens import ChatTokenizer
from sdar_gym.registration import make, text_env
from sdar_gym.tasks import Panel
from sdar_gym.text_env import INTERRUPTED, TextEnv

RuleAgent = Literal["oracle", "random"]


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


@dataclass(frozen=True, slots=True)
class _Outcome:
    task_id: str
    task_type: str
    success: bool
    score: float
    turns: int


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
    outcomes = [_Outcome(e.task_id, e.task_type, e.success, e.score, len(e.turns)) for e in episodes]
    return _evaluation(
        outcomes, panel=panel, behaviour_hash=behaviour_hash, agent=agent, seconds=seconds, failed=failed
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
) -> Evaluation:
    """Play a panel with a model; `settings.student_skills` says whether its prompt shows the skills.

    Args:
        seed: Of the sampling; the same seed makes evaluations comparable draw by draw.
        batch: Episodes played at once; the result does not depend on it.
        world: The processes that share out the panel; each gets the whole result.

    Raises:
        RolloutError: no task could be played.
    """
    begin = time.perf_counter()
    assignments = [Assignment(task, group) for group, task in enumerate(panel.task_ids)]

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
                first=first,
            )
            for first in mine[::batch]
        )

    rollout = joined(world.together(play_mine))
    if not rollout.episodes:
        raise RolloutError(f"no task of the panel {panel.name} could be played: {rollout.failures[0]}")
    return summarise(
        rollout.episodes,
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
) -> Evaluation:
    """Play a panel by the environment's oracle, or by drawing among the admissible actions.

    An episode that is interrupted is played afresh once, then left out, as for a model.

    Raises:
        ValueError: a random agent in an environment that neither lists admissible actions nor draws any.
        RolloutError: no task could be played.
    """
    env = make(panel.env_id, **env_options)
    outcomes, failed, begin = [], list[str](), time.perf_counter()
    for number, task_id in enumerate(panel.task_ids):
        played = [_play_by_rule(agent, env, task_id, draw_seed(f"random/{seed}", number, 0))]
        while isinstance(played[-1], str) and len(played) < ATTEMPTS:
            played.append(_play_by_rule(agent, env, task_id, draw_seed(f"random/{seed}", number, 0)))
        if isinstance(played[-1], str):
            failed.append(task_id)
        else:
            outcomes.append(played[-1])
        on_episode(number + 1)
    if not outcomes:
        raise RolloutError(f"no task of the panel {panel.name} could be played: {played[-1]}")
    return _evaluation(
        outcomes,
        panel=panel,
        behaviour_hash=text_env(env).behaviour_hash,
        agent=agent,
        seconds=time.perf_counter() - begin,
        failed=failed,
    )


def _play_by_rule(agent: RuleAgent, env: TextEnvironment, task_id: str, seed: int) -> _Outcome | str:
    """One episode, or what interrupted it."""
    core, generator = text_env(env), np.random.default_rng(seed)
    _, info = env.reset(options={"task": task_id})
    turns, done = 0, False
    while not done:
        action = core.oracle() if agent == "oracle" else _random_action(core, info, generator)
        if action is None:
            break
        _, _, terminated, truncated, info = env.step(action)
        if info.get(INTERRUPTED):
            return str(info[INTERRUPTED])
        turns, done = turns + 1, terminated or truncated
    return _Outcome(task_id, str(info["task_type"]), bool(info["success"]), float(info["score"]), turns)


def _random_action(core: TextEnv, info: dict[str, Any], generator: np.random.Generator) -> str:
    actions: list[str] = info["admissible_actions"]
    drawn = actions[int(generator.integers(len(actions)))] if actions else core.random_action(generator)
    if drawn is None:
        raise ValueError("this environment lists no admissible actions: a random agent has nothing to draw from")
    return drawn


def _evaluation(
    outcomes: Sequence[_Outcome],
    *,
    panel: Panel,
    behaviour_hash: str | None,
    agent: str,
    seconds: float,
    failed: Sequence[str] = (),
) -> Evaluation:
    solved = sum(outcome.success for outcome in outcomes)
    by_type = {
        kind: (sum(o.success for o in outcomes if o.task_type == kind), sum(o.task_type == kind for o in outcomes))
        for kind in sorted({outcome.task_type for outcome in outcomes})
    }
    count, turns = len(outcomes), sum(outcome.turns for outcome in outcomes)
    return Evaluation(
        env=panel.env_id,
        agent=agent,
        panel=panel.name,
        panel_hash=panel.hash,
        behaviour_hash=behaviour_hash,
        n=count,
        failed=tuple(failed),
        success_rate=solved / count,
        interval=wilson(solved, count),
        score_mean=sum(outcome.score for outcome in outcomes) / count,
        turns_mean=turns / count,
        by_task_type=by_type,
        steps_per_second=turns / max(seconds, 1e-9),
        seconds=seconds,
        solved=tuple(outcome.task_id for outcome in outcomes if outcome.success),
    )
