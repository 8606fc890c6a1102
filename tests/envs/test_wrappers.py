from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import sdar_gym
from sdar_gym import InvalidActionPenalty, Recorder, TaggedAction, parse_response
from sdar_gym.envs.number_line import NumberLineEnv
from sdar_gym.wrappers import FAILURES, Failure

TASK = {"task": "train/3-7"}


def walk() -> gym.Env[str, str]:
    return sdar_gym.make("sdar_gym/NumberLine-v0")


MALFORMED: list[tuple[str, Failure]] = [
    ("", "no_action_tag"),
    ("left", "no_action_tag"),
    ("<think>left it is</think> left", "no_action_tag"),
    ("<think>I could <action>left</action></think>", "no_action_tag"),
    ("<action>left</action><think>done</think>", "no_action_tag"),
    ("<action>left</action><action>right</action>", "several_actions"),
    ("<action>left</action> or <action>left</action>", "several_actions"),
    ("<action></action>", "empty_action"),
    ("<action> \n </action>", "empty_action"),
    ("<action>left", "unclosed_tag"),
    ("left</action>", "unclosed_tag"),
    ("</action>left<action>", "unclosed_tag"),
    ("<action><action>left</action>", "unclosed_tag"),
    ("<think>left is best <action>left</action>", "unclosed_tag"),
    ("<think>a</think><think>b <action>left</action>", "unclosed_tag"),
]


@pytest.mark.parametrize(("text", "failure"), MALFORMED)
def test_a_malformed_response_has_a_reason_and_no_action(text: str, failure: Failure) -> None:
    parsed = parse_response(text)
    assert parsed.failure == failure
    assert parsed.action == ""


@pytest.mark.parametrize(
    ("text", "action", "think"),
    [
        ("<action>go left</action>", "go left", None),
        ("<action>\n go left\n</action>", "go left", None),
        ("Well. <action>left</action> There.", "left", None),
        ("<think>hm</think><action>left</action>", "left", "hm"),
        ("<think>\nhm\n</think>\n\n<action>left</action>", "left", "hm"),
        ("the prompt opened this</think><action>left</action>", "left", "the prompt opened this"),
        ("<think>not <action>right</action></think><action>left</action>", "left", "not <action>right</action>"),
        ("<think></think><action>left</action>", "left", ""),
        ("<action>去厨房 < 3</action>", "去厨房 < 3", None),
    ],
)
def test_a_well_formed_response_gives_its_action_and_its_thinking(text: str, action: str, think: str | None) -> None:
    parsed = parse_response(text)
    assert (parsed.action, parsed.failure, parsed.think) == (action, None, think)


def test_thinking_is_demanded_only_on_request() -> None:
    assert parse_response("<action>left</action>").failure is None
    assert parse_response("<action>left</action>", require_think=True).failure == "no_think_tag"
    assert parse_response("<think>x</think><action>left</action>", require_think=True).failure is None


def test_every_failure_can_happen() -> None:
    seen = {failure for _, failure in MALFORMED} | {parse_response("", require_think=True).failure}
    assert seen == set(FAILURES)


def test_a_plain_response_is_the_action() -> None:
    assert parse_response("  go left\n", plain=True).action == "go left"
    assert parse_response("<action>left</action>", plain=True).action == "<action>left</action>"
    assert parse_response(" \n", plain=True).failure == "empty_action"


def test_plain_and_thinking_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        TaggedAction(walk(), plain=True, require_think=True)


def test_a_huge_response_is_parsed_in_no_time() -> None:
    assert parse_response("<action>" * 200_000).failure == "unclosed_tag"
    assert parse_response("<action></action>" * 100_000).failure == "several_actions"


def test_the_action_in_the_tags_is_played() -> None:
    env = TaggedAction(walk())
    _, info = env.reset(options=TASK)
    assert info["failure"] is None
    observation, _, _, _, info = env.step("<think>up</think><action>right</action>")
    assert observation == "You are at 4. Go to 7."
    assert (info["action"], info["failure"], info["is_action_valid"]) == ("right", None, True)


def test_a_malformed_response_costs_its_turn_and_moves_nothing() -> None:
    env = TaggedAction(walk())
    env.reset(options=TASK)
    observation, _, _, truncated, info = env.step("right")
    assert observation == "That is not possible. You are at 3. Go to 7."
    assert (info["action"], info["failure"], info["is_action_valid"]) == ("", "no_action_tag", False)
    assert not truncated
    # The time limit of 10 has run on: nine more malformed turns end the episode.
    assert [env.step("right")[3] for _ in range(9)] == [False] * 8 + [True]


class Lenient(NumberLineEnv):
    """Understands whatever it is sent."""

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, {**info, "is_action_valid": True}


