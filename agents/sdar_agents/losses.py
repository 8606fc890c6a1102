"""Loss terms as pure functions: tensors in, one value a token out [N, R]. Means and masks are the training loop's.

N turns, R response tokens, V vocabulary; log-probabilities in nats. S, T, O and F are the log-probabilities of the
sampled token under the student, the teacher, the policy that sampled it ("old") and the frozen reference.
"SDAR" is arXiv 2605.15155; "official code" is the one that its authors published.
"""

from __future__ import annotations

import math

import torch

LOG_RATIO_LIMIT = 20.0
"""Log-ratios are cut here before `exp`: an overflow would make 0 * inf of a clipped token's gradient."""

K3_LIMIT = 10.0
"""Largest value of a k3 estimate, as in the official code."""

SKILL_SD_LOG_RATIO_LIMIT = 10.0
"""Largest log-ratio in the weight of `importance_weighted_k3`, as in the official code."""


# Policy gradient


def probability_ratio(logprobs: torch.Tensor, old_logprobs: torch.Tensor) -> torch.Tensor:
    """R = exp(S - O), the importance ratio of PPO, with the exponent cut at +-20.

    Gradient: r grad S.
    """
    _same_shape("probability_ratio", logprobs=logprobs, old_logprobs=old_logprobs)
    return (logprobs - old_logprobs.detach()).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def clipped_policy_gradient(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float,
) -> torch.Tensor:
    """PPO's surrogate with dual clip: max(-A r, -A clip(r, 1 - low, 1 + high)), at most -A c where A < 0.

    Schulman et al. (1707.06347) eq. 7; the bound c is Ye et al. (1912.09729) eq. 5; SDAR section 3 uses both.

    Gradient: -A r grad S; zero where A > 0 and r > 1 + high, where A < 0 and r < 1 - low, where A < 0 and r > c.

    Args:
        logprobs: S, [N, R].
        old_logprobs: O, [N, R].
        advantages: A of each row, [N], or of each token, [N, R].
        clip_low, clip_high: Widths of the clip interval below and above 1.
        dual_clip: c, above 1; `inf` switches the bound off.
    """
    advantage = _a_row("clipped_policy_gradient", advantages, logprobs)  # [N, 1]
    ratio = probability_ratio(logprobs, old_logprobs)
    surrogate = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1.0 - clip_low, 1.0 + clip_high))
    # The where keeps 0 * inf out of the bound of rows with A = 0.
    bound = torch.where(advantage < 0, -advantage * dual_clip, math.inf)
    return torch.minimum(surrogate, bound)


def clipped_tokens(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float,
) -> torch.Tensor:
    """Where `clipped_policy_gradient` has no gradient because of a clip, [N, R] bool."""
    advantage = _a_row("clipped_tokens", advantages, logprobs)
    ratio = probability_ratio(logprobs, old_logprobs)
    too_likely = (advantage > 0) & (ratio > 1.0 + clip_high)
    too_unlikely = (advantage < 0) & ((ratio < 1.0 - clip_low) | (ratio > dual_clip))
    return too_likely | too_unlikely


def sequence_logprobs(
    logprobs: torch.Tensor, old_logprobs: torch.Tensor, mask: torch.Tensor, *, detached: bool
) -> torch.Tensor:
    """O + the mean over the response of (S - O): what makes `probability_ratio` GSPO's ratio of a whole response.

    GSPO (2507.18071) eq. 7: s = (pi(y) / pi_old(y))^(1/|y|), the same in every token. A response is a turn here.

    Gradient: of each token's entry, the mean over the response of grad S; through the surrogate -A s, summed over the
    response by a mean, -A s times the mean of grad S (eq. 10). `detached`: eq. 14, GSPO-token, s_t = sg(s) r / sg(r),
    whose entry has gradient grad S_t alone. Both agree where A is the same for all tokens of the response.

    Args:
        logprobs, old_logprobs: S and O, [N, R].
        mask: True on real tokens, [N, R].
        detached: Whether a token moves by itself only.
    """
    _same_shape("sequence_logprobs", logprobs=logprobs, old_logprobs=old_logprobs)
    old = old_logprobs.detach()
    difference = (logprobs - old).masked_fill(~mask, 0.0)
    mean = difference.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)  # [N, 1]
    if detached:
        return old + mean.detach() + (logprobs - logprobs.detach())
    return old + mean.expand_as(difference)


