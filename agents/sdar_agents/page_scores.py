"""Scores for the page of episodes: what a model says of each recorded token, without and with skills in its prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sdar_agents.episode_file import EpisodeHeader, RecordedEpisode, TokenTrace
from sdar_agents.player import AgentOptions, choose_agent
from sdar_agents.policy import load_policy
from sdar_agents.setup import make_context
from sdar_agents.skill_gaps import Scorer, check_recorded
from sdar_agents.teacher import PrivilegedContext
from sdar_agents.tokens import ChatTokenizer
from sdar_gym.prompts import fill_slot


@dataclass(frozen=True, slots=True)
class Scoring:
    """Who scores, and what its teacher reads.

    Attributes:
        agent: A run, a model's folder, `tiny` or a hub id.
        step: Which checkpoint of a run; None for the newest.
        retriever, bank, embedder: As in `TrainConfig`; None for the agent's own.
        gate_sharpness: Of the gate sigmoid(sharpness * (T - S)) that the page shows, in 1/nat; SDAR's default.
    """

    agent: str
    step: int | None = None
    retriever: str | None = None
    bank: str | None = None
    embedder: str | None = None
    gate_sharpness: float = 5.0


def scored_episodes(
    header: EpisodeHeader, episodes: Sequence[RecordedEpisode], scoring: Scoring
) -> tuple[tuple[RecordedEpisode, ...], ChatTokenizer]:
    """The episodes with a trace of every token: S after the prompt without skills, T after the one with them.

    With them comes the tokenizer whose tokens they are.

    An episode that was recorded with a skill text is scored with that; any other with what the agent's teacher would be
    shown of its task.

    Raises:
        ValueError: an agent without weights, tokens of another model, or nothing that a teacher could read.
    """
    if scoring.agent.startswith("openai:"):
        raise ValueError("an endpoint cannot score given tokens: name a model in this process, such as --score tiny")
    if scoring.agent in ("oracle", "random", "human"):
        raise ValueError(f"--score {scoring.agent}: a rule or a person has no weights that could score: name a model")
    known = header.settings
    choice = choose_agent(
        AgentOptions(
            scoring.agent,
            env=header.env,
            step=scoring.step,
            retriever=scoring.retriever,
            bank=scoring.bank,
            embedder=scoring.embedder,
            data=known.get("data"),
            env_options=tuple(known.get("options", ())),
            prompt_style=known.get("prompt_style"),
        )
    )
    model, tokenizer = load_policy(choice.source)
    check_recorded([each.episode for each in episodes], tokenizer, option="--score")
    context = make_context(choice.config, tokenizer)[0]
    # Tokens that were drawn at temperature 0 are scored as the model says them.
    temperature = float(known.get("temperature", choice.config.temperature)) or 1.0
    scorer = Scorer(model, tokenizer, temperature=temperature)
    read = [_with_skills(each, context) for each in episodes]
    turns = [(turn, each.episode.skill_text) for each in read for turn in each.episode.turns]
    responses = [turn.completion.token_ids for turn, _ in turns]
    bare = scorer.token_logprobs([fill_slot(turn.around_slot, "") for turn, _ in turns], responses)
    taught = scorer.token_logprobs([fill_slot(turn.around_slot, text) for turn, text in turns], responses)
    traces = (_trace(one, other, scoring.gate_sharpness) for one, other in zip(bare, taught, strict=True))
    return tuple(replace(each, traces=tuple(next(traces) for _ in each.episode.turns)) for each in read), tokenizer


def _with_skills(recorded: RecordedEpisode, context: PrivilegedContext | None) -> RecordedEpisode:
    """The episode with what its teacher reads.

    Raises:
        ValueError: nothing was recorded, and nothing is found.
    """
    episode = recorded.episode
    if episode.skill_text:
        return recorded
    task = {"task": episode.task, "task_type": episode.task_type, "task_id": episode.task_id}
    found = None if context is None else context.lookup(**task)
    if found is None or not found.text:
        raise ValueError(
            f"there is nothing that a teacher could read of the task {episode.task!r}: add --retriever dense, or name "
            "a --bank"
        )
    return replace(recorded, episode=replace(episode, skill_text=found.text, skill_ids=found.skill_ids))


def _trace(student: tuple[float, ...], teacher: tuple[float, ...], sharpness: float) -> TokenTrace:
    gate = tuple(_sigmoid(sharpness * (t - s)) for s, t in zip(student, teacher, strict=True))
    return TokenTrace(student, teacher, gate)


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value >= 0 else math.exp(value) / (1.0 + math.exp(value))
