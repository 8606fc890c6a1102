"""From settings to the parts of a run: everything that can be wrong is found here, before any work."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from gymnasium.envs.registration import load_env_creator

from sdar_agents.backends import check_backend
from sdar_agents.backends.base import Backend
from sdar_agents.backends.make import make_backend
from sdar_agents.batch import Memory
from sdar_agents.checkpoint import checkpoints
from sdar_agents.config import ConfigError, TrainConfig, learner_name, read_config, to_json
from sdar_agents.distributed import World, join_world, launched_size, local_device, shard
from sdar_agents.env_hosts import EnvPool, check_env_workers, make_agent_env
from sdar_agents.episode import Sampling
from sdar_agents.files import write_text
from sdar_agents.learners.base import ActingLearner
from sdar_agents.machine import missing_devices
from sdar_agents.memory_plan import check_memory
from sdar_agents.packing import check_packing, packed_forward
from sdar_agents.policy import BUNDLED, compute_dtype, initial_weights, load_policy, model_folder, model_of
from sdar_agents.rollout import RolloutSettings
from sdar_agents.task_skills import TaskSkills
from sdar_agents.teacher import PrivilegedContext
from sdar_agents.teacher_views import VIEWS, teacher_view
from sdar_agents.teacher_weights import check_teacher, make_teacher, teacher_kind
from sdar_agents.tokens import ChatTokenizer
from sdar_gym.errors import unknown
from sdar_gym.prompts import COMPACT, TAGGED, PromptStyle, prompt_hash, prompt_style
from sdar_gym.registration import SUITE, make, text_env
from sdar_gym.tasks import Panel, make_panel
from sdar_skills.bank import SkillBank, load_bank
from sdar_skills.retrievers import RETRIEVERS, check_options, make_retriever

DEFAULT_EPISODES = 100
MAY_CHANGE = {"run", "steps", "microbatch_tokens", "activation_checkpointing", "checkpoint_every", "keep_checkpoints",
              "keep_every", "record_episodes", "record_every", "diagnostics_every"}  # fmt: skip
"""Settings that another start of the same run may give otherwise: none of them decides what is computed."""
STYLE_FILE = "prompt_style.txt"
"""A model folder may say, in one word, which prompt style it was trained on."""


@dataclass(frozen=True, slots=True)
class Run:
    """The parts of a training run, ready to start.

    Attributes:
        config, folder, learner: The settings, where results go, the learner's registry name.
        model, tokenizer, device: What is trained; `optimizer` owns its trainable weights.
        reference: The initial weights, if the learner wants a KL to them.
        teacher: The weights that score under the skills (`teacher_weights.py`): the model itself, a copy of some moment
            or an average of it, or another model; None if not needed.
        backend, pool, rollout: How episodes are played.
        context: Where the teacher's views come from; None only with the retriever `none` and no teacher.
        skill_types: Skill id to task types, of the whole bank.
        train_ids, panel: What is trained and evaluated on.
        world: The processes that share the work.
        signals: Running values of a learner that adapts, replaced after each step.
        memory: Turns of earlier steps, of a learner that recalls some.
        bank_hash: Of the skill bank; None without one.
        alarm_state: What the alarms remember; see `alarms.watch`.
    """

    config: TrainConfig
    folder: Path
    learner: str
    model: Any
    tokenizer: ChatTokenizer
    device: str
    optimizer: torch.optim.Optimizer
    reference: Any | None
    teacher: Any | None
    backend: Backend
    pool: EnvPool
    rollout: RolloutSettings
    context: PrivilegedContext | None
    skill_types: Mapping[str, tuple[str, ...]]
    train_ids: tuple[str, ...]
    panel: Panel
    world: World
    signals: dict[str, float] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    bank_hash: str | None = None
    alarm_state: dict[str, float] = field(default_factory=dict)


def set_up(config: TrainConfig, *, resume: bool) -> Run:
    """Build every part of a run, cheapest checks first, and write the resolved config.

    Raises:
        ConfigError: settings that cannot work, a run folder that holds another run or cannot be written.
        ModelError, SkillBankError, UnknownEnvError, ...: as the part says it.
    """
    config = replace(config, model=model_of(config.model, config.env))
    check_names(config)
    folder = claim_folder(config, resume=resume)
    check_processes(config)
    world = join_world(local_device(resolve_device(config.device)))
    # Nobody writes the config before everybody has found the folder free.
    world.barrier()
    options = env_options(config.env, config.data, config.env_options)
    env = make(config.env, **options)
    train_ids = tuple(text_env(env).task_ids(config.train_split))
    if not train_ids:
        raise ConfigError(f"split {config.train_split!r} of {config.env} holds no task: nothing to train on")
    split = evaluation_split(config.env, config.panel)
    episodes = config.eval_episodes or min(DEFAULT_EPISODES, len(text_env(env).task_ids(split)))
    panel = make_panel(env, config.env, split, episodes)
    shared = set(train_ids) & set(panel.task_ids)
    if shared:
        raise ConfigError(
            f"{len(shared)} tasks of the panel {panel.name} are also trained on: evaluate on another split (--panel)"
        )
    device = local_device(resolve_device(config.device))
    check_memory(config, device=device, world=world.size)
    needs = config.learner.needs
    model, reference, teacher, tokenizer = load_weights_of_run(config, device)
    context, bank = make_context(config, tokenizer)
    if isinstance(config.learner, ActingLearner) and (context is None or not context.shows_skills):
        raise ConfigError(
            f"{learner_name(config.learner)} shows the agent skills, but --retriever none finds none: choose another"
        )
    style = resolve_style(config.prompt_style, config.model, config.env)
    run = Run(
        config=config,
        folder=folder,
        learner=learner_name(config.learner),
        model=model,
        tokenizer=tokenizer,
        device=device,
        optimizer=_optimizer(model, config, device),
        reference=reference,
        teacher=teacher,
        backend=make_backend(
            config.backend,
            model=model,
            tokenizer=tokenizer,
            source=config.model,
            settings=config.backend_options,
            dtype=str(compute_dtype(config.dtype, device)).removeprefix("torch."),
        ),
        pool=EnvPool(
            partial(make_agent_env, config.env, style, **options), config.env_workers, config.env_timeout_seconds
        ),
        rollout=RolloutSettings(
            env_id=config.env,
            sampling=Sampling(temperature=config.temperature, max_tokens=config.max_response_tokens),
            max_prompt_tokens=config.max_prompt_tokens,
            teacher_prompts=needs.teacher_prompts,
            views=(*needs.views, *needs.prompts),
        ),
        context=context,
        skill_types={skill.id: skill.task_types for skill in bank} if bank is not None else {},
        train_ids=train_ids,
        panel=panel,
        world=world,
        bank_hash=None if bank is None else bank.hash,
    )
    if world.is_main:
        write_config(run, bank)
    return run


def _optimizer(model: Any, config: TrainConfig, device: str) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        # One kernel for all weights, without temporary copies of them.
        fused=True if device.startswith("cuda") else None,
    )


def load_weights_of_run(config: TrainConfig, device: str) -> tuple[Any, Any | None, Any | None, ChatTokenizer]:
    """The model that is trained, the reference, the teacher, each sharded where there are several processes.

    Weights that are trained are float32, whatever is computed in: an update of 1e-6 of a weight is lost in bfloat16,
    which has 8 bits for it.
    """
    compute = compute_dtype(config.dtype, device)
    trained_whole = config.tuning == "full"
    model, tokenizer = load_policy(
        config.model,
        dtype="float32" if trained_whole else str(compute).removeprefix("torch."),
        device=device,
        tuning=config.tuning,
        seed=config.seed,
    )
    check_lengths(config, model, config.model)
    reference = initial_weights(model) if config.learner.needs.reference else None
    teacher = make_teacher(config, model, tokenizer, device)
    if teacher_kind(config) == "external":
        check_lengths(config, teacher, config.teacher)
    if config.packing == "tree":
        for each in (model, *([teacher] if teacher_kind(config) == "external" else [])):
            check_packing(each)
    if launched_size() > 1 or (trained_whole and compute != torch.float32):
        # Copies are cut like what they are copies of; the base under adapters, or the model itself, is no copy.
        copies = [copy for copy in (reference, teacher) if isinstance(copy, torch.nn.Module) and copy is not model]
        for whole in (model, *copies):
            shard(
                whole,
                device=device,
                dtype=compute if compute != torch.float32 else None,
                # Passes over prefix trees do not go through `forward`.
                methods={"packed_forward": packed_forward},
            )
    return model, reference, teacher, tokenizer


def check_names(config: TrainConfig) -> None:
    """Refuse misspelt names before anything is made.

    Raises:
        ConfigError, ValueError: the text suggests the nearest known name.
    """
    if config.env not in SUITE and ":" not in config.env and config.env not in gym.registry:
        raise ConfigError(unknown("environment", config.env, SUITE))
    if config.retriever not in RETRIEVERS and ":" not in config.retriever:
        raise ConfigError(unknown("retriever", config.retriever, RETRIEVERS))
    check_retriever(config)
    check_views(config)
    check_teacher(config)
    check_backend(config.backend)
    if config.prompt_style != "auto":
        prompt_style(config.prompt_style)
    check_env_workers(config.env_workers)


def check_retriever(config: TrainConfig) -> dict[str, Any]:
    """The retriever's settings by name, known to be in order.

    Raises:
        ConfigError, ValueError: a setting that is not, or that looks at what changes within an episode.
    """
    options = retriever_options(config.retriever_options)
    check_options(config.retriever, options)
    if "observation" in options.get("fields", ()):
        raise ConfigError(
            "--retriever-options fields=observation: skills are retrieved once a task, before anything is observed; "
            "choose among text and task_type"
        )
    return options


def check_views(config: TrainConfig) -> None:
    """Refuse views that do not exist, and settings under which a view would show nothing.

    Raises:
        ConfigError, ValueError: with what to change.
    """
    views = {name: teacher_view(name) for name in (config.teacher_view, *config.learner.needs.views)}
    default = views[config.teacher_view]
    if default.before is None and isinstance(config.learner, ActingLearner):
        raise ConfigError(
            f"{learner_name(config.learner)} shows the agent what the teacher sees, but --teacher-view "
            f"{config.teacher_view} is known only after the episode: choose another view"
        )
    if (config.teacher_text is not None) != ("text" in views):
        raise ConfigError(
            "--teacher-text is shown by the view `text`, which shows nothing else: give both, --teacher-view text and "
            "--teacher-text FILE, or neither"
        )
    if config.wrong_skills > 0 and not any(view.can_be_wrong for view in views.values()):
        able = ", ".join(name for name, view in VIEWS.items() if view.can_be_wrong)
        raise ConfigError(f"--wrong-skills changes nothing in the view {config.teacher_view}: choose among {able}")
    if config.wrong_skills > 0 and config.retriever == "none" and not default.needs_bank:
        raise ConfigError("--wrong-skills makes no sense with --retriever none, which shows no skills: leave one out")


def check_processes(config: TrainConfig) -> None:
    """Refuse more processes than there are groups to play.

    Raises:
        ConfigError: with both numbers.
    """
    if launched_size() > config.groups:
        raise ConfigError(
            f"{launched_size()} processes but only {config.groups} groups a step, and a group is played by one "
            "process: raise --groups, or start fewer processes"
        )


def claim_folder(config: TrainConfig, *, resume: bool) -> Path:
    """The run folder, made and known to be writable.

    Raises:
        ConfigError: it cannot be written, holds another run, or holds checkpoints of this run and `resume` was not
            asked for.
    """
    folder = Path(config.run)
    file = folder / "config.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.write_text("", encoding="utf-8")
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"cannot write to the run folder {folder}: {error.strerror}; choose another --run") from error
    if not file.exists():
        if resume:
            raise ConfigError(f"{folder} holds no run to resume: start it without --resume")
        return folder
    different = differences(read_config(folder), config)
    if different:
        raise ConfigError(
            f"{folder} holds a run with other settings ({'; '.join(different)}): choose another --run, "
            "or give the settings that it was started with"
        )
    if not resume and checkpoints(folder):
        raise ConfigError(f"{folder} already holds this run: --resume continues it, another --run starts afresh")
    return folder


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Settings that decide what a run computes and are not the same, as `name: old -> new`.

    What `MAY_CHANGE` names is left out: a run can be moved, made longer, cut finer, and keep more or fewer checkpoints.
    """
    before, after = (flat(to_json(config)) for config in (old, new))
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in sorted({*before, *after} - MAY_CHANGE)
        # What a run watches for decides nothing that it computes.
        if not key.startswith("alarms.") and before.get(key) != after.get(key)
    ]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names, such as `learner.rl.clip_low`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def env_options(env_id: str, data: str | None, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Settings for `make`: the data folder where one is given, and others by name.

    Args:
        env_id: Gymnasium id.
        data: Folder of the environment's data.
        settings: `NAME=VALUE`, such as `engine=textworld`; values are JSON where they can be read as such, else text.

    Raises:
        ConfigError: a data folder for an environment that has no use for one, a setting that it does not have.
    """
    if data is not None and env_id in SUITE and "data" not in _setting_names(env_id):
        raise ConfigError(f"{env_id} makes its own tasks and takes no --data; did you mean sdar_gym/ALFWorld-v0?")
    options: dict[str, Any] = {} if data is None else {"data": data}
    known = _setting_names(env_id) if settings else ()
    for setting in settings:
        name, is_given, value = setting.partition("=")
        if not is_given:
            raise ConfigError(f"--env-options {setting}: write NAME=VALUE, such as engine=textworld")
        if known and name not in known:
            raise ConfigError(unknown(f"setting of {env_id}", name, known))
        options[name] = _read_value(value)
    return options


def retriever_options(settings: Sequence[str]) -> dict[str, Any]:
    """Settings of a retriever by name, from `NAME=VALUE`; values are JSON where they can be read as such, else text.

    Raises:
        ConfigError: a setting that is not of this form.
    """
    options: dict[str, Any] = {}
    for setting in settings:
        name, is_given, value = setting.partition("=")
        if not is_given:
            raise ConfigError(f"--retriever-options {setting}: write NAME=VALUE, such as fields=text,task_type")
        options[name] = _read_value(value)
    return options


def _setting_names(env_id: str) -> tuple[str, ...]:
    """What the environment's constructor takes; nothing where it takes anything, or the id is not registered."""
    if env_id not in gym.registry:
        return ()
    entry_point = gym.spec(env_id).entry_point
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    parameters = inspect.signature(creator).parameters.values() if creator is not None else ()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return ()
    return tuple(parameter.name for parameter in parameters)


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def evaluation_split(env_id: str, panel: str | None) -> str:
    """The split that is evaluated on.

    Raises:
        ConfigError: none was named for an environment that is not of the suite.
    """
    if panel is not None:
        return panel
    if env_id not in SUITE:
        raise ConfigError(f"{env_id} is not of this suite, so say which split is held out: --panel SPLIT")
    return SUITE[env_id].evaluation_split


def resolve_device(device: str) -> str:
    """`auto` is the GPU if there is one.

    Raises:
        ConfigError: a GPU is asked for that is not there.
    """
    missing = missing_devices(device, os.environ, torch.cuda.device_count())
    if missing is not None and torch.cuda.is_available():
        raise ConfigError(missing)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"--device {device}, but torch {torch.__version__} sees no GPU: use --device cpu or auto")
    return device


