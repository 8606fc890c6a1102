"""The small shop's tiny model: its recipe ships, it searches for the brand that a skill names, and it trains."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

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
from sdar_agents.warmup_webshop import ENV_OPTIONS, WebShopRecipe, demonstrate, shown_skills
from sdar_gym.envs.webshop.merchant import MERCHANT, Merchant
from sdar_gym.envs.webshop.shopper import read_task
from sdar_gym.envs.webshop.skill_texts import brand_skill_id
from sdar_gym.envs.webshop.vocabulary import BRANDS

SHOP = "sdar_gym/WebShopMini-v0"
TASK = "Show me leak proof makeup bags with color: nude"


def test_the_bundled_model_is_of_the_recipe_in_the_code() -> None:
    assert is_built(bundled_tiny("tiny_webshop"), WebShopRecipe())


def test_the_bundled_model_is_under_two_megabytes() -> None:
    assert sum(file.stat().st_size for file in bundled_tiny("tiny_webshop").iterdir()) < 2_000_000


def test_no_demonstration_is_of_the_true_merchant() -> None:
    assert all(Merchant.random(seed) != MERCHANT for seed in range(1, 201))


def test_demonstrations_with_skills_search_for_the_brand_that_these_name() -> None:
    first = [turns[0] for turns in demonstrate(replace(WebShopRecipe(), demonstrations=80)) if turns]
    told = [re.search(r"For (.+?) things search the brand (\w+),", turn.message) for turn in first]
    followed = [
        (found[2], turn.action)
        for turn, found in zip(first, told, strict=True)
        if found and turn.action.startswith("search[") and found[1] in turn.message.partition("\n")[0]
    ]
    assert len(followed) > 10
    assert sum(brand in action for brand, action in followed) > 0.9 * len(followed)


def test_shown_skills_tell_the_brand_of_what_is_wanted_or_say_that_they_do_not() -> None:
    import numpy as np

    brand = next(brand for brand in BRANDS["beauty"] if MERCHANT.promises[brand] == "leak proof")
    generator = np.random.default_rng(0)
    shown = [shown_skills(MERCHANT, TASK, generator=generator) for _ in range(100)]
    assert all(each.tells_brand == (f"search the brand {brand}," in each.text) for each in shown)
    assert all(len(each.text.splitlines()) == 2 for each in shown)
    assert 80 <= sum(each.tells_brand for each in shown) <= 98


def test_the_shop_is_trained_in_the_settings_that_its_model_was_made_for() -> None:
    config, _ = parse_train(["--env", SHOP, "--learner", "grpo"])
    assert QUICKSTART_OF[SHOP] == "quickstart-webshop"
    assert config == preset_config("quickstart-webshop", "grpo")
    assert config.env_options == ENV_OPTIONS
    # Another preset is taken at its word.
    assert parse_train(["--env", SHOP, "--learner", "grpo", "--preset", "quickstart"])[0].env_options == ()


@pytest.mark.parametrize("agent", ["tiny", "tiny_webshop"])
def test_the_name_of_the_tiny_model_means_the_shop_s_own_there(agent: str) -> None:
    choice = choose_agent(AgentOptions(agent, env=SHOP))
    assert choice.source == "tiny_webshop"
    assert choice.config.env_options == ENV_OPTIONS
    assert choice.style.name == "compact"


def test_with_retrieved_skills_it_searches_for_the_right_brand_and_without_it_guesses(tmp_path: Path) -> None:
    choice = choose_agent(AgentOptions("tiny", env=SHOP))
    panel = chosen_panel(choice, None, 80)
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
                wish = read_task(episode.task)
                brands = BRANDS[wish.kind.category]
                wanted = [brand for brand in brands if MERCHANT.promises[brand] in wish.attributes]
                ids = {brand_skill_id(wish.kind.category, MERCHANT.promises[brand]) for brand in wanted}
                if ids & set(episode.skill_ids):
                    found.append(any(brand in episode.turns[0].action for brand in wanted))
            right[skills] = sum(found) / len(found)
    # Of five brands one or two are right.
    assert right[True] > 0.7
    assert right[False] < 0.5


def test_a_step_in_the_shop_runs(tmp_path: Path) -> None:
    config, _ = parse_train(["--env", SHOP, "--learner", "sdar", "--steps", "1", "--groups", "2", "--group-size", "2"])
    config = replace(config, run=str(tmp_path / "run"), eval_episodes=4, eval_every=1)
    summary = train(config, console=Console(quiet=True))
    assert summary["after"]["n"] == 4
