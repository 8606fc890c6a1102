"""An update on the longest rows that the settings allow, before the first step: out-of-memory shows at once."""

from __future__ import annotations

import torch

from sdar_agents.batch import TurnBatch, View
from sdar_agents.config import ConfigError
from sdar_agents.machine import device_memory
from sdar_agents.memory_plan import FIXES, GIB, longest_row
from sdar_agents.run_state import capture_generators, restore_generators
from sdar_agents.setup import Run
from sdar_agents.update import backward, scored


def probe_longest_rows(run: Run) -> None:
    """Score and learn from the largest micro-batches that can come up, then forget it: nothing of the run changes.

    Two of them: the longest rows, and rows with short prompts, of which more fit and which hold more response tokens.
    On a GPU the optimizer's moments are also allocated for the time of the probe, if it has none yet.

    Raises:
        ConfigError: the device's memory is not enough; says what was tried and what to change.
    """
    generators = capture_generators()
    shapes = dict.fromkeys(((run.config.max_prompt_tokens, _skills(run)), (run.config.max_prompt_tokens // 4 or 1, 0)))
    for prompt, skills in shapes:
        batch = longest_rows(run, prompt=prompt, skills=skills)
        try:
            moments = _moments(run)
            _learn(run, batch)
            del moments
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            raise ConfigError(_message(run, batch)) from error
        finally:
            run.optimizer.zero_grad(set_to_none=True)
            restore_generators(generators)
            if run.device.startswith("cuda"):
                torch.cuda.empty_cache()


def longest_rows(run: Run, *, prompt: int, skills: int) -> TurnBatch:
    """Rows of made-up tokens, as many as a micro-batch takes.

    No two rows begin alike, and no teacher's prompt begins as its student's does, so that nothing can be shared.

    Args:
        prompt: Tokens of the student's prompt.
        skills: Tokens that the teacher's has more.
    """
    config = run.config
    response = config.max_response_tokens
    rows = max(1, config.microbatch_tokens // (prompt + skills + response))
    needs = config.learner.needs
    vocabulary = len(run.tokenizer.tokenizer)
    student = _distinct(rows, prompt, first=0, vocabulary=vocabulary)
    longest = _distinct(rows, prompt + skills, first=rows, vocabulary=vocabulary)
    taught = longest if needs.teacher_prompts else None
    numbers = torch.arange(rows)
    return TurnBatch(
        prompt_ids=student,
        prompt_mask=torch.ones_like(student, dtype=torch.bool),
        teacher_prompt_ids=taught,
        teacher_prompt_mask=None if taught is None else torch.ones_like(taught, dtype=torch.bool),
        response_ids=_distinct(rows, response, first=0, vocabulary=vocabulary),
        response_mask=torch.ones((rows, response), dtype=torch.bool),
        sampler_logprobs=torch.zeros((rows, response)),
        old_logprobs=torch.zeros((rows, response)),
        importance=torch.ones((rows, response)),
        reference_logprobs=None,
        # Alternately solved and not, so that there are advantages.
        returns=(numbers % 2).float(),
        reward=(numbers % 2).float(),
        invalid_turns=torch.zeros(rows),
        is_valid=torch.ones(rows, dtype=torch.bool),
        success=numbers % 2 == 1,
        group=torch.zeros(rows, dtype=torch.int64),
        trajectory=numbers,
        turn=torch.zeros(rows, dtype=torch.int64),
        weight=torch.ones(rows),
        advantages=torch.zeros(rows),
        state=numbers,
        skills_shown=torch.zeros(rows, dtype=torch.bool),
        views=dict.fromkeys((*needs.views, *needs.prompts), View(longest, torch.ones_like(longest, dtype=torch.bool))),
    )


def _learn(run: Run, batch: TurnBatch) -> None:
    batch = run.config.learner.prepare(scored(run, batch), 0)
    total = float(batch.token_weight.sum())
    for micro in batch.split(run.config.microbatch_tokens):
        backward(run, micro.to(run.device), total)


def _moments(run: Run) -> list[torch.Tensor]:
    """What AdamW will allocate at its first step: two tensors for each trained one."""
    if not run.device.startswith("cuda") or run.optimizer.state:
        return []
    trained = [parameter for group in run.optimizer.param_groups for parameter in group["params"]]
    return [torch.empty_like(parameter) for parameter in trained for _ in range(2)]


def _distinct(rows: int, length: int, *, first: int, vocabulary: int) -> torch.Tensor:
    """Ids [rows, length]: row number r begins with token `first + r`, then counts on."""
    return (torch.arange(length)[None, :] + torch.arange(first, first + rows)[:, None]) % vocabulary


def _skills(run: Run) -> int:
    return run.config.max_skill_tokens if run.config.learner.needs.has_teacher else 0


def _is_out_of_memory(error: BaseException) -> bool:
    # Torch's CPU allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _message(run: Run, batch: TurnBatch) -> str:
    total, free = device_memory(run.device)
    config = run.config
    rows, tokens = len(batch), len(batch) * int(batch.row_lengths().max())
    return (
        f"out of memory on {run.device} ({total / GIB:.2f} GiB, {free / GIB:.2f} GiB free now) in the probe before the "
        f"first step: {rows} rows, {tokens:,} tokens at once (--microbatch-tokens {config.microbatch_tokens}; the "
        f"longest row has {longest_row(config):,}). Such rows would come up later: use {FIXES}"
    )
