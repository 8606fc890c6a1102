"""`sdar-gym skills lift`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdar_agents.commands.report_output import check_counts, check_folders, write_report
from sdar_agents.commands.retriever_arguments import named_retrievers, settings_by_retriever
from sdar_agents.options import parse

if TYPE_CHECKING:
    from sdar_agents.player import AgentChoice
    from sdar_agents.skill_lift import Condition, SkillSource
    from sdar_gym.tasks import Panel

DEFAULT_EPISODES = 200


@dataclass(frozen=True, slots=True)
class LiftOptions:
    """Play a panel with one agent under several conditions: no skills in its prompt, right, found, random, wrong."""

    env: str | None = None
    """Gymnasium id; by default the environment of the run, else sdar_gym/ALFWorldMini-v0."""
    bank: str | None = None
    """Folder of skills, or a bundled bank; by default the environment's."""
    agent: str = "tiny"
    """A run folder, a model folder, tiny, a hub id, or openai:MODEL at an endpoint."""
    step: int | None = None
    """Which checkpoint of a run; by default the newest."""
    conditions: str = "none,oracle,retrieved,random,wrong,placebo"
    """What the prompt shows, with commas: none, oracle, retrieved, random, wrong, placebo."""
    retriever: str = "dense"
    """Names of retrievers with commas between them, or package:Class of your own; one condition each."""
    retriever_options: tuple[str, ...] = ()
    """A retriever's own settings, such as `dense:index=hnsw` (skills/README.md)."""
    embedder: str | None = None
    """Of retrievers that embed: minilm, hashing, a folder or a hub id; by default the run's."""
    skills_per_task: int = 3
    """How many skills a prompt is to show."""
    max_skill_tokens: int | None = None
    """How many tokens they may take; whole skills only, what does not fit is counted. By default the run's."""
    panel: str | None = None
    """A split, or a panel.json; by default the evaluation split."""
    episodes: int | None = None
    """How many tasks of the panel: the first of its fixed order; by default 200, or all if there are fewer."""
    backend: str = "hf"
    """Engine of a model: hf (in this process), vllm, or vllm_server (which then serves that model)."""
    backend_options: tuple[str, ...] = ()
    """Settings of the engine, such as `base_url=http://localhost:8000` (docs/backends.md)."""
    data: str | None = None
    """Folder of the environment's data (ALFWorld games, WebShop files)."""
    env_options: tuple[str, ...] = ()
    """Other settings of the environment, such as `things=6`."""
    temperature: float = 0.4
    """Of the sampling; 0 is greedy."""
    max_prompt_tokens: int | None = None
    """Budget of the prompt without skills; by default the run's."""
    max_response_tokens: int | None = None
    """Longest response; by default the run's."""
    prompt_style: str | None = None
    """tagged, compact or search; by default the run's."""
    env_workers: str | None = None
    """Where environments step: inline, threads, processes, or auto; by default the run's."""
    env_timeout_seconds: float | None = None
    """A reset or step that takes longer counts as a crash; by default the run's."""
    batch: int = 64
    """Episodes that are played at once."""
    seed: int = 0
    """Of sampling, random skills, intervals and tests; all conditions draw alike."""
    run: str | None = None
    """Folder that receives each episode as it ends; the same command goes on with it after a kill."""
    min: tuple[str, ...] = ()
    """Bounds such as oracle-none=0.1; where one is missed, the exit code is 1."""
    json: str | None = None
    """File that receives everything that was measured."""
    html: str | None = None
    """File that receives a page with plots."""


def run(arguments: Sequence[str]) -> None:
    """Play, print tables, write files; exit code 1 where a bound of --min is missed."""
    options = parse(LiftOptions, arguments, command="skills lift")
    retrievers = named_retrievers(options.retriever)
    settings = settings_by_retriever(options.retriever_options, retrievers)
    _check(options)
    from rich.console import Console

    from sdar_agents.lift_report import missed, page, read_bound, tables
    from sdar_agents.skill_lift import conditions_of

    names = [name.strip() for name in options.conditions.split(",") if name.strip()]
    conditions = conditions_of(names, retrievers)
    if len(conditions) < 2:
        raise ValueError("--conditions names nothing to compare with none, such as oracle or retrieved")
    bounds = [read_bound(text, [condition.name for condition in conditions]) for text in options.min]
    report = _measure(options, conditions, settings)
    console = Console(soft_wrap=True)
    for table in tables(report):
        console.print(table)
    _describe(report)
    write_report(report, page, options)
    if failures := missed(bounds, report):
        print("\n".join(f"MISSED {line}" for line in failures))
        sys.exit(1)


