"""Dynamic sampling (DAPO, 2503.14476): groups whose members all return alike are left out, and further tasks played."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from sdar_agents.config import TrainConfig
from sdar_agents.episode import Episode
from sdar_agents.learners.base import ActingLearner
from sdar_agents.rollout import Assignment

Episodes = TypeVar("Episodes", bound=Sequence[Episode])


def mixed_groups(episodes: Sequence[Episode]) -> set[int]:
    """Numbers of the groups whose members' returns differ: only they carry a policy gradient."""
    returns: dict[int, set[float]] = defaultdict(set)
    for episode in episodes:
        returns[episode.group].add(episode.episode_return)
    return {group for group, values in returns.items() if len(values) > 1}


def trained_episodes(episodes: tuple[Episode, ...], config: TrainConfig) -> tuple[Episode, ...]:
    """What is learned from: with several rounds, the mixed groups; all of them where none is mixed."""
    if config.sampling_rounds == 1:
        return episodes
    mixed = mixed_groups(episodes)
    return tuple(episode for episode in episodes if episode.group in mixed) or episodes


def further_assignments(
    task_ids: Sequence[str], *, config: TrainConfig, step: int, turn: int, count: int, played: Sequence[Episode]
) -> list[Assignment]:
    """The groups of another round: `count` tasks that this step has not played, while there are such.

    A function of the seed, the step and the round, and of what the step has played: a resumed run, or one of several
    processes, meets the same.

    Args:
        turn: Number of the round; the first is 0, and `train.assignments_of_step` plays that.
        played: All episodes of the rounds before.
    """
    order = np.random.default_rng([config.seed, step, turn]).permutation(len(task_ids))
    known = {episode.task_id for episode in played}
    fresh = [task_ids[int(index)] for index in order if task_ids[int(index)] not in known]
    repeated = [task_ids[int(index)] for index in order if task_ids[int(index)] in known]
    chosen = [(fresh + repeated)[position % len(task_ids)] for position in range(count)]
    # Numbers of failed groups are not taken again either.
    first = turn * config.groups
    return assignments(chosen, config=config, step=step, first=first)


def assignments(task_ids: Sequence[str], *, config: TrainConfig, step: int, first: int = 0) -> list[Assignment]:
    """Every member of the groups `first`, `first + 1`, ... that play these tasks."""
    learner, members = config.learner, range(config.group_size)
    shown = [isinstance(learner, ActingLearner) and learner.shows_skills(step, member) for member in members]
    return [Assignment(task, group, shown[member]) for group, task in enumerate(task_ids, first) for member in members]
