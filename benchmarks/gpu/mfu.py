"""Model FLOPs utilisation of the update, beside the card's peak and beside a large matrix product of the same minute.

    python benchmarks/gpu/mfu.py --size qwen3-1.7b --device cuda --dtype bfloat16 --groups 2 --turns 20

Rows are recorded once (see `workload.py`), then updated from by GRPO with packing and activation checkpointing on and
off, in turns. FLOPs of a row of L tokens, r of them a response, by formula; a multiply-add counts 2, a backward pass
twice its forward pass, the recomputation of activation checkpointing not at all:

    6 x (weights of the layers) x L  +  6 x layers x heads x head size x L^2  +  6 x vocabulary x hidden x r

The second term is the causal half of attention, the third the output layer, which only responses reach. `useful` is
the FLOPs of all rows, each by itself, over the seconds of the update: what a step is worth. `computed` is divided by
the packing ratio too (which the second and third term follow only nearly), and so counts a shared prefix once: how busy
the card was. Without packing they are the same. The seconds include the loss, the clipping of gradients and AdamW.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.architectures import SIZES, Architecture
from benchmarks.workload import (
    PACKINGS,
    ROOMS,
    Workload,
    machine,
    make_runs,
    peak_gib,
    record,
    row_lengths,
    without_teacher,
)
from sdar_agents.setup import Run
from sdar_agents.train import PhaseClock, learn

PEAKS = {"H200": 989.4, "H100 PCIe": 756.0, "H100 NVL": 835.0, "H100": 989.4, "A100": 312.0, "L40S": 362.0}
"""Dense bfloat16 TFLOP/s by NVIDIA's data sheets (half of what they state with sparsity); the first match counts."""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="qwen3-1.7b")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--env", default=ROOMS)
    parser.add_argument("--data")
    parser.add_argument("--groups", type=int, default=2)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--response-tokens", type=int, default=128)
    parser.add_argument("--minibatches", type=int, default=1)
    parser.add_argument("--microbatch-tokens", type=int, default=8_192)
    parser.add_argument("--rounds", type=int, default=3, help="measured, after one that is not")
    parser.add_argument("--matrix", type=int, help="edge of the matrix product; by default 8192, 512 on a CPU")
    parser.add_argument("--json", help="file that receives the numbers")
    options = parser.parse_args(arguments)
    shape = SIZES[options.size]
    names = ("size", "env", "data", "device", "dtype", "groups", "group_size", "turns", "response_tokens")
    work = Workload(**{name: getattr(options, name) for name in (*names, "minibatches", "microbatch_tokens")}, kl=0.0)
    with tempfile.TemporaryDirectory() as folder:
        run = make_runs(work, ["grpo"], Path(folder))["grpo"]
        rows = without_teacher(record(run, shape.vocabulary))
        variants = _variants(run)
        seen = _measure(variants, rows, options.rounds)
    options.matrix = options.matrix or (8192 if run.device.startswith("cuda") else 512)
    roofline = matrix_product_tflops(options.matrix, run.device)
    lengths = zip(*row_lengths(rows), strict=True)
    flops = sum(row_flops(shape, prompt + response, response) for prompt, response in lengths)
    report = {
        **machine(run.device),
        **vars(options),
        "rows": len(row_lengths(rows)[0]),
        "row_tokens": sum(map(sum, row_lengths(rows))),
        "row_flops": flops,
        "peak_tflops": card_peak(torch.cuda.get_device_name()) if run.device.startswith("cuda") else None,
        "matrix_product_tflops": roofline,
    }
    report["update"] = {name: _shares(found, flops, report) for name, found in seen.items()}
    print(json.dumps(report, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def row_flops(shape: Architecture, tokens: int, response: int) -> float:
    """Forward and backward FLOPs of a row; see the module's formula."""
    queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    layer = shape.hidden * (2 * queries + 2 * keys + 3 * shape.feed_forward)
    attention = 6 * shape.layers * queries * tokens**2
    return 6.0 * shape.layers * layer * tokens + attention + 6.0 * shape.vocabulary * shape.hidden * response


def card_peak(name: str) -> float | None:
    """Dense bfloat16 TFLOP/s of a card; None where it is not in the table."""
    return next((peak for card, peak in PEAKS.items() if all(word in name for word in card.split())), None)


def matrix_product_tflops(edge: int, device: str) -> float:
    """Median TFLOP/s of products of two square bfloat16 matrices of random numbers; float32 on a CPU."""
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    left, right = (torch.randn(edge, edge, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for number in range(13):
        begin = time.perf_counter()
        left @ right
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        # The first three raise the clocks.
        if number >= 3:
            seconds.append(time.perf_counter() - begin)
    return 2 * edge**3 / statistics.median(seconds) / 1e12


def _variants(run: Run) -> dict[str, Run]:
    variants = {}
    for packing in PACKINGS:
        packed: dict[str, Any] = {} if PACKINGS == ("none",) else {"packing": packing}
        for checkpointing in (False, True):
            name = f"packing {packing}, activation checkpointing {'on' if checkpointing else 'off'}"
            config = replace(run.config, activation_checkpointing=checkpointing, **packed)
            variants[name] = replace(run, config=config)
    return variants


def _measure(variants: dict[str, Run], rows: Any, rounds: int) -> dict[str, dict[str, Any]]:
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    peaks: dict[str, float | None] = {}
    failures: dict[str, str] = {}
    for number in range(rounds + 1):
        for name, run in variants.items():
            if name in failures:
                continue
            try:
                seen[name].append(learn(run, number, rows, PhaseClock()))
            except torch.OutOfMemoryError as error:
                failures[name] = str(error).splitlines()[0]
                run.optimizer.zero_grad(set_to_none=True)
                torch.cuda.empty_cache()
            peaks[name] = peak_gib(run.device)
    return {
        name: {"failure": failures[name]}
        if name in failures
        else {
            "seconds": statistics.median(metrics["seconds/update"] for metrics in found[1:]),
            "packing_ratio": found[-1].get("packing_ratio", 1.0),
            "peak_memory_gib": peaks[name],
        }
        for name, found in seen.items()
    }


def _shares(found: dict[str, Any], flops: float, report: dict[str, Any]) -> dict[str, Any]:
    if "failure" in found:
        return found
    useful = flops / found["seconds"] / 1e12
    computed = useful / found["packing_ratio"]
    peak, roofline = report["peak_tflops"], report["matrix_product_tflops"]
    return {
        **found,
        "row_tokens_per_second": report["row_tokens"] / found["seconds"],
        "useful_tflops": useful,
        "computed_tflops": computed,
        "useful_mfu": useful / peak if peak else None,
        "computed_mfu": computed / peak if peak else None,
        "computed_share_of_matrix_product": computed / roofline,
    }


if __name__ == "__main__":
    main()
