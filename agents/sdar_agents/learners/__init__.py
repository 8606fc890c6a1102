"""Learners: one file each, and the table of contents."""

from __future__ import annotations

from sdar_agents.learners.adrs import ADRS
from sdar_agents.learners.agent_opsd import AgentOPSD
from sdar_agents.learners.atod import ATOD
from sdar_agents.learners.base import Learner, LossOutput, Needs, TokenScores
from sdar_agents.learners.bcsd import BCSD
from sdar_agents.learners.craft import CRAFT
from sdar_agents.learners.gigpo import GiGPO
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.grpo_opsd import GRPOOPSD
from sdar_agents.learners.grsd import GRSD
from sdar_agents.learners.opid import OPID
from sdar_agents.learners.opsd import OPSD
from sdar_agents.learners.plugins import plugin_named, plugin_names, unknown_learner
from sdar_agents.learners.rlsd import RLSD
from sdar_agents.learners.sdar import SDAR
from sdar_agents.learners.skill0 import Skill0
from sdar_agents.learners.skill_grpo import SkillGRPO
from sdar_agents.learners.skill_sd import SkillSD
from sdar_agents.learners.ucob import UCOB
from sdar_agents.learners.verified_imitation import VerifiedImitation

LEARNERS: dict[str, type[Learner]] = {
    "grpo": GRPO,
    "gigpo": GiGPO,
    "opsd": OPSD,
    "grpo_opsd": GRPOOPSD,
    "skill_grpo": SkillGRPO,
    "skill_sd": SkillSD,
    "rlsd": RLSD,
    "sdar": SDAR,
    "agent_opsd": AgentOPSD,
    "grsd": GRSD,
    "adrs": ADRS,
    "atod": ATOD,
    "bcsd": BCSD,
    "opid": OPID,
    "ucob": UCOB,
    "craft": CRAFT,
    "skill0": Skill0,
    "verified_imitation": VerifiedImitation,
}
"""Name on the command line -> frozen dataclass of hyper-parameters with a loss."""


def learner_names() -> list[str]:
    """Every learner that can be asked for: the built-in ones, then those of installed packages."""
    return [*LEARNERS, *plugin_names(LEARNERS)]


def learner_class(name: str) -> type[Learner]:
    """The learner called `name`, built in or of an installed package.

    Raises:
        ValueError: no such learner, a broken one, or two of one name; the message says which, and lists the known ones.
    """
    plugin = plugin_named(name, LEARNERS)
    if plugin is not None:
        return plugin.load()
    if name not in LEARNERS:
        raise ValueError(unknown_learner(name, LEARNERS))
    return LEARNERS[name]


__all__ = [
    "ADRS",
    "ATOD",
    "BCSD",
    "CRAFT",
    "GRPO",
    "GRPOOPSD",
    "GRSD",
    "LEARNERS",
    "OPID",
    "OPSD",
    "RLSD",
    "SDAR",
    "UCOB",
    "AgentOPSD",
    "GiGPO",
    "Learner",
    "LossOutput",
    "Needs",
    "Skill0",
    "SkillGRPO",
    "SkillSD",
    "TokenScores",
    "VerifiedImitation",
    "learner_class",
    "learner_names",
]
