"""One skill for each word that documents use: what to search for, short enough for a tiny model to find in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sdar_gym.envs.search_qa.mini import SearchQAMiniEnv
from sdar_gym.envs.search_qa.questions import TaskType
from sdar_gym.envs.search_qa.world.choice_of_words import CHOICES, Words
from sdar_gym.envs.search_qa.world.skill_texts import FAMILY
from sdar_gym.skill_text import SkillText, write_skills
from sdar_gym.text_env import TextEnv


@dataclass(frozen=True, slots=True)
class Asked:
    """What one word is searched for.

    Attributes:
        what: In words of the questions.
        task_type: Of questions that ask nothing else.
        name: Of something that it is asked of; of no world.
        examples: Questions that need the word.
    """

    what: str
    task_type: TaskType
    name: str
    examples: tuple[str, ...]


ASKED: Mapping[str, Asked] = {
    "population": Asked(
        "how many people live in a town", "entity_attribute", "Hollmac",
        ("What is the population of Hollmac?", "How many people live in the town of Hollmac?"),
    ),
    "employees": Asked(
        "how many people work for something", "entity_attribute", "Orvane Press",
        ("How many people work for Orvane Press?", "How many employees does Orvane Press have?"),
    ),
    "participants": Asked(
        "how many people took part", "entity_attribute", "Brenn Expedition",
        ("How many people took part in the Brenn Expedition?", "How many participants did the Battle of Kessun have?"),
    ),
    "purse": Asked(
        "how many crowns an award is worth", "entity_attribute", "Tallun Prize",
        ("How large is the purse of the Tallun Prize, in crowns?",),
    ),
    "currency": Asked(
        "the currency of a country", "entity_attribute", "Ostrara", ("What is the currency of Ostrara?",)
    ),
    "source": Asked(
        "the source of a river", "entity_attribute", "Sennush", ("What is the source of the river Sennush?",)
    ),
    "craft": Asked(
        "the craft of a town", "entity_attribute", "Hollmac",
        ("For which craft is Hollmac known?", "What is the traditional craft of the town of Hollmac?"),
    ),
    "born": Asked(
        "when somebody was born", "entity_attribute", "Tela Dorrek",
        ("When was Tela Dorrek born?", "In what year was Tela Dorrek born?"),
    ),
    "birthplace": Asked(
        "the town where somebody was born", "direct", "Tela Dorrek",
        ("Where was Tela Dorrek born?", "In which town was Tela Dorrek born?"),
    ),
    "died": Asked(
        "when and where somebody died", "entity_attribute", "Bram Ulling",
        ("In what year did Bram Ulling die?", "In which town did Bram Ulling die?"),
    ),
    "founded": Asked(
        "when something was founded", "entity_attribute", "Orvane Press",
        ("In what year was Orvane Press founded?", "When was Hollmac founded?"),
    ),
    "profession": Asked(
        "the profession of somebody", "entity_attribute", "Tela Dorrek",
        ("What was the profession of Tela Dorrek?", "How did Bram Ulling earn a living?"),
    ),
    "headquarters": Asked(
        "the town where something is based", "direct", "Orvane Press",
        ("In which town is Orvane Press based?", "Where are the headquarters of Orvane Press?"),
    ),
    "country": Asked(
        "the country of a town or river", "direct", "Hollmac",
        ("To which country does the town of Hollmac belong?", "Through which country does the river Sennush flow?"),
    ),
    "river": Asked("the river of a town", "direct", "Hollmac", ("On which river does Hollmac stand?",)),
    "married": Asked(
        "to whom somebody was married", "direct", "Tela Dorrek",
        ("To whom was Tela Dorrek married?", "Who was the wife of Bram Ulling?"),
    ),
}  # fmt: skip
"""The usual word, a key of `CHOICES` -> what it is searched for."""


def write_word_bank(words: Words, folder: str | Path) -> list[Path]:
    """Write one folder with a SKILL.md for each word.

    To make the bundled bank anew after a change, from the root of the repository:
    `write_word_bank(Words.usual(), "skills/sdar_skills/banks/search_qa_words")`.

    Args:
        words: What documents say.
        folder: The bank; made if it is absent. Other folders in it are left alone.
    """
    return write_skills(word_skills(words), FAMILY, folder)


def word_skills(words: Words) -> list[SkillText]:
    """The skills about documents in these words, in the order of `CHOICES`."""
    return [_word_skill(usual, words.said[usual]) for usual in CHOICES]


def word_skill_id(usual: str) -> str:
    """The skill that tells what documents say for the usual word."""
    return f"word-for-{usual}"


def words_asked(query: str) -> tuple[str, ...]:
    """The usual words, keys of `CHOICES`, that stand in a query or for which something else stands there."""
    written = frozenset(query.split())
    return tuple(usual for usual, others in CHOICES.items() if written & {usual, *others})


def own_skills(env: TextEnv) -> tuple[str, ...]:
    """The skills of the words that the running question's searches need.

    Raises:
        TypeError: another environment than the small world.
    """
    if not isinstance(env, SearchQAMiniEnv):
        raise TypeError(f"{type(env).__name__} is not the small world, whose questions have skills of their own")
    asked = [word for query in env.plan(env.question) for word in words_asked(query)]
    return tuple(word_skill_id(word) for word in dict.fromkeys(asked))


def _word_skill(usual: str, said: str) -> SkillText:
    asked = ASKED[usual]
    examples = ", ".join(f"`{example}`" for example in asked.examples)
    return SkillText(
        id=word_skill_id(usual),
        task_type=asked.task_type,
        title=f"The word for {asked.what}",
        description=f"Use for {asked.what}. Examples: {examples}.",
        body=f"For {asked.what} search the name and `{said}`, as in `<search>{asked.name} {said}</search>`: documents "
        "use this word, and no other finds it.",
        keywords=(usual,) if usual == said else (usual, said),
    )
