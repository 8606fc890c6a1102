"""The interface of a rollout engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sdar_agents.episode import Completion, Sampling


class Backend(Protocol):
    """Samples responses. Weights reach it by sharing the trained module, or by `load_weights` where it has its own."""

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """One response a prompt, in order.

        Args:
            prompts: Token ids; lengths may differ.
            seeds: One a prompt: it alone decides that row's draws, whatever else is in the batch.
        """

    def load_weights(self, model: object) -> None:
        """Take over the trained weights; nothing to do where the module is shared."""
