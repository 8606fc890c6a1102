"""From observations to the one user message that an agent reads: sections, styles, budgets, `HistoryPrompt`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import gymnasium as gym

from sdar_gym.errors import unknown
from sdar_gym.wrappers import TextWrapper

BANNER = re.compile(r"^-= .* =-$")


class PromptTooLongError(ValueError):
    """A prompt that does not fit its budget even without history and action list."""


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """What a prompt shows, and in which words.

    Attributes:
        name: Registry name.
        preamble: First line, who the agent is; empty for none.
        instruction: Last lines, what to answer; empty for none.
        observations: How many past exchanges are shown with their observation.
        actions: How many older actions are shown without observation.
        keep_opening: Whether the first observation (such as the list of places) stays in every prompt.
        show_admissible: Whether admissible actions are listed.
        plain_actions: Whether the whole response is the action (else `<think>` and `<action>` tags are asked for).
        condense: Whether an exchange that has to be cut leaves its action behind: what was observed longest ago goes
            first, then actions.
    """

    name: str
    preamble: str
    instruction: str
    observations: int
    actions: int
    keep_opening: bool
    show_admissible: bool
    plain_actions: bool
    condense: bool = False


TAGGED = PromptStyle(
    name="tagged",
    preamble="You act in a text environment, one action a turn, until the task is done.",
    instruction=(
        "First reason step by step about the present situation inside <think> </think> tags. "
        "Then give exactly one action, worded as in the list where there is one, inside <action> </action> tags."
    ),
    observations=2,
    actions=0,
    keep_opening=True,
    show_admissible=True,
    plain_actions=False,
)
COMPACT = PromptStyle(
    name="compact",
    preamble="",
    instruction="",
    observations=0,
    actions=20,
    keep_opening=False,
    show_admissible=False,
    plain_actions=True,
)
SEARCH = PromptStyle(
    name="search",
    preamble="You answer a question, and you can look things up with a search engine.",
    instruction=(
        "First reason inside <think> </think> tags: what is known by now, and what is still missing. "
        "Then do exactly one of two things. To look something up, write <search>your query</search>; the best passages "
        "are shown to you between <information> and </information>. As soon as you know the answer, write "
        "<answer>your answer</answer>, in as few words as possible and without explanation; that ends the task."
    ),
    observations=4,
    actions=20,
    keep_opening=False,
    show_admissible=False,
    plain_actions=True,
    condense=True,
)
"""For environments in the protocol of Search-R1, which read the tags themselves."""
COMPACT_SEARCH = replace(COMPACT, name="compact_search")
"""For a tiny model in the protocol of Search-R1, which it was warmed up to: no instruction, the last passages alone."""
PROMPT_STYLES: dict[str, PromptStyle] = {style.name: style for style in (TAGGED, COMPACT, SEARCH, COMPACT_SEARCH)}


def prompt_style(name: str) -> PromptStyle:
    """The style of that name.

    Raises:
        ValueError: there is none; the text suggests the nearest.
    """
    if name not in PROMPT_STYLES:
        raise ValueError(unknown("prompt style", name, PROMPT_STYLES))
    return PROMPT_STYLES[name]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One past turn: what was seen, the action that was then taken, and whether it was understood."""

    observation: str
    action: str
    was_valid: bool = True

    @property
    def noted_action(self) -> str:
        """The action as a list of actions alone shows it: nothing else there would tell that it failed."""
        return self.action if self.was_valid else f"{self.action} (failed)"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One turn's user message, in sections; `render` makes the text, with skills in their slot or without.

    Attributes:
        style: What is shown, in which words.
        task: The goal in one sentence.
        opening: The first observation, without banner and task line.
        history: Past exchanges that are shown with their observation, oldest first.
        actions: Older actions, shown alone, oldest first.
        observation: The present observation.
        admissible_actions: As the environment lists them.
        turn: 0 for the first decision.
    """

    style: PromptStyle
    task: str
    opening: str
    history: tuple[Exchange, ...]
    actions: tuple[str, ...]
    observation: str
    admissible_actions: tuple[str, ...]
    turn: int

    def render(self, skills: str = "") -> str:
        """The message. With `skills` empty, nothing marks the slot: it is the student's prompt.

        The slot stands right after the task, as in the paper (arXiv 2605.15155, appendix on prompts).
        """
        return fill_slot(self.around_slot(), skills)

    def around_slot(self) -> tuple[str, str]:
        """The message before the skills' slot and after it; `fill_slot` puts skills there, now or later."""
        before = [self.style.preamble, f"Task: {self.task}"]
        after = []
        if self.turn and self.style.keep_opening:
            after.append(f"At the start: {self.opening}")
        if self.actions:
            after.append("Done: " + "; ".join(self.actions))
        for exchange in self.history:
            after.append(f"{exchange.observation}\n> {exchange.action}")
        after.append(f"Now: {self.observation}")
        if self.admissible_actions:
            after.append("Admissible actions: " + "; ".join(self.admissible_actions))
        after.append(self.style.instruction)
        return "\n".join(filter(None, before)), "\n".join(filter(None, after))

    def shortened(self) -> Prompt:
        """The prompt with one thing less of its history; with nothing less where there is none."""
        if self.style.condense and self.history:
            return replace(self, history=self.history[1:], actions=(*self.actions, self.history[0].noted_action))
        if self.actions:
            return replace(self, actions=self.actions[1:])
        return replace(self, history=self.history[1:])


