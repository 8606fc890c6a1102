"""No skills: the teacher that knows nothing more than the student."""

from __future__ import annotations

from typing import Self

from sdar_skills.retrievers.base import RetrieverSetup
from sdar_skills.skill import Match, SkillQuery


class NoneRetriever:
    """Finds nothing, on purpose; needs no bank of the query's environment."""

    @classmethod
    def from_setup(cls, setup: RetrieverSetup) -> Self:
        """Ignore the setup."""
        return cls()

    def retrieve(self, query: SkillQuery, k: int) -> list[Match]:
        """An empty answer."""
        return []
