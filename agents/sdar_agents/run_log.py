"""What a run leaves behind: metrics.jsonl, TensorBoard events, a progress line, a plot, a summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from sdar_agents.alarms import Alarm
from sdar_agents.files import write_text

METRICS = "metrics.jsonl"
SHOWN = (
    ("success", "success {:.2f}"),
    ("reward", "reward {:+.3f}"),
    ("gap", "gap {:+.3f}"),
    ("gate", "gate {:.2f}"),
    ("seconds/rollout", "rollout {:.1f}s"),
    ("seconds/score", "score {:.1f}s"),
    ("seconds/teacher", "teacher {:.1f}s"),
    ("seconds/update", "update {:.1f}s"),
)


class RunLog:
    """Writes every number of a run once, and shows the telling ones as it goes.

    Use as a context manager. After a resume, lines of steps that are played again are dropped first, so that
    the file holds each step once.
    """

    def __init__(self, run: Path, *, steps: int, resumed_after: int | None, console: Console) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.console = console
        self._file = run / METRICS
        if resumed_after is not None and self._file.is_file():
            kept = [row for row in read_metrics(run) if row["step"] <= resumed_after]
            write_text(self._file, "".join(json.dumps(row) + "\n" for row in kept))
        self._stream = self._file.open("w" if resumed_after is None else "a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=(resumed_after or 0) + 1)
        self._progress = Progress(
            BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), console=console
        )
        self._task: TaskID = self._progress.add_task("train", total=steps, completed=resumed_after or 0)
        self._numbers = Text()
        self._live = Live(Group(self._progress, self._numbers), console=console, refresh_per_second=4)

    def __enter__(self) -> RunLog:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if not self.console.is_terminal:
            self.console.print()
        self._stream.close()
        self._board.close()

    def train_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record a training step (the first is 1) and move the bar."""
        self._write("train", step, metrics)
        numbers = "  ".join(form.format(metrics[name]) for name, form in SHOWN if name in metrics)
        self._numbers.plain = numbers
        self._progress.update(self._task, completed=step)

    def evaluation(self, step: int, results: Mapping[str, Any]) -> None:
        """Record an evaluation after `step` steps and print its line."""
        self._write("eval", step, results)
        low, high = results["interval"]
        rate, skilled = results["success_rate"], results.get("skills_success_rate")
        note = "" if skilled is None else f"; skills in the prompt: {skilled:.3f}"
        self.say(f"step {step:>3}: held-out success {rate:.3f} [{low:.3f}, {high:.3f}] n={results['n']}{note}")

    def alarm(self, step: int, alarm: Alarm) -> None:
        """Record an alarm of a step and print its line."""
        self._write("alarm", step, {"alarm": alarm.name, "text": alarm.text})
        self.say(f"ALARM at step {step}, {alarm.name}: {alarm.text} (saved as checkpoint step-{step:06d})")

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def _write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self._stream.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._board.add_scalar(f"{kind}/{name}", value, step)


class SilentLog:
    """What the processes of a run that are not the first log to: nothing."""

    def __enter__(self) -> SilentLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def train_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing; see `RunLog`."""

    def evaluation(self, step: int, results: Mapping[str, Any]) -> None:
        """Nothing; see `RunLog`."""

    def alarm(self, step: int, alarm: Alarm) -> None:
        """Nothing; see `RunLog`."""

    def say(self, text: str) -> None:
        """Nothing; see `RunLog`."""


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """All rows of a run's metrics file; a last line that a kill cut off is left out.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    rows: list[dict[str, Any]] = []
    for line in (run / METRICS).read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def plot_runs(runs: Mapping[str, Sequence[Path]], file: Path, *, title: str) -> None:
    """Learning curves as a PNG: held-out success over training steps.

    Args:
        runs: Label to run folders; several folders of a label are seeds, drawn as their mean and their range.
            One folder alone is drawn with the evaluation's own interval.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for colour, (label, folders) in enumerate(runs.items()):
        curves = [[row for row in read_metrics(folder) if row["kind"] == "eval"] for folder in folders]
        steps = sorted(set.intersection(*({row["step"] for row in curve} for curve in curves)))
        rates = [[row["success_rate"] for row in curve if row["step"] in steps] for curve in curves]
        mean = [sum(column) / len(column) for column in zip(*rates, strict=True)]
        if len(curves) == 1:
            bounds = [row["interval"] for row in curves[0]]
            low, high = [bound[0] for bound in bounds], [bound[1] for bound in bounds]
        else:
            low, high = [min(c) for c in zip(*rates, strict=True)], [max(c) for c in zip(*rates, strict=True)]
        count = f" (mean and range of {len(curves)} seeds)" if len(curves) > 1 else " (95 % interval)"
        axes.plot(steps, mean, marker="o", color=f"C{colour}", label=label + count)
        axes.fill_between(steps, low, high, color=f"C{colour}", alpha=0.18, linewidth=0)
        if len(curves) == 1 and all("skills_success_rate" in row for row in curves[0]):
            shown = [row["skills_success_rate"] for row in curves[0]]
            axes.plot(steps, shown, linestyle="--", color=f"C{colour}", label=f"{label}, skills in the prompt")
    axes.set(xlabel="training steps", ylabel="success on the held-out panel", ylim=(0, 1), title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    figure.savefig(file, dpi=130)
