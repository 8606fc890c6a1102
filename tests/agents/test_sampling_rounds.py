"""Dynamic sampling: further tasks are played until enough groups are mixed, and only those are learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sdar_agents.config import ConfigError, TrainConfig
from sdar_agents.sampling_rounds import further_assignments, mixed_groups, trained_episodes
from sdar_agents.setup import set_up
from sdar_agents.train import assignments_of_step, collect, learn
from sdar_agents.update import PhaseClock
from tests.agents.toy_batches import episode, turn

MakeConfig = Callable[..., TrainConfig]
WON, LOST = turn(reward=1.0), turn()
TASKS = tuple(f"task-{number}" for number in range(6))


def test_only_mixed_groups_are_learned_from_where_there_are_several_rounds(number_line_config: MakeConfig) -> None:
    config = number_line_config("grpo")
    episodes = (episode(WON), episode(LOST), episode(WON, group=1), episode(WON, group=1), episode(LOST, group=2))
    assert mixed_groups(episodes) == {0}
    assert trained_episodes(episodes, config) == episodes
    rounds = replace(config, sampling_rounds=2)
    assert trained_episodes(episodes, rounds) == episodes[:2]
    # With nothing mixed there is still a step to take (a KL, a distillation).
    assert trained_episodes(episodes[2:], rounds) == episodes[2:]


def test_a_further_round_plays_other_tasks_first_and_repeats_itself(number_line_config: MakeConfig) -> None:
    config = number_line_config("grpo", groups=4, group_size=2, sampling_rounds=3)
    played = [episode(WON, group=group) for group in range(4)]  # task-0 to task-3
    settings = {"config": config, "step": 5, "turn": 2, "played": played}
    chosen = further_assignments(TASKS, count=3, **settings)  # type: ignore[arg-type]
    assert {each.task_id for each in chosen[:4]} == {"task-4", "task-5"}
    assert chosen[4].task_id in {"task-0", "task-1", "task-2", "task-3"}
    assert [each.group for each in chosen] == [8, 8, 9, 9, 10, 10]
    assert further_assignments(TASKS, count=3, **settings) == chosen  # type: ignore[arg-type]


def test_rounds_stop_at_enough_mixed_groups_or_at_the_bound(number_line_config: MakeConfig) -> None:
    config = number_line_config("grpo", groups=3, group_size=4, sampling_rounds=4)
    run = set_up(config, resume=False)
    for step in range(3):
        clock = PhaseClock()
        rollout, counts = collect(run, step, clock)
        groups = {each.group for each in rollout.episodes}
        mixed = mixed_groups(rollout.episodes)
        assert len(mixed) <= 3
        assert len(mixed) == 3 or max(groups) >= 9
        assert counts.turns == sum(len(each.turns) for each in rollout.episodes)
        metrics = learn(run, step, (rollout, counts), clock)
        assert metrics["played_groups"] == len(groups)
        assert metrics["trained_groups"] == (len(mixed) or len(groups))
        assert metrics["reward"] == pytest.approx(
            sum(each.episode_return for each in rollout.episodes) / len(rollout.episodes)
        )


def test_a_step_is_a_function_of_seed_and_number(number_line_config: MakeConfig, tmp_path: Path) -> None:
    config = number_line_config("grpo", groups=3, group_size=4, sampling_rounds=3)
    alone = set_up(replace(config, run=str(tmp_path / "once"), sampling_rounds=1), resume=False)
    first_rounds = ((step, collect(alone, step, PhaseClock())[0].episodes) for step in range(30))
    # A step in which some group has nothing to compare.
    step, once = next((step, played) for step, played in first_rounds if len(mixed_groups(played)) < 3)
    twins = [set_up(replace(config, run=str(tmp_path / name)), resume=False) for name in ("one", "two")]
    episodes = [collect(run, step, PhaseClock())[0].episodes for run in twins]
    assert episodes[0] == episodes[1]
    # The first round is what is played without rounds.
    assert episodes[0][:12] == once
    assert len(episodes[0]) > 12


def test_no_rounds_is_refused(number_line_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="--sampling-rounds must be at least 1"):
        number_line_config("grpo", sampling_rounds=0)
    assert len(assignments_of_step(TASKS, config=number_line_config("grpo", groups=2), step=0))
