"""Tokens a second of our sampler and of transformers' `generate`, on the same prompts, in turns.

    python benchmarks/generation.py --rows 64 --rounds 7

Prompts are those of one turn of ALFWorldMini; both sample at temperature 1 with at most 16 new tokens.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from sdar_agents.backends.hf import HFBackend
from sdar_agents.batch import pad_left
from sdar_agents.episode import Sampling
from sdar_agents.policy import load_policy
from sdar_agents.rollout import make_agent_env
from sdar_gym.prompts import COMPACT

NEW_TOKENS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--model", default="tiny")
    options = parser.parse_args()
    model, tokenizer = load_policy(options.model)
    prompts = _prompts(options.rows, tokenizer.prompt_ids)
    backend = HFBackend(model, tokenizer)
    ids, mask = pad_left(prompts, tokenizer.pad_id)
    seconds: dict[str, list[float]] = {"ours": [], "generate": []}
    tokens: dict[str, list[int]] = {"ours": [], "generate": []}
    for turn in range(options.rounds + 1):
        begin = time.perf_counter()
        completions = backend.generate(
            prompts, Sampling(max_tokens=NEW_TOKENS), [turn * 1000 + i for i in range(len(ids))]
        )
        middle = time.perf_counter()
        with torch.no_grad():
            torch.manual_seed(turn)
            output = model.generate(
                ids,
                attention_mask=mask.long(),
                do_sample=True,
                top_k=0,
                max_new_tokens=NEW_TOKENS,
                pad_token_id=tokenizer.pad_id,
            )
        end = time.perf_counter()
        if turn:
            seconds["ours"].append(middle - begin)
            seconds["generate"].append(end - middle)
            tokens["ours"].append(sum(len(completion.token_ids) for completion in completions))
            tokens["generate"].append(int((output[:, ids.shape[1] :] != tokenizer.pad_id).sum()))
    report = {
        name: {
            "median_seconds": round(statistics.median(seconds[name]), 4),
            "tokens_per_second": round(sum(tokens[name]) / sum(seconds[name])),
        }
        for name in seconds
    }
    print(json.dumps({"rows": options.rows, "prompt_tokens": int(mask.sum()) / len(ids), **report}, indent=1))


def _prompts(rows: int, prompt_ids: object) -> list[tuple[int, ...]]:
    assert callable(prompt_ids)
    env = make_agent_env("sdar_gym/ALFWorldMini-v0", COMPACT)
    prompts = []
    for number in range(rows):
        env.reset(options={"task": f"train/{number:06d}"})
        for _ in range(1 + number % 8):
            _, _, _, _, info = env.step(env.get_wrapper_attr("oracle")() or "look")
            if info["success"]:
                break
        prompts.append(tuple(prompt_ids(info["prompt"].render())))
    return prompts


if __name__ == "__main__":
    main()
