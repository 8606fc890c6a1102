"""Truncated importance sampling: tokens were drawn by an engine whose log-probabilities are not quite the trainer's."""

from __future__ import annotations

from typing import Literal

import torch

Correction = Literal["none", "token", "sequence"]


def importance_weights(
    old_logprobs: torch.Tensor,
    sampler_logprobs: torch.Tensor,
    mask: torch.Tensor,
    *,
    correction: Correction,
    cap: float,
) -> torch.Tensor:
    """Detached weights min(pi_trainer / pi_sampler, cap), which the losses of the tokens are multiplied by.

    An expectation under the sampler of w times anything is one under the trainer's policy, up to the truncation, which
    bounds the variance at the price of a bias (Espeholt et al., 1802.01561, section 4.1). Kernels, precision and
    weight quantisation of the engine are what the two differ by; with the same kernels all weights are 1.

    Args:
        old_logprobs: The trainer's log-probabilities of the sampled tokens, before any update of the step, [N, R].
        sampler_logprobs: The engine's, [N, R].
        mask: True on real tokens, [N, R].
        correction: `token`: the ratio of each token. `sequence`: the product over the tokens of the row (a turn's
            response), the same for each of them. `none`: ones.
        cap: The largest weight.

    Returns:
        Weights in (0, cap], 1 under padding, [N, R].

    Raises:
        ValueError: a log-probability that is not a number, as engines give that do not report them.
    """
    if correction == "none":
        return torch.ones_like(old_logprobs)
    if not bool(torch.isfinite(sampler_logprobs[mask]).all()):
        raise ValueError(
            "the engine reported no log-probabilities for some tokens: importance correction needs them "
            "(choose another --backend, or --importance-correction none)"
        )
    log_ratio = (old_logprobs - sampler_logprobs).masked_fill(~mask, 0.0)
    if correction == "sequence":
        log_ratio = log_ratio.sum(1, keepdim=True).expand_as(log_ratio)
    return log_ratio.exp().clamp(max=cap).masked_fill(~mask, 1.0)
