"""A household's skill texts as a bank of SKILL.md files; the bundled bank `alfworld_mini` is made by this."""

from __future__ import annotations

import json
from pathlib import Path

from sdar_gym.envs.alfworld.household import Household
from sdar_gym.envs.alfworld.skill_texts import SkillText

FAMILY = "alfworld_mini"
"""The environment family that the skills are filed under."""


def write_skill_bank(household: Household, folder: str | Path) -> list[Path]:
    """Write one folder with a SKILL.md for each skill of the household.

    To make the bundled bank anew after a change of the household's habits or texts, from the root of the repository:
    `write_skill_bank(HOUSEHOLD, "skills/sdar_skills/banks/alfworld_mini")`.

    Args:
        household: Whose habits the skills tell.
        folder: The bank; made if it is absent. Folders of skills that the household does not have are left alone.
    """
    paths = []
    for skill in household.skills():
        path = Path(folder) / skill.id / "SKILL.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(skill_file_text(skill), encoding="utf-8")
        paths.append(path)
    return paths


def skill_file_text(skill: SkillText) -> str:
    """The SKILL.md of a skill: YAML front matter, then the body."""
    # A JSON string is a YAML string, so that no YAML writer is needed here.
    return (
        f"---\nname: {skill.id}\ndescription: {json.dumps(skill.description)}\nlicense: MIT\nmetadata:\n"
        f"  env: {FAMILY}\n  task_type: {skill.task_type}\n  title: {json.dumps(skill.title)}\n"
        f"  keywords: {json.dumps(list(skill.keywords))}\n---\n{skill.body}\n"
    )
