"""Frozen task panels: which tasks an evaluation plays, each exactly once, with a hash that says so."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from sdar_gym.registration import text_env


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
    """

    env_id: str
    name: str
    split: str
    task_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.task_ids:
            raise PanelError(f"panel {self.name!r} of {self.env_id} has no task")
        repeated = len(self.task_ids) - len(set(self.task_ids))
        if repeated:
            raise PanelError(f"panel {self.name!r} of {self.env_id} holds {repeated} task ids more than once")

    def __len__(self) -> int:
        return len(self.task_ids)

    @property
    def hash(self) -> str:
        """16 hex digits of the SHA-256 over the environment's id (with version) and the task ids, in order."""
        return _sha256(json.dumps([self.env_id, *self.task_ids]))[:16]

    def save(self, path: str | Path) -> None:
        """Write the manifest: a JSON file that `load_panel` checks."""
        manifest = {
            "env_id": self.env_id,
            "name": self.name,
            "split": self.split,
            "hash": self.hash,
            "task_ids": list(self.task_ids),
        }
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
    ids = sorted(text_env(env).task_ids(name), key=_sha256)
    if episodes is None:
        return Panel(env_id, name, name, tuple(ids))
    if not 1 <= episodes <= len(ids):
        raise PanelError(
            f"{episodes} episodes asked of split {name!r} of {env_id}, which has {len(ids)} tasks; "
            f"a panel plays each task once, so ask for 1 to {len(ids)}"
        )
    return Panel(env_id, f"{name}-{episodes}", name, tuple(ids[:episodes]))


def load_panel(path: str | Path) -> Panel:
    """Read a manifest that `Panel.save` wrote.

    Raises:
        PanelError: it is no manifest, or its hash is not that of its content.
    """
    try:
        manifest = json.loads(Path(path).read_text(encoding="utf-8"))
        env_id, name, split, stated = (str(manifest[key]) for key in ("env_id", "name", "split", "hash"))
        panel = Panel(env_id, name, split, tuple(map(str, manifest["task_ids"])))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise PanelError(f"{path} is not a panel manifest: {error!r}") from error
    if stated != panel.hash:
        raise PanelError(f"{path} was changed: it states hash {stated}, its tasks have {panel.hash}; make it anew")
    return panel


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
