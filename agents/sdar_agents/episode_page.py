"""Recorded episodes as one HTML page that needs nothing else: a list to search, and an episode turn by turn."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib import resources
from typing import Any

from sdar_agents.episode import Turn
from sdar_agents.episode_file import EpisodeHeader, RecordedEpisode, TokenTrace
from sdar_agents.intervals import wilson
from sdar_gym.prompts import fill_slot

Decode = Callable[[int], str]


def page(header: EpisodeHeader, recorded: Iterable[RecordedEpisode], *, decode: Decode | None, title: str) -> str:
    """The page.

    Args:
        decode: A token id to its text; None where the tokenizer is not at hand: ids are shown then.
    """
    episodes = list(recorded)
    words = _Words(decode)
    data = {
        "header": dataclasses.asdict(header),
        "groups": _groups(episodes),
        "episodes": [_episode(each, words) for each in episodes],
        "words": words.texts,
    }
    folder = resources.files("sdar_agents")
    style, script = ((folder / f"episode_page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    # Within a script element only `<` could end it; JSON may write it otherwise.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{style}</style></head><body>\n<header><h1>{escape(title)}</h1>"
        '<button id="scheme" type="button">light / dark</button></header>\n'
        '<section id="summary" aria-label="Summary"></section>\n<main><nav aria-label="Episodes">'
        '<label>Search <input id="search" type="search" placeholder="task, id or skill"></label>'
        '<div class="filters"><label>Success <select id="success"><option value="">all</option>'
        '<option value="1">solved</option><option value="0">not solved</option></select></label>'
        '<label>Task type <select id="kind"><option value="">all</option></select></label>'
        '<label>Phase, step <select id="phase"><option value="">all</option></select></label></div>'
        '<p id="count" role="status"></p><div id="list" tabindex="0" role="list"><div id="rows"></div></div></nav>'
        '<article id="episode" tabindex="-1"><p class="soft">Choose an episode.</p></article></main>\n'
        f'<script type="application/json" id="data">{text}</script>\n<script>{script}</script></body></html>\n'
    )


class _Words:
    """Texts that come again are kept once, and named by number."""

    def __init__(self, decode: Decode | None) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}
        self._decode = decode

    def number(self, text: str) -> int:
        if text not in self._numbers:
            self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._numbers[text]

    def token(self, token: int) -> int:
        return self.number(self._decode(token) if self._decode is not None else f"[{token}]")


def _groups(episodes: Sequence[RecordedEpisode]) -> list[dict[str, Any]]:
    """Success of all episodes of a phase and step, and of each task type among them, with Wilson's interval."""
    found = []
    for phase, step in sorted({(each.phase, each.step) for each in episodes}):
        own = [each.episode for each in episodes if (each.phase, each.step) == (phase, step)]
        for kind in ("", *sorted({each.task_type for each in own})):
            outcomes = [each.success for each in own if kind in ("", each.task_type)]
            low, high = wilson(sum(outcomes), len(outcomes))
            found.append(
                {"phase": phase, "step": step, "kind": kind, "n": len(outcomes), "solved": sum(outcomes),
                 "low": round(low, 4), "high": round(high, 4)}
            )  # fmt: skip
    return found


def _episode(recorded: RecordedEpisode, words: _Words) -> dict[str, Any]:
    episode = recorded.episode
    count = len(episode.turns)
    return {
        "key": "-".join(map(str, recorded.key)),
        "phase": recorded.phase,
        "step": recorded.step,
        "id": episode.task_id,
        "kind": episode.task_type,
        "task": episode.task,
        "success": int(episode.success),
        "score": _short(episode.score),
        "truncated": episode.truncated,
        "skills": episode.skill_ids,
        "text": words.number(episode.skill_text),
        "turns": [
            _turn(turn, advantage, trace, episode.skill_text, words)
            for turn, advantage, trace in zip(
                episode.turns, recorded.advantages or (None,) * count, recorded.traces or (None,) * count, strict=True
            )
        ],
    }


def _turn(turn: Turn, advantage: float | None, trace: TokenTrace | None, skills: str, words: _Words) -> dict[str, Any]:
    prompt = fill_slot(turn.around_slot, skills if turn.skills_shown else "") if any(turn.around_slot) else ""
    values: dict[str, Any] = {
        "seen": words.number(turn.seen),
        "prompt": words.number(prompt),
        "response": words.number(turn.completion.text),
        "action": words.number(turn.action),
        "then": words.number(turn.observation),
        "reward": _short(turn.reward),
        "valid": turn.is_valid,
        "failure": turn.failure,
        "advantage": _short(advantage),
        "tokens": [words.token(token) for token in turn.completion.token_ids],
        "sampler": [_short(number) for number in turn.completion.logprobs],
    }
    for name in ("student", "teacher", "gate"):
        numbers = None if trace is None else getattr(trace, name)
        values[name] = None if numbers is None else [_short(number) for number in numbers]
    return values


def _short(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else round(number, 3)