def resolve_style(name: str, model: str, env_id: str | None = None) -> PromptStyle:
    """`auto` is what the environment's protocol asks for, else the model's folder, else think and action tags."""
    if name != "auto":
        return prompt_style(name)
    protocol = SUITE[env_id].prompt_style if env_id in SUITE else None
    if protocol is not None:
        return prompt_style(protocol)
    file = model_folder(model) / STYLE_FILE
    if file.is_file():
        return prompt_style(file.read_text(encoding="utf-8").strip())
    return COMPACT if model in BUNDLED else TAGGED


def check_lengths(config: TrainConfig, model: Any, name: str) -> None:
    """Refuse budgets that the context of a model, of this name, cannot hold.

    Raises:
        ConfigError: with the numbers.
    """
    context = getattr(model.config, "max_position_embeddings", None)
    needed = config.max_prompt_tokens + config.max_skill_tokens + config.max_response_tokens
    if context is not None and needed > context:
        raise ConfigError(
            f"prompt {config.max_prompt_tokens} + skills {config.max_skill_tokens} + response "
            f"{config.max_response_tokens} = {needed} tokens, but {name} has a context of {context}: "
            "lower --max-prompt-tokens, --max-skill-tokens or --max-response-tokens"
        )


def make_context(config: TrainConfig, tokenizer: ChatTokenizer) -> tuple[PrivilegedContext | None, SkillBank | None]:
    """Where the teacher's views come from, and the bank.

    With `--retriever none` there is no retriever, and no bank unless a view looks into it; the context is None then
    too, unless the learner has a teacher, whose prompt shows nothing or what the view makes of the episode.

    Raises:
        ConfigError: an environment outside the suite without a bank, a bank in which the view would find nothing.
    """
    needs = config.learner.needs
    views = [teacher_view(name) for name in (config.teacher_view, *needs.views)]

    def count(text: str) -> int:
        return len(tokenizer.text_ids(text))

    settings: dict[str, Any] = {"view": config.teacher_view, "wrong_share": config.wrong_skills, "seed": config.seed}
    settings["given_text"] = _given_text(config)
    budget = config.max_skill_tokens
    if config.retriever == "none" and not any(view.needs_bank for view in views):
        has_context = needs.has_teacher or views[0].after is not None or config.teacher_view == "text"
        return PrivilegedContext(None, "", 1, budget, count, **settings) if has_context else None, None
    family = SUITE[config.env].family if config.env in SUITE else None
    if config.bank is None and family is None:
        raise ConfigError(f"{config.env} is not of this suite, so name its skills: --bank FOLDER, or --retriever none")
    bank = load_bank(config.bank or str(family))
    if family is None:
        # A third party's bank is filed under one environment of its own.
        family = bank.envs[0]
    options = env_options(config.env, config.data, config.env_options)
    tasks = TaskSkills(bank.for_env(family), config.env, options, config.train_split)
    if config.teacher_view == "pruned" and not tasks.general():
        raise ConfigError("--teacher-view pruned shows general skills, and this bank has none: choose another view")
    retriever = None
    if config.retriever != "none":
        settings_of_it = retriever_options(config.retriever_options)
        retriever = make_retriever(
            config.retriever, bank, seed=config.seed, embedder=config.embedder, options=settings_of_it
        )
    return PrivilegedContext(retriever, family, config.skills_per_task, budget, count, tasks, **settings), bank


