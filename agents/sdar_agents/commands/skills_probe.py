"""`sdar-gym skills probe`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdar_agents.commands.report_output import check_counts, check_folders, write_report
from sdar_agents.commands.retriever_arguments import named_retrievers, settings_by_retriever
from sdar_agents.commands.skills_lift import agent_options_without_retriever, skill_source
from sdar_agents.options import parse

if TYPE_CHECKING:
    from sdar_agents.episode import Episode
    from sdar_agents.player import AgentChoice, Player
    from sdar_agents.skill_lift import Condition, SkillSource

DEFAULT_TASKS, EPISODES = 100, "episodes.jsonl"


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """Would a teacher that reads skills like what wins? The gap that skills make on recorded or just played turns."""

    env: str | None = None
    """Gymnasium id; by default the environment of the run or file, else sdar_gym/ALFWorldMini-v0."""
    run: str | None = None
    """Folder of a run: its newest checkpoint is the agent, and the episodes that it recorded are probed."""
    episodes_file: str | None = None
    """Probe these episodes (`sdar-gym eval --episodes-file`, or a run's episodes.jsonl) instead of playing."""
    agent: str | None = None
    """Whose weights score: a run, a model folder, tiny or a hub id; by default the file's model, else tiny."""
    step: int | None = None
    """Which checkpoint of a run; by default the newest."""
    bank: str | None = None
    """Folder of skills, or a bundled bank; by default the environment's."""
    sets: str = "oracle,retrieved,random,wrong,placebo"
    """What the teacher reads, with commas: oracle, retrieved, random, wrong, placebo."""
    retriever: str = "dense"
    """Names of retrievers with commas between them, or package:Class of your own; one set each."""
    retriever_options: tuple[str, ...] = ()
    """A retriever's own settings, such as `dense:index=hnsw` (skills/README.md)."""
    embedder: str | None = None
    """Of retrievers that embed: minilm, hashing, a folder or a hub id; by default the run's."""
    skills_per_task: int = 3
    """How many skills the teacher reads."""
    max_skill_tokens: int | None = None
    """How many tokens they may take; by default the run's."""
    panel: str | None = None
    """The tasks to play: a split, or a panel.json; by default the evaluation split."""
    episodes: int | None = None
    """How many tasks are played: the first of the panel's fixed order; by default 100, or all if there are fewer."""
    attempts: int = 8
    """How often each task is played: wins and losses of one task are compared."""
    temperature: float = 1.0
    """Of the sampling, and of the scores; of a file, what it says."""
    backend: str = "hf"
    """Engine that plays."""
    backend_options: tuple[str, ...] = ()
    """Settings of the engine (docs/backends.md)."""
    data: str | None = None
    """Folder of the environment's data (ALFWorld games, WebShop files)."""
    env_options: tuple[str, ...] = ()
    """Other settings of the environment, such as `things=6`."""
    max_prompt_tokens: int | None = None
    """Budget of the prompt without skills; by default the run's."""
    max_response_tokens: int | None = None
    """Longest response; by default the run's."""
    prompt_style: str | None = None
    """tagged, compact or search; by default the run's."""
    seed: int = 0
    """Of sampling, random skills and intervals."""
    save: str | None = None
    """File that receives the episodes that were played, for --episodes-file."""
    json: str | None = None
    """File that receives everything that was measured."""
    html: str | None = None
    """File that receives a page with plots."""


def run(arguments: Sequence[str]) -> None:
    """Find or play episodes, score them, print tables, write files."""
    options = parse(ProbeOptions, arguments, command="skills probe")
    retrievers = named_retrievers(options.retriever)
    settings = settings_by_retriever(options.retriever_options, retrievers)
    _check(options)
    from rich.console import Console

    from sdar_agents.probe_report import page, tables
    from sdar_agents.skill_lift import conditions_of

    names = [name.strip() for name in options.sets.split(",") if name.strip()]
    if "none" in names:
        raise ValueError("--sets none: without skills there is no gap; name oracle, retrieved, random, wrong, placebo")
    sets = [each for each in conditions_of(names, retrievers) if each.name != "none"]
    if not sets:
        raise ValueError("--sets names nothing that a teacher could read, such as oracle or retrieved")
    report = _measure(options, sets, settings)
    console = Console(soft_wrap=True)
    for table in tables(report):
        console.print(table)
    _describe(report)
    write_report(report, page, options)


def _check(options: ProbeOptions) -> None:
    """Refuse what would fail only after the work is done."""
    check_folders(options, ("json", "html", "save"))
    check_counts(options, ("skills_per_task", "episodes", "attempts", "max_skill_tokens"))
    if options.temperature <= 0:
        raise ValueError("--temperature must be above 0: the gap is of log-probabilities under it")
    if options.run is not None and options.agent is not None:
        raise ValueError("--run names both the episodes and the agent: leave --agent out, or name --episodes-file")
    if str(options.agent).startswith("openai:"):
        raise ValueError("an endpoint cannot score given tokens; probe with a model in this process (--agent FOLDER)")
    if options.agent in ("oracle", "random", "human"):
        raise ValueError(f"--agent {options.agent} has no weights that could score: name a model")
    file = _file(options)
    if file is not None and options.save is not None:
        raise ValueError("--save keeps episodes that are played, but these are of a file: leave it out")
    if options.run is not None and not Path(options.run).is_dir():
        raise ValueError(f"--run {options.run}: no such folder")


def _file(options: ProbeOptions) -> Path | None:
    if options.episodes_file is not None:
        return Path(options.episodes_file)
    return None if options.run is None else Path(options.run) / EPISODES


def _measure(options: ProbeOptions, sets: Sequence[Condition], settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    from sdar_agents.player import choose_agent, seated
    from sdar_agents.policy import load_policy
    from sdar_agents.skill_gaps import Scorer, bare_logprobs, check_recorded, gaps, probed_turns
    from sdar_agents.skill_probe import Sample, report_of

    options, recorded = _with_file(options)
    choice = choose_agent(agent_options_without_retriever(_agent(options)))
    source = skill_source(choice, options, settings)
    with seated(choice) as player:
        episodes = recorded if recorded is not None else _play(options, choice, player)
        check_recorded(episodes, player.tokenizer)
        model, tokenizer = load_policy(choice.source)
        scorer = Scorer(model, tokenizer, temperature=options.temperature)
        bare = bare_logprobs(episodes, scorer)
        found = {}
        for each in sets:
            print(f"scoring {len(bare)} turns: {each.name}", file=sys.stderr)
            context = source.context(each, player)
            texts = [context.lookup(task=it.task, task_type=it.task_type, task_id=it.task_id).text for it in episodes]
            found[each.name] = gaps(episodes, texts, scorer, bare=bare)
        skills = _single_skills(episodes, source, scorer, bare)
    sample = Sample(probed_turns(episodes, choice.config.env, choice.env_settings), seed=options.seed)
    return {
        "provenance": _provenance(options, choice, source, episodes),
        **report_of(sample, found, skills),
    }


def _agent(options: ProbeOptions) -> Any:
    from sdar_agents.player import agent_options

    return agent_options(replace(options, agent=options.run or options.agent or "tiny"))


def _with_file(options: ProbeOptions) -> tuple[ProbeOptions, list[Episode] | None]:
    """The options with what a file says of its episodes, and these; None where they are to be played."""
    file = _file(options)
    if file is None:
        return options, None
    from sdar_agents.episode_file import is_cut, read_episodes, read_header

    header = read_header(file)
    if options.env is not None and options.env != header.env:
        raise ValueError(f"{file} holds episodes of {header.env}, not of {options.env}: leave --env out")
    if is_cut(file):
        print(f"the last line of {file} was cut off: it counts as not there", file=sys.stderr)
    every = [each.episode for each in read_episodes(file) if each.episode.turns]
    bare = [episode for episode in every if not any(turn.skills_shown for turn in episode.turns)]
    if not bare:
        raise ValueError(f"{file} holds no episode that was played without skills: there is no student to compare with")
    if len(bare) < len(every):
        print(f"{len(every) - len(bare)} episodes that saw skills are left out", file=sys.stderr)
    known = header.settings
    model = known.get("model")
    return (
        replace(
            options,
            env=header.env,
            agent=options.agent or (None if options.run else str(model) if model else None),
            data=options.data or known.get("data"),
            env_options=options.env_options or tuple(known.get("options", ())),
            prompt_style=options.prompt_style or known.get("prompt_style"),
            temperature=float(known.get("temperature", options.temperature)) or 1.0,
        ),
        bare,
    )


def _play(options: ProbeOptions, choice: AgentChoice, player: Player) -> list[Episode]:
    """Every task several times, without skills in the prompt."""
    from sdar_agents.episode_file import EpisodeWriter, RecordedEpisode
    from sdar_agents.player import chosen_panel
    from sdar_agents.rollout import Assignment, play
    from sdar_agents.setup import evaluation_split
    from sdar_gym.registration import make, text_env

    tasks = options.episodes
    if tasks is None and (options.panel is None or not options.panel.endswith(".json")):
        env = text_env(make(choice.config.env, **choice.env_settings))
        tasks = min(DEFAULT_TASKS, len(env.task_ids(evaluation_split(choice.config.env, options.panel))))
    panel = chosen_panel(choice, options.panel, tasks)
    print(f"playing {len(panel)} tasks {options.attempts} times", file=sys.stderr)
    rollout = play(
        [Assignment(task, group) for group, task in enumerate(panel.task_ids) for _ in range(options.attempts)],
        pool=player.pool,
        backend=player.backend,
        tokenizer=player.tokenizer,
        settings=player.settings(temperature=options.temperature, skills=False),
        context=None,
        seed=f"{options.seed}/probe",
    )
    for failure in rollout.failures:
        print(f"left out with its group: {failure}", file=sys.stderr)
    if not rollout.episodes:
        raise ValueError(f"no task could be played: {rollout.failures[0]}")
    if options.save is not None:
        settings = {"seed": options.seed, "temperature": options.temperature, "attempts": options.attempts}
        header = player.header(panel, agent=str(options.agent or "tiny"), bank=None, settings=settings)
        with EpisodeWriter(Path(options.save), header) as writer:
            for number, episode in enumerate(rollout.episodes):
                writer.add(RecordedEpisode(number, episode))
    return list(rollout.episodes)


def _single_skills(episodes: Sequence[Episode], source: SkillSource, scorer: Any, bare: Any) -> dict[str, Any]:
    """The gap that each right skill makes alone, on turns of the tasks that it is right for; NaN elsewhere."""
    import numpy as np

    from sdar_agents.skill_gaps import gaps

    owners: dict[str, list[int]] = {}
    bodies: dict[str, str] = {}
    for number, episode in enumerate(episodes):
        known = source.tasks
        for skill in dict.fromkeys((*known.own(episode.task_id), *known.of_type(episode.task_type))):
            owners.setdefault(skill.id, []).append(number)
            bodies[skill.id] = skill.body
    of_episode = np.concatenate([np.full(len(episode.turns), number) for number, episode in enumerate(episodes)])
    found = {}
    for name, numbers in sorted(owners.items()):
        rows = np.isin(of_episode, numbers)
        own = [episodes[number] for number in numbers]
        values = np.full(len(bare), np.nan)
        values[rows] = gaps(own, [bodies[name]] * len(own), scorer, bare=bare[rows])
        found[name] = values
    return found


def _provenance(
    options: ProbeOptions, choice: AgentChoice, source: SkillSource, episodes: Sequence[Episode]
) -> dict[str, Any]:
    from sdar_agents.machine import package_version
    from sdar_gym.prompts import prompt_hash

    return {
        "agent": choice.options.agent,
        "env": choice.config.env,
        "episodes": len(episodes),
        "tasks": len({episode.task_id for episode in episodes}),
        "success_rate": sum(episode.success for episode in episodes) / len(episodes),
        "bank": choice.config.bank or source.family,
        "bank_hash": source.bank.hash,
        "prompt_hash": prompt_hash(choice.style),
        "options": {name: value for name, value in asdict(options).items() if name not in ("json", "html", "save")},
        "versions": {name: package_version(name) for name in ("sdar-gym", "torch", "transformers")},
    }


def _describe(report: dict[str, Any]) -> None:
    """Where the numbers come from."""
    provenance = report["provenance"]
    print(
        f"{provenance['agent']} on {provenance['env']}: {provenance['episodes']} episodes of {provenance['tasks']} "
        f"tasks, success {provenance['success_rate']:.3f}; bank {provenance['bank']} ({provenance['bank_hash'][:16]})"
    )
