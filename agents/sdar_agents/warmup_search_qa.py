"""Demonstrations of `sdar_gym/SearchQAMini-v0`: searches in many randomised worlds, each with words of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import gymnasium as gym
import numpy as np

from sdar_agents.rollout import make_agent_env
from sdar_agents.tiny_model import SupervisedSettings, TinyShape
from sdar_agents.warmup import DemonstratedTurn, Warmup
from sdar_gym.envs.search_qa.answers import contains
from sdar_gym.envs.search_qa.mini import SearchQAMiniEnv
from sdar_gym.envs.search_qa.world.choice_of_words import CHOICES, Words
from sdar_gym.envs.search_qa.world.word_skills import own_skills, word_skill_id, word_skills, words_asked
from sdar_gym.prompts import COMPACT_SEARCH
from sdar_gym.skill_text import SkillText

ENV = "sdar_gym/SearchQAMini-v0"
DOCUMENTS, QUESTIONS, PASSAGES, SNIPPETS, HOPS, TURNS = 400, 1200, 2, 1, 1, 3
ENV_OPTIONS = (
    "names_seed=0",
    f"documents={DOCUMENTS}",
    f"questions={QUESTIONS}",
    f"k={PASSAGES}",
    f"snippets={SNIPPETS}",
    f"max_hops={HOPS}",
    f"max_turns={TURNS}",
)
SKILLS = 2
FAMILIAR_SEED = 900_000_000
"""Of the first writers that come again and again; the others of the warm-up are far below."""
OWN_FOUND = 0.9
UNKNOWN = "unknown"
"""What is answered where nothing that was read holds the answer."""


@dataclass(frozen=True, slots=True)
class SearchQARecipe:
    """Everything that decides the warmed-up model.

    Attributes:
        demonstrations: Episodes.
        episodes_a_world: How many of them are in one world, each with documents and names of its own.
        skill_share: Share of the episodes whose prompt carries skills of the world's writers, and which follow them; in
            the worlds of familiar writers none does, or what these say would be followed instead.
        familiar_writers: How many writers come again and again. The searcher knows the words of these and no others, so
            the model has learnt that what is asked can tell the word, if not which word it is with new writers.
        familiar_share: Share of the worlds that are told by them.
        later_turns: Share of the turns behind the first search that are imitated where skills are shown: they are the
            longest prompts, and do not depend on skills.
        blunders: Share of turns before which something impossible is tried; played, never imitated.
        seed: Of worlds, questions, guesses and initial weights.
        shape: Size of the model.
        training: How it imitates.
    """

    demonstrations: int = 10000
    episodes_a_world: int = 50
    skill_share: float = 0.8
    familiar_writers: int = 3
    familiar_share: float = 0.3
    later_turns: float = 0.3
    blunders: float = 0.02
    seed: int = 0
    shape: TinyShape = field(default_factory=lambda: TinyShape(vocabulary=2048))
    training: SupervisedSettings = field(default_factory=lambda: SupervisedSettings(epochs=10))


def demonstrate(recipe: SearchQARecipe) -> Iterator[list[DemonstratedTurn]]:
    """Play the demonstrations; each yields the turns that are to be imitated."""
    generator = np.random.default_rng(recipe.seed)
    worlds = -(-recipe.demonstrations // recipe.episodes_a_world)
    for world in range(worlds):
        # Seed 0 is the true world's; its writers say the usual words.
        seed = words_seed = recipe.seed * 1_000_003 + world + 1
        is_familiar = bool(generator.random() < recipe.familiar_share)
        if is_familiar:
            words_seed = FAMILIAR_SEED + int(generator.integers(recipe.familiar_writers))
        env = make_agent_env(
            ENV, COMPACT_SEARCH, world_seed=seed, documents=DOCUMENTS, questions=QUESTIONS, habits_seed=seed,
            words_seed=words_seed, names_seed=seed, k=PASSAGES, snippets=SNIPPETS, max_hops=HOPS, max_turns=TURNS,
        )  # fmt: skip
        told = word_skills(Words.random(words_seed))
        left = recipe.demonstrations - world * recipe.episodes_a_world
        for _ in range(min(left, recipe.episodes_a_world)):
            yield _demonstration(recipe, env, told, generator, is_familiar=is_familiar)


def _demonstration(
    recipe: SearchQARecipe,
    env: gym.Env[str, str],
    told: Sequence[SkillText],
    generator: np.random.Generator,
    *,
    is_familiar: bool,
) -> list[DemonstratedTurn]:
    with_skill = not is_familiar and bool(generator.random() < recipe.skill_share)
    _, info = env.reset(seed=int(generator.integers(1 << 30)))
    bare = env.unwrapped
    assert isinstance(bare, SearchQAMiniEnv)
    own = own_skills(bare)
    shown = shown_skills(told, own, generator) if with_skill else []
    text = "\n".join(skill.body for skill in shown)
    known = own if is_familiar else tuple(skill.id for skill in shown)
    plan = [_believed(query, known, generator) for query in bare.plan(bare.question)]
    turns, seen, done = [], "", False
    while not done:
        while not done and generator.random() < recipe.blunders:
            _, _, terminated, truncated, info = env.step("<search></search>")
            done = terminated or truncated
        if done:
            break
        response = _next(plan, seen, bare)
        if not with_skill or not bare.state.asked or generator.random() < recipe.later_turns:
            turns.append(DemonstratedTurn(info["prompt"].render(text), response))
        _, _, terminated, truncated, info = env.step(response)
        seen = info["prompt"].observation
        done = terminated or truncated
    return turns


def _next(plan: list[str], seen: str, env: SearchQAMiniEnv) -> str:
    """The one search that a question needs; then the answer, if it was read."""
    if not env.state.asked and env.state.turns < env.max_turns - 1:
        return f"<search>{plan[0]}</search>"
    answer = env.question.answers[0]
    return f"<answer>{answer if contains(seen, (answer,)) else UNKNOWN}</answer>"


def shown_skills(told: Sequence[SkillText], own: Sequence[str], generator: np.random.Generator) -> list[SkillText]:
    """Two skills as a retriever finds them: mostly one that tells a word of the search, and another.

    The order is drawn, and in one case in ten only others are there: a real retriever is not always right.
    """
    mine = [skill for skill in told if skill.id in own]
    others = [skill for skill in told if skill.id not in own]
    shown = [mine[place] for place in generator.permutation(len(mine))][:SKILLS]
    if generator.random() >= OWN_FOUND:
        shown = []
    shown += [others[place] for place in generator.permutation(len(others))][: SKILLS - len(shown)]
    return [shown[place] for place in generator.permutation(len(shown))]


def _believed(query: str, known: Sequence[str], generator: np.random.Generator) -> str:
    """A query whose words are right as far as the skills with these ids tell; the others are guessed."""
    words = []
    for word in query.split():
        usual = words_asked(word)
        if usual and word_skill_id(usual[0]) not in known:
            choices = (usual[0], *CHOICES[usual[0]])
            word = choices[int(generator.integers(len(choices)))]
        words.append(word)
    return " ".join(words)


SEARCH_QA = Warmup(
    "tiny_search_qa", ENV, ENV_OPTIONS, COMPACT_SEARCH, "quickstart-search", SearchQARecipe(), demonstrate
)
