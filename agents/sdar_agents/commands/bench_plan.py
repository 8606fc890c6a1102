"""`sdar-gym bench plan`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from sdar_agents.options import parse

if TYPE_CHECKING:
    from sdar_agents.bench.plan import Spreads
    from sdar_agents.bench.power import Claim

FEW_SEEDS = 5
"""Fewer seeds leave their standard deviation open by a factor of two and more."""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Say how many episodes and seeds an effect needs, before anything is trained.

    Without a file: for the effect and the spreads that are given, or that --pilot shows. With a bench file: its cells,
    its time, and the smallest effect that it can show.
    """

    file: Annotated[str | None, tyro.conf.Positional] = None
    """A bench file (docs/bench.md)."""
    effect: float = 0.05
    """Difference in success rate that is to be shown."""
    baseline: float = 0.75
    """Success rate of what it is a difference to."""
    power: float = 0.8
    """Probability of finding the effect if it is there."""
    alpha: float = 0.05
    """Two-sided level of all comparisons together."""
    comparisons: int = 1
    """Pairs that are compared: each is tested at alpha / comparisons."""
    seeds: tuple[int, ...] = (2, 3, 5, 10, 20)
    """Numbers of training seeds to look at."""
    between_seed_std: float = 0.0
    """Standard deviation of a learner's true success rate between its seeds."""
    paired_correlation: float = 0.0
    """Between two learners' success on the same task."""
    task_share: float = 0.5
    """Which share of what is left belongs to the task, so that more seeds do not take it away."""
    pilot: tuple[str, ...] = ()
    """A bench's folder, or runs: their spread between seeds and tasks is taken instead of what is assumed."""
    json: str | None = None
    """File that receives every number."""


def run(arguments: Sequence[str]) -> None:
    """Plan and print."""
    options = parse(PlanOptions, arguments, command="bench plan")
    if options.json is not None and not Path(options.json).absolute().parent.is_dir():
        raise ValueError(f"--json {options.json}: its folder does not exist")
    if not options.seeds or min(options.seeds) < 2:
        raise ValueError("--seeds are numbers of seeds, each at least 2: one seed says nothing of other seeds")
    from sdar_agents.bench.plan import Spreads, plan_claim
    from sdar_agents.bench.power import Claim

    claim = Claim(options.baseline, options.effect, options.power, options.alpha, options.comparisons)
    spreads = Spreads(options.between_seed_std, options.paired_correlation, options.task_share)
    if options.file is not None:
        plan = _of_file(options, claim, spreads)
        lines = _file_lines(plan, claim, spreads)
    elif options.pilot:
        from sdar_agents.bench.plan import plan_from_pilot
        from sdar_agents.bench.results import read_results

        plan = plan_from_pilot(read_results([Path(path) for path in options.pilot]), claim, options.seeds)
        lines = _pilot_lines(plan, claim)
    else:
        plan = plan_claim(claim, spreads, options.seeds)
        lines = _claim_lines(plan, claim)
    for line in lines:
        print(line)
    if options.json is not None:
        Path(options.json).write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")


def _of_file(options: PlanOptions, claim: Claim, spreads: Spreads) -> dict[str, Any]:
    from sdar_agents.bench.file import read_bench
    from sdar_agents.bench.plan import plan_bench

    if options.pilot:
        raise ValueError("--pilot gives the spreads of runs, a bench file is planned by assumed ones: name one of them")
    return plan_bench(read_bench(Path(str(options.file))), claim, spreads.parts(claim))


