"""Running a bench: every cell trained and judged, whatever happens to single ones, in turn or in processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from rich.console import Console

from sdar_agents.bench.file import Bench, Cell, chosen
from sdar_agents.bench.folder import ERROR, FORMAT, RESULT, claim, error_of, locked, state_of
from sdar_agents.bench.pack import reuse
from sdar_agents.config import TrainConfig
from sdar_agents.files import write_text

Ending = Literal["finished", "failed", "stopped", "held"]
"""How working on a cell ended; `held`: another process works on it."""
STOPPED_CODE, HELD_CODE = 130, 75
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One cell and all that a process needs to work on it."""

    cell: Cell
    config: TrainConfig
    final_episodes: int | None
    final_skills: bool


def run_bench(
    bench: Bench, folder: Path, *, jobs: int, only: Sequence[str] = (), reused: Sequence[Path] = (), console: Console
) -> dict[Cell, Ending]:
    """Bring every chosen cell to its end; finished ones are left as they are, failed ones are tried again.

    Ctrl-C lets the steps under way finish, saves them and stops; a second one stops at once.

    Args:
        folder: Receives `ENVIRONMENT/LEARNER/seed-N` and the manifest.
        jobs: Cells at once, each in a process with one thread; with 1 they run here, with all threads.
        only: Patterns; see `file.chosen`.
        reused: Other benches, whose finished cells of the very same settings and seed are taken instead of run.

    Returns:
        How each chosen cell ended; a cell that was not reached is missing.

    Raises:
        BenchFileError, BenchFolderError, ResultError: before anything runs.
    """
    by_name = {cell.name: cell for cell in bench.cells()}
    cells = [by_name[name] for name in chosen(list(by_name), only)]
    claim(folder, bench)
    for source in reused:
        taken = reuse(source, folder, cells)
        console.print(f"{len(taken)} cells taken from {source}", highlight=False, soft_wrap=True)
    waiting = [_job(bench, folder, cell) for cell in cells if state_of(folder / cell.name) != "finished"]
    endings: dict[Cell, Ending] = {cell: "finished" for cell in cells if state_of(folder / cell.name) == "finished"}
    if endings:
        console.print(f"{len(endings)} of {len(cells)} cells are finished already", highlight=False)

    def ended(job: Job, ending: Ending) -> None:
        endings[job.cell] = ending
        console.print(_line(job, ending, len(endings), len(cells)), highlight=False, soft_wrap=True)

    work = _in_turn if jobs == 1 else _in_processes
    work(waiting, jobs, console, ended)
    return endings


def work_on(job: Job, console: Console) -> Ending:
    """Train a cell to its end and let it play the final panel; what goes wrong is written down, not raised.

    Every part continues where a kill left it: training from its checkpoint, the final panel after its last episode.
    """
    folder = Path(job.config.run)
    with locked(folder) as is_mine:
        if not is_mine:
            return "held"
        (folder / ERROR).unlink(missing_ok=True)
        try:
            return _work_on(job, folder, console)
        except KeyboardInterrupt:
            return "stopped"
        # Whatever a cell raises, it is that cell's: the others go on, and the report tells of it.
        except Exception as error:
            _record_error(folder, f"{type(error).__name__}: {error}", traceback.format_exc())
            return "failed"


def _work_on(job: Job, folder: Path, console: Console) -> Ending:
    from sdar_agents.bench.final import play_final
    from sdar_agents.train import train

    begin = time.time()
    summary = train(job.config, resume=(folder / "config.json").is_file(), console=console)
    if not summary["finished"]:
        return "stopped"
    result = play_final(job.config, episodes=job.final_episodes, skills=job.final_skills)
    values = {
        "format": FORMAT,
        "cell": [job.cell.environment, job.cell.learner, job.cell.seed],
        "steps": summary["steps"],
        "seconds": time.time() - begin,
        **result,
    }
    write_text(folder / RESULT, json.dumps(values, indent=1) + "\n")
    return "finished"


def _job(bench: Bench, folder: Path, cell: Cell) -> Job:
    environment, learner = bench.entries(cell)
    config = bench.config(cell, folder / cell.name)
    return Job(cell, config, bench.final_episodes_of(environment), learner.final_skills)


def _record_error(folder: Path, error: str, trace: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = {"error": error, "traceback": trace, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    write_text(folder / ERROR, json.dumps(text, indent=1) + "\n")


def _line(job: Job, ending: Ending, done: int, total: int) -> str:
    folder = Path(job.config.run)
    note = {
        "finished": "",
        "failed": f": {error_of(folder)}",
        "stopped": ": the same command goes on with it",
        "held": ": another process works on it",
    }[ending]
    return f"[{done}/{total}] {job.cell.name} {ending}{note}".replace("[", r"\[", 1)


# ---- in turn, in this process ----------------------------------------------------------------------------


def _in_turn(waiting: Sequence[Job], jobs: int, console: Console, ended: Callable[[Job, Ending], None]) -> None:
    for job in waiting:
        console.print(f"[bold]{job.cell.name}[/bold]")
        ending = work_on(job, console)
        ended(job, ending)
        if ending == "stopped":
            return


# ---- several at once, in processes -----------------------------------------------------------------------


def _in_processes(waiting: Sequence[Job], jobs: int, console: Console, ended: Callable[[Job, Ending], None]) -> None:
    """At most `jobs` processes, each of which works on one cell: one that dies takes no other with it."""
    context = multiprocessing.get_context("spawn")
    left, running = list(waiting), dict[int, tuple[Any, Job]]()
    with _interrupts_counted(running, console) as interrupts:
        while running or (left and not interrupts):
            while left and len(running) < jobs and not interrupts:
                job = left.pop(0)
                process = context.Process(target=_process, args=(job,), name=job.cell.name)
                process.start()
                running[process.sentinel] = process, job
            # Signals are only noticed between waits.
            for sentinel in wait(list(running), timeout=0.5):
                process, job = running.pop(int(str(sentinel)))
                process.join()
                ended(job, _ending(job, process.exitcode))


def _process(job: Job) -> None:
    """What a process does: quietly, with one thread, apart from the terminal, and never longer than its parent."""
    # The parent passes Ctrl-C on, once: the terminal would send it as well.
    os.setpgid(0, 0)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import torch

    torch.set_num_threads(1)
    ending = work_on(job, Console(quiet=True))
    raise SystemExit({"finished": 0, "failed": 1, "stopped": STOPPED_CODE, "held": HELD_CODE}[ending])


def _end_with(parent: Any) -> None:
    parent.join()
    # A killed parent's cells would go on unseen, and meet those of its next start.
    os._exit(1)


def _ending(job: Job, code: int | None) -> Ending:
    folder = Path(job.config.run)
    if code == 0:
        return "finished"
    if code in (STOPPED_CODE, -signal.SIGINT):
        return "stopped"
    if code == HELD_CODE:
        return "held"
    if not (folder / ERROR).is_file():
        cause = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        _record_error(folder, f"its process ended by {cause}", "")
    return "failed"


@contextmanager
def _interrupts_counted(running: dict[int, tuple[Any, Job]], console: Console) -> Iterator[list[int]]:
    """Ctrl-C is passed on to every process; the list holds one entry for each that came."""
    seen: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) == 1:
            console.print("finishing the steps under way, then saving; Ctrl-C again stops at once", highlight=False)
        for process, _ in list(running.values()):
            if process.is_alive():
                os.kill(process.pid, signal.SIGINT)

    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = signal.signal(signal.SIGINT, pass_on)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)
