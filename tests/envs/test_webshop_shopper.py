"""Short pages and ids, few results, and the demonstrator that reads them: text alone, and only what it was told."""

from __future__ import annotations

import pytest

from sdar_gym.envs.webshop import session
from sdar_gym.envs.webshop.merchant import MERCHANT, Merchant
from sdar_gym.envs.webshop.mini import WebShopMiniEnv
from sdar_gym.envs.webshop.shopper import Offer, Shopper, read_options, read_results, read_task
from sdar_gym.envs.webshop.vocabulary import BRANDS

TASK = (
    "Show me leak proof nail polish with argan oil, vitamin e with color: cherry red, and size: 1 pack, "
    "and price lower than 20.00 dollars"
)


@pytest.fixture(scope="module")
def env() -> WebShopMiniEnv:
    return WebShopMiniEnv(results=3, observation_mode="short")


def played(env: WebShopMiniEnv, task_id: str, merchant: Merchant | None, *, noise: float = 0.0) -> tuple[float, int]:
    """The score of a purchase, and how many actions it took; every action means something on its page."""
    observation, info = env.reset(options={"task": task_id})
    shopper = Shopper(merchant, 7, noise=noise)
    shopper.begin(info["task"])
    for turns in range(1, 16):
        observation, _, is_over, _, info = env.step(shopper.act(observation))
        assert info["is_action_valid"]
        if is_over:
            return info["score"], turns
    raise AssertionError(f"nothing was bought for {task_id}")


def test_a_task_is_read_as_its_goal_is(env: WebShopMiniEnv) -> None:
    for task_id in env.task_ids("train")[:300]:
        _, info = env.reset(options={"task": task_id})
        wish, goal = read_task(info["task"]), env.goal
        assert (wish.kind.query, set(wish.attributes)) == (goal.query, set(goal.attributes))
        assert isinstance(goal.options, dict)
        assert list(wish.options) == [value.lower() for value in goal.options.values()]
        assert wish.ceiling == goal.price_upper


def test_a_task_of_another_shop_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read the task 'Show me a boat'"):
        read_task("Show me a boat")


def test_short_pages_tell_what_can_be_clicked_and_no_more(env: WebShopMiniEnv) -> None:
    observation, _ = env.reset(options={"task": env.task_ids("train")[0]})
    assert observation == "Search"
    observation = env.step(f"search[{env.goal.query}]")[0]
    offers = read_results(observation)
    assert len(offers) == len(observation.splitlines()) == 3
    assert [offer.id for offer in offers] == ["1", "2", "3"]
    found = session.find(env.shop, tuple(env.goal.query.split()), "")[:3]
    for offer, number in zip(offers, found, strict=True):
        assert offer.title == env.shop.product(number).title.lower()
        # Rounded up: below a limit in whole dollars exactly where the price is.
        assert 0 <= offer.price - env.shop.price(number) < 1
    observation = env.step("click[1]")[0]
    product = env.shop.product(found[0])
    assert read_options(observation) == {value for values in product.options.values() for value in values}
    for details in ("description", "features"):
        assert "[" not in env.step(f"click[{details}]")[0]
        env.step("click[< prev]")
    assert env.step("click[buy now]")[0].startswith(f"Bought {product.asin}, score ")


def test_products_of_a_short_page_are_named_by_their_places(env: WebShopMiniEnv) -> None:
    env.reset(options={"task": env.task_ids("train")[0]})
    assert not env.step("click[1]")[4]["is_action_valid"]
    info = env.step(f"search[{env.goal.query}]")[4]
    clicks = [action for action in info["admissible_actions"] if action.startswith("click[")]
    assert {"click[1]", "click[2]", "click[3]"} <= set(clicks)
    assert info["available_actions"]["clickables"][-3:] == ["1", "2", "3"]
    assert not env.step("click[4]")[4]["is_action_valid"]
    assert env.step("click[2]")[4]["is_action_valid"]


def test_nothing_found_is_said_on_a_short_page(env: WebShopMiniEnv) -> None:
    env.reset(seed=0)
    assert env.step("search[ ]")[0] == "Nothing found"


