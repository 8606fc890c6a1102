"""A training step of ALFWorld's shape for a model that cannot play: prompts of real games, responses of a given length.

A model of random weights never says an action, so an agent that wanders does: each response is worth one of the
actions that its prompt lists, drawn by the request's seed. Histories, observations and lists of actions are thus those
of games; what is drawn, kept and trained on are the model's tokens (or, where rows are only recorded, uniform ones).
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from benchmarks.architectures import SIZES, random_weights, write_folder
from sdar_agents.backends.base import Backend, Finished, Request
from sdar_agents.config import TrainConfig, preset_config
from sdar_agents.episode import Completion
from sdar_agents.learners.base import Learner
from sdar_agents.rollout import make_agent_env
from sdar_agents.setup import Run, env_options, set_up
from sdar_agents.tiny_model import train_tokenizer
from sdar_agents.tokens import ChatTokenizer
from sdar_agents.train import PhaseClock, collect
from sdar_gym.prompts import TAGGED
from sdar_skills.bank import load_bank

ROOMS = "sdar_gym/ALFWorldRooms-v0"
LIST_HEAD = "Admissible actions: "
# Such a vocabulary makes 3.7 characters a token of these prompts, about what a large English one makes of them.
TOKENIZER_SIZE = 1000
PACKINGS = ("tree", "none") if "packing" in {f.name for f in fields(TrainConfig)} else ("none",)
"""How rows can be packed; the first is the default."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What a step is made of.

    Attributes:
        size: Of `SIZES`.
        groups, group_size, turns: Episodes of a step, and how many turns each may take.
        response_tokens: Of every response.
        minibatches: Optimizer updates a step.
        kl: Weight of the KL to the initial weights, for which a second copy of the model is scored.
    """

    size: str
    env: str = ROOMS
    data: str | None = None
    device: str = "cpu"
    dtype: str = "auto"
    groups: int = 16
    group_size: int = 8
    turns: int = 50
    response_tokens: int = 128
    minibatches: int = 16
    microbatch_tokens: int = 8_192
    activation_checkpointing: bool = False
    packing: str = PACKINGS[0]
    kl: float = 0.01
    backend: str = "hf"
    backend_options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what this checkout cannot do."""
        if self.packing not in PACKINGS:
            raise ValueError(f"packing {self.packing!r}: known here are {', '.join(PACKINGS)}")


def make_runs(work: Workload, learners: Sequence[str], folder: Path) -> dict[str, Run]:
    """A run for each learner, all with the same model and optimizer: they differ by what they compute.

    The backend is a `Wanderer` around the one that the workload names.
    """
    tokenizer = fitted_tokenizer(work.env, work.data)
    model = write_folder(SIZES[work.size], tokenizer, folder / "model")
    rules = {name: with_kl(preset_config("paper-alfworld", name).learner, work.kl) for name in learners}
    # The one that needs most is set up; the others leave parts of it unused.
    first = max(rules, key=lambda name: rules[name].needs.teacher != "none")
    config = _config(work, rules[first], model, folder / "run")
    device = "cuda" if config.device == "auto" and torch.cuda.is_available() else config.device
    # For good: environments are made when they are first asked for, and a script is a process of its own.
    gym.spec(work.env).max_episode_steps = work.turns
    with random_weights(device):
        run = set_up(config, resume=False)
    run = replace(run, backend=Wanderer(run.backend, run.tokenizer))
    return {name: with_learner(run, name, rule) for name, rule in rules.items()}


def with_learner(run: Run, name: str, rule: Learner) -> Run:
    """The run with another learner; one without a teacher scores none and asks for no teacher prompts."""
    taught = rule.needs.teacher != "none"
    return replace(
        run,
        config=replace(run.config, learner=rule),
        learner=name,
        teacher=run.teacher if taught else None,
        rollout=replace(run.rollout, teacher_prompts=taught),
    )


def with_kl(rule: Any, weight: float) -> Any:
    """A learner with another weight of the KL to the initial policy."""
    if hasattr(rule, "rl"):
        return replace(rule, rl=replace(rule.rl, kl_coefficient=weight))
    return replace(rule, kl_coefficient=weight)


def record(run: Run, vocabulary: int) -> Any:
    """A step's episodes without a model: what `collect` returns, every response uniform random tokens."""
    engine = Wanderer(RandomTokens(vocabulary), run.tokenizer)
    return collect(replace(run, backend=engine), 0, PhaseClock())


def episodes_of(collected: Any) -> Sequence[Any]:
    """The episodes in what `collect` returned."""
    episodes: Sequence[Any] = getattr(collected[0], "episodes", collected[0])
    return episodes


