"""An update: score the rows of a step, let the learner say the loss, take the optimizer steps."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.distributed.tensor import DTensor

from sdar_agents.batch import TurnBatch, token_mean
from sdar_agents.distributed import recomputed_activations
from sdar_agents.importance import importance_weights
from sdar_agents.learners.base import LossOutput, TokenScores
from sdar_agents.policy import move_towards, score
from sdar_agents.setup import Run


@dataclass(slots=True)
class PhaseClock:
    """Seconds by phase of one step."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time of a block to a phase."""
        begin = time.perf_counter()
        yield
        # A GPU works behind Python's back: what it still does belongs to this phase.
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        self.seconds[name] += time.perf_counter() - begin


def scored(run: Run, batch: TurnBatch) -> TurnBatch:
    """The rows with log-probabilities under the weights of the moment and, if the learner wants them, the reference.

    With the former come the importance weights: what the engine that drew the tokens said is compared with them.
    """
    batch = replace(batch, old_logprobs=_logprobs(run, run.model, batch))
    if run.reference is not None:
        batch = replace(batch, reference_logprobs=_logprobs(run, run.reference, batch))
    return replace(batch, importance=_importance(run, batch))


def update(run: Run, batch: TurnBatch, step: int, clock: PhaseClock) -> dict[str, float]:
    """The optimizer updates of one step.

    The mean is over the tokens of each whole minibatch, so its division into micro-batches cannot change the
    gradient. The teacher is scored here, beside the student, with the weights that `config.teacher` names.
    """
    config = run.config
    order = np.random.default_rng([config.seed, step]).permutation(len(batch))
    sums: dict[str, float] = defaultdict(float)
    tokens = 0.0
    norms = []
    for rows in np.array_split(order, min(config.minibatches, len(batch))):
        minibatch = batch.rows(torch.from_numpy(rows))
        total = float(minibatch.token_weight.sum())
        tokens += total
        for micro in _micro_batches(run, minibatch):
            micro = micro.to(run.device)
            output = backward(run, micro, total, clock)
            for name, values in {"loss": output.token_loss.detach(), **output.token_metrics}.items():
                sums[name] += float((values * micro.token_weight).sum())
        norms.append(_optimizer_step(run))
    finite = [norm for norm in norms if math.isfinite(norm)]
    names = sorted(sums)
    everywhere = run.world.sum(torch.tensor([sums[name] for name in names], dtype=torch.float64)).tolist()
    return {
        **{name: value / tokens for name, value in zip(names, everywhere, strict=True)},
        "gradient_norm": sum(finite) / max(1, len(finite)),
        "skipped_updates": float(len(norms) - len(finite)),
    }


def backward(run: Run, micro: TurnBatch, total: float, clock: PhaseClock | None = None) -> LossOutput:
    """Add a micro-batch's gradient, of which the whole minibatch has `total` token weight; the learner's answer."""
    with (clock or PhaseClock()).phase("teacher"):
        teacher = _teacher_scores(run, micro)
    with recomputed_activations(run.model, enabled=run.config.activation_checkpointing):
        policy = _scores(run, run.model, micro)
        output = run.config.learner.loss(policy, teacher, micro)
        loss = token_mean(output.token_loss * micro.importance, micro.token_weight, total)
        # Sharded gradients are averaged over the processes, where a sum is meant.
        (loss * run.world.size).backward()  # type: ignore[no-untyped-call]
    return output


def _micro_batches(run: Run, batch: TurnBatch) -> Iterator[TurnBatch]:
    """This process's micro-batches of a batch that every process holds.

    All have equally many, because passes through a sharded model are collective; where that leaves one over, it is a
    micro-batch of weight 0.
    """
    for index, is_own in _own_chunks(run, batch):
        rows = batch.rows(index)
        yield rows if is_own else replace(rows, weight=torch.zeros_like(rows.weight))


def _own_chunks(run: Run, batch: TurnBatch) -> list[tuple[torch.Tensor, bool]]:
    """Row numbers of this process's micro-batches, and False for what is there to keep step only."""
    size = run.world.size
    share = math.ceil(int(batch.row_lengths().sum()) / size)
    chunks = batch.row_chunks(min(run.config.microbatch_tokens, share) if size > 1 else run.config.microbatch_tokens)
    own = [(chunk, True) for chunk in chunks[run.world.rank :: size]]
    return own + [(chunks[0], False)] * (math.ceil(len(chunks) / size) - len(own))


def _optimizer_step(run: Run) -> float:
    parameters = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
    total = torch.nn.utils.clip_grad_norm_(parameters, run.config.max_grad_norm)
    norm = float(total.full_tensor() if isinstance(total, DTensor) else total)
    # One row that overflows must not destroy the weights; it is counted in `skipped_updates`.
    if math.isfinite(norm):
        run.optimizer.step()
        if run.config.teacher == "ema" and run.teacher is not None:
            move_towards(run.teacher, run.model, run.config.teacher_decay)
    run.optimizer.zero_grad(set_to_none=True)
    return norm


def _scores(run: Run, model: Any, batch: TurnBatch) -> TokenScores:
    needs = run.config.learner.needs
    return score(
        model,
        prompt_ids=batch.prompt_ids,
        prompt_mask=batch.prompt_mask,
        response_ids=batch.response_ids,
        response_mask=batch.response_mask,
        temperature=run.config.temperature,
        entropy=needs.entropy,
        distribution=needs.distribution,
    )


@torch.no_grad()
def _teacher_scores(run: Run, batch: TurnBatch) -> TokenScores | None:
    needs = run.config.learner.needs
    if run.teacher is None or batch.teacher_prompt_ids is None or batch.teacher_prompt_mask is None:
        return None
    return score(
        run.teacher,
        prompt_ids=batch.teacher_prompt_ids,
        prompt_mask=batch.teacher_prompt_mask,
        response_ids=batch.response_ids,
        response_mask=batch.response_mask,
        temperature=run.config.temperature,
        distribution=needs.teacher == "distribution",
    )


@torch.no_grad()
def _logprobs(run: Run, model: Any, batch: TurnBatch) -> torch.Tensor:
    result = torch.zeros(batch.response_ids.shape)
    for index, is_own in _own_chunks(run, batch):
        rows = batch.rows(index)
        scores = score(
            model,
            prompt_ids=rows.prompt_ids,
            prompt_mask=rows.prompt_mask,
            response_ids=rows.response_ids,
            response_mask=rows.response_mask,
            temperature=run.config.temperature,
        )
        if is_own:
            result[index, : rows.response_ids.shape[1]] = scores.logprobs.cpu() * rows.response_mask
    return run.world.sum(result)


def _importance(run: Run, batch: TurnBatch) -> torch.Tensor:
    return importance_weights(
        batch.old_logprobs,
        batch.sampler_logprobs,
        batch.response_mask,
        correction=run.config.importance_correction,
        cap=run.config.importance_cap,
    )


def mismatch_metrics(batch: TurnBatch, *, cap: float) -> dict[str, float]:
    """How far the engine that drew the tokens is from the trainer that learns from them."""
    # float64: of two numbers that agree, exp(d) - 1 - d would be nothing but rounding.
    difference = (batch.old_logprobs - batch.sampler_logprobs)[batch.response_mask].double()
    weights = batch.importance[batch.response_mask]
    return {
        "sampler_mismatch": float(difference.abs().mean()),
        # k3 of KL(sampler || trainer): never negative, and 0 only where they agree.
        "sampler_kl": float((torch.expm1(difference) - difference).mean()),
        "importance": float(weights.mean()),
        "importance_capped": float((weights >= cap).float().mean()),
    }
