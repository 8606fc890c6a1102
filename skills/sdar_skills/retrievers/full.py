"""Every skill of the environment, whatever the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from sdar_skills.bank import SkillBank
from sdar_skills.retrievers.base import RetrieverSetup
from sdar_skills.skill import Match, SkillQuery


@dataclass(frozen=True, slots=True)
class FullRetriever:
    """Returns all skills of the query's environment, by id; `k` does not limit it."""

    bank: SkillBank

    @classmethod
    def from_setup(cls, setup: RetrieverSetup) -> Self:
        """Take the bank."""
        return cls(setup.bank)

    def retrieve(self, query: SkillQuery, k: int) -> list[Match]:
        """All skills of the environment, each with score 0."""
        return [Match(skill, 0.0) for skill in self.bank.for_env(query.env)]
