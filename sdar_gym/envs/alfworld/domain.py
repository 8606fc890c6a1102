"""The rules that the engine implements, as PDDL, and the check that a game's domain states these and no others.

What a domain may choose are the kinds of appliance (published games clean in sinks as well as in sink basins).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sdar_gym.envs.alfworld.game_file import GameFileError
from sdar_gym.envs.alfworld.pddl import Node, read_pddl, sections_of, show

TYPES = ("agent", "location", "object", "otype", "receptacle", "rtype")

_HERE = "(atlocation ?a ?l) (receptacleatlocation ?r ?l)"
_REACHABLE = "(or (not (openable ?r)) (opened ?r))"

# Parameters, precondition, effect. `(kind ?x)` stands for an `or` over the types that ?x may have. Costs are left out.
# The comma behind `location` is the published domain's: it makes a type of its own that nothing has, so that only
# what is held can be examined.
_RULES: dict[str, tuple[str, str, str]] = {
    "look": ("?a - agent ?l - location", "(and (atlocation ?a ?l))", "(and (checked ?l))"),
    "inventory": ("?a - agent", "()", "(and (checked ?a))"),
    "help": ("?a - agent", "()", "(and (checked ?a))"),
    "examinereceptacle": (
        "?a - agent ?r - receptacle",
        f"(and (exists (?l - location) (and {_HERE})))",
        "(and (checked ?r))",
    ),
    "examineobject": (
        "?a - agent ?o - object",
        f"(or (exists (?l - location, ?r - receptacle) (and {_HERE} (inreceptacle ?o ?r) {_REACHABLE})) (holds ?a ?o))",
        "(and (checked ?o))",
    ),
    "gotolocation": (
        "?a - agent ?lstart - location ?lend - location ?r - receptacle",
        "(and (atlocation ?a ?lstart) (receptacleatlocation ?r ?lend))",
        "(and (not (atlocation ?a ?lstart)) (atlocation ?a ?lend))",
    ),
    "openobject": (
        "?a - agent ?l - location ?r - receptacle",
        f"(and (openable ?r) {_HERE} (not (opened ?r)))",
        "(and (opened ?r) (checked ?r))",
    ),
    "closeobject": (
        "?a - agent ?l - location ?r - receptacle",
        f"(and (openable ?r) {_HERE} (opened ?r))",
        "(and (not (opened ?r)))",
    ),
    "pickupobject": (
        "?a - agent ?l - location ?o - object ?r - receptacle",
        f"(and (pickupable ?o) {_HERE} (inreceptacle ?o ?r) (not (holdsany ?a)) {_REACHABLE})",
        "(and (not (inreceptacle ?o ?r)) (holds ?a ?o) (holdsany ?a) (not (objectatlocation ?o ?l)))",
    ),
    "putobject": (
        "?a - agent ?l - location ?o - object ?r - receptacle ?ot - otype ?rt - rtype",
        f"(and (holds ?a ?o) {_HERE} {_REACHABLE} (objecttype ?o ?ot) (receptacletype ?r ?rt) (cancontain ?rt ?ot))",
        "(and (inreceptacle ?o ?r) (objectatlocation ?o ?l) (not (holds ?a ?o)) (not (holdsany ?a)))",
    ),
    "cleanobject": (
        "?a - agent ?l - location ?r - receptacle ?o - object",
        f"(and (cleanable ?o) (kind ?r) {_HERE} (holds ?a ?o))",
        "(and (isclean ?o))",
    ),
    "heatobject": (
        "?a - agent ?l - location ?r - receptacle ?o - object",
        f"(and (heatable ?o) (kind ?r) {_HERE} (holds ?a ?o))",
        "(and (ishot ?o) (not (iscool ?o)))",
    ),
    "coolobject": (
        "?a - agent ?l - location ?r - receptacle ?o - object",
        f"(and (coolable ?o) (kind ?r) {_HERE} (holds ?a ?o))",
        "(and (iscool ?o) (not (ishot ?o)))",
    ),
    "toggleobject": (
        "?a - agent ?l - location ?o - object ?r - receptacle",
        f"(and (toggleable ?o) {_HERE} (inreceptacle ?o ?r))",
        "(and (when (ison ?o) (not (ison ?o))) (when (not (ison ?o)) (ison ?o)) (istoggled ?o))",
    ),
    "sliceobject": (
        "?a - agent ?l - location ?co - object ?ko - object",
        "(and (sliceable ?co) (kind ?ko) (atlocation ?a ?l) (objectatlocation ?co ?l) (holds ?a ?ko))",
        "(and (issliced ?co))",
    ),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What a domain chooses within the known rules: types of receptacle that clean, heat and cool, types of knife.

    `name` is the domain's own name, which its problems must state.
    """

    name: str
    cleaners: frozenset[str]
    heaters: frozenset[str]
    coolers: frozenset[str]
    knives: frozenset[str]


