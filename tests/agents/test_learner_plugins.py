"""Learners of other packages: a package is installed for real, found by its entry point, listed, trained, resumed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sdar_agents.batch import TurnBatch
from sdar_agents.cli import main
from sdar_agents.commands.train import parse_train
from sdar_agents.config import ConfigError, TrainConfig, from_json, learner_name, preset_config, to_json
from sdar_agents.learners import GRPO, LEARNERS, LossOutput, Needs, TokenScores, learner_class, learner_names
from sdar_agents.learners.plugins import GROUP
from sdar_agents.run_log import read_metrics
from sdar_agents.train import train

MakeConfig = Callable[..., TrainConfig]
README = Path(__file__).parents[2] / "agents" / "README.md"


def example() -> str:
    """The learner that agents/README.md shows."""
    (found,) = re.findall(r"```python\n(# endorsed_only\.py\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Lays a package out as an installer does: its module, and metadata with its entry points."""

    def make(package: str, source: str, **learners: str) -> Path:
        folder = tmp_path / package
        info = folder / f"{package}-1.2.dist-info"
        info.mkdir(parents=True)
        (folder / f"{package}.py").write_text(source, encoding="utf-8")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n", encoding="utf-8")
        lines = "".join(f"{name} = {value}\n" for name, value in learners.items())
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}", encoding="utf-8")
        monkeypatch.syspath_prepend(str(folder))
        # The module of a name may be another one in another test.
        monkeypatch.delitem(sys.modules, package, raising=False)
        return folder

    return make


@pytest.fixture
def endorsed_only(install: Callable[..., Path]) -> Path:
    return install("endorsed_only", example(), endorsed_only="endorsed_only:EndorsedOnly")


def test_the_example_is_of_about_thirty_lines() -> None:
    assert len([line for line in example().splitlines() if line.strip()]) <= 35


@pytest.mark.usefixtures("endorsed_only")
def test_an_installed_learner_is_found_by_name() -> None:
    assert learner_names() == [*LEARNERS, "endorsed_only"]
    kind = learner_class("endorsed_only")
    assert kind.__name__ == "EndorsedOnly"
    assert learner_name(kind()) == "endorsed_only"


def test_nothing_is_imported_until_it_is_asked_for(install: Callable[..., Path]) -> None:
    install("breaks_at_import", "raise RuntimeError('no such card')", broken="breaks_at_import:Rule")
    assert learner_names() == [*LEARNERS, "broken"]
    assert learner_class("sdar") is LEARNERS["sdar"]
    assert "breaks_at_import" not in sys.modules


@pytest.mark.usefixtures("endorsed_only")
def test_an_installed_learner_has_options_and_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    config, _ = parse_train(["--learner", "endorsed_only", "--learner.weight", "0.3", "--learner.rl.clip-low", "0.1"])
    assert (config.learner.weight, config.learner.rl.clip_low) == (0.3, 0.1)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"did you mean '--learner\.weight'"):
        parse_train(["--learner", "endorsed_only", "--learner.wieght", "0.3"])
    with pytest.raises(SystemExit):
        main(["train", "--learner", "endorsed_only", "--help"])
    said = capsys.readouterr().out
    assert "--learner.weight" in said
    assert "Weight of the imitation." in said


@pytest.mark.usefixtures("endorsed_only")
def test_list_shows_installed_learners_with_their_package(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    assert "endorsed_only of endorsed_only 1.2" in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("endorsed_only")
def test_a_config_with_an_installed_learner_survives_its_json_form() -> None:
    config = preset_config("paper-alfworld", "endorsed_only")
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.usefixtures("endorsed_only")
def test_an_installed_learner_trains_and_resumes(number_line_config: MakeConfig, tmp_path: Path) -> None:
    quiet = Console(quiet=True)
    whole = number_line_config("endorsed_only", steps=2, checkpoint_every=1, run=str(tmp_path / "whole"))
    train(whole, console=quiet)
    broken = replace(whole, steps=1, run=str(tmp_path / "broken"))
    train(broken, console=quiet)
    # The command line reads back whose learner it was.
    again, resume = parse_train(["--run", broken.run, "--resume", "--steps", "2"])
    assert (again, resume) == (replace(broken, steps=2), True)
    train(again, resume=True, console=quiet)
    rows = [[r for r in read_metrics(Path(c.run)) if r["kind"] == "train"] for c in (whole, broken)]
    assert [row["endorsed"] for row in rows[0]] == [row["endorsed"] for row in rows[1]]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]
    assert 0.0 < rows[0][0]["endorsed"] < 1.0