def _given_text(config: TrainConfig) -> str:
    """The text of `--teacher-text`, without the white space around it; an empty one without that option."""
    if config.teacher_text is None:
        return ""
    try:
        text = Path(config.teacher_text).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read --teacher-text {config.teacher_text} as UTF-8 text: {error}") from error
    if not text:
        raise ConfigError(f"--teacher-text {config.teacher_text} is empty: the teacher would see what the student sees")
    return text


def _text_hash(text: str) -> str | None:
    """16 hex digits; None for an empty text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else None


def write_config(run: Run, bank: SkillBank | None) -> None:
    """The resolved config with what else a result depends on: versions, panel, bank."""
    provenance = {
        "version": _version("sdar-gym"),
        "torch": torch.__version__,
        "transformers": _version("transformers"),
        "python": platform.python_version(),
        "processes": run.world.size,
        "panel": run.panel.name,
        "panel_hash": run.panel.hash,
        "behaviour_hash": text_env(run.pool.example).behaviour_hash,
        "bank_hash": bank.hash if bank is not None else None,
        "prompt_hash": prompt_hash(resolve_style(run.config.prompt_style, run.config.model, run.config.env)),
        "teacher_text_hash": _text_hash(_given_text(run.config)),
        "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
    }
    text = json.dumps({"config": to_json(run.config), "provenance": provenance}, indent=1)
    write_text(run.folder / "config.json", text + "\n")
    run.panel.save(run.folder / "panel.json")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
