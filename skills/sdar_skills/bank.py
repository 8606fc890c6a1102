"""A bank of skills: folders of SKILL.md files, checked in full when they are loaded."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from sdar_skills.skill import Skill
from sdar_skills.spelling import unknown_name

try:
    import yaml
except ModuleNotFoundError as error:
    raise ImportError("skill banks need PyYAML; install it with pip install 'sdar-gym[skills]'") from error

SKILL_FILE = "SKILL.md"
MAX_NAME_CHARACTERS = 64
MAX_DESCRIPTION_CHARACTERS = 1024
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FRONT_MATTER = re.compile(r"---[ \t]*\n(?P<header>.*?\n)---[ \t]*(?:\n(?P<body>.*))?", re.DOTALL)
_TOP_KEYS = frozenset({"name", "description", "license", "metadata"})
_METADATA_KEYS = frozenset({"env", "task_type", "title", "keywords"})


class SkillBankError(ValueError):
    """A bank or one of its SKILL.md files is not in order; the text names the file and the fix."""


@dataclass(frozen=True)
class SkillBank:
    """Skills by id, in an order that does not depend on the file system.

    Attributes:
        skills: Sorted by id, whatever order they were given in.

    Raises:
        SkillBankError: no skill, or two skills with one id.
    """

    skills: tuple[Skill, ...]

    def __post_init__(self) -> None:
        if not self.skills:
            raise SkillBankError("a skill bank needs at least one skill")
        repeated = sorted(id for id, count in Counter(skill.id for skill in self.skills).items() if count > 1)
        if repeated:
            raise SkillBankError(f"duplicate skill ids {repeated}; rename all but one of each")
        object.__setattr__(self, "skills", tuple(sorted(self.skills, key=lambda skill: skill.id)))

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all skills, sorted."""
        return tuple(skill.id for skill in self.skills)

    @property
    def envs(self) -> tuple[str, ...]:
        """The environment families that have skills, sorted."""
        return tuple(sorted({skill.env for skill in self.skills}))

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of everything that the skills say: equal banks have equal hashes on every machine."""
        content = json.dumps([asdict(skill) for skill in self.skills], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(content.encode("ascii")).hexdigest()

    @cached_property
    def _by_id(self) -> Mapping[str, Skill]:
        return {skill.id: skill for skill in self.skills}

    @cached_property
    def _by_env(self) -> Mapping[str, tuple[Skill, ...]]:
        return {env: tuple(skill for skill in self.skills if skill.env == env) for env in self.envs}

    def for_env(self, env: str) -> tuple[Skill, ...]:
        """The skills of one environment family, by id.

        Raises:
            SkillBankError: the bank has none.
        """
        if env not in self._by_env:
            raise SkillBankError(f"this skill bank has no skill for it: {unknown_name('env', env, self.envs)}")
        return self._by_env[env]

    def __getitem__(self, id: str) -> Skill:
        if id not in self._by_id:
            raise KeyError(unknown_name("skill", id, self.ids))
        return self._by_id[id]

    def __len__(self) -> int:
        return len(self.skills)

    def __iter__(self) -> Iterator[Skill]:
        return iter(self.skills)


def bundled_banks() -> tuple[str, ...]:
    """The names of the banks that ship with this package."""
    return tuple(sorted(folder.name for folder in _folders(files("sdar_skills").joinpath("banks"))))


def load_bank(path_or_name: str | Path) -> SkillBank:
    """Load a folder of `<id>/SKILL.md`, or a bundled bank by its name.

    A plain word that names a bundled bank means that bank; write `./word` for a folder of that name.

    Raises:
        SkillBankError: no such folder or bundled bank, or a SKILL.md that is not in order.
    """
    if isinstance(path_or_name, str) and path_or_name in bundled_banks():
        return _read_bank(files("sdar_skills").joinpath("banks", path_or_name))
    folder = Path(path_or_name).expanduser()
    if not folder.is_dir():
        raise SkillBankError(
            f"no folder {str(folder)!r}, and it names no bundled bank: "
            f"{unknown_name('bank', str(path_or_name), bundled_banks())}"
        )
    return _read_bank(folder)


def _read_bank(folder: Traversable) -> SkillBank:
    if folder.joinpath(SKILL_FILE).is_file():
        raise SkillBankError(f"{folder} is one skill, not a bank; load the folder that contains it")
    skills = tuple(read_skill(skill_folder) for skill_folder in _folders(folder))
    if not skills:
        raise SkillBankError(f"{folder} is an empty bank; add a folder <id>/{SKILL_FILE}")
    return SkillBank(skills)


def _folders(parent: Traversable) -> list[Traversable]:
    # Hidden folders and __pycache__ come from tools, never from the author of a bank.
    return sorted(
        (child for child in parent.iterdir() if child.is_dir() and child.name[0] not in "._"),
        key=lambda child: child.name,
    )


def read_skill(folder: Traversable) -> Skill:
    """Read `<folder>/SKILL.md` and check every field.

    Raises:
        SkillBankError: the file is absent or not in order.
    """
    file = folder.joinpath(SKILL_FILE)
    if not file.is_file():
        raise SkillBankError(f"{file}: absent; every folder of a bank is a skill and holds a {SKILL_FILE}")
    header, body = _split(file)
    _check_keys(file, "the front matter", header, _TOP_KEYS)
    metadata = header["metadata"]
    if not isinstance(metadata, dict):
        raise SkillBankError(f"{file}: metadata must be a mapping with the keys {sorted(_METADATA_KEYS)}")
    _check_keys(file, "metadata", metadata, _METADATA_KEYS)
    _text(file, header, "license")
    return Skill(
        id=_name(file, header, folder.name),
        env=_text(file, metadata, "env"),
        task_type=_text(file, metadata, "task_type"),
        title=_text(file, metadata, "title"),
        description=_text(file, header, "description", MAX_DESCRIPTION_CHARACTERS),
        body=body,
        keywords=_keywords(file, metadata["keywords"]),
    )


def _split(file: Traversable) -> tuple[dict[str, Any], str]:
    """The front matter as a mapping, and the stripped body."""
    try:
        # A byte-order mark and Windows line ends are an editor's doing: they change neither content nor hash.
        text = file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise SkillBankError(f"{file}: not UTF-8 ({error}); save it as UTF-8") from error
    match = _FRONT_MATTER.fullmatch(text)
    if match is None:
        raise SkillBankError(f"{file}: no front matter; begin with a line '---', YAML, and a line '---'")
    try:
        header = yaml.safe_load(match["header"])
    except yaml.YAMLError as error:
        raise SkillBankError(
            f"{file}: the front matter is not YAML (quote text that contains ': '): {error}"
        ) from error
    if not isinstance(header, dict):
        raise SkillBankError(f"{file}: the front matter must be 'key: value' lines")
    body = (match["body"] or "").strip()
    if not body:
        raise SkillBankError(f"{file}: the body is empty; write the skill's text below the front matter")
    return header, body


def _check_keys(file: Traversable, where: str, given: Mapping[str, Any], wanted: frozenset[str]) -> None:
    if missing := sorted(wanted - given.keys()):
        raise SkillBankError(f"{file}: {where} lacks {missing}; add the key")
    for key in sorted(given.keys() - wanted, key=str):
        raise SkillBankError(f"{file}: {unknown_name(f'key in {where}', str(key), wanted)} Remove or rename it.")


def _text(file: Traversable, values: Mapping[str, Any], key: str, max_characters: int | None = None) -> str:
    value = values[key]
    if not isinstance(value, str) or not value.strip():
        raise SkillBankError(f"{file}: {key} must be text, not {value!r}; put it in quotes")
    if max_characters is not None and len(value) > max_characters:
        raise SkillBankError(f"{file}: {key} has {len(value)} characters; at most {max_characters} are allowed")
    return value.strip()


def _name(file: Traversable, header: Mapping[str, Any], folder_name: str) -> str:
    name = _text(file, header, "name", MAX_NAME_CHARACTERS)
    if not _NAME.fullmatch(name):
        raise SkillBankError(f"{file}: name {name!r} must be words of a-z and 0-9 joined by single hyphens")
    if name != folder_name:
        raise SkillBankError(f"{file}: name {name!r} differs from its folder {folder_name!r}; make them equal")
    return name


def _keywords(file: Traversable, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) and word.strip() for word in value):
        raise SkillBankError(
            f"{file}: keywords must be a list of words such as [heat, 'on'], not {value!r}; quote on, yes and numbers"
        )
    return tuple(word.strip() for word in value)
