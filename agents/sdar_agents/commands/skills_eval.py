"""`sdar-gym skills eval`."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sdar_agents.commands.report_output import check_folders, write_report
from sdar_agents.commands.retriever_arguments import named_retrievers, settings_by_retriever
from sdar_agents.options import parse
from sdar_gym.errors import unknown
from sdar_gym.registration import SUITE

if TYPE_CHECKING:
    import gymnasium as gym

    from sdar_gym.tasks import Panel
    from sdar_skills.bank import SkillBank
    from sdar_skills.judgements import JudgedQuery

DEFAULT_EPISODES = 200
_OWN_FAMILY = "queries"
"""What a corpus that comes without an environment is filed under."""


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """Test a bank and retrievers like a search engine; the tasks of an environment, or a file, say what is right."""

    env: str | None = None
    """Gymnasium id; by default sdar_gym/ALFWorldMini-v0, with --queries none."""
    bank: str | None = None
    """Folder of skills, or a bundled bank; by default the environment's."""
    retriever: str = "dense,task_type,uniform"
    """Names of retrievers with commas between them (`sdar-gym list`), or package:Class of your own."""
    retriever_options: tuple[str, ...] = ()
    """A retriever's own settings, such as `dense:index=hnsw` or `lexical:k1=1.2` (skills/README.md)."""
    embedder: str = "minilm"
    """Of retrievers that embed: minilm, hashing, a folder or a hub id."""
    k: tuple[int, ...] = (1, 3, 5)
    """Depths of the measures."""
    queries: str | None = None
    """JSON lines with text and relevant, or a folder in BEIR's form (corpus.jsonl, queries.jsonl, qrels/test.tsv)."""
    queries_from: Literal["task", "observation", "paraphrase"] = "task"
    """What is asked: the goal, an observation in the middle of the oracle's episode, or the goal said otherwise."""
    episodes: int | None = None
    """How many tasks of the panel: the first of its fixed order; by default 200, or all if there are fewer."""
    panel: str | None = None
    """A split, or a panel.json; by default the evaluation split."""
    foreign: int = 50
    """How many goals of another world are asked too, for which no skill is right; 0 for none."""
    threshold: float | None = None
    """Also count false triggers at this score: queries without a right skill whose best score reaches it."""
    compare: str | None = None
    """The measure that retrievers are tested by, such as recall@3; by default nDCG at the largest depth."""
    ablate: Literal["none", "fields"] = "none"
    """Also measure with the name, the description or the body of each skill alone."""
    distractors: tuple[int, ...] = ()
    """Also measure among so many foreign skills, such as 10 100 1000 10000."""
    tokenizer: str = "tiny"
    """Whose tokens the injected text is counted in: tiny, a model's folder or a hub id."""
    min: tuple[str, ...] = ()
    """Bounds such as recall@5=0.9 or dense:mrr=0.8; where one is missed, the exit code is 1."""
    data: str | None = None
    """Folder of the environment's data (ALFWorld games, WebShop files)."""
    env_options: tuple[str, ...] = ()
    """Other settings of the environment, such as `things=6`."""
    seed: int = 0
    """Of paraphrases, turns, foreign skills, retrievers that draw, intervals and tests."""
    json: str | None = None
    """File that receives everything that was measured."""
    html: str | None = None
    """File that receives a page with plots."""


def run(arguments: Sequence[str]) -> None:
    """Measure, print tables, write files; exit code 1 where a bound of --min is missed."""
    options = parse(EvalOptions, arguments, command="skills eval")
    retrievers = named_retrievers(options.retriever)
    ks = tuple(sorted(set(options.k)))
    _check(options, ks)
    from rich.console import Console

    from sdar_agents.skill_page import page
    from sdar_agents.skill_report import missed, read_bound
    from sdar_agents.skill_tables import tables

    settings = settings_by_retriever(options.retriever_options, retrievers)
    bounds = [read_bound(text, retrievers, ks) for text in options.min]
    report = _measure(options, retrievers, settings, ks)
    console = Console(soft_wrap=True)
    for table in tables(report):
        console.print(table)
    _describe(report)
    write_report(report, page, options)
    if failures := missed(bounds, report):
        print("\n".join(f"MISSED {line}" for line in failures))
        sys.exit(1)


