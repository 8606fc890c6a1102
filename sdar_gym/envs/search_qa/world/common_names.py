"""The same world under names from one small list: for models that can write only words that they have met before."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sdar_gym.envs.search_qa.passages import Passage
from sdar_gym.envs.search_qa.questions import Question
from sdar_gym.envs.search_qa.world.generator import World
from sdar_gym.envs.search_qa.world.names import Names

LIST_LENGTH = 700
"""How many words there are to name things by."""
_WORD = re.compile(r"\w+")


def common_words() -> list[str]:
    """The list, the same on every machine: surnames and names of things, capitalised."""
    names = Names(random.Random("common names"))
    kinds = ("surname", "thing")
    return [names.word(kinds[number % len(kinds)]) for number in range(LIST_LENGTH)]


@dataclass(frozen=True, slots=True)
class CommonNames:
    """Names of a world by words of the list; which word stands for which name is drawn by the seed."""

    seed: int

    def retell(self, world: World) -> World:
        """The same world with every invented word in another's place, in documents, questions, answers and queries.

        Raises:
            ValueError: the world has more invented words than the list.
        """
        invented = sorted(world.invented)
        if len(invented) > LIST_LENGTH:
            raise ValueError(
                f"the world has {len(invented)} invented words and the list {LIST_LENGTH}: ask for fewer documents"
            )
        drawn = random.Random(f"names {self.seed}").sample(common_words(), len(invented))
        said = dict(zip(invented, drawn, strict=True))
        said |= {word.lower(): other.lower() for word, other in zip(invented, drawn, strict=True)}

        def say(text: str) -> str:
            return _WORD.sub(lambda match: said.get(match[0], match[0]), text)

        def ask(question: Question) -> Question:
            return replace(question, text=say(question.text), answers=tuple(map(say, question.answers)))

        items = tuple(
            replace(item, question=ask(item.question), queries=tuple(map(say, item.queries))) for item in world.items
        )
        passages: Sequence[Passage] = [Passage(old.id, say(old.title), say(old.text)) for old in world.passages]
        return replace(world, passages=tuple(passages), items=items)
