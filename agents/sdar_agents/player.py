"""From the name of an agent to what plays: its settings, its engine, its environments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from sdar_agents import __version__
from sdar_agents.backends.base import Backend
from sdar_agents.backends.make import agent_engine
from sdar_agents.checkpoint import Checkpoint, load_training_state, open_checkpoint
from sdar_agents.config import QUICKSTART_OF, TrainConfig, preset_config, read_config
from sdar_agents.env_hosts import EnvPool, make_agent_env
from sdar_agents.episode import Sampling
from sdar_agents.episode_file import EpisodeHeader
from sdar_agents.policy import BUNDLED, TINY_OF, compute_dtype, model_of
from sdar_agents.rollout import RolloutSettings
from sdar_agents.setup import env_options, evaluation_split, resolve_device, resolve_style
from sdar_agents.teacher import PrivilegedContext
from sdar_agents.tokens import ChatTokenizer
from sdar_agents.warmup import RECIPE_FILE
from sdar_gym.prompts import PromptStyle, prompt_hash
from sdar_gym.registration import SUITE, make, text_env
from sdar_gym.tasks import Panel, load_panel, make_panel
from sdar_skills.retrievers.base import StatefulRetriever

OPENAI = "openai:"


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What a command line may say of an agent that is a model; None is whatever the run says, else the quick start.

    Attributes:
        agent: A run folder, a model folder, `tiny`, a hub id, or `openai:MODEL`.
        step: Which checkpoint of a run; None for the newest.
    """

    agent: str
    env: str | None = None
    backend: str = "hf"
    backend_options: tuple[str, ...] = ()
    data: str | None = None
    env_options: tuple[str, ...] = ()
    bank: str | None = None
    embedder: str | None = None
    retriever: str | None = None
    retriever_options: tuple[str, ...] = ()
    max_prompt_tokens: int | None = None
    max_response_tokens: int | None = None
    prompt_style: str | None = None
    env_workers: str | None = None
    env_timeout_seconds: float | None = None
    step: int | None = None


def agent_options(options: Any) -> AgentOptions:
    """Those of a command's options that concern the agent."""
    given = {f.name: getattr(options, f.name) for f in fields(AgentOptions) if hasattr(options, f.name)}
    return AgentOptions(**given)


@dataclass(frozen=True, slots=True)
class AgentChoice:
    """An agent by its settings, before anything is loaded.

    Attributes:
        options: As given; of an endpoint with what endpoints need.
        config: Of the run, or the quick start's, with what the options change.
        checkpoint: Of a run.
        is_own_env: Whether a run plays the environment that it was trained in, with the retriever that it had.
    """

    options: AgentOptions
    config: TrainConfig
    checkpoint: Checkpoint | None
    is_own_env: bool

    @property
    def source(self) -> str:
        """Where the weights are."""
        return self.config.model if self.checkpoint is None else str(self.checkpoint.model_folder)

    @property
    def style(self) -> PromptStyle:
        """Of the prompts."""
        return resolve_style(self.config.prompt_style, self.config.model, self.config.env)

    @property
    def env_settings(self) -> dict[str, Any]:
        """For `make`."""
        return env_options(self.config.env, self.config.data, self.config.env_options)


def choose_agent(options: AgentOptions) -> AgentChoice:
    """The settings of an agent.

    Raises:
        ConfigError, CheckpointError, ValueError: what is wrong, and how to mend it.
    """
    if options.agent.startswith(OPENAI):
        options = _with_endpoint(options)
    folder = Path(options.agent).expanduser()
    is_run = (folder / "checkpoints").is_dir() or (folder / "panel.json").is_file()
    if options.step is not None and not is_run:
        raise ValueError(f"--step chooses a checkpoint of a run, and {options.agent} is none")
    known = read_config(folder) if is_run else config_of_model(options.agent, options.env)
    env = options.env or known.env
    keeps_retriever = options.retriever in (None, known.retriever)
    is_own = is_run and env == known.env
    config = replace(
        known,
        env=env,
        # Data, settings and a bank belong to an environment; another one brings its own.
        data=options.data or (known.data if env == known.env else None),
        env_options=options.env_options or (known.env_options if env == known.env else ()),
        bank=options.bank or (known.bank if env == known.env else None),
        embedder=options.embedder or known.embedder,
        retriever=options.retriever or known.retriever,
        retriever_options=options.retriever_options or (known.retriever_options if keeps_retriever else ()),
        max_prompt_tokens=options.max_prompt_tokens or known.max_prompt_tokens,
        max_response_tokens=options.max_response_tokens or known.max_response_tokens,
        prompt_style=options.prompt_style or known.prompt_style,
        env_workers=options.env_workers or known.env_workers,
        env_timeout_seconds=options.env_timeout_seconds or known.env_timeout_seconds,
    )
    checkpoint = open_checkpoint(folder, options.step) if is_run else None
    return AgentChoice(options, config, checkpoint, is_own and keeps_retriever)


