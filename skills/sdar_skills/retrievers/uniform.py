"""Random skills of the environment: the control that shows what relevance is worth."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

from sdar_skills.bank import SkillBank
from sdar_skills.retrievers.base import RetrieverSetup, best_first, check_k
from sdar_skills.skill import Match, Skill, SkillQuery


@dataclass(frozen=True, slots=True)
class UniformRetriever:
    """Draws k skills without replacement; the seed and the query's text decide the draw, in every process alike."""

    bank: SkillBank
    seed: int = 0

    @classmethod
    def from_setup(cls, setup: RetrieverSetup) -> Self:
        """Take the bank and the seed."""
        return cls(setup.bank, setup.seed)

    def retrieve(self, query: SkillQuery, k: int) -> list[Match]:
        """The k skills with the highest lots."""
        check_k(k)
        return best_first(Match(skill, self._lot(query, skill)) for skill in self.bank.for_env(query.env))[:k]

    def _lot(self, query: SkillQuery, skill: Skill) -> float:
        # A lot for each skill from a stable hash: no generator whose state another call could move.
        digest = hashlib.sha256("\0".join((str(self.seed), query.text, skill.id)).encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2.0**48
