from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from sdar_skills import load_bank

README = Path(__file__).resolve().parents[2] / "skills" / "README.md"


def test_the_snippet_of_the_readme_runs(run_python: Callable[..., str]) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    printed = run_python(snippet)
    assert "'pick-heat-then-place'" in printed
    assert "heat mug 1 with microwave 1" in printed


def test_the_skill_file_of_the_readme_is_valid(tmp_path: Path) -> None:
    (file,) = re.findall(r"```markdown\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    folder = tmp_path / "pick-heat-then-place"
    folder.mkdir()
    (folder / "SKILL.md").write_text(file, encoding="utf-8")
    assert load_bank(tmp_path).ids == ("pick-heat-then-place",)
