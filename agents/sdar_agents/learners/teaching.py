"""What the learners with a teacher share: divergences by the name of an option, and the metrics of the teaching."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sdar_agents import losses
from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import TokenScores
from sdar_agents.learners.inputs import required, token_logprobs

FULL_DIVERGENCES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "full_reverse_kl": losses.full_reverse_kl,
    "full_forward_kl": losses.full_forward_kl,
    "full_js": losses.full_js,
}
"""Name of an option -> divergence of (student, teacher) log-probabilities [N, R, V], one value a token."""
TOP_K_DIVERGENCES = {name.replace("full", "topk"): name for name in FULL_DIVERGENCES}
"""Name of an option -> the divergence that is taken over the likeliest tokens and a tail."""
OF_DISTRIBUTIONS = (*FULL_DIVERGENCES, *TOP_K_DIVERGENCES)
"""The options that compare whole distributions."""
SAMPLED_DIVERGENCES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "sampled_reverse_kl": losses.signed_sampled_reverse_kl,
    "k3": losses.kl_k3,
}
"""Name of an option -> term of the sampled tokens' (S, T) [N, R]."""


def divergence(
    name: str, policy: TokenScores, teacher: TokenScores, batch: TurnBatch, *, top_k: int, learner: str
) -> torch.Tensor:
    """The divergence called `name`, whatever it compares, [N, R]."""
    if name in SAMPLED_DIVERGENCES:
        return SAMPLED_DIVERGENCES[name](token_logprobs(policy, batch), token_logprobs(teacher, batch))
    return full_divergence(name, policy, teacher, top_k=top_k, learner=learner)


def full_divergence(
    name: str, policy: TokenScores, teacher: TokenScores, *, learner: str, top_k: int = 0
) -> torch.Tensor:
    """The divergence called `name` between two distributions, [N, R].

    A forward KL weighs tokens by the teacher's probabilities, so the k that stand by themselves are the teacher's
    likeliest; else they are the student's.
    """
    student_side = required(policy.distribution, "the policy's distribution", f"{learner} with {name}")
    teacher_side = required(teacher.distribution, "the teacher's distribution", f"{learner} with {name}")
    if name in TOP_K_DIVERGENCES:
        chosen_by = teacher_side if name == "topk_forward_kl" else student_side
        student_side, teacher_side = losses.top_k_and_tail(student_side, teacher_side, k=top_k, chosen_by=chosen_by)
        name = TOP_K_DIVERGENCES[name]
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
