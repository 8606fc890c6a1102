"""What a skill is, what is asked for, and what is found."""

from __future__ import annotations

from dataclasses import dataclass

GENERAL = "general"
"""The task type of a skill that helps with every task of its environment."""


@dataclass(frozen=True, slots=True)
class Skill:
    """One piece of privileged context: a SKILL.md folder.

    Attributes:
        id: Unique in its bank; the folder's name.
        env: Registry name of the environment family it is for, such as `alfworld`.
        task_type: The environment's own task type, or `general`.
        title: Short name in words.
        description: One sentence: when to use it.
        body: The text that a prompt carries (Markdown).
        keywords: Words that hint at it, for lexical retrieval.
    """

    id: str
    env: str
    task_type: str
    title: str
    description: str
    body: str
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SkillQuery:
    """What retrieval may look at: never a whole prompt, whose list of actions names every task type.

    Attributes:
        env: Environment family, such as `alfworld`.
        task_type: The environment's own task type; mandatory, never guessed from a prompt.
        text: The goal in one sentence.
    """

    env: str
    task_type: str
    text: str

    def __post_init__(self) -> None:
        if not self.env or not self.task_type:
            raise ValueError(f"a skill query needs env and task_type, got {self.env!r} and {self.task_type!r}")


@dataclass(frozen=True, slots=True)
class Match:
    """A skill that was found.

    Attributes:
        skill: The skill.
        score: Higher is better; comparable within one answer only.
    """

    skill: Skill
    score: float
