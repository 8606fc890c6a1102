"""Alarms, rule by rule by hand, and each made to happen in a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from sdar_agents.alarms import AlarmSettings, watch
from sdar_agents.checkpoint import checkpoints
from sdar_agents.config import ConfigError, TrainConfig, from_json, to_json
from sdar_agents.run_log import read_metrics
from sdar_agents.train import train

MakeConfig = Callable[..., TrainConfig]
QUIET = Console(quiet=True)
GOOD = {
    "start_entropy": 1.0, "response_tokens": 10.0, "valid_actions": 0.8, "success": 0.4, "ppo_kl": 0.01, "kl": 0.1,
    "loss": 0.0, "gradient_norm": 1.0, "skipped_updates": 0.0,
}  # fmt: skip
SOON = AlarmSettings(first_steps=2, patience=2)


def names(settings: AlarmSettings, steps: list[dict[str, float]]) -> list[list[str]]:
    state: dict[str, float] = {}
    return [[alarm.name for alarm in watch(settings, {**GOOD, **step}, state)] for step in steps]


@pytest.mark.parametrize(
    ("alarm", "metric", "just_well", "wrong"),
    [
        # Beginnings 1, 10, 0.8, 0.4 times 0.05, 4, 0.5, 0.5; the KLs' own bounds.
        ("entropy", "start_entropy", 0.051, 0.049),
        ("length", "response_tokens", 39.9, 40.1),
        ("validity", "valid_actions", 0.41, 0.39),
        ("success", "success", 0.21, 0.19),
        ("kl", "ppo_kl", -0.49, -0.51),
        ("reference_kl", "kl", 1.99, 2.01),
    ],
)
def test_a_bound_counts_after_as_many_steps_in_a_row_as_patience_says(
    alarm: str, metric: str, just_well: float, wrong: float
) -> None:
    settings = replace(SOON, success_share=0.5)
    assert names(settings, [{}, {}, *[{metric: just_well}] * 4]) == [[]] * 6
    assert names(settings, [{}, {}, {metric: wrong}, {metric: just_well}, {metric: wrong}]) == [[]] * 5
    # Once, until it has been well in between.
    steps = [{}, {}, *[{metric: wrong}] * 3, {}, *[{metric: wrong}] * 2]
    assert names(settings, steps) == [[], [], [], [alarm], [], [], [], [alarm]]


def test_what_is_not_finite_counts_at_once_and_says_what_it_is() -> None:
    assert names(SOON, [{"skipped_updates": 1.0}, {"skipped_updates": 2.0}, {}, {"loss": math.nan}]) == [
        ["non_finite"], [], [], ["non_finite"],
    ]  # fmt: skip
    (alarm,) = watch(SOON, {**GOOD, "loss": math.nan}, {})
    assert alarm.text.startswith("loss is nan: lower --learning-rate")


def test_a_bound_of_zero_or_off_looks_away() -> None:
    bad = {"valid_actions": 0.0, "ppo_kl": 9.0}
    assert names(replace(SOON, validity_share=0.0, largest_kl=0.0), [{}, {}, *[bad] * 4]) == [[]] * 6
    assert names(replace(SOON, on_alarm="off"), [{}, {}, *[bad] * 4, {"loss": math.inf}]) == [[]] * 7


def test_the_text_names_the_value_the_bound_and_the_setting() -> None:
    state: dict[str, float] = {}
    settings = AlarmSettings(first_steps=1, patience=1)
    watch(settings, GOOD, state)
    (alarm,) = watch(settings, {**GOOD, "valid_actions": 0.1}, state)
    assert alarm.text.startswith("valid_actions is 0.1, below 0.4 (--alarms.validity-share): the agent forgets")


def test_settings_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ValueError, match=r"--alarms.patience must be at least 1, got 0"):
        AlarmSettings(patience=0)
    with pytest.raises(ValueError, match=r"--alarms.largest-kl must be 0 \(off\) or above, got -1"):
        AlarmSettings(largest_kl=-1.0)
    with pytest.raises(ValueError, match=r"--alarms.length-factor"):
        AlarmSettings(length_factor=math.nan)


def test_settings_survive_json_and_a_misspelt_one_is_named(number_line_config: MakeConfig) -> None:
    config = number_line_config("grpo", alarms=AlarmSettings(on_alarm="stop", patience=7))
    values = to_json(config)
    assert from_json(values) == config
    # Runs of before there were alarms have none in their config.
    assert from_json({key: value for key, value in values.items() if key != "alarms"}).alarms == AlarmSettings()
    with pytest.raises(ConfigError, match="patience"):
        from_json({**values, "alarms": {"patients": 3}})


def alarms_of(config: TrainConfig) -> list[tuple[int, str]]:
    train(config, console=QUIET)
    return [(row["step"], row["alarm"]) for row in read_metrics(Path(config.run)) if row["kind"] == "alarm"]


WILD = {
    "non_finite": {"learning_rate": 1e30, "minibatches": 4},
    "kl": {"learning_rate": 0.3, "minibatches": 4},
    "entropy": {"learning_rate": 0.03},
    "validity": {"learning_rate": 0.3},
    "length": {"learning_rate": 0.3, "max_response_tokens": 16},
    "success": {"learning_rate": 0.3},
}


@pytest.mark.parametrize("name", WILD)
def test_it_happens_for_real_and_stops_with_a_checkpoint(name: str, number_line_config: MakeConfig) -> None:
    bounds = {"entropy_share": 0.0, "validity_share": 0.0, "length_factor": 0.0, "largest_kl": 0.0}
    alarms = AlarmSettings(on_alarm="stop", first_steps=1, patience=1, **bounds)  # type: ignore[arg-type]
    own = {"kl": {"largest_kl": 0.5}, "entropy": {"entropy_share": 0.2}, "validity": {"validity_share": 0.5},
           "length": {"length_factor": 1.5}, "success": {"success_share": 0.2}}  # fmt: skip
    alarms = replace(alarms, **own.get(name, {}))  # type: ignore[arg-type]
    config = number_line_config("sdar", steps=12, eval_every=50, checkpoint_every=50, alarms=alarms, **WILD[name])
    found = alarms_of(config)
    assert [kind for _, kind in found] == [name]
    step = found[0][0]
    assert step < 12
    assert [each.step for each in checkpoints(Path(config.run))] == [step]
    assert max(row["step"] for row in read_metrics(Path(config.run))) == step
