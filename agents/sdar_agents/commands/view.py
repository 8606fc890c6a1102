"""`sdar-gym view`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sdar_agents.episode_file import (
    EpisodeFileError,
    EpisodeHeader,
    RecordedEpisode,
    is_cut,
    read_episodes,
    read_header,
)
from sdar_agents.episode_page import Decode, page
from sdar_agents.files import write_text
from sdar_agents.options import parse

EPISODES = "episodes.jsonl"


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """Make one offline HTML page of the recorded episodes of a run or an evaluation."""

    source: Annotated[str, tyro.conf.Positional]
    """A run folder, or a file that `sdar-gym eval --episodes-file` wrote."""
    out: str | None = None
    """The page; by default beside the file, with the ending .html."""
    score: str | None = None
    """Who scores each token anew, without and with skills: a run, a model folder, tiny or a hub id; by default tokens
    show what training saw of them."""
    step: int | None = None
    """Of --score: which checkpoint of a run; by default the newest."""
    retriever: str | None = None
    """Of --score: how skills are found for episodes that were recorded without; by default as the scoring run does."""
    bank: str | None = None
    """Of --score: folder of skills, or a bundled bank; by default the environment's."""
    embedder: str | None = None
    """Of --score: text encoder of retrievers that embed."""
    gate_sharpness: float = 5.0
    """Of --score: slope of the gate that is shown, SDAR's beta, in 1/nat."""
    tokenizer: str | None = None
    """Model folder or hub id whose tokens these are; by default the model that the file names."""


def run(arguments: Sequence[str]) -> None:
    """Read the episodes, write the page."""
    options = parse(ViewOptions, arguments, command="view")
    _check(options)
    source = Path(options.source).expanduser()
    file = source / EPISODES if source.is_dir() else source
    if source.is_dir() and not file.is_file():
        raise EpisodeFileError(_without_episodes(source))
    header, episodes = read_header(file), list(read_episodes(file))
    if is_cut(file):
        print(f"the last line of {file} was cut off: it counts as not there")
    if not episodes:
        raise EpisodeFileError(f"{file} holds no whole episode yet: nothing to show")
    out = Path(options.out) if options.out is not None else file.with_suffix(".html")
    if out.resolve() == file.resolve():
        raise ValueError(f"--out {out} is the file of episodes itself: choose another name")
    if not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: its folder does not exist")
    title = f"Episodes of {header.agent}"
    decode: Decode | None = None
    if options.score is not None:
        episodes, decode = _scored(header, episodes, options)
        title += f", scored by {options.score}"
    elif any(each.traces for each in episodes):
        decode = _decoder(options.tokenizer or header.settings.get("model"), header)
    write_text(out, page(header, episodes, decode=decode, title=title))
    print(f"{len(episodes)} episodes, {out.stat().st_size / 1e6:.1f} MB: {out}")


def _without_episodes(folder: Path) -> str:
    """What to say of a folder without recorded episodes: of a bench, its cells have them."""
    cell = next((file.parent for file in sorted(folder.glob(f"*/*/*/{EPISODES}"))), None)
    if cell is not None:
        return f"{folder} holds no {EPISODES}, but its cells do: sdar-gym view {cell}"
    return f"{folder} holds no {EPISODES}: was it trained with --record-episodes 0?"


def _check(options: ViewOptions) -> None:
    """Refuse settings of a scoring that does not take place.

    Raises:
        ValueError: says which.
    """
    if options.gate_sharpness < 0:
        raise ValueError(f"--gate-sharpness must be at least 0, got {options.gate_sharpness}")
    if options.score is not None:
        return
    plain = ViewOptions(options.source)
    for name in ("step", "retriever", "bank", "embedder", "gate_sharpness"):
        if getattr(options, name) != getattr(plain, name):
            raise ValueError(f"--{name.replace('_', '-')} belongs to --score, which is not given: add --score MODEL")


def _scored(
    header: EpisodeHeader, episodes: Sequence[RecordedEpisode], options: ViewOptions
) -> tuple[list[RecordedEpisode], Decode]:
    """The episodes with scores, and what says the text of a token."""
    from sdar_agents.page_scores import Scoring, scored_episodes

    scoring = Scoring(
        str(options.score), options.step, options.retriever, options.bank, options.embedder, options.gate_sharpness
    )
    found, tokenizer = scored_episodes(header, episodes, scoring)
    print(f"scored {sum(len(each.episode.turns) for each in found)} turns by {options.score}")
    return list(found), lambda token: str(tokenizer.tokenizer.decode([token]))


def _decoder(model: str | None, header: EpisodeHeader) -> Decode | None:
    """What says the text of a token; None, with a note, where its tokenizer cannot be had."""
    from transformers import AutoTokenizer

    from sdar_agents.policy import BUNDLED, bundled_tiny

    if model is None:
        return None
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(bundled_tiny(model)) if model in BUNDLED else model)
    except (OSError, ValueError, KeyError):
        print(f"no tokenizer in {model}: tokens of {header.agent} are shown by number (--tokenizer names another)")
        return None
    return lambda token: str(tokenizer.decode([token]))
