"""Prompts: sections, the skill slot, budgets that cut in a fixed order, the history wrapper."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdar_gym import prompts
from sdar_gym.prompts import (
    COMPACT,
    PROMPT_STYLES,
    TAGGED,
    Exchange,
    HistoryPrompt,
    Prompt,
    PromptTooLongError,
    fit,
    prompt_hash,
    prompt_style,
)
from sdar_gym.registration import make

PROMPT = Prompt(
    style=TAGGED,
    task="put a mug in fridge.",
    opening="You see a fridge 1.",
    history=(Exchange("You see a fridge 1.", "go to fridge 1"), Exchange("It is closed.", "open fridge 1")),
    actions=("look",),
    observation="It is open.",
    admissible_actions=("close fridge 1", "look", "help"),
    turn=3,
)


def words(text: str) -> int:
    return len(text.split())


def test_the_skill_slot_stands_right_after_the_task() -> None:
    lines = PROMPT.render("Mugs are kept in the cabinet.").splitlines()
    place = lines.index("Task: put a mug in fridge.")
    assert lines[place + 1 : place + 3] == ["Skills:", "Mugs are kept in the cabinet."]


def test_without_skills_nothing_marks_the_slot() -> None:
    assert "Skills" not in PROMPT.render("")


def test_with_and_without_skills_the_rest_is_the_same() -> None:
    skills = "Mugs are kept in the cabinet."
    assert PROMPT.render(skills).replace(f"Skills:\n{skills}\n", "") == PROMPT.render()


def test_a_prompt_that_fits_is_left_alone() -> None:
    fitted = fit(PROMPT, budget_tokens=1000, count_tokens=words)
    assert fitted.prompt == PROMPT
    assert (fitted.dropped_history, fitted.dropped_admissible) == (0, 0)


def test_history_is_cut_before_admissible_actions() -> None:
    full = words(PROMPT.render())
    fitted = fit(PROMPT, budget_tokens=full - 1, count_tokens=words)
    assert fitted.prompt.admissible_actions == PROMPT.admissible_actions
    assert fitted.prompt.actions == ()
    assert fitted.prompt.history == PROMPT.history
    assert fitted.dropped_history == 1


def test_the_oldest_exchange_goes_first() -> None:
    without_actions = words(replace(PROMPT, actions=()).render())
    fitted = fit(PROMPT, budget_tokens=without_actions - 1, count_tokens=words)
    assert fitted.prompt.history == PROMPT.history[1:]
    assert fitted.dropped_history == 2


def test_admissible_actions_are_cut_last_and_counted() -> None:
    bare = words(replace(PROMPT, actions=(), history=()).render())
    fitted = fit(PROMPT, budget_tokens=bare - 1, count_tokens=words)
    assert fitted.prompt.history == ()
    assert fitted.prompt.admissible_actions == ("close fridge 1", "look")
    assert (fitted.dropped_history, fitted.dropped_admissible) == (3, 1)


def test_a_task_longer_than_the_budget_is_an_error_with_both_numbers() -> None:
    with pytest.raises(PromptTooLongError, match=r"the budget is 5.*--max-prompt-tokens"):
        fit(PROMPT, budget_tokens=5, count_tokens=words)


def test_history_shows_what_was_seen_before_each_action() -> None:
    env = HistoryPrompt(make("sdar_gym/NumberLine-v0"), TAGGED)
    first, info = env.reset(options={"task": "train/3-7"})
    assert "You are at 3." in first
    assert info["prompt"].turn == 0
    second, _, _, _, info = env.step("right")
    assert info["prompt"].history == (Exchange("(as at the start)", "right"),)
    assert "Now: You are at 4." in second
    third, _, _, _, info = env.step("right")
    assert info["prompt"].history[-1].action == "right"
    assert "You are at 4." in info["prompt"].history[-1].observation
    assert "Now: You are at 5." in third


def test_the_window_keeps_as_many_exchanges_as_the_style_says() -> None:
    env = HistoryPrompt(make("sdar_gym/NumberLine-v0"), replace(TAGGED, observations=2, actions=1))
    env.reset(options={"task": "train/0-6"})
    for _ in range(5):
        _, _, _, _, info = env.step("stay")
    assert len(info["prompt"].history) == 2
    assert len(info["prompt"].actions) == 1


def test_the_compact_style_shows_all_actions_and_no_list() -> None:
    env = HistoryPrompt(make("sdar_gym/NumberLine-v0"), COMPACT)
    env.reset(options={"task": "train/0-6"})
    env.step("right")
    text, *_ = env.step("stay")
    assert text.splitlines() == ["Task: Go to 6.", "Done: right; stay", "Now: You are at 1. Go to 6."]


def test_an_episode_forgets_the_one_before() -> None:
    env = HistoryPrompt(make("sdar_gym/NumberLine-v0"), COMPACT)
    env.reset(options={"task": "train/0-6"})
    env.step("right")
    text, info = env.reset(options={"task": "train/3-7"})
    assert info["prompt"].turn == 0
    assert "Done" not in text


def test_a_misspelt_style_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'compact'"):
        prompt_style("compakt")


def test_styles_have_hashes_of_their_own() -> None:
    hashes = {name: prompt_hash(style) for name, style in PROMPT_STYLES.items()}
    assert len(set(hashes.values())) == len(hashes)
    assert hashes == {name: prompt_hash(style) for name, style in PROMPT_STYLES.items()}


@pytest.mark.parametrize("change", [{"preamble": "Act."}, {"observations": 3}, {"keep_opening": False}, {"actions": 1}])
def test_a_changed_style_has_another_hash(change: dict[str, object]) -> None:
    assert prompt_hash(replace(TAGGED, **change)) != prompt_hash(TAGGED)  # type: ignore[arg-type]


def test_any_changed_word_around_observations_changes_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: prompt_hash(style) for name, style in PROMPT_STYLES.items()}

    def changes(old: str, new: str) -> set[str]:
        """Styles whose hash differs when a word that a message is made of is another."""
        with monkeypatch.context() as patch:
            around = Prompt.around_slot

            def other(self: Prompt) -> tuple[str, str]:
                start, end = around(self)
                return start.replace(old, new), end.replace(old, new)

            patch.setattr(Prompt, "around_slot", other)
            return {name for name, style in PROMPT_STYLES.items() if prompt_hash(style) != before[name]}

    everywhere = set(PROMPT_STYLES)
    assert changes("Now: ", "Seen: ") == changes("Task: ", "Goal: ") == everywhere
    assert changes("At the start: ", "First: ") == {"tagged"}
    assert changes("(as at the start)", "(see above)") == {"tagged"}
    assert changes("Admissible actions: ", "Choose: ") == {"tagged"}
    assert changes("Done: ", "So far: ") == {"compact", "compact_search", "search"}
    assert changes("(failed)", "(no)") == {"compact", "compact_search", "search"}
    assert changes("(no action)", "(nothing)") == everywhere
    with monkeypatch.context() as patch:
        patch.setattr(prompts, "fill_slot", lambda around, skills: "\n".join([around[0], skills, around[1]]))
        assert all(prompt_hash(style) != before[name] for name, style in PROMPT_STYLES.items())