def _check(options: EvalOptions, ks: Sequence[int]) -> None:
    """Refuse what would fail only after the work is done."""
    from sdar_skills.quality import metric_names

    if not ks or ks[0] < 1:
        raise ValueError(f"--k {' '.join(map(str, options.k))}: depths start at 1")
    if options.compare is not None and options.compare not in metric_names(ks):
        raise ValueError(f"--compare: {unknown('metric', options.compare, metric_names(ks))} (depths are those of --k)")
    check_folders(options, ("json", "html"))
    if options.foreign < 0 or any(count < 0 for count in options.distractors):
        raise ValueError("--foreign and --distractors count from 0 on")
    if options.queries is not None:
        for name in ("episodes", "panel", "data"):
            if getattr(options, name) is not None:
                raise ValueError(f"--{name} chooses tasks of an environment, but --queries gives the queries")
        if options.env is not None and options.env not in SUITE:
            raise ValueError(
                f"--env with --queries names whose skills are asked; {unknown('environment', options.env, SUITE)}"
            )
        if options.queries_from == "observation":
            raise ValueError("--queries-from observation plays an environment, but --queries gives the queries")


def _measure(
    options: EvalOptions, retrievers: tuple[str, ...], settings: dict[str, dict[str, Any]], ks: tuple[int, ...]
) -> dict[str, Any]:
    from sdar_agents.policy import load_tokenizer
    from sdar_agents.skill_report import FORMAT, Trial, ablate, compare, distract, versions
    from sdar_skills.embedders import make_embedder
    from sdar_skills.measurement import MeteredEmbedder
    from sdar_skills.quality import metric_names

    asked = _from_file(options) if options.queries is not None else _from_env(options)
    tokenizer = load_tokenizer(options.tokenizer)
    trial = Trial(
        bank=asked.bank,
        queries=asked.queries,
        family=asked.family,
        ks=ks,
        seed=options.seed,
        embedder=MeteredEmbedder(make_embedder(options.embedder)),
        count_tokens=lambda text: len(tokenizer.text_ids(text)),
        options=settings,
    )
    metric = options.compare or f"ndcg@{ks[-1]}"
    judged = sum(bool(query.grades) for query in asked.queries)
    return {
        "format": FORMAT,
        "provenance": {
            "options": {name: value for name, value in asdict(options).items() if name not in ("json", "html")},
            "bank": asked.bank_name,
            "bank_hash": asked.bank.hash,
            "skills": len(asked.bank.for_env(asked.family)),
            "queries_hash": _queries_hash(asked.queries),
            **asked.provenance,
            "embedder": options.embedder,
            "tokenizer": options.tokenizer,
            "versions": versions(),
        },
        "queries": {
            "judged": judged,
            "without_right_skill": len(asked.queries) - judged,
            "tasks": asked.tasks,
            "from": options.queries_from,
        },
        "metrics": [*metric_names(ks), *(f"tokens@{k}" for k in ks)],
        "compared_metric": metric,
        **compare(trial, retrievers, metric=metric, threshold=options.threshold),
        "ablation": ablate(trial, retrievers) if options.ablate == "fields" else None,
        "distractors": distract(trial, retrievers, options.distractors) if options.distractors else None,
    }


@dataclass(frozen=True, slots=True)
class _Asked:
    """The queries of a run, and where they come from."""

    bank: SkillBank
    bank_name: str
    family: str
    queries: list[JudgedQuery]
    tasks: int
    provenance: dict[str, Any]


