from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sdar_gym import Panel, PanelError, UnknownTaskError, load_panel, make_panel
from sdar_gym.envs.number_line import NumberLineEnv

ENV_ID = "sdar_gym/NumberLine-v0"


def test_a_split_is_played_whole_and_each_task_once() -> None:
    env = NumberLineEnv()
    panel = make_panel(env, ENV_ID, "valid")
    assert len(panel) == 18
    assert set(panel.task_ids) == set(env.task_ids("valid"))


def test_fewer_episodes_are_the_first_of_the_same_order() -> None:
    env = NumberLineEnv()
    whole = make_panel(env, ENV_ID, "train")
    part = make_panel(env, ENV_ID, "train", episodes=10)
    assert part.task_ids == whole.task_ids[:10]
    assert (part.name, part.split) == ("train-10", "train")
    assert part.hash != whole.hash


def test_the_order_is_that_of_the_hash_of_the_ids() -> None:
    ids = make_panel(NumberLineEnv(), ENV_ID, "train").task_ids
    digests = [hashlib.sha256(task_id.encode()).hexdigest() for task_id in ids]
    assert digests == sorted(digests)
    assert list(ids) != sorted(ids)


def test_all_of_a_split_by_number_is_the_same_panel() -> None:
    env = NumberLineEnv()
    assert make_panel(env, ENV_ID, "valid", episodes=18).hash == make_panel(env, ENV_ID, "valid").hash


@pytest.mark.parametrize("episodes", [0, -1, 19])
def test_more_episodes_than_tasks_are_refused_with_both_numbers(episodes: int) -> None:
    with pytest.raises(PanelError, match=rf"^{episodes} episodes asked .* has 18 tasks"):
        make_panel(NumberLineEnv(), ENV_ID, "valid", episodes=episodes)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(UnknownTaskError, match="did you mean 'valid'"):
        make_panel(NumberLineEnv(), ENV_ID, "vald")


def test_the_hash_is_over_the_environment_and_the_ids() -> None:
    panel = Panel("a/B-v0", "x", "x", ("t1", "t2"))
    # sha256 of the JSON list of the id of the environment and the task ids.
    assert panel.hash == hashlib.sha256(b'["a/B-v0", "t1", "t2"]').hexdigest()[:16]
    assert Panel("a/B-v1", "x", "x", ("t1", "t2")).hash != panel.hash
    assert Panel("a/B-v0", "x", "x", ("t1", "t3")).hash != panel.hash
    assert Panel("a/B-v0", "other name", "x", ("t1", "t2")).hash == panel.hash


def test_a_panel_with_a_task_twice_or_none_is_refused() -> None:
    with pytest.raises(PanelError, match="more than once"):
        Panel("a/B-v0", "x", "x", ("t1", "t1"))
    with pytest.raises(PanelError, match="no task"):
        Panel("a/B-v0", "x", "x", ())


def test_a_manifest_gives_the_panel_back(tmp_path: Path) -> None:
    panel = make_panel(NumberLineEnv(), ENV_ID, "valid", episodes=5)
    path = tmp_path / "panel.json"
    panel.save(path)
    assert load_panel(path) == panel


def test_a_manifest_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "panel.json"
    make_panel(NumberLineEnv(), ENV_ID, "valid", episodes=5).save(path)
    manifest = json.loads(path.read_text())
    manifest["task_ids"][0] = "valid/0-5"
    path.write_text(json.dumps(manifest))
    with pytest.raises(PanelError, match="was changed: it states hash"):
        load_panel(path)


@pytest.mark.parametrize("content", ["", "not json", "[]", "{}", '{"env_id": "a"}', "\x00"])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "panel.json"
    path.write_text(content)
    with pytest.raises(PanelError, match="is not a panel manifest"):
        load_panel(path)


def test_two_processes_make_the_same_panel(run_python: Callable[..., str]) -> None:
    code = (
        "from sdar_gym import make_panel; from sdar_gym.envs.number_line import NumberLineEnv; "
        f"print(make_panel(NumberLineEnv(), {ENV_ID!r}, 'train', episodes=20).hash)"
    )
    hashes = [run_python(code, hash_seed=hash_seed).strip() for hash_seed in ("1", "2")]
    assert hashes == [make_panel(NumberLineEnv(), ENV_ID, "train", episodes=20).hash] * 2
