"""Which words documents use for what is asked often: habits of their writers, like those in `habits.py`."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from sdar_gym.envs.search_qa.passages import Passage
from sdar_gym.envs.search_qa.world.generator import World

CHOICES: Mapping[str, tuple[str, ...]] = {
    "population": ("residents", "headcount", "dwellers", "souls"),
    "employees": ("staff", "workers", "hirelings", "crew"),
    "participants": ("entrants", "attendants", "partakers", "joiners"),
    "purse": ("bounty", "stipend", "endowment", "grant"),
    "currency": ("coinage", "tender", "specie", "scrip"),
    "source": ("wellspring", "fount", "headwater", "outset"),
    "craft": ("handiwork", "metier", "artistry", "knack"),
    "born": ("begotten", "christened", "swaddled", "sired"),
    "birthplace": ("cradle", "nativity", "hearthstone", "homestead"),
    "died": ("perished", "expired", "deceased", "departed"),
    "founded": ("instituted", "erected", "inaugurated", "originated"),
    "profession": ("trade", "calling", "vocation", "occupation"),
    "headquarters": ("domicile", "bureau", "mainstay", "residence"),
    "country": ("realm", "dominion", "commonwealth", "fatherland"),
    "river": ("brook", "torrent", "watercourse", "tributary"),
    "married": ("wedded", "espoused", "betrothed", "united"),
}
"""The word of `sdar_gym/SearchQAMini-v0` -> what other writers say instead. No question uses the latter."""
_KNOWN = re.compile(rf"\b({'|'.join(CHOICES)})\b")


@dataclass(frozen=True, slots=True)
class Words:
    """What writers say for each key of `CHOICES`.

    Raises:
        ValueError: a word too many, too few, or one that is no choice.
    """

    said: Mapping[str, str] = field(hash=False)

    def __post_init__(self) -> None:
        if sorted(self.said) != sorted(CHOICES):
            raise ValueError(f"words must be given for exactly {', '.join(CHOICES)}; got {', '.join(self.said)}")
        for word, said in self.said.items():
            if said != word and said not in CHOICES[word]:
                raise ValueError(f"{word!r} cannot be {said!r}; possible: {', '.join((word, *CHOICES[word]))}")

    @classmethod
    def usual(cls) -> Self:
        """The writers of `sdar_gym/SearchQAMini-v0`."""
        return cls({word: word for word in CHOICES})

    @classmethod
    def random(cls, seed: int) -> Self:
        """Other writers: each word is drawn from its choices and the usual one; never all the usual ones."""
        rng = random.Random(f"words {seed}")
        while True:
            said = {word: rng.choice((word, *others)) for word, others in CHOICES.items()}
            if any(word != other for word, other in said.items()):
                return cls(said)

    def say(self, text: str) -> str:
        """A text in these words instead of the usual ones."""
        return _KNOWN.sub(lambda match: self.said[match[1]], text)

    def retell(self, world: World) -> World:
        """The same world, told in these words; what its oracle searches for, too."""
        passages = tuple(Passage(old.id, old.title, self.say(old.text)) for old in world.passages)
        items = tuple(replace(item, queries=tuple(map(self.say, item.queries))) for item in world.items)
        return replace(world, passages=passages, items=items)
