"""`sdar-gym warmup`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sdar_agents.options import parse


@dataclass(frozen=True, slots=True)
class WarmupOptions:
    """Build a tiny model anew: imitate a text-only demonstrator in many randomised worlds, half of them with skills."""

    env: str = "sdar_gym/ALFWorldMini-v0"
    """Gymnasium id of the environment that it is for: ALFWorldMini, WebShopMini or SearchQAMini."""
    out: str | None = None
    """Folder of the model; by default a cache folder that is named after the recipe's hash."""
    demonstrations: int | None = None
    """Episodes to imitate; by default the recipe's."""
    epochs: int | None = None
    """Passes over them; by default the recipe's."""
    seed: int = 0
    """Of worlds, tasks and initial weights."""
    eval_episodes: int = 200
    """Held-out tasks of the true world on which the result is measured, without and with skills: so many, or all that
    there are; 0 skips it."""
    force: bool = False
    """Build even if the folder already holds the model of this recipe, and replace another model there."""


def run(arguments: Sequence[str]) -> None:
    """Build (or find) the model, then measure it without and with skills."""
    options = parse(WarmupOptions, arguments, command="warmup")
    from sdar_agents.warmup import RECIPE_FILE, cache_folder, content_hash, is_built, warm_up
    from sdar_agents.warmups import WARMUPS
    from sdar_gym.errors import unknown

    if options.env not in WARMUPS:
        raise ValueError(unknown("environment with a warm-up", options.env, WARMUPS))
    warmup = WARMUPS[options.env]
    recipe = replace(warmup.recipe, seed=options.seed)
    recipe = replace(
        recipe,
        demonstrations=options.demonstrations or recipe.demonstrations,
        training=replace(recipe.training, epochs=options.epochs or recipe.training.epochs),
    )
    folder = Path(options.out) if options.out is not None else cache_folder(warmup.model, recipe)
    if folder.exists() and any(folder.iterdir()) and not options.force and not is_built(folder, recipe):
        kind = "the model of another recipe" if (folder / RECIPE_FILE).is_file() else "other files"
        raise ValueError(f"{folder} holds {kind}: choose another --out, or replace it with --force")
    console = Console(stderr=True)
    if is_built(folder, recipe) and not options.force:
        console.print(f"already built: {folder} (recipe {content_hash(recipe)})", highlight=False)
    else:
        begin = time.perf_counter()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            tasks = {phase: progress.add_task(phase, total=None) for phase in ("demonstrations", "imitation")}

            def show(phase: str, done: int, total: int, loss: float) -> None:
                note = f" loss {loss:.3f}" if loss else ""
                progress.update(tasks[phase], completed=done, total=total, description=phase + note)

            warm_up(warmup, recipe, folder, on_progress=show)
        seconds = time.perf_counter() - begin
        console.print(f"built {folder} (recipe {content_hash(recipe)}) in {seconds:.0f} s", highlight=False)
    if options.eval_episodes:
        _measure(folder, options.env, options.eval_episodes)


def _measure(folder: Path, env: str, episodes: int) -> None:
    from sdar_agents.commands import evaluate
    from sdar_agents.player import AgentOptions, choose_agent, chosen_panel

    there = len(chosen_panel(choose_agent(AgentOptions(str(folder), env=env)), None, None).task_ids)
    for skills in ("--no-skills", "--skills"):
        evaluate.run(["--agent", str(folder), "--env", env, "--episodes", str(min(episodes, there)), skills])
