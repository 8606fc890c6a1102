"""A bench file: environments, learners, seeds and settings, checked as a whole before anything runs."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sdar_agents.config import TrainConfig, preset_config
from sdar_gym.errors import closest, unknown

FILE_KEYS = ("name", "preset", "seeds", "final_episodes", "settings", "environments", "learners")
OWN_KEYS = {
    "environments": ("label", "preset", "final_episodes"),
    "learners": ("label", "name", "options", "final_skills"),
}
"""Keys of an entry that are not settings of training."""
NOT_SETTINGS = ("learner", "run", "seed")
"""What the bench itself decides."""
_KINDS = {tuple: "a list", str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")


class BenchFileError(ValueError):
    """A bench file that cannot be meant, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a bench: an environment, a learner, a seed."""

    environment: str
    learner: str
    seed: int

    @property
    def name(self) -> str:
        """Its place below the bench's folder."""
        return f"{self.environment}/{self.learner}/seed-{self.seed}"


@dataclass(frozen=True, slots=True)
class Entry:
    """An environment or a learner of a bench.

    Attributes:
        label: What tables call it; a folder's name.
        settings: Settings of training that go with it.
        preset: Of an environment: what its settings start from; None for the file's.
        final_episodes: Of an environment: tasks of the final panel; None for the file's.
        name: Of a learner: in the registry.
        options: Of a learner: its hyper-parameters; nested ones in mappings.
        final_skills: Of a learner: whether the final panel is played with skills in the prompt.
    """

    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    final_episodes: int | None = None
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    final_skills: bool = False


@dataclass(frozen=True, slots=True)
class Bench:
    """What a bench file says.

    Attributes:
        name: Of the study.
        preset: What settings start from.
        seeds: One run of each pair for each of them.
        final_episodes: Tasks of the panel that each finished run plays; None: as many as its evaluations.
        settings: For every cell.
        environments, learners: In the order of the file.
    """

    name: str
    preset: str
    seeds: tuple[int, ...]
    final_episodes: int | None
    settings: Mapping[str, Any]
    environments: tuple[Entry, ...]
    learners: tuple[Entry, ...]

    def cells(self) -> Iterator[Cell]:
        """Every cell; seed by seed, so that a bench that is stopped early has some of everything."""
        for seed in self.seeds:
            for environment in self.environments:
                for learner in self.learners:
                    yield Cell(environment.label, learner.label, seed)

    def entries(self, cell: Cell) -> tuple[Entry, Entry]:
        """The environment and the learner of a cell."""
        environment = next(entry for entry in self.environments if entry.label == cell.environment)
        return environment, next(entry for entry in self.learners if entry.label == cell.learner)

    def final_episodes_of(self, environment: Entry) -> int | None:
        """Tasks that each finished run of an environment plays; None: as many as its evaluations."""
        return self.final_episodes if environment.final_episodes is None else environment.final_episodes

    def config(self, cell: Cell, run: Path) -> TrainConfig:
        """The settings of a cell: the preset's, then the file's, the environment's, the learner's.

        Raises:
            BenchFileError: settings that do not go together; the text names the cell's entries.
        """
        environment, learner = self.entries(cell)
        start = preset_config(environment.preset or self.preset, learner.name)
        # One checkpoint is enough to go on from, and a bench has many runs.
        settings = {"keep_checkpoints": 1, **self.settings, **environment.settings, **learner.settings}
        try:
            rule = _with_options(start.learner, learner.options, f"learner {learner.label!r}")
            return replace(start, **settings, learner=rule, run=str(run), seed=cell.seed)
        except BenchFileError:
            raise
        except ValueError as error:
            raise BenchFileError(
                f"environment {environment.label!r} with learner {learner.label!r}: {error}"
            ) from error


