"""Turns as tensors: one row a turn. Built once a step by `collate`; micro-batches are cut from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, TypeVar

import torch

from sdar_agents.episode import Episode, Turn


@dataclass(frozen=True, slots=True)
class View:
    """The same responses after another prompt, which a teacher sees; rows as in the batch.

    Attributes:
        prompt_ids, prompt_mask: Padded on the left, [N, Q].
        logprobs: Of the sampled tokens after these prompts, under the teacher at the start of the step, [N, R]; None
            until the training loop has scored them.
    """

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    logprobs: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class TurnBatch:
    """N turns. Prompts are padded on the left to P (teacher's: Q), responses on the right to R.

    Masks are True on real tokens. Ids int64; log-probabilities float32, in nats, 0 under padding.

    Attributes:
        prompt_ids, prompt_mask: Student prompt, [N, P].
        teacher_prompt_ids, teacher_prompt_mask: Prompt with skills in its slot, [N, Q]; None without a teacher.
        response_ids, response_mask: Sampled tokens, [N, R].
        sampler_logprobs: Under the engine that drew the tokens, [N, R].
        old_logprobs: Under the policy at the start of the step, recomputed by the trainer, [N, R].
        importance: What each token's loss is multiplied by because the two differ, [N, R]; see `importance.py`.
        reference_logprobs: Under the initial weights, [N, R]; None if no learner needs them.
        returns: Return of the whole episode, the same for each of its turns, [N].
        reward: Reward of this turn, [N].
        invalid_turns: How many turns of the whole episode were invalid, the same for each of its turns, [N].
        is_valid: Whether this turn's response was well formed and understood, [N].
        success: Whether the episode solved its task, [N].
        group, trajectory, turn: Group number, episode number in the batch, turn number in the episode, [N].
        weight: 1.0 for a real row, 0.0 for padding or a duplicate: such a row counts nowhere, [N].
        advantages: Filled by a learner's `prepare`, [N].
        state: Number of what was seen before the turn: equal in turns of one group that answer one observation, [N].
        skills_shown: Whether the student's own prompt carried the skills, [N].
        teacher_logprobs: Under the teacher at the start of the step, [N, R]; None unless `needs.teacher_at_start`.
        old_entropy: Of the policy at the start of the step, [N, R]; None unless `needs.entropy_at_start`.
        views: Further prompts by name: those of `needs.views`, scored at the start of the step, and of `needs.prompts`.
        token_advantages: Advantages of single tokens, in the place of `advantages`, [N, R]; a `prepare` may fill it.
        distill_weight: What a token's distillation is multiplied by, [N, R]; a `prepare` may fill it.
        loss_weight: What each token's loss counts in the mean of an optimizer update, [N, R]; the training loop fills
            it for every `aggregation` but that over tokens, where it is None and `token_weight` counts.
        only_taught: Whether a row is there for what a teacher says of it alone, [N]: the policy did not draw it after
            this prompt or not in this step, so it has no advantage and counts in no metric. None where there are none.
        signals: Running values that learners which adapt keep from step to step.
    """

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    teacher_prompt_ids: torch.Tensor | None
    teacher_prompt_mask: torch.Tensor | None
    response_ids: torch.Tensor
    response_mask: torch.Tensor
    sampler_logprobs: torch.Tensor
    old_logprobs: torch.Tensor
    importance: torch.Tensor
    reference_logprobs: torch.Tensor | None
    returns: torch.Tensor
    reward: torch.Tensor
    invalid_turns: torch.Tensor
    is_valid: torch.Tensor
    success: torch.Tensor
    group: torch.Tensor
    trajectory: torch.Tensor
    turn: torch.Tensor
    weight: torch.Tensor
    advantages: torch.Tensor
    state: torch.Tensor
    skills_shown: torch.Tensor
    teacher_logprobs: torch.Tensor | None = None
    old_entropy: torch.Tensor | None = None
    views: Mapping[str, View] = field(default_factory=dict)
    token_advantages: torch.Tensor | None = None
    distill_weight: torch.Tensor | None = None
    loss_weight: torch.Tensor | None = None
    only_taught: torch.Tensor | None = None
    signals: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.prompt_ids.shape[0])

    @property
    def token_weight(self) -> torch.Tensor:
        """What each response token counts in a token mean: the mask times the row's weight, [N, R] float32."""
        return self.response_mask.float() * self.weight[:, None]

    @property
    def metric_weight(self) -> torch.Tensor:
        """What a token counts in a metric: as in `token_weight`, but 0 in rows that are only taught, [N, R]."""
        return self.token_weight if self.only_taught is None else self.token_weight * ~self.only_taught[:, None]

    def rows(self, index: torch.Tensor) -> TurnBatch:
        """The rows at `index` [n] (int64), padding columns that all of them share cut off."""
        return _mapped(self, lambda value: value[index])._trimmed()

    def split(self, max_tokens: int) -> Iterator[TurnBatch]:
        """Micro-batches of at most `max_tokens` padded tokens; see `row_chunks`."""
        for index in self.row_chunks(max_tokens):
            yield self.rows(index)

    def row_chunks(self, max_tokens: int) -> list[torch.Tensor]:
        """Row numbers of micro-batches of at most `max_tokens` padded tokens, those of the longest of a row's prompts.

        Rows are taken in order of length, so that little is padding. A single longer row still makes a micro-batch.
        """
        prompts, responses = self._prompt_lengths().tolist(), self.response_mask.sum(1).tolist()
        chunks: list[list[int]] = []
        prompt = response = 0
        for row in torch.argsort(self.row_lengths(), stable=True).tolist():
            # Padded, a chunk is as wide as its longest prompt and its longest response, be they of different rows.
            prompt, response = max(prompt, prompts[row]), max(response, responses[row])
            if not chunks or (prompt + response) * (len(chunks[-1]) + 1) > max_tokens:
                chunks.append([])
                prompt, response = prompts[row], responses[row]
            chunks[-1].append(row)
        return [torch.tensor(chunk) for chunk in chunks]

    def to(self, device: torch.device | str) -> TurnBatch:
        """The same rows on another device."""
        return _mapped(self, lambda value: value.to(device))

    def row_lengths(self) -> torch.Tensor:
        """Tokens of prompt (the longest of student's, teacher's and views') and response a row, [N]."""
        return self._prompt_lengths() + self.response_mask.sum(1)

    def with_copies(self, index: torch.Tensor, prompts: View, teacher_prompts: View) -> TurnBatch:
        """The rows, and behind them copies of those at `index` [n] whose responses stand after other prompts.

        Copies count as turns of trajectories of their own, with new numbers, so that whoever looks up a turn of the
        batch finds the turn that was played. Their log-probabilities are still those after the prompts of before.

        Args:
            index: Row numbers, int64.
            prompts, teacher_prompts: Of the student and of the teacher, for the copies, [n, ...].
        """
        if not len(index):
            return self
        copies = _mapped(self, lambda value: value[index])
        numbers = self.trajectory.max() + 1 + torch.unique(copies.trajectory, return_inverse=True)[1]
        copies = replace(copies, trajectory=numbers, prompt_ids=prompts.prompt_ids, prompt_mask=prompts.prompt_mask)
        copies = replace(
            copies, teacher_prompt_ids=teacher_prompts.prompt_ids, teacher_prompt_mask=teacher_prompts.prompt_mask
        )
        return joined(self, copies)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All columns but those of views, by name, for a checkpoint."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, torch.Tensor]) -> TurnBatch:
        """The rows that `state_dict` gave."""
        needed = [each.name for each in fields(cls) if each.default is MISSING and each.default_factory is MISSING]
        values: dict[str, Any] = {**dict.fromkeys(needed), **state}
        return cls(**values)

    def _prompt_lengths(self) -> torch.Tensor:
        prompt = self.prompt_mask.sum(1)
        teachers = [] if self.teacher_prompt_mask is None else [self.teacher_prompt_mask]
        for mask in (*teachers, *(view.prompt_mask for view in self.views.values())):
            prompt = torch.maximum(prompt, mask.sum(1))
        return prompt

    def _trimmed(self) -> TurnBatch:
        prompt = int(self.prompt_mask.sum(1).max()) if len(self) else 0
        response = int(self.response_mask.sum(1).max()) if len(self) else 0
        trimmed = replace(
            self,
            prompt_ids=self.prompt_ids[:, self.prompt_ids.shape[1] - prompt :],
            prompt_mask=self.prompt_mask[:, self.prompt_mask.shape[1] - prompt :],
            response_ids=self.response_ids[:, :response],
            response_mask=self.response_mask[:, :response],
            sampler_logprobs=self.sampler_logprobs[:, :response],
            old_logprobs=self.old_logprobs[:, :response],
            importance=self.importance[:, :response],
            reference_logprobs=_columns(self.reference_logprobs, response),
            teacher_logprobs=_columns(self.teacher_logprobs, response),
            old_entropy=_columns(self.old_entropy, response),
            token_advantages=_columns(self.token_advantages, response),
            distill_weight=_columns(self.distill_weight, response),
            loss_weight=_columns(self.loss_weight, response),
            views={name: _trimmed_view(view, response) for name, view in self.views.items()},
        )
        if self.teacher_prompt_ids is None or self.teacher_prompt_mask is None:
            return trimmed
        teacher = int(self.teacher_prompt_mask.sum(1).max()) if len(self) else 0
        return replace(
            trimmed,
            teacher_prompt_ids=self.teacher_prompt_ids[:, self.teacher_prompt_ids.shape[1] - teacher :],
            teacher_prompt_mask=self.teacher_prompt_mask[:, self.teacher_prompt_mask.shape[1] - teacher :],
        )


@dataclass(slots=True)
class Memory:
    """What a run remembers of earlier steps.

    Attributes:
        rows: None before anything was remembered.
    """

    rows: TurnBatch | None = None


Tensors = TypeVar("Tensors", TurnBatch, View)


def token_mean(
    values: torch.Tensor, token_weight: torch.Tensor, total: float | torch.Tensor | None = None
) -> torch.Tensor:
    """Mean over tokens of `values` [N, R] by `token_weight` [N, R].

    Args:
        total: The weight of the *whole* optimizer step, so that cutting it into micro-batches changes nothing;
            the weight of `token_weight` itself by default.
    """
    weight = token_weight.sum() if total is None else total
    return (values * token_weight).sum() / weight


def collate(episodes: Sequence[Episode], *, pad_id: int) -> TurnBatch:
    """One row a turn of every episode.

    Old log-probabilities are zeros here: the training loop recomputes them by the policy, because a sampler's
    kernels differ from the trainer's.

    Raises:
        ValueError: no turn at all, or only some turns have a teacher prompt.
    """
    turns = [(number, turn, row) for number, episode in enumerate(episodes) for turn, row in enumerate(episode.turns)]
    if not turns:
        raise ValueError("nothing to train on: the episodes hold no turn")
    with_teacher = sum(row.teacher_prompt_ids is not None for _, _, row in turns)
    if with_teacher not in (0, len(turns)):
        raise ValueError(f"{with_teacher} of {len(turns)} turns have a teacher prompt; all or none must")
    prompt_ids, prompt_mask = pad_left([row.prompt_ids for _, _, row in turns], pad_id)
    teacher_ids, teacher_mask = (
        pad_left([row.teacher_prompt_ids or () for _, _, row in turns], pad_id) if with_teacher else (None, None)
    )
    response_ids, response_mask = pad_right([row.completion.token_ids for _, _, row in turns], pad_id)
    of = [episodes[number] for number, _, _ in turns]
    count = len(turns)
    return TurnBatch(
        prompt_ids=prompt_ids,
        prompt_mask=prompt_mask,
        teacher_prompt_ids=teacher_ids,
        teacher_prompt_mask=teacher_mask,
        response_ids=response_ids,
        response_mask=response_mask,
        sampler_logprobs=_pad_right_floats([row.completion.logprobs for _, _, row in turns], response_ids.shape[1]),
        old_logprobs=torch.zeros(response_ids.shape),
        importance=torch.ones(response_ids.shape),
        reference_logprobs=None,
        returns=torch.tensor([episode.episode_return for episode in of]),
        reward=torch.tensor([row.reward for _, _, row in turns]),
        invalid_turns=torch.tensor([float(episode.invalid_turns) for episode in of]),
        is_valid=torch.tensor([row.is_valid for _, _, row in turns]),
        success=torch.tensor([episode.success for episode in of]),
        group=torch.tensor([episode.group for episode in of]),
        trajectory=torch.tensor([number for number, _, _ in turns]),
        turn=torch.tensor([turn for _, turn, _ in turns]),
        weight=torch.ones(count),
        advantages=torch.zeros(count),
        state=torch.tensor([_state_number(episodes[number].group, row.seen) for number, _, row in turns]),
        skills_shown=torch.tensor([row.skills_shown for _, _, row in turns]),
        views=_views([row for _, _, row in turns], pad_id),
    )


def pad_left(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, both [N, longest], real tokens at the right end."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + list(row) for row in rows], dtype=torch.int64)
    mask = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows], dtype=torch.bool)
    return ids, mask


