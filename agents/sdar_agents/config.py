"""Everything that a training run is decided by: one frozen dataclass, its presets, its JSON form."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

from sdar_agents.alarms import AlarmSettings
from sdar_agents.learners import (
    ADRS,
    ATOD,
    BCSD,
    CRAFT,
    GRPO,
    GRPOOPSD,
    GRSD,
    LEARNERS,
    OPID,
    OPSD,
    RLSD,
    SDAR,
    UCOB,
    AgentOPSD,
    GiGPO,
    Skill0,
    SkillGRPO,
    SkillSD,
    VerifiedImitation,
    learner_class,
)  # fmt: skip
from sdar_agents.learners.base import Learner
from sdar_agents.learners.plugins import GROUP, plugin_name_of
from sdar_agents.policy import TINY
from sdar_gym.errors import unknown

TEACHERS = ("current", "step_start", "ema", "reference")
"""Names of a teacher's weights; anything else is the place of a model."""
FORMER_TEACHERS = {"live": "current", "frozen": "reference"}
"""Names that runs and scripts of before say."""


class ConfigError(ValueError):
    """A setting that cannot be meant, and what to do about it."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Train an agent by reinforcement learning, with retrieved skills as its teacher's privileged context."""

    learner: Learner
    """The rule that turns episodes into a loss."""
    env: str = "sdar_gym/ALFWorldMini-v0"
    """Gymnasium id of the environment; `sdar-gym list` shows them."""
    data: str | None = None
    """Folder of the environment's data (real ALFWorld games); environments without data refuse it."""
    env_options: tuple[str, ...] = ()
    """Other settings of the environment, such as `engine=textworld` or `legacy_actions=true`."""
    run: str = "runs/train"
    """Folder that receives config, metrics, checkpoints and plot."""
    seed: int = 0
    """Decides tasks, sampling and the order of rows."""

    model: str = TINY
    """`tiny` (ships with the package; WebShopMini has its own), a folder with a transformers causal
    language model, or a hub id."""
    tuning: Literal["full", "lora"] = "full"
    """Train all weights, or low-rank adapters (needs the extra `lora`)."""
    dtype: str = "auto"
    """What layers compute in: float32, bfloat16, ... or auto: float32 on CPU, bfloat16 on GPU. Weights that are trained
    are kept in float32."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ... or auto: a GPU if there is one."""
    activation_checkpointing: bool = False
    """Compute a layer's activations again in the backward pass instead of keeping them: less memory, slower."""

    backend: str = "hf"
    """Engine that samples: hf (in this process), vllm (on the training GPU), vllm_server (`vllm serve`)."""
    backend_options: tuple[str, ...] = ()
    """Settings of the engine, such as `gpu_memory_utilization=0.4` or `base_url=http://localhost:8000`."""
    env_workers: str = "auto"
    """Where environments step: inline, threads, processes, ray, or auto: what the environment asks for."""
    env_timeout_seconds: float = 300.0
    """A reset or step that takes longer counts as a crash: the episode is played afresh once, then reported."""
    importance_correction: Literal["none", "token", "sequence"] = "token"
    """Truncated importance sampling between the engine's and the trainer's log-probabilities."""
    importance_cap: float = 2.0
    """Largest importance weight."""

    prompt_style: str = "auto"
    """tagged (think and action tags, list of actions), compact (tiny model), search (search and answer tags), or auto:
    what the environment's protocol asks for, else the model."""
    max_prompt_tokens: int = 512
    """Budget of the student's prompt: history is cut first, then the list of actions; what is cut is logged."""
    max_response_tokens: int = 16
    """Longest response."""
    temperature: float = 1.0
    """Of the rollouts that are trained on."""

    retriever: str = "dense"
    """How skills are found: dense, lexical, hybrid, rerank, keyword, task_type, ucb, full, uniform, none."""
    retriever_options: tuple[str, ...] = ()
    """Settings of the retriever, such as `fields=text,task_type` or `exploration=2` (skills/README.md)."""
    bank: str | None = None
    """Skill bank: a folder of SKILL.md folders, or a bundled name; by default the environment's own."""
    embedder: str = "minilm"
    """Text encoder of the dense retriever: minilm (offline), hashing, a folder or a hub id."""
    skills_per_task: int = 3
    """How many skills are retrieved for a task."""
    max_skill_tokens: int = 256
    """Budget of the skill text, on top of the prompt's; whole skills only."""
    teacher_view: str = "skill"
    """What the teacher's prompt shows: skill (what the retriever finds), full, oracle, right, placebo, pruned, text,
    bare or hindsight."""
    teacher_text: str | None = None
    """File whose text the view `text` shows of every task, such as a reflection on earlier attempts."""
    wrong_skills: float = 0.0
    """Share of the tasks whose teacher is shown skills of other tasks only; for studies."""
    teacher: str = "current"
    """Weights of the teacher: current (the student's of the moment), step_start (those before the step's first update),
    ema (their moving average), reference (the initial ones), or another model with the same tokenizer: a folder or hub
    id."""
    teacher_decay: float = 0.95
    """Per optimizer update, for --teacher ema."""

    steps: int = 30
    """Training steps; each plays groups x group-size episodes."""
    groups: int = 8
    """Tasks a step."""
    group_size: int = 8
    """Episodes a task."""
    sampling_rounds: int = 1
    """Above 1, groups whose members all return alike are left out, and up to this many rounds of further tasks are
    played until --groups mixed ones are there (DAPO's dynamic sampling); 1 plays once and keeps all."""
    minibatches: int = 4
    """Optimizer updates a step; the trajectories of a step are shared out among them."""
    microbatch_tokens: int = 8_192
    """Tokens that go through the model at once: of prefix trees, or padded without packing; cutting finer changes
    memory, not the gradient."""
    packing: Literal["tree", "none"] = "tree"
    """Compute what rows share once (tree), or every row by itself (none): the same scores, slower, for any model."""
    learning_rate: float = 1e-3
    """Of AdamW."""
    weight_decay: float = 0.0
    """Of AdamW."""
    max_grad_norm: float = 1.0
    """The gradient is scaled down to this norm."""

    train_split: str = "train"
    """Split that training tasks are drawn from."""
    panel: str | None = None
    """Split of the frozen evaluation panel; by default the environment's evaluation split."""
    eval_episodes: int | None = None
    """Tasks of the panel that are played at each evaluation, the same ones every time; by default 100, or all
    where there are fewer."""
    eval_every: int = 10
    """Steps between evaluations; before the first and after the last step there always is one."""
    eval_skills: bool = True
    """Play the panel a second time at each evaluation, with skills in the prompt; without, it takes half as long."""
    eval_temperature: float = 0.4
    """Of evaluation rollouts, as in the paper's code; 0 is greedy."""

    record_episodes: int = 8
    """How many episodes of a recorded step, and of each evaluation, go to `episodes.jsonl` (`sdar-gym view`)."""
    record_every: int = 10
    """Every how many training steps episodes are recorded; the first and the last step always are."""
    diagnostics_every: int = 1
    """Steps between comparisons of the reinforcement's and the teaching's gradient, which take two small passes; 0
    switches them and the entropy before the update off. Nothing that is trained depends on it."""
    alarms: AlarmSettings = field(default_factory=AlarmSettings)
    """When the run counts as going wrong, and what happens then."""

    checkpoint_every: int = 10
    """Steps between checkpoints; the last step always writes one."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints are kept."""
    keep_every: int | None = None
    """Checkpoints of steps that this number divides are kept for good, besides the newest."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "teacher", FORMER_TEACHERS.get(self.teacher, self.teacher))
        for name in ("steps", "groups", "group_size", "sampling_rounds", "minibatches", "microbatch_tokens",
                     "max_prompt_tokens",
                     "max_response_tokens", "skills_per_task", "max_skill_tokens", "eval_episodes", "eval_every",
                     "checkpoint_every", "keep_checkpoints", "keep_every", "record_every"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
        if self.record_episodes < 0:
            raise ConfigError(f"--record-episodes must not be negative, got {self.record_episodes}")
        if self.diagnostics_every < 0:
            raise ConfigError(f"--diagnostics-every must be at least 0, got {self.diagnostics_every}")
        if self.group_size < 2:
            raise ConfigError("--group-size must be at least 2: a group's advantages compare its members")
        if self.temperature <= 0:
            raise ConfigError("--temperature must be above 0 in training; only evaluation can be greedy")
        for name in ("env_timeout_seconds", "importance_cap"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"--{name.replace('_', '-')} must be above 0, got {getattr(self, name)}")
        if not 0.0 <= self.wrong_skills <= 1.0:
            raise ConfigError(f"--wrong-skills must be in [0, 1], got {self.wrong_skills}")
        if not 0.0 <= self.teacher_decay < 1.0:
            raise ConfigError(f"--teacher-decay must be in [0, 1), got {self.teacher_decay}")


@dataclass(frozen=True, slots=True)
class Preset:
    """A named starting point for the command line.

    Attributes:
        summary: One line for the help.
        learners: Hyper-parameters of each learner, where they are not the learner's own defaults.
        changes: Settings that differ from `TrainConfig`'s defaults.
        learner_changes: The same for single learners.
    """

    summary: str
    learners: dict[str, Learner] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    learner_changes: dict[str, dict[str, Any]] = field(default_factory=dict)


# A tiny model far from convergence has no need of a leash to its start, and a weight of 0.01 would contribute under
# 1 % of the gradient there. Where a whole group fails, a penalty for invalid actions alone makes the advantages, at
# full size: the tiny model then learns to wander about validly (success fell from .07 to 0 in ten steps).
_TINY_RL = GRPO(kl_coefficient=0.0, invalid_penalty=0.0)
_TINY_LEARNERS: dict[str, Learner] = {
    "grpo": _TINY_RL,
    "gigpo": GiGPO(rl=_TINY_RL),
    # Alone, it has nothing to be weighed against but the gradient's clip.
    "opsd": OPSD(rl=_TINY_RL),
    # At SDAR's 0.1 the ungated form collapses, teacher and student together (README, results).
    "grpo_opsd": GRPOOPSD(rl=_TINY_RL, weight=0.01),
    "skill_grpo": SkillGRPO(rl=_TINY_RL),
    # The same expected gradient as grpo_opsd's, hence the same weight.
    "skill_sd": SkillSD(rl=_TINY_RL, weight=0.01),
    "rlsd": RLSD(rl=_TINY_RL),
    "sdar": SDAR(rl=_TINY_RL, weight=0.1),
    "agent_opsd": AgentOPSD(rl=_TINY_RL),
    "grsd": GRSD(rl=_TINY_RL),
    "adrs": ADRS(rl=_TINY_RL),
    "atod": ATOD(rl=_TINY_RL),
    "bcsd": BCSD(rl=_TINY_RL),
    "opid": OPID(rl=replace(_TINY_RL, normalise_std=False)),
    "ucob": UCOB(rl=_TINY_RL),
    "craft": CRAFT(sdar=SDAR(rl=_TINY_RL, weight=0.1)),
    "skill0": Skill0(rl=_TINY_RL, stage_steps=10),
    "verified_imitation": VerifiedImitation(rl=_TINY_RL),
}
# Without rewards nothing holds a teacher that learns with its student: they collapse together (README).
_TINY_CHANGES: dict[str, dict[str, Any]] = {
    "opsd": {"teacher": "reference"},
    "atod": {"teacher": "reference"},
    # Many updates: what has been rewarded may be learned again and again.
    "verified_imitation": {"minibatches": 32},
}

PRESETS: dict[str, Preset] = {
    "quickstart": Preset(
        summary="the tiny model on small generated kitchens: minutes on two CPU cores",
        learners=_TINY_LEARNERS,
        learner_changes=_TINY_CHANGES,
    ),
    "quickstart-webshop": Preset(
        summary="a tiny model in the small generated shop: minutes on two CPU cores",
        learners=_TINY_LEARNERS,
        changes={
            "env": "sdar_gym/WebShopMini-v0",
            # Short pages and ids; and only a score of 1 counts, as in the paper.
            "env_options": ("results=3", "observation_mode=short", "reward=success"),
            "max_prompt_tokens": 384,
            "max_skill_tokens": 320,
            "skills_per_task": 2,
        },
        learner_changes=_TINY_CHANGES,
    ),
    "quickstart-search": Preset(
        summary="a tiny model that searches a small generated world: minutes on two CPU cores",
        learners=_TINY_LEARNERS,
        changes={
            "env": "sdar_gym/SearchQAMini-v0",
            # Few names, one search a question, and of a passage the sentence that fits.
            "env_options": (
                "names_seed=0",
                "documents=400",
                "questions=1200",
                "k=2",
                "snippets=1",
                "max_hops=1",
                "max_turns=3",
            ),
            "bank": "search_qa_words",
            "prompt_style": "compact_search",
            "max_prompt_tokens": 384,
            "max_response_tokens": 24,
            "max_skill_tokens": 320,
            "skills_per_task": 2,
        },
        learner_changes=_TINY_CHANGES,
    ),
    "paper-alfworld": Preset(
        summary="the paper's ALFWorld settings (Table 3); needs a GPU, a model and the games",
        changes={
            "env": "sdar_gym/ALFWorld-v0",
            "model": "Qwen/Qwen2.5-3B-Instruct",
            "max_prompt_tokens": 2048,
            "max_response_tokens": 512,
            "max_skill_tokens": 1024,
            "skills_per_task": 3,
            "steps": 150,
            "groups": 16,
            "learning_rate": 1e-6,
            "weight_decay": 0.01,
            "minibatches": 16,
            "eval_episodes": 140,
            "eval_every": 25,
            "checkpoint_every": 25,
        },
    ),
    "paper-webshop": Preset(
        summary="the paper's WebShop settings; needs a GPU, a model and the 1,000 products",
        changes={
            "env": "sdar_gym/WebShop-v0",
            # Only a score of 1 counts, as there; and the prompt states the instruction once, not on every page.
            "env_options": ("reward=success", "show_instruction=false"),
            "model": "Qwen/Qwen2.5-3B-Instruct",
            "max_prompt_tokens": 4096,
            "max_response_tokens": 512,
            "max_skill_tokens": 1024,
            "skills_per_task": 3,
            "steps": 150,
            "groups": 16,
            "learning_rate": 1e-6,
            "weight_decay": 0.01,
            "minibatches": 16,
            "eval_episodes": 500,
            "eval_every": 25,
            "checkpoint_every": 25,
        },
    ),
    "paper-search": Preset(
        summary="the paper's Search-QA settings; needs GPUs, a model, the questions and a search service at port 8000",
        changes={
            "env": "sdar_gym/SearchQA-v0",
            "env_options": ("engine=http://127.0.0.1:8000/retrieve",),
            "model": "Qwen/Qwen2.5-3B-Instruct",
            "max_prompt_tokens": 4096,
            "max_response_tokens": 512,
            "max_skill_tokens": 1024,
            "skills_per_task": 3,
            "steps": 150,
            "groups": 128,
            "learning_rate": 1e-6,
            "weight_decay": 0.01,
            "minibatches": 10,
            "eval_episodes": 500,
            "eval_every": 25,
            "checkpoint_every": 25,
        },
    ),
}

QUICKSTART_OF = {
    str(preset.changes.get("env", "sdar_gym/ALFWorldMini-v0")): name
    for name, preset in PRESETS.items()
    if name.startswith("quickstart")
}
"""Gymnasium id -> the preset that its warmed-up tiny model is trained by."""


def preset_config(preset: str, learner: str) -> TrainConfig:
    """The settings of a preset for a learner.

    Raises:
        ValueError: no such preset or learner; the text suggests the nearest.
    """
    if preset not in PRESETS:
        raise ConfigError(unknown("preset", preset, PRESETS))
    chosen = PRESETS[preset]
    kind = learner_class(learner)
    return replace(
        TrainConfig(learner=chosen.learners.get(learner) or kind()),
        **chosen.changes,
        **chosen.learner_changes.get(learner, {}),
    )


def learner_name(learner: Learner) -> str:
    """Registry name of a learner's class.

    Raises:
        ConfigError: it has none, so that no file could say which learner it was.
    """
    for name, kind in LEARNERS.items():
        if type(learner) is kind:
            return name
    name_elsewhere = plugin_name_of(type(learner), LEARNERS)
    if name_elsewhere is not None:
        return name_elsewhere
    raise ConfigError(
        f"{type(learner).__name__} is no registered learner: give it an entry point of the group {GROUP} "
        f"(agents/README.md)"
    )


def to_json(config: TrainConfig) -> dict[str, Any]:
    """A config as plain JSON values; the learner carries its registry name under `name`."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    learner = dataclasses.asdict(config.learner)  # type: ignore[call-overload]
    alarms = dataclasses.asdict(config.alarms)
    return {**values, "learner": {"name": learner_name(config.learner), **learner}, "alarms": alarms}


