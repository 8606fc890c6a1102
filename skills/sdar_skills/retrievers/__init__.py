"""The registry of retrievers: one line each, imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from sdar_skills.bank import SkillBank
from sdar_skills.embedders import Embedder
from sdar_skills.retrievers.base import BuildsRetriever, Retriever, RetrieverSetup
from sdar_skills.spelling import unknown_name

__all__ = ["RETRIEVERS", "Retriever", "RetrieverSetup", "make_retriever"]

RETRIEVERS: dict[str, str] = {
    "dense": "sdar_skills.retrievers.dense:DenseRetriever",
    "full": "sdar_skills.retrievers.full:FullRetriever",
    "none": "sdar_skills.retrievers.none:NoneRetriever",
    "task_type": "sdar_skills.retrievers.task_type:TaskTypeRetriever",
    "uniform": "sdar_skills.retrievers.uniform:UniformRetriever",
}
"""Name -> "module:Class"; the class has a classmethod `from_setup(RetrieverSetup)`."""


def make_retriever(name: str, bank: SkillBank, *, seed: int = 0, embedder: str | Embedder = "minilm") -> Retriever:
    """Make a retriever over a bank.

    Args:
        name: A name of `RETRIEVERS`, or "module:Class" of your own.
        bank: Where the skills are.
        seed: For retrievers that draw.
        embedder: For retrievers that embed: a name for `make_embedder`, or an embedder.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in RETRIEVERS and ":" not in name:
        raise ValueError(unknown_name("retriever", name, RETRIEVERS))
    module, _, class_name = RETRIEVERS.get(name, name).partition(":")
    retriever_class = cast(type[BuildsRetriever], getattr(import_module(module), class_name))
    return retriever_class.from_setup(RetrieverSetup(bank=bank, seed=seed, embedder=embedder))
