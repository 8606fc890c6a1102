"""Judged queries from environments: every task knows its type, and some name skills of their own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, cast

import gymnasium as gym

from sdar_gym.registration import SUITE, make, text_env
from sdar_gym.tasks import Panel, make_panel
from sdar_gym.text_env import TextEnv
from sdar_skills.bank import SkillBank
from sdar_skills.judgements import JudgedQuery
from sdar_skills.paraphrase import paraphrase
from sdar_skills.skill import GENERAL, MAX_QUERY_CHARACTERS, SkillQuery

Source = Literal["task", "observation", "paraphrase"]
SOURCES: tuple[Source, ...] = ("task", "observation", "paraphrase")
TYPE_GRADE, OWN_GRADE = 1, 2
"""How right a skill of the task's type is, and one that tells what this very task hides."""
_FOREIGN_WORLDS = ("sdar_gym/ALFWorldMini-v0", "sdar_gym/WebShopMini-v0")


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """A task as a query.

    Attributes:
        task_id: Which task.
        task_type: The environment's own name for its kind.
        text: What is asked: its goal, or what the environment said in the middle of its episode.
        own_skills: Ids of the skills that tell what this task hides.
    """

    task_id: str
    task_type: str
    text: str
    own_skills: tuple[str, ...]


def task_queries(panel: Panel, env: gym.Env[Any, Any], *, source: Source, seed: int) -> Iterator[TaskQuery]:
    """One query a task of a panel.

    Args:
        panel: The tasks.
        env: The environment that has them.
        source: The goal; an observation that the oracle meets on its way, drawn among all but the last; or the goal
            said otherwise.
        seed: Of the draws.
    """
    own = own_skills_of(panel.env_id) or (lambda env: ())
    for task_id in panel.task_ids:
        observation, info = env.reset(options={"task": task_id})
        text, own_skills = str(info["task"]), own(text_env(env))
        if source == "paraphrase":
            text = paraphrase(text, seed=seed)
        elif source == "observation":
            text = _observation_on_the_way(env, observation, random.Random(f"turn {seed} {task_id}"))
        yield TaskQuery(task_id, str(info["task_type"]), text, own_skills)


def judge(tasks: Iterable[TaskQuery], bank: SkillBank, family: str) -> list[JudgedQuery]:
    """The skills that are right for each task, equal queries once.

    A skill of the task's type has grade 1, one of the task's own grade 2; general skills are right for no task in
    particular. A task of whose type the bank has nothing has no right skill.

    Args:
        tasks: As `task_queries` gives them.
        bank: Where the skills are.
        family: Under which the bank files this environment's skills.

    Raises:
        SkillBankError: the bank has no skill of the family.
    """
    skills = bank.for_env(family)
    known = {skill.id for skill in skills}
    distinct: dict[tuple[str, str], JudgedQuery] = {}
    for task in tasks:
        grades = {
            skill.id: TYPE_GRADE
            for skill in skills
            if task.task_type in skill.task_types and GENERAL not in skill.task_types
        }
        grades |= {id: OWN_GRADE for id in task.own_skills if id in known}
        query = SkillQuery(family, task.task_type, task.text)
        # Two tasks with one goal are one query: their answers are no two pieces of evidence.
        distinct.setdefault((task.task_type, task.text), JudgedQuery(task.task_id, query, grades))
    return list(distinct.values())


def foreign_queries(family: str, count: int, *, source: Source, seed: int) -> list[JudgedQuery]:
    """Tasks of another world, asked of this one: no skill is right for them.

    Args:
        family: Of the environment that is asked.
        count: How many at most.
        source, seed: As for `task_queries`.
    """
    # `alfworld` and `alfworld_mini` are one world.
    worlds = [world for world in _FOREIGN_WORLDS if _root(SUITE[world].family) != _root(family)]
    queries: dict[str, JudgedQuery] = {}
    for place, world in enumerate(worlds, start=1):
        wanted = count * place // len(worlds) - count * (place - 1) // len(worlds)
        if wanted > 0:
            env = make(world)
            panel = make_panel(env, world, SUITE[world].evaluation_split, wanted)
            for task in task_queries(panel, env, source=source, seed=seed):
                query = SkillQuery(family, task.task_type, task.text)
                queries.setdefault(task.text, JudgedQuery(f"{world} {task.task_id}", query, {}))
    return list(queries.values())


def _root(family: str) -> str:
    return family.partition("_")[0]


def own_skills_of(env_id: str) -> Callable[[TextEnv], tuple[str, ...]] | None:
    """What names the skills of a running task (`SuiteEntry.own_skills`); None where tasks have none of their own."""
    place = SUITE[env_id].own_skills if env_id in SUITE else None
    if place is None:
        return None
    module, _, name = place.partition(":")
    return cast(Callable[[TextEnv], tuple[str, ...]], getattr(import_module(module), name))


def _observation_on_the_way(env: gym.Env[Any, Any], first: str, rng: random.Random) -> str:
    """What the environment says before one of the oracle's actions; the first page only where there is no other."""
    seen, done = [first], False
    while not done and (action := text_env(env).oracle()) is not None:
        observation, _, terminated, truncated, _ = env.step(action)
        done = terminated or truncated
        if not done:
            seen.append(observation)
    return str(rng.choice(seen[1:] or seen))[:MAX_QUERY_CHARACTERS]
