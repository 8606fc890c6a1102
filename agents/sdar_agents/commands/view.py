"""`sdar-gym view`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sdar_agents.episode_file import EpisodeFileError, EpisodeHeader, is_cut, read_episodes, read_header
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
    tokenizer: str | None = None
    """Model folder or hub id whose tokens these are; by default the model that the file names."""


def run(arguments: Sequence[str]) -> None:
    """Read the episodes, write the page."""
    options = parse(ViewOptions, arguments, command="view")
    source = Path(options.source).expanduser()
    file = source / EPISODES if source.is_dir() else source
    if source.is_dir() and not file.is_file():
        raise EpisodeFileError(f"{source} holds no {EPISODES}: was it trained with --record-episodes 0?")
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
    traced = any(each.traces for each in episodes)
    decode = _decoder(options.tokenizer or header.settings.get("model"), header) if traced else None
    write_text(out, page(header, episodes, decode=decode, title=f"Episodes of {header.agent}"))
    print(f"{len(episodes)} episodes, {out.stat().st_size / 1e6:.1f} MB: {out}")


def _decoder(model: str | None, header: EpisodeHeader) -> Decode | None:
    """What says the text of a token; None, with a note, where its tokenizer cannot be had."""
    from transformers import AutoTokenizer

    from sdar_agents.policy import TINY, bundled_tiny

    if model is None:
        return None
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(bundled_tiny()) if model == TINY else model)
    except (OSError, ValueError, KeyError):
        print(f"no tokenizer in {model}: tokens of {header.agent} are shown by number (--tokenizer names another)")
        return None
    return lambda token: str(tokenizer.decode([token]))
