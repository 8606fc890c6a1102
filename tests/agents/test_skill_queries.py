"""Judgements from environments: every task's type, and what a task has of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest

from sdar_agents.skill_queries import TaskQuery, foreign_queries, judge, task_queries
from sdar_gym.envs.webshop.skill_texts import brand_skill_id
from sdar_gym.registration import SUITE, make, text_env
from sdar_gym.tasks import Panel, make_panel
from sdar_skills import SkillBankError, load_bank

MINI, SHOP = "sdar_gym/ALFWorldMini-v0", "sdar_gym/WebShopMini-v0"


def panel_of(env_id: str, episodes: int = 30) -> tuple[Panel, gym.Env[Any, Any]]:
    env = make(env_id)
    return make_panel(env, env_id, SUITE[env_id].evaluation_split, episodes), env


def test_a_task_of_the_mini_world_wants_its_types_skill_and_its_things() -> None:
    bank = load_bank("alfworld_mini")
    tasks = list(task_queries(*panel_of(MINI), source="task", seed=0))
    queries = {judged.query.text: judged for judged in judge(tasks, bank, "alfworld_mini")}
    assert len(queries) == len({task.text for task in tasks})
    for task in tasks:
        (own,) = task.own_skills
        # The goal's sentence names the thing.
        assert own.removeprefix("where-the-").removesuffix("-is") in task.text.split()
        grades = dict(queries[task.text].grades)
        assert grades.pop(own) == 2
        ((by_type, grade),) = grades.items()
        assert (bank[by_type].task_type, grade) == (task.task_type, 1)


def test_a_task_of_the_small_shop_wants_its_category_and_what_its_goal_needs() -> None:
    bank = load_bank("webshop_mini")
    panel, env = panel_of(SHOP)
    tasks = list(task_queries(panel, env, source="task", seed=0))
    told = 0
    for task, judged in zip(tasks, judge(tasks, bank, "webshop_mini"), strict=True):
        assert {bank[id].task_type for id in judged.grades} == {task.task_type}
        assert len(judged.grades) == 9
        env.reset(options={"task": task.task_id})
        wanted = text_env(env).goal  # type: ignore[attr-defined]
        brands = {id: grade for id, grade in judged.grades.items() if "-brand-of-" in id}
        told_of = [id.partition("-brand-of-")[2].replace("-", " ") for id, grade in brands.items() if grade == 2]
        assert set(told_of) == {it for it in wanted.attributes if brand_skill_id(task.task_type, it) in brands}
        assert (judged.grades[f"{task.task_type}-sizes"] == 2) == ("size: " in task.text)
        told += len(task.own_skills)
    assert told > 10


@pytest.mark.parametrize("goals", ["synthetic", "human"])
def test_sizes_are_found_in_goals_of_either_kind(goals: str) -> None:
    env = make(SHOP, goals=goals)
    panel = make_panel(env, SHOP, text_env(env).splits[0], 40)
    found = [
        (any(id.endswith("-sizes") for id in task.own_skills), "size" in task.text)
        for task in task_queries(panel, env, source="task", seed=0)
    ]
    assert set(found) == {(True, True), (False, False)}


@pytest.mark.parametrize("env_id", [name for name, entry in SUITE.items() if entry.own_skills is not None])
def test_skills_that_tasks_have_of_their_own_are_in_the_bundled_bank(env_id: str) -> None:
    own = {id for task in task_queries(*panel_of(env_id, 60), source="task", seed=0) for id in task.own_skills}
    assert own
    assert own <= set(load_bank(SUITE[env_id].family).ids)


def test_equal_goals_are_one_query_and_a_type_without_a_skill_has_nothing_right() -> None:
    tasks = [
        TaskQuery("a", "pick_and_place_simple", "put a mug in shelf.", ()),
        TaskQuery("b", "pick_and_place_simple", "put a mug in shelf.", ()),
        TaskQuery("c", "fly", "fly to the shelf.", ("no-such-skill",)),
    ]
    found = judge(tasks, load_bank("alfworld"), "alfworld")
    assert [(judged.id, dict(judged.grades)) for judged in found] == [("a", {"pick-and-place-simple": 1}), ("c", {})]
    with pytest.raises(SkillBankError, match="unknown env 'webshop'"):
        judge(tasks, load_bank("alfworld"), "webshop")


def test_the_source_decides_the_text_and_not_what_is_right() -> None:
    panel, env = panel_of(MINI, 12)
    by_source = {s: list(task_queries(panel, env, source=s, seed=0)) for s in ("task", "observation", "paraphrase")}
    for task, seen, said in zip(*by_source.values(), strict=True):
        assert len({task.text, seen.text, said.text}) == 3
        assert (seen.task_id, seen.task_type, seen.own_skills) == (task.task_id, task.task_type, task.own_skills)
        assert (said.task_id, said.task_type, said.own_skills) == (task.task_id, task.task_type, task.own_skills)
        # An observation of the middle: neither the first page, which states the goal, nor the last.
        assert "Your task is to" not in seen.text
    assert list(task_queries(panel, env, source="observation", seed=0)) == by_source["observation"]
    assert list(task_queries(panel, env, source="observation", seed=1)) != by_source["observation"]


@pytest.mark.parametrize(
    ("family", "worlds"),
    [("alfworld", {SHOP}), ("webshop_mini", {MINI}), ("number_line", {MINI, SHOP})],
)
def test_foreign_queries_are_of_other_worlds_and_nothing_is_right_for_them(family: str, worlds: set[str]) -> None:
    queries = foreign_queries(family, 9, source="task", seed=0)
    assert {judged.id.partition(" ")[0] for judged in queries} == worlds
    assert len({judged.query.text for judged in queries}) == len(queries) <= 9
    assert all(judged.query.env == family and not judged.grades for judged in queries)
    assert foreign_queries(family, 0, source="task", seed=0) == []


def test_equal_foreign_goals_are_one_query() -> None:
    queries = foreign_queries("webshop", 100, source="task", seed=0)
    assert 50 < len({judged.query.text for judged in queries}) == len(queries) < 100


@pytest.mark.data
def test_tasks_of_the_published_games_want_their_types_skill(env_kwargs: Callable[[str], dict[str, Any]]) -> None:
    env_id = "sdar_gym/ALFWorld-v0"
    env, bank = make(env_id, **env_kwargs(env_id)), load_bank("alfworld")
    tasks = list(task_queries(make_panel(env, env_id, "valid_seen"), env, source="task", seed=0))
    assert len({task.task_type for task in tasks}) == 6
    for judged in judge(tasks, bank, "alfworld"):
        assert [(bank[id].task_type, grade) for id, grade in judged.grades.items()] == [(judged.query.task_type, 1)]
