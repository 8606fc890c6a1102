"""Do reinforcement and teaching pull the same way? Their gradients on a few turns of a step, before its update."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch.distributed.tensor import DTensor

from sdar_agents.aggregation import aggregated
from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import LossOutput
from sdar_agents.setup import Run
from sdar_agents.update import backward, micro_batches

PROBE_ROWS = 32
"""Turns that the two gradients are computed on; two forward and backward passes each."""
STEERING_ROWS = 256
"""The same for a learner that is steered by what is found (`Needs.gradient_probe`): noise there moves its weight."""


def compare_gradients(run: Run, batch: TurnBatch, step: int) -> dict[str, float]:
    """Cosine between the gradients of the two parts of the loss, and their norms; nothing of the run changes.

    The turns are a seeded choice among those with an advantage (for a learner that is steered: among all).
    Collective: every process calls it.

    Returns:
        `gradient_cosine`, `gradient_norm/rl`, `gradient_norm/distill`, and `distill_share`, the last norm over the one
        before; nothing where the learner has no teaching part (`LossOutput.distill_loss`), and neither cosine nor share
        where a gradient is zero.
    """
    every, needs = run.config.diagnostics_every, run.config.learner.needs
    # Who is steered wants the share that the step's updates see, turns without an advantage included.
    rows = (
        _some_rows(batch.weight > 0, seed=run.config.seed, step=step, most=STEERING_ROWS)
        if needs.gradient_probe
        else probe_rows(batch, seed=run.config.seed, step=step)
    )
    is_due = needs.gradient_probe or (every > 0 and step % every == 0)
    if not is_due or not needs.has_teacher or not len(rows):
        return {}
    probe, total = aggregated(batch.rows(rows), run.config.learner.needs)
    taught = _gradient(run, probe, total, _distill)
    if taught is None:
        return {}
    reinforced = _gradient(run, probe, total, lambda output: output.token_loss - _distill(output))
    assert reinforced is not None
    products = ((taught, taught), (reinforced, reinforced), (taught, reinforced))
    own = torch.tensor([_dot(one, other) for one, other in products], dtype=torch.float64)
    # Each process of a sharded model holds a part of every gradient.
    distill, rl, both = (run.world.sum(own) if _is_sharded(taught) else own).tolist()
    norms = {"gradient_norm/rl": math.sqrt(rl), "gradient_norm/distill": math.sqrt(distill)}
    if rl == 0.0 or distill == 0.0:
        return norms
    return {"gradient_cosine": both / math.sqrt(rl * distill), "distill_share": math.sqrt(distill / rl), **norms}


def probe_rows(batch: TurnBatch, *, seed: int, step: int) -> torch.Tensor:
    """Numbers of at most `PROBE_ROWS` rows that have an advantage, in order."""
    size = batch.advantages.abs() if batch.token_advantages is None else batch.token_advantages.abs().sum(1)
    return _some_rows((size > 0) & (batch.weight > 0), seed=seed, step=step, most=PROBE_ROWS)


def _some_rows(among: torch.Tensor, *, seed: int, step: int, most: int) -> torch.Tensor:
    known = torch.nonzero(among).squeeze(1).numpy()
    chosen = np.random.default_rng([seed, step, 1]).permutation(known)[:most]
    return torch.from_numpy(np.sort(chosen))


def _gradient(
    run: Run, probe: TurnBatch, total: float, part: Callable[[LossOutput], torch.Tensor]
) -> list[torch.Tensor] | None:
    """Of one part of the loss, a tensor for each trained weight; None where the learner has no such part."""
    exists = True
    for micro in micro_batches(run, probe):
        output = backward(run, micro.to(run.device), total, part=part)
        exists = exists and output.distill_loss is not None
    trained = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
    gradient = [torch.zeros_like(each) if each.grad is None else each.grad for each in trained]
    run.optimizer.zero_grad(set_to_none=True)
    return gradient if exists else None


def _distill(output: LossOutput) -> torch.Tensor:
    return output.token_loss * 0.0 if output.distill_loss is None else output.distill_loss


def _dot(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    return sum(float((_local(a) * _local(b)).sum(dtype=torch.float64)) for a, b in zip(one, other, strict=True))


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _is_sharded(gradient: list[torch.Tensor]) -> bool:
    return any(isinstance(each, DTensor) for each in gradient)
