"""Small episodes, and a policy that is a table: what the tests of learners train on instead of a language model."""

from __future__ import annotations

import torch

from sdar_agents.batch import TurnBatch
from sdar_agents.episode import Completion, Episode, Turn
from sdar_agents.learners import Needs, TokenScores

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
