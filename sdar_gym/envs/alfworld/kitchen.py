"""What the small kitchen is made of: its places, the kinds of things, what fits where, and the six task types."""

from __future__ import annotations

from dataclasses import dataclass

TASK_TYPES: tuple[str, ...] = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
"""The published task types; the mini world deals them in equal shares."""

LAMP = "desklamp"

PHRASES: dict[str, tuple[str, str]] = {
    "pick_and_place_simple": ("put a {thing} in {goal}", "put some {thing} on {goal}"),
    "look_at_obj_in_light": ("look at {thing} under the {goal}", "examine the {thing} with the {goal}"),
    "pick_clean_then_place_in_recep": ("put a clean {thing} in {goal}", "clean some {thing} and put it in {goal}"),
    "pick_heat_then_place_in_recep": ("put a hot {thing} in {goal}", "heat some {thing} and put it in {goal}"),
    "pick_cool_then_place_in_recep": ("put a cool {thing} in {goal}", "cool some {thing} and put it in {goal}"),
    "pick_two_obj_and_place": ("put two {thing} in {goal}", "find two {thing} and put them in {goal}"),
}
"""How a task is worded: the two published wordings of each type."""


@dataclass(frozen=True, slots=True)
class PlaceKind:
    """A kind of place.

    Attributes:
        name: As the game prints it.
        pddl: Its type in a game file, without the ending `Type`.
        count: How many the kitchen has.
        is_openable: Whether it has a door; then it is closed at first.
    """

    name: str
    pddl: str
    count: int
    is_openable: bool = False


PLACE_KINDS: dict[str, PlaceKind] = {
    kind.name: kind
    for kind in (
        PlaceKind("cabinet", "Cabinet", 3, is_openable=True),
        PlaceKind("countertop", "CounterTop", 1),
        PlaceKind("diningtable", "DiningTable", 1),
        PlaceKind("drawer", "Drawer", 2, is_openable=True),
        PlaceKind("fridge", "Fridge", 1, is_openable=True),
        PlaceKind("garbagecan", "GarbageCan", 1),
        PlaceKind("microwave", "Microwave", 1, is_openable=True),
        PlaceKind("shelf", "Shelf", 1),
        PlaceKind("sidetable", "SideTable", 1),
        PlaceKind("sinkbasin", "SinkBasin", 1),
    )
}

PLACES: tuple[str, ...] = tuple(
    f"{kind.name} {number}" for kind in PLACE_KINDS.values() for number in range(kind.count, 0, -1)
)
"""Every place, in the order in which the game lists them: kinds by name, the highest number first."""

LAMP_PLACES: tuple[str, ...] = ("countertop 1", "diningtable 1", "shelf 1", "sidetable 1")
"""Where a household may have its desk lamp."""


@dataclass(frozen=True, slots=True)
class ThingKind:
    """A kind of thing that can be carried.

    Attributes:
        name: As the game prints it.
        place_kinds: The kinds of places that it can lie in or on.
        treatments: Which of `clean`, `heat` and `cool` it takes.
        is_vessel: Whether the game calls it a receptacle itself; only `examine` shows that.
    """

    name: str
    place_kinds: tuple[str, ...]
    treatments: tuple[str, ...] = ()
    is_vessel: bool = False

    @property
    def pddl(self) -> str:
        """Its type in a game file, without the ending `Type`."""
        return self.name.capitalize()


_TABLES = ("countertop", "diningtable", "sidetable")
_FOOD = (*_TABLES, "fridge", "garbagecan", "microwave")
_DISHES = (*_TABLES, "cabinet", "fridge", "microwave", "shelf", "sinkbasin")
_ALL = ("clean", "heat", "cool")

THING_KINDS: dict[str, ThingKind] = {
    kind.name: kind
    for kind in (
        ThingKind("apple", (*_FOOD, "sinkbasin"), _ALL),
        ThingKind("book", (*_TABLES, "cabinet", "drawer", "shelf")),
        ThingKind("bread", _FOOD, ("heat", "cool")),
        ThingKind("cup", _DISHES, _ALL, is_vessel=True),
        ThingKind("egg", (*_FOOD, "sinkbasin"), _ALL),
        ThingKind("knife", (*_TABLES, "drawer", "sinkbasin"), ("clean",)),
        ThingKind("mug", _DISHES, _ALL, is_vessel=True),
        ThingKind("pan", (*_TABLES, "cabinet", "fridge", "sinkbasin"), ("clean", "cool"), is_vessel=True),
        ThingKind("plate", _DISHES, _ALL, is_vessel=True),
        ThingKind("potato", (*_FOOD, "sinkbasin"), _ALL),
        ThingKind("spoon", (*_TABLES, "drawer", "sinkbasin"), ("clean",)),
        ThingKind("tomato", (*_FOOD, "sinkbasin"), _ALL),
    )
}

TREATMENT_PLACES: dict[str, str] = {"clean": "sinkbasin 1", "heat": "microwave 1", "cool": "fridge 1"}
"""The only place where each treatment is done."""

TREATMENTS: dict[str, str] = {
    "pick_clean_then_place_in_recep": "clean",
    "pick_heat_then_place_in_recep": "heat",
    "pick_cool_then_place_in_recep": "cool",
}
"""The treatment that a task type asks for, where it asks for one."""


def kind_of(name: str) -> str:
    """`cabinet` of `cabinet 2`: the kind of a numbered place or thing."""
    return name.rpartition(" ")[0]


def is_openable(place: str) -> bool:
    """Whether a place, such as `cabinet 2`, has a door."""
    return PLACE_KINDS[kind_of(place)].is_openable


def places_for(thing: str) -> tuple[str, ...]:
    """Every place that a kind of thing can lie in or on, in the order of `PLACES`."""
    allowed = THING_KINDS[thing].place_kinds
    return tuple(place for place in PLACES if kind_of(place) in allowed)