def _check(options: LiftOptions) -> None:
    """Refuse what would fail only after the work is done."""
    check_folders(options, ("json", "html"))
    check_counts(options, ("skills_per_task", "batch", "episodes", "max_skill_tokens"))
    if options.temperature < 0:
        raise ValueError(f"--temperature must not be negative, got {options.temperature}")
    if options.agent in ("oracle", "random", "human"):
        raise ValueError(
            f"--agent {options.agent} reads no prompt, so skills cannot help it: name a model (tiny, a folder, a run) "
            "or openai:MODEL"
        )


def _measure(
    options: LiftOptions, conditions: Sequence[Condition], settings: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    from sdar_agents.machine import package_version
    from sdar_agents.player import agent_options, choose_agent, seated
    from sdar_agents.skill_lift import play_condition, report_of

    # A run's own retriever is not what is measured here.
    choice = choose_agent(agent_options_without_retriever(agent_options(options)))
    panel = panel_of_choice(choice, options.panel, options.episodes)
    source = skill_source(choice, options, settings)
    folder = None if options.run is None else Path(options.run)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    played = []
    with seated(choice) as player:
        for condition in conditions:
            print(f"playing {len(panel)} tasks: {condition.name}", file=sys.stderr)
            played.append(
                play_condition(
                    condition,
                    player,
                    panel,
                    source,
                    agent=options.agent,
                    temperature=options.temperature,
                    seed=options.seed,
                    batch=options.batch,
                    folder=folder,
                )
            )
        header = player.header(panel, agent=options.agent, bank=source.bank.hash, settings={})
    provenance = {
        "agent": options.agent,
        "env": panel.env_id,
        "panel": panel.name,
        "panel_hash": panel.hash,
        "behaviour_hash": header.behaviour_hash,
        "prompt_hash": header.prompt_hash,
        "bank": options.bank or choice.config.bank or source.family,
        "bank_hash": source.bank.hash,
        "options": {name: value for name, value in asdict(options).items() if name not in ("json", "html", "run")},
        "versions": {name: package_version(name) for name in ("sdar-gym", "torch", "transformers")},
    }
    return {"provenance": provenance, **report_of(played, seed=options.seed)}


def agent_options_without_retriever(options: Any) -> Any:
    """The options, less those that name what is measured, which no run decides."""
    from dataclasses import replace

    return replace(options, retriever=None, retriever_options=())


def panel_of_choice(choice: AgentChoice, panel: str | None, episodes: int | None) -> Panel:
    """The tasks that are played; 200 at most unless more are asked for."""
    from sdar_agents.player import chosen_panel
    from sdar_agents.setup import evaluation_split
    from sdar_gym.registration import make, text_env

    if episodes is None and (panel is None or not panel.endswith(".json")):
        env = text_env(make(choice.config.env, **choice.env_settings))
        episodes = min(DEFAULT_EPISODES, len(env.task_ids(evaluation_split(choice.config.env, panel))))
    return chosen_panel(choice, panel, episodes)


def skill_source(choice: AgentChoice, options: Any, settings: dict[str, dict[str, Any]]) -> SkillSource:
    """The bank of an environment, and the skills of its tasks.

    Raises:
        ValueError: an environment outside the suite without a bank.
    """
    from sdar_agents.skill_lift import SkillSource
    from sdar_agents.task_skills import TaskSkills
    from sdar_gym.registration import SUITE
    from sdar_skills.bank import load_bank

    env, config = choice.config.env, choice.config
    family = SUITE[env].family if env in SUITE else None
    if config.bank is None and family is None:
        raise ValueError(f"{env} is not of this suite, so name its skills: --bank FOLDER")
    bank = load_bank(config.bank or str(family))
    # A third party's bank is filed under one environment of its own.
    family = family or bank.envs[0]
    # An endpoint takes long prompts.
    budget = 1_024 if choice.options.backend == "openai" else config.max_skill_tokens
    return SkillSource(
        bank=bank,
        family=family,
        tasks=TaskSkills(bank.for_env(family), env, choice.env_settings, config.train_split),
        k=options.skills_per_task,
        budget_tokens=options.max_skill_tokens or budget,
        seed=options.seed,
        embedder=config.embedder,
        options=settings,
    )


def _describe(report: dict[str, Any]) -> None:
    """Where the numbers come from, in a few lines."""
    provenance = report["provenance"]
    print(
        f"{provenance['agent']} on {provenance['env']}, panel {provenance['panel']} ({provenance['panel_hash']}), "
        f"{report['tasks']} tasks; bank {provenance['bank']} ({provenance['bank_hash'][:16]})"
    )
    if report["left_out"]:
        print(f"LEFT OUT: {report['left_out']} tasks that not every condition could play")
