"""How much more a model likes what was said once it has read a skill: the gap of each turn of recorded episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sdar_agents.batch import pad_left, pad_right
from sdar_agents.episode import Episode
from sdar_agents.packing import check_packing, score_packed
from sdar_agents.policy import ModelError, score
from sdar_agents.tokens import ChatTokenizer
from sdar_gym.prompts import fill_slot
from sdar_gym.registration import make, text_env
from sdar_gym.text_env import TextEnv

ROWS_AT_ONCE = 256
MAX_TOKENS = 8_192


@dataclass(frozen=True, slots=True)
class ProbedTurn:
    """A turn, and what is to be told by its gap.

    Attributes:
        episode: Number of its episode among those that are probed.
        task_id, task_type, index: Which task, and which turn of it (the first is 0).
        won: Whether the episode solved its task.
        as_oracle: Whether the environment's oracle would have done the same there; None where there is no oracle.
    """

    episode: int
    task_id: str
    task_type: str
    index: int
    won: bool
    as_oracle: bool | None


class Scorer:
    """Log-probabilities of a response's tokens after a message, by a model and its tokenizer.

    Args:
        temperature: Of the episodes, so that they are scored as they were drawn.
    """

    def __init__(self, model: Any, tokenizer: ChatTokenizer, *, temperature: float) -> None:
        self._model, self._tokenizer, self._temperature = model, tokenizer, temperature
        try:
            check_packing(model)
            self._packs = True
        except ModelError:
            # Rows by themselves are slower, and come out the same.
            self._packs = False

    def mean_logprobs(self, messages: Sequence[str], responses: Sequence[Sequence[int]]) -> np.ndarray[Any, Any]:
        """One number a response, in nats a token, [N]; 0 for one without tokens."""
        found = self.token_logprobs(messages, responses)
        return np.array([sum(numbers) / max(1, len(numbers)) for numbers in found], dtype=np.float64)

    @torch.no_grad()
    def token_logprobs(self, messages: Sequence[str], responses: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        """One number a token of each response, in nats."""
        found: list[tuple[float, ...]] = []
        for first in range(0, len(messages), ROWS_AT_ONCE):
            part = slice(first, first + ROWS_AT_ONCE)
            prompts = [self._tokenizer.prompt_ids(message) for message in messages[part]]
            found += self._scores(prompts, responses[part])
        return found

    def _scores(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        prompt_ids, prompt_mask = pad_left(prompts, self._tokenizer.pad_id)
        response_ids, response_mask = pad_right(responses, self._tokenizer.pad_id)
        rows: dict[str, Any] = {"prompt_ids": prompt_ids, "prompt_mask": prompt_mask, "response_ids": response_ids,
                                "response_mask": response_mask, "temperature": self._temperature}  # fmt: skip
        scores = score_packed(self._model, max_tokens=MAX_TOKENS, **rows) if self._packs else score(self._model, **rows)
        logprobs = scores.logprobs.cpu().double()
        return [tuple(row[mask].tolist()) for row, mask in zip(logprobs, response_mask, strict=True)]


def gaps(
    episodes: Sequence[Episode], texts: Sequence[str], scorer: Scorer, *, bare: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Gap of every turn, the episodes' turns one after the other: mean over its tokens of T - S, in nats, [N].

    T is the log-probability of a token after the prompt with the text in its slot, S after the prompt without.

    Args:
        texts: What each episode's prompts are filled with; 0 for all turns where that is empty.
        bare: S of every turn, as `bare_logprobs` gives it.
    """
    turns = [(turn, text) for episode, text in zip(episodes, texts, strict=True) for turn in episode.turns]
    filled = [place for place, (_, text) in enumerate(turns) if text]
    found = np.zeros(len(turns))
    messages = [fill_slot(turns[place][0].around_slot, turns[place][1]) for place in filled]
    responses = [turns[place][0].completion.token_ids for place in filled]
    found[filled] = scorer.mean_logprobs(messages, responses) - bare[filled]
    return found


def bare_logprobs(episodes: Sequence[Episode], scorer: Scorer) -> np.ndarray[Any, Any]:
    """Mean log-probability of every turn's tokens without skills, [N]."""
    turns = [turn for episode in episodes for turn in episode.turns]
    messages = [fill_slot(turn.around_slot, "") for turn in turns]
    return scorer.mean_logprobs(messages, [turn.completion.token_ids for turn in turns])


def probed_turns(episodes: Sequence[Episode], env_id: str, settings: dict[str, Any]) -> list[ProbedTurn]:
    """What is known of every turn; each episode is played again for what the oracle would have done."""
    env = make(env_id, **settings)
    found = []
    for number, episode in enumerate(episodes):
        agreed = _agreements(env, episode)
        for index, same in enumerate(agreed):
            found.append(ProbedTurn(number, episode.task_id, episode.task_type, index, episode.success, same))
    return found


def _agreements(env: Any, episode: Episode) -> list[bool | None]:
    """For each turn whether the oracle's action is the agent's, from the state in which that one was."""
    core = text_env(env)
    env.reset(options={"task": episode.task_id})
    found: list[bool | None] = []
    for turn in episode.turns:
        wanted = _oracle(core)
        # Where the oracle sees no way any more, no action is right.
        found.append(wanted if wanted is None or isinstance(wanted, bool) else wanted == turn.action)
        env.step(turn.action)
    return found


def _oracle(core: TextEnv) -> str | bool | None:
    """The oracle's action; False where it sees no way, None where the environment has no oracle."""
    try:
        action = core.oracle()
    except NotImplementedError:
        return None
    return False if action is None else action


def check_recorded(episodes: Sequence[Episode], tokenizer: ChatTokenizer, *, option: str = "--agent") -> None:
    """Refuse episodes whose tokens are not this tokenizer's, or that have none.

    Args:
        option: Of the command line, that names the model.

    Raises:
        ValueError: says what to do instead.
    """
    for episode in episodes:
        for turn in episode.turns:
            ids = turn.completion.token_ids
            if not ids:
                raise ValueError(
                    "the file keeps no token ids of what was said (episodes of an endpoint, a rule or a person): a gap "
                    "needs them; record episodes of a model with `sdar-gym eval --agent MODEL --episodes-file FILE`"
                )
            if max(ids) >= len(tokenizer.tokenizer) or tokenizer.decode(ids) != turn.completion.text:
                raise ValueError(
                    f"the tokens of task {episode.task_id!r} read otherwise with this tokenizer: the episodes are of "
                    f"another model; name it with {option}"
                )
            if not any(turn.around_slot):
                raise ValueError("the file keeps no prompts: record the episodes anew")
