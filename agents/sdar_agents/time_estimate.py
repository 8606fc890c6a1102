"""How long a step takes: counted operations over measured speed, with the assumptions in the open."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np

from sdar_agents.config import TrainConfig
from sdar_agents.machine import Speed, measure_speed
from sdar_agents.memory_plan import ModelShape
from sdar_agents.policy import compute_dtype, load_tokenizer
from sdar_agents.setup import env_options, resolve_style
from sdar_agents.teacher_weights import scores_once
from sdar_agents.tokens import ChatTokenizer
from sdar_gym.prompts import HistoryPrompt, Prompt, PromptStyle, PromptTooLongError, fit
from sdar_gym.registration import SUITE, make, text_env
from sdar_skills.bank import SkillBank, load_bank

EFFICIENCY = {"cpu": 0.35, "cuda": 0.35}
"""Share of a plain matrix product's speed that a model's passes reach; of a GPU see benchmarks/gpu/README.md."""
BANDWIDTH_EFFICIENCY = 0.6
CALL_SECONDS_PER_LAYER = {"cpu": 6e-4, "cuda": 2.5e-3}
"""What calling the kernels of a layer takes, however small they are."""
SAMPLED_EPISODES = 4
SAMPLE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Workload:
    """What a step's episodes are like.

    Attributes:
        turns: A turn is a row. Mean an episode.
        prompt, skills, response: Mean tokens a row.
        seconds_per_turn: Of the environment and the tokenizer.
        source: Where these numbers come from, for the report.
    """

    turns: float
    prompt: float
    skills: float
    response: float
    seconds_per_turn: float
    source: str


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """Seconds of a step by phase, of one evaluation, and hours of the whole run."""

    seconds: Mapping[str, float]
    evaluation: float
    hours: float

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return sum(self.seconds.values())


def sample_workload(
    config: TrainConfig,
    tokenizer: ChatTokenizer,
    style: PromptStyle,
    bank: SkillBank | None,
    options: Mapping[str, object],
) -> Workload:
    """Play a few episodes by random admissible actions and count; an agent that has learnt needs fewer turns."""
    env = HistoryPrompt(make(config.env, **options), style)
    generator = np.random.default_rng(config.seed)
    begin = time.perf_counter()
    prompts: list[int] = []
    actions: list[int] = []
    seconds: list[float] = []
    episodes = 0
    for episode in range(SAMPLED_EPISODES):
        if episodes and time.perf_counter() - begin > SAMPLE_SECONDS:
            break
        _, info = env.reset(seed=config.seed + episode)
        done, episodes = False, episodes + 1
        while not done:
            start = time.perf_counter()
            prompts.append(_prompt_tokens(info["prompt"], tokenizer, config.max_prompt_tokens))
            admissible = info["admissible_actions"]
            drawn = None if admissible else text_env(env).random_action(generator)
            # Where actions can be neither listed nor drawn, a look at the length of an empty one is all there is.
            action = str(admissible[int(generator.integers(len(admissible)))]) if admissible else drawn or ""
            actions.append(len(tokenizer.text_ids(action)) + 1)
            _, _, terminated, truncated, info = env.step(action)
            done = terminated or truncated
            seconds.append(time.perf_counter() - start)
    plain = style.plain_actions
    return Workload(
        turns=len(prompts) / episodes,
        prompt=float(np.mean(prompts)),
        skills=_skill_tokens(config, tokenizer, bank),
        response=min(float(np.mean(actions)), config.max_response_tokens) if plain else config.max_response_tokens / 2,
        # The median: what is made once and kept (grammars, embeddings) should not count for every turn.
        seconds_per_turn=float(np.median(seconds)),
        source=f"{episodes} episodes of random actions; "
        + ("responses as long as their actions" if plain else "responses of half their budget"),
    )


def sample_run(config: TrainConfig) -> Workload:
    """What the episodes of a run's first step are like."""
    tokenizer = load_tokenizer(config.model)
    family = SUITE[config.env].family if config.env in SUITE else None
    name = config.bank or family
    bank = load_bank(name) if config.retriever != "none" and name is not None else None
    style = resolve_style(config.prompt_style, config.model, config.env)
    options = env_options(config.env, config.data, config.env_options)
    return sample_workload(config, tokenizer, style, bank, options)


