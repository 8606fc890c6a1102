"""An update: score the rows of a step, let the learner say the loss, take the optimizer steps."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Protocol

import numpy as np
import torch
from torch.distributed.tensor import DTensor

from sdar_agents.aggregation import aggregated, loss_weight
from sdar_agents.batch import TurnBatch, token_mean
from sdar_agents.config import TrainConfig
from sdar_agents.diagnostics import GapSums
from sdar_agents.distributed import World, recomputed_activations
from sdar_agents.importance import importance_weights
from sdar_agents.learners.base import LossOutput, TokenScores
from sdar_agents.packing import PackingCounts, score_packed, tree_chunks
from sdar_agents.policy import move_towards, score, take_over
from sdar_agents.setup import Run
from sdar_agents.teacher_weights import scores_once, teacher_kind


class TokenSink(Protocol):
    """Who wants to hear of tokens' scores; see `recorder.TokenRecorder`."""

    def add(self, policy: TokenScores, teacher: TokenScores | None, output: LossOutput, batch: TurnBatch) -> None:
        """Hear of a micro-batch."""


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
    """The rows with log-probabilities under the weights of the moment and, if asked for, the reference and the teacher.

    With the first come the importance weights: what the engine that drew the tokens said is compared with them.
    """
    needs = run.config.learner.needs
    wants_entropy = needs.entropy_at_start or run.config.diagnostics_every > 0
    if teacher_kind(run.config) == "snapshot":
        take_over(_known_teacher(run), run.model)
    old, entropy = _start_scores(run, run.model, batch, "student", entropy=wants_entropy)
    batch = replace(batch, old_logprobs=old, old_entropy=entropy)
    if run.reference is not None:
        batch = replace(batch, reference_logprobs=_start_scores(run, run.reference, batch, "student")[0])
    if needs.teacher_at_start or scores_once(run.config):
        batch = replace(batch, teacher_logprobs=_start_scores(run, _known_teacher(run), batch, "teacher")[0])
    for name in needs.views:
        logprobs = _start_scores(run, _known_teacher(run), batch, name)[0]
        batch = replace(batch, views={**batch.views, name: replace(batch.views[name], logprobs=logprobs)})
    return replace(batch, importance=_importance(run, batch))


def update(run: Run, batch: TurnBatch, step: int, clock: PhaseClock, sink: TokenSink | None = None) -> dict[str, float]:
    """The optimizer updates of one step.

    The mean is over each whole minibatch (its tokens, or what the learner's `aggregation` says), so its division into
    micro-batches, and those among processes, cannot change the gradient. The teacher is scored here, beside the
    student, with the weights that `config.teacher` names; under `step_start` its scores of before the first update
    stand in.

    Args:
        sink: Hears of every token's scores.
    """
    config, record = run.config, _Record(clock, sink=sink)
    sums: dict[str, float] = defaultdict(float)
    tokens = 0.0
    gaps = GapSums()
    norms = []
    for rows in minibatch_rows(batch, config=config, step=step):
        minibatch, total = aggregated(batch.rows(rows), config.learner.needs)
        tokens += float(minibatch.metric_weight.sum())
        for micro in micro_batches(run, minibatch):
            micro = micro.to(run.device)
            output = backward(run, micro, total, record)
            for name, values in {"loss": output.token_loss.detach(), **output.token_metrics}.items():
                sums[name] += float((values * micro.metric_weight).sum())
            if "gap" in output.token_metrics:
                gaps.add(micro, output.token_metrics["gap"])
        norms.append(_optimizer_step(run))
    finite = [norm for norm in norms if math.isfinite(norm)]
    names = sorted(sums)
    everywhere = run.world.sum(torch.tensor([sums[name] for name in names], dtype=torch.float64)).tolist()
    return {
        **{name: value / tokens for name, value in zip(names, everywhere, strict=True)},
        "gradient_norm": sum(finite) / max(1, len(finite)),
        "skipped_updates": float(len(norms) - len(finite)),
        **gaps.metrics(run.world),
        **record.packing_ratios(run.world),
    }


