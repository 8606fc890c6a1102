"""`ShopEnv`: actions, pages beyond the original's, settings, bad input, sharing; and that the oracle buys the best."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from gymnasium.error import ResetNeeded

import sdar_gym
from sdar_gym.envs.webshop import session
from sdar_gym.envs.webshop.env import SEARCH_HINT, ShopEnv, WebShopEnv
from sdar_gym.envs.webshop.mini import WebShopMiniEnv, mini_shop
from sdar_gym.envs.webshop.oracle import best_options
from tests.envs.hostile_shop import write_hostile_shop

MINI = "sdar_gym/WebShopMini-v0"
NOWHERE = (
    "", " ", "look", "search", "search[", "search[]", "click[", "click[]", "click[nothing]", "click[search]", "[x]",
    "Search[shoes]", "buy now", "click[buy now", "click [buy now]", "search\n[shoes]", "search[a\nb]", "click[[]]",
)  # fmt: skip


@pytest.fixture
def env() -> WebShopMiniEnv:
    return WebShopMiniEnv()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> WebShopEnv:
    return WebShopEnv(write_hostile_shop(tmp_path_factory.mktemp("hostile")))


@pytest.mark.parametrize("action", NOWHERE)
def test_an_action_that_means_nothing_is_answered_with_the_page_as_it_is(env: WebShopMiniEnv, action: str) -> None:
    observation, info = env.reset(seed=0)
    again, reward, terminated, truncated, after = env.step(action)
    assert (again, reward, terminated, truncated) == (observation, 0.0, False, False)
    assert after == {**info, "is_action_valid": False}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("search[Red SHOES]", ("red", "shoes")),
        ("search[a[b]", None),
        ("search[a]b]", ("a]b",)),
        ("search[x] and so on", ("x",)),
        ("search[  ]", ("", "", "")),
        ("search[去 厨房 🚪]", ("去", "厨房", "🚪")),
    ],
)
def test_what_stands_between_the_brackets_is_searched(
    env: WebShopMiniEnv, query: str, words: tuple[str, ...] | None
) -> None:
    env.reset(seed=0)
    info = env.step(query)[4]
    assert info["is_action_valid"] == (words is not None)
    assert env.state.keywords == (words or ())


def test_a_search_for_nothing_finds_nothing(env: WebShopMiniEnv) -> None:
    env.reset(seed=0)
    observation = env.step("search[ ]")[0]
    assert "Page 1 (Total results: 0)" in observation
    assert env.step("search[the of and]")[0] == observation


def test_a_query_of_too_many_words_is_refused_as_the_originals_engine_does_and_a_long_one_is_not(
    env: WebShopMiniEnv,
) -> None:
    observation, _ = env.reset(seed=0)
    different = " ".join(f"word{number}" for number in range(12_000))
    assert len(different) > 100_000
    answer, _, _, _, info = env.step(f"search[{different}]")
    assert (answer, info["is_action_valid"]) == (observation, False)
    assert env.step(f"search[{'shoes ' * 20_000}]")[4]["is_action_valid"]


def test_one_can_search_from_any_page(env: WebShopMiniEnv) -> None:
    env.reset(seed=0)
    env.step(env.step(f"search[{env.goal.query}]")[4]["admissible_actions"][2])
    assert env.state.kind == "item"
    env.step("search[socks]")
    assert (env.state.kind, env.state.page, env.state.options) == ("results", 1, {})


def test_the_shorthands_of_the_original_find_whole_groups(env: WebShopMiniEnv) -> None:
    env.reset(seed=0)
    products = [env.shop.product(number) for number in range(len(env.shop.catalogue))]
    chosen = products[7]
    groups = {
        f"<c> {chosen.category} and more": [p.category == chosen.category for p in products],
        f"<q> {chosen.query}": [p.query == chosen.query for p in products],
        f"<a> {chosen.attributes[0]}": [chosen.attributes[0] in p.attributes for p in products],
        "<c>": [False for _ in products],
        "<c> no such": [False for _ in products],
        "<a> no such": [False for _ in products],
    }
    for query, belongs in groups.items():
        env.step(f"search[{query}]")
        assert env.state.found == tuple(number for number, is_one in enumerate(belongs) if is_one), query


def test_random_products_are_the_same_for_the_same_task_and_turn_and_others_at_the_next_search() -> None:
    found = []
    for task_id in ("test/synthetic-00000", "test/synthetic-00000", "test/synthetic-00001"):
        env = WebShopMiniEnv()
        env.reset(options={"task": task_id})
        env.step("search[<r>]")
        found.append(env.state.found)
        env.step("search[<r>]")
        found.append(env.state.found)
    assert found[0] == found[2]
    assert found[1] == found[3]
    assert len({found[0], found[1], found[4]}) == 3
    assert len(set(found[0])) == 50


def test_pages_go_on_beyond_the_results_and_not_before_the_first(env: WebShopMiniEnv) -> None:
    env.reset(seed=0)
    env.step("search[<r>]")
    assert not env.step("click[< prev]")[4]["is_action_valid"]
    for _ in range(6):
        observation, _, _, _, info = env.step("click[next >]")
    assert "Page 7 (Total results: 50)" in observation
    assert info["available_actions"]["clickables"] == ["back to search", "< prev", "next >"]
    assert "Page 6" in env.step("click[< prev]")[0]


def test_every_admissible_action_is_understood_on_the_strangest_pages(hostile: WebShopEnv) -> None:
    tried = 0
    for task_id in hostile.task_ids("test")[:5]:
        hostile.reset(options={"task": task_id})
        hostile.step("search[<r>]")
        for click in [
            text for text in hostile.step("search[<r>]")[4]["admissible_actions"] if text.startswith("click[b0")
        ]:
            results = hostile.snapshot()
            info = hostile.step(click)[4]
            start = hostile.snapshot()
            for action in info["admissible_actions"]:
                assert hostile.step(action)[4]["is_action_valid"], action
                hostile.restore(start)
                tried += 1
            hostile.restore(results)
    assert tried > 200


def test_clicks_that_no_action_can_say_are_not_offered(hostile: WebShopEnv) -> None:
    unsayable = {"a [b]", "new\nline", ""}
    seen: set[str] = set()
    for number in range(len(hostile.shop.catalogue)):
        state = session.State(kind="item", product=number)
        targets = session.clickable(hostile.shop, state, with_attributes=False)
        seen |= unsayable & set(targets)
        assert not {f"click[{text}]" for text in unsayable} & {f"click[{t}]" for t in targets if session.can_be_said(t)}
    assert seen == unsayable


def test_before_a_purchase_the_score_is_0_and_after_it_the_episode_is_over(env: WebShopMiniEnv) -> None:
    env.reset(seed=3)
    rewards = []
    done = False
    while not done:
        action = env.oracle()
        assert action is not None
        _, reward, done, truncated, info = env.step(action)
        rewards.append(reward)
        assert not truncated
        assert info["score"] == reward
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
    assert info["success"]
    assert info["reward_info"]["total"] == 1.0
    assert info["admissible_actions"] == []
    assert env.oracle() is None
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step("search[shoes]")


def test_a_partly_right_purchase_is_rewarded_by_its_score_or_not_at_all() -> None:
    rewards = {}
    for name in ("score", "success"):
        env = WebShopMiniEnv(reward=name)  # type: ignore[arg-type]
        task_id = next(task_id for task_id in env.task_ids("train") if _options(env, task_id))
        env.reset(options={"task": task_id})
        env.step(f"search[{env.goal.name}]")
        env.step(f"click[{env.goal.asin}]")
        _, rewards[name], done, _, info = env.step("click[buy now]")
        assert done
        assert not info["success"]
        # All but the options: attributes and price of attributes, options and price.
        expected = (len(env.goal.attributes) + 1) / (len(env.goal.attributes) + len(env.goal.options) + 1)
        assert info["score"] == pytest.approx(expected)
    assert rewards == {"score": pytest.approx(expected), "success": 0.0}


def test_the_oracle_scores_1_on_every_goal_of_the_mini_shop(env: WebShopMiniEnv) -> None:
    ids = [task_id for split in env.splits for task_id in env.task_ids(split)]
    assert len(ids) > 2500
    for task_id in ids:
        env.reset(options={"task": task_id})
        assert _follow_oracle(env) == 1.0, task_id


def test_the_oracle_scores_1_on_every_human_goal_of_the_mini_shop() -> None:
    env = WebShopMiniEnv(goals="human")
    ids = [task_id for split in env.splits for task_id in env.task_ids(split)]
    assert ids
    for task_id in ids:
        env.reset(options={"task": task_id})
        assert _follow_oracle(env) == 1.0, task_id


@pytest.mark.parametrize("seed", range(6))
def test_the_oracle_finds_its_way_from_any_page(env: WebShopMiniEnv, seed: int) -> None:
    env.reset(seed=seed)
    for action in ("search[<r>]", "click[next >]", "click[next >]"):
        info = env.step(action)[4]
    some = [text for text in info["admissible_actions"] if text.startswith("click[b0")]
    for action in (some[seed], "click[features]"):
        info = env.step(action)[4]
    if seed % 2:
        info = env.step("click[< prev]")[4]
        options = [text for text in info["admissible_actions"] if text not in _BUTTONS]
        if options:
            env.step(options[-1])
    assert _follow_oracle(env) == 1.0


def test_the_oracle_undoes_a_wrong_choice_on_the_right_product(env: WebShopMiniEnv) -> None:
    task_id = next(task_id for task_id in env.task_ids("train") if _options(env, task_id))
    env.reset(options={"task": task_id})
    env.step(f"search[{env.goal.name}]")
    env.step(f"click[{env.goal.asin}]")
    product = env.shop.product(env.state.product or 0)
    wanted = best_options(product, env.goal)
    name = next(iter(wanted))
    other = next(value for value in product.options[name] if value != wanted[name])
    env.step(f"click[{other}]")
    env.step("click[description]")
    assert env.oracle() == "click[< prev]"
    assert _follow_oracle(env) == 1.0


def test_the_oracle_scores_1_where_the_published_catalogue_allows(webshop_files: Path) -> None:
    env = WebShopEnv(webshop_files)
    scores = {}
    for task_id in env.task_ids("test")[:60]:
        env.reset(options={"task": task_id})
        scores[task_id] = _follow_oracle(env)
    # An option with a colour within a word ("2005grey") is shortened to the colour and then not recognised, as in the
    # original; no product of the catalogue does better.
    below = [task_id for task_id, score in scores.items() if score < 1]
    assert 0 < len(below) < 10
    for task_id in below:
        env.reset(options={"task": task_id})
        assert _options(env, task_id)


def test_a_snapshot_is_a_value_that_another_environment_takes(env: WebShopMiniEnv) -> None:
    env.reset(seed=1)
    for _ in range(3):
        env.step(str(env.oracle()))
    snapshot = pickle.loads(pickle.dumps(env.snapshot()))
    other = WebShopMiniEnv()
    other.reset(seed=2)
    other.restore(snapshot)
    assert _follow_oracle(other) == _follow_oracle(env) == 1.0
    # The end can be restored too.
    over = env.snapshot()
    other.reset(seed=5)
    other.restore(over)
    assert other.oracle() is None
    with pytest.raises(ResetNeeded):
        other.step("search[x]")


def test_a_fork_goes_its_own_way_in_the_same_shop(env: WebShopMiniEnv) -> None:
    env.reset(seed=1)
    env.step("search[<r>]")
    twin = env.fork()
    assert twin.shop is env.shop
    twin.step("click[next >]")
    assert (env.state.page, twin.state.page) == (1, 2)
    draws = [e.reset()[1]["task_id"] for e in (env, twin)]
    assert draws[0] == draws[1]


def test_128_sessions_share_one_shop() -> None:
    with sdar_gym.TextBatch(MINI, 128) as batch:
        shops = {id(sdar_gym.text_env(env).shop) for env in batch.envs}  # type: ignore[attr-defined]
        assert len(shops) == 1
        ids = list(sdar_gym.text_env(batch.envs[0]).task_ids("test"))[:200]
        scores = []
        for turns in batch.play(ids):
            for turn in turns:
                if turn.done:
                    scores.append(turn.info["score"])
                else:
                    batch.send(turn.slot, str(sdar_gym.text_env(batch.envs[turn.slot]).oracle()))
    assert scores == [1.0] * 200


def test_the_instruction_can_be_left_out_of_pages() -> None:
    env = WebShopMiniEnv(show_instruction=False)
    observation, info = env.reset(seed=0)
    assert observation == "WebShop [SEP] Search"
    assert info["task"]
    for action in ("search[<r>]", "click[next >]"):
        observation = env.step(action)[0]
        assert observation.startswith("Back to Search [SEP] Page")
        assert info["task"] not in observation


def test_attributes_are_shown_on_request_only() -> None:
    for shown in (False, True):
        env = WebShopMiniEnv(show_attributes=shown)
        env.reset(seed=0)
        env.step("search[<r>]")
        info = env.step(f"click[{env.shop.product(env.state.found[0]).asin}]")[4]
        assert ("click[attributes]" in info["admissible_actions"]) == shown
        observation, _, _, _, info = env.step("click[attributes]")
        assert info["is_action_valid"] == shown
        assert (env.shop.product(env.state.product or 0).attributes[0] in observation) or not shown


def test_reviews_are_shown_where_the_shop_has_some(env: WebShopMiniEnv) -> None:
    env.reset(seed=0)
    number = next(number for number in range(len(env.shop.catalogue)) if env.shop.product(number).reviews)
    product = env.shop.product(number)
    env.step(f"search[<q> {product.query}]")
    while number not in session.on_page(env.state):
        env.step("click[next >]")
    env.step(f"click[{product.asin}]")
    observation = env.step("click[reviews]")[0]
    for review in product.reviews:
        assert f'"{review.title}" [SEP] {review.score:g} [SEP] {review.body}' in observation


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"goals": "humna"}, "unknown kind of goals 'humna'; did you mean 'human'?"),
        ({"observation_mode": "txt"}, "unknown observation mode 'txt'; did you mean 'text'?"),
        ({"holdout": "product"}, "did you mean 'products'"),
        ({"reward": "scores"}, "did you mean 'score'"),
        ({"nouns": "spaci"}, "did you mean 'spacy'"),
        ({"split": "tset"}, "did you mean 'test'"),
    ],
)
def test_a_misspelt_setting_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, sdar_gym.UnknownTaskError)) as raised:
        WebShopMiniEnv(**settings)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "task_id", ["test/synthetic-0000", "train/synthetic-00000", "synthetic-00000", "test/human-00000", ""]
)
def test_a_task_id_of_another_form_is_refused(env: WebShopMiniEnv, task_id: str) -> None:
    with pytest.raises(sdar_gym.UnknownTaskError, match="ids look like 'train/synthetic-"):
        env.reset(options={"task": task_id})


def test_a_shop_without_goals_says_so(tmp_path: Path) -> None:
    write_hostile_shop(tmp_path)
    with pytest.raises(sdar_gym.UnknownTaskError, match="no human goal"):
        WebShopEnv(tmp_path, goals="human")


def test_the_search_hint_is_an_action_like_any_other(env: WebShopMiniEnv) -> None:
    _, info = env.reset(seed=0)
    assert info["admissible_actions"] == [SEARCH_HINT]
    assert env.step(SEARCH_HINT)[4]["is_action_valid"]
    assert env.state.keywords == ("<keywords>",)


def test_info_is_plain_data(env: WebShopMiniEnv) -> None:
    env.reset(seed=0)
    while (action := env.oracle()) is not None:
        info = env.step(action)[4]
        assert json.loads(json.dumps(info)) == info


def test_the_behaviour_is_the_one_that_results_are_compared_under() -> None:
    assert ShopEnv(mini_shop(0, 60)).behaviour_hash == BEHAVIOUR


BEHAVIOUR = "e632ef970eeeca63"

_BUTTONS = {
    f"click[{name}]"
    for name in ("back to search", "< prev", "description", "features", "reviews", "attributes", "buy now")
}


def _follow_oracle(env: ShopEnv) -> float:
    for _ in range(15):
        action = env.oracle()
        if action is None:
            break
        _, reward, done, _, _ = env.step(action)
        if done:
            return reward
    return 0.0


def _options(env: ShopEnv, task_id: str) -> Any:
    return env.goals[int(task_id.rpartition("-")[2])].options


def test_another_merchant_fills_another_shop() -> None:
    one, other = WebShopMiniEnv(), WebShopMiniEnv(merchant_seed=1)
    assert one.goals.hash != other.goals.hash
    assert one.behaviour_hash != other.behaviour_hash


def test_goals_can_be_of_some_categories_in_the_same_shop() -> None:
    whole, some = WebShopMiniEnv(), WebShopMiniEnv(categories=["beauty", "grocery"])
    one, other = WebShopMiniEnv(categories="beauty"), WebShopMiniEnv(categories=("grocery",))
    assert some.shop is whole.shop
    for split in whole.splits:
        tasks = some.task_ids(split)
        assert sorted(tasks) == sorted([*one.task_ids(split), *other.task_ids(split)])
        assert [task for task in whole.task_ids(split) if task in set(tasks)] == list(tasks)
    assert 0 < len(one.task_ids("test")) < len(some.task_ids("test")) < len(whole.task_ids("test"))
    for seed in range(20):
        some.reset(seed=seed)
        assert some.goal.category in ("beauty", "grocery")
    with pytest.raises(ValueError, match="unknown category 'beuty'; did you mean 'beauty'"):
        WebShopMiniEnv(categories="beuty")
    with pytest.raises(ValueError, match="at least one category"):
        WebShopMiniEnv(categories=[])
