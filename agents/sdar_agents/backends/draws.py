"""One token a row from logits: the same draw gives the same token, whatever else is in the batch."""

from __future__ import annotations

import torch

from sdar_agents.episode import Sampling


def draw(logits: torch.Tensor, uniforms: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row by inverse transform sampling.

    Args:
        logits: [B, V].
        uniforms: Draws in [0, 1), [B]; the same draw gives the same token.

    Returns:
        Ids [B] and their log-probabilities [B] under the distribution that was sampled from.
    """
    if sampling.temperature == 0:
        log_probabilities = torch.log_softmax(logits.float(), dim=-1)
        best = log_probabilities.argmax(-1)
        return best, log_probabilities.gather(-1, best[:, None]).squeeze(1)
    log_probabilities = torch.log_softmax(logits.float() / sampling.temperature, dim=-1)
    if sampling.top_p < 1.0:
        log_probabilities = torch.log_softmax(_nucleus(log_probabilities, sampling.top_p), dim=-1)
    # float64: a float32 running sum over 150,000 tokens does not end at 1.
    cumulative = log_probabilities.double().exp().cumsum(-1)
    threshold = uniforms.double()[:, None] * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, threshold, right=True).squeeze(1).clamp(max=logits.shape[-1] - 1)
    return chosen, log_probabilities.gather(-1, chosen[:, None]).squeeze(1)


def _nucleus(log_probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    ordered, index = log_probabilities.sort(-1, descending=True)
    # A token is kept if the mass before it is below top_p, so the first always is.
    outside = (ordered.exp().cumsum(-1) - ordered.exp()) >= top_p
    return log_probabilities.masked_fill(outside.gather(-1, index.argsort(-1)), float("-inf"))
