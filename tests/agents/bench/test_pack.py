"""A bench as one small file: the same report, the same bytes, and cells of two machines in one folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sdar_agents.bench.file import Bench, read_bench
from sdar_agents.bench.folder import BenchFolderError, claim, read_manifest, state_of
from sdar_agents.bench.pack import pack, reuse, unpack
from sdar_agents.bench.report import Question, make_report
from sdar_agents.bench.results import read_results
from sdar_agents.bench.run import run_bench
from sdar_agents.cli import main
from sdar_agents.run_log import read_metrics

Whole = tuple[Path, Bench]


@pytest.fixture(scope="module")
def packed(whole: Whole, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("packed") / "line.tar.xz"
    assert pack(whole[0], file) == 4
    return file


def test_the_report_of_a_packed_bench_is_that_of_its_folder(whole: Whole, packed: Path) -> None:
    question = Question(metrics=("success", "area"))
    assert make_report(read_results([packed]), question) == make_report(read_results([whole[0]]), question)


def test_a_packed_cell_keeps_numbers_and_hashes_and_neither_weights_nor_texts(
    whole: Whole, packed: Path, tmp_path: Path
) -> None:
    assert len(unpack(packed, tmp_path / "out")) == 4
    cell, origin = (out / "line" / "sdar" / "seed-1" for out in (tmp_path / "out", whole[0]))
    names = {"config.json", "panel.json", "summary.json", "cell.json", "metrics.jsonl", "final_outcomes.json"}
    assert {file.name for file in cell.iterdir()} - {".lock"} == names
    assert (cell / "config.json").read_bytes() == (origin / "config.json").read_bytes()
    for short, whole_row in zip(read_metrics(cell), read_metrics(origin), strict=True):
        if whole_row["kind"] == "eval":
            assert short == whole_row
            continue
        assert short.keys() == whole_row.keys()
        for name, value in whole_row.items():
            assert short[name] == (pytest.approx(value, rel=1e-3) if isinstance(value, float) else value)
    assert packed.stat().st_size < 20_000


def test_the_same_cells_are_the_same_bytes_wherever_they_were_unpacked(packed: Path, tmp_path: Path) -> None:
    unpack(packed, tmp_path / "out")
    pack(tmp_path / "out", tmp_path / "again.tar.xz")
    assert (tmp_path / "again.tar.xz").read_bytes() == packed.read_bytes()


def test_a_bench_goes_on_from_packed_cells(
    whole: Whole, write_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half, out = tmp_path / "half", tmp_path / "out"
    shutil.copytree(whole[0], half)
    shutil.rmtree(half / "line" / "sdar")
    main(["bench", "pack", str(half), str(tmp_path / "half.tar.xz")])
    assert "2 cells in" in capsys.readouterr().out
    missing = [each.name for each in read_results([tmp_path / "half.tar.xz"]).missing]
    assert missing == ["line/sdar/seed-0", "line/sdar/seed-1"]
    main(["bench", "unpack", str(tmp_path / "half.tar.xz"), str(out)])
    assert f"2 cells put into {out}" in capsys.readouterr().out
    taken = (out / "line" / "grpo" / "seed-0" / "cell.json").stat().st_mtime_ns
    endings = run_bench(read_bench(write_file(tmp_path)), out, jobs=1, console=Console(quiet=True))
    assert list(endings.values()) == ["finished"] * 4
    assert (out / "line" / "grpo" / "seed-0" / "cell.json").stat().st_mtime_ns == taken
    outcomes = [{(row.learner, row.seed): row.outcomes for row in read_results([it]).rows} for it in (out, whole[0])]
    assert outcomes[0] == outcomes[1]


def test_cells_of_two_machines_come_together_and_begun_ones_are_replaced(whole: Whole, tmp_path: Path) -> None:
    parts = []
    for learner, other in (("grpo", "sdar"), ("sdar", "grpo")):
        folder = tmp_path / learner
        shutil.copytree(whole[0], folder)
        shutil.rmtree(folder / "line" / other)
        parts.append(tmp_path / f"{learner}.tar.xz")
        pack(folder, parts[-1])
    out = tmp_path / "out"
    assert len(unpack(parts[0], out)) == 2
    begun = out / "line" / "sdar" / "seed-0"
    begun.mkdir(parents=True)
    shutil.copy(whole[0] / "line" / "sdar" / "seed-0" / "config.json", begun)
    (begun / "error.json").write_text("{}", encoding="utf-8")
    assert state_of(begun) == "failed"
    assert {cell.name for cell in unpack(parts[1], out)} == {"line/sdar/seed-0", "line/sdar/seed-1"}
    assert not (begun / "error.json").exists()
    assert len(read_results([out]).rows) == 4
    assert unpack(parts[0], out) == []


def test_a_bench_takes_what_another_has_finished_of_the_same_runs(
    whole: Whole, packed: Path, write_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = ('name = "sdar"\n', 'name = "sdar"\nlabel = "gated"\nkeep_checkpoints = 2\n')
    other = read_bench(write_file(tmp_path, renamed, ("seeds = [0, 1]", "seeds = [1, 7]")))
    for source, name in ((packed, "of_a_file"), (whole[0], "of_a_folder")):
        out = tmp_path / name
        main(
            ["bench", "run", str(tmp_path / "line.toml"), "--out", str(out), "--only", "seed-1", "--reuse", str(source)]
        )
        assert f"2 cells taken from {source}" in capsys.readouterr().err.replace("\n", "")
        rows = {(row.learner, row.seed): row for row in read_results([out]).rows}
        assert rows.keys() == {("grpo", 1), ("gated", 1)}
        origin = {(row.learner, row.seed): row for row in read_results([whole[0]]).rows}
        assert rows["gated", 1].outcomes == origin["sdar", 1].outcomes
        assert rows["gated", 1].provenance == origin["sdar", 1].provenance
        assert [row["cell"] for row in cells_of(out)] == [["line", "gated", 1], ["line", "grpo", 1]]
        assert not list(out.glob("*/*/*/checkpoints"))
        assert reuse(source, out, list(other.cells())) == []


def test_runs_of_other_settings_are_not_taken(whole: Whole, write_file: Callable[..., Path], tmp_path: Path) -> None:
    longer = read_bench(
        write_file(tmp_path, ("weight = 0.3", "weight = 0.4"), ("eval_episodes = 10", "eval_episodes = 9"))
    )
    claim(tmp_path / "out", longer)
    assert reuse(whole[0], tmp_path / "out", list(longer.cells())) == []
    stronger = read_bench(write_file(tmp_path, ("weight = 0.3", "weight = 0.4")))
    claim(tmp_path / "stronger", stronger)
    taken = reuse(whole[0], tmp_path / "stronger", list(stronger.cells()))
    assert {cell.learner for cell in taken} == {"grpo"}


def test_what_cannot_be_reused_is_named_before_anything_runs(
    whole: Whole, write_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, old = write_file(tmp_path), tmp_path / "old"
    shutil.copytree(whole[0], old)
    manifest = json.loads((old / "bench.json").read_text(encoding="utf-8"))
    (old / "bench.json").write_text(json.dumps(manifest | {"version": "0.0.1"}), encoding="utf-8")
    for source, said in ((old, "made by sdar-gym 0.0.1"), (tmp_path / "nowhere", "holds no bench")):
        with pytest.raises(SystemExit):
            main(["bench", "run", str(file), "--out", str(tmp_path / "out"), "--reuse", str(source)])
        assert said in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*/*/*"))


def cells_of(folder: Path) -> list[dict[str, Any]]:
    """What finished cells say of themselves, by name."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*/*/*/cell.json"))]


