"""GRPO: clipped policy gradient on group-relative advantages, with a KL to the initial policy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from sdar_agents import losses
from sdar_agents.advantages import Baseline, row_advantages, trajectory_advantages
from sdar_agents.batch import TurnBatch
from sdar_agents.learners.base import Aggregation, LossOutput, Needs, TokenScores
from sdar_agents.learners.inputs import check_choice, check_range, required, token_logprobs

GroupStatistics = Literal["trajectory", "row"]
Ratio = Literal["token", "sequence", "sequence_token"]
KlEstimator = Literal["k1", "k2", "k3"]


@dataclass(frozen=True, slots=True)
class GRPO:
    """Loss of a token: PPO-clip(r, A) + kl_coefficient * k3(policy, reference) - entropy_coefficient * H.

    DeepSeekMath (2402.03300) eq. 3 with the dual clip of 1912.09729; the backbone of SDAR (2605.15155). Its relatives
    (Dr. GRPO, DAPO, GSPO, RLOO, REINFORCE++) are settings of it; agents/README.md lists them.

    Deviations from the paper: the mean is over all tokens of the optimizer step, not first over each trajectory.
    Deviations from the official code: statistics over episodes instead of turns (`group_statistics="row"` restores
    it), the same A for all turns of an episode, no entropy bonus (official: 0.001), the token mean does not depend
    on micro-batches, and the penalty is scaled to rewards of 1 on success (official: 0.1 where success pays 10).
    """

    clip_low: float = 0.2
    """Width of the clip interval of the probability ratio below 1."""
    clip_high: float = 0.2
    """Width of the clip interval of the probability ratio above 1."""
    dual_clip: float = 3.0
    """Bound of the ratio where the advantage is negative; inf for none."""
    kl_coefficient: float = 0.01
    """Weight of the KL to the initial policy; 0 saves its forward pass."""
    entropy_coefficient: float = 0.0
    """Weight of the entropy bonus; the official code uses 0.001."""
    group_statistics: GroupStatistics = "trajectory"
    """What a group's mean and deviation are taken over: episodes, or turns as in the official code."""
    normalise_std: bool = True
    """Divide advantages by the group's standard deviation; of baseline `group`."""
    baseline: Baseline = "group"
    """Compare a score with its group, the others in it (rloo), or the whole step (reinforce++); agents/README.md."""
    ratio: Ratio = "token"
    """What is clipped: a token's ratio, or the response's (GSPO, with clips of 3e-4 and 4e-4; GSPO-token)."""
    kl_estimator: KlEstimator = "k3"
    """Of the KL that is minimised; k2 has its true gradient, k1 none on average."""
    aggregation: Aggregation = "token"
    """Mean over tokens, responses, episodes, or responses of constant length (Dr. GRPO)."""
    aggregation_length: float = 16.0
    """Tokens of a response under aggregation `constant`; Dr. GRPO takes the longest response."""
    invalid_penalty: float = 0.01
    """Taken from the score for each invalid turn, where success pays 1."""

    def __post_init__(self) -> None:
        """Refuse values that would train something else than what they say."""
        check_range("clip_low", self.clip_low, low=0.0, high=1.0)
        check_range("clip_high", self.clip_high, low=0.0)
        check_range("dual_clip", self.dual_clip, low=1.0)
        check_range("kl_coefficient", self.kl_coefficient, low=0.0)
        check_range("invalid_penalty", self.invalid_penalty, low=0.0)
        check_choice("group_statistics", self.group_statistics, GroupStatistics)
        check_choice("baseline", self.baseline, Baseline)
        check_choice("ratio", self.ratio, Ratio)
        check_choice("kl_estimator", self.kl_estimator, KlEstimator)
        check_choice("aggregation", self.aggregation, Aggregation)
        check_range("aggregation_length", self.aggregation_length, low=1.0)

    @property
    def needs(self) -> Needs:
        """Reference and entropy, each only where its coefficient is not 0; how the loss is averaged."""
        return Needs(
            reference=self.kl_coefficient > 0,
            entropy=self.entropy_coefficient != 0,
            aggregation=self.aggregation,
            aggregation_length=self.aggregation_length if self.aggregation == "constant" else 1.0,
        )

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        """Fill in the advantages."""
        of = trajectory_advantages if self.group_statistics == "trajectory" else row_advantages
        advantages = of(
            batch,
            invalid_penalty=self.invalid_penalty,
            normalise_std=self.normalise_std,
            baseline=self.baseline,
        )
        return replace(batch, advantages=advantages)

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        """One micro-batch; the teacher is not looked at."""
        logprobs = token_logprobs(policy, batch)
        old = token_logprobs(TokenScores(batch.old_logprobs), batch)
        clip = {"clip_low": self.clip_low, "clip_high": self.clip_high, "dual_clip": self.dual_clip}
        advantages = batch.advantages if batch.token_advantages is None else batch.token_advantages
        ratio_logprobs = self._ratio_logprobs(logprobs, old, batch)
        token_loss = losses.clipped_policy_gradient(ratio_logprobs, old, advantages, **clip)
        metrics = {
            "pg_loss": token_loss.detach(),
            "ppo_kl": losses.kl_k1(old, logprobs),
            "ratio": losses.probability_ratio(ratio_logprobs, old).detach(),
            "clip_fraction": losses.clipped_tokens(ratio_logprobs, old, advantages, **clip).float(),
        }
        if self.kl_coefficient > 0:
            reference = required(batch.reference_logprobs, "reference log-probabilities", "GRPO")
            reference = token_logprobs(TokenScores(reference), batch)
            token_loss = token_loss + self.kl_coefficient * _KL[self.kl_estimator](logprobs, reference)
            # One estimator for the log whatever is minimised, so that runs can be compared.
            metrics["kl"] = losses.kl_k3(logprobs, reference).detach()
        if self.entropy_coefficient != 0:
            entropy = required(policy.entropy, "the policy's entropy", "GRPO with an entropy coefficient")
            token_loss = token_loss - self.entropy_coefficient * entropy
        if policy.entropy is not None:
            metrics["entropy"] = policy.entropy.detach()
        return LossOutput(token_loss, metrics)

    def _ratio_logprobs(self, logprobs: torch.Tensor, old: torch.Tensor, batch: TurnBatch) -> torch.Tensor:
        """What takes the place of S in the probability ratio, [N, R]."""
        if self.ratio == "token":
            return logprobs
        return losses.sequence_logprobs(logprobs, old, batch.response_mask, detached=self.ratio == "sequence_token")


_KL = {"k1": losses.kl_k1, "k2": losses.kl_k2, "k3": losses.kl_k3}