def without_teacher(collected: Any) -> Any:
    """The same rows as a learner without a teacher collects them."""
    bare = [
        replace(episode, turns=tuple(replace(turn, teacher_prompt_ids=None) for turn in episode.turns))
        for episode in episodes_of(collected)
    ]
    first = collected[0]
    return (replace(first, episodes=tuple(bare)) if hasattr(first, "episodes") else bare, *collected[1:])


def row_lengths(collected: Any) -> tuple[list[int], list[int]]:
    """Tokens of prompt and of response of each row."""
    turns = [turn for episode in episodes_of(collected) for turn in episode.turns]
    return [len(turn.prompt_ids) for turn in turns], [len(turn.completion.token_ids) for turn in turns]


def teacher_prompt_tokens(collected: Any) -> float | None:
    """Mean tokens of the teacher's prompts; None where there are none."""
    turns = [turn for episode in episodes_of(collected) for turn in episode.turns]
    if turns[0].teacher_prompt_ids is None:
        return None
    return sum(len(turn.teacher_prompt_ids) for turn in turns) / len(turns)


class Wanderer:
    """An engine whose responses are worth a random admissible action, whatever their tokens say."""

    def __init__(self, engine: Any, tokenizer: ChatTokenizer) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self._seeds: dict[int, tuple[int, tuple[int, ...]]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    generate = Backend.generate

    def add(self, request: Request) -> None:
        """Take a request in."""
        self._seeds[request.id] = (request.seed, request.prompt_ids)
        self.engine.add(request)

    def step(self) -> list[Finished]:
        """Work for a while; what was finished says an action now."""
        return [
            replace(finished, completion=replace(finished.completion, text=self._say(*self._seeds.pop(finished.id))))
            for finished in self.engine.step()
        ]

    def _say(self, seed: int, prompt: tuple[int, ...]) -> str:
        text = self.tokenizer.decode(prompt)
        listed = text.rpartition(LIST_HEAD)[2].splitlines()[0] if LIST_HEAD in text else "look"
        # `help` prints the same long text each time, and no trained agent asks for it.
        actions = [action for action in listed.split("; ") if action != "help"]
        return f"<think></think><action>{actions[seed % len(actions)]}</action>"


class RandomTokens(Backend):
    """Draws every token uniformly, at once: rows without a model."""

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self._waiting: list[Request] = []

    def add(self, request: Request) -> None:
        """Take a request in."""
        self._waiting.append(request)

    def step(self) -> list[Finished]:
        """Everything that was added."""
        waiting, self._waiting = self._waiting, []
        return [Finished(request.id, self._completion(request)) for request in waiting]

    def _completion(self, request: Request) -> Completion:
        count = request.sampling.max_tokens
        ids = np.random.default_rng(request.seed).integers(0, self.vocabulary, count)
        return Completion(tuple(ids.tolist()), (-float(np.log(self.vocabulary)),) * count, "", stopped=False)


def fitted_tokenizer(env_id: str, data: str | None, episodes: int = 48, turns: int = 12) -> ChatTokenizer:
    """A byte-level tokenizer learned from prompts of an environment, and from its skills."""
    env = make_agent_env(env_id, TAGGED, **env_options(env_id, data))
    tasks = env.get_wrapper_attr("task_ids")("train")
    draws = np.random.default_rng(0)
    texts = [skill.body for skill in load_bank("alfworld")]
    for number in draws.integers(len(tasks), size=episodes).tolist():
        _, info = env.reset(options={"task": tasks[number]})
        for _ in range(turns):
            texts.append(info["prompt"].render())
            action = str(draws.choice(info["prompt"].admissible_actions))
            _, _, terminated, truncated, info = env.step(f"<think></think><action>{action}</action>")
            if terminated or truncated:
                break
    return train_tokenizer(texts, TOKENIZER_SIZE)


def machine(device: str) -> dict[str, Any]:
    """What a number depends on: versions, threads, the GPU."""
    import transformers

    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
    }
    if device.startswith("cuda"):
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    return found


def peak_gib(device: str) -> float | None:
    """Most GPU memory that was allocated since the last call, in GiB; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return peak


def _config(work: Workload, rule: Learner, model: Path, folder: Path) -> TrainConfig:
    settings: dict[str, Any] = {} if PACKINGS == ("none",) else {"packing": work.packing}
    return replace(
        preset_config("paper-alfworld", "sdar"),
        learner=rule,
        env=work.env,
        data=work.data,
        model=str(model),
        run=str(folder),
        device=work.device,
        dtype=work.dtype,
        prompt_style="tagged",
        retriever="task_type",
        max_response_tokens=work.response_tokens,
        groups=work.groups,
        group_size=work.group_size,
        minibatches=work.minibatches,
        microbatch_tokens=work.microbatch_tokens,
        activation_checkpointing=work.activation_checkpointing,
        backend=work.backend,
        backend_options=work.backend_options,
        env_workers="inline",
        eval_episodes=1,
        **settings,
    )
