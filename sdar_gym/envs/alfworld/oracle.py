"""The next command that leads to success, from any state: phases over the whole state, the hidden part included."""

from __future__ import annotations

from typing import NamedTuple

from sdar_gym.envs.alfworld.engine import Game
from sdar_gym.envs.alfworld.game import Tables, treatable, treated_mask
from sdar_gym.envs.alfworld.goal import LightGoal, PlaceGoal
from sdar_gym.envs.alfworld.state import State, bits


def next_command(game: Game, state: State) -> str | None:
    """The next command towards the goal.

    It is the same for the same state, and following it wins, in published games within some twenty commands: each of
    them finds a thing, fetches it, treats it, places it, or frees the hand for that.

    None says that the goal is reached, or else that no commands whatever reach it: the state is dead. Every state is
    told apart at once, not when the commands run out. Walking, opening and putting down can always be undone, so that
    a state is dead for one of these reasons only:
    - What is in the hand is accepted by no receptacle that can be reached, and is of no use where it is: the hand
      stays full. (The only reason met in published games: often nothing takes paper towels or a teddy bear.)
    - Too few of the wanted things can be taken, treated and brought to any one receptacle of the goal, or no wanted
      thing can be taken while a lamp stands somewhere.

    Args:
        game: The game.
        state: Any state of it; not changed.

    Returns:
        A command that the state admits, or None.
    """
    if game.is_won(state):
        return None
    goal = game.compiled.goal
    planner = _Planner(game, state)
    return planner.light(goal) if isinstance(goal, LightGoal) else planner.place(goal)


class _Target(NamedTuple):
    """A receptacle that the goal may be reached in.

    Attributes:
        receptacle: Which.
        missing: How many things have yet to get there.
        helpful: The things that can be among these.
    """

    receptacle: int
    missing: int
    helpful: int


class _Source(NamedTuple):
    """A thing, and a receptacle that it is in. Published games list some things in two."""

    receptacle: int
    thing: int


