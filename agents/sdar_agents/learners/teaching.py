"""What the learners with a teacher share: divergences over the vocabulary by name, and the metrics of the teaching."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sdar_agents import losses
from sdar_agents.learners.base import TokenScores
from sdar_agents.learners.inputs import required

FULL_DIVERGENCES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "full_reverse_kl": losses.full_reverse_kl,
    "full_forward_kl": losses.full_forward_kl,
    "full_js": losses.full_js,
}
"""Name of an option -> divergence of (student, teacher) log-probabilities [N, R, V], one value a token."""


def full_divergence(name: str, policy: TokenScores, teacher: TokenScores, *, learner: str) -> torch.Tensor:
    """The divergence called `name` between two distributions, [N, R]."""
    student_side = required(policy.distribution, "the policy's distribution", f"{learner} with {name}")
    teacher_side = required(teacher.distribution, "the teacher's distribution", f"{learner} with {name}")
    return FULL_DIVERGENCES[name](student_side, teacher_side)


def teaching_metrics(
    logprobs: torch.Tensor, teacher_logprobs: torch.Tensor, distill: torch.Tensor
) -> dict[str, torch.Tensor]:
    """`gap`, `teacher_k3` and `distill_loss`, detached, [N, R]."""
    return {
        "gap": losses.teacher_gap(logprobs, teacher_logprobs),
        "teacher_k3": losses.kl_k3(logprobs, teacher_logprobs).detach(),
        "distill_loss": distill.detach(),
    }
