"""Skills that were found -> the text block of a prompt, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sdar_skills.skill import Match, Skill


@dataclass(frozen=True, slots=True)
class Rendering:
    """A text block and what it took.

    Attributes:
        text: Skill bodies, most relevant first; empty if there is none.
        skill_ids: The skills in the text, in its order.
        tokens: Tokens of the whole text, as the caller counts them.
        dropped_ids: The skills that did not fit, most relevant first; to be counted and reported.
    """

    text: str
    skill_ids: tuple[str, ...]
    tokens: int
    dropped_ids: tuple[str, ...]


def render_skills(
    matches: Sequence[Match],
    *,
    budget_tokens: int,
    count_tokens: Callable[[str], int],
    show_titles: bool = False,
) -> Rendering:
    """Join whole skills into one text that fits the budget.

    A skill is never cut: one that does not fit is dropped and named, and a less relevant, shorter one may still fit.

    Args:
        matches: Best first, as every retriever returns them.
        budget_tokens: Most tokens that the text may have.
        count_tokens: The tokenizer's count; called on whole candidate texts, since tokens merge across joins.
        show_titles: Put each skill's title on a line above its body.

    Raises:
        ValueError: a negative budget.
    """
    if budget_tokens < 0:
        raise ValueError(f"budget_tokens must be at least 0, got {budget_tokens}")
    text, tokens = "", 0
    kept: list[str] = []
    dropped: list[str] = []
    for match in matches:
        paragraph = _paragraph(match.skill, show_titles)
        candidate = f"{text}\n{paragraph}" if text else paragraph
        candidate_tokens = count_tokens(candidate)
        if candidate_tokens <= budget_tokens:
            text, tokens = candidate, candidate_tokens
            kept.append(match.skill.id)
        else:
            dropped.append(match.skill.id)
    return Rendering(text=text, skill_ids=tuple(kept), tokens=tokens, dropped_ids=tuple(dropped))


def _paragraph(skill: Skill, show_title: bool) -> str:
    return f"{skill.title}\n{skill.body}" if show_title else skill.body
