"""Learners of other packages, by entry point. Found by name; imported only when asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from sdar_agents.learners.base import Learner
from sdar_gym.errors import unknown

GROUP = "sdar_gym.learners"
"""Group of entry points: name of the learner -> its class, as `my_package.my_module:MyRule`."""
MEMBERS = ("needs", "prepare", "loss")
"""What a learner has to have."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """An entry point, not yet imported.

    Attributes:
        name: On the command line.
        value: Module and class.
        package: Name and version of the distribution that has it.
    """

    name: str
    value: str
    package: str

    def load(self) -> type[Learner]:
        """Import the class.

        Raises:
            ValueError: it cannot be imported, or is no learner; the text names package and reason.
        """
        where = f"learner {self.name!r} of {self.package} ({self.value})"
        try:
            kind = EntryPoint(self.name, self.value, GROUP).load()
        # Whatever a foreign module does at import is that package's mistake, not a traceback of ours.
        except Exception as error:
            raise ValueError(
                f"{where} cannot be loaded: {type(error).__name__}: {error}; mend or uninstall it"
            ) from error
        fault = _fault(kind)
        if fault is not None:
            raise ValueError(f"{where} {fault} (agents/README.md shows one)")
        found: type[Learner] = kind
        return found


def _fault(kind: Any) -> str | None:
    """Why something is no learner, as the end of a sentence."""
    missing = [member for member in MEMBERS if not hasattr(kind, member)]
    if missing:
        return f"has no {missing[0]!r}: a learner has {', '.join(MEMBERS)}"
    # The parameters of a dataclass are not public, but whether it is frozen is nowhere else.
    if not isinstance(kind, type) or not getattr(getattr(kind, "__dataclass_params__", None), "frozen", False):
        return "is not a frozen dataclass, whose fields would be its options"
    for field in dataclasses.fields(kind):
        if field.default is field.default_factory is dataclasses.MISSING:
            return f"has no default for its option {field.name!r}"
    return None


def plugins() -> list[Plugin]:
    """Everything that installed packages offer, in order of name, clashes included."""
    found = entry_points(group=GROUP)
    listed = [Plugin(each.name, each.value, _package(each)) for each in found]
    return sorted(set(listed), key=lambda plugin: (plugin.name, plugin.package))


def plugin_names(built_in: Iterable[str]) -> list[str]:
    """Names of the learners that can be asked for."""
    taken = set(built_in)
    return sorted({plugin.name for plugin in plugins()} - taken)


def plugin_named(name: str, built_in: Iterable[str]) -> Plugin | None:
    """The package's learner of this name; None if no package has one.

    Raises:
        ValueError: the name is also built in, or two packages have it.
    """
    same = [plugin for plugin in plugins() if plugin.name == name]
    if same and name in set(built_in):
        raise ValueError(
            f"learner {name!r} is built in, and {same[0].package} has one too: rename that or uninstall it"
        )
    if len(same) > 1:
        raise ValueError(
            f"learner {name!r} is in {' and in '.join(plugin.package for plugin in same)}: uninstall all but one"
        )
    return same[0] if same else None


def plugin_name_of(kind: type[Any], built_in: Iterable[str]) -> str | None:
    """The name that a package gives a class; None if none does. Imports what packages offer; a broken one is not it."""
    taken = set(built_in)
    for plugin in plugins():
        if plugin.name not in taken:
            with suppress(ValueError):
                if plugin.load() is kind:
                    return plugin.name
    return None


def unknown_learner(name: str, built_in: Iterable[str]) -> str:
    """The sentence for a name that nobody has."""
    known = list(built_in)
    sentence = unknown("learner", name, [*known, *plugin_names(known)])
    return f"{sentence} (a package adds one by an entry point of the group {GROUP}; is it installed here?)"


def _package(entry: EntryPoint) -> str:
    return "an unnamed package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
