"""The space of free text, which Gymnasium's own `Text` (62 letters and digits by default) is too narrow for.

Here is also how such text passes through the shared memory of Gymnasium's `AsyncVectorEnv`.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory, write_to_shared_memory
from numpy.typing import NDArray

MAX_TEXT_LENGTH = 1_000_000
"""Longest observation or action, in characters."""

MAX_SHARED_BYTES = 64 * 1024
"""Longest text in shared memory, in bytes of UTF-8. Ten times the longest observation of the suite; and 128
environments need 8 MiB of it, which the 64 MiB of /dev/shm in a container hold."""

_LENGTH_BYTES = 4


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


class SharedTextError(ValueError):
    """A text that is longer than its place in shared memory."""


class SharedTexts(Sequence[str]):
    """The newest text of each environment, read from shared memory whenever it is looked at.

    Gymnasium asks for it once and deep-copies it after each step: the copy is a plain tuple. Who sets `copy=False`
    sees this object itself, whose texts change with the next step.
    """

    def __init__(self, memory: Any, count: int) -> None:
        self._memory = memory
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(self._count)[index])
        slot = _slot(self._memory, self._count, range(self._count)[index])
        length = int.from_bytes(slot[:_LENGTH_BYTES], "little")
        return bytes(slot[_LENGTH_BYTES : _LENGTH_BYTES + length]).decode("utf-8", "surrogatepass")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[str, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        return f"SharedTexts({tuple(self)!r})"


# Gymnasium's own functions for `Text` map characters that it does not list, and the padding, to its first one, and
# read only once: an `AsyncVectorEnv` would show "0000..." for ever, without a word.
@create_shared_memory.register(FreeText)
def _create_shared_texts(space: FreeText, n: int = 1, ctx: Any = multiprocessing) -> Any:
    return ctx.RawArray("B", n * (_LENGTH_BYTES + _capacity(space)))


@read_from_shared_memory.register(FreeText)
def _read_shared_texts(space: FreeText, shared_memory: Any, n: int = 1) -> SharedTexts:
    return SharedTexts(shared_memory, n)


@write_to_shared_memory.register(FreeText)
def _write_shared_text(space: FreeText, index: int, value: str, shared_memory: Any) -> None:
    text = value.encode("utf-8", "surrogatepass")
    capacity = _capacity(space)
    if len(text) > capacity:
        raise SharedTextError(
            f"an observation of {len(text):,} bytes does not fit the {capacity:,} of its place in shared memory; make "
            'the environments with vector_kwargs={"shared_memory": False} (gymnasium.make_vec) or shared_memory=False '
            f"(AsyncVectorEnv). It begins {value[:60]!r}"
        )
    slot_bytes = _LENGTH_BYTES + capacity
    slot = _slot(shared_memory, len(shared_memory) // slot_bytes, index)
    slot[:_LENGTH_BYTES] = len(text).to_bytes(_LENGTH_BYTES, "little")
    slot[_LENGTH_BYTES : _LENGTH_BYTES + len(text)] = text


def _capacity(space: FreeText) -> int:
    """Bytes for one text: a character of UTF-8 takes up to four."""
    return min(4 * space.max_length, MAX_SHARED_BYTES)


def _slot(memory: Any, count: int, index: int) -> memoryview:
    size = len(memory) // count
    return memoryview(memory).cast("B")[index * size : (index + 1) * size]