def test_a_list_of_results_is_read() -> None:
    page = "[E21] nail polish by osheline, no. 625 $9\n[T17] osheline $20 gift box $11"
    assert read_results(page) == [
        Offer("E21", "nail polish by osheline, no. 625", 9),
        Offer("T17", "osheline $20 gift box", 11),
    ]
    assert read_results("Nothing found") == []


def test_who_knows_the_merchant_searches_for_the_brand_that_keeps_the_promise(env: WebShopMiniEnv) -> None:
    shopper = Shopper(MERCHANT, 0)
    shopper.begin(TASK)
    brand = next(name for name in BRANDS["beauty"] if MERCHANT.promises[name] == "leak proof")
    assert shopper.act("Search") == f"search[nail polish {brand}]"


def test_who_knows_no_merchant_guesses_brands() -> None:
    queries = set()
    for seed in range(60):
        shopper = Shopper(None, seed)
        shopper.begin(TASK)
        queries.add(shopper.act("Search"))
    assert queries == {f"search[nail polish {brand}]" for brand in BRANDS["beauty"]}


def test_a_product_without_the_wanted_option_is_left_for_the_next() -> None:
    shopper = Shopper(MERCHANT, 0)
    shopper.begin(TASK)
    shopper.act("Search")
    results = "[A10] nail polish, argan oil, vitamin e $9\n[B10] nail polish $9\n[C10] hair mask $9"
    assert shopper.act(results) == "click[A10]"
    assert shopper.act("nail polish, argan oil, vitamin e $9\ncolor: [nude]\nsize: [1 pack]") == "click[< prev]"
    assert shopper.act(results) == "click[B10]"
    page = "nail polish $9\ncolor: [cherry red] [nude]"
    # The size is not there either, but what is left is another kind of thing.
    assert [shopper.act(page), shopper.act(page)] == ["click[cherry red]", "click[buy now]"]


def test_knowing_the_merchant_is_worth_much(env: WebShopMiniEnv) -> None:
    tasks = env.task_ids("train")[:100]
    knowing = [played(env, task, MERCHANT)[0] == 1.0 for task in tasks]
    guessing = [played(env, task, None)[0] == 1.0 for task in tasks]
    # Measured on 300: .69 and .32.
    assert sum(knowing) > sum(guessing) + 20


def test_noise_is_told_and_bounded(env: WebShopMiniEnv) -> None:
    with pytest.raises(ValueError, match="noise is a probability, got 2"):
        Shopper(None, noise=2.0)
    for task in env.task_ids("train")[:20]:
        played(env, task, None, noise=0.5)


def test_acting_before_an_episode_is_refused() -> None:
    with pytest.raises(RuntimeError, match="begin"):
        Shopper(None).act("Search")


@pytest.mark.parametrize("results", [1, 3])
def test_the_oracle_buys_the_best_among_few_results(results: int) -> None:
    env = WebShopMiniEnv(results=results)
    for task_id in env.task_ids("test")[:60]:
        env.reset(options={"task": task_id})
        reward, is_over = 0.0, False
        for _ in range(15):
            if is_over:
                break
            _, reward, is_over, _, _ = env.step(str(env.oracle()))
        assert reward == 1.0


def test_a_search_shows_no_more_than_the_results_that_were_asked_for() -> None:
    env = WebShopMiniEnv(results=2)
    env.reset(seed=0)
    assert "Page 1 (Total results: 2)" in env.step("search[shoes]")[0]
    assert len(env.state.found) == 2


def test_results_change_the_rules_and_their_hash() -> None:
    assert WebShopMiniEnv().behaviour_hash == "37f6ea02ffc3655b"
    assert WebShopMiniEnv(results=3).behaviour_hash != WebShopMiniEnv(results=4).behaviour_hash


@pytest.mark.parametrize("results", [0, 51])
def test_results_out_of_range_are_refused(results: int) -> None:
    with pytest.raises(ValueError, match=rf"results is {results}; a search shows from 1 to 50"):
        WebShopMiniEnv(results=results)
