"""Checkpoints: whole or absent, verified, kept as asked, and enough to go on exactly."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from sdar_agents import files
from sdar_agents.checkpoint import (
    CheckpointError,
    check_plain,
    checkpoints,
    clear_leftovers,
    latest_checkpoint,
    load_training_state,
    open_checkpoint,
    read_marker,
    save_checkpoint,
)
from sdar_agents.config import ConfigError, TrainConfig, to_json
from sdar_agents.policy import load_policy
from sdar_agents.rollout import play
from sdar_agents.run_log import read_metrics
from sdar_agents.run_state import capture_generators, restore_generators
from sdar_agents.train import train
from sdar_skills.retrievers.base import RetrieverSetup, StatefulRetriever
from sdar_skills.skill import Match, SkillQuery

MakeConfig = Callable[..., TrainConfig]
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def policy(number_line_model: Path) -> tuple[Any, Any]:
    return load_policy(str(number_line_model))


def save(run: Path, step: int, policy: tuple[Any, Any], **changes: Any) -> Any:
    settings: dict[str, Any] = {"training": {"optimizer": {"step": step}}, "keep": 10, "name": "line"}
    model, tokenizer = policy
    return save_checkpoint(run, step=step, model=model, tokenizer=tokenizer, **(settings | changes))


def steps(run: Path) -> list[int]:
    return [each.step for each in checkpoints(run)]


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = (load_file(latest_checkpoint(run).model_folder / "model.safetensors") for run in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def timeless(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in read_metrics(run)]


# ---- what is written -------------------------------------------------------------------------------------


def test_a_checkpoint_says_what_it_is(policy: tuple[Any, Any], tmp_path: Path) -> None:
    saved = save(tmp_path, 3, policy, in_flight=4)
    state = read_marker(saved)
    assert (state["format"], state["step"], state["in_flight"]) == (1, 3, 4)
    assert state["model"]["name"] == "line"
    assert state["model"]["architecture"] == "Qwen3ForCausalLM"
    assert state["model"]["parameters"] == sum(p.numel() for p in policy[0].parameters())
    on_disk = {str(f.relative_to(saved.folder)): f.stat().st_size for f in saved.folder.rglob("*") if f.is_file()}
    on_disk.pop("state.json")
    assert {name: entry["bytes"] for name, entry in state["files"].items()} == on_disk


def test_gathered_weights_are_written_in_the_place_of_the_modules_own(policy: tuple[Any, Any], tmp_path: Path) -> None:
    # Copies, as a gather makes them: the tied embedding is then two tensors.
    gathered = {name: value.detach().clone() + 1.0 for name, value in policy[0].state_dict().items()}
    saved = save(tmp_path, 1, policy, weights=gathered)
    loaded = load_policy(str(saved.model_folder))[0].state_dict()
    assert all(torch.equal(loaded[name], gathered[name]) for name in loaded)


def test_newest_checkpoints_and_every_nth_are_kept(policy: tuple[Any, Any], tmp_path: Path) -> None:
    for step in range(1, 10):
        save(tmp_path, step, policy, keep=2, keep_every=3)
    assert steps(tmp_path) == [3, 6, 8, 9]


def test_a_run_keeps_what_its_settings_say(number_line_config: MakeConfig) -> None:
    config = number_line_config("grpo", steps=5, checkpoint_every=1, keep_checkpoints=1, keep_every=2)
    train(config, console=QUIET)
    assert steps(Path(config.run)) == [2, 4, 5]


@pytest.mark.parametrize("value", [np.float64(1.0), object(), {"a": [1, {2}]}], ids=["numpy", "object", "set"])
def test_a_state_that_could_not_be_read_back_is_refused_at_once(
    value: Any, policy: tuple[Any, Any], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"training\.mine.* may hold tensors"):
        save(tmp_path, 1, policy, training={"mine": value})
    assert not (tmp_path / "checkpoints").exists()


def test_every_plain_state_comes_back(policy: tuple[Any, Any], tmp_path: Path) -> None:
    state = {"generators": capture_generators(), "counts": {("a", "b"): [1, 2.5, None, True, "x"]}}
    check_plain(state)
    saved = save(tmp_path, 1, policy, training=state)
    back = load_training_state(saved)
    assert back["counts"] == state["counts"]
    expected = [(random.random(), np.random.random(), torch.rand(()).item()) for _ in range(3)]
    restore_generators(back["generators"])
    assert [(random.random(), np.random.random(), torch.rand(()).item()) for _ in range(3)] == expected


# ---- whole or absent -------------------------------------------------------------------------------------


def kill_while(moment: str, run: Path, model: Path) -> None:
    """A process that saves step 1, then step 2 (or 1 again) and is killed by SIGKILL at a moment on the way."""
    script = (
        "import os, shutil, signal, sys\nfrom pathlib import Path\n"
        "from sdar_agents import checkpoint, files\nfrom sdar_agents.policy import load_policy\n"
        "model, tokenizer = load_policy(sys.argv[3])\n"
        "def save(step, **more):\n"
        "    checkpoint.save_checkpoint(Path(sys.argv[2]), step=step, model=model, name='line', tokenizer=tokenizer,\n"
        "                               training={'saved': step, **more}, keep=1)\n"
        "save(1)\n"
        "die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "moment = sys.argv[1]\n"
        "if moment == 'writing': checkpoint.torch.save = die\n"
        "if moment == 'before_rename': checkpoint._put_in_place = die\n"
        "if moment == 'dropping': files.shutil.rmtree = die\n"
        "if moment == 'replacing': checkpoint._finish_replacements = lambda p: list(p.glob('*.new')) and die()\n"
        "if moment == 'replaced': checkpoint.remove_tree = lambda f: (files.remove_tree(f), die())\n"
        "save(1 if moment.startswith('repla') else 2, again=True)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, moment, str(run), str(model)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ("writing", {"saved": 1}),
        ("before_rename", {"saved": 1}),
        ("dropping", {"saved": 2, "again": True}),
        ("replacing", {"saved": 1, "again": True}),
        ("replaced", {"saved": 1, "again": True}),
    ],
)
def test_a_kill_at_any_moment_leaves_an_intact_checkpoint(
    moment: str, left: dict[str, Any], number_line_model: Path, policy: tuple[Any, Any], tmp_path: Path
) -> None:
    kill_while(moment, tmp_path, number_line_model)
    assert load_training_state(open_checkpoint(tmp_path)) == left
    clear_leftovers(tmp_path)
    step = left["saved"]
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == [f"step-{step:06d}"]
    assert load_training_state(open_checkpoint(tmp_path)) == left
    save(tmp_path, 3, policy)
    assert steps(tmp_path) == [step, 3]


def test_only_what_dead_processes_left_is_cleared_away(tmp_path: Path) -> None:
    parent = tmp_path / "checkpoints"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    own = parent / files.partial_name("000001")
    of_dead = parent / own.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-")
    elsewhere, old = parent / ".partial-000001-other-host-1-abcd", parent / ".partial-000002-other-host-1-abcd"
    for folder in (own, of_dead, elsewhere, old):
        (folder / "model").mkdir(parents=True)
    hours_ago = time.time() - 2 * files.ABANDONED_SECONDS
    for path in (old, old / "model"):
        os.utime(path, (hours_ago, hours_ago))
    clear_leftovers(tmp_path)
    assert sorted(parent.iterdir()) == sorted([own, elsewhere])


# ---- a full disk -----------------------------------------------------------------------------------------


def test_a_full_disk_is_reported_with_the_numbers_and_the_run_goes_on_later(
    number_line_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = number_line_config("grpo", steps=4, run=str(tmp_path / "whole"))
    train(whole, console=QUIET)
    config = replace(whole, run=str(tmp_path / "full"))
    real_save = torch.save

    def full_at_the_second(value: Any, file: Path) -> None:
        if checkpoints(Path(config.run)):
            file.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real_save(value, file)

    monkeypatch.setattr(torch, "save", full_at_the_second)
    said = r"checkpoint of step 4 .*No space left.*needs about .* MiB and .* MiB are free.*step 2 is intact.*--resume"
    with pytest.raises(CheckpointError, match=said):
        train(config, console=QUIET)
    monkeypatch.undo()
    assert [folder.name for folder in (Path(config.run) / "checkpoints").iterdir()] == ["step-000002"]
    train(config, resume=True, console=QUIET)
    assert same_weights(Path(whole.run), Path(config.run))
    assert timeless(Path(whole.run)) == timeless(Path(config.run))


def test_too_little_room_is_seen_before_writing(
    policy: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save(tmp_path, 1, policy)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    monkeypatch.setattr(policy[0], "save_pretrained", lambda *_: pytest.fail("wrote"), raising=False)
    with pytest.raises(CheckpointError, match=r"not enough room.* 0\.0 MiB are free.*step 1 is intact"):
        save(tmp_path, 2, policy)


def test_a_real_limit_on_what_can_be_written_leaves_the_previous_checkpoint(
    number_line_model: Path, tmp_path: Path
) -> None:
    # A limit on the size of a file makes every kind of writer fail in the middle, as a full disk does.
    script = (
        "import resource, sys\nfrom pathlib import Path\nimport torch\n"
        "from sdar_agents.checkpoint import save_checkpoint\nfrom sdar_agents.policy import load_policy\n"
        "model, tokenizer = load_policy(sys.argv[2])\n"
        "for step, limit in ((1, resource.RLIM_INFINITY), (2, int(sys.argv[3]))):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "    save_checkpoint(Path(sys.argv[1]), step=step, model=model, name='line', tokenizer=tokenizer,\n"
        "                    training={'big': torch.zeros(200_000)}, keep=5)\n"
    )
    # 40 kB stop the weights (80 kB), 400 kB only the optimizer (800 kB).
    for number, limit in enumerate((40_000, 400_000)):
        run = tmp_path / str(number)
        run.mkdir()
        result = subprocess.run(
            [sys.executable, "-c", script, str(run), str(number_line_model), str(limit)],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
        assert "CheckpointError: cannot save the checkpoint of step 2" in result.stderr
        assert [folder.name for folder in (run / "checkpoints").iterdir()] == ["step-000001"]
        assert open_checkpoint(run).step == 1


# ---- what cannot be used ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["training.pt", "model/model.safetensors", "model/config.json"])
@pytest.mark.parametrize("harm", ["shortened", "changed", "missing"])
def test_a_damaged_file_is_named_with_the_checkpoint_to_go_on_from(
    name: str, harm: str, policy: tuple[Any, Any], tmp_path: Path
) -> None:
    save(tmp_path, 1, policy)
    file = save(tmp_path, 2, policy).folder / name
    content = file.read_bytes()
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-1] if harm == "shortened" else content[:50] + b"\xff\xfe" + content[52:])
    with pytest.raises(CheckpointError, match=rf"{file.name} .*delete that folder .* from step 1, which is intact"):
        open_checkpoint(tmp_path)
    assert open_checkpoint(tmp_path, 1).step == 1


def test_a_damaged_marker_is_named(policy: tuple[Any, Any], tmp_path: Path) -> None:
    saved = save(tmp_path, 2, policy)
    (saved.folder / "state.json").write_text('{"format": 1, "st', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"state\.json is damaged .*no other checkpoint is intact"):
        open_checkpoint(tmp_path)


def test_bytes_changed_in_a_large_file_are_found_at_its_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(files, "BLOCK_BYTES", 100)
    file = tmp_path / "large"
    content = bytes(range(256)) * 40
    sums = set()
    for where in (None, 0, 50, len(content) - 1):
        changed = bytearray(content)
        if where is not None:
            changed[where] ^= 1
        file.write_bytes(changed)
        sums.add(files.checksum(file))
    assert len(sums) == 4


@pytest.mark.parametrize(
    ("version", "meant"), [(2, r"sdar-gym 9\.9\.9 .*upgrade sdar-gym"), (0, "development version")]
)
def test_a_checkpoint_of_another_format_is_refused(
    version: int, meant: str, policy: tuple[Any, Any], tmp_path: Path
) -> None:
    marker = save(tmp_path, 1, policy).folder / "state.json"
    state = json.loads(marker.read_text(encoding="utf-8"))
    marker.write_text(json.dumps({**state, "format": version, "version": "9.9.9"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=meant):
        open_checkpoint(tmp_path)


def test_a_checkpoint_of_another_model_is_refused_with_both_names(
    number_line_config: MakeConfig, tmp_path: Path
) -> None:
    config = number_line_config("grpo", steps=1, run=str(tmp_path / "line"))
    train(config, console=QUIET)
    other = replace(config, model="tiny", run=str(tmp_path / "tiny"))
    train(other, console=QUIET)
    shutil.rmtree(tmp_path / "line" / "checkpoints")
    (tmp_path / "tiny" / "checkpoints").rename(tmp_path / "line" / "checkpoints")
    with pytest.raises(CheckpointError, match=r"holds the model 'tiny' \(Qwen3.*this run trains '.*model"):
        train(replace(config, steps=2), resume=True, console=QUIET)


def test_a_step_that_was_not_saved_is_answered_with_those_that_were(policy: tuple[Any, Any], tmp_path: Path) -> None:
    save(tmp_path, 1, policy)
    save(tmp_path, 4, policy)
    with pytest.raises(CheckpointError, match="no checkpoint of step 3; there are: 1, 4"):
        open_checkpoint(tmp_path, 3)


# ---- going on exactly ------------------------------------------------------------------------------------


@dataclass
class Counting:
    """A retriever with a state, which also draws from every global generator there is: the worst third party."""

    bank: Any
    seen: list[int] = field(default_factory=list)

    @classmethod
    def from_setup(cls, setup: RetrieverSetup) -> Self:
        return cls(setup.bank)

    def retrieve(self, query: SkillQuery, k: int) -> list[Match]:
        draws = (random.random(), float(np.random.random()), float(torch.rand(())))
        self.seen.append(int(1000 * sum(draws)))
        skills = sorted(self.bank.for_env(query.env), key=lambda skill: skill.id)
        return [Match(skills[sum(self.seen) % len(skills)], 1.0)]

    def state_dict(self) -> dict[str, Any]:
        return {"seen": list(self.seen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = list(state["seen"])


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> str:
    module = ModuleType("counting_retriever")
    module.Counting = Counting  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "counting_retriever", module)
    return "counting_retriever:Counting"


def seed_generators() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def test_a_retriever_with_state_and_every_generator_resume_exactly(
    counting: str, number_line_config: MakeConfig, tmp_path: Path
) -> None:
    assert isinstance(Counting(None), StatefulRetriever)
    settings = {"steps": 4, "groups": 8, "retriever": counting, "checkpoint_every": 1}
    whole = number_line_config("sdar", run=str(tmp_path / "whole"), **settings)
    seed_generators()
    train(whole, console=QUIET)
    broken = replace(whole, steps=2, run=str(tmp_path / "broken"))
    seed_generators()
    train(broken, console=QUIET)
    torch.manual_seed(99)
    train(replace(broken, steps=4), resume=True, console=QUIET)
    assert timeless(Path(whole.run)) == timeless(Path(broken.run))
    assert same_weights(Path(whole.run), Path(broken.run))
    ours, theirs = (load_training_state(latest_checkpoint(Path(c.run)))["moving"] for c in (whole, broken))
    assert ours["retriever"] == theirs["retriever"]
    assert len(ours["retriever"]["seen"]) == 16


def test_a_step_that_failed_while_playing_leaves_no_trace_in_the_state(
    counting: str, number_line_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = {"steps": 3, "groups": 8, "retriever": counting, "checkpoint_every": 1, "keep_checkpoints": 3}
    whole = number_line_config("sdar", run=str(tmp_path / "whole"), **settings)
    seed_generators()
    train(whole, console=QUIET)
    broken = replace(whole, run=str(tmp_path / "broken"))

    def play_then_fail(*arguments: Any, **named: Any) -> Any:
        episodes = play(*arguments, **named)
        if named["seed"].endswith("/train/2"):
            raise ValueError("a corrupt game")
        return episodes

    monkeypatch.setattr("sdar_agents.train.play", play_then_fail)
    seed_generators()
    with pytest.raises(ValueError, match="a corrupt game"):
        train(broken, console=QUIET)
    monkeypatch.setattr("sdar_agents.train.play", play)
    saved = latest_checkpoint(Path(broken.run))
    assert read_marker(saved)["in_flight"] == 3
    ours, theirs = (load_training_state(each)["moving"] for each in (saved, open_checkpoint(Path(whole.run), 2)))
    assert (ours["retriever"], ours["context"]) == (theirs["retriever"], theirs["context"])
    train(broken, resume=True, console=QUIET)
    assert timeless(Path(whole.run)) == timeless(Path(broken.run))
    assert same_weights(Path(whole.run), Path(broken.run))


def test_dropped_skills_are_not_counted_again_after_a_resume(number_line_config: MakeConfig, tmp_path: Path) -> None:
    # Two skills are asked for and one fits.
    settings = {"retriever": "uniform", "skills_per_task": 2, "max_skill_tokens": 5, "groups": 30, "group_size": 2}
    whole = number_line_config("sdar", steps=4, run=str(tmp_path / "whole"), **settings)
    train(whole, console=QUIET)
    broken = replace(whole, steps=2, run=str(tmp_path / "broken"))
    train(broken, console=QUIET)
    train(replace(broken, steps=4), resume=True, console=QUIET)
    assert timeless(Path(whole.run)) == timeless(Path(broken.run))
    assert timeless(Path(whole.run))[-2]["skills_dropped"] > 0


def test_settings_that_decide_nothing_may_change_on_resume(number_line_config: MakeConfig) -> None:
    config = number_line_config("grpo", steps=1)
    train(config, console=QUIET)
    other = replace(config, steps=2, keep_checkpoints=5, checkpoint_every=1, microbatch_tokens=4000)
    assert train(other, resume=True, console=QUIET)["finished"]
    with pytest.raises(ConfigError, match="seed: 0 -> 1"):
        train(replace(other, seed=1), resume=True, console=QUIET)


SLOW_WRITER = (
    "import json, sys, time\nfrom sdar_agents import checkpoint\nfrom sdar_agents.config import from_json\n"
    "from sdar_agents.train import train\n"
    "write = checkpoint._write_marker\n"
    # Signals the parent in the middle of writing, where a kill is worst.
    "def slowly(partial, **named):\n"
    "    if named['step'] == int(sys.argv[2]): print('WRITING', flush=True); time.sleep(60)\n"
    "    write(partial, **named)\n"
    "checkpoint._write_marker = slowly\n"
    "train(from_json(json.loads(sys.argv[1])))\n"
)


@pytest.mark.parametrize("learner", ["sdar"])
@pytest.mark.parametrize("moment", ["in_a_step", "while_saving"])
def test_a_killed_run_ends_where_an_unbroken_one_does(
    moment: str, learner: str, number_line_config: MakeConfig, tmp_path: Path
) -> None:
    whole = number_line_config(learner, steps=6, teacher="ema", run=str(tmp_path / "whole"))
    train(whole, console=QUIET)
    killed = replace(whole, run=str(tmp_path / "killed"))
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, json.dumps(to_json(killed)), "4" if moment == "while_saving" else "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        if moment == "while_saving":
            assert child.stdout is not None
            assert child.stdout.readline() == "WRITING\n"
        else:
            deadline = time.monotonic() + 120
            # After the first checkpoint, at whatever instant the next line happens to be written.
            while not (Path(killed.run) / "metrics.jsonl").exists() or len(read_metrics(Path(killed.run))) < 5:
                assert time.monotonic() < deadline
                time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
    assert open_checkpoint(Path(killed.run)).step == 2
    train(killed, resume=True, console=QUIET)
    assert same_weights(Path(whole.run), Path(killed.run))
    assert timeless(Path(whole.run)) == timeless(Path(killed.run))
    assert not list((Path(killed.run) / "checkpoints").glob(".partial-*"))
