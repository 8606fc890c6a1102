"""Rollouts: ids kept, finished episodes cost nothing, the teacher's prompt is the student's plus the skills."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdar_agents.backends.hf import HFBackend
from sdar_agents.backends.scripted import ScriptedBackend
from sdar_agents.episode import Sampling
from sdar_agents.policy import load_policy
from sdar_agents.rollout import (
    Assignment,
    EnvPool,
    RolloutCounts,
    RolloutSettings,
    draw_seed,
    make_agent_env,
    play,
)
from sdar_agents.teacher import NoSkillsError, PrivilegedContext
from sdar_agents.tokens import ChatTokenizer
from sdar_gym.prompts import COMPACT, TAGGED
from sdar_skills.bank import load_bank
from sdar_skills.retrievers import make_retriever

ENV = "sdar_gym/NumberLine-v0"
ASSIGNMENTS = [Assignment("train/3-7", 0), Assignment("train/3-7", 0), Assignment("train/2-0", 1)]


@pytest.fixture(scope="module")
def tokenizer(number_line_model: Path) -> ChatTokenizer:
    return load_policy(str(number_line_model))[1]


@pytest.fixture
def context(tokenizer: ChatTokenizer, number_line_bank: Path) -> PrivilegedContext:
    retriever = make_retriever("task_type", load_bank(number_line_bank))
    return PrivilegedContext(retriever, "number_line", 1, 50, lambda text: len(tokenizer.text_ids(text)))


def settings(**changes: Any) -> RolloutSettings:
    return RolloutSettings(env_id=ENV, sampling=Sampling(max_tokens=8), max_prompt_tokens=300, **changes)


def pool() -> EnvPool:
    return EnvPool(lambda: make_agent_env(ENV, COMPACT))


def by_oracle(text: str) -> str:
    here, goal = (int(part.split(".")[0]) for part in text.rpartition("You are at ")[2].split("Go to "))
    return "right" if goal > here else "left"


def roll(tokenizer: ChatTokenizer, respond: Callable[[str], str], **changes: Any) -> tuple[Any, ScriptedBackend]:
    backend = ScriptedBackend(tokenizer, respond)
    arguments: dict[str, Any] = {"settings": settings(), "context": None, "seed": "0"} | changes
    rollout = play(ASSIGNMENTS, pool=pool(), backend=backend, tokenizer=tokenizer, **arguments)
    return rollout.episodes, backend


def test_a_right_walk_is_a_success_with_reward_on_its_last_turn(tokenizer: ChatTokenizer) -> None:
    episodes, _ = roll(tokenizer, by_oracle)
    assert [episode.success for episode in episodes] == [True] * 3
    assert [turn.reward for turn in episodes[0].turns] == [0.0, 0.0, 0.0, 1.0]
    assert [episode.group for episode in episodes] == [0, 0, 1]
    assert [episode.task_id for episode in episodes] == ["train/3-7", "train/3-7", "train/2-0"]


def test_finished_episodes_are_not_generated_for(tokenizer: ChatTokenizer) -> None:
    # Four turns for each walk from 3 to 7, two for the walk from 2 to 0.
    _, backend = roll(tokenizer, by_oracle)
    assert backend.calls == [3, 3, 2, 2]


def test_the_time_limit_truncates(tokenizer: ChatTokenizer) -> None:
    episodes, _ = roll(tokenizer, lambda _: "stay")
    assert all(episode.truncated and not episode.success and len(episode.turns) == 10 for episode in episodes)


def test_a_response_the_environment_does_not_understand_is_invalid(tokenizer: ChatTokenizer) -> None:
    episodes, _ = roll(tokenizer, lambda _: "fly")
    assert all(not turn.is_valid for turn in episodes[0].turns)
    assert episodes[0].invalid_turns == 10


def test_an_empty_response_names_its_failure(tokenizer: ChatTokenizer) -> None:
    episodes, _ = roll(tokenizer, lambda _: " ")
    assert episodes[0].turns[0].failure == "empty_action"
    assert episodes[0].turns[0].action == ""


def test_with_tags_an_action_needs_its_thinking(tokenizer: ChatTokenizer) -> None:
    tagged = EnvPool(lambda: make_agent_env(ENV, TAGGED))
    for text, failure in (
        ("<action>right</action>", "no_think_tag"),
        ("<think>It is larger.</think><action>right</action>", None),
    ):
        (episode,) = play(
            [Assignment("train/3-7", 0)],
            pool=tagged,
            backend=ScriptedBackend(tokenizer, lambda _, text=text: text),
            tokenizer=tokenizer,
            settings=RolloutSettings(ENV, Sampling(max_tokens=100), 500),
            context=None,
            seed="0",
        ).episodes
        assert episode.turns[0].failure == failure
        assert episode.success == (failure is None)


def test_the_teacher_sees_the_tasks_own_skill_in_the_user_turn(
    tokenizer: ChatTokenizer, context: PrivilegedContext
) -> None:
    episodes, _ = roll(tokenizer, by_oracle, settings=settings(teacher_prompts=True), context=context)
    for episode, skill in zip(episodes, ["Say right.", "Say right.", "Say left."], strict=True):
        for turn in episode.turns:
            teacher = tokenizer.tokenizer.decode(turn.teacher_prompt_ids)
            student = tokenizer.tokenizer.decode(turn.prompt_ids)
            assert teacher.replace(f"Skills:\n{skill}\n", "") == student
            assert teacher.index("<|im_start|>user") < teacher.index(skill) < teacher.index("<|im_end|>")
    assert episodes[0].skill_ids == ("go-right",)


def test_without_skills_the_teachers_prompt_is_the_students(tokenizer: ChatTokenizer) -> None:
    empty = PrivilegedContext(None, "", 1, 50, tokenizer.count)
    episodes, _ = roll(tokenizer, by_oracle, settings=settings(teacher_prompts=True), context=empty)
    assert all(turn.teacher_prompt_ids == turn.prompt_ids for episode in episodes for turn in episode.turns)


def test_skills_on_shows_them_to_the_acting_model(tokenizer: ChatTokenizer, context: PrivilegedContext) -> None:
    episodes, _ = roll(
        tokenizer,
        lambda text: "right" if "Say right." in text else "left" if "Say left." in text else "stay",
        settings=settings(student_skills=True),
        context=context,
    )
    assert all(episode.success for episode in episodes)


def test_asking_for_skills_without_a_source_is_an_error(tokenizer: ChatTokenizer) -> None:
    with pytest.raises(ValueError, match="no privileged context"):
        roll(tokenizer, by_oracle, settings=settings(student_skills=True))


def test_a_retriever_that_finds_nothing_stops_the_run(tokenizer: ChatTokenizer) -> None:
    class FindsNothing:
        def retrieve(self, query: object, k: int) -> list[Any]:
            return []

    context = PrivilegedContext(FindsNothing(), "number_line", 1, 50, tokenizer.count)
    with pytest.raises(NoSkillsError, match="returned no skill for the task"):
        roll(tokenizer, by_oracle, settings=settings(teacher_prompts=True), context=context)


def test_a_skill_longer_than_its_budget_is_an_error_not_a_cut(
    tokenizer: ChatTokenizer, context: PrivilegedContext
) -> None:
    context.budget_tokens = 1
    with pytest.raises(NoSkillsError, match="--max-skill-tokens"):
        roll(tokenizer, by_oracle, settings=settings(teacher_prompts=True), context=context)


def test_what_is_cut_from_prompts_is_counted(tokenizer: ChatTokenizer) -> None:
    longest = len(tokenizer.prompt_ids("Task: Go to 7.\nDone: stay; stay; stay\nNow: You are at 3. Go to 7."))
    counts = RolloutCounts()
    tight = RolloutSettings(env_id=ENV, sampling=Sampling(max_tokens=8), max_prompt_tokens=longest)
    episodes, _ = roll(tokenizer, lambda _: "stay", settings=tight, counts=counts)
    assert counts.dropped_history > 0
    assert counts.turns == 30
    assert max(len(turn.prompt_ids) for episode in episodes for turn in episode.turns) <= longest


def test_the_same_seed_plays_the_same_episodes(number_line_model: Path) -> None:
    model, tokenizer = load_policy(str(number_line_model))
    backend = HFBackend(model, tokenizer)
    arguments: dict[str, Any] = {"pool": pool(), "backend": backend, "tokenizer": tokenizer, "context": None}
    one, again, other = (
        play(ASSIGNMENTS, settings=settings(), seed=seed, **arguments)
        for seed in ("1/train/0", "1/train/0", "2/train/0")
    )
    assert one == again
    assert one != other


def test_playing_in_parts_gives_the_same_episodes(number_line_model: Path) -> None:
    model, tokenizer = load_policy(str(number_line_model))
    arguments: dict[str, Any] = {
        "pool": pool(),
        "backend": HFBackend(model, tokenizer),
        "tokenizer": tokenizer,
        "context": None,
        "settings": settings(),
        "seed": "1",
    }
    whole = play(ASSIGNMENTS, **arguments).episodes
    parts = play(ASSIGNMENTS[:1], **arguments).episodes + play(ASSIGNMENTS[1:], first=1, **arguments).episodes
    assert [[turn.completion.token_ids for turn in e.turns] for e in whole] == [
        [turn.completion.token_ids for turn in e.turns] for e in parts
    ]


def test_a_draw_seed_is_the_same_on_every_machine() -> None:
    # blake2b("0/train/0/1/2", 8 bytes), big-endian.
    import hashlib

    expected = int.from_bytes(hashlib.blake2b(b"0/train/0/1/2", digest_size=8).digest(), "big")
    assert draw_seed("0/train/0", 1, 2) == expected