def test_a_package_that_pip_installed_trains_a_step(number_line_config: MakeConfig, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "endorsed_only.py").write_text(example(), encoding="utf-8")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "endorsed-only"\nversion = "0.1"\n'
        f'[project.entry-points."{GROUP}"]\nendorsed_only = "endorsed_only:EndorsedOnly"\n'
        '[tool.setuptools]\npy-modules = ["endorsed_only"]\n',
        encoding="utf-8",
    )
    # Not imported: setuptools wants to be there before `distutils` is.
    if find_spec("pip") is None or find_spec("setuptools") is None:
        pytest.skip("needs pip and setuptools")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True, timeout=120)
    config = number_line_config("grpo", steps=1, groups=2, run=str(tmp_path / "run"))
    values = to_json(config)
    values["learner"] = {"name": "endorsed_only", "weight": 0.2}
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"config": values}), encoding="utf-8")
    asked = [sys.executable, "-m", "sdar_agents", "train", "--config", str(file), "--run", config.run]
    path = os.pathsep.join([str(target), *sys.path])
    subprocess.run(asked, check=True, capture_output=True, timeout=120, env={**os.environ, "PYTHONPATH": path})
    written = json.loads((Path(config.run) / "config.json").read_text(encoding="utf-8"))["config"]["learner"]
    assert (written["name"], written["weight"]) == ("endorsed_only", 0.2)
    assert "endorsed" in read_metrics(Path(config.run))[1]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_a_name_that_is_built_in_is_refused_and_marked(
    install: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    install("better_sdar", example(), sdar="better_sdar:EndorsedOnly")
    said = refused(["train", "--learner", "sdar"], capsys)
    assert "learner 'sdar' is built in, and better_sdar 1.2 has one too: rename that or uninstall it" in said
    assert learner_names() == list(LEARNERS)
    assert learner_class("grpo") is GRPO
    main(["list"])
    assert "sdar of better_sdar 1.2 (clashes with the built-in one" in " ".join(capsys.readouterr().out.split())


def test_two_packages_with_one_name_are_refused(install: Callable[..., Path]) -> None:
    install("mine", example(), rule="mine:EndorsedOnly")
    install("yours", example(), rule="yours:EndorsedOnly")
    with pytest.raises(ValueError, match=r"learner 'rule' is in mine 1\.2 and in yours 1\.2: uninstall all but one"):
        learner_class("rule")


NO_DEFAULT = (
    "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Rule:\n"
    "    size: int\n    needs = prepare = loss = None\n"
)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import no_such_module", r"cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'; mend or"),
        ("x = 1", r"cannot be loaded: AttributeError: module 'broken_rule' has no attribute 'Rule'"),
        ("class Rule:\n    needs = prepare = None", "has no 'loss': a learner has needs, prepare, loss"),
        ("class Rule:\n    needs = prepare = loss = None", "is not a frozen dataclass, whose fields"),
        (NO_DEFAULT.replace("(frozen=True)", ""), "is not a frozen dataclass, whose fields"),
        (NO_DEFAULT, "has no default for its option 'size'"),
    ],
)
def test_a_broken_entry_point_is_named_with_its_package(
    source: str, fault: str, install: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    install("broken_rule", source, rule="broken_rule:Rule")
    said = refused(["train", "--learner", "rule"], capsys)
    assert "sdar-gym train: error: learner 'rule' of broken_rule 1.2 (broken_rule:Rule) " in said
    assert re.search(fault, said)
    # Others are not disturbed.
    assert to_json(preset_config("quickstart", "sdar"))["learner"]["name"] == "sdar"


@pytest.mark.usefixtures("endorsed_only")
def test_a_misspelt_installed_learner_is_guessed() -> None:
    with pytest.raises(ValueError, match=r"unknown learner 'endorsed_onyl'; did you mean 'endorsed_only'\?"):
        learner_class("endorsed_onyl")


def test_a_run_whose_package_is_gone_says_what_to_look_for() -> None:
    values: dict[str, Any] = to_json(preset_config("quickstart", "grpo"))
    values["learner"]["name"] = "theirs"
    with pytest.raises(ConfigError, match=r"unknown learner 'theirs'.*entry point of the group sdar_gym\.learners"):
        from_json(values)


@dataclass(frozen=True)
class _Unregistered:
    @property
    def needs(self) -> Needs:
        return Needs()

    def prepare(self, batch: TurnBatch, step: int) -> TurnBatch:
        return batch

    def loss(self, policy: TokenScores, teacher: TokenScores | None, batch: TurnBatch) -> LossOutput:
        raise NotImplementedError


def test_a_learner_without_an_entry_point_cannot_be_written_down() -> None:
    config = replace(preset_config("quickstart", "grpo"), learner=_Unregistered())
    with pytest.raises(ConfigError, match="_Unregistered is no registered learner: give it an entry point"):
        to_json(config)