def read_bench(file: Path) -> Bench:
    """A bench file, TOML or (by its suffix) JSON, with every name in it known to be right.

    Raises:
        BenchFileError: no such file, not readable as such, an unknown or missing key, a value of the wrong type, a
            label that occurs twice; an unknown learner, environment, preset or retriever is named as the part says it.
    """
    values = _read(file)
    _check_keys(values, FILE_KEYS, f"key of {file.name}")
    for key in ("seeds", "environments", "learners"):
        if not isinstance(values.get(key), list) or not values[key]:
            raise BenchFileError(f"{file}: {key!r} is missing, or is not a list of at least one (docs/bench.md)")
    bench = Bench(
        name=_label(_text(values.get("name", file.stem), "name")),
        preset=_text(values.get("preset", "quickstart"), "preset"),
        seeds=_seeds(values["seeds"]),
        final_episodes=_final_episodes(values.get("final_episodes")),
        settings=_settings(_mapping(values.get("settings", {}), "[settings]"), "settings"),
        environments=tuple(_environment(entry) for entry in values["environments"]),
        learners=tuple(_learner(entry) for entry in values["learners"]),
    )
    for kind, entries in (("environments", bench.environments), ("learners", bench.learners)):
        _check_labels(kind, entries)
    _check_cells(bench)
    return bench


def chosen(names: Sequence[str], only: Sequence[str]) -> list[str]:
    """Those of some cells, called `ENVIRONMENT/LEARNER/seed-N`, that a pattern names: all of them without patterns.

    A pattern with a `/` is matched with the whole name, or without the seed; another with any of the three. `*` and `?`
    are those of a shell.

    Raises:
        BenchFileError: a pattern that names no cell.
    """
    for pattern in only:
        if not any(_matches(name, pattern) for name in names):
            guess = closest(pattern, sorted({part for name in names for part in (name, *name.split("/"))}))
            there = ", ".join(dict.fromkeys(name.rpartition("/")[0] for name in names))
            hint = f"did you mean {guess!r}?" if guess is not None else f"there are: {there}"
            raise BenchFileError(f"--only {pattern!r} names no cell; {hint}")
    return [name for name in names if not only or any(_matches(name, pattern) for pattern in only)]


def _matches(name: str, pattern: str) -> bool:
    parts = (name, name.rpartition("/")[0]) if "/" in pattern else name.split("/")
    return any(fnmatchcase(part, pattern) for part in parts)


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        values = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError as error:
        raise BenchFileError(f"no bench file {file} (docs/bench.md shows one)") from error
    except (OSError, ValueError) as error:
        raise BenchFileError(f"{file} cannot be read: {error}") from error
    return _mapping(values, str(file))


def _environment(values: Any) -> Entry:
    given = _mapping(values, "an entry of [[environments]]")
    if "env" not in given:
        raise BenchFileError("an entry of [[environments]] lacks `env`, such as env = 'sdar_gym/ALFWorldMini-v0'")
    label = _text(given.get("label", str(given["env"]).rpartition("/")[2]), "label")
    preset = given.get("preset")
    return Entry(
        label=_label(label),
        settings=_settings(_without(given, OWN_KEYS["environments"]), "environments"),
        preset=None if preset is None else _text(preset, "preset"),
        final_episodes=_final_episodes(given.get("final_episodes")),
    )


def _learner(values: Any) -> Entry:
    given = _mapping(values, "an entry of [[learners]]")
    if "name" not in given:
        raise BenchFileError("an entry of [[learners]] lacks `name`, such as name = 'grpo' (sdar-gym list)")
    name = _text(given["name"], "name")
    final_skills = given.get("final_skills", False)
    if not isinstance(final_skills, bool):
        raise BenchFileError(f"final_skills is true or false, not {final_skills!r}")
    return Entry(
        label=_label(_text(given.get("label", name), "label")),
        settings=_settings(_without(given, OWN_KEYS["learners"]), "learners"),
        name=name,
        options=_mapping(given.get("options", {}), f"options of learner {name!r}"),
        final_skills=final_skills,
    )


