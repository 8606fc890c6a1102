"""The built wheel holds every file of the packages: pages need their styles and scripts, environments their data."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

wheel = pytest.importorskip("hatchling.builders.wheel", reason="no hatchling: python -m pip install hatchling")

ROOT = Path(__file__).resolve().parent.parent


def test_the_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    (built,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(built) as archive:
        held = set(archive.namelist())
    for folder in ("sdar_gym", "skills/sdar_skills", "agents/sdar_agents"):
        package = ROOT / folder
        wanted = {
            file.relative_to(package.parent).as_posix()
            for file in package.rglob("*")
            if file.is_file() and "__pycache__" not in file.parts and file.suffix not in (".pyc", ".pyo")
        }
        assert wanted - held == set()
    assert {"sdar_agents/episode_page.css", "sdar_agents/episode_page.js"} <= held