# Divergences from samples (Schulman, "Approximating KL divergence", 2020)


def kl_k1(logprobs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """k1 = S - F: the unbiased one-sample value of KL(policy || reference); it may be negative.

    Gradient: grad S, whose expectation on the policy's own samples is 0 and in which the reference does not occur:
    good as a metric, useless as a loss.
    """
    _same_shape("kl_k1", logprobs=logprobs, reference=reference)
    return logprobs - reference.detach()


def kl_k2(logprobs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """k2 = (S - F)^2 / 2: a biased value, never negative.

    Gradient: (S - F) grad S, whose expectation on the policy's own samples is the gradient of KL(policy || reference).
    """
    _same_shape("kl_k2", logprobs=logprobs, reference=reference)
    return (logprobs - reference.detach()).square() / 2.0


def kl_k3(logprobs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """k3 = exp(d) - d - 1 with d = F - S: unbiased for KL(policy || reference), never negative; GRPO's KL term.

    DeepSeekMath (2402.03300) eq. 4. The value is cut at 10, as in the official code.

    Gradient: (1 - exp(d)) grad S, whose expectation on the policy's own samples is the gradient of the *other*
    direction, KL(reference || policy). Zero where the value was cut, i.e. for d above 2.6 or below -11.
    """
    _same_shape("kl_k3", logprobs=logprobs, reference=reference)
    difference = (reference.detach() - logprobs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return (difference.exp() - difference - 1.0).clamp(-K3_LIMIT, K3_LIMIT)


# Gates of SDAR (section "Gates" of 2605.15155): weights of a token, data for the loss


def teacher_gap(logprobs: torch.Tensor, teacher_logprobs: torch.Tensor) -> torch.Tensor:
    """Gap = T - S, detached: above 0 the teacher, who has read the skill, endorses the token more than the student.

    Its expectation on the policy's own samples is -KL(student || teacher). No gradient.
    """
    _same_shape("teacher_gap", logprobs=logprobs, teacher_logprobs=teacher_logprobs)
    return (teacher_logprobs - logprobs).detach()


def gap_gate(gap: torch.Tensor, *, sharpness: float) -> torch.Tensor:
    """G = sigmoid(sharpness * gap), in (0, 1); the paper's default, where `sharpness` is its beta. No gradient."""
    _a_token("gap_gate", gap=gap)
    return torch.sigmoid(sharpness * gap.detach())


def centred_gap_gate(gap: torch.Tensor, *, sharpness: float) -> torch.Tensor:
    """G = tanh(sharpness * gap / 2) / 2 = `gap_gate` - 1/2, in (-1/2, 1/2). No gradient. Not in the paper.

    On the policy's own samples the half adds nothing to the expected gradient but noise; without it rejected tokens
    are pushed down one by one instead of only on average.
    """
    _a_token("centred_gap_gate", gap=gap)
    return 0.5 * torch.tanh(0.5 * sharpness * gap.detach())


def entropy_gate(entropy: torch.Tensor, *, sharpness: float) -> torch.Tensor:
    """G = sigmoid(sharpness * h), h the student's entropy in nats; in [1/2, 1) because h >= 0. No gradient."""
    _a_token("entropy_gate", entropy=entropy)
    return torch.sigmoid(sharpness * entropy.detach())


def soft_or_gate(gap: torch.Tensor, entropy: torch.Tensor, *, sharpness: float) -> torch.Tensor:
    """G = sigmoid(sharpness * (1 - (1 - h)(1 - gap))); h and gap in nats, as in the paper. No gradient.

    Neither is normalised to [0, 1], so "or" is a manner of speaking: for h > 1 a larger gap *lowers* the gate.
    """
    _same_shape("soft_or_gate", gap=gap, entropy=entropy)
    return torch.sigmoid(sharpness * (1.0 - (1.0 - entropy.detach()) * (1.0 - gap.detach())))


# Self-distillation on the sampled token


def gated_self_distillation(logprobs: torch.Tensor, teacher_logprobs: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """SDAR's loss of a token: g (T - S), gate and teacher detached.

    Gradient: -g grad S, i.e. maximum likelihood on the policy's own samples, weighted by the gate; the teacher acts
    through the gate alone. The value is no distance: it has any sign, and is mostly negative in training.

    Args:
        logprobs: S, [N, R].
        teacher_logprobs: T, [N, R].
        gate: g, [N, R].
    """
    _same_shape("gated_self_distillation", logprobs=logprobs, teacher_logprobs=teacher_logprobs, gate=gate)
    return gate.detach() * (teacher_logprobs.detach() - logprobs)


def signed_sampled_reverse_kl(logprobs: torch.Tensor, teacher_logprobs: torch.Tensor) -> torch.Tensor:
    """-(T - S) S with the bracket detached: the one-sample gradient of KL(student || teacher).

    Gradient: -(T - S) grad S, whose expectation on the policy's own samples is exactly that of `full_reverse_kl`:
    endorsed tokens go up, rejected ones down. The value means nothing; for a value take `kl_k1` or `kl_k3`.
    """
    return -teacher_gap(logprobs, teacher_logprobs) * logprobs


def importance_weighted_k3(
    logprobs: torch.Tensor, old_logprobs: torch.Tensor, teacher_logprobs: torch.Tensor
) -> torch.Tensor:
    """Rho (exp(d) - d - 1) with d = T - S and rho = exp(S - O), gradient through both; Skill-SD in SDAR's table.

    Gradient: rho (k3 + 1 - exp(d)) grad S = -rho d grad S, whose expectation on samples of the *old* policy is exactly
    that of KL(student || teacher): its value there is that divergence. d is cut at 20, log rho at 10, as in the
    official code. Where log rho is cut, the gradient is that through k3 alone, rho (1 - exp(d)) grad S; where d is,
    there is none (officially that through rho, which pushes an endorsed token down at e^20 times the usual size).
    """
    shapes = {"logprobs": logprobs, "old_logprobs": old_logprobs, "teacher_logprobs": teacher_logprobs}
    _same_shape("importance_weighted_k3", **shapes)
    gap = teacher_logprobs.detach() - logprobs
    difference = gap.clamp(max=LOG_RATIO_LIMIT)
    ratio = (logprobs - old_logprobs.detach()).clamp(max=SKILL_SD_LOG_RATIO_LIMIT).exp()
    ratio = torch.where(gap > LOG_RATIO_LIMIT, ratio.detach(), ratio)
    return ratio * (difference.exp() - difference - 1.0)


# Divergences over the whole vocabulary: exact, at the price of [N, R, V] tensors


def full_reverse_kl(distribution: torch.Tensor, teacher_distribution: torch.Tensor) -> torch.Tensor:
    """KL(student || teacher) = sum_v p (log p - log q); p the student's, q the teacher's (detached) probabilities.

    Gradient: exact, through p: sum_v p (log p - log q) grad log p.

    Args:
        distribution: log p, normalised and finite, [N, R, V].
        teacher_distribution: log q, likewise.
    """
    _distributions("full_reverse_kl", distribution=distribution, teacher_distribution=teacher_distribution)
    return (distribution.exp() * (distribution - teacher_distribution.detach())).sum(-1)


def full_forward_kl(distribution: torch.Tensor, teacher_distribution: torch.Tensor) -> torch.Tensor:
    """KL(teacher || student) = sum_v q (log q - log p); arguments as in `full_reverse_kl`.

    Gradient: -sum_v q grad log p, i.e. cross-entropy with the teacher's probabilities as labels.
    """
    _distributions("full_forward_kl", distribution=distribution, teacher_distribution=teacher_distribution)
    target = teacher_distribution.detach()
    return (target.exp() * (target - distribution)).sum(-1)


def full_js(distribution: torch.Tensor, teacher_distribution: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon divergence KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2; between 0 and log 2.

    Gradient: sum_v p (log p - log m) / 2 grad log p, so it fades where student and teacher share no token.
    """
    _distributions("full_js", distribution=distribution, teacher_distribution=teacher_distribution)
    target = teacher_distribution.detach()
    mixture = torch.logaddexp(distribution, target) - math.log(2.0)  # [N, R, V]
    student_side = (distribution.exp() * (distribution - mixture)).sum(-1)
    teacher_side = (target.exp() * (target - mixture)).sum(-1)
    return 0.5 * (student_side + teacher_side)


def top_k_and_tail(
    distribution: torch.Tensor, teacher_distribution: torch.Tensor, *, k: int, chosen_by: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both distributions over the k likeliest tokens and one event more: any other token. [N, R, k + 1] each.

    A divergence between them is the exact one of the coarser outcomes: never more than that over the vocabulary, and
    more the larger k. With k of V (or V - 1, where the tail is one token) nothing is lost: both come back as they are.

    Gradient: of a token in the tail, its share of the tail; which tokens are chosen carries none.

    Args:
        distribution, teacher_distribution: log p and log q, [N, R, V].
        k: How many tokens stand by themselves, at least 1.
        chosen_by: Whose k likeliest they are: log-probabilities [N, R, V], one of the two.
    """
    tensors = {"distribution": distribution, "teacher_distribution": teacher_distribution, "chosen_by": chosen_by}
    _distributions("top_k_and_tail", **tensors)
    if k >= distribution.shape[-1] - 1:
        return distribution, teacher_distribution
    top = chosen_by.detach().topk(k, dim=-1).indices  # [N, R, k]

    def coarser(fine: torch.Tensor) -> torch.Tensor:
        # Summed, not 1 - sum: a tail of 1e-9 would be lost in the rounding of the rest.
        tail = fine.scatter(-1, top, -math.inf).logsumexp(-1, keepdim=True)
        return torch.cat([fine.gather(-1, top), tail], dim=-1)

    return coarser(distribution), coarser(teacher_distribution)


def full_entropy(distribution: torch.Tensor) -> torch.Tensor:
    """H = -sum_v p log p of log-probabilities [N, R, V].

    Gradient: -sum_v p (log p + 1) grad log p.
    """
    _distributions("full_entropy", distribution=distribution)
    return -(distribution.exp() * distribution).sum(-1)


# Shapes, checked at the door


def _same_shape(function: str, **tensors: torch.Tensor) -> None:
    _a_token(function, **tensors)
    if len({tensor.shape for tensor in tensors.values()}) > 1:
        raise ValueError(f"{function}: {_shapes(tensors)} must have one shape")


def _a_token(function: str, **tensors: torch.Tensor) -> None:
    if any(tensor.ndim != 2 for tensor in tensors.values()):
        raise ValueError(f"{function}: {_shapes(tensors)} must be [N, R], one value a response token")


def _a_row(function: str, advantages: torch.Tensor, logprobs: torch.Tensor) -> torch.Tensor:
    if advantages.shape == logprobs.shape and logprobs.ndim == 2:
        return advantages.detach()
    if advantages.ndim != 1 or logprobs.ndim != 2 or len(advantages) != len(logprobs):
        shapes = _shapes({"advantages": advantages, "logprobs": logprobs})
        raise ValueError(f"{function}: {shapes} must be [N] (one advantage a row) or [N, R], and [N, R]")
    return advantages.detach()[:, None]


def _distributions(function: str, **tensors: torch.Tensor) -> None:
    if any(tensor.ndim != 3 for tensor in tensors.values()):
        raise ValueError(f"{function}: {_shapes(tensors)} must be [N, R, V], log-probabilities of the vocabulary")
    if len({tensor.shape for tensor in tensors.values()}) > 1:
        raise ValueError(f"{function}: {_shapes(tensors)} must have one shape")


def _shapes(tensors: dict[str, torch.Tensor]) -> str:
    return " and ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
