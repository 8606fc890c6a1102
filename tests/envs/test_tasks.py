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


class Written(NumberLineEnv):
    """A number line whose tasks are said to be made from texts that can be changed."""

    def __init__(self, edited: str = "") -> None:
        super().__init__()
        self.edited = edited

    def task_digest(self, task_id: str) -> str:
        return hashlib.sha256(f"{task_id}{'!' if task_id == self.edited else ''}".encode()).hexdigest()


def test_a_panel_states_the_content_of_its_tasks_beside_their_ids(tmp_path: Path) -> None:
    plain, panel = make_panel(NumberLineEnv(), ENV_ID, "valid"), make_panel(Written(), ENV_ID, "valid")
    assert (plain.digests, plain.content) == (None, None)
    assert panel.hash == plain.hash
    digests = [hashlib.sha256(task_id.encode()).hexdigest()[:16] for task_id in panel.task_ids]
    assert panel.digests == tuple(digests)
    assert panel.content == hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]
    panel.save(tmp_path / "panel.json")
    assert load_panel(tmp_path / "panel.json") == panel


def test_a_panel_is_refused_where_a_task_was_changed_or_is_missing() -> None:
    panel = make_panel(Written(), ENV_ID, "valid")
    panel.check(Written())
    second = panel.task_ids[1]
    with pytest.raises(PanelError, match=rf"task '{second}' has digest \w{{16}} here and {panel.digests[1]} in the"):
        panel.check(Written(edited=second))
    missing = Panel(ENV_ID, "x", "valid", (panel.task_ids[0], "valid/none"))
    with pytest.raises(PanelError, match="task 'valid/none' is not among the 18 tasks of split 'valid' here"):
        missing.check(Written())
    with pytest.raises(PanelError, match=f"task '{second}' is not among the 0 tasks of split 'absent' here"):
        Panel(ENV_ID, "x", "absent", (second,)).check(Written())


def test_a_panel_without_digests_is_compared_by_its_ids() -> None:
    make_panel(NumberLineEnv(), ENV_ID, "valid").check(Written(edited="valid/0-1"))


def test_the_first_of_a_panel_keep_their_digests() -> None:
    panel = make_panel(Written(), ENV_ID, "valid")
    first = panel.first(3)
    assert first == make_panel(Written(), ENV_ID, "valid", episodes=3)
    assert (first.name, first.task_ids, first.digests) == ("valid-3", panel.task_ids[:3], (panel.digests or ())[:3])
    with pytest.raises(PanelError, match=r"^19 episodes asked of panel 'valid' .* ask for 1 to 18"):
        panel.first(19)


def test_changed_digests_in_a_manifest_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "panel.json"
    make_panel(Written(), ENV_ID, "valid").save(path)
    manifest = json.loads(path.read_text())
    digests = manifest["digests"]
    for changed in (["0" * 16, *digests[1:]], None):
        path.write_text(json.dumps({**manifest, "digests": changed}))
        with pytest.raises(PanelError, match="was changed: it states content"):
            load_panel(path)
    path.write_text(json.dumps({**manifest, "digests": digests[1:]}))
    with pytest.raises(PanelError, match="18 tasks, but 17 digests"):
        load_panel(path)


def test_a_manifest_from_before_there_were_digests_is_read(tmp_path: Path) -> None:
    path = tmp_path / "panel.json"
    panel = make_panel(NumberLineEnv(), ENV_ID, "valid")
    panel.save(path)
    manifest = json.loads(path.read_text())
    del manifest["content"]
    path.write_text(json.dumps(manifest))
    assert load_panel(path) == panel


def test_two_processes_make_the_same_panel(run_python: Callable[..., str]) -> None:
    code = (
        "from sdar_gym import make_panel; from sdar_gym.envs.number_line import NumberLineEnv; "
        f"print(make_panel(NumberLineEnv(), {ENV_ID!r}, 'train', episodes=20).hash)"
    )
    hashes = [run_python(code, hash_seed=hash_seed).strip() for hash_seed in ("1", "2")]
    assert hashes == [make_panel(NumberLineEnv(), ENV_ID, "train", episodes=20).hash] * 2