def config_of_model(model: str, env: str | None) -> TrainConfig:
    """How a model that comes without a run is asked: a warmed-up one as the preset of its environment does.

    Args:
        env: Gymnasium id; None is the warmed-up model's own, else the quick start's.
    """
    home = {name: env_id for env_id, name in TINY_OF.items()}.get(model)
    env_id = env or home or preset_config("quickstart", "grpo").env
    is_warmed_up = model in BUNDLED or (Path(model).expanduser() / RECIPE_FILE).is_file()
    preset = QUICKSTART_OF.get(env_id, "quickstart") if is_warmed_up else "quickstart"
    return replace(preset_config(preset, "grpo"), model=model_of(model, env_id))


def chosen_panel(choice: AgentChoice, panel: str | None, episodes: int | None) -> Panel:
    """The tasks that an agent plays.

    Args:
        panel: A split, or a panel.json; None for the evaluation split.
        episodes: How many, the first of its fixed order; None for all.
    """
    return panel_of(choice.config.env, choice.env_settings, panel, episodes)


def panel_of(env_id: str, settings: dict[str, Any], panel: str | None, episodes: int | None) -> Panel:
    """As `chosen_panel`, for an environment and its settings."""
    env = make(env_id, **settings)
    if panel is None or not panel.endswith(".json"):
        return make_panel(env, env_id, evaluation_split(env_id, panel), episodes)
    known = load_panel(panel)
    if known.env_id != env_id:
        raise ValueError(f"{panel} is a panel of {known.env_id}, not of {env_id}")
    known.check(env)
    return known if episodes is None else known.first(episodes)


@dataclass(frozen=True, slots=True)
class Player:
    """An agent that can play: engine, tokenizer, environments."""

    choice: AgentChoice
    backend: Backend
    tokenizer: ChatTokenizer
    pool: EnvPool

    def settings(self, *, temperature: float, skills: bool) -> RolloutSettings:
        """How it plays."""
        config = self.choice.config
        return RolloutSettings(
            env_id=config.env,
            sampling=Sampling(temperature=temperature, max_tokens=config.max_response_tokens),
            max_prompt_tokens=config.max_prompt_tokens,
            student_skills=skills,
        )

    def header(self, panel: Panel, *, agent: str, bank: str | None, settings: dict[str, Any]) -> EpisodeHeader:
        """Of its episodes in a file.

        Args:
            agent: Under which name.
            bank: Hash of the bank that its prompts show skills of.
            settings: What decides the episodes beside the agent, the environment and the tasks.
        """
        choice, style = self.choice, self.choice.style
        return EpisodeHeader(
            env=panel.env_id,
            agent=agent,
            panel=panel.name,
            panel_hash=panel.hash,
            behaviour_hash=text_env(self.pool.example).behaviour_hash,
            bank_hash=bank,
            prompt_hash=prompt_hash(style),
            settings={
                "task_ids": list(panel.task_ids),
                "split": panel.split,
                "panel_content": panel.content,
                "env_options": {name: str(value) for name, value in choice.env_settings.items()},
                "data": choice.config.data,
                "options": list(choice.config.env_options),
                "prompt_style": style.name,
                "max_prompt_tokens": choice.config.max_prompt_tokens,
                "max_response_tokens": choice.config.max_response_tokens,
                "backend": choice.options.backend,
                "backend_options": list(choice.options.backend_options),
                "checkpoint": None if choice.checkpoint is None else choice.checkpoint.step,
                "model": choice.source,
                **settings,
            },
            version=__version__,
        )

    def restore_retriever(self, context: PrivilegedContext) -> None:
        """A retriever that learns answers with what the run has taught it, not as if it were new."""
        checkpoint = self.choice.checkpoint
        if checkpoint is not None and self.choice.is_own_env and isinstance(context.retriever, StatefulRetriever):
            context.retriever.load_state_dict(load_training_state(checkpoint)["moving"]["retriever"])


@contextmanager
def seated(choice: AgentChoice) -> Iterator[Player]:
    """The agent with its engine and environments, which are closed afterwards."""
    config = choice.config
    device = resolve_device(config.device)
    backend, tokenizer = agent_engine(
        choice.options.backend,
        source=choice.source,
        settings=choice.options.backend_options,
        dtype=str(compute_dtype(config.dtype, device)).removeprefix("torch."),
        device=device,
    )
    make_env = partial(make_agent_env, config.env, choice.style, **choice.env_settings)
    pool = EnvPool(make_env, config.env_workers, config.env_timeout_seconds)
    with closing(pool), closing(backend):
        yield Player(choice, backend, tokenizer, pool)


def _with_endpoint(options: AgentOptions) -> AgentOptions:
    """The options of an endpoint's model: it takes long prompts, and answers with tags."""
    protocol = SUITE[options.env].prompt_style if options.env in SUITE else None
    return replace(
        options,
        backend="openai",
        backend_options=(*options.backend_options, f"model={options.agent.removeprefix(OPENAI)}"),
        max_prompt_tokens=options.max_prompt_tokens or 8_192,
        max_response_tokens=options.max_response_tokens or 1_024,
        prompt_style=options.prompt_style or protocol or "tagged",
    )
