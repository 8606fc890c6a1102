"""Packed rows against the same rows one by one on a device: log-probabilities, entropies and gradients.

    python benchmarks/gpu/agree.py --size qwen3-0.6b --device cuda

On a GPU packed rows take FlexAttention's kernels, which the tests, run on a CPU, never reach. Rows of games are
recorded (see `workload.py`) and scored both ways by a model of random weights, with one loss that weighs every token
differently. In float32 both ways compute the same but for the order of sums: the script ends with 1 where a
log-probability or an entropy differs by more than `--tolerance`, or the gradients by that share of their norm. bfloat16
is rounded to 3 digits, so its distance to the float32 scores is printed for both ways and judged by the packed way's
being at most twice the other's.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.architectures import SIZES
from benchmarks.workload import ROOMS, Workload, episodes_of, machine, make_runs, record
from sdar_agents.batch import pad_left, pad_right
from sdar_agents.learners.base import TokenScores
from sdar_agents.packing import PackingCounts, score_packed
from sdar_agents.policy import score

Inputs = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="qwen3-0.6b")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--env", default=ROOMS)
    parser.add_argument("--data")
    parser.add_argument("--group-size", type=int, default=4, help="episodes of the one group")
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--response-tokens", type=int, default=64)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--json", help="file that receives the numbers")
    options = parser.parse_args(arguments)
    names = ("size", "env", "data", "device", "group_size", "turns", "response_tokens")
    work = Workload(**{name: getattr(options, name) for name in names}, dtype="float32", groups=1, kl=0.0)
    with tempfile.TemporaryDirectory() as folder:
        run = make_runs(work, ["grpo"], Path(folder))["grpo"]
        report = {**machine(run.device), **vars(options), **compare(run.model, _rows(run, SIZES[work.size].vocabulary))}
    report["agrees"] = agrees(report, options.tolerance)
    print(json.dumps(report, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def compare(model: Any, inputs: Inputs) -> dict[str, Any]:
    """How far packed scores are from those of the rows one by one.

    Args:
        model: In float32; it is bfloat16 afterwards.
        inputs: As `policy.score` takes them.

    Returns:
        The largest distance of log-probabilities and entropies, the distance of the gradients over their norm, all in
        float32; the mean distance of bfloat16 log-probabilities to the float32 ones, of both ways.
    """
    counts = PackingCounts()
    mask = inputs["response_mask"].to(next(model.parameters()).device)
    weight = torch.linspace(-1.0, 1.0, mask.numel(), device=mask.device).view(mask.shape) * mask / mask.sum()
    ways = {"packed": partial(_packed, model, inputs, counts=counts), "plain": partial(_one_by_one, model, inputs)}
    scores: dict[str, TokenScores] = {}
    gradients: dict[str, torch.Tensor] = {}
    for name, way in ways.items():
        scores[name] = way(weight=weight)
        gradients[name] = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        model.zero_grad(set_to_none=True)
    exact = scores["plain"].logprobs[mask]
    report: dict[str, Any] = {
        "rows": len(mask),
        "row_tokens": counts.row_tokens,
        "packing_ratio": counts.ratio,
        "logprob_distance": float((scores["packed"].logprobs[mask] - exact).abs().max()),
        "entropy_distance": float((_entropy(scores["packed"])[mask] - _entropy(scores["plain"])[mask]).abs().max()),
        "gradient_distance": float((gradients["packed"] - gradients["plain"]).norm() / gradients["plain"].norm()),
    }
    del gradients
    model.to(torch.bfloat16)
    with torch.no_grad():
        report["bfloat16_error"] = {
            name: float((way(weight=None).logprobs[mask] - exact).abs().mean()) for name, way in ways.items()
        }
    return report


def agrees(report: dict[str, Any], tolerance: float) -> bool:
    """Whether the distances are those of rounding; a NaN is none."""
    exact = all(report[f"{name}_distance"] <= tolerance for name in ("logprob", "entropy", "gradient"))
    rough = report["bfloat16_error"]
    return exact and rough["packed"] <= 2.0 * rough["plain"]


def _rows(run: Any, vocabulary: int) -> Inputs:
    turns = [turn for episode in episodes_of(record(run, vocabulary)) for turn in episode.turns]
    prompt_ids, prompt_mask = pad_left([turn.prompt_ids for turn in turns], 0)
    response_ids, response_mask = pad_right([turn.completion.token_ids for turn in turns], 0)
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "response_ids": response_ids,
        "response_mask": response_mask,
    }


def _packed(model: Any, inputs: Inputs, *, counts: PackingCounts, weight: torch.Tensor | None) -> TokenScores:
    return _backward(score_packed(model, **inputs, max_tokens=8_192, entropy=True, counts=counts), weight)


def _one_by_one(model: Any, inputs: Inputs, *, weight: torch.Tensor | None) -> TokenScores:
    # Each row's backward pass at once: the activations of all would not fit.
    found = []
    for row in range(len(inputs["prompt_ids"])):
        scores = score(model, **{name: part[row : row + 1] for name, part in inputs.items()}, entropy=True)
        found.append(_backward(scores, None if weight is None else weight[row : row + 1]))
    return TokenScores(torch.cat([one.logprobs for one in found]), torch.cat([_entropy(one) for one in found]))


def _backward(scores: TokenScores, weight: torch.Tensor | None) -> TokenScores:
    """The scores, detached, after the backward pass of a loss that weighs every token as told."""
    if weight is not None:
        ((scores.logprobs + 0.3 * _entropy(scores)) * weight).sum().backward()  # type: ignore[no-untyped-call]
    return TokenScores(scores.logprobs.detach(), _entropy(scores).detach())


def _entropy(scores: TokenScores) -> torch.Tensor:
    assert scores.entropy is not None
    return scores.entropy


if __name__ == "__main__":
    sys.exit(0 if main()["agrees"] else 1)
