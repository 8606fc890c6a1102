"""Demonstrations of `sdar_gym/WebShopMini-v0`: a text-only shopper in the shops of many randomised merchants."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field

import gymnasium as gym
import numpy as np

from sdar_agents.rollout import make_agent_env
from sdar_agents.tiny_model import SupervisedSettings, TinyShape
from sdar_agents.warmup import DemonstratedTurn, Warmup
from sdar_gym.envs.webshop.merchant import Merchant
from sdar_gym.envs.webshop.shopper import Shopper, read_task
from sdar_gym.envs.webshop.skill_texts import brand_skill_id, skills
from sdar_gym.prompts import COMPACT, Prompt
from sdar_gym.skill_text import SkillText

ENV = "sdar_gym/WebShopMini-v0"
RESULTS = 3
ENV_OPTIONS = (f"results={RESULTS}", "observation_mode=short", "reward=success")
SKILLS = 2
BRAND_FOUND = 0.9
SAME_CATEGORY = 0.8


@dataclass(frozen=True, slots=True)
class WebShopRecipe:
    """Everything that decides the warmed-up model.

    Attributes:
        demonstrations: Episodes of the shopper.
        episodes_a_shop: How many of them are in one shop, each shop with a merchant and a catalogue of its own.
        skill_share: Share of them whose prompt carries two of their merchant's skills, and which follow them.
        lucky_share: Share of the others in which the shopper knows the merchant although the prompt does not tell.
        later_turns: Share of the turns behind the first search that are imitated where skills are shown: they are the
            longest prompts, and do not depend on skills.
        random_moves: Share of lists where a random product is opened; it is played, never imitated.
        blunders: Share of turns before which something impossible is tried; played, never imitated.
        seed: Of shops, tasks, moves and initial weights.
        shape: Size of the model.
        training: How it imitates.
    """

    demonstrations: int = 8000
    episodes_a_shop: int = 40
    skill_share: float = 0.6
    lucky_share: float = 0.0
    later_turns: float = 0.2
    random_moves: float = 0.1
    blunders: float = 0.04
    seed: int = 0
    shape: TinyShape = field(default_factory=lambda: TinyShape(vocabulary=2048))
    training: SupervisedSettings = field(default_factory=lambda: SupervisedSettings(epochs=5))


def demonstrate(recipe: WebShopRecipe) -> Iterator[list[DemonstratedTurn]]:
    """Play the demonstrations; each yields the turns that are to be imitated."""
    generator = np.random.default_rng(recipe.seed)
    shops = -(-recipe.demonstrations // recipe.episodes_a_shop)
    with tempfile.TemporaryDirectory() as cache:
        for shop in range(shops):
            # Seed 0 is the true merchant's, and its catalogue's.
            seed = recipe.seed * 1_000_003 + shop + 1
            env = make_agent_env(
                ENV, COMPACT, catalogue_seed=seed, merchant_seed=seed, cache=cache, results=RESULTS,
                observation_mode="short",
            )  # fmt: skip
            merchant = Merchant.random(seed)
            left = recipe.demonstrations - shop * recipe.episodes_a_shop
            for _ in range(min(left, recipe.episodes_a_shop)):
                yield _demonstration(recipe, env, merchant, generator)


def _demonstration(
    recipe: WebShopRecipe, env: gym.Env[str, str], merchant: Merchant, generator: np.random.Generator
) -> list[DemonstratedTurn]:
    with_skill = bool(generator.random() < recipe.skill_share)
    seed = int(generator.integers(1 << 30))
    _, info = env.reset(seed=seed)
    prompt: Prompt = info["prompt"]
    shown = shown_skills(merchant, prompt.task, generator=generator)
    knows = shown.tells_brand if with_skill else generator.random() < recipe.lucky_share
    shopper = Shopper(merchant if knows else None, seed, noise=recipe.random_moves)
    shopper.begin(prompt.task)
    turns, done = [], False
    while not done:
        while not done and generator.random() < recipe.blunders:
            # It changes nothing; the model learns to go on after an action that failed.
            _, _, terminated, truncated, info = env.step(_blunder(generator))
            done = terminated or truncated
        if done:
            break
        prompt = info["prompt"]
        action = shopper.act(prompt.observation)
        is_kept = not with_skill or action.startswith("search[") or generator.random() < recipe.later_turns
        if is_kept and not shopper.was_noise:
            turns.append(DemonstratedTurn(prompt.render(shown.text if with_skill else ""), action))
        _, _, terminated, truncated, info = env.step(action)
        done = terminated or truncated
    return turns


def _blunder(generator: np.random.Generator) -> str:
    """An action of the right form that cannot be done: a click on a product that no list shows."""
    return f"click[{int(generator.integers(RESULTS + 1, 10))}]"


@dataclass(frozen=True, slots=True)
class ShownSkills:
    """What a retriever found.

    Attributes:
        text: As it stands in the prompt.
        tells_brand: Whether the skill about a brand that keeps what the task wants is among it.
    """

    text: str
    tells_brand: bool


def shown_skills(merchant: Merchant, task: str, *, generator: np.random.Generator) -> ShownSkills:
    """Two skills as a retriever finds them: of a brand that promises what is wanted, and another of the shop.

    The order is drawn, and in one case in ten the brand is missing: a real retriever is not always right.
    """
    wish = read_task(task)
    category, told = wish.kind.category, skills(merchant)
    wanted = {brand_skill_id(category, attribute) for attribute in wish.attributes}
    right = [skill for skill in told if skill.id in wanted]
    same = [skill for skill in told if skill.task_type == category and skill not in right]
    others = [skill for skill in told if skill.task_type != category]
    shown: list[SkillText] = []
    if right and generator.random() < BRAND_FOUND:
        # The first is the one that the shopper searches for.
        shown = right[:1]
    is_told = bool(shown)
    while len(shown) < SKILLS:
        pool = same if generator.random() < SAME_CATEGORY else others
        candidate = pool[int(generator.integers(len(pool)))]
        if candidate not in shown:
            shown.append(candidate)
    order = generator.permutation(len(shown))
    return ShownSkills("\n".join(shown[int(position)].body for position in order), is_told)


WEBSHOP = Warmup("tiny_webshop", ENV, ENV_OPTIONS, COMPACT, "quickstart-webshop", WebShopRecipe(), demonstrate)
