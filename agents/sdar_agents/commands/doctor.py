"""`sdar-gym doctor`: what is here, and whether a configuration fits it and how long it would take."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from sdar_agents.commands.train import parse_train

if TYPE_CHECKING:
    from sdar_agents.config import TrainConfig
    from sdar_agents.machine import Machine, Speed
    from sdar_agents.memory_plan import MemoryPlan, ModelShape
    from sdar_agents.time_estimate import TimeEstimate, Workload

HELP = """usage: sdar-gym doctor [--gpus N] [--json FILE] [OPTIONS OF `sdar-gym train`]

Shows versions, GPUs and memory of this machine; then, for the given settings and before anything is loaded, a plan of
the memory and an estimate of the time. Exit code 2 if the settings do not fit.

  --gpus N     plan for N processes, one a GPU (default: WORLD_SIZE, else 1)
  --json FILE  also write everything as JSON
"""
OWN_OPTIONS = ("--gpus", "--json")


def run(arguments: Sequence[str]) -> None:
    """Look, plan, estimate, print; refuse what does not fit."""
    if "--help" in arguments or "-h" in arguments:
        print(HELP)
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--gpus", type=int, default=int(os.environ.get("WORLD_SIZE", "1")))
    own.add_argument("--json")
    given, rest = own.parse_known_args(list(arguments))
    config, _ = parse_train(rest, command="doctor", others=OWN_OPTIONS)
    if given.gpus < 1:
        raise ValueError(f"--gpus must be at least 1, got {given.gpus}")
    if given.json is not None and not Path(given.json).absolute().parent.is_dir():
        raise ValueError(f"--json {given.json}: its folder does not exist")
    console = Console()
    from sdar_agents.machine import inspect_machine

    machine = inspect_machine(Path(config.run))
    console.print(_machine_table(machine))
    report: dict[str, Any] = {"machine": dataclasses.asdict(machine)}
    try:
        problem = _examine(config, machine, given.gpus, console, report)
    finally:
        if given.json is not None:
            Path(given.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if problem is not None:
        raise ValueError(problem)
    console.print("\nfits", style="bold")


def _examine(config: TrainConfig, machine: Machine, world: int, console: Console, report: dict[str, Any]) -> str | None:
    """Print plan and estimate, fill the report; what does not fit, or None."""
    from sdar_agents.machine import device_memory
    from sdar_agents.memory_plan import external_teacher, model_shape, plan_memory, too_large
    from sdar_agents.policy import model_of
    from sdar_agents.setup import check_names, resolve_device

    config = dataclasses.replace(config, model=model_of(config.model, config.env))
    check_names(config)
    if machine.gpus and world > len(machine.gpus) and "LOCAL_WORLD_SIZE" not in os.environ:
        console.print(f"\nplanned for {world} GPUs; this machine has {len(machine.gpus)}", highlight=False)
    device = resolve_device(config.device)
    shape = model_shape(config.model, dtype=config.dtype, device=device)
    total, free = device_memory(device)
    teacher = external_teacher(config, device=device)
    plan = plan_memory(config, shape, device=device, device_bytes=total, world=world, teacher=teacher)
    console.print()
    console.print(_plan_table(config, shape, plan, device=device, free=free, total=total, world=world))
    report["model"] = dataclasses.asdict(shape)
    report["plan"] = {
        "device": device,
        "processes": world,
        "items": [dataclasses.asdict(item) for item in plan.items],
        "peak": plan.peak,
        "free": free,
        "total": total,
        "fits": plan.peak <= free,
    }
    if plan.peak > free:
        return too_large(config, shape, plan, have=free, need=plan.peak, what="free")
    from sdar_agents.time_estimate import estimate_time, measured_speed, sample_run

    work, speed = sample_run(config), measured_speed(config, shape, device)
    estimate = estimate_time(config, shape, work, speed, device=device, world=world)
    console.print()
    _print_estimate(config, work, speed, estimate, device=device, console=console)
    report["time"] = {
        "workload": dataclasses.asdict(work),
        "speed": dataclasses.asdict(speed),
        **dataclasses.asdict(estimate),
    }
    return None


def _machine_table(machine: Machine) -> Table:
    gib = 2**30
    table = Table("this machine", "", box=None, header_style="bold")
    table.add_row("python", machine.python)
    for name, version in machine.packages.items():
        table.add_row(name, f"{version}, {machine.vllm}" if name == "vllm" and machine.vllm != version else version)
    for number, gpu in enumerate(machine.gpus):
        half = "bfloat16" if gpu.bfloat16 else "no bfloat16"
        table.add_row(
            f"GPU {number}",
            f"{gpu.name}, {gpu.free / gib:.1f} of {gpu.total / gib:.1f} GiB free, compute {gpu.capability}, {half}",
        )
    if not machine.gpus:
        table.add_row("GPU", "none that torch sees")
    if machine.driver is not None:
        table.add_row("NVIDIA driver", machine.driver)
    table.add_row("processors", f"{machine.cpus} usable, torch uses {machine.threads} threads")
    table.add_row("memory", f"{machine.memory_free / gib:.1f} of {machine.memory_total / gib:.1f} GiB available")
    table.add_row("disk", f"{machine.disk_free / gib:.1f} GiB free at the run folder")
    table.add_row("model hub", "offline (HF_HUB_OFFLINE)" if machine.hub_offline else "may be asked")
    return table


def _plan_table(
    config: TrainConfig, shape: ModelShape, plan: MemoryPlan, *, device: str, free: int, total: int, world: int
) -> Table:
    gib = 2**30
    where = f"on {device}" if world == 1 else f"on each of {world} GPUs"
    table = Table(f"memory {where}", "GiB", "when", "what", box=None, header_style="bold")
    table.columns[1].justify = "right"
    table.add_row("model", "", "", f"{config.model}: {shape.architecture}, {shape.parameters:,} parameters")
    for item in plan.items:
        if item.size:
            table.add_row(item.name, f"{item.size / gib:.3f}", item.phase, item.note)
    verdict = "enough" if plan.peak <= free else "NOT ENOUGH"
    table.add_row("peak, rollout", f"{plan.size('rollout') / gib:.3f}", "", "")
    table.add_row("peak, update", f"{plan.size('update') / gib:.3f}", "", "")
    table.add_row("free", f"{free / gib:.3f}", "", f"of {total / gib:.3f}: {verdict}")
    return table


def _print_estimate(
    config: TrainConfig, work: Workload, speed: Speed, estimate: TimeEstimate, *, device: str, console: Console
) -> None:
    from sdar_agents.time_estimate import EFFICIENCY

    kind = "cuda" if device.startswith("cuda") else "cpu"
    table = Table("time (an estimate)", "", box=None, header_style="bold")
    for phase, seconds in estimate.seconds.items():
        table.add_row(phase, f"{seconds:.2f} s")
    table.add_row("step", f"{estimate.step:.2f} s")
    table.add_row("evaluation", f"{estimate.evaluation:.2f} s")
    table.add_row(f"{config.steps} steps", f"{estimate.hours:.2f} h")
    console.print(table)
    console.print(
        f"Assumed: {work.turns:.1f} turns an episode, prompts of {work.prompt:.0f} tokens, "
        f"skills of {work.skills:.0f}, "
        f"responses of {work.response:.0f} ({work.source});\n{EFFICIENCY[kind]:.0%} of the "
        f"{speed.flops / 1e9:,.0f} GFLOP/s that a plain matrix product reaches here, "
        f"{speed.bandwidth / 1e9:,.1f} GB/s.\n"
        "Expect a factor of two or three either way; the machine is taken to be free.",
        highlight=False,
        soft_wrap=True,
    )
