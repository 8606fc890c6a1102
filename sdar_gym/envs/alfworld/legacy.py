"""Commands as games of ALFWorld before 0.4 wanted them: `put apple 1 in/on fridge 1` for `move apple 1 to fridge 1`."""

from __future__ import annotations

import re

from sdar_gym.envs.alfworld.engine import Engine, Reply

_PUT = re.compile(r"put (?P<thing>\S.*?) (?:in/on|in|on|into|onto) (?P<place>\S.*)")


def to_current(command: str) -> str:
    """A command in the present words; the same one if it is no old one.

    Old agents wrote `in/on`, and models trained on their words often only `in` or `on`: all are taken.
    """
    match = _PUT.fullmatch(command.strip())
    return command if match is None else f"move {match['thing']} to {match['place']}"


def step_legacy(engine: Engine, command: str) -> Reply:
    """Do what a command says, in the old or the present words.

    A game file of that time has the old words in its own grammar: a command is translated only if the game does not
    understand it as it is (which changes nothing in the game).
    """
    reply = engine.step(command)
    if reply.understood or (current := to_current(command)) == command:
        return reply
    return engine.step(current)
