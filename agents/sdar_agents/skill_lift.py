"""Do skills help whoever acts? The same agent on the same tasks without skills, with right, found and wrong ones.

Every condition plays with the same seeds, so that tasks can be compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sdar_agents.episode import Episode
from sdar_agents.evaluate import EvaluationRecord, evaluate_policy
from sdar_agents.intervals import wilson
from sdar_agents.player import Player
from sdar_agents.rollout import RolloutError
from sdar_agents.task_skills import TaskSkills
from sdar_agents.teacher import PrivilegedContext
from sdar_gym.errors import unknown
from sdar_gym.tasks import Panel
from sdar_skills.bank import SkillBank
from sdar_skills.embedders import Embedder
from sdar_skills.retrievers import make_retriever
from sdar_skills.significance import bootstrap_means, holm, paired_randomisation

FORMAT = 1
CONDITIONS = ("none", "oracle", "retrieved", "random", "wrong", "placebo")
"""What the acting prompt shows; `retrieved` stands for one condition a retriever."""
NONE, RETRIEVED = "none", "retrieved"
FEW = 20
"""Fewer tasks than this are marked: their interval says little."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One way to fill the slot of the acting prompt.

    Attributes:
        name: As reported: of `CONDITIONS`, or `retrieved:RETRIEVER`.
        retriever: Whose answers are shown; None where none is asked.
        view: The view that shows them (`teacher_views.py`).
        wrong_share: 1 where skills of other tasks take their place.
    """

    name: str
    retriever: str | None = None
    view: str = "skill"
    wrong_share: float = 0.0


def conditions_of(names: Sequence[str], retrievers: Sequence[str]) -> list[Condition]:
    """The conditions by their names, `none` always among them: everything is compared with it.

    Args:
        names: Of `CONDITIONS`.
        retrievers: At least one; of the first, `placebo` shuffles the words.

    Raises:
        ValueError: an unknown name; the text suggests the nearest.
    """
    for name in names:
        if name not in CONDITIONS:
            raise ValueError(unknown("condition", name, CONDITIONS))
    first = retrievers[0]
    known = {
        NONE: [Condition(NONE)],
        "oracle": [Condition("oracle", view="right")],
        RETRIEVED: [Condition(f"{RETRIEVED}:{name}", retriever=name) for name in retrievers],
        "random": [Condition("random", retriever="uniform")],
        "wrong": [Condition("wrong", retriever=first, wrong_share=1.0)],
        "placebo": [Condition("placebo", retriever=first, view="placebo")],
    }
    return [condition for name in CONDITIONS if name == NONE or name in names for condition in known[name]]


@dataclass(frozen=True, slots=True)
class SkillSource:
    """Where the skills of all conditions come from.

    Attributes:
        bank, family: The bank, and under which name it files this environment's skills.
        tasks: The bank by tasks.
        k, budget_tokens: How many skills a task gets, and how many tokens they may take.
        seed: Of what is drawn.
        embedder: Of retrievers that embed.
        options: Settings by retriever.
    """

    bank: SkillBank
    family: str
    tasks: TaskSkills
    k: int
    budget_tokens: int
    seed: int
    embedder: str | Embedder
    options: Mapping[str, Mapping[str, Any]]

    def context(self, condition: Condition, player: Player) -> PrivilegedContext:
        """What a condition's prompts are filled from."""
        name = condition.retriever
        retriever = None
        if name is not None:
            retriever = make_retriever(
                name, self.bank, seed=self.seed, embedder=self.embedder, options=dict(self.options.get(name, {}))
            )
        return PrivilegedContext(
            retriever,
            self.family,
            self.k,
            self.budget_tokens,
            lambda text: len(player.tokenizer.text_ids(text)),
            self.tasks,
            view=condition.view,
            wrong_share=condition.wrong_share,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True)
class Played:
    """The episodes of one condition.

    Attributes:
        episodes: Place in the panel to the episode; places that could not be played are missing.
        dropped_skills: How many skills did not fit the budget.
    """

    condition: Condition
    episodes: dict[int, Episode]
    dropped_skills: int


def play_condition(
    condition: Condition,
    player: Player,
    panel: Panel,
    source: SkillSource,
    *,
    agent: str,
    temperature: float,
    seed: int,
    batch: int,
    folder: Path | None,
) -> Played:
    """Play the panel under one condition; what a folder holds of it already is not played again.

    Raises:
        EpisodeFileError: the folder holds episodes of other settings; they are left as they are.
    """
    shows = condition.name != NONE
    context = source.context(condition, player) if shows else None
    record = None
    if folder is not None:
        settings = {
            "seed": seed,
            "temperature": temperature,
            "condition": condition.name,
            **_decides(condition, source),
        }
        header = player.header(panel, agent=agent, bank=source.bank.hash if shows else None, settings=settings)
        record = EvaluationRecord(folder / f"{condition.name.replace(':', '-')}.jsonl", header)
    heard: list[Episode] = []
    try:
        evaluate_policy(
            panel,
            agent=agent,
            pool=player.pool,
            backend=player.backend,
            tokenizer=player.tokenizer,
            settings=player.settings(temperature=temperature, skills=shows),
            context=context,
            seed=f"{seed}/lift",
            batch=batch,
            record=record,
            heard=heard.extend,
        )
    finally:
        if record is not None:
            record.close()
    for episode in heard:
        # Episodes that were played before a kill had skills that did not fit, too.
        if context is not None:
            context.lookup(task=episode.task, task_type=episode.task_type, task_id=episode.task_id)
    dropped = context.dropped_skills if context is not None else 0
    return Played(condition, {episode.group: episode for episode in heard}, dropped)


