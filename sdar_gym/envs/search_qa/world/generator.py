"""A world from a seed: same seed, same documents and questions, on any machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sdar_gym.envs.search_qa.passages import Passage
from sdar_gym.envs.search_qa.questions import Question
from sdar_gym.envs.search_qa.world.documents import Archive
from sdar_gym.envs.search_qa.world.facts import Entity, Fact, Statement
from sdar_gym.envs.search_qa.world.habits import HABITS, Habits
from sdar_gym.envs.search_qa.world.history import History
from sdar_gym.envs.search_qa.world.questions import Examiner, WorldQuestion

DOCUMENTS = 2000
"""How many documents the world of `sdar_gym/SearchQAMini-v0` has."""
FEWEST_DOCUMENTS = 100
MOST_DOCUMENTS = 200_000


@dataclass(frozen=True, slots=True)
class World:
    """Documents, questions, and the truth behind them.

    Attributes:
        passages: One a document; ids are their places.
        items: The questions with their proofs.
        entities: What there is; each has the passage of the same number.
        facts: By number of the entity: relation -> what is true.
        statements: Subject and relation -> the one place where the fact is told.
    """

    passages: tuple[Passage, ...]
    items: tuple[WorldQuestion, ...]
    entities: Sequence[Entity] = field(repr=False, hash=False)
    facts: Sequence[Mapping[str, Fact]] = field(repr=False, hash=False)
    statements: Mapping[tuple[int, str], Statement] = field(repr=False, hash=False)
    invented: frozenset[str] = field(default=frozenset(), repr=False, hash=False)
    """Words that exist in no other world, capitalised: what names are made of."""

    @property
    def questions(self) -> tuple[Question, ...]:
        """The questions alone."""
        return tuple(item.question for item in self.items)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of all passages and questions: equal on every machine for the same arguments."""
        passages = [[passage.id, passage.title, passage.text] for passage in self.passages]
        asked = [
            [question.id, question.text, question.answers, question.task_type, question.supporting]
            for question in self.questions
        ]
        splits = [item.split for item in self.items]
        return hashlib.sha256(json.dumps([passages, asked, splits]).encode()).hexdigest()


def generate(
    seed: int = 0, documents: int = DOCUMENTS, questions: int | None = None, *, habits: Habits = HABITS
) -> World:
    """A world, its documents, and questions about it.

    Args:
        seed: Another seed, another world; the habits of its writers stay.
        documents: How many, from 100 to 200,000.
        questions: How many; as many as documents by default.
        habits: Who writes the documents.

    Raises:
        ValueError: a number out of range.
    """
    if not FEWEST_DOCUMENTS <= documents <= MOST_DOCUMENTS:
        raise ValueError(f"documents must be from {FEWEST_DOCUMENTS} to {MOST_DOCUMENTS}, got {documents}")
    wanted = documents if questions is None else questions
    if not 0 <= wanted <= 3 * documents:
        raise ValueError(f"questions must be from 0 to {3 * documents}, three a document, got {wanted}")
    history = History(seed, documents)
    archive = Archive(history.entities, history.facts, habits, seed)
    examiner = Examiner(history.entities, history.facts, archive.statements, seed)
    return World(
        passages=archive.passages,
        items=tuple(examiner.draw(wanted)),
        entities=history.entities,
        facts=history.facts,
        statements=archive.statements,
        invented=history.invented,
    )