def pad_right(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, both [N, longest], real tokens at the left end."""
    width = max(map(len, rows))
    ids = torch.tensor([list(row) + [pad_id] * (width - len(row)) for row in rows], dtype=torch.int64)
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows], dtype=torch.bool)
    return ids, mask


def _pad_right_floats(rows: Sequence[Sequence[float]], width: int) -> torch.Tensor:
    return torch.tensor([list(row) + [0.0] * (width - len(row)) for row in rows], dtype=torch.float32)


def _mapped(of: Tensors, change: Callable[[torch.Tensor], torch.Tensor]) -> Tensors:
    """The same with every tensor changed."""

    def changed(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return change(value)
        if isinstance(value, Mapping):
            return {name: _mapped(each, change) if isinstance(each, View) else each for name, each in value.items()}
        return value

    values: dict[str, Any] = {f.name: changed(getattr(of, f.name)) for f in fields(of)}
    return replace(of, **values)


def joined(first: Tensors, second: Tensors) -> Tensors:
    """The rows of both, as wide as the wider of the two: prompts padded on the left, responses on the right.

    What only one of them has (None in the other) the result has not.
    """

    def both(name: str, one: Any, other: Any) -> Any:
        if isinstance(one, torch.Tensor):
            if other is None:
                return None
            width, on_left = max(one.shape[-1], other.shape[-1]), "prompt" in name
            parts = [pad_columns(each, width, on_left=on_left) if each.dim() == 2 else each for each in (one, other)]
            return torch.cat(parts)
        if isinstance(one, Mapping):
            return {key: joined(each, other[key]) if isinstance(each, View) else each for key, each in one.items()}
        return one

    values = {f.name: both(f.name, getattr(first, f.name), getattr(second, f.name)) for f in fields(first)}
    return replace(first, **values)


def pad_columns(value: torch.Tensor, width: int, *, on_left: bool = True) -> torch.Tensor:
    """Columns of zeros (False) until there are so many: on the left for a prompt's ids and mask, else on the right."""
    missing = width - value.shape[1]
    return torch.nn.functional.pad(value, (missing, 0) if on_left else (0, missing))


def _columns(value: torch.Tensor | None, count: int) -> torch.Tensor | None:
    return None if value is None else value[:, :count]


def _trimmed_view(view: View, response: int) -> View:
    prompt = int(view.prompt_mask.sum(1).max()) if len(view.prompt_mask) else 0
    first = view.prompt_ids.shape[1] - prompt
    return View(view.prompt_ids[:, first:], view.prompt_mask[:, first:], _columns(view.logprobs, response))


def _views(turns: Sequence[Turn], pad_id: int) -> dict[str, View]:
    names = set(turns[0].view_prompt_ids)
    if any(set(turn.view_prompt_ids) != names for turn in turns):
        raise ValueError("some turns have prompts of other teacher views than the rest; all must have the same")
    return {name: View(*pad_left([turn.view_prompt_ids[name] for turn in turns], pad_id)) for name in sorted(names)}


def _state_number(group: int, seen: str) -> int:
    """The same on every machine and in every process, unlike `hash`."""
    digest = hashlib.blake2b(f"{group}/{seen}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