@dataclass(slots=True)
class _Record:
    """What an update adds up as it goes."""

    clock: PhaseClock = field(default_factory=PhaseClock)
    student: PackingCounts = field(default_factory=PackingCounts)
    teacher: PackingCounts = field(default_factory=PackingCounts)
    sink: TokenSink | None = None

    def packing_ratios(self, world: World) -> dict[str, float]:
        """Tokens with and without sharing, over all processes; nothing where nothing was packed."""
        counts = {"packing_ratio": self.student, "teacher_packing_ratio": self.teacher}
        own = torch.tensor([[count.row_tokens, count.tree_tokens] for count in counts.values()])
        return {
            name: rows / trees for name, (rows, trees) in zip(counts, world.sum(own).tolist(), strict=True) if trees
        }


def backward(
    run: Run,
    micro: TurnBatch,
    total: float,
    record: _Record | None = None,
    *,
    part: Callable[[LossOutput], torch.Tensor] = attrgetter("token_loss"),
) -> LossOutput:
    """Add a micro-batch's gradient, where the whole minibatch's losses weigh `total`; the learner's answer.

    Args:
        part: Which [n, R] of the answer the gradient is of.
    """
    record = record or _Record()
    teacher = teacher_scores(run, micro, record)
    with recomputed_activations(run.model, enabled=run.config.activation_checkpointing):
        output = loss_of(run, micro, teacher, record)
        loss = token_mean(part(output) * micro.importance, loss_weight(micro), total)
        # Sharded gradients are averaged over the processes, where a sum is meant.
        (loss * run.world.size).backward()  # type: ignore[no-untyped-call]
    return output


def teacher_scores(run: Run, micro: TurnBatch, record: _Record | None = None) -> TokenScores | None:
    """What the teacher says of a micro-batch; None if the learner does not ask."""
    record = record or _Record()
    with record.clock.phase("teacher"):
        return _teacher_scores(run, micro, record.teacher)


def loss_of(run: Run, micro: TurnBatch, teacher: TokenScores | None, record: _Record | None = None) -> LossOutput:
    """The learner's answer for a micro-batch, with a graph for its gradient."""
    record = record or _Record()
    policy = _scores(run, run.model, micro, record.student)
    output = run.config.learner.loss(policy, teacher, micro)
    if record.sink is not None:
        record.sink.add(policy, teacher, output, micro)
    return output


def minibatch_rows(batch: TurnBatch, *, config: TrainConfig, step: int) -> list[torch.Tensor]:
    """Row numbers of each optimizer update: whole trajectories in a seeded order, about as many rows each.

    The turns of a trajectory share most of their prompts, so they stay together (rows at random would halve what
    packing saves). There are no more updates than trajectories, and fewer where one is longer than two shares.
    """
    trajectories, row_counts = np.unique(batch.trajectory.numpy(), return_counts=True)
    order = np.random.default_rng([config.seed, step]).permutation(len(trajectories))
    ends = np.cumsum(row_counts[order])
    count = min(config.minibatches, len(trajectories))
    # A trajectory goes where its middle row would go if rows were cut evenly.
    middles = ends - row_counts[order] / 2
    parts = (middles * count / ends[-1]).astype(int)
    chosen = [np.isin(batch.trajectory.numpy(), trajectories[order[parts == part]]) for part in range(count)]
    return [torch.from_numpy(np.flatnonzero(rows)) for rows in chosen if rows.any()]


def micro_batches(run: Run, batch: TurnBatch) -> Iterator[TurnBatch]:
    """This process's micro-batches of a batch that every process holds.

    All have equally many, because passes through a sharded model are collective; where that leaves one over, it is a
    micro-batch of weight 0.
    """
    for index, is_own in _own_chunks(run, run.model, batch):
        rows = batch.rows(index)
        yield rows if is_own else replace(rows, weight=torch.zeros_like(rows.weight))


def _own_chunks(run: Run, model: Any, batch: TurnBatch) -> list[tuple[torch.Tensor, bool]]:
    """Row numbers of this process's micro-batches, and False for what is there to keep step only."""
    size, max_tokens = run.world.size, run.config.microbatch_tokens
    chunks = _row_chunks(run, model, batch, max_tokens)
    # Something for everybody to do, where there are rows enough.
    while len(chunks) < size and max_tokens > 1:
        max_tokens //= 2
        chunks = _row_chunks(run, model, batch, max_tokens)
    own = [(chunk, True) for chunk in chunks[run.world.rank :: size]]
    return own + [(chunks[0], False)] * (math.ceil(len(chunks) / size) - len(own))