def from_json(values: dict[str, Any]) -> TrainConfig:
    """The config that `to_json` wrote.

    Raises:
        ConfigError: unknown or missing keys, an unknown learner.
    """
    given = dict(values)
    learner = dict(given.pop("learner", {}))
    name = learner.pop("name", None)
    try:
        kind = LEARNERS[name] if name in LEARNERS else learner_class(str(name))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    config: TrainConfig = _build(TrainConfig, {**given, "learner": _build(kind, learner)})
    return config


def _build(kind: Any, values: dict[str, Any]) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            raise ConfigError(unknown(f"{kind.__name__} setting", key, fields))
    hints = get_type_hints(kind)
    nested = {
        key: _build(hints[key], value)
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, dict)
        else _frozen(value)
        for key, value in values.items()
    }
    try:
        return kind(**nested)
    except TypeError as error:
        raise ConfigError(f"incomplete {kind.__name__}: {error}") from error


_NESTED: dict[str, Any] = {"rl": GRPO, "alarms": AlarmSettings}


def _frozen(value: Any) -> Any:
    """JSON has lists only; a config has tuples."""
    return tuple(value) if isinstance(value, list) else value


def read_config(path: Path) -> TrainConfig:
    """The resolved config of a run folder or of a config file.

    Raises:
        ConfigError: no such file, or not a config.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        values = json.loads(file.read_text(encoding="utf-8"))["config"]
    except FileNotFoundError as error:
        raise ConfigError(f"no config.json in {path}: it is not the folder of a run") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} is not the config of a run: {error}") from error
    return from_json(values)
