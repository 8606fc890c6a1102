"""`sdar-gym eval`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdar_agents.commands.play import asking
from sdar_agents.options import parse

if TYPE_CHECKING:
    from sdar_agents.config import TrainConfig
    from sdar_agents.episode_file import EpisodeHeader
    from sdar_agents.evaluate import EvaluationRecord
    from sdar_gym.tasks import Panel

OPENAI = "openai:"
RULES = ("oracle", "random", "human")


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """Play a frozen panel, each task once, and report success with its interval."""

    env: str | None = None
    """Gymnasium id; by default that of the run or of the bundled model, else sdar_gym/ALFWorldMini-v0."""
    agent: str = "oracle"
    """oracle, random, human, a run folder, a model folder, tiny (the environment's own), a hub id, or
    openai:MODEL at an endpoint."""
    backend: str = "hf"
    """Engine of a model: hf (in this process), vllm, or vllm_server (which then serves that model)."""
    backend_options: tuple[str, ...] = ()
    """Settings of the engine, such as `base_url=http://localhost:8000` (docs/backends.md)."""
    panel: str | None = None
    """A split (all of it, or its first --episodes), or a panel.json; by default the evaluation split."""
    episodes: int | None = None
    """How many tasks of the panel: the first of its fixed order."""
    data: str | None = None
    """Folder of the environment's data (real ALFWorld games)."""
    env_options: tuple[str, ...] = ()
    """Other settings of the environment, such as `engine=textworld` or `legacy_actions=true`."""
    skills: bool = False
    """Show retrieved skills in the acting prompt."""
    retriever: str | None = None
    """Retriever for --skills; by default the run's."""
    retriever_options: tuple[str, ...] = ()
    """Its settings, such as `fields=text,task_type`; by default the run's, if the retriever is."""
    temperature: float = 0.4
    """Of a model's sampling; 0 is greedy."""
    max_prompt_tokens: int | None = None
    """Budget of a model's prompt; by default the run's."""
    max_response_tokens: int | None = None
    """Longest response of a model; by default the run's."""
    prompt_style: str | None = None
    """tagged, compact or search; by default the run's."""
    batch: int = 64
    """Episodes that a model plays at once."""
    env_workers: str | None = None
    """Where a model's environments step: inline, threads, processes, or auto; by default the run's."""
    env_timeout_seconds: float | None = None
    """A reset or step that takes longer counts as a crash; by default the run's."""
    seed: int = 0
    """Of the sampling."""
    json: str | None = None
    """File that receives the result."""
    step: int | None = None
    """Which checkpoint of a run; by default the newest."""
    episodes_file: str | None = None
    """File that receives each episode as it ends; the same command goes on with it after a kill."""
    rescore: str | None = None
    """Play nothing: score the episodes of this file anew."""
    replay: bool = False
    """With --rescore: play the recorded actions again, and say where the environment answers otherwise."""


def run(arguments: Sequence[str]) -> None:
    """Evaluate, print a table, write the JSON."""
    options = parse(EvalOptions, arguments, command="eval")
    _check(options)
    result = _rescore(options) if options.rescore is not None else _evaluate(options)
    low, high = result["interval"]
    print(
        f"{result['agent']} on {result['env']}, panel {result['panel']} ({result['panel_hash']}): "
        f"success {result['success_rate']:.3f} [{low:.3f}, {high:.3f}], n={result['n']}, "
        f"score {result['score_mean']:.3f}, {result['turns_mean']:.1f} turns, {result['steps_per_second']:.0f} steps/s"
    )
    for kind, (solved, played) in result["by_task_type"].items():
        print(f"  {kind:<34} {solved}/{played}")
    if result.get("skills_dropped"):
        print(
            f"{result['skills_dropped']} retrieved skills did not fit into the prompts (--max-skill-tokens of the run)"
        )
    if result["failed"]:
        why = "the file lacks them" if options.rescore is not None else "their environment crashed twice"
        print(
            f"NOT PLAYED, and counted nowhere: {len(result['failed'])} of {len(result['failed']) + result['n']} tasks, "
            f"because {why}: {', '.join(result['failed'])}"
        )
    for line in result.get("differences", ()):
        print(f"ANSWERED OTHERWISE: {line}")
    if options.json is not None:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _check(options: EvalOptions) -> None:
    """Refuse what would fail only after the work is done."""
    from sdar_agents.backends import check_backend

    if options.json is not None and not Path(options.json).absolute().parent.is_dir():
        raise ValueError(f"--json {options.json}: its folder does not exist")
    if options.episodes_file is not None and not Path(options.episodes_file).absolute().parent.is_dir():
        raise ValueError(f"--episodes-file {options.episodes_file}: its folder does not exist")
    if options.rescore is not None and options.episodes_file is not None:
        raise ValueError("--rescore plays nothing that --episodes-file could keep: leave one out")
    if options.replay and options.rescore is None:
        raise ValueError("--replay plays the episodes of a file again: name it with --rescore FILE")
    if options.batch < 1:
        raise ValueError(f"--batch must be at least 1, got {options.batch}")
    if options.env_workers is not None:
        from sdar_agents.env_hosts import check_env_workers

        check_env_workers(options.env_workers)
    if options.env_timeout_seconds is not None and not options.env_timeout_seconds > 0:
        raise ValueError(f"--env-timeout-seconds must be above 0, got {options.env_timeout_seconds}")
    check_backend(options.backend)
    if options.backend == "openai" and not options.agent.startswith(OPENAI):
        raise ValueError("which model does the endpoint serve? write --agent openai:MODEL")
    if options.backend != "hf" and options.agent in RULES:
        raise ValueError(f"--agent {options.agent} plays by rule and needs no --backend {options.backend}")
    if options.temperature < 0:
        raise ValueError(f"--temperature must not be negative, got {options.temperature}")


def _evaluate(options: EvalOptions) -> dict[str, Any]:
    if options.agent not in RULES:
        return _evaluate_model(options)
    from sdar_agents.evaluate import RuleAgent, evaluate_rule
    from sdar_agents.player import panel_of
    from sdar_agents.setup import env_options

    env = options.env or "sdar_gym/ALFWorldMini-v0"
    settings = env_options(env, options.data, options.env_options)
    panel = panel_of(env, settings, options.panel, options.episodes)
    rule: RuleAgent = "oracle" if options.agent == "oracle" else "random" if options.agent == "random" else "human"
    header = _rule_header(options, panel, settings, rule=rule)
    with _recording(options, header) as record:
        result = evaluate_rule(
            rule,
            panel=panel,
            env_options=settings,
            seed=options.seed,
            record=record,
            ask=asking() if rule == "human" else None,
        )
    return result.to_json() | {"bank_hash": None, "prompt_hash": None}


def _rule_header(options: EvalOptions, panel: Panel, settings: dict[str, Any], *, rule: str) -> EpisodeHeader:
    """Of the episodes of an agent that reads no prompt."""
    from sdar_agents import __version__
    from sdar_agents.episode_file import EpisodeHeader
    from sdar_gym.registration import make, text_env

    return EpisodeHeader(
        env=panel.env_id,
        agent=rule,
        panel=panel.name,
        panel_hash=panel.hash,
        behaviour_hash=text_env(make(panel.env_id, **settings)).behaviour_hash,
        settings={
            "task_ids": list(panel.task_ids),
            "split": panel.split,
            "panel_content": panel.content,
            "env_options": {name: str(value) for name, value in settings.items()},
            "data": options.data,
            "options": list(options.env_options),
            "prompt_style": None,
            "seed": options.seed,
        },
        version=__version__,
    )


@contextmanager
def _recording(options: EvalOptions, header: EpisodeHeader) -> Iterator[EvaluationRecord | None]:
    from sdar_agents.evaluate import EvaluationRecord

    if options.episodes_file is None:
        yield None
        return
    record = EvaluationRecord(Path(options.episodes_file), header)
    if record.known:
        print(f"{len(record.known)} of {len(header.settings['task_ids'])} episodes are in {options.episodes_file}")
    with closing(record):
        yield record


def _rescore(options: EvalOptions) -> dict[str, Any]:
    from sdar_agents.episode_file import is_cut, read_episodes, read_header
    from sdar_agents.evaluate import rescored
    from sdar_agents.replay import replay_differences

    file = Path(str(options.rescore))
    header = read_header(file)
    recorded = [each for each in read_episodes(file) if each.phase == "eval"]
    if is_cut(file):
        print(f"the last line of {file} was cut off: it counts as not there")
    # A training run evaluates several times: what counts is its newest policy.
    newest = max((each.step for each in recorded), default=0)
    episodes = [each.episode for each in recorded if each.step == newest]
    result = rescored(header, episodes).to_json()
    result |= {"bank_hash": header.bank_hash, "prompt_hash": header.prompt_hash}
    if options.replay:
        result["differences"] = replay_differences(header, episodes)
        print(f"played {len(episodes)} episodes again: {len(result['differences'])} differences")
    return result


def _evaluate_model(options: EvalOptions) -> dict[str, Any]:
    from sdar_agents.evaluate import evaluate_policy
    from sdar_agents.player import agent_options, choose_agent, chosen_panel, seated
    from sdar_agents.setup import make_context

    choice = choose_agent(agent_options(options))
    config = choice.config
    panel = chosen_panel(choice, options.panel, options.episodes)
    agent = options.agent + (" with skills" if options.skills else "")
    with seated(choice) as player:
        context, bank = make_context(config, player.tokenizer) if options.skills else (None, None)
        if options.skills and (context is None or not context.shows_skills):
            raise ValueError(
                f"--skills shows what the teacher sees, but with the retriever {config.retriever!r} and the view "
                f"{config.teacher_view!r} that is nothing before an episode: add --retriever dense"
            )
        if context is not None:
            player.restore_retriever(context)
        bank_hash = None if bank is None else bank.hash
        settings = {"seed": options.seed, "temperature": options.temperature, "skills": _shown(options, config)}
        header = player.header(panel, agent=agent, bank=bank_hash, settings=settings)
        with _recording(options, header) as record:
            result = evaluate_policy(
                panel,
                agent=agent,
                record=record,
                pool=player.pool,
                backend=player.backend,
                tokenizer=player.tokenizer,
                settings=player.settings(temperature=options.temperature, skills=options.skills),
                context=context,
                seed=f"{options.seed}/eval",
                batch=options.batch,
            )
    dropped = {"skills_dropped": context.dropped_skills} if context is not None else {}
    return result.to_json() | {"bank_hash": bank_hash, "prompt_hash": header.prompt_hash} | dropped


def _shown(options: EvalOptions, config: TrainConfig) -> dict[str, Any] | None:
    """What decides the skills in the acting prompt."""
    if not options.skills:
        return None
    names = ("retriever", "retriever_options", "skills_per_task", "max_skill_tokens", "teacher_view", "wrong_skills")
    return {name: getattr(config, name) for name in names}
