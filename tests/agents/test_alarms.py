"""Alarms, rule by rule by hand, and each made to happen in a run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from sdar_agents.alarms import AlarmSettings, watch
from sdar_agents.checkpoint import checkpoints, load_training_state, open_checkpoint
from sdar_agents.config import ConfigError, TrainConfig, from_json, to_json
from sdar_agents.learners import GRPO, SDAR
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


NO_BOUNDS = AlarmSettings(
    on_alarm="stop", first_steps=1, patience=1,
    entropy_share=0.0, validity_share=0.0, length_factor=0.0, largest_kl=0.0, largest_reference_kl=0.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "rate", "bound"),
    [
        ("non_finite", 1e30, {}),
        ("kl", 0.3, {"largest_kl": 0.5}),
        ("reference_kl", 0.3, {"largest_reference_kl": 2.0}),
        ("entropy", 1.0, {"entropy_share": 0.2}),
        ("validity", 0.3, {"validity_share": 0.5}),
        ("length", 0.1, {"length_factor": 1.5}),
        ("success", 0.3, {"success_share": 0.2}),
    ],
)
def test_each_happens_for_real_and_stops_the_run_with_a_checkpoint(
    name: str, rate: float, bound: dict[str, float], number_line_config: MakeConfig
) -> None:
    # Rates a hundred times and more too high.
    config = number_line_config(
        "sdar", steps=8, eval_every=50, checkpoint_every=50, max_response_tokens=8, learning_rate=rate,
        alarms=replace(NO_BOUNDS, **bound), learner=SDAR(rl=GRPO(kl_coefficient=1e-4), weight=0.1),
    )  # fmt: skip
    found = alarms_of(config)
    assert [kind for _, kind in found] == [name]
    step = found[0][0]
    assert step < 8
    assert [each.step for each in checkpoints(Path(config.run))] == [step]
    assert max(row["step"] for row in read_metrics(Path(config.run))) == step
    summary = json.loads((Path(config.run) / "summary.json").read_text(encoding="utf-8"))
    assert (summary["finished"], summary["alarms"]) == (False, [{"step": step, "alarm": name}])


def test_a_warning_goes_on_and_a_resumed_run_remembers_it(number_line_config: MakeConfig, tmp_path: Path) -> None:
    alarms = replace(NO_BOUNDS, on_alarm="warn", validity_share=0.5)
    whole = number_line_config(
        "sdar", steps=5, eval_every=50, checkpoint_every=50, learning_rate=0.3, alarms=alarms, run=str(tmp_path / "one")
    )
    printed = Console(record=True, width=300)
    train(whole, console=printed)
    assert [row["step"] for row in read_metrics(Path(whole.run)) if row["kind"] == "alarm"] == [2]
    assert "ALARM at step 2, validity: valid_actions is" in printed.export_text()
    assert [each.step for each in checkpoints(Path(whole.run))] == [2, 5]
    broken = replace(whole, steps=3, run=str(tmp_path / "two"))
    train(broken, console=QUIET)
    # Forgotten, the beginning would be step 4, and forgotten that it was raised, it would be again.
    train(replace(broken, steps=5), resume=True, console=QUIET)
    rows = [[row for row in read_metrics(Path(run)) if row["kind"] == "alarm"] for run in (whole.run, broken.run)]
    assert rows[0] == rows[1]
    states = [load_training_state(open_checkpoint(Path(run)))["moving"]["alarms"] for run in (whole.run, broken.run)]
    assert states[0] == states[1]


def test_what_is_watched_may_change_on_resume(number_line_config: MakeConfig) -> None:
    config = number_line_config("grpo", steps=1)
    train(config, console=QUIET)
    other = replace(config, steps=2, alarms=AlarmSettings(on_alarm="off"), diagnostics_every=0)
    assert train(other, resume=True, console=QUIET)["finished"]
