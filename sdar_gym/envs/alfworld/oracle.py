"""The next command that leads to success, from any state: phases over the whole state, the hidden part included."""

from __future__ import annotations

from sdar_gym.envs.alfworld.engine import Game
from sdar_gym.envs.alfworld.game import Tables, treatable, treated_mask
from sdar_gym.envs.alfworld.goal import LightGoal, PlaceGoal
from sdar_gym.envs.alfworld.state import State, bits


def next_command(game: Game, state: State) -> str | None:
    """The next command towards the goal.

    It is the same for the same state, and following it wins within some twenty commands: each of them finds a thing,
    fetches it, treats it, places it, or frees the hand for that.

    Args:
        game: The game.
        state: Any state of it; not changed.

    Returns:
        A command that the state admits; None if the goal is reached, or nothing leads to it any more.
    """
    if game.is_won(state):
        return None
    goal = game.compiled.goal
    planner = _Planner(game, state)
    return planner.light(goal) if isinstance(goal, LightGoal) else planner.place(goal)


class _Planner:
    """One decision: the game, the state, and steps towards wishes."""

    def __init__(self, game: Game, state: State) -> None:
        self._game = game
        self._state = state
        self._tables: Tables = game.tables

    def place(self, goal: PlaceGoal) -> str | None:
        tables, state = self._tables, self._state
        wanted = tables.object_type.get(goal.object_type, 0) & treatable(goal, tables)
        treated = treated_mask(goal)(state)
        target = self._target(goal, wanted & treated)
        if target is None:
            return None
        if state.held < 0:
            missing = wanted & ~(state.contents[target] & treated)
            return self._fetch(missing & tables.accepts[target], prefer=treated)
        if not wanted >> state.held & 1:
            return self._free_hand()
        if goal.treatment is not None and not treated >> state.held & 1:
            return self._treat(goal.treatment)
        return self._put(target)

    def light(self, goal: LightGoal) -> str | None:
        tables, state = self._tables, self._state
        wanted = tables.object_type.get(goal.object_type, 0)
        lamps = tables.object_type.get(goal.lamp_type, 0) & tables.toggleable
        if state.held < 0:
            return self._fetch(wanted, prefer=0)
        if not wanted >> state.held & 1:
            return self._free_hand()
        where = self._nearest(lamps)
        if where is None:
            return None
        receptacle, lamp = where
        return self._go(receptacle) or self._command("toggleobject", target=receptacle, thing=lamp)

    def _target(self, goal: PlaceGoal, ready: int) -> int | None:
        """The receptacle to fill: the one with the most of what is ready in it, then the nearest."""
        tables, state = self._tables, self._state
        wanted = tables.object_type.get(goal.object_type, 0)
        fitting = [
            receptacle
            for receptacle in bits(tables.receptacle_type.get(goal.receptacle_type, 0))
            if tables.place_of[receptacle] >= 0 and tables.accepts[receptacle] & wanted
        ]
        if not fitting:
            return None

        def rank(receptacle: int) -> tuple[int, int]:
            return -(state.contents[receptacle] & ready).bit_count(), self._effort(receptacle)

        return min(fitting, key=rank)

    def _fetch(self, things: int, *, prefer: int) -> str | None:
        """Towards holding one of some things: the preferred ones first."""
        things &= self._tables.pickupable
        where = self._nearest(things & prefer) or self._nearest(things)
        if where is None:
            return None
        receptacle, thing = where
        return self._reach(receptacle) or self._command("pickupobject", target=receptacle, thing=thing)

    def _treat(self, treatment: str) -> str | None:
        tables = self._tables
        kind, appliances = {
            "isclean": ("cleanobject", tables.cleaners),
            "ishot": ("heatobject", tables.heaters),
            "iscool": ("coolobject", tables.coolers),
        }[treatment]
        usable = [each for each in bits(appliances) if tables.place_of[each] >= 0]
        if not usable:
            return None
        appliance = min(usable, key=self._distance)
        return self._go(appliance) or self._command(kind, target=appliance, thing=self._state.held)

    def _free_hand(self) -> str | None:
        """Towards an empty hand: into the receptacle that takes the least."""
        tables, held = self._tables, self._state.held
        accepting = [
            receptacle
            for receptacle, accepted in enumerate(tables.accepts)
            if accepted >> held & 1 and tables.place_of[receptacle] >= 0
        ]
        return self._put(min(accepting, key=self._effort)) if accepting else None

    def _put(self, receptacle: int) -> str:
        return self._reach(receptacle) or self._command("putobject", target=receptacle, thing=self._state.held)

    def _nearest(self, things: int) -> tuple[int, int] | None:
        """A receptacle and one of the things in it, the least effort away."""
        found = [
            (receptacle, contents & things)
            for receptacle, contents in enumerate(self._state.contents)
            if contents & things and self._tables.place_of[receptacle] >= 0
        ]
        if not found:
            return None
        receptacle, inside = min(found, key=lambda each: self._effort(each[0]))
        return receptacle, next(bits(inside))

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
