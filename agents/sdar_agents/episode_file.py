"""Recorded episodes: a header line that says what was played by whom, then a line of JSON for each episode.

The file only grows. Whoever was killed while writing leaves at most one cut line, which readers report and writers
remove before they go on.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sdar_agents import __version__
from sdar_agents.episode import Completion, Episode, Turn
from sdar_agents.files import write_text

FORMAT = 1
Phase = Literal["train", "eval"]


class EpisodeFileError(ValueError):
    """A file that is not of recorded episodes, or not of those that were asked for."""


@dataclass(frozen=True, slots=True)
class EpisodeHeader:
    """What the episodes of a file have in common, and what decides whether two files may be compared.

    Attributes:
        env: Gymnasium id.
        agent: Who played: a run folder, a model, `oracle`, ...
        panel, panel_hash: Which tasks; None where they are not of a panel.
        behaviour_hash: By which rules; None where the environment does not state it.
        bank_hash: Of the skill bank; None without skills.
        prompt_hash: Of the words around observations; None where no prompt was made.
        settings: Whatever else decides an episode: temperature, budgets, seed, retriever, ...
        version: Of sdar-gym.
    """

    env: str
    agent: str
    panel: str | None = None
    panel_hash: str | None = None
    behaviour_hash: str | None = None
    bank_hash: str | None = None
    prompt_hash: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    version: str = ""


@dataclass(frozen=True, slots=True)
class TokenTrace:
    """What training saw of the tokens of one response, each list as long as the response; nats.

    Attributes:
        student: Log-probabilities under the policy when its loss was computed.
        teacher: Under the teacher; None without one.
        gate: The learner's weight of a token; None where it has none.
    """

    student: tuple[float, ...]
    teacher: tuple[float, ...] | None = None
    gate: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class RecordedEpisode:
    """One line of a file.

    Attributes:
        number: Place in its panel (eval) or step (train): with `phase` and `step` it names the episode.
        episode: What happened. Prompt ids are not kept: the message is, and the ids of the response.
        phase: Whether it was trained on.
        step: Training steps that the policy had seen.
        advantages: Of each turn; None where nothing was learned.
        traces: Of each turn's tokens; None where they were not recorded.
    """

    number: int
    episode: Episode
    phase: Phase = "eval"
    step: int = 0
    advantages: tuple[float, ...] | None = None
    traces: tuple[TokenTrace, ...] | None = None

    @property
    def key(self) -> tuple[str, int, int]:
        """What names it within its file."""
        return self.phase, self.step, self.number


class EpisodeWriter:
    """Appends episodes to a file, each forced to the disk before `add` returns.

    A file that is there already is continued if its header says the same; a cut last line is removed first. One that
    holds nothing but a cut header is begun anew.

    Raises:
        EpisodeFileError: the file holds something else, or episodes of other settings; it is left as it is.
    """

    def __init__(self, file: Path, header: EpisodeHeader) -> None:
        self.file = file
        if file.exists() and file.stat().st_size and not _is_cut_header(file):
            known = read_header(file)
            different = differences(known, header)
            if different:
                raise EpisodeFileError(
                    f"{file} holds episodes of other settings ({'; '.join(different)}): choose another file, or give "
                    "the settings that it was begun with"
                )
            _remove_cut_line(file)
            self._stream = file.open("a", encoding="utf-8")
        else:
            self._stream = file.open("w", encoding="utf-8")
            self._write({"format": FORMAT, **dataclasses.asdict(header)})

    def add(self, recorded: RecordedEpisode) -> None:
        """Append one episode."""
        self._write(_to_json(recorded))

    def close(self) -> None:
        """Close the file; it can be continued by another writer."""
        self._stream.close()

    def __enter__(self) -> EpisodeWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, values: dict[str, Any]) -> None:
        self._stream.write(json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())


def differences(old: EpisodeHeader, new: EpisodeHeader) -> list[str]:
    """In what two headers differ, as `name: old -> new`; the package's version is left out."""
    before, after = dataclasses.asdict(old), dataclasses.asdict(new)
    before |= {f"settings.{key}": value for key, value in before.pop("settings").items()}
    after |= {f"settings.{key}": value for key, value in after.pop("settings").items()}
    # A header that was read has lists where a new one may have tuples.
    return [
        f"{key}: {_short(before.get(key))} -> {_short(after.get(key))}"
        for key in sorted({*before, *after} - {"version"})
        if json.dumps(before.get(key)) != json.dumps(after.get(key))
    ]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def read_header(file: Path) -> EpisodeHeader:
    """The first line of a file.

    Raises:
        EpisodeFileError: no such file, not a file of episodes, or one of another format.
    """
    if file.is_file() and _is_cut_header(file):
        raise EpisodeFileError(
            f"{file} was cut off in its first line: it holds no episode; the command that began it begins it anew"
        )
    try:
        with file.open(encoding="utf-8") as stream:
            values = json.loads(stream.readline())
        written = values.pop("format")
    except FileNotFoundError as error:
        raise EpisodeFileError(f"no file of episodes at {file}") from error
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise EpisodeFileError(_not_episodes(file, error)) from error
    if written != FORMAT:
        raise EpisodeFileError(
            f"{file} is of format {written}, made by sdar-gym {values.get('version') or '(no version)'}; this is "
            f"sdar-gym {__version__}, which reads format {FORMAT}: use that version, or play the episodes anew into "
            "another file"
        )
    try:
        return EpisodeHeader(**values)
    except TypeError as error:
        raise EpisodeFileError(_not_episodes(file, error)) from error


