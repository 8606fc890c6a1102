"""What changes in a game: a few integers. Sets of things are bit masks over their indices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


def bits(mask: int) -> Iterator[int]:
    """The indices in a mask, ascending."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def mask_of(indices: Iterable[int]) -> int:
    """The mask of some indices."""
    mask = 0
    for index in indices:
        mask |= 1 << index
    return mask


@dataclass(slots=True)
class State:
    """The state of one game. Indices are those of the game's sorted names.

    Attributes:
        location: Where the agent is.
        held: The object in the agent's hand, or -1.
        opened: Receptacles that are open.
        clean: Objects that are clean; likewise `hot`, `cool`, `sliced` and `toggled`.
        contents: By receptacle, the objects in it.
        at_location: By location, the objects that are there. It can differ from `contents`: an object that is taken
            leaves the location of the agent, which need not be the one that the file states.
        taken_from: By receptacle, the objects that were taken out and not put back; `look` speaks of them.
    """

    location: int
    held: int
    opened: int
    clean: int
    hot: int
    cool: int
    sliced: int
    toggled: int
    contents: list[int]
    at_location: list[int]
    taken_from: list[int]

    def copy(self) -> State:
        """An independent copy: a fork, or a snapshot."""
        return State(
            self.location,
            self.held,
            self.opened,
            self.clean,
            self.hot,
            self.cool,
            self.sliced,
            self.toggled,
            self.contents.copy(),
            self.at_location.copy(),
            self.taken_from.copy(),
        )
