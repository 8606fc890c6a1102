"""What the learners share that teach through the advantages of single tokens alone."""

from __future__ import annotations

from dataclasses import replace

import torch

from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import LossOutput, TokenScores
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.inputs import required, token_logprobs
from sdar_agents.learners.teaching import teaching_metrics


def shaped_loss(
    rl: GRPO, policy: TokenScores, batch: TurnBatch, *, learner: str, view: str | None = None
) -> LossOutput:
    """GRPO's loss with the advantages of tokens that `prepare` filled in; what teaches is the difference they make.

    Args:
        view: Whose gap is reported; by default that of the teacher's own prompt.
    """
    tokens = required(batch.token_advantages, "the advantages of tokens", learner)
    shaped = rl.loss(policy, None, batch)
    plain = rl.loss(policy, None, replace(batch, token_advantages=None))
    taught = shaped.token_loss - plain.token_loss
    said = batch.teacher_logprobs if view is None else batch.views[view].logprobs
    known = required(said, "the teacher's scores at the start of the step", learner)
    metrics = teaching_metrics(token_logprobs(policy, batch), token_logprobs(TokenScores(known), batch), taught)
    metrics |= {
        "advantage_factor": _factor(tokens, batch.advantages),
        "advantage_shift": tokens - batch.advantages[:, None],
    }
    return LossOutput(shaped.token_loss, shaped.token_metrics | metrics, taught)


def _factor(tokens: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """What each token's advantage was multiplied by, [N, R]; 1 where there is none."""
    whole = advantages[:, None].expand_as(tokens)
    return torch.where(whole == 0, 1.0, tokens / whole)
