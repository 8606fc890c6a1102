"""The documents tell the truth: their Python runs, their commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sdar_agents.cli import COMMANDS
from sdar_agents.commands.train import parse_train

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    "docs/alfworld.md",
    "docs/webshop.md",
    "docs/textworld.md",
    "docs/search_qa.md",
    "docs/search_engines.md",
    "docs/scaling.md",
    "docs/backends.md",
    "docs/running.md",
    "docs/bench.md",
    "docs/evaluation.md",
    "agents/README.md",
    "skills/README.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
)


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_readmes_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("README.md", "python")
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip().endswith("1.0")


def test_the_python_of_the_alfworld_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for code in blocks("docs/alfworld.md", "python"):
        exec(compile(code, "docs/alfworld.md", "exec"), {})
        printed.append(capsys.readouterr().out.strip())
    assert len(printed) == 2
    assert printed[0].endswith("True")
    assert printed[1] == "24"


def test_the_python_of_the_webshop_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("docs/webshop.md", "python")
    exec(compile(code, "docs/webshop.md", "exec"), {})
    clickables, outcome = capsys.readouterr().out.strip().splitlines()
    assert "next >" in clickables
    assert outcome == "1.0 True 1.0"


def test_the_python_of_the_search_qa_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("docs/search_qa.md", "python")
    exec(compile(code, "docs/search_qa.md", "exec"), {})
    found, outcome = capsys.readouterr().out.strip().splitlines()
    assert found == "<information>Doc 1(Title: Osk) The Osk is a river that ends in the Marl Sea.</information>"
    assert outcome == "1.0 {'em': 1.0, 'f1': 1.0, 'contains': 1.0}"


def test_the_python_of_the_search_engines_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("docs/search_engines.md", "python")
    exec(compile(code, "docs/search_engines.md", "exec"), {})
    assert capsys.readouterr().out.strip() == "Mole"


def commands() -> list[tuple[str, list[str]]]:
    found = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.split("&&"):
                    words = shlex.split(part.partition("#")[0])
                    if words[:1] == ["sdar-gym"]:
                        found.append((page, words[1:]))
    return found


@pytest.mark.parametrize(("page", "words"), commands())
def test_every_command_in_the_documents_exists(page: str, words: list[str]) -> None:
    assert words[0] in COMMANDS
    if words[0] == "train":
        parse_train([word for word in words[1:] if word != "--resume"])


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"


def test_the_readme_names_one_line_to_learn_and_one_to_test() -> None:
    lines = [line for block in blocks("README.md", "bash") for line in block.splitlines() if "pip install" in line]
    assert len(lines) == 2
    assert lines[0].endswith("sdar-gym quickstart")
    assert lines[1].endswith("python -m pytest")
