"""Retrievers on the command line: several names with commas, and the settings of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdar_gym.errors import unknown


def named_retrievers(text: str) -> tuple[str, ...]:
    """The names in a list with commas, each once.

    Raises:
        ValueError: none at all, or one that is not known; the text suggests the nearest.
    """
    from sdar_skills.retrievers import RETRIEVERS

    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ValueError(f"--retriever names none; known: {', '.join(RETRIEVERS)}")
    for name in names:
        if name not in RETRIEVERS and ":" not in name:
            raise ValueError(unknown("retriever", name, RETRIEVERS))
    return names


def settings_by_retriever(settings: Sequence[str], retrievers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The settings of each retriever that has any, by its name, from `RETRIEVER:NAME=VALUE`.

    Raises:
        ValueError: a setting of a retriever that is not named, or one that it does not have.
    """
    from sdar_agents.setup import retriever_options
    from sdar_skills.retrievers import check_options

    given: dict[str, list[str]] = {}
    for setting in settings:
        # An address such as package:Class has a colon of its own; a value may have some too.
        name, _, _ = setting.partition("=")[0].rpartition(":")
        if name not in retrievers:
            raise ValueError(
                f"--retriever-options {setting}: write RETRIEVER:NAME=VALUE, such as {retrievers[0]}:fields=text; "
                f"measured are {', '.join(retrievers)}"
            )
        given.setdefault(name, []).append(setting.removeprefix(f"{name}:"))
    read = {name: retriever_options(texts) for name, texts in given.items()}
    for name in retrievers:
        check_options(name, read.get(name, {}))
    return read