class _Planner:
    """One decision: the game, the state, and steps towards wishes.

    Each decision keeps what the last one began: the choice among equals is by effort, of which every step leaves less.
    """

    def __init__(self, game: Game, state: State) -> None:
        self._game = game
        self._state = state
        self._tables: Tables = game.tables
        self._reachable = [each for each, place in enumerate(self._tables.place_of) if place >= 0]
        self._placeable = 0
        for receptacle in self._reachable:
            self._placeable |= self._tables.accepts[receptacle]

    def place(self, goal: PlaceGoal) -> str | None:
        state = self._state
        targets = self._targets(goal)
        if not targets:
            return None
        missing = min(target.missing for target in targets)
        targets = [target for target in targets if target.missing == missing]
        treated = treated_mask(goal)(state)
        if state.held < 0:
            sources = self._sources(targets, self._placeable if missing > 1 else -1)
            ready = [each for each in sources if treated >> each.thing & 1]
            if ready or goal.treatment is None:
                return self._fetch(ready or sources, [target.receptacle for target in targets])
            return self._fetch(sources, self._appliances(goal.treatment))
        fitting = [target.receptacle for target in targets if target.helpful >> state.held & 1]
        if not fitting:
            return self._free_hand()
        if goal.treatment is not None and not treated >> state.held & 1:
            return self._treat(goal.treatment)
        return self._put(min(fitting, key=self._effort))

    def light(self, goal: LightGoal) -> str | None:
        tables, state = self._tables, self._state
        wanted = tables.object_type.get(goal.object_type, 0)
        lamps = tables.object_type.get(goal.lamp_type, 0) & tables.toggleable
        standing = self._lying(lamps)
        if standing and state.held >= 0 and wanted >> state.held & 1:
            return self._light_up(standing)
        if self._is_hand_stuck():
            return None
        if state.held >= 0 and lamps >> state.held & 1:
            standing.append(_Source(-1, state.held))  # wherever it will be put down
        # A wanted lamp does not light itself, once it is in the hand.
        sources = [each for each in self._lying(wanted & tables.pickupable) if standing not in ([], [each])]
        if not sources:
            return None
        return self._fetch(sources, [lamp.receptacle for lamp in standing]) if state.held < 0 else self._free_hand()

    def _targets(self, goal: PlaceGoal) -> list[_Target]:
        """The receptacles in which the goal can be reached."""
        tables, state = self._tables, self._state
        wanted = tables.object_type.get(goal.object_type, 0) & treatable(goal, tables)
        treated = treated_mask(goal)(state)
        usable = wanted if goal.treatment is None or self._appliances(goal.treatment) else wanted & treated
        movable = self._movable()
        targets = []
        for receptacle in bits(tables.receptacle_type.get(goal.receptacle_type, 0)):
            ready = state.contents[receptacle] & wanted & treated
            # What is listed in another receptacle too needs no putting back, once it is treated.
            brought = movable & self._accepted(receptacle)
            listed = state.contents[receptacle] & ~brought & self._movable(besides=receptacle)
            target = _Target(receptacle, goal.count - ready.bit_count(), usable & ~ready & (brought | listed))
            if self._is_enough(target):
                targets.append(target)
        return targets

    def _is_enough(self, target: _Target) -> bool:
        """Whether a target can be filled: with what will not leave the hand again, only the last thing."""
        if self._is_hand_stuck():
            return target.missing == 1 and bool(target.helpful >> self._state.held & 1)
        lasting = target.helpful & self._placeable
        return target.helpful.bit_count() >= target.missing and lasting.bit_count() >= target.missing - 1

    def _movable(self, besides: int = -1) -> int:
        """What is in the hand, or can be taken from a receptacle besides a certain one."""
        things, contents = 0, self._state.contents
        for receptacle in self._reachable:
            if receptacle != besides:
                things |= contents[receptacle]
        things &= self._tables.pickupable
        return things | 1 << self._state.held if self._state.held >= 0 else things

    def _accepted(self, receptacle: int) -> int:
        """What can be put into a receptacle."""
        return self._tables.accepts[receptacle] if self._tables.place_of[receptacle] >= 0 else 0

    def _is_hand_stuck(self) -> bool:
        return self._state.held >= 0 and not self._placeable >> self._state.held & 1

    def _lying(self, things: int) -> list[_Source]:
        """Where some things are, as far as that can be reached."""
        contents = self._state.contents
        return [_Source(each, thing) for each in self._reachable for thing in bits(contents[each] & things)]

    def _sources(self, targets: list[_Target], things: int) -> list[_Source]:
        """What to take for one of some targets, and where."""

        def helps(source: _Source, target: _Target) -> bool:
            if not target.helpful >> source.thing & 1:
                return False
            return source.receptacle != target.receptacle or bool(self._accepted(target.receptacle) >> source.thing & 1)

        helpful = 0
        for target in targets:
            helpful |= target.helpful
        lying = self._lying(helpful & things & self._tables.pickupable)
        return [source for source in lying if any(helps(source, target) for target in targets)]

    def _fetch(self, sources: list[_Source], onward: list[int]) -> str:
        """Towards holding one of some things: the least effort away, then where the way goes on to."""
        place_of = self._tables.place_of
        goes_on = {place_of[each] for each in onward}

        def rank(source: _Source) -> tuple[int, bool]:
            return self._effort(source.receptacle), place_of[source.receptacle] not in goes_on

        receptacle, thing = min(sources, key=rank)
        return self._reach(receptacle) or self._command("pickupobject", target=receptacle, thing=thing)

    def _appliances(self, treatment: str) -> list[int]:
        tables = self._tables
        kinds = {"isclean": tables.cleaners, "ishot": tables.heaters, "iscool": tables.coolers}
        return [each for each in bits(kinds[treatment]) if tables.place_of[each] >= 0]

    def _treat(self, treatment: str) -> str:
        kind = {"isclean": "cleanobject", "ishot": "heatobject", "iscool": "coolobject"}[treatment]
        appliance = min(self._appliances(treatment), key=self._distance)
        return self._go(appliance) or self._command(kind, target=appliance, thing=self._state.held)

    def _light_up(self, lamps: list[_Source]) -> str:
        def effort(lamp: _Source) -> int:
            return self._distance(lamp.receptacle) + (~self._state.toggled >> lamp.thing & 1)

        receptacle, lamp = min(lamps, key=effort)
        return self._go(receptacle) or self._command("toggleobject", target=receptacle, thing=lamp)

    def _free_hand(self) -> str:
        """Towards an empty hand: into the receptacle that takes the least."""
        held = self._state.held
        accepting = [each for each in self._reachable if self._tables.accepts[each] >> held & 1]
        return self._put(min(accepting, key=self._effort))

    def _put(self, receptacle: int) -> str:
        return self._reach(receptacle) or self._command("putobject", target=receptacle, thing=self._state.held)

    def _distance(self, receptacle: int) -> int:
        return int(self._tables.place_of[receptacle] != self._state.location)

    def _effort(self, receptacle: int) -> int:
        """How many commands it takes to reach into a receptacle."""
        return self._distance(receptacle) + self._is_closed(receptacle)

    def _is_closed(self, receptacle: int) -> int:
        return self._tables.openable >> receptacle & ~(self._state.opened >> receptacle) & 1

    def _go(self, receptacle: int) -> str | None:
        """The step to a receptacle; None if it is at hand."""
        return self._command("gotolocation", target=receptacle) if self._distance(receptacle) else None

    def _reach(self, receptacle: int) -> str | None:
        """The step towards reaching into a receptacle; None if that is possible already."""
        return self._go(receptacle) or (
            self._command("openobject", target=receptacle) if self._is_closed(receptacle) else None
        )

    def _command(self, kind: str, *, target: int, thing: int = -1) -> str:
        return self._game.act(kind, target=target, thing=thing, location=self._tables.place_of[target]).command
