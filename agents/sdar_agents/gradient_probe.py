"""How large the gradients of reinforcement learning and of teaching are, and how they lie to one another."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from sdar_agents.batch import TurnBatch, token_mean
from sdar_agents.distributed import recomputed_activations
from sdar_agents.learners.base import LossOutput
from sdar_agents.setup import Run
from sdar_agents.update import loss_of, micro_batches, teacher_scores


def probe_gradients(run: Run, batch: TurnBatch, step: int) -> dict[str, float]:
    """Norms of the two gradients before any update of the step, their ratio and cosine, on one micro-batch a process.

    Which one goes round with the steps. Weights and optimizer are left as they were, and no gradients stay; it costs
    two forward and backward passes of a micro-batch. Collective.

    Returns:
        `rl_gradient_norm`, `distill_gradient_norm` (its weight included), `distill_share` (the second over the first)
        and `gradient_cosine`; ratio and cosine are 0 where either gradient is.
    """
    count = sum(1 for _ in micro_batches(run, batch))
    (micro,) = islice(micro_batches(run, batch), step % count, step % count + 1)
    micro = micro.to(run.device)
    weight = torch.tensor(float(micro.token_weight.sum()), dtype=torch.float64)
    total = max(float(run.world.sum(weight)), 1.0)
    of_rl, of_teaching = (_gradients(run, micro, total, teaching=teaching) for teaching in (False, True))
    rl, distill = (math.sqrt(_dot(each, each)) for each in (of_rl, of_teaching))
    return {
        "rl_gradient_norm": rl,
        "distill_gradient_norm": distill,
        "distill_share": distill / rl if rl > 0 else 0.0,
        "gradient_cosine": _dot(of_rl, of_teaching) / (rl * distill) if rl > 0 and distill > 0 else 0.0,
    }


def _gradients(run: Run, micro: TurnBatch, total: float, *, teaching: bool) -> list[torch.Tensor]:
    run.optimizer.zero_grad(set_to_none=True)
    teacher = teacher_scores(run, micro)
    with recomputed_activations(run.model, enabled=run.config.activation_checkpointing):
        part = _part(loss_of(run, micro, teacher), teaching=teaching)
        loss = token_mean(part * micro.importance, micro.token_weight, total)
        (loss * run.world.size).backward()  # type: ignore[no-untyped-call]
    found = [each.grad.detach() for each in run.model.parameters() if each.grad is not None]
    run.optimizer.zero_grad(set_to_none=True)
    return found


def _part(output: LossOutput, *, teaching: bool) -> torch.Tensor:
    if output.token_distill is None:
        raise ValueError("a learner that asks for a gradient probe says which part of its loss teaches (token_distill)")
    return output.token_distill if teaching else output.token_loss - output.token_distill


def _dot(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    total: Any = sum((a * b).sum() for a, b in zip(one, other, strict=True))
    return float(total.full_tensor() if isinstance(total, DTensor) else total)