def _from_env(options: EvalOptions) -> _Asked:
    """Every distinct goal of a panel, and goals of another world."""
    from sdar_agents.setup import env_options
    from sdar_agents.skill_queries import foreign_queries, judge, task_queries
    from sdar_gym.registration import make, text_env
    from sdar_skills.bank import load_bank
    from sdar_skills.judgements import check_judgements

    env_id = options.env or "sdar_gym/ALFWorldMini-v0"
    env = make(env_id, **env_options(env_id, options.data, options.env_options))
    family = SUITE[env_id].family if env_id in SUITE else None
    if options.bank is None and family is None:
        raise ValueError(f"{env_id} is not of this suite, so name its skills: --bank FOLDER")
    bank_name = options.bank or str(family)
    bank = load_bank(bank_name)
    # A third party's bank is filed under one environment of its own.
    family = family or bank.envs[0]
    bank.for_env(family)
    panel = _panel(options, env_id, env)
    tasks = list(task_queries(panel, env, source=options.queries_from, seed=options.seed))
    own = {id for task in tasks for id in task.own_skills}
    foreign = foreign_queries(family, options.foreign, source=options.queries_from, seed=options.seed)
    queries = [*judge(tasks, bank, family), *foreign]
    check_judgements(queries, bank)
    provenance = {
        "env": env_id,
        "panel": panel.name,
        "panel_hash": panel.hash,
        "behaviour_hash": text_env(env).behaviour_hash,
        "own_skills": len(own),
        "own_skills_missing": sorted(own - set(bank.ids)),
    }
    return _Asked(bank, bank_name, family, queries, len(panel), provenance)


def _panel(options: EvalOptions, env_id: str, env: gym.Env[Any, Any]) -> Panel:
    """The tasks that are asked about."""
    from sdar_agents.setup import evaluation_split
    from sdar_gym.registration import text_env
    from sdar_gym.tasks import load_panel, make_panel

    if options.panel is None or not options.panel.endswith(".json"):
        split = evaluation_split(env_id, options.panel)
        there = len(text_env(env).task_ids(split))
        return make_panel(env, env_id, split, options.episodes or min(DEFAULT_EPISODES, there))
    panel = load_panel(options.panel)
    if panel.env_id != env_id:
        raise ValueError(f"{options.panel} is a panel of {panel.env_id}, not of {env_id}")
    panel.check(env)
    return panel if options.episodes is None else panel.first(options.episodes)


def _from_file(options: EvalOptions) -> _Asked:
    """A user's own queries, with their bank, or the corpus of a triplet as the bank."""
    from dataclasses import replace

    from sdar_skills.bank import load_bank
    from sdar_skills.judgements import check_judgements, read_beir, read_jsonl
    from sdar_skills.paraphrase import paraphrase

    source = str(options.queries)
    bank_name = options.bank or (SUITE[options.env].family if options.env in SUITE else None)
    bank = load_bank(bank_name) if bank_name is not None else None
    family = SUITE[options.env].family if options.env in SUITE else (bank.envs[0] if bank is not None else _OWN_FAMILY)
    if Path(source).is_dir():
        corpus, queries = read_beir(source, family)
        # A bank that is named is what is searched; the judgements must then be about its skills.
        bank, bank_name = (corpus, source) if bank is None else (bank, bank_name)
    elif bank is None:
        raise ValueError(f"--queries {source} judges skills of a bank: name it, --bank FOLDER")
    else:
        queries = read_jsonl(source, family)
    check_judgements(queries, bank)
    if options.queries_from == "paraphrase":
        queries = [
            replace(judged, query=replace(judged.query, text=paraphrase(judged.query.text, seed=options.seed)))
            for judged in queries
        ]
    return _Asked(bank, str(bank_name), family, queries, 0, {"queries_file": source})


def _queries_hash(queries: Sequence[JudgedQuery]) -> str:
    """16 hex digits of the SHA-256 over what is asked and what is right."""
    content = [[judged.id, judged.query.task_type, judged.query.text, dict(judged.grades)] for judged in queries]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _describe(report: dict[str, Any]) -> None:
    """Where the numbers come from, in a few lines."""
    provenance, queries = report["provenance"], report["queries"]
    bank = f"bank {provenance['bank']} ({provenance['skills']} skills, {provenance['bank_hash'][:16]})"
    if "env" in provenance:
        panel = f"panel {provenance['panel']} ({provenance['panel_hash']})"
        print(f"{provenance['env']}, {panel}, {queries['tasks']} tasks, asked by {queries['from']}; {bank}")
    else:
        print(f"queries of {provenance['queries_file']}; {bank}")
    if missing := provenance.get("own_skills_missing"):
        print(f"the bank lacks {len(missing)} skills that tasks have of their own: {', '.join(missing[:5])}")