def _row_chunks(run: Run, model: Any, batch: TurnBatch, max_tokens: int) -> list[torch.Tensor]:
    """Row numbers of micro-batches."""
    return tree_chunks(batch, model, max_tokens) if run.config.packing == "tree" else batch.row_chunks(max_tokens)


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


def _scores(run: Run, model: Any, batch: TurnBatch, counts: PackingCounts) -> TokenScores:
    needs = run.config.learner.needs
    return _score(
        run,
        model,
        batch,
        (batch.prompt_ids, batch.prompt_mask),
        entropy=needs.entropy,
        distribution=needs.distribution,
        counts=counts,
    )


@torch.no_grad()
def _teacher_scores(run: Run, batch: TurnBatch, counts: PackingCounts) -> TokenScores | None:
    needs = run.config.learner.needs
    if needs.teacher == "none" or batch.teacher_prompt_ids is None or batch.teacher_prompt_mask is None:
        return None
    if scores_once(run.config):
        return TokenScores(_known_scores(batch.teacher_logprobs))
    prompt = (batch.teacher_prompt_ids, batch.teacher_prompt_mask)
    distribution = needs.teacher == "distribution"
    return _score(run, _known_teacher(run), batch, prompt, distribution=distribution, counts=counts)


def _known_teacher(run: Run) -> Any:
    if run.teacher is None:
        raise ValueError(f"{run.learner} asks for a teacher's scores before the update but for no teacher (`needs`)")
    return run.teacher


def _known_scores(logprobs: torch.Tensor | None) -> torch.Tensor:
    if logprobs is None:
        raise ValueError("the teacher of the step's start was not scored: rows go through `scored` before an update")
    return logprobs


@torch.no_grad()
def _start_scores(
    run: Run, model: Any, batch: TurnBatch, prompt: str, *, entropy: bool = False
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Log-probabilities, and entropies where asked for, of all rows before any update of the step, [N, R].

    Args:
        prompt: After which prompt: `student`, `teacher`, or the name of a view.
    """
    results = [torch.zeros(batch.response_ids.shape) for _ in range(1 + entropy)]
    for index, is_own in _own_chunks(run, model, batch):
        rows = batch.rows(index)
        scores = _score(run, model, rows, _prompt(rows, prompt), entropy=entropy)
        if is_own:
            found = [scores.logprobs] if scores.entropy is None else [scores.logprobs, scores.entropy]
            for result, values in zip(results, found, strict=True):
                result[index, : rows.response_ids.shape[1]] = values.cpu() * rows.response_mask
    summed = [run.world.sum(result) for result in results]
    return summed[0], summed[1] if entropy else None


def _prompt(batch: TurnBatch, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of the student's, the teacher's or a view's prompts."""
    if name == "student":
        return batch.prompt_ids, batch.prompt_mask
    if name == "teacher":
        if batch.teacher_prompt_ids is None or batch.teacher_prompt_mask is None:
            raise ValueError("the teacher is asked for, but the episodes were collected without teacher prompts")
        return batch.teacher_prompt_ids, batch.teacher_prompt_mask
    return batch.views[name].prompt_ids, batch.views[name].prompt_mask


def _score(
    run: Run,
    model: Any,
    batch: TurnBatch,
    prompt: tuple[torch.Tensor, torch.Tensor],
    *,
    entropy: bool = False,
    distribution: bool = False,
    counts: PackingCounts | None = None,
) -> TokenScores:
    """Scores of the responses after a prompt (ids and mask), packed or not."""
    if run.config.packing == "none":
        return score(
            model,
            prompt_ids=prompt[0],
            prompt_mask=prompt[1],
            response_ids=batch.response_ids,
            response_mask=batch.response_mask,
            temperature=run.config.temperature,
            entropy=entropy,
            distribution=distribution,
        )
    return score_packed(
        model,
        prompt_ids=prompt[0],
        prompt_mask=prompt[1],
        response_ids=batch.response_ids,
        response_mask=batch.response_mask,
        max_tokens=run.config.microbatch_tokens,
        temperature=run.config.temperature,
        entropy=entropy,
        distribution=distribution,
        counts=counts,
        calls=run.world.max,
    )


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