def _claim_lines(plan: Mapping[str, Any], claim: Claim) -> Iterator[str]:
    yield _heading(claim)
    yield "two fixed policies, no seeds:"
    yield f"  {plan['independent_episodes']:>7,} episodes of each, if each plays tasks of its own"
    correlation = plan["spreads"]["paired_correlation"]
    yield f"  {plan['paired_episodes']:>7,} tasks that both play (correlation {correlation:g} on the same task)"
    spreads = plan["spreads"]
    yield (
        f"two learners, runs of a standard deviation of {spreads['between_seed_std']:g} between seeds "
        f"({spreads['task_share']:.0%} of the rest belongs to the task):"
    )
    yield from _seed_lines(plan["by_seeds"], plan["least_seeds"])
    if not spreads["between_seed_std"]:
        yield "  runs do differ between seeds: --between-seed-std or --pilot says by how much"


def _seed_lines(by_seeds: Mapping[int, int | None], least: int | None) -> Iterator[str]:
    for seeds, tasks in by_seeds.items():
        if tasks is None:
            yield f"  {seeds:>3} seeds of each: no number of tasks is enough"
        else:
            yield f"  {seeds:>3} seeds of each: {tasks:>7,} tasks a run, {seeds * tasks:,} episodes of each learner"
    if None in by_seeds.values():
        yield f"  {least} seeds of each are the least, however many tasks"


def _pilot_lines(plan: Mapping[str, Any], claim: Claim) -> Iterator[str]:
    yield _heading(claim, with_baseline=False)
    for name, environment in plan["environments"].items():
        yield f"{name}, {environment['tasks']} tasks:"
        for label, it in environment["learners"].items():
            known = "{:.3f} to {:.3f}".format(*it["std_interval"]) if it["std_interval"] else "unknown: they agree"
            yield (
                f"  {label}: success {it['mean']:.3f}, standard deviation of {it['seeds']} seeds "
                f"{it['std_of_seed_means']:.3f} (90 % interval {known}), of which true differences "
                f"{it['components']['seeds'] ** 0.5:.3f}"
            )
        for pair in environment["pairs"]:
            needed = pair["seeds_for_these_tasks"]
            enough = "no number of seeds is enough" if needed is None else f"{needed} seeds of each are needed"
            yield f"  {pair['first']} - {pair['second']}: with these tasks {enough};"
            yield f"    the {pair['seeds']} seeds that are there show differences from {pair['detectable']:.3f} on"
            if pair["seeds"] < FEW_SEEDS:
                yield f"    {pair['seeds']} seeds say little of their own spread: take what follows for a guess"
            yield from ("  " + line for line in _seed_lines(pair["by_seeds"], pair["least_seeds"]))


def _file_lines(plan: Mapping[str, Any], claim: Claim, spreads: Spreads) -> Iterator[str]:
    pairs = f"{len(plan['pairs'])} pairs of environment and learner x {plan['seeds']} seeds"
    yield f"{plan['name']}: {plan['cells']} cells ({pairs})"
    for name, pair in plan["pairs"].items():
        yield f"  {name:<40} {pair['hours']:8.2f} h a seed, {pair['final_episodes']} final episodes"
    yield (
        f"about {plan['hours']:.1f} h in turn and {plan['bytes'] / 2**20:,.0f} MiB (an estimate: expect a factor of "
        "two or three either way)"
    )
    for tasks, effect in plan["detectable"].items():
        yield (
            f"with {plan['seeds']} seeds of {tasks} final episodes, a difference of {effect:.3f} at success "
            f"{claim.baseline:g} is found with probability {claim.power:g}"
        )
    if plan["detectable"] and not spreads.between_seed_std:
        yield "  if runs did not differ between seeds, which they do: --between-seed-std says by how much"
    if not plan["detectable"]:
        yield "with one seed no difference between learners can be shown: one run says nothing of other seeds"


def _heading(claim: Claim, *, with_baseline: bool = True) -> str:
    to = f" to {claim.baseline + claim.effect:g} from {claim.baseline:g}" if with_baseline else ""
    level = f"{claim.alpha:g}" + (f" / {claim.comparisons} comparisons" if claim.comparisons > 1 else "")
    return f"to find {claim.effect:+g}{to} with probability {claim.power:g}, at the two-sided level {level}:"
