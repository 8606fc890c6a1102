"""Importance weights between engine and trainer: by hand, and in the gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from sdar_agents.config import TrainConfig
from sdar_agents.importance import Correction, importance_weights
from sdar_agents.setup import Run, set_up
from sdar_agents.train import PhaseClock, collect, learn

LN2 = math.log(2.0)
OLD = torch.tensor([[-1.0, -1.0, -1.0], [-1.0, -1.0, 0.0]])
# Ratios trainer / engine: 2, 1/2, 8 in the first row; 1/2, 1/2 in the second, whose third token is padding.
SAMPLER = OLD - torch.tensor([[LN2, -LN2, 3 * LN2], [-LN2, -LN2, 5.0]])
MASK = torch.tensor([[True, True, True], [True, True, False]])


def weights(correction: Correction, cap: float = 4.0) -> torch.Tensor:
    return importance_weights(OLD, SAMPLER, MASK, correction=correction, cap=cap)


def test_a_token_weighs_its_own_ratio_up_to_the_cap() -> None:
    torch.testing.assert_close(weights("token"), torch.tensor([[2.0, 0.5, 4.0], [0.5, 0.5, 1.0]]))


def test_a_sequence_weighs_the_product_of_its_ratios_up_to_the_cap() -> None:
    # 2 * 1/2 * 8 = 8 is cut to 4; 1/2 * 1/2 = 1/4.
    torch.testing.assert_close(weights("sequence"), torch.tensor([[4.0, 4.0, 4.0], [0.25, 0.25, 1.0]]))


def test_without_correction_every_weight_is_one() -> None:
    assert torch.equal(weights("none"), torch.ones(2, 3))


def test_equal_log_probabilities_weigh_one() -> None:
    assert torch.equal(importance_weights(OLD, OLD, MASK, correction="token", cap=2.0), torch.ones(2, 3))


def test_an_engine_without_log_probabilities_is_refused_with_the_fix() -> None:
    unknown = SAMPLER.clone()
    unknown[0, 1] = float("nan")
    with pytest.raises(ValueError, match="--importance-correction none"):
        importance_weights(OLD, unknown, MASK, correction="token", cap=2.0)
    # What stands under padding is nobody's log-probability.
    unknown = SAMPLER.clone()
    unknown[1, 2] = float("nan")
    assert bool(torch.isfinite(importance_weights(OLD, unknown, MASK, correction="token", cap=2.0)).all())


def gradient_when_the_engine_said(run: Run, shift: float) -> tuple[torch.Tensor, dict[str, float]]:
    """The first update's gradient if the engine had reported log-probabilities higher by `shift`."""
    rollout, counts = collect(run, 0, PhaseClock())
    shifted = tuple(
        replace(
            episode,
            turns=tuple(
                replace(
                    turn,
                    completion=replace(turn.completion, logprobs=tuple(x + shift for x in turn.completion.logprobs)),
                )
                for turn in episode.turns
            ),
        )
        for episode in rollout.episodes
    )
    seen: list[torch.Tensor] = []
    run.optimizer.register_step_pre_hook(
        lambda *_: seen.append(torch.cat([p.grad.flatten() for p in run.model.parameters() if p.grad is not None]))
    )
    metrics = learn(run, 0, (replace(rollout, episodes=shifted), counts), PhaseClock())
    return seen[0], metrics


def test_the_weights_scale_the_gradient_and_are_logged(number_line_config: Callable[..., TrainConfig]) -> None:
    config = number_line_config("sdar", minibatches=1, max_grad_norm=1e9)
    plain, metrics = gradient_when_the_engine_said(set_up(config, resume=False), 0.0)
    assert metrics["importance"] == pytest.approx(1.0, abs=1e-5)
    assert metrics["importance_capped"] == 0.0
    assert 0.0 <= metrics["sampler_kl"] < 1e-9
    # Every ratio is 1/2 now: so is the gradient.
    halved, metrics = gradient_when_the_engine_said(set_up(config, resume=False), LN2)
    assert float(plain.norm()) > 0
    torch.testing.assert_close(halved, plain / 2, rtol=1e-4, atol=1e-6)
    assert metrics["importance"] == pytest.approx(0.5, abs=1e-5)
    assert metrics["sampler_mismatch"] == pytest.approx(LN2, abs=1e-5)
    # k3 at a difference of -ln 2: 1/2 - 1 + ln 2.
    assert metrics["sampler_kl"] == pytest.approx(LN2 - 0.5, abs=1e-5)
    # Every ratio is 8: cut at 2.
    doubled, metrics = gradient_when_the_engine_said(set_up(config, resume=False), -3 * LN2)
    torch.testing.assert_close(doubled, plain * 2, rtol=1e-4, atol=1e-6)
    assert metrics["importance_capped"] == 1.0
