"""The small world's tiny model: its recipe ships, it searches with the word that a skill tells, and it trains."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from sdar_agents.commands.train import parse_train
from sdar_agents.config import QUICKSTART_OF, preset_config
from sdar_agents.player import AgentOptions, choose_agent, chosen_panel, seated
from sdar_agents.policy import bundled_tiny
from sdar_agents.rollout import Assignment, play
from sdar_agents.setup import make_context
from sdar_agents.train import train
from sdar_agents.warmup import is_built
from sdar_agents.warmup_search_qa import ENV_OPTIONS, FAMILIAR_SEED, SearchQARecipe, demonstrate, shown_skills
from sdar_gym.envs.search_qa.mini import SearchQAMiniEnv
from sdar_gym.envs.search_qa.world.choice_of_words import Words
from sdar_gym.envs.search_qa.world.word_skills import own_skills, word_skills, words_asked
from sdar_gym.registration import make, text_env

WORLD = "sdar_gym/SearchQAMini-v0"


def test_the_bundled_model_is_of_the_recipe_in_the_code() -> None:
    assert is_built(bundled_tiny("tiny_search_qa"), SearchQARecipe())


def test_the_bundled_model_is_under_two_megabytes() -> None:
    assert sum(file.stat().st_size for file in bundled_tiny("tiny_search_qa").iterdir()) < 2_000_000


def test_no_demonstration_is_in_the_words_of_the_true_world() -> None:
    seeds = [*range(1, 201), *range(FAMILIAR_SEED, FAMILIAR_SEED + SearchQARecipe().familiar_writers)]
    assert all(Words.random(seed) != Words.usual() for seed in seeds)


def test_demonstrations_with_skills_search_for_the_word_that_these_tell() -> None:
    recipe = replace(SearchQARecipe(), demonstrations=200, familiar_share=0.0, blunders=0.0)
    told = followed = guessed = 0
    for turns in demonstrate(recipe):
        said = words_asked(turns[0].action.removeprefix("<search>").removesuffix("</search>"))
        for skill_word in re.findall(r"search the name and `(\w+)`", turns[0].message):
            if words_asked(skill_word)[0] in said:
                told += 1
                followed += skill_word in turns[0].action
        guessed += bool(said) and "Skills:" not in turns[0].message
    assert told > 60
    assert followed == told
    assert guessed > 10


def test_in_the_worlds_of_familiar_writers_the_word_is_known_and_no_skill_shown() -> None:
    recipe = replace(SearchQARecipe(), demonstrations=100, familiar_share=1.0, familiar_writers=1, blunders=0.0)
    words = Words.random(FAMILIAR_SEED)
    asked = 0
    for turns in demonstrate(recipe):
        assert "Skills:" not in turns[0].message
        query = turns[0].action.removeprefix("<search>").removesuffix("</search>")
        for usual in words_asked(query):
            asked += 1
            assert words.said[usual] in query.split()
    assert asked > 40


def test_shown_skills_are_two_and_mostly_hold_the_word() -> None:
    told, generator = word_skills(Words.usual()), np.random.default_rng(0)
    shown = [shown_skills(told, ("word-for-born",), generator) for _ in range(200)]
    assert all(len({skill.id for skill in each}) == 2 for each in shown)
    with_own = [each for each in shown if "word-for-born" in {skill.id for skill in each}]
    assert 165 <= len(with_own) <= 195
    assert 60 <= sum(each[0].id == "word-for-born" for each in with_own) <= 120
    assert len({skill.id for each in shown for skill in each}) == len(told)


def test_the_small_world_is_trained_in_the_settings_that_its_model_was_made_for() -> None:
    config, _ = parse_train(["--env", WORLD, "--learner", "grpo"])
    assert QUICKSTART_OF[WORLD] == "quickstart-search"
    assert config == preset_config("quickstart-search", "grpo")
    assert config.env_options == ENV_OPTIONS
    assert (config.bank, config.prompt_style) == ("search_qa_words", "compact_search")
    # Another preset is taken at its word.
    assert parse_train(["--env", WORLD, "--learner", "grpo", "--preset", "quickstart"])[0].env_options == ()


@pytest.mark.parametrize("agent", ["tiny", "tiny_search_qa"])
def test_the_name_of_the_tiny_model_means_the_small_world_s_own_there(agent: str) -> None:
    choice = choose_agent(AgentOptions(agent, env=WORLD))
    assert choice.source == "tiny_search_qa"
    assert choice.config.env_options == ENV_OPTIONS
    assert choice.style.name == "compact_search"


def test_with_retrieved_skills_it_searches_with_the_right_word_and_without_it_guesses(tmp_path: Path) -> None:
    choice = choose_agent(AgentOptions("tiny", env=WORLD))
    panel = chosen_panel(choice, None, 80)
    env = make(WORLD, **{name: int(value) for name, value in (each.split("=") for each in ENV_OPTIONS)})
    world = text_env(env)
    assert isinstance(world, SearchQAMiniEnv)
    right = {}
    with seated(choice) as player:
        context, _ = make_context(replace(choice.config, run=str(tmp_path)), player.tokenizer)
        assert context is not None
        for skills in (True, False):
            rollout = play(
                [Assignment(task, group) for group, task in enumerate(panel.task_ids)],
                pool=player.pool,
                backend=player.backend,
                tokenizer=player.tokenizer,
                settings=player.settings(temperature=0.4, skills=skills),
                context=context,
                seed="0/eval",
            )
            found = []
            for episode in rollout.episodes:
                env.reset(options={"task": episode.task_id})
                words = words_asked(world.plan(world.question)[0])
                if words and set(own_skills(world)) <= set(episode.skill_ids):
                    found.append(all(word in episode.turns[0].action for word in words))
            right[skills] = sum(found) / len(found)
    # Of five words one is right.
    assert right[True] > 0.7
    assert right[False] < 0.4


def test_a_step_in_the_small_world_runs(tmp_path: Path) -> None:
    config, _ = parse_train(["--env", WORLD, "--learner", "sdar", "--steps", "1", "--groups", "2", "--group-size", "2"])
    config = replace(config, run=str(tmp_path / "run"), eval_episodes=4, eval_every=1)
    summary = train(config, console=Console(quiet=True))
    assert summary["after"]["n"] == 4