def test_packed_cells_of_other_settings_are_refused_and_nothing_changes(
    packed: Path, write_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    claim(out, read_bench(write_file(tmp_path, ("steps = 2", "steps = 3"))))
    before = (out / "bench.json").read_bytes()
    with pytest.raises(SystemExit):
        main(["bench", "unpack", str(packed), str(out)])
    assert "steps: 3 -> 2" in capsys.readouterr().err
    assert (out / "bench.json").read_bytes() == before
    assert [path.name for path in out.iterdir()] == ["bench.json"]


@pytest.mark.parametrize("damage", ["cut", "text", "absent"])
def test_a_damaged_file_is_named_with_how_to_write_it_again(
    damage: str, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.tar.xz"
    if damage == "cut":
        file.write_bytes(packed.read_bytes()[:-900])
    elif damage == "text":
        file.write_text("no archive", encoding="utf-8")
    for arguments in (["report", str(file)], ["unpack", str(file), str(tmp_path / "out")]):
        with pytest.raises(SystemExit):
            main(["bench", *arguments])
        said = capsys.readouterr().err
        assert f"sdar-gym bench pack FOLDER {file}" in said
        assert ("no packed bench at" in said) == (damage == "absent")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_packed_is_refused_and_no_file_is_left(whole: Whole, tmp_path: Path) -> None:
    with pytest.raises(BenchFolderError, match=r"ends in \.tar\.xz"):
        pack(whole[0], tmp_path / "line.zip")
    with pytest.raises(BenchFolderError, match="holds no bench"):
        pack(tmp_path, tmp_path / "line.tar.xz")
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(whole[0] / "bench.json", empty)
    with pytest.raises(BenchFolderError, match="no finished cell"):
        pack(empty, tmp_path / "line.tar.xz")
    broken = tmp_path / "broken"
    shutil.copytree(whole[0], broken)
    (broken / "line" / "sdar" / "seed-0" / "final_episodes.jsonl").unlink()
    with pytest.raises(ValueError, match="final_episodes"):
        pack(broken, tmp_path / "line.tar.xz")
    assert not list(tmp_path.glob("*.tar.xz")) + list(tmp_path.glob(".*tar*"))
    assert len(read_manifest(whole[0]).cells) == 4


def test_the_packed_study_in_the_repository_is_of_its_files() -> None:
    study = Path(__file__).parents[3] / "benchmarks" / "study"
    files = sorted(study.glob("*.tar.xz"))
    assert files
    for file in files:
        results = read_results([file])
        listed = {cell.name for cell in read_bench(study / f"{file.name.removesuffix('.tar.xz')}.toml").cells()}
        assert {f"{row.environment}/{row.learner}/seed-{row.seed}" for row in results.rows} <= listed
        assert not [it for it in results.missing if it.state == "unreadable"]
        assert not results.left_out
