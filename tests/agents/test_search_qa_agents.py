"""Agents in Search-QA: the prompt of its protocol, malformed responses, and a search engine that fails under them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sdar_agents.backends.scripted import ScriptedBackend
from sdar_agents.cli import main
from sdar_agents.config import preset_config
from sdar_agents.env_hosts import EnvPool, make_agent_env
from sdar_agents.episode import Sampling
from sdar_agents.evaluate import evaluate_rule
from sdar_agents.player import AgentOptions, choose_agent
from sdar_agents.policy import TINY, load_policy
from sdar_agents.rollout import Assignment, Rollout, RolloutCounts, RolloutError, RolloutSettings, play
from sdar_agents.setup import resolve_style
from sdar_agents.tokens import ChatTokenizer
from sdar_agents.train import train
from sdar_gym.envs.search_qa.passages import Hit, Passage, RetrieverUnavailableError
from sdar_gym.prompts import COMPACT, PROMPT_STYLES, SEARCH, TAGGED, Prompt, fit
from sdar_gym.registration import SUITE, make
from sdar_gym.tasks import make_panel

ENV = "sdar_gym/SearchQA-v0"
SEA, TRADE = "hotpotqa/hotpotqa-5a0011", "nq/nq-test_0"
ASSIGNMENTS = [Assignment(SEA, 0), Assignment(SEA, 0), Assignment(TRADE, 1)]


class Flaky:
    """An engine that finds what it is given, unless the query is one that it fails at, so many times."""

    def __init__(self, fails_at: str = "", times: int = 0) -> None:
        self.fails_at, self.times = fails_at, times
        self.queries: list[str] = []

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.queries += queries
        for query in queries:
            if query == self.fails_at and self.times:
                self.times -= 1
                raise RetrieverUnavailableError("http://there does not answer within 2 seconds")
        return [[Hit(Passage("1", query, f"What is known of {query}."), 1.0)] for query in queries]


@pytest.fixture(scope="module")
def tokenizer() -> ChatTokenizer:
    return load_policy(TINY)[1]


def by_reading(prompt: str) -> str:
    """Searches for what is asked, then answers."""
    is_sea = "In which sea" in prompt
    if "Doc 1(" not in prompt:
        return f"<think>What is it?</think><search>{'Osk' if is_sea else 'Ada'}</search>"
    return f"<think>I see.</think><answer>{'Marl Sea' if is_sea else 'clockmaker'}</answer>"


Roll = Callable[..., Rollout]


@pytest.fixture
def roll(tokenizer: ChatTokenizer, search_qa_folder: Path) -> Roll:
    def run(
        respond: Callable[[str], str] = by_reading,
        engine: Any = None,
        host: str = "auto",
        counts: RolloutCounts | None = None,
        assignments: Sequence[Assignment] = ASSIGNMENTS,
        **options: Any,
    ) -> Rollout:
        made = partial(make_agent_env, ENV, SEARCH, data=search_qa_folder, engine=engine or "bm25", **options)
        pool = EnvPool(made, host)
        try:
            return play(
                assignments,
                pool=pool,
                backend=ScriptedBackend(tokenizer, respond),
                tokenizer=tokenizer,
                settings=RolloutSettings(ENV, Sampling(max_tokens=200), 3000),
                context=None,
                seed="0",
                counts=counts,
            )
        finally:
            pool.close()

    return run


def test_a_scripted_agent_searches_reads_and_answers(roll: Roll) -> None:
    episodes = roll().episodes
    assert [(e.success, e.episode_return, len(e.turns)) for e in episodes] == [(True, 1.0, 2)] * 3
    first, last = episodes[0].turns
    assert (first.action, first.failure, first.is_valid) == ("<search>Osk</search>", None, True)
    assert last.action == "<answer>Marl Sea</answer>"
    assert {e.task_type for e in episodes} == {"multi_hop", "direct"}


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("<think>a</think><search>Osk", "unclosed_tag"),
        ("<search></search>", "empty_action"),
        ("I would search.", "no_action_tag"),
        ("", "empty_action"),
        ("<search>a<search>b</search></search>", "nested_tags"),
        ("<search>Osk</search><answer>x</answer>", "several_actions"),
    ],
)
def test_malformed_responses_are_told_apart_and_cost_their_turn(roll: Roll, text: str, failure: str) -> None:
    (episode, *_) = roll(lambda _: text).episodes
    assert [turn.failure for turn in episode.turns] == [failure] * 4
    assert episode.invalid_turns == 4
    assert episode.truncated
    assert not episode.success


@pytest.mark.parametrize("host", ["inline", "threads"])
def test_an_episode_whose_engine_fails_once_is_played_afresh(roll: Roll, host: str) -> None:
    engine, counts = Flaky("Osk", times=1), RolloutCounts()
    rollout = roll(engine=engine, host=host, counts=counts)
    assert rollout.failures == ()
    assert [e.success for e in rollout.episodes] == [True] * 3
    assert engine.queries.count("Osk") == 3  # two episodes, one of them twice
    assert (counts.failed_episodes, counts.dropped_groups) == (0, 0)


@pytest.mark.parametrize("host", ["inline", "threads"])
def test_an_engine_that_stays_away_leaves_out_the_group_and_scores_nobody(roll: Roll, host: str) -> None:
    counts = RolloutCounts()
    rollout = roll(engine=Flaky("Osk", times=99), host=host, counts=counts)
    assert [(e.task_id, e.success) for e in rollout.episodes] == [(TRADE, True)]
    assert [(failure.task_id, failure.group, len(failure.errors)) for failure in rollout.failures] == [(SEA, 0, 2)] * 2
    assert rollout.failures[0].errors[0].startswith(f"the search engine of '{SEA}' does not answer: http://there")
    assert (counts.failed_episodes, counts.dropped_groups, counts.turns) == (2, 1, 2)


def test_rule_agents_leave_such_an_episode_out_too(search_qa_folder: Path) -> None:
    panel = make_panel(make(ENV, data=search_qa_folder), ENV, "hotpotqa")
    options: dict[str, Any] = {"data": search_qa_folder}
    # Both oracles search for Lower Fenwick or Cora Lind first; only the former's engine fails.
    once = evaluate_rule("oracle", panel=panel, env_options=options | {"engine": Flaky("Lower Fenwick", 1)})
    assert (once.n, once.failed, once.success_rate) == (2, (), 1.0)
    assert once.solved == panel.task_ids
    for_ever = evaluate_rule("oracle", panel=panel, env_options=options | {"engine": Flaky("Lower Fenwick", 99)})
    assert (for_ever.n, for_ever.failed, for_ever.success_rate) == (1, (SEA,), 1.0)
    assert for_ever.solved == tuple(task for task in panel.task_ids if task != SEA)
    alone = replace(panel, task_ids=(SEA,), digests=None)
    with pytest.raises(RolloutError, match="does not answer"):
        evaluate_rule("oracle", panel=alone, env_options=options | {"engine": Flaky("Lower Fenwick", 99)})


def test_a_random_agent_plays_and_repeats(search_qa_folder: Path) -> None:
    panel = make_panel(make(ENV, data=search_qa_folder), ENV, "hotpotqa")
    results = [evaluate_rule("random", panel=panel, env_options={"data": search_qa_folder}, seed=s) for s in (1, 1)]
    assert results[0].turns_mean == results[1].turns_mean
    assert results[0].success_rate < 1.0


# ---- the prompt ----


def prompts_of(folder: Path, *responses: str, **options: Any) -> list[Prompt]:
    env = make_agent_env(ENV, SEARCH, data=folder, **options)
    seen = [env.reset(options={"task": SEA})[1]["prompt"]]
    return seen + [env.step(response)[4]["prompt"] for response in responses]


def test_the_first_prompt_asks_and_explains_the_tags(search_qa_folder: Path) -> None:
    (prompt,) = prompts_of(search_qa_folder)
    lines = prompt.render().splitlines()
    assert lines[0] == SEARCH.preamble
    assert lines[1] == "Task: In which sea ends the river of Lower Fenwick?"
    assert lines[2] == "Now: Nothing has been searched for yet."
    assert lines[-1] == SEARCH.instruction
    for tag in ("<think>", "<search>", "<information>", "<answer>"):
        assert tag in lines[-1]
    assert prompt.render().count("In which sea") == 1
    assert prompt.render("Look twice.").splitlines()[2:4] == ["Skills:", "Look twice."]


def test_searches_and_what_they_found_stay_in_the_prompt_without_the_thoughts(search_qa_folder: Path) -> None:
    *_, prompt = prompts_of(
        search_qa_folder,
        "<think>Secret.</think><search>one</search>",
        "no tags",
        "<search>two</search>",
        engine=Flaky(),
    )
    text = prompt.render()
    assert "Secret" not in text
    order = [
        "> <search>one</search>",
        "What is known of one.",
        "> (no action)",
        "cannot be followed",
        "> <search>two</search>",
        "Now: <information>",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_the_oldest_information_is_cut_first_and_the_queries_stay(search_qa_folder: Path) -> None:
    *_, prompt = prompts_of(
        search_qa_folder, *(f"<search>{word}</search>" for word in ("one", "two", "three")), engine=Flaky(), max_turns=9
    )
    # What was seen before the first search (nothing) is the oldest; then comes what the first search found.
    queries = ["<search>one</search>", "<search>two</search>", "<search>three</search>"]
    for dropped in (1, 2, 3):
        kept = replace(prompt, history=prompt.history[dropped:], actions=tuple(queries[:dropped]))
        fitted = fit(prompt, budget_tokens=len(kept.render()), count_tokens=len)
        assert fitted.prompt == kept
        assert fitted.dropped_history == dropped
    text = fitted.prompt.render()
    assert f"Done: {'; '.join(queries)}\nNow: <information>" in text
    assert "What is known of three." in text
    assert "What is known of two." not in text
    # Only then queries go, the oldest first.
    fitted = fit(prompt, budget_tokens=len(text) - 1, count_tokens=len)
    assert fitted.prompt.actions == tuple(queries[1:])


def test_a_search_beside_other_tags_is_noted_as_done(search_qa_folder: Path) -> None:
    *_, prompt = prompts_of(search_qa_folder, "<search>one</search><answer>x</answer>", "<answer>", engine=Flaky())
    assert [exchange.noted_action for exchange in prompt.history] == ["<search>one</search>", "(no action) (failed)"]


def test_the_style_comes_from_the_environment_unless_one_is_named() -> None:
    assert resolve_style("auto", TINY, ENV) is SEARCH
    assert resolve_style("auto", "some/model", ENV) is SEARCH
    assert resolve_style("tagged", TINY, ENV) is TAGGED
    assert resolve_style("auto", TINY, "sdar_gym/ALFWorldMini-v0") is COMPACT
    assert resolve_style("auto", TINY) is COMPACT
    assert {entry.prompt_style for entry in SUITE.values()} - {None} <= set(PROMPT_STYLES)


def test_a_model_behind_an_endpoint_gets_the_environments_style() -> None:
    here = choose_agent(AgentOptions("openai:some-model", env=ENV))
    assert here.style is SEARCH
    assert here.options.backend == "openai"
    elsewhere = choose_agent(AgentOptions("openai:some-model", env="sdar_gym/NumberLine-v0"))
    assert elsewhere.style is TAGGED


def test_with_action_tags_the_protocol_stands_within_them(search_qa_folder: Path) -> None:
    env = make_agent_env(ENV, TAGGED, data=search_qa_folder)
    env.reset(options={"task": SEA})
    info = env.step("<think>Hm.</think><action><answer>Marl Sea</answer></action>")[4]
    assert (info["success"], info["failure"]) == (True, None)


# ---- whole commands ----


def test_the_tiny_model_trains_and_is_evaluated_on_it(tmp_path: Path, search_qa_folder: Path) -> None:
    config = replace(
        preset_config("quickstart", "grpo"),
        env=ENV,
        data=str(search_qa_folder),
        run=str(tmp_path / "run"),
        model=TINY,
        retriever="none",
        steps=1,
        groups=2,
        group_size=2,
        max_prompt_tokens=2500,
        max_response_tokens=16,
        eval_episodes=2,
    )
    train(config)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    step = next(found for found in map(json.loads, lines) if found["kind"] == "train")
    assert step["episode_turns"] == 4.0
    assert step["valid_actions"] < 1.0


def test_the_oracle_is_evaluated_and_watched_from_the_command_line(
    search_qa_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(search_qa_folder)]
    main(["eval", "--env", ENV, "--agent", "oracle", *data])
    assert "success 1.000" in capsys.readouterr().out
    main(["eval", "--env", ENV, "--agent", "random", "--panel", "nq", *data, "--env-options", "max_turns=2"])
    assert "n=2" in capsys.readouterr().out
    main(["play", ENV, "--agent", "oracle", "--task", SEA, *data])
    out = capsys.readouterr().out
    assert "<search>Lower Fenwick</search>" in out
    assert "solved after 3 turns" in out
