from __future__ import annotations

import pytest

from sdar_skills import Match, Skill, render_skills


def match(id: str, body: str, score: float = 1.0) -> Match:
    return Match(Skill(id, "kitchen", "heat", title=id.upper(), description="d", body=body), score)


def count_words(text: str) -> int:
    return len(text.split())


THREE = [match("a", "one two"), match("b", "three four five"), match("c", "six")]


def test_whole_bodies_are_joined_most_relevant_first() -> None:
    rendering = render_skills(THREE, budget_tokens=6, count_tokens=count_words)
    assert rendering.text == "one two\nthree four five\nsix"
    assert rendering.skill_ids == ("a", "b", "c")
    assert rendering.tokens == 6
    assert rendering.dropped_ids == ()


def test_what_does_not_fit_is_dropped_whole_and_named() -> None:
    # 2 + 3 words exceed 4, so b goes; 2 + 1 words fit, so c stays.
    rendering = render_skills(THREE, budget_tokens=4, count_tokens=count_words)
    assert rendering.text == "one two\nsix"
    assert rendering.skill_ids == ("a", "c")
    assert rendering.tokens == 3
    assert rendering.dropped_ids == ("b",)


@pytest.mark.parametrize("budget", range(8))
def test_no_budget_is_exceeded_and_no_skill_is_lost(budget: int) -> None:
    rendering = render_skills(THREE, budget_tokens=budget, count_tokens=count_words)
    assert rendering.tokens == count_words(rendering.text) <= budget
    assert sorted(rendering.skill_ids + rendering.dropped_ids) == ["a", "b", "c"]


def test_the_joins_are_counted_too() -> None:
    # Characters: "one two" is 7, the line break 1, "six" 3.
    two = [THREE[0], THREE[2]]
    assert render_skills(two, budget_tokens=11, count_tokens=len).dropped_ids == ()
    assert render_skills(two, budget_tokens=10, count_tokens=len).dropped_ids == ("c",)


def test_no_matches_give_no_text() -> None:
    rendering = render_skills([], budget_tokens=5, count_tokens=count_words)
    assert (rendering.text, rendering.skill_ids, rendering.tokens, rendering.dropped_ids) == ("", (), 0, ())


def test_titles_stand_above_their_bodies_and_count() -> None:
    rendering = render_skills(THREE, budget_tokens=6, count_tokens=count_words, show_titles=True)
    # A + 2 words, then B + 3 words would make 7; C + 1 word makes 5.
    assert rendering.text == "A\none two\nC\nsix"
    assert rendering.dropped_ids == ("b",)


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0, got -1"):
        render_skills(THREE, budget_tokens=-1, count_tokens=count_words)