def measured_speed(config: TrainConfig, shape: ModelShape, device: str) -> Speed:
    """How fast this machine is at matrix products of the model's size."""
    dtype = compute_dtype(config.dtype, device)
    rows = min(config.microbatch_tokens, 8192)
    return measure_speed(device, dtype, rows=rows, hidden=shape.hidden, wide=shape.feed_forward)


def estimate_time(
    config: TrainConfig, shape: ModelShape, work: Workload, speed: Speed, *, device: str, world: int = 1
) -> TimeEstimate:
    """Seconds by phase.

    A forward pass of a token costs two operations a weight, and the attention four a layer, query width and token that
    it looks at; a backward pass twice as much. Sampling a token reads all weights once for all episodes that run.
    """
    kind = "cuda" if device.startswith("cuda") else "cpu"
    rows = config.groups * config.group_size * work.turns / world
    flops = speed.flops * EFFICIENCY[kind]
    needs = config.learner.needs
    student, taught = work.prompt + work.response, work.prompt + work.skills + work.response
    forward = rows * forward_flops(shape, student, work.response) / flops
    backward = 3.0 if config.activation_checkpointing else 2.0
    episodes = config.groups * config.group_size / world
    taught_pass = rows * forward_flops(shape, taught, work.response) / flops
    at_start = (needs.teacher_at_start or scores_once(config)) + len(needs.views)
    seconds = {
        "rollout": _rollout_seconds(shape, work, speed, kind=kind, episodes=episodes),
        "score": forward * (1 + needs.reference) + taught_pass * at_start,
        "teacher": 0.0 if needs.teacher == "none" or scores_once(config) else taught_pass,
        "update": forward * (1 + backward),
    }
    panel = (config.eval_episodes or 100) / world
    evaluation = _rollout_seconds(shape, work, speed, kind=kind, episodes=panel)
    if config.retriever != "none":
        evaluation *= 2
    evaluations = 1 + -(-config.steps // config.eval_every)
    return TimeEstimate(seconds, evaluation, (config.steps * sum(seconds.values()) + evaluations * evaluation) / 3600)


def forward_flops(shape: ModelShape, length: float, scored: float) -> float:
    """Operations of one row's forward pass: `length` tokens, of which `scored` reach the vocabulary."""
    body = shape.parameters - shape.embeddings
    attention = 4.0 * shape.layers * shape.heads * shape.head_size * length
    return length * (2.0 * body + attention) + scored * 2.0 * shape.hidden * shape.vocabulary


def _rollout_seconds(shape: ModelShape, work: Workload, speed: Speed, *, kind: str, episodes: float) -> float:
    flops = speed.flops * EFFICIENCY[kind]
    prefill = forward_flops(shape, work.prompt, 1) / flops
    token = forward_flops(shape, 1, 1) + 4.0 * shape.layers * shape.heads * shape.head_size * work.prompt
    weights = shape.parameters * shape.bytes_per_weight / (speed.bandwidth * BANDWIDTH_EFFICIENCY)
    # A batch's token takes as long as its arithmetic or as reading the weights, whichever is longer.
    decode = work.response * max(episodes * token / flops, weights)
    calls = (work.response + 1) * shape.layers * CALL_SECONDS_PER_LAYER[kind]
    return work.turns * (episodes * (prefill + work.seconds_per_turn) + decode + calls)


def _prompt_tokens(prompt: Prompt, tokenizer: ChatTokenizer, budget: int) -> int:
    try:
        fitted = fit(prompt, budget_tokens=budget, count_tokens=tokenizer.count)
    except PromptTooLongError:
        # Random actions reach texts that an agent hardly reads, such as lists of all commands.
        return budget
    return tokenizer.count(fitted.prompt.render(""))


def _skill_tokens(config: TrainConfig, tokenizer: ChatTokenizer, bank: SkillBank | None) -> float:
    if bank is None:
        return 0.0
    lengths = [len(tokenizer.text_ids(skill.body)) for skill in islice(bank, 100)]
    return min(config.max_skill_tokens, config.skills_per_task * float(np.mean(lengths)))