def fill_slot(around: tuple[str, str], skills: str) -> str:
    """A message with a text of skills in its slot, or without any trace of one where the text is empty.

    Args:
        around: What `Prompt.around_slot` gave.
        skills: As rendered for a prompt.
    """
    before, after = around
    return "\n".join([before, *([f"Skills:\n{skills}"] if skills else []), after])


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """A prompt cut to a budget, and what was cut: each is counted and reported, none is silent."""

    prompt: Prompt
    dropped_history: int
    dropped_admissible: int


def fit(prompt: Prompt, *, budget_tokens: int, count_tokens: Callable[[str], int]) -> FittedPrompt:
    """Cut a prompt section by section until the student's message fits: history first, then the action list.

    The teacher's message is rendered from the *fitted* prompt and has a budget for skills of its own, so that
    student and teacher differ by the skills and by nothing else.

    Args:
        budget_tokens: For the rendered message as `count_tokens` counts it (the chat template included).

    Raises:
        PromptTooLongError: task, observation and instruction alone are longer than the budget.
    """
    fitted, dropped_history = prompt, 0
    while count_tokens(fitted.render()) > budget_tokens and (fitted.history or fitted.actions):
        fitted = fitted.shortened()
        dropped_history += 1
    while (excess := count_tokens(fitted.render()) - budget_tokens) > 0 and fitted.admissible_actions:
        kept = fitted.admissible_actions
        # Every action is at least one token long, and a long list is cut in few rounds.
        drop = max(1, min(len(kept), excess // 16))
        fitted = replace(fitted, admissible_actions=kept[: len(kept) - drop])
    if (length := count_tokens(fitted.render())) > budget_tokens:
        raise PromptTooLongError(
            f"the prompt needs {length} tokens without history and action list, the budget is {budget_tokens}: "
            "raise --max-prompt-tokens, or use a prompt style that shows less"
        )
    return FittedPrompt(fitted, dropped_history, len(prompt.admissible_actions) - len(fitted.admissible_actions))


class HistoryPrompt(TextWrapper):
    """Turns observations into prompts: the observation becomes the rendered message, `info["prompt"]` its sections."""

    def __init__(self, env: gym.Env[str, str], style: PromptStyle = TAGGED) -> None:
        super().__init__(env)
        self.style = style
        self._opening = ""
        self._observation = ""
        self._past: list[Exchange] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self._opening = _without_banner(observation, str(info["task"]))
        self._observation = self._opening
        self._past = []
        return self._prompted(info)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        seen = "(as at the start)" if self.style.keep_opening and not self._past else self._observation
        read = str(info.get("action", action)).strip()
        # What the environment read in a response and did was understood, even where the response was not well formed.
        was_valid = bool(info["is_action_valid"]) or bool(info.get("action"))
        self._past.append(Exchange(seen, read or "(no action)", was_valid))
        self._observation = observation.strip()
        prompt, info = self._prompted(info)
        return prompt, float(reward), terminated, truncated, info

    def _prompted(self, info: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        older = len(self._past) - min(self.style.observations, len(self._past))
        prompt = Prompt(
            style=self.style,
            task=str(info["task"]),
            opening=self._opening,
            history=tuple(self._past[older:]),
            actions=tuple(item.noted_action for item in self._past[max(0, older - self.style.actions) : older]),
            observation=self._observation,
            admissible_actions=tuple(info["admissible_actions"]) if self.style.show_admissible else (),
            turn=len(self._past),
        )
        return prompt.render(), {**info, "prompt": prompt}


def _without_banner(observation: str, task: str) -> str:
    lines = [line for line in observation.splitlines() if line.strip() and not BANNER.match(line.strip())]
    kept = [line for line in lines if task not in line]
    return "\n".join(kept or lines)


def prompt_hash(style: PromptStyle) -> str:
    """16 hex digits of the SHA-256 over all the words that a style puts around observations.

    A fixed episode is rendered turn by turn, with skills and without, whole and shortened, so that no word of a prompt
    can change without changing the hash. Results carry it, so that those of other prompts are not compared unnoticed.
    """
    env = HistoryPrompt(_FixedEpisode(style.observations + style.actions + 2), style)
    messages: list[str] = []
    _, info = env.reset()
    ended = False
    while True:
        prompt: Prompt = info["prompt"]
        messages += [prompt.render(), prompt.render("SKILLS"), prompt.shortened().render()]
        if ended:
            break
        _, _, ended, _, info = env.step("ACTION")
    text = json.dumps([asdict(style), messages])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _FixedEpisode(gym.Env[str, str]):
    """So many turns of fixed words: understood, misunderstood, and with nothing read, by turns."""

    def __init__(self, turns: int) -> None:
        self._turns, self._turn = max(turns, 3), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self._turn = 0
        return "-= BANNER =-\nOBSERVATION 0\nYour task: TASK", self._info(was_valid=True)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self._turn += 1
        info = self._info(was_valid=self._turn % 3 == 0) | ({"action": ""} if self._turn % 3 == 1 else {})
        return f"OBSERVATION {self._turn}", 0.0, self._turn == self._turns, False, info

    def _info(self, *, was_valid: bool) -> dict[str, Any]:
        actions = ["ADMISSIBLE 1", "ADMISSIBLE 2"]
        return {"task": "TASK", "admissible_actions": actions, "is_action_valid": was_valid}