def _settings(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings of training by their field's name, each of the right type; `-` may stand for `_`."""
    hints = get_type_hints(TrainConfig)
    known = [field.name for field in dataclasses.fields(TrainConfig) if field.name not in NOT_SETTINGS]
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name in NOT_SETTINGS:
            raise BenchFileError(f"{key!r} in {where}: the bench decides it by [[learners]], `seeds` and --out")
        if name not in known:
            raise BenchFileError(unknown(f"key of {where}", key, [*OWN_KEYS.get(where, ()), *known]))
        if name in found:
            raise BenchFileError(f"{where}: {key!r} is given twice")
        found[name] = fitted(value, hints[name], f"{where}: {key}")
    return found


def _with_options(learner: Any, options: Mapping[str, Any], where: str) -> Any:
    """A learner with other hyper-parameters; those of a dataclass within it are given as a mapping."""
    fields = [each.name for each in dataclasses.fields(learner)]
    hints = get_type_hints(type(learner))
    changed: dict[str, Any] = {}
    for key, value in options.items():
        name = key.replace("-", "_")
        if name not in fields:
            raise BenchFileError(unknown(f"option of {where}", key, fields))
        inner = getattr(learner, name)
        if dataclasses.is_dataclass(inner):
            changed[name] = _with_options(inner, _mapping(value, f"{key} of {where}"), f"{where}.{key}")
        else:
            changed[name] = fitted(value, hints[name], f"{where}: {key}")
    return replace(learner, **changed)


def fitted(value: Any, hint: Any, where: str) -> Any:
    """A value of a file as a field of this type holds it: lists become tuples, whole numbers floats.

    Raises:
        BenchFileError: it is of another type, or not one of the choices.
    """
    origin = get_origin(hint)
    if origin is Literal:
        if value not in get_args(hint):
            raise BenchFileError(f"{where}: {unknown('choice', str(value), map(str, get_args(hint)))}")
        return value
    if origin in (Union, UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        return fitted(value, kinds[0], where) if len(kinds) == 1 else value
    if origin is tuple and isinstance(value, list):
        return tuple(fitted(each, get_args(hint)[0], where) for each in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    kind = origin or hint
    is_right = not isinstance(kind, type) or isinstance(value, kind)
    if not is_right or (isinstance(value, bool) and kind is not bool):
        raise BenchFileError(f"{where} is {_KINDS.get(kind, f'of type {kind}')}, not {value!r}")
    return value


def _check_cells(bench: Bench) -> None:
    """Build every pair's settings, and look up every name in them."""
    from sdar_agents.setup import check_names, env_options
    from sdar_skills.bank import load_bank

    banks: set[str] = set()
    for environment in bench.environments:
        for learner in bench.learners:
            config = bench.config(Cell(environment.label, learner.label, bench.seeds[0]), Path("."))
            check_names(config)
            env_options(config.env, config.data, config.env_options)
            if learner.final_skills and config.retriever == "none":
                raise BenchFileError(
                    f"learner {learner.label!r}: final_skills shows skills, but the retriever is `none`"
                )
            if config.bank is not None and config.bank not in banks and config.retriever != "none":
                load_bank(config.bank)
                banks.add(config.bank)


def _check_labels(kind: str, entries: Sequence[Entry]) -> None:
    labels = [entry.label.lower() for entry in entries]
    twice = next((entry.label for entry in entries if labels.count(entry.label.lower()) > 1), None)
    if twice is not None:
        raise BenchFileError(f"two {kind} are called {twice!r}: give each a `label` of its own")


def _check_keys(values: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    for key in values:
        if key not in known:
            raise BenchFileError(unknown(what, key, known))


def _label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise BenchFileError(f"label {text!r} names a folder: use letters, digits and . _ + = - only")
    return text


def _seeds(values: list[Any]) -> tuple[int, ...]:
    if any(isinstance(seed, bool) or not isinstance(seed, int) or seed < 0 for seed in values):
        raise BenchFileError(f"seeds are whole numbers from 0 on, not {values!r}")
    if len(set(values)) < len(values):
        raise BenchFileError(f"seeds hold a number twice: {values!r}")
    return tuple(values)


def _final_episodes(value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 2):
        raise BenchFileError(f"final_episodes is a number of tasks, at least 2, not {value!r}")
    return value


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str) or not value:
        raise BenchFileError(f"{key} is a text, not {value!r}")
    return value


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BenchFileError(f"{what} is a table of keys and values, not {value!r}")
    return value


def _without(values: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}
