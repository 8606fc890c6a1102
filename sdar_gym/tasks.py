"""Frozen task panels: which tasks an evaluation plays, each exactly once, with hashes of their ids and content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym

from sdar_gym.registration import text_env
from sdar_gym.text_env import TextEnv

_DIGITS = 16


class PanelError(ValueError):
    """A panel that cannot be made, or a manifest that does not hold what it says."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A fixed set of tasks in a fixed order.

    Attributes:
        env_id: Gymnasium id, version suffix included.
        name: `valid` for a whole split, `valid-64` for the first 64 of its fixed order.
        split: The split that the tasks are of.
        task_ids: Every task once, in the order of the SHA-256 of its id: the first N are a fair sample of all.
        digests: Of every task the first 16 hex digits of `TextEnv.task_digest`, which says what the task is made
            from; None where the environment has none.
    """

    env_id: str
    name: str
    split: str
    task_ids: tuple[str, ...]
    digests: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.task_ids:
            raise PanelError(f"panel {self.name!r} of {self.env_id} has no task")
        repeated = len(self.task_ids) - len(set(self.task_ids))
        if repeated:
            raise PanelError(f"panel {self.name!r} of {self.env_id} holds {repeated} task ids more than once")
        if self.digests is not None and len(self.digests) != len(self.task_ids):
            raise PanelError(f"panel {self.name!r}: {len(self.task_ids)} tasks, but {len(self.digests)} digests")

    def __len__(self) -> int:
        return len(self.task_ids)

    @property
    def hash(self) -> str:
        """16 hex digits of the SHA-256 over the environment's id (with version) and the task ids, in order."""
        return _sha256(json.dumps([self.env_id, *self.task_ids]))[:_DIGITS]

    @property
    def content(self) -> str | None:
        """16 hex digits of the SHA-256 over `digests`: equal hashes and contents are the same tasks, files included."""
        return None if self.digests is None else _sha256(json.dumps(self.digests))[:_DIGITS]

    def first(self, episodes: int) -> Panel:
        """The panel of the first tasks of this one.

        Raises:
            PanelError: `episodes` is below 1 or more than the panel has.
        """
        if not 1 <= episodes <= len(self):
            raise PanelError(
                f"{episodes} episodes asked of panel {self.name!r} of {self.env_id}, which has {len(self)} tasks; "
                f"a panel plays each task once, so ask for 1 to {len(self)}"
            )
        digests = None if self.digests is None else self.digests[:episodes]
        return replace(self, name=f"{self.split}-{episodes}", task_ids=self.task_ids[:episodes], digests=digests)

    def check(self, env: gym.Env[Any, Any]) -> None:
        """See that an environment has the tasks of this panel, made from the same content.

        A panel without digests is only compared by its ids.

        Raises:
            PanelError: names the first task that is missing or was changed.
        """
        inner = text_env(env)
        here = set(inner.task_ids(self.split)) if self.split in inner.splits else set[str]()
        for number, task_id in enumerate(self.task_ids):
            if task_id not in here:
                raise PanelError(
                    f"panel {self.name!r} ({self.hash}) cannot be played: task {task_id!r} is not among the "
                    f"{len(here)} tasks of split {self.split!r} here; get the data that the panel was made from"
                )
            if self.digests is not None and (found := _digest(inner, task_id)) != self.digests[number]:
                raise PanelError(
                    f"panel {self.name!r} ({self.hash}) cannot be compared: task {task_id!r} has digest {found} here "
                    f"and {self.digests[number]} in the panel, so its files were changed; get the data that the panel "
                    f"was made from, or make the panel anew"
                )

    def save(self, path: str | Path) -> None:
        """Write the manifest: a JSON file that `load_panel` checks."""
        manifest: dict[str, Any] = {
            "env_id": self.env_id,
            "name": self.name,
            "split": self.split,
            "hash": self.hash,
            "content": self.content,
            "task_ids": list(self.task_ids),
        }
        if self.digests is not None:
            manifest["digests"] = list(self.digests)
        Path(path).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def make_panel(env: gym.Env[Any, Any], env_id: str, name: str, episodes: int | None = None) -> Panel:
    """The panel of a split: all of it, or the first `episodes` tasks of its fixed order. Nothing is drawn.

    Args:
        env: An instance of the environment, wrapped or not.
        env_id: Its Gymnasium id.
        name: The split.
        episodes: How many tasks; all of them by default.

    Raises:
        UnknownTaskError: the environment has no such split.
        PanelError: `episodes` is below 1 or more than the split has.
    """
    inner = text_env(env)
    ids = tuple(sorted(inner.task_ids(name), key=_sha256))
    chosen = Panel(env_id, name, name, ids)
    if episodes is not None:
        chosen = chosen.first(episodes)
    digests = [_digest(inner, task_id) for task_id in chosen.task_ids]
    known = tuple(digest for digest in digests if digest is not None)
    return replace(chosen, digests=known) if len(known) == len(digests) else chosen


def load_panel(path: str | Path) -> Panel:
    """Read a manifest that `Panel.save` wrote.

    Raises:
        PanelError: it is no manifest, or its hash is not that of its content.
    """
    try:
        manifest = json.loads(Path(path).read_text(encoding="utf-8"))
        env_id, name, split, stated = (str(manifest[key]) for key in ("env_id", "name", "split", "hash"))
        digests = manifest.get("digests")
        panel = Panel(
            env_id,
            name,
            split,
            tuple(map(str, manifest["task_ids"])),
            None if digests is None else tuple(map(str, digests)),
        )
        content = manifest.get("content")
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise PanelError(f"{path} is not a panel manifest: {error!r}") from error
    if stated != panel.hash:
        raise PanelError(f"{path} was changed: it states hash {stated}, its tasks have {panel.hash}; make it anew")
    if content != panel.content:
        raise PanelError(f"{path} was changed: it states content {content}, its digests {panel.content}; make it anew")
    return panel


def _digest(env: TextEnv, task_id: str) -> str | None:
    digest = env.task_digest(task_id)
    return None if digest is None else digest[:_DIGITS]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