@lru_cache(maxsize=16)
def _read(text: str) -> Rules | str:
    """The rules, or what is wrong: all published games share one domain, so it is read once."""
    try:
        sections = sections_of(read_pddl(text, "pddl_domain"), "pddl_domain")
        kinds = _check_actions(sections)
    except GameFileError as error:
        return str(error)
    name = " ".join(show(part) for named in sections.get("domain", []) for part in named[1:])
    return Rules(name, kinds["cleanobject"], kinds["heatobject"], kinds["coolobject"], kinds["sliceobject"])


def read_domain(text: str, origin: str) -> Rules:
    """Check that a domain states the rules that the engine implements.

    Args:
        text: The domain in PDDL.
        origin: The game's file, for errors.

    Raises:
        GameFileError: it is another domain, or unreadable.
    """
    found = _read(text)
    if isinstance(found, str):
        raise GameFileError(f"{origin}, {found}")
    return found


def _check_actions(sections: dict[str, list[tuple[Node, ...]]]) -> dict[str, frozenset[str]]:
    stated = tuple(sorted(map(show, sections.get(":types", [()])[0][1:])))
    if stated != TYPES:
        raise GameFileError(f"pddl_domain, :types: {' '.join(stated)}; ALFRED's are {' '.join(TYPES)}")
    kinds: dict[str, frozenset[str]] = {}
    for action in sections.get(":action", []):
        name = show(action[1]) if len(action) > 1 else "(nameless)"
        if name not in _RULES or name in kinds:
            raise GameFileError(f"pddl_domain, :action {name}: not one of ALFRED's, or stated twice; {_REMEDY}")
        kinds[name] = _check_action(name, action)
    missing = sorted(set(_RULES) - set(kinds))
    if missing:
        raise GameFileError(f"pddl_domain: it lacks the action {missing[0]}; {_REMEDY}")
    return kinds


_REMEDY = "only ALFRED's domain, as published with ALFWorld's games, can be played"


def _check_action(name: str, action: tuple[Node, ...]) -> frozenset[str]:
    kinds: set[str] = set()
    parts = dict(zip(action[2::2], action[3::2], strict=False))
    keywords = (":parameters", ":precondition", ":effect")
    for keyword, wanted in zip(keywords, _RULES[name], strict=True):
        known = read_pddl(f"({wanted})" if keyword == ":parameters" else wanted, name)
        given = parts.get(keyword, ())
        if _normal(given, kinds) != _normal(known, set()):
            raise GameFileError(f"pddl_domain, :action {name}, {keyword}: not the known rule; {_REMEDY}")
    return frozenset(kinds)


def _normal(node: Node, kinds: set[str]) -> Node:
    """The formula with the members of `and` and `or` sorted, costs left out, and choices of a type as `(kind ?x)`."""
    if isinstance(node, str) or not node:
        return node
    if node[0] not in ("and", "or"):
        return tuple(_normal(part, kinds) for part in node)
    parts = [part for part in node[1:] if not (isinstance(part, tuple) and part[:1] == ("increase",))]
    if node[0] == "or" and all(_is_type_choice(part) and part[1] == parts[0][1] for part in parts):
        kinds.update(str(part[2]) for part in parts)
        return ("kind", parts[0][1])
    return (node[0], *sorted((_normal(part, kinds) for part in parts), key=repr))


def _is_type_choice(node: Node) -> bool:
    return len(node) == 3 and node[0] in ("receptacletype", "objecttype") and not str(node[2]).startswith("?")