def _not_episodes(file: Path, error: Exception) -> str:
    return (
        f"{file} does not begin like a file of episodes ({error!r}): name one that `sdar-gym eval --episodes-file` "
        "wrote, or the episodes.jsonl of a run"
    )


def read_episodes(file: Path) -> Iterator[RecordedEpisode]:
    """Every whole episode of a file, in order; see `is_cut` for what a kill may have left at its end.

    Raises:
        EpisodeFileError: as `read_header`; or a line in the middle that is not an episode, with its number.
    """
    read_header(file)
    with file.open("rb") as stream:
        stream.readline()
        for number, line in enumerate(stream, start=2):
            if not line.endswith(b"\n"):
                return
            try:
                yield _from_json(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise EpisodeFileError(
                    f"{file}, line {number} is not a recorded episode ({error!r}): take that line out, and the rest "
                    "can be read; `sdar-gym eval` and `sdar-gym bench run` then play what is missing"
                ) from error


def drop_episodes(file: Path, *, after: int) -> None:
    """Take out the episodes of later steps than `after`, which are to be played again; the rest stays byte for byte.

    Raises:
        EpisodeFileError: as `read_header`; or a line that is not an episode.
    """
    if _is_cut_header(file):
        return
    read_header(file)
    _remove_cut_line(file)
    kept = [each.step <= after for each in read_episodes(file)]
    lines = file.read_text(encoding="utf-8").split("\n")
    chosen = [lines[0], *(line for line, keep in zip(lines[1:], kept, strict=False) if keep)]
    write_text(file, "".join(f"{line}\n" for line in chosen))


def is_cut(file: Path) -> bool:
    """Whether the last line lacks its end: its writer was stopped in the middle of it, and it counts as not there."""
    with file.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        if not stream.tell():
            return False
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) != b"\n"


_BEGINNING = f'{{"format":{FORMAT},"env":'.encode()


def _is_cut_header(file: Path) -> bool:
    """Whether a file is the beginning of a header and nothing more: who wrote it was stopped before any episode."""
    with file.open("rb") as stream:
        line = stream.readline()
    beginning = line[: len(_BEGINNING)]
    return bool(line) and not line.endswith(b"\n") and _BEGINNING.startswith(beginning)


def _remove_cut_line(file: Path) -> None:
    if not is_cut(file):
        return
    with file.open("rb+") as stream:
        stream.truncate(stream.read().rfind(b"\n") + 1)


_LEFT_OUT = ("prompt_ids", "teacher_prompt_ids", "view_prompt_ids")


def _to_json(recorded: RecordedEpisode) -> dict[str, Any]:
    values = {f.name: getattr(recorded, f.name) for f in dataclasses.fields(recorded)}
    values["episode"] = dataclasses.asdict(recorded.episode)
    for turn in values["episode"]["turns"]:
        for name in _LEFT_OUT:
            del turn[name]
        turn["completion"]["logprobs"] = _rounded(turn["completion"]["logprobs"])
    if recorded.advantages is not None:
        values["advantages"] = _rounded(recorded.advantages)
    if recorded.traces is not None:
        values["traces"] = [
            {name: _rounded(numbers) for name, numbers in dataclasses.asdict(trace).items() if numbers is not None}
            for trace in recorded.traces
        ]
    return values


def _rounded(numbers: tuple[float, ...]) -> list[float | None]:
    # An endpoint may not tell log-probabilities; JSON has no word for NaN.
    return [round(number, 5) if math.isfinite(number) else None for number in numbers]


def _numbers(values: list[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else value for value in values)


def _from_json(values: dict[str, Any]) -> RecordedEpisode:
    episode = dict(values["episode"])
    turns = tuple(_turn(turn) for turn in episode.pop("turns"))
    traces, advantages = values["traces"], values["advantages"]
    return RecordedEpisode(
        number=int(values["number"]),
        episode=Episode(turns=turns, **{**episode, "skill_ids": tuple(episode["skill_ids"])}),
        phase=values["phase"],
        step=int(values["step"]),
        advantages=None if advantages is None else _numbers(advantages),
        traces=None if traces is None else tuple(_trace(trace) for trace in traces),
    )


def _turn(values: dict[str, Any]) -> Turn:
    completion = dict(values.pop("completion"))
    before, after = values.pop("around_slot")
    completion["token_ids"] = tuple(completion["token_ids"])
    completion["logprobs"] = _numbers(completion["logprobs"])
    return Turn(
        prompt_ids=(),
        teacher_prompt_ids=None,
        completion=Completion(**completion),
        around_slot=(before, after),
        **values,
    )


def _trace(values: dict[str, list[float | None]]) -> TokenTrace:
    return TokenTrace(**{name: _numbers(numbers) for name, numbers in values.items()})
