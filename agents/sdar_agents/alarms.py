"""Alarms: a run that goes wrong says so, saves, and stops if asked to, instead of burning the rest of its time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

OnAlarm = Literal["warn", "stop", "off"]
PROBLEMS = ("gradient_norm", "loss")
"""Metrics that must be finite."""


@dataclass(frozen=True, slots=True)
class AlarmSettings:
    """When a run counts as going wrong; a bound of 0 switches its alarm off."""

    on_alarm: OnAlarm = "warn"
    """Save and go on (warn), save and stop (stop), or do not look (off)."""
    first_steps: int = 5
    """Steps whose mean is the run's own beginning; before they are over nothing is compared with it."""
    patience: int = 3
    """Steps in a row beyond a bound before it counts; what is not finite counts at once."""
    entropy_share: float = 0.05
    """Least entropy (start_entropy), as a share of the beginning's."""
    length_factor: float = 4.0
    """Longest mean response (response_tokens), as a multiple of the beginning's."""
    validity_share: float = 0.5
    """Least share of valid actions (valid_actions), as a share of the beginning's."""
    success_share: float = 0.0
    """Least success, as a share of the beginning's; off."""
    largest_kl: float = 0.5
    """Largest distance in nats a token from the policy that sampled (ppo_kl, its size)."""
    largest_reference_kl: float = 2.0
    """Largest KL in nats a token to the initial policy (kl)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("first_steps", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"--alarms.{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        for rule in RULES:
            if not getattr(self, rule.setting) >= 0:
                value = getattr(self, rule.setting)
                raise ValueError(f"--alarms.{rule.setting.replace('_', '-')} must be 0 (off) or above, got {value}")


@dataclass(frozen=True, slots=True)
class Rule:
    """A bound on a metric.

    Attributes:
        name: Of the alarm.
        metric: What is looked at.
        setting: Field of `AlarmSettings` that holds the bound.
        is_least: Whether values below the bound are wrong, else those above.
        is_relative: Whether the bound is a multiple of the run's own beginning.
        text: What happened, and what to do.
    """

    name: str
    metric: str
    setting: str
    is_least: bool
    is_relative: bool
    text: str


RULES = (
    Rule("entropy", "start_entropy", "entropy_share", True, True,
         "the policy hardly explores any more: lower --learning-rate, or raise --learner.[rl.]entropy-coefficient"),
    Rule("length", "response_tokens", "length_factor", False, True,
         "responses grow without need: look at some (sdar-gym view), lower --learning-rate, or raise the KL"),
    Rule("validity", "valid_actions", "validity_share", True, True,
         "the agent forgets the form of its answers: lower --learning-rate or the teaching's weight, raise the KL"),
    Rule("success", "success", "success_share", True, True,
         "the agent unlearns the task: lower --learning-rate or the teaching's weight"),
    Rule("kl", "ppo_kl", "largest_kl", False, False,
         "an update moves too far from the policy that sampled: lower --learning-rate or --minibatches"),
    Rule("reference_kl", "kl", "largest_reference_kl", False, False,
         "the policy is far from where it began: lower --learning-rate, or raise --learner.[rl.]kl-coefficient"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Alarm:
    """What went wrong in a step.

    Attributes:
        name: Of the rule, or `non_finite`.
        text: One line: what happened, and what to do.
    """

    name: str
    text: str


def watch(settings: AlarmSettings, metrics: Mapping[str, float], state: dict[str, float]) -> list[Alarm]:
    """The alarms of a step. An alarm is raised once, and again only after its metric has been well in between.

    Args:
        metrics: Of the step.
        state: Numbers that this function keeps from step to step; a resumed run goes on with those it saved.
    """
    if settings.on_alarm == "off":
        return []
    state["steps"] = steps = state.get("steps", 0.0) + 1
    found = []
    problem = _not_finite(metrics)
    if _raised("non_finite", problem is not None, patience=1, state=state):
        found.append(Alarm("non_finite", f"{problem}: lower --learning-rate, or compute with --dtype float32"))
    for rule in RULES:
        value, bound = metrics.get(rule.metric), getattr(settings, rule.setting)
        if value is None or not math.isfinite(value) or bound == 0:
            continue
        if rule.is_relative:
            bound = bound * _beginning(rule.metric, value, state, learning=steps <= settings.first_steps)
        size = value if rule.is_relative else abs(value)
        wrong = (size < bound if rule.is_least else size > bound) and not (
            rule.is_relative and steps <= settings.first_steps
        )
        if _raised(rule.name, wrong, patience=settings.patience, state=state):
            found.append(Alarm(rule.name, _text(rule, value, bound, settings.patience)))
    return found


def _not_finite(metrics: Mapping[str, float]) -> str | None:
    for name in PROBLEMS:
        if not math.isfinite(metrics.get(name, 0.0)):
            return f"{name} is {metrics[name]}"
    skipped = metrics.get("skipped_updates", 0.0)
    return f"{skipped:.0f} updates were left out because their gradient was not finite" if skipped else None


def _beginning(metric: str, value: float, state: dict[str, float], *, learning: bool) -> float:
    """Mean over the first steps, which is still being learned or known."""
    total, count = f"total/{metric}", f"count/{metric}"
    # A metric that shows up later than the rest has its beginning there.
    if learning or count not in state:
        state[total] = state.get(total, 0.0) + value
        state[count] = state.get(count, 0.0) + 1
    return state[total] / state[count]


def _raised(name: str, wrong: bool, *, patience: int, state: dict[str, float]) -> bool:
    """Count steps in a row; True exactly when the count reaches `patience`."""
    state[f"wrong/{name}"] = state.get(f"wrong/{name}", 0.0) + 1 if wrong else 0.0
    return state[f"wrong/{name}"] == patience


def _text(rule: Rule, value: float, bound: float, patience: int) -> str:
    side = "below" if rule.is_least else "above"
    since = f" for {patience} steps" if patience > 1 else ""
    return (
        f"{rule.metric} is {value:.4g},{since} {side} {bound:.4g} "
        f"(--alarms.{rule.setting.replace('_', '-')}): {rule.text}"
    )
