"""Which skills of a bank a task is told by: facts of the environment and the bank, without any retrieval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import gymnasium as gym

from sdar_agents.skill_queries import own_skills_of
from sdar_gym.registration import make, text_env
from sdar_skills.skill import GENERAL, Skill

SCANNED_TASKS = 300
"""How many tasks are asked for the skills that they own, to know which skills belong to tasks at all."""


@dataclass(slots=True)
class TaskSkills:
    """The skills of an environment by the tasks that they are right for.

    Attributes:
        skills: Of the environment's family, by id.
        env_id: Gymnasium id; one that names skills of single tasks (`SuiteEntry.own_skills`) is made when first asked.
        env_options: The environment's settings.
        split: Whose tasks are asked.
    """

    skills: tuple[Skill, ...]
    env_id: str
    env_options: Mapping[str, Any] = field(default_factory=dict)
    split: str = "train"
    _env: gym.Env[Any, Any] | None = None
    _own: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _owned: frozenset[str] | None = None

    def own(self, task_id: str) -> tuple[Skill, ...]:
        """Those that tell what this very task hides, by id; none where the environment names none."""
        find = own_skills_of(self.env_id)
        if find is None:
            return ()
        if task_id not in self._own:
            env = self._opened()
            env.reset(options={"task": task_id})
            self._own[task_id] = find(text_env(env))
        return self._where(lambda skill: skill.id in self._own[task_id])

    def of_type(self, task_type: str) -> tuple[Skill, ...]:
        """Those of a task type; general ones are of none."""
        return self._where(lambda skill: task_type in skill.task_types and GENERAL not in skill.task_types)

    def general(self) -> tuple[Skill, ...]:
        """Those that help with every task and tell what no single task hides."""
        return self._where(lambda skill: GENERAL in skill.task_types and skill.id not in self._owned_by_any())

    def of_other_tasks(self, task_id: str, task_type: str) -> tuple[Skill, ...]:
        """Those of other types and those that tell what other tasks hide: right for some task, not for this one."""
        not_these = {skill.id for skill in (*self.own(task_id), *self.of_type(task_type), *self.general())}
        return self._where(lambda skill: skill.id not in not_these)

    def _where(self, belongs: Callable[[Skill], bool]) -> tuple[Skill, ...]:
        return tuple(skill for skill in self.skills if belongs(skill))

    def _owned_by_any(self) -> frozenset[str]:
        if self._owned is None:
            is_told = own_skills_of(self.env_id) is not None
            tasks = islice(text_env(self._opened()).task_ids(self.split), SCANNED_TASKS) if is_told else ()
            self._owned = frozenset(skill.id for task_id in tasks for skill in self.own(task_id))
        return self._owned

    def _opened(self) -> gym.Env[Any, Any]:
        if self._env is None:
            self._env = make(self.env_id, **self.env_options)
        return self._env
