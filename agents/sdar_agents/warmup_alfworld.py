"""Demonstrations of `sdar_gym/ALFWorldMini-v0`: a text-only explorer in many randomised households."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from sdar_agents.rollout import make_agent_env
from sdar_agents.tiny_model import SupervisedSettings, TinyShape
from sdar_agents.warmup import DemonstratedTurn, Warmup
from sdar_gym.envs.alfworld.explorer import Explorer, read_task
from sdar_gym.envs.alfworld.household import Household
from sdar_gym.envs.alfworld.kitchen import PLACES
from sdar_gym.prompts import COMPACT, Prompt
from sdar_gym.skill_text import SkillText

ENV = "sdar_gym/ALFWorldMini-v0"
SKILLS = 3
PHASES_FOUND = 0.8


@dataclass(frozen=True, slots=True)
class ALFWorldRecipe:
    """Everything that decides the warmed-up model.

    Attributes:
        demonstrations: Episodes of the explorer, each in a household of its own.
        skill_share: Share of them whose prompt carries their household's skills, and which follow them.
        lucky_share: Share of the others in which the explorer knows the household although the prompt does not tell.
        random_moves: Share of moves to a random place; they are played, never imitated.
        blunders: Share of turns before which something impossible is tried; played, never imitated.
        seed: Of households, tasks, moves and initial weights.
        shape: Size of the model.
        training: How it imitates.
    """

    demonstrations: int = 6000
    skill_share: float = 0.5
    lucky_share: float = 0.5
    random_moves: float = 0.1
    blunders: float = 0.04
    seed: int = 0
    shape: TinyShape = field(default_factory=TinyShape)
    training: SupervisedSettings = field(default_factory=SupervisedSettings)


def demonstrate(recipe: ALFWorldRecipe) -> Iterator[list[DemonstratedTurn]]:
    """Play the demonstrations; each yields the turns that are to be imitated."""
    generator = np.random.default_rng(recipe.seed)
    for number in range(recipe.demonstrations):
        # Household 0 and up are random ones; the true household is never among them.
        seed = recipe.seed * 1_000_003 + number
        with_skill = bool(generator.random() < recipe.skill_share)
        yield _demonstration(recipe, seed, with_skill=with_skill, generator=generator)


def _demonstration(
    recipe: ALFWorldRecipe, seed: int, *, with_skill: bool, generator: np.random.Generator
) -> list[DemonstratedTurn]:
    household = Household.random(seed)
    env = make_agent_env(ENV, COMPACT, household_seed=seed)
    _, info = env.reset(seed=seed)
    prompt: Prompt = info["prompt"]
    skills = (
        skill_text(household, task=prompt.task, task_type=info["task_type"], generator=generator) if with_skill else ""
    )
    # Without skills, the sweep is shuffled, so that the model stays undecided where to look; or the demonstrator is in
    # luck: it knows, the prompt does not tell, and what follows a find is seen more often.
    knows = with_skill or generator.random() < recipe.lucky_share
    explorer = Explorer(household if knows else None, seed, sweep="shuffled", noise=recipe.random_moves)
    explorer.begin(prompt.task, prompt.observation)
    turns, done = [], False
    while not done:
        prompt = info["prompt"]
        action = explorer.act(prompt.observation)
        while not done and generator.random() < recipe.blunders:
            # It changes nothing, so the explorer need not know; the model learns to go on after "Nothing happens."
            _, _, terminated, truncated, info = env.step(_blunder(prompt, generator))
            done = terminated or truncated
        if done:
            break
        if not explorer.was_noise:
            turns.append(DemonstratedTurn(info["prompt"].render(skills), action))
        _, _, terminated, truncated, info = env.step(action)
        done = terminated or truncated
    return turns


def _blunder(prompt: Prompt, generator: np.random.Generator) -> str:
    """An action of the right form that cannot be done: taking the wanted thing, with a number that none has."""
    thing = read_task(prompt.task).thing
    place = str(generator.choice(PLACES))
    return f"take {thing} {int(generator.integers(3, 5))} from {place}"


def skill_text(household: Household, *, task: str, task_type: str, generator: np.random.Generator) -> str:
    """Three skills as a retriever finds them: the thing's place, the task's phases, and one that is beside the point.

    The order is drawn, and in one case in five the phases are missing: a real retriever is not always right, and the
    model is to read what concerns its task.
    """
    skills = household.skills()
    own = [skill for skill in skills if _is_about(skill, task)]
    if generator.random() < PHASES_FOUND:
        own += [skill for skill in skills if skill.task_type == task_type]
    others = [skill for skill in skills if skill not in own]
    shown = own + [others[int(generator.integers(len(others)))] for _ in range(SKILLS - len(own))]
    return "\n".join(shown[int(position)].body for position in generator.permutation(len(shown)))


def _is_about(skill: SkillText, task: str) -> bool:
    return skill.id.startswith("where-the-") and any(word in task.rstrip(".").split() for word in skill.keywords)


ALFWORLD = Warmup("tiny", ENV, (), COMPACT, "quickstart", ALFWorldRecipe(), demonstrate)
