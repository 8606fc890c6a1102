"""The guide to one's own skills runs as it stands, in an empty folder, and says at its end what it promised."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "own_skills.md"


@pytest.mark.slow
def test_the_guide_runs_top_to_bottom(tmp_path: Path) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    found = re.findall(r"^```(bash|python)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in found] == ["bash", "python", "bash", "bash", "bash", "bash"]
    script = "".join(
        code if kind == "bash" else f"cat > {code.splitlines()[0].removeprefix('# ')} <<'PYTHON'\n{code}PYTHON\n"
        for kind, code in found
    )
    # The command of this very environment, whatever else is installed; a guide's own path stays in front.
    paths = os.pathsep.join(path for path in sys.path if path)
    script = script.replace("export PYTHONPATH=.", 'export PYTHONPATH=".:$PYTHONPATH"')
    command = f'sdar-gym() {{ "{sys.executable}" -m sdar_agents "$@"; }}\n'
    settings = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command + script],
        cwd=tmp_path,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "7 skills" in ran.stdout
    assert "retrieved:my_retriever:SharedWords" in ran.stdout
    assert "warm-it" in (tmp_path / "probe.html").read_text(encoding="utf-8")
    assert (tmp_path / "lift.html").is_file()
    assert (tmp_path / "lift" / "oracle.jsonl").is_file()
