"""Draws the entities of a world and what is true of them; dates and places fit together."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Sequence

from sdar_gym.envs.search_qa.world.facts import FORMS, KINDS, Entity, Fact, Kind
from sdar_gym.envs.search_qa.world.names import Names
from sdar_gym.envs.search_qa.world.words import (
    CRAFTS,
    EVENT_NAMES,
    ORGANISATION_NAMES,
    PRIZE_NAMES,
    PROFESSIONS,
    QUALIFIED,
    WORK_NAMES,
)

COUNTRY_SIZE = 80
"""About how many documents there are to a country."""
FEWEST_COUNTRIES = 5
_SHARES: dict[Kind, float] = {
    "river": 0.03, "town": 0.16, "person": 0.38, "organisation": 0.13, "work": 0.18, "event": 0.07, "award": 0.04,
}  # fmt: skip
# The first town is the capital; a river flows through one country only.
_EVERY_COUNTRY_HAS = ("town", "river")
_LAST_YEAR = 1995
_AT_HOME = 0.88
_NAMESAKE = 0.2
_MARRIED = 0.6
_HAS_TEACHER = 0.45
_TRIES = 12


class History:
    """The entities and facts of a world.

    Args:
        seed: Decides everything.
        documents: How many entities there are.
    """

    def __init__(self, seed: int, documents: int) -> None:
        self._rng = random.Random(f"world {seed}")
        self._names = Names(self._rng)
        self._given_names = {
            form: [self._names.word(form) for _ in range(60 + documents // 40)] for form in FORMS["person"]
        }
        self._surnames: list[str] = []
        self._full_names: set[str] = set()
        self.entities: list[Entity] = []
        self.facts: list[dict[str, Fact]] = []
        """By number of the entity: relation -> fact."""
        self.countries = max(FEWEST_COUNTRIES, documents // COUNTRY_SIZE)
        self._years: dict[tuple[int, str], int] = {}
        # By kind and by country, and by form and by country.
        self._at_home: dict[str, list[list[int]]] = {}
        self._everywhere: dict[str, list[int]] = {}
        for kind, count in _counts(documents, self.countries).items():
            for index in range(count):
                self._add(kind, index)
        draws: dict[Kind, Callable[[Entity], None]] = {
            "country": self._draw_country,
            "river": self._draw_river,
            "town": self._draw_town,
            "person": self._draw_person,
            "organisation": self._draw_organisation,
            "work": self._draw_work,
            "event": self._draw_event,
            "award": self._draw_award,
        }
        for entity in self.entities:
            draws[entity.kind](entity)
            if entity.number == self._everywhere["person"][-1]:
                self._draw_bonds()

    # Entities.

    def _add(self, kind: Kind, index: int) -> None:
        forms = FORMS[kind]
        form = forms[index % len(forms)]
        number = len(self.entities)
        country = number if kind == "country" else self._rng.randrange(self.countries)
        if kind in _EVERY_COUNTRY_HAS and index < self.countries:
            country = index
        self.entities.append(Entity(number, kind, form, self._name(kind, form), country))
        self.facts.append({})
        for group in {kind: 0, form: 0}:
            self._everywhere.setdefault(group, []).append(number)
            self._at_home.setdefault(group, [[] for _ in range(self.countries)])[country].append(number)

    @property
    def invented(self) -> frozenset[str]:
        """The words that names are made of."""
        return self._names.drawn

    def _name(self, kind: Kind, form: str) -> str:
        if kind == "person":
            return self._person_name(form)
        if kind in ("country", "town", "river"):
            return self._names.word(kind)
        patterns = {"organisation": ORGANISATION_NAMES, "work": WORK_NAMES, "event": EVENT_NAMES, "award": PRIZE_NAMES}
        return self._rng.choice(patterns[kind][form]).format(self._names.word("thing"))

    def _person_name(self, form: str) -> str:
        """A full name; now and then with a surname that others have too."""
        while True:
            if self._surnames and self._rng.random() < _NAMESAKE:
                surname = self._rng.choice(self._surnames)
            else:
                surname = self._names.word("surname")
                self._surnames.append(surname)
            name = f"{self._rng.choice(self._given_names[form])} {surname}"
            if name not in self._full_names:
                self._full_names.add(name)
                return name

    # Facts.

    def _tell(self, subject: Entity, relation: str, value: str) -> None:
        self.facts[subject.number][relation] = Fact(subject.number, relation, value)

    def _year(self, subject: Entity, relation: str, year: int) -> None:
        self._years[subject.number, relation] = year
        self._tell(subject, relation, str(year))

    def _link(self, subject: Entity, relation: str, target: int | None) -> None:
        if target is not None:
            name = self.entities[target].name
            self.facts[subject.number][relation] = Fact(subject.number, relation, name, target)

    def _near(self, group: str, country: int, fits: Callable[[int], bool] | None = None) -> int | None:
        """Some entity of a kind or form, mostly of this country; None if none that fits is found soon."""
        rng = self._rng
        for _ in range(_TRIES):
            pool: Sequence[int] = self._at_home[group][country] if rng.random() < _AT_HOME else self._everywhere[group]
            if pool:
                number = pool[int(rng.random() * len(pool))]
                if fits is None or fits(number):
                    return number
        return None

    def _draw_country(self, country: Entity) -> None:
        self._year(country, "founded", self._rng.randrange(900, 1400))
        self._tell(country, "currency", self._names.word("thing").lower())
        self._link(country, "capital", self._at_home["town"][country.number][0])

    def _draw_river(self, river: Entity) -> None:
        self._tell(river, "length", _grouped(self._rng.randrange(61, 1900)))
        self._tell(river, "source", f"Lake {self._names.word('thing')}")
        self._link(river, "country", river.country)

    def _draw_town(self, town: Entity) -> None:
        self._link(town, "country", town.country)
        self._year(town, "founded", self._rng.randrange(1000, 1600))
        self._tell(town, "population", _grouped(int(1_300 * 1.006 ** self._rng.randrange(1000))))
        self._tell(town, "craft", self._rng.choice(CRAFTS))
        self._link(town, "river", self._rng.choice(self._at_home["river"][town.country]))

    def _draw_person(self, person: Entity) -> None:
        rng = self._rng
        born = rng.randrange(1625, 1935)
        self._year(person, "born", born)
        self._tell(person, "profession", rng.choice(PROFESSIONS))
        self._link(person, "birthplace", self._near("town", person.country))
        died = born + rng.randrange(46, 93)
        if died < _LAST_YEAR:
            self._year(person, "died", died)
            born_at = self.facts[person.number].get("birthplace")
            here = born_at and born_at.target
            self._link(person, "deathplace", self._near("town", person.country, lambda town: town != here))

    def _draw_bonds(self) -> None:
        """Who married whom, and who taught whom."""
        rng, years = self._rng, self._years
        for pool in self._at_home["person"]:
            by_age = sorted(pool, key=lambda number: (years[number, "born"], number))
            births = [years[number, "born"] for number in by_age]
            for place, number in enumerate(by_age):
                if rng.random() < _MARRIED:
                    self._marry(number, by_age[place + 1 : place + 7])
                if rng.random() < _HAS_TEACHER:
                    older = by_age[bisect_left(births, births[place] - 45) : bisect_left(births, births[place] - 14)]
                    self._teach(number, older)

    def _marry(self, number: int, candidates: Sequence[int]) -> None:
        person = self.entities[number]
        for other in candidates:
            spouse = self.entities[other]
            are_close = abs(self._years[number, "born"] - self._years[other, "born"]) <= 14
            if are_close and person.form != spouse.form and not self._are_bound(number, other):
                self._link(person, "spouse", other)
                self._link(spouse, "spouse", number)
                return

    def _are_bound(self, number: int, other: int) -> bool:
        return "spouse" in self.facts[number] or "spouse" in self.facts[other]

    def _teach(self, number: int, older: Sequence[int]) -> None:
        if older:
            teacher = self._rng.choice(older)
            if self._years.get((teacher, "died"), _LAST_YEAR) >= self._years[number, "born"] + 16:
                self._link(self.entities[number], "teacher", teacher)

    def _active_year(self, person: int) -> int:
        """Some year in which a person is grown up and alive."""
        born = self._years[person, "born"]
        last = min(self._years.get((person, "died"), _LAST_YEAR), born + 72)
        return self._rng.randrange(born + 22, last + 1)

    def _qualified(self, form: str) -> Callable[[int], bool]:
        """Who can have made such a work, or led such an event."""
        professions = QUALIFIED[form]
        return lambda person: self.facts[person]["profession"].value in professions

    def _draw_organisation(self, organisation: Entity) -> None:
        founder = self._near("person", organisation.country)
        assert founder is not None
        self._year(organisation, "founded", self._active_year(founder))
        self._link(organisation, "founder", founder)
        self._link(organisation, "seat", self._near("town", organisation.country))
        self._tell(organisation, "members", _grouped(self._rng.randrange(21, 3000)))

    def _draw_work(self, work: Entity) -> None:
        author = self._near("person", work.country, self._qualified(work.form))
        if author is None:
            author = self._near("person", work.country)
        assert author is not None
        year = self._active_year(author)
        self._year(work, "year", year)
        self._link(work, "author", author)
        keeper = {"painting": "gallery", "opera": "theatre"}.get(work.form, "publishing house")
        is_open = _always if work.form == "painting" else self._founded_by(year)
        self._link(work, "keeper", self._near(keeper, work.country, is_open))
        self._link(work, "setting", self._near("town", work.country))

    def _founded_by(self, year: int) -> Callable[[int], bool]:
        return lambda organisation: self._years[organisation, "founded"] <= year

    def _draw_event(self, event: Entity) -> None:
        leader = self._near("person", event.country, self._qualified(event.form))
        if leader is None:
            leader = self._near("person", event.country)
        assert leader is not None
        self._year(event, "year", self._active_year(leader))
        self._link(event, "leader", leader)
        self._link(event, "place", self._near("town", event.country))
        self._tell(event, "participants", _grouped(self._rng.randrange(31, 990)))

    def _draw_award(self, award: Entity) -> None:
        honoured = self._near("person", award.country, lambda person: (person, "died") in self._years)
        died = self._years[honoured, "died"] if honoured is not None else 1700
        year = self._rng.randrange(died + 1, _LAST_YEAR + 1)
        self._year(award, "year", year)
        self._link(award, "honours", honoured)
        self._link(award, "presenter", self._near("organisation", award.country, self._founded_by(year)))
        self._tell(award, "prize", _grouped(self._rng.randrange(110, 9900) * 10))


def _always(number: int) -> bool:
    return True


def _grouped(number: int) -> str:
    return f"{number:,}"


def _counts(documents: int, countries: int) -> dict[Kind, int]:
    """How many entities of each kind there are: together as many as documents."""
    counts: dict[Kind, int] = {"country": countries}
    left = documents - countries
    for kind, share in _SHARES.items():
        counts[kind] = max(int(left * share), countries if kind in _EVERY_COUNTRY_HAS else len(FORMS[kind]))
    counts["person"] += documents - sum(counts.values())
    return {kind: counts[kind] for kind in KINDS}
