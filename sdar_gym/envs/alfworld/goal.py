"""Goals: the formulas of the six task types, recognised by their shape, whatever the file is called."""

from __future__ import annotations

from dataclasses import dataclass

from sdar_gym.envs.alfworld.game_file import GameFileError
from sdar_gym.envs.alfworld.pddl import Node, show, typed_names

# The property that a goal demands, and what a thing must be for an agent to be able to give it.
TREATMENTS = {"isclean": "cleanable", "ishot": "heatable", "iscool": "coolable"}

TASK_TYPES = {
    "isclean": "pick_clean_then_place_in_recep",
    "ishot": "pick_heat_then_place_in_recep",
    "iscool": "pick_cool_then_place_in_recep",
}


@dataclass(frozen=True, slots=True)
class PlaceGoal:
    """`count` things of a type, treated or not, in one receptacle of a type."""

    object_type: str
    receptacle_type: str
    treatment: str | None
    count: int

    @property
    def task_type(self) -> str:
        if self.treatment is not None:
            return TASK_TYPES[self.treatment]
        return "pick_and_place_simple" if self.count == 1 else "pick_two_obj_and_place"


@dataclass(frozen=True, slots=True)
class LightGoal:
    """Hold a thing of a type where a toggled lamp of a type stands."""

    object_type: str
    lamp_type: str

    @property
    def task_type(self) -> str:
        return "look_at_obj_in_light"


Goal = PlaceGoal | LightGoal

_Atom = tuple[str, ...]


def read_goal(formula: Node, place: str) -> Goal:
    """The goal that a formula states.

    Raises:
        GameFileError: it is none of the six task types' formulas.
    """
    clauses = [_flatten(part, place) for part in _conjuncts(formula)]
    goal: Goal | None = None
    if len(clauses) == 1:
        goal = _place_goal(*clauses[0])
    elif len(clauses) == 2:
        goal = _light_goal(clauses[0], clauses[1]) or _light_goal(clauses[1], clauses[0])
    if goal is None:
        raise GameFileError(f"{place}: {show(formula)} is no goal of ALFWorld's six task types")
    return goal


def _conjuncts(formula: Node) -> tuple[Node, ...]:
    if isinstance(formula, tuple) and formula[:1] == ("and",):
        return tuple(part for member in formula[1:] for part in _conjuncts(member))
    return (formula,)


def _flatten(formula: Node, place: str) -> tuple[dict[str, str], set[_Atom]]:
    """Variables (with types) and atoms of nested `exists` and `and`; `(not (= x y))` becomes (/=, x, y)."""
    types: dict[str, str] = {}
    atoms: set[_Atom] = set()
    pending = [formula]
    while pending:
        node = pending.pop()
        if isinstance(node, str) or not node:
            raise GameFileError(f"{place}: {show(node)} where a formula belongs")
        if node[0] == "and":
            pending.extend(node[1:])
        elif node[0] == "exists" and len(node) == 3 and isinstance(node[1], tuple):
            for name, type_name in typed_names(node[1], place):
                if name in types:
                    raise GameFileError(f"{place}: the variable {name} is bound twice")
                types[name] = type_name
            pending.append(node[2])
        elif node[0] == "not" and len(node) == 2 and isinstance(node[1], tuple) and node[1][:1] == ("=",):
            left, right = sorted(map(show, node[1][1:]))
            atoms.add(("/=", left, right))
        elif all(isinstance(word, str) for word in node) and node[0] not in ("or", "forall", "not", "imply"):
            atoms.add(tuple(map(str, node)))
        else:
            raise GameFileError(f"{place}: {show(node)} is no part of a goal of ALFWorld's six task types")
    return types, atoms


def _place_goal(types: dict[str, str], atoms: set[_Atom]) -> PlaceGoal | None:
    receptacles = [name for name, type_name in types.items() if type_name == "receptacle"]
    things = sorted(name for name, type_name in types.items() if type_name == "object")
    if len(receptacles) != 1 or len(things) not in (1, 2) or len(types) != 1 + len(things):
        return None
    receptacle = receptacles[0]
    object_types = {_typed(atoms, "objecttype", thing) for thing in things}
    object_type = object_types.pop()
    receptacle_type = _typed(atoms, "receptacletype", receptacle)
    if object_types or object_type is None or receptacle_type is None:
        return None
    expected: set[_Atom] = {("receptacletype", receptacle, receptacle_type)}
    for thing in things:
        expected |= {("objecttype", thing, object_type), ("inreceptacle", thing, receptacle)}
    if len(things) == 2:
        expected.add(("/=", things[0], things[1]))
    for treatment, ability in (None, None), *TREATMENTS.items():
        wanted = {(word, thing) for thing in things for word in (treatment, ability) if word is not None}
        if atoms == expected | wanted:
            return PlaceGoal(object_type, receptacle_type, treatment, len(things))
    return None


def _light_goal(light: tuple[dict[str, str], set[_Atom]], held: tuple[dict[str, str], set[_Atom]]) -> LightGoal | None:
    by_type = {type_name: name for name, type_name in light[0].items()}
    held_by_type = {type_name: name for name, type_name in held[0].items()}
    if sorted(light[0].values()) != ["agent", "location", "object", "receptacle"]:
        return None
    if sorted(held[0].values()) != ["agent", "object"]:
        return None
    lamp, lamp_agent, place, receptacle = (by_type[kind] for kind in ("object", "agent", "location", "receptacle"))
    thing, agent = held_by_type["object"], held_by_type["agent"]
    lamp_type, object_type = _typed(light[1], "objecttype", lamp), _typed(held[1], "objecttype", thing)
    if lamp_type is None or object_type is None:
        return None
    expected: set[_Atom] = {
        ("objecttype", lamp, lamp_type),
        ("toggleable", lamp),
        ("istoggled", lamp),
        ("receptacleatlocation", receptacle, place),
        ("atlocation", lamp_agent, place),
        ("inreceptacle", lamp, receptacle),
    }
    if light[1] != expected or held[1] != {("objecttype", thing, object_type), ("holds", agent, thing)}:
        return None
    return LightGoal(object_type, lamp_type)


def _typed(atoms: set[_Atom], predicate: str, variable: str) -> str | None:
    found = sorted(atom[2] for atom in atoms if len(atom) == 3 and atom[:2] == (predicate, variable))
    return found[0] if len(found) == 1 else None
