"""The space of free text, which Gymnasium's own `Text` (62 letters and digits by default) is too narrow for."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import CustomSpaceError
from gymnasium.vector.utils import create_shared_memory
from numpy.typing import NDArray

MAX_TEXT_LENGTH = 1_000_000
"""Longest observation or action, in characters."""


class FreeText(spaces.Text):
    """Any string of up to `max_length` characters, of any script, the empty one included."""

    def __init__(self, max_length: int = MAX_TEXT_LENGTH, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(max_length=max_length, min_length=0, seed=seed)

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and len(x) <= self.max_length

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A short random word: garbage on purpose, as a careless agent would send it."""
        length = int(self.np_random.integers(0, 12))
        letters: NDArray[np.int64] = self.np_random.integers(97, 123, size=length)
        return "".join(chr(int(letter)) for letter in letters)

    def __repr__(self) -> str:
        return f"FreeText({self.max_length})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FreeText) and other.max_length == self.max_length


@create_shared_memory.register(FreeText)
def _refuse_shared_memory(space: FreeText, n: int = 1, ctx: Any = None) -> Any:
    # Gymnasium's shared buffer for `Text` maps characters it does not list, and the padding, to its first one:
    # an `AsyncVectorEnv` would show "0000..." for ever, without a word.
    raise CustomSpaceError("text of any script does not fit shared memory; pass shared_memory=False")
