"""`sdar-gym train`."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from sdar_agents.config import PRESETS, QUICKSTART_OF, TrainConfig, preset_config, read_config
from sdar_agents.learners import learner_names
from sdar_agents.options import check_spelling, option_names, parse

OWN_OPTIONS = ("--learner", "--preset", "--config", "--resume")


def run(arguments: Sequence[str]) -> None:
    """Parse, train, and say what came of it."""
    config, resume = parse_train(arguments)
    from sdar_agents.train import train

    console = Console(stderr=True)
    summary = train(config, resume=resume, console=console)
    before, after = summary["before"], summary["after"]
    console.print(
        f"{summary['env']}: success on {after['n']} held-out tasks {before['success_rate']:.3f} -> "
        f"{after['success_rate']:.3f} (95 % interval {after['interval'][0]:.3f} to {after['interval'][1]:.3f}) "
        f"after {summary['steps']} steps",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"curve: {Path(config.run) / 'plot.png'}   evaluate: sdar-gym eval --agent {config.run}",
        highlight=False,
        soft_wrap=True,
    )


def parse_train(
    arguments: Sequence[str], *, command: str = "train", others: Sequence[str] = ()
) -> tuple[TrainConfig, bool]:
    """The settings and whether to resume.

    `--learner` and `--preset` (or `--config`, a run's config.json) choose the defaults; the learner chosen decides
    which `--learner.` options exist. On `--resume` the run's own settings are the defaults.

    Args:
        command: For the usage line.
        others: Options of that command's own, to be known where one is misspelt.

    Raises:
        ValueError: a misspelt option, learner or preset; the text suggests the nearest.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--learner")
    first.add_argument("--preset")
    first.add_argument("--config")
    first.add_argument("--resume", action="store_true")
    first.add_argument("--run")
    first.add_argument("--env")
    own, _ = first.parse_known_args(list(arguments))
    rest = _without_own(arguments)
    default = _default(own)
    kind = _with_learner(type(default.learner))
    check_spelling(rest, [*OWN_OPTIONS, *others, *option_names(TrainConfig, default)], command=command)
    values = {field.name: getattr(default, field.name) for field in dataclasses.fields(default)}
    parsed = parse(kind, rest, command=command, default=kind(**values))
    return TrainConfig(**{field.name: getattr(parsed, field.name) for field in dataclasses.fields(parsed)}), own.resume


def _default(own: argparse.Namespace) -> TrainConfig:
    if own.config is not None:
        return read_config(Path(own.config))
    if own.resume and own.learner is None and own.preset is None:
        folder = Path(own.run or "runs/train")
        return dataclasses.replace(read_config(folder), run=str(folder))
    # A small environment with a tiny model of its own is played in the settings that this was made for.
    return preset_config(own.preset or QUICKSTART_OF.get(own.env, "quickstart"), own.learner or "sdar")


def _without_own(arguments: Sequence[str]) -> list[str]:
    """The arguments that tyro parses."""
    rest, skip = [], False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if skip:
            skip = False
        elif name in ("--learner", "--preset", "--config"):
            skip = not equals
        elif name != "--resume":
            rest.append(argument)
    return rest


def _with_learner(learner: type[Any]) -> type[Any]:
    """`TrainConfig` with the chosen learner's class in the place of the interface, for tyro to read its options."""
    text = (
        f"{TrainConfig.__doc__}\n\n"
        f"--learner NAME: {', '.join(learner_names())} (default sdar; its options are shown below)\n"
        f"--preset NAME: {', '.join(PRESETS)} (default quickstart, of --env where there is one)\n"
        "--config FILE: start from the config.json of a run\n"
        "--resume: continue the run in --run from its newest checkpoint"
    )
    kind = type(TrainConfig.__name__, (TrainConfig,), {"__annotations__": {"learner": learner}, "__doc__": text})
    return dataclasses.dataclass(frozen=True)(kind)
