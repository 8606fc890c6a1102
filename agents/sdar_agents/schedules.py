"""Factors over the steps of a run: what any weight or sharpness can be multiplied by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from sdar_gym.errors import unknown

Shape = Literal["constant", "linear", "cosine", "warmup"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A factor for each training step, the first of which is 0.

    With p = min(1, step / over):
    `constant` is start. `linear` is start + (end - start) p. `cosine` is end + (start - end) (1 + cos(pi p)) / 2.
    `warmup` is start p: nothing in the first step, and from step `over` on all of it.
    """

    shape: Shape = "constant"
    """How it goes from start to end: constant, linear, cosine, or warmup (from 0 to start)."""
    start: float = 1.0
    """The factor in the first step (constant: in every step; warmup: after the last)."""
    end: float = 0.0
    """The factor from step `over` on, for linear and cosine."""
    over: int = 100
    """How many steps it takes."""

    def __post_init__(self) -> None:
        """Refuse what would be no schedule."""
        if self.shape not in get_args(Shape):
            raise ValueError(unknown("schedule shape", self.shape, get_args(Shape)))
        for name in ("start", "end"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"a schedule's {name} is {getattr(self, name)}; it must be at least 0 and finite")
        if self.over < 1:
            raise ValueError(f"a schedule over {self.over} steps: it takes at least 1")

    def __call__(self, step: int) -> float:
        """The factor in a step."""
        done = min(1.0, step / self.over)
        if self.shape == "linear":
            return self.start + (self.end - self.start) * done
        if self.shape == "cosine":
            return self.end + (self.start - self.end) * (1.0 + math.cos(math.pi * done)) / 2.0
        return self.start * done if self.shape == "warmup" else self.start
