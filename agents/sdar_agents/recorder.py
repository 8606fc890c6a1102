"""What a training run keeps of its episodes: some of a step, with what learning saw of each token, and evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from sdar_agents import __version__
from sdar_agents.batch import TurnBatch
from sdar_agents.episode import Episode
from sdar_agents.episode_file import (
    EpisodeHeader,
    EpisodeWriter,
    RecordedEpisode,
    TokenTrace,
    drop_episodes,
)
from sdar_agents.learners.base import LossOutput, TokenScores
from sdar_agents.setup import Run, resolve_style
from sdar_gym.prompts import prompt_hash
from sdar_gym.registration import text_env

EPISODES = "episodes.jsonl"
_Place = tuple[int, int]

__all__ = ["EPISODES", "Recorder", "TokenRecorder"]


@dataclass(slots=True)
class TokenRecorder:
    """Gathers, micro-batch by micro-batch, the scores of the turns of the first episodes of a step.

    Attributes:
        episodes: How many trajectories of the batch are kept.
        found: (trajectory, turn) to the trace of its tokens.
    """

    episodes: int
    found: dict[_Place, TokenTrace] = field(default_factory=dict)

    def add(self, policy: TokenScores, teacher: TokenScores | None, output: LossOutput, batch: TurnBatch) -> None:
        """Keep what a learner saw of a micro-batch's rows."""
        wanted = (batch.trajectory < self.episodes) & (batch.weight > 0)
        rows = torch.nonzero(wanted).flatten().tolist()
        if not rows:
            return
        known = batch.teacher_logprobs if teacher is None else teacher.logprobs
        gate = output.token_metrics.get("gate")
        for row in rows:
            mask = batch.response_mask[row]
            self.found[int(batch.trajectory[row]), int(batch.turn[row])] = TokenTrace(
                student=_values(policy.logprobs, row, mask),
                teacher=None if known is None else _values(known, row, mask),
                gate=None if gate is None else _values(gate, row, mask),
            )


def _values(numbers: torch.Tensor, row: int, mask: torch.Tensor) -> tuple[float, ...]:
    return tuple(numbers[row].detach()[mask].float().tolist())


class Recorder:
    """Writes the episodes of a run to `episodes.jsonl` of its folder; only the main process does.

    Args:
        resumed_after: The step that a resumed run goes on from: what is played again is dropped first.
    """

    def __init__(self, run: Run, *, resumed_after: int | None) -> None:
        self._run = run
        self._writer: EpisodeWriter | None = None
        if not run.config.record_episodes or not run.world.is_main:
            return
        file = run.folder / EPISODES
        if resumed_after is None:
            # A run that was stopped before its first checkpoint begins anew.
            file.unlink(missing_ok=True)
        elif file.is_file():
            drop_episodes(file, after=resumed_after)
        self._writer = EpisodeWriter(file, _header(run))

    def tokens(self, step: int) -> TokenRecorder | None:
        """What gathers the traces of a step (the first is 0); None if the step is not recorded."""
        config = self._run.config
        if not config.record_episodes or (step % config.record_every and step != config.steps - 1):
            return None
        return TokenRecorder(config.record_episodes)

    def train_step(self, step: int, episodes: Sequence[Episode], batch: TurnBatch, tokens: TokenRecorder) -> None:
        """Keep the first episodes of a step (the first is 1) with advantages and traces; every process takes part."""
        found: dict[_Place, TokenTrace] = {}
        for part in self._run.world.together(lambda: tokens.found):
            found |= part
        if self._writer is None:
            return
        advantages = _advantages(batch, tokens.episodes)
        for number, episode in enumerate(episodes[: tokens.episodes]):
            places = [(number, turn) for turn in range(len(episode.turns))]
            traces = tuple(found[place] for place in places) if all(place in found for place in places) else None
            self._writer.add(
                RecordedEpisode(number, episode, "train", step, tuple(advantages[place] for place in places), traces)
            )

    def evaluation(self, step: int, episodes: Sequence[Episode]) -> None:
        """Keep the first episodes of an evaluation after `step` steps."""
        if self._writer is not None:
            for episode in episodes[: self._run.config.record_episodes]:
                self._writer.add(RecordedEpisode(episode.group, episode, "eval", step))

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


def _advantages(batch: TurnBatch, episodes: int) -> dict[_Place, float]:
    """(trajectory, turn) to its advantage, the mean over its tokens where these have their own."""
    rows = batch.advantages
    if batch.token_advantages is not None:
        count = batch.response_mask.sum(1).clamp(min=1)
        rows = (batch.token_advantages * batch.response_mask).sum(1) / count
    kept = torch.nonzero(batch.trajectory < episodes).flatten().tolist()
    return {(int(batch.trajectory[row]), int(batch.turn[row])): float(rows[row]) for row in kept}


def _header(run: Run) -> EpisodeHeader:
    config = run.config
    style = resolve_style(config.prompt_style, config.model, config.env)
    return EpisodeHeader(
        env=config.env,
        # Not where the run lies: it may be moved and go on there.
        agent=run.learner,
        panel=run.panel.name,
        panel_hash=run.panel.hash,
        behaviour_hash=text_env(run.pool.example).behaviour_hash,
        bank_hash=run.bank_hash,
        prompt_hash=prompt_hash(style),
        settings={
            "learner": run.learner,
            "model": config.model,
            "seed": config.seed,
            "data": config.data,
            "options": list(config.env_options),
            "prompt_style": style.name,
        },
        version=__version__,
    )