def _decides(condition: Condition, source: SkillSource) -> dict[str, Any]:
    if condition.name == NONE:
        return {}
    options = {key: str(value) for key, value in source.options.get(str(condition.retriever), {}).items()}
    embedder = source.embedder if isinstance(source.embedder, str) else type(source.embedder).__name__
    return {"skills_per_task": source.k, "max_skill_tokens": source.budget_tokens, "options": options,
            "embedder": embedder}  # fmt: skip


def report_of(played: Sequence[Played], *, seed: int) -> dict[str, Any]:
    """Rates, differences on the same tasks, by task type and by skill, as plain values.

    Only tasks that every condition could play count.

    Raises:
        RolloutError: there is none.
    """
    places = sorted(set.intersection(*(set(each.episodes) for each in played)))
    if not places:
        raise RolloutError("no task could be played under every condition: there is nothing to compare")
    kept = [replace(each, episodes={place: each.episodes[place] for place in places}) for each in played]
    success = {each.condition.name: _success(each.episodes.values()) for each in kept}
    kinds = [kept[0].episodes[place].task_type for place in places]
    return {
        "format": FORMAT,
        "tasks": len(places),
        "left_out": len(set.union(*(set(each.episodes) for each in played)) - set(places)),
        "conditions": {each.condition.name: _condition(each) for each in kept},
        "comparisons": _comparisons(success, seed),
        "by_task_type": {kind: _of_kind(kind, kinds, success, seed) for kind in sorted(set(kinds))},
        "by_skill": _by_skill(kept, success[NONE], seed),
    }


def _success(episodes: Iterator[Episode] | Any) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([float(episode.success) for episode in episodes])


def _condition(played: Played) -> dict[str, Any]:
    episodes = list(played.episodes.values())
    solved = sum(episode.success for episode in episodes)
    return {
        "n": len(episodes),
        "success_rate": solved / len(episodes),
        "interval": list(wilson(solved, len(episodes))),
        "score_mean": sum(episode.score for episode in episodes) / len(episodes),
        "turns_mean": sum(len(episode.turns) for episode in episodes) / len(episodes),
        "skills_mean": sum(len(episode.skill_ids) for episode in episodes) / len(episodes),
        "dropped_skills": played.dropped_skills,
    }


def _pairs(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every condition against none; and what is found or right against the controls."""
    for name in names:
        if name != NONE:
            yield name, NONE
    found = [name for name in names if name.startswith(RETRIEVED)]
    for name in names:
        if name in found or name == "oracle":
            yield from ((name, control) for control in ("random", "wrong", "placebo") if control in names)
    if "oracle" in names:
        yield from (("oracle", name) for name in found)


def _comparisons(success: Mapping[str, np.ndarray[Any, Any]], seed: int) -> list[dict[str, Any]]:
    """Differences of success rates on the same tasks; Holm's correction for all of them together."""
    pairs = list(_pairs(list(success)))
    p_values = {pair: paired_randomisation(list(success[pair[0]]), list(success[pair[1]]), seed=seed) for pair in pairs}
    corrected = holm(p_values)
    return [
        {"first": first, "second": second, **_difference(success[first], success[second], seed),
         "p": p_values[first, second], "p_holm": corrected[first, second]}
        for first, second in pairs
    ]  # fmt: skip


def _difference(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any], seed: int) -> dict[str, Any]:
    difference = first - second
    return {"difference": float(difference.mean()), "interval": list(bootstrap_means(difference, seed=seed)[0])}


def _of_kind(kind: str, kinds: Sequence[str], success: Mapping[str, np.ndarray[Any, Any]], seed: int) -> dict[str, Any]:
    own = np.array([each == kind for each in kinds])
    return {
        "n": int(own.sum()),
        "success_rate": {name: float(values[own].mean()) for name, values in success.items()},
        "lift": {
            name: _difference(values[own], success[NONE][own], seed) for name, values in success.items() if name != NONE
        },
    }


def _by_skill(played: Sequence[Played], bare: np.ndarray[Any, Any], seed: int) -> list[dict[str, Any]]:
    """What success was with a skill in the prompt, against none on the very same tasks; most helpful first.

    A skill is seldom alone in a prompt: what stands beside it has its part in its number. A placebo is no skill.
    """
    rows = []
    for each in played:
        if each.condition.name in (NONE, "placebo"):
            continue
        episodes = list(each.episodes.values())
        success = _success(episodes)
        for skill in sorted({skill for episode in episodes for skill in episode.skill_ids}):
            own = np.array([skill in episode.skill_ids for episode in episodes])
            rows.append(
                {
                    "condition": each.condition.name,
                    "skill": skill,
                    "n": int(own.sum()),
                    "success_rate": float(success[own].mean()),
                    "none": float(bare[own].mean()),
                    **_difference(success[own], bare[own], seed),
                    "is_few": bool(own.sum() < FEW),
                }
            )
    return sorted(rows, key=lambda row: (row["condition"], -row["difference"], row["skill"]))
