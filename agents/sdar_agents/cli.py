"""`sdar-gym COMMAND`: finds the command, checks the options' spelling, turns expected errors into one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from sdar_gym.errors import unknown

COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("sdar_agents.commands.list_suite", "environments, learners, retrievers, banks, presets"),
    "play": ("sdar_agents.commands.play", "play an environment in the terminal, or watch the oracle do it"),
    "train": ("sdar_agents.commands.train", "train an agent; without options the quick start"),
    "quickstart": ("sdar_agents.commands.quickstart", "GRPO, GRPO+OPSD and SDAR side by side, over seeds, in one plot"),
    "bench": ("sdar_agents.commands.bench", "plan, run and report on environments x learners x seeds"),
    "eval": ("sdar_agents.commands.evaluate", "success of an oracle, a random agent or a trained model on a panel"),
    "view": ("sdar_agents.commands.view", "one offline page of the episodes of a run or an evaluation"),
    "doctor": (
        "sdar_agents.commands.doctor",
        "versions, GPUs, memory; do settings fit, and how long would they take",
    ),
    "checkpoints": ("sdar_agents.commands.list_checkpoints", "what a run has saved, and whether it is intact"),
    "export": ("sdar_agents.commands.export", "a run's checkpoint as a plain transformers folder"),
    "warmup": ("sdar_agents.commands.warmup", "build the tiny model anew from the explorer's demonstrations"),
    "parity": ("sdar_agents.commands.parity", "play the same commands on our engine and the official one, and compare"),
    "skills": ("sdar_agents.commands.skills", "skill banks: check, versions, import and export, duplicates"),
    "data": ("sdar_agents.commands.data", "download, import or generate the data of an environment"),
    "serve-search": ("sdar_agents.commands.serve_search", "serve a corpus to Search-QA and to Search-R1's trainers"),
}
"""Name of a command -> its module (with `run(arguments)`), and what it does."""

USAGE = "usage: sdar-gym COMMAND [OPTIONS]\n\ncommands:\n" + "".join(
    f"  {name:<12} {summary}\n" for name, (_, summary) in COMMANDS.items()
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script.

    Exit codes: 0 done, 2 a mistake in what was asked (its message names the fix), 130 stopped by Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(USAGE + "\n`sdar-gym COMMAND --help` lists a command's options.")
        sys.exit(0 if given else 2)
    name, rest = given[0], given[1:]
    if name == "--version":
        from sdar_agents import __version__

        print(f"sdar-gym {__version__}")
        return
    try:
        if name not in COMMANDS:
            raise ValueError(unknown("command", name, COMMANDS))
        import_module(COMMANDS[name][0]).run(rest)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    # Everything that the packages raise for bad input is one of these; a bug of ours shows its traceback.
    except (ValueError, KeyError, OSError, TypeError, ImportError, RuntimeError) as error:
        if not _is_ours(error):
            raise
        print(f"sdar-gym {name}: error: {error}", file=sys.stderr)
        sys.exit(2)


def _is_ours(error: BaseException) -> bool:
    """Whether the innermost frame is in this distribution: then the text is written for users."""
    trace = error.__traceback__
    module = ""
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
    ours = ("sdar_agents", "sdar_gym", "sdar_skills")
    # Compiled code of torch raises plain RuntimeErrors, which seem to come from the line of ours that called it.
    if isinstance(error, RuntimeError) and type(error).__module__.split(".")[0] not in ours:
        return False
    return module.split(".")[0] in ours and type(error) is not KeyError
