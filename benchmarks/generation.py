"""Tokens a second of our sampler and of transformers' `generate`, on the same episodes, turn by turn and in turns.

    python benchmarks/generation.py --groups 8 --group-size 8 --turns 8 --rounds 5

Prompts are those of episodes that the oracle plays, so every round and every sampler sees the same; all sample at
temperature 1 with at most 16 new tokens. `continuous` and `lock_step` are the two engines of the transformers backend:
the first keeps keys and values over the turns, the second is what models get whose attention does not allow it.
`generate` is called once a turn on the padded batch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from sdar_agents.backends.base import Backend, Request
from sdar_agents.backends.hf_batch import LockStepEngine
from sdar_agents.backends.hf_continuous import ContinuousEngine
from sdar_agents.batch import pad_left
from sdar_agents.episode import Sampling
from sdar_agents.policy import load_policy
from sdar_agents.rollout import make_agent_env
from sdar_agents.tokens import ChatTokenizer
from sdar_gym.prompts import prompt_style

SAMPLING = Sampling(max_tokens=16)
Turns = list[dict[int, tuple[int, ...]]]
"""For each turn: episode to prompt, of the episodes that last so long."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--style", default="compact", help="prompt style: compact, or tagged for long prompts")
    parser.add_argument("--env", default="sdar_gym/ALFWorldMini-v0")
    parser.add_argument("--cpu-seconds", action="store_true", help="time of this process, on a machine that others use")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_seconds else time.perf_counter
    model, tokenizer = load_policy(options.model)
    turns = _turns(options, tokenizer)
    continuous = ContinuousEngine(model, tokenizer)
    samplers: dict[str, Callable[[int], int]] = {
        "continuous": lambda number: _by_engine(continuous, turns, number),
        "lock_step": lambda number: _by_engine(LockStepEngine(model, tokenizer), turns, number),
        "generate": lambda number: _by_generate(model, tokenizer, turns, number),
    }
    seconds: dict[str, list[float]] = {name: [] for name in samplers}
    tokens: dict[str, int] = dict.fromkeys(samplers, 0)
    for number in range(options.rounds + 1):
        for name, sampler in samplers.items():
            begin = clock()
            drawn = sampler(number)
            # The first round pays for allocations and kernels.
            if number:
                seconds[name].append(clock() - begin)
                tokens[name] += drawn
    prompt_tokens = sum(len(prompt) for turn in turns for prompt in turn.values())
    report = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "prompts": sum(len(turn) for turn in turns),
        "prompt_tokens": prompt_tokens,
        "computed_tokens": continuous.computed_tokens // (options.rounds + 1),
        **{
            name: {
                "median_seconds": round(statistics.median(seconds[name]), 3),
                "tokens_per_second": round(tokens[name] / sum(seconds[name])),
            }
            for name in samplers
        },
    }
    print(json.dumps(report, indent=1))


def _by_engine(engine: Backend, turns: Turns, number: int) -> int:
    tokens = 0
    for turn, prompts in enumerate(turns):
        for episode, prompt in prompts.items():
            engine.add(
                Request(episode, prompt, SAMPLING, seed=(number * 100 + turn) * 1000 + episode, conversation=episode)
            )
        left = len(prompts)
        while left:
            finished = engine.step()
            left -= len(finished)
            tokens += sum(len(each.completion.token_ids) for each in finished)
    for episode in turns[0]:
        engine.end(episode)
    return tokens


@torch.no_grad()
def _by_generate(model: torch.nn.Module, tokenizer: ChatTokenizer, turns: Turns, number: int) -> int:
    torch.manual_seed(number)
    tokens = 0
    for prompts in turns:
        ids, mask = pad_left(list(prompts.values()), tokenizer.pad_id)
        output = model.generate(  # type: ignore[operator]
            ids, attention_mask=mask.long(), do_sample=True, top_k=0,
            max_new_tokens=SAMPLING.max_tokens, pad_token_id=tokenizer.pad_id,
        )  # fmt: skip
        tokens += int((output[:, ids.shape[1] :] != tokenizer.pad_id).sum())
    return tokens


def _turns(options: argparse.Namespace, tokenizer: ChatTokenizer) -> Turns:
    env = make_agent_env(options.env, prompt_style(options.style))
    turns: Turns = [{} for _ in range(options.turns)]
    for episode in range(options.groups * options.group_size):
        group, member = divmod(episode, options.group_size)
        _, info = env.reset(options={"task": f"train/{group:06d}"})
        for turn in range(options.turns):
            turns[turn][episode] = tokenizer.prompt_ids(info["prompt"].render())
            # Members of a group part ways at different turns, as sampled ones do.
            action = "look" if turn == 1 + member else env.get_wrapper_attr("oracle")() or "look"
            _, _, terminated, truncated, info = env.step(action)
            if terminated or truncated:
                break
    return turns


if __name__ == "__main__":
    main()
