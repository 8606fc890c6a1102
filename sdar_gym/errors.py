"""The sentence of every "unknown ..." error: what was given, what was probably meant, what is known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """A message such as `unknown retriever 'dens'; did you mean 'dense'? known: dense, keyword`.

    Args:
        kind: What was looked for, in words.
        name: What was given.
        known: Every accepted name, in the order in which to list them.
    """
    names = list(known)
    guess = closest(name, names)
    hint = f"; did you mean {guess!r}?" if guess is not None else ";"
    return f"unknown {kind} {name!r}{hint} known: {', '.join(names) or '(none)'}"


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name nearest to `name`, whatever the case and the namespace before a `/`; None if none is near."""
    short: dict[str, str] = {}
    for full in known:
        short.setdefault(_bare(full), full)
    near = get_close_matches(_bare(name), short, n=1)
    return short[near[0]] if near else None


def _bare(name: str) -> str:
    return name.rpartition("/")[2].lower()


class TaskError(Exception):
    """A task that cannot be played before somebody mends something; the text says what.

    A rollout raises it at once. Any other exception of an environment counts as a crash of that environment, which
    is retried.
    """
