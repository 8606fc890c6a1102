"""Small episodes, and a policy that is a table: what the tests of learners train on instead of a language model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from sdar_agents.batch import TurnBatch, collate
from sdar_agents.episode import Completion, Episode, Turn
from sdar_agents.learners import Learner, LossOutput, Needs, TokenScores

VOCABULARY = 5


def turn(
    prompt: tuple[int, ...] = (1,),
    response: tuple[int, ...] = (2,),
    *,
    teacher_prompt: tuple[int, ...] | None = None,
    reward: float = 0.0,
    is_valid: bool = True,
) -> Turn:
    completion = Completion(response, (0.0,) * len(response), "", stopped=True)
    return Turn(prompt, teacher_prompt, completion, "go", "gone", reward, is_valid, None if is_valid else "no action")


def episode(*turns: Turn, group: int = 0) -> Episode:
    success = sum(row.reward for row in turns) > 0
    return Episode("toy", f"task-{group}", "toy", "Go.", group, turns, success, float(success), False, ())


def table_scores(table: torch.Tensor, batch: TurnBatch, needs: Needs, *, teacher: bool = False) -> TokenScores:
    """Scores of a bigram model: `table` [V, V] holds the logits of the next token given the last one."""
    prompt = batch.teacher_prompt_ids if teacher else batch.prompt_ids
    assert prompt is not None
    last = torch.cat([prompt[:, -1:], batch.response_ids[:, :-1]], dim=1)  # [N, R]
    distribution = torch.log_softmax(table[last], dim=-1)  # [N, R, V]
    logprobs = distribution.gather(-1, batch.response_ids[..., None]).squeeze(-1)
    return TokenScores(
        logprobs,
        entropy=-(distribution.exp() * distribution).sum(-1) if needs.entropy else None,
        distribution=distribution if needs.distribution else None,
    )


def tokens(*values: float) -> torch.Tensor:
    """One row of tokens, [1, R] float64."""
    return torch.tensor([values], dtype=torch.float64)


def one_row(*, advantage: float, old: torch.Tensor, reference: torch.Tensor | None = None) -> TurnBatch:
    batch = collate([episode(turn(response=(1,) * old.shape[1]))], pad_id=0)
    return replace(
        batch, old_logprobs=old, reference_logprobs=reference, advantages=torch.tensor([advantage], dtype=torch.float64)
    )


def run(
    learner: Learner, batch: TurnBatch, student: torch.Tensor, teacher: TokenScores | None = None, **scores: Any
) -> tuple[LossOutput, torch.Tensor]:
    """Output, and the gradient of the *sum* of the token losses on the student's log-probabilities."""
    student = student.clone().requires_grad_()
    found = learner.loss(TokenScores(student, **scores), teacher, batch)
    found.token_loss.sum().backward()
    assert student.grad is not None
    return found, student.grad
