"""Reading what runs left: cells of a bench, or plain run folders, as rows that say what they may be compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sdar_agents.bench.file import Cell, chosen
from sdar_agents.bench.folder import (
    EPISODES,
    FORMAT,
    MANIFEST,
    OUTCOMES,
    RESULT,
    error_of,
    is_packed,
    read_manifest,
    state_of,
    unlisted,
    unpacked,
)
from sdar_agents.config import learner_name, read_config
from sdar_agents.episode_file import EpisodeHeader, is_cut, read_episodes, read_header
from sdar_agents.run_log import METRICS, read_metrics

COMPARED_SETTINGS = ("env_options", "temperature", "max_prompt_tokens", "max_response_tokens", "panel_content")
"""Settings of the final episodes that have to be the same for rows to be compared."""


class ResultError(ValueError):
    """Results that cannot be read, or not be put side by side."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one episode of the final panel came to; `turns` is None where it was not recorded."""

    task_type: str
    success: bool
    score: float | None
    turns: int | None


@dataclass(frozen=True, slots=True)
class Curve:
    """The evaluations of one run.

    Attributes:
        steps: Training steps before each evaluation, rising.
        rates: Success at each.
        tasks: Tasks that were played in every one of them; empty where it was not recorded which were solved.
        solved: The solved ones of each evaluation.
    """

    steps: tuple[int, ...]
    rates: tuple[float, ...]
    tasks: tuple[str, ...]
    solved: tuple[frozenset[str], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One run.

    Attributes:
        environment, learner, seed: What it is filed under.
        folder: Where it lies.
        identity: What has to be the same for it to be compared with another run: panel, rules, bank, prompt, settings.
        outcomes: Task id to what came of it, on the final panel.
        curve: Of its training.
        oracle_turns: Task id to the number of turns that the oracle needs, where that is known.
        skills: Whether the final prompts showed skills.
        training: Metric of the training steps to its value in each of them, in order; of one that only some steps have,
            to those.
        provenance: Versions, commit and hashes.
    """

    environment: str
    learner: str
    seed: int
    folder: Path
    identity: Mapping[str, Any]
    outcomes: Mapping[str, Outcome]
    curve: Curve
    oracle_turns: Mapping[str, int | None] = field(default_factory=dict)
    skills: bool = False
    training: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As of a bench's cell: `ENVIRONMENT/LEARNER/seed-N`."""
        return Cell(self.environment, self.learner, self.seed).name


@dataclass(frozen=True, slots=True)
class Missing:
    """A run that a report should hold and does not."""

    name: str
    state: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Results:
    """All that a report is made of.

    Attributes:
        learners: Labels in the order in which to show them.
        missing: Runs that are not there, or not whole.
        left_out: Finished cells that the bench does not list any more.
    """

    name: str
    rows: tuple[Row, ...]
    learners: tuple[str, ...]
    missing: tuple[Missing, ...] = ()
    left_out: tuple[str, ...] = ()


def read_results(paths: Sequence[Path]) -> Results:
    """The rows of one bench, a folder or packed, or of plain run folders.

    Raises:
        ResultError: a path that is neither, both kinds at once, or two runs of the same environment, learner and seed.
        BenchFolderError: a bench of another version.
    """
    benches = [path for path in paths if is_packed(path) or (path / MANIFEST).is_file()]
    if benches and len(paths) > 1:
        raise ResultError(f"{benches[0]} is a whole bench: report on it alone, or name the folders of single runs")
    if benches and is_packed(benches[0]):
        with unpacked(benches[0]) as folder:
            return _of_bench(folder)
    if benches:
        return _of_bench(benches[0])
    for path in paths:
        if not (path / "config.json").is_file():
            raise ResultError(f"{path} holds neither a bench (bench.json) nor a run (config.json)")
    return _of_runs(paths)


def narrowed(results: Results, only: Sequence[str]) -> Results:
    """The results of those runs alone that a pattern of `file.chosen` names; all of them without patterns.

    Raises:
        BenchFileError: a pattern that names none.
    """
    if not only:
        return results
    kept = set(chosen([*(row.name for row in results.rows), *(each.name for each in results.missing)], only))
    rows = tuple(row for row in results.rows if row.name in kept)
    missing = tuple(each for each in results.missing if each.name in kept)
    return replace(results, rows=rows, missing=missing)


def _of_bench(folder: Path) -> Results:
    manifest = read_manifest(folder)
    rows, missing = [], []
    for cell in manifest.cells:
        place = folder / cell.name
        state = state_of(place)
        if state != "finished":
            missing.append(Missing(cell.name, state, error_of(place)))
            continue
        try:
            rows.append(read_cell(place, cell))
        # A cell that was damaged must not hide the others.
        except (ValueError, KeyError, TypeError, OSError) as error:
            missing.append(Missing(cell.name, "unreadable", str(error)))
    learners = tuple(dict.fromkeys(cell.learner for cell in manifest.cells))
    return Results(manifest.name, tuple(rows), learners, tuple(missing), tuple(unlisted(folder, manifest.cells)))


def read_cell(folder: Path, cell: Cell) -> Row:
    """A finished cell.

    Raises:
        ResultError, ValueError, KeyError, TypeError, OSError: it is damaged; the text says what to do about it.
    """
    values = _result(folder / RESULT)
    header, outcomes = final_outcomes(folder)
    expected = int(values["tasks"]) - len(values["failed"])
    if len(outcomes) != expected:
        file = folder / EPISODES
        cut = ", and its last line is cut" if file.is_file() and is_cut(file) else ""
        raise ResultError(
            f"{file} holds {len(outcomes)} of {expected} episodes{cut}: delete "
            f"{folder / RESULT} and run the bench again, which plays what is missing"
        )
    return Row(
        environment=cell.environment,
        learner=cell.learner,
        seed=cell.seed,
        folder=folder,
        identity=identity(header),
        outcomes=outcomes,
        curve=read_curve(folder),
        oracle_turns=values["oracle_turns"],
        skills=bool(header.settings.get("skills", False)),
        training=read_training(folder),
        provenance=values["provenance"],
    )


def _result(file: Path) -> dict[str, Any]:
    """What a finished cell says of itself.

    Raises:
        ResultError: it is damaged or of another format.
    """
    again = f"delete {file} and run the bench again, which makes it from the episodes that are there"
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        written = values["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ResultError(f"{file} is damaged ({error!r}): {again}") from error
    if written != FORMAT:
        raise ResultError(f"{file} is of format {written}, but this version reads format {FORMAT}: {again}")
    return values


def final_outcomes(folder: Path) -> tuple[EpisodeHeader, dict[str, Outcome]]:
    """Header and outcomes of a cell's final episodes, in the panel's order; a packed cell has notes in their place."""
    if (folder / OUTCOMES).is_file():
        noted = json.loads((folder / OUTCOMES).read_text(encoding="utf-8"))
        return EpisodeHeader(**noted["header"]), {task: Outcome(*known) for task, known in noted["outcomes"].items()}
    file = folder / EPISODES
    header = read_header(file)
    found = [(each.number, each.episode) for each in read_episodes(file) if each.phase == "eval"]
    found.sort(key=lambda pair: pair[0])
    return header, {e.task_id: Outcome(e.task_type, e.success, e.score, len(e.turns)) for _, e in found}


def identity(header: EpisodeHeader) -> dict[str, Any]:
    """What decides with which rows one may be compared."""
    settings = {name: header.settings.get(name) for name in COMPARED_SETTINGS}
    return {
        "env": header.env,
        "panel_hash": header.panel_hash,
        "behaviour_hash": header.behaviour_hash,
        "bank_hash": header.bank_hash,
        "prompt_hash": header.prompt_hash,
        **settings,
    }


def read_curve(folder: Path) -> Curve:
    """The evaluations of a run, without skills in the prompt.

    Raises:
        ResultError: it has none.
    """
    evaluations = [row for row in read_metrics(folder) if row["kind"] == "eval"]
    if not evaluations:
        raise ResultError(f"{folder / METRICS} holds no evaluation")
    panel: list[str] = json.loads((folder / "panel.json").read_text(encoding="utf-8"))["task_ids"]
    failed = {task for row in evaluations for task in row["failed"]}
    is_known = all("solved" in row for row in evaluations)
    return Curve(
        steps=tuple(row["step"] for row in evaluations),
        rates=tuple(float(row["success_rate"]) for row in evaluations),
        tasks=tuple(task for task in panel if task not in failed) if is_known else (),
        solved=tuple(frozenset(row.get("solved", ())) for row in evaluations),
    )


def _of_runs(folders: Sequence[Path]) -> Results:
    rows: list[Row] = []
    missing: list[Missing] = []
    for folder in folders:
        if not (folder / "summary.json").is_file():
            missing.append(Missing(str(folder), "begun", "it has no summary.json yet: resume it"))
            continue
        rows.append(_run(folder))
    labelled = _labelled(rows)
    seen: dict[tuple[str, str, int], Path] = {}
    for row in labelled:
        key = (row.environment, row.learner, row.seed)
        if key in seen:
            raise ResultError(
                f"{seen[key]} and {row.folder} are both {row.learner} with seed {row.seed} and the same settings: name "
                "one of them"
            )
        seen[key] = row.folder
    learners = tuple(dict.fromkeys(row.learner for row in labelled))
    return Results("runs", tuple(labelled), learners, tuple(missing))


def _run(folder: Path) -> Row:
    """A run of `sdar-gym train`, by its last evaluation."""
    config = read_config(folder)
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    known, last = stored["provenance"], [row for row in read_metrics(folder) if row["kind"] == "eval"][-1]
    curve = read_curve(folder)
    if not curve.tasks:
        raise ResultError(
            f"{folder} was made by a version that did not record which tasks were solved, and runs are compared task "
            "by task: train it anew, or as a cell of a bench"
        )
    solved = curve.solved[-1]
    manifest = json.loads((folder / "panel.json").read_text(encoding="utf-8"))
    return Row(
        environment=config.env.rpartition("/")[2],
        learner=learner_name(config.learner),
        seed=config.seed,
        folder=folder,
        identity={
            "env": config.env,
            **{name: known.get(name) for name in ("panel_hash", "behaviour_hash", "bank_hash", "prompt_hash")},
            "env_options": sorted(config.env_options),
            "temperature": config.eval_temperature,
            "max_prompt_tokens": config.max_prompt_tokens,
            "max_response_tokens": config.max_response_tokens,
            "panel_content": manifest.get("content"),
        },
        outcomes={task: Outcome("", task in solved, None, None) for task in curve.tasks if task not in last["failed"]},
        curve=curve,
        training=read_training(folder),
        provenance=known,
    )


def _labelled(rows: Sequence[Row]) -> list[Row]:
    """Runs of a learner with different settings under labels that say in what they differ."""
    from sdar_agents.config import to_json
    from sdar_agents.setup import MAY_CHANGE, flat

    free = {*MAY_CHANGE, "seed"}
    resolved = [flat(to_json(read_config(row.folder))) for row in rows]
    settings = [{key: value for key, value in values.items() if key not in free} for values in resolved]
    labelled = []
    for row, own in zip(rows, settings, strict=True):
        others = [it for it, other in zip(settings, rows, strict=True) if other.learner == row.learner
                  and other.environment == row.environment]  # fmt: skip
        differing = sorted({key for other in others for key in {*own, *other} if own.get(key) != other.get(key)})
        note = " ".join(f"{key.removeprefix('learner.')}={own.get(key)}" for key in differing)
        labelled.append(replace(row, learner=f"{row.learner} {note}".strip()))
    return labelled


def read_training(folder: Path) -> dict[str, tuple[float, ...]]:
    """The numbers of a run's training steps, by metric."""
    found: dict[str, list[float]] = {}
    for row in read_metrics(folder):
        if row["kind"] == "train":
            for name, value in row.items():
                if isinstance(value, float):
                    found.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in found.items()}