def test_a_malformed_response_is_invalid_whatever_the_environment_says() -> None:
    env = TaggedAction(Lenient())
    env.reset(options=TASK)
    assert env.step("<action>fly</action>")[4]["is_action_valid"] is True
    assert env.step("fly")[4]["is_action_valid"] is False


def test_an_action_that_is_well_formed_but_not_understood_is_no_failure_of_format() -> None:
    env = TaggedAction(walk())
    env.reset(options=TASK)
    info = env.step("<action>fly</action>")[4]
    assert (info["action"], info["failure"], info["is_action_valid"]) == ("fly", None, False)


def test_a_response_that_is_no_string_is_refused() -> None:
    env = TaggedAction(walk())
    env.reset(options=TASK)
    with pytest.raises(TypeError, match="not int"):
        env.step(3)  # type: ignore[arg-type]


def test_each_invalid_turn_costs_the_coefficient() -> None:
    env = InvalidActionPenalty(TaggedAction(walk()), coefficient=0.25)
    assert env.reset(options={"task": "train/3-4"})[1]["invalid_actions"] == 0
    played = [env.step(response) for response in ("right", "<action>fly</action>", "<action>right</action>")]
    # Malformed: 0 - 0.25; not understood: 0 - 0.25; solved: 1.
    assert [reward for _, reward, _, _, _ in played] == [-0.25, -0.25, 1.0]
    assert [info["invalid_actions"] for *_, info in played] == [1, 2, 2]
    assert env.reset(options=TASK)[1]["invalid_actions"] == 0
    assert env.step("malformed")[4]["invalid_actions"] == 1


def test_the_penalty_counts_the_same_inside_and_outside_of_the_tags() -> None:
    inside = TaggedAction(InvalidActionPenalty(walk(), 0.5))
    outside = InvalidActionPenalty(TaggedAction(walk()), 0.5)
    for env in (inside, outside):
        env.reset(options=TASK)
    for response in ("x", "<action>fly</action>", "<action>left</action>"):
        assert inside.step(response)[1] == outside.step(response)[1]


def test_a_negative_penalty_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        InvalidActionPenalty(walk(), coefficient=-0.1)


def test_the_transcript_holds_what_was_seen_sent_and_answered(tmp_path: Path) -> None:
    env = Recorder(TaggedAction(walk()))
    env.reset(options={"task": "train/3-4"})
    env.step("\ud800 nonsense \u2028")
    env.step("<action>right</action>")
    env.reset(options=TASK)
    env.step("<action>left</action>")
    first, second, third = env.turns
    assert (first.episode, first.turn, first.task_id) == (0, 0, "train/3-4")
    assert first.observation == "You are at 3. Go to 4."
    assert first.action == "\ud800 nonsense \u2028"
    assert first.answer == "That is not possible. You are at 3. Go to 4."
    assert (first.failure, first.is_action_valid, first.success) == ("no_action_tag", False, False)
    assert second.observation == first.answer
    assert (second.turn, second.reward, second.terminated, second.score) == (1, 1.0, True, 1.0)
    assert (third.episode, third.turn, third.task_id) == (1, 0, "train/3-7")

    path = tmp_path / "transcript.jsonl"
    env.write_jsonl(path)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row["answer"] for row in rows] == [turn.answer for turn in env.turns]
    assert rows[0]["action"] == "\ud800 nonsense \u2028"
    env.clear()
    assert env.turns == ()


@pytest.mark.parametrize("require_think", [False, True])
def test_the_oracle_speaks_the_language_of_the_wrapper(require_think: bool) -> None:
    env = Recorder(InvalidActionPenalty(TaggedAction(walk(), require_think=require_think)))
    env.reset(options=TASK)
    total = 0.0
    terminated = False
    while not terminated:
        response = env.oracle()
        assert response is not None
        _, reward, terminated, _, info = env.step(response)
        total += reward
    assert info["success"]
    assert total == 1.0
    assert env.oracle() is None
    assert env.turns[0].action.endswith("<action>right</action>")


def test_the_environments_own_methods_are_reached_through_every_wrapper() -> None:
    env = Recorder(InvalidActionPenalty(TaggedAction(walk())))
    env.reset(options=TASK)
    snapshot = env.snapshot()
    env.step("<action>right</action>")
    env.restore(snapshot)
    assert env.step("<action>left</action>")[0] == "You are at 2. Go to 7."
    assert env.task_ids("valid") == sdar_gym.text_env(env).task_ids("valid")


def test_wrapped_environments_can_be_made_again_from_their_spec() -> None:
    env = Recorder(InvalidActionPenalty(TaggedAction(walk(), require_think=True), coefficient=0.5))
    assert env.spec is not None
    again = env.spec.make()
    again.reset(options=TASK)
    _, reward, _, _, info = again.step("<action>right</action>")
    assert (reward, info["failure"]) == (-0.5, "no_think_tag")
