"""Writes a drawn room out as a game of the published form. Same seed, same game, anywhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from sdar_gym.envs.alfworld.engine import Game, compile_game
from sdar_gym.envs.alfworld.game_file import GameFile
from sdar_gym.envs.alfworld.generator import written_rules
from sdar_gym.envs.alfworld.oracle import next_command
from sdar_gym.envs.alfworld.problem import goal_formula, write_problem
from sdar_gym.envs.alfworld.rooms.figures import PROPERTIES, real_figures
from sdar_gym.envs.alfworld.rooms.scenario import Difficulty, Receptacle, Scenario, draw

_MOST_COMMANDS = 40
# The rules name the two kinds of knives, so that they have to be declared even where none lies.
_NAMED_IN_RULES = ("ButterKnife", "Knife")
_APPLIANCES = ("Fridge", "Microwave", "SinkBasin")
# Of a room along x, y and z, in centimetres: the least coordinate, and how many there are.
_EXTENT = ((-400, 801), (0, 200), (-400, 801))
_PARTS_OF = {"SinkBasin": "Sink", "BathtubBasin": "Bathtub"}


class UnsolvableGameError(RuntimeError):
    """A generated game that the oracle does not win: a mistake in the generator, never in what was asked of it."""


def generate(
    seed: int | str,
    room: str | None = None,
    task_type: str | None = None,
    *,
    receptacles: int | None = None,
    objects: int | None = None,
    distractors: int | None = None,
    closed: float = 1.0,
) -> GameFile:
    """A game in a room of its own; it can always be won, and is never won at the start.

    Args:
        seed: Decides everything that is left open.
        room: `kitchen`, `livingroom`, `bedroom` or `bathroom`; by default any, as often as in the published games.
        task_type: One of `kitchen.TASK_TYPES`; by default any, likewise.
        receptacles: How many places there are, from 5 to 60; by default as many as real rooms have. The other numbers,
            too, are explained at `Difficulty`.
        objects: How many things can be carried, from 4 to 120; by default as in real rooms.
        distractors: How many of them are much like the wanted one, from 0 to 60; by default as in real rooms.
        closed: The share of the containers that is closed at the start, from 0 to 1.

    Raises:
        ValueError: an unknown room or task type, a room where that is never asked for, or a number out of its range.
    """
    rng = random.Random(seed)
    scenario = draw(
        rng,
        rooms=None if room is None else (room,),
        task_types=None if task_type is None else (task_type,),
        difficulty=Difficulty(receptacles, objects, distractors, closed),
    )
    return game_file(scenario, rng, name=f"room {seed}")


def game_file(scenario: Scenario, rng: random.Random, name: str) -> GameFile:
    """Write a scenario out as a game, with the oracle's commands as its walkthrough.

    Args:
        scenario: What the game is about.
        rng: Draws where exactly everything is, which decides how things are numbered.
        name: Names the game in errors, and the PDDL problem.
    """
    domain, grammar = written_rules()
    game = GameFile(
        pddl_domain=domain,
        grammar=grammar.replace("UNKNOWN GOAL", scenario.sentence),
        pddl_problem=_problem(scenario, rng, name),
        origin=name,
    )
    return GameFile(
        pddl_domain=game.pddl_domain,
        grammar=game.grammar,
        pddl_problem=game.pddl_problem,
        walkthrough=tuple(_walkthrough(compile_game(game))),
        origin=name,
    )


def _walkthrough(game: Game) -> Iterator[str]:
    """The oracle's commands, played on the native engine until they win."""
    state = game.compiled.start.copy()
    if game.is_won(state):
        raise UnsolvableGameError(f"{game.compiled.origin} is won before it starts")
    for _ in range(_MOST_COMMANDS):
        command = next_command(game, state)
        choices = game.choices(state)
        act = None if command is None else choices.now.get(command) or choices.always.get(command)
        if act is None:
            break
        yield act.command
        game.perform(state, act)
        if game.is_won(state):
            return
    raise UnsolvableGameError(f"the oracle does not win {game.compiled.origin}")


def _problem(scenario: Scenario, rng: random.Random, name: str) -> str:
    figures, task = real_figures(), scenario.task
    new_id, locations = _ids(rng), _locations(rng)
    # The agent starts in the middle of the room, where nothing can be reached.
    start = next(locations)
    places = [next(locations) for _ in range(1 + max(each.location for each in scenario.receptacles))]
    receptacles = [(new_id(each.kind), each) for each in scenario.receptacles]
    things = [(new_id(each.kind), each) for each in scenario.things]
    receptacle_kinds = sorted({each.kind for each in scenario.receptacles} | set(_APPLIANCES))
    thing_kinds = sorted({each.kind for each in scenario.things} | set(_NAMED_IN_RULES))

    objects = ["agent1 - agent"]
    objects += [f"{kind}Type - otype" for kind in thing_kinds] + [f"{kind}Type - rtype" for kind in receptacle_kinds]
    objects += [f"{each} - object" for each, _ in things] + [f"{each} - receptacle" for each, _ in receptacles]
    objects += [f"{each} - location" for each in (start, *places)]

    init = [f"atLocation agent1 {start}"]
    init += [
        f"canContain {place}Type {thing}Type"
        for place in receptacle_kinds
        for thing in thing_kinds
        if thing in figures.contains.get(place, ())
    ]
    for receptacle, each in receptacles:
        init += _receptacle_facts(receptacle, each, places[each.location])
    for thing, item in things:
        init.append(f"objectType {thing} {item.kind}Type")
        init += [f"{name} {thing}" for name in PROPERTIES if item.kind in figures.properties[name]]
        if item.place is not None:
            receptacle, each = receptacles[item.place]
            init += [f"inReceptacle {thing} {receptacle}", f"objectAtLocation {thing} {places[each.location]}"]
        if item.is_cold:
            init.append(f"isCool {thing}")
    goal = goal_formula(task.task_type, task.thing, task.goal)
    return write_problem(name=name, objects=objects, init=init, goal=goal)


def _receptacle_facts(receptacle: str, each: Receptacle, location: str) -> list[str]:
    facts = [f"receptacleType {receptacle} {each.kind}Type", f"receptacleAtLocation {receptacle} {location}"]
    facts += [f"openable {receptacle}"] if each.is_openable else []
    return facts + ([f"opened {receptacle}"] if each.is_open else [])


def _ids(rng: random.Random) -> Callable[[str], str]:
    """Makes ids of the published form: a kind and a position (metres), no two alike."""
    used: set[str] = set()

    def new_id(kind: str) -> str:
        while True:
            position = "_bar_".join(_coordinate(least + int(rng.random() * many)) for least, many in _EXTENT)
            name = f"{_PARTS_OF.get(kind, kind)}_bar_{position}"
            name += f"_bar_{kind}" if kind in _PARTS_OF else ""
            if name not in used:
                used.add(name)
                return name

    return new_id


def _coordinate(centimetres: int) -> str:
    sign = "minus" if centimetres < 0 else "plus"
    metres, rest = divmod(abs(centimetres), 100)
    return f"_{sign}_{metres:02d}_dot_{rest:02d}"


def _locations(rng: random.Random) -> Iterator[str]:
    """Ids of the published form, no two alike: a position (steps of 25 cm), a direction, an angle of view."""
    used: set[str] = set()
    while True:
        x, z = rng.randrange(-16, 17), rng.randrange(-16, 17)
        direction, angle = rng.randrange(4), rng.choice((60, 45))
        name = "loc_bar_" + "_bar_".join(str(each).replace("-", "_minus_") for each in (x, z, direction, angle))
        if name not in used:
            used.add(name)
            yield name
