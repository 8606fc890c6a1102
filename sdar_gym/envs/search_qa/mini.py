"""`sdar_gym/SearchQAMini-v0`: questions about a generated world, made on demand from its seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sdar_gym.envs.search_qa.answers import MetricName
from sdar_gym.envs.search_qa.corpus import Corpus, MemoryCorpus
from sdar_gym.envs.search_qa.data_folder import load_engine
from sdar_gym.envs.search_qa.env import MAX_TURNS, QuestionEnv
from sdar_gym.envs.search_qa.passages import SearchEngine
from sdar_gym.envs.search_qa.questions import Question
from sdar_gym.envs.search_qa.world.choice_of_words import Words
from sdar_gym.envs.search_qa.world.common_names import CommonNames
from sdar_gym.envs.search_qa.world.generator import DOCUMENTS, World, generate
from sdar_gym.envs.search_qa.world.habits import HABITS, Habits
from sdar_gym.envs.search_qa.world.questions import MOST_SEARCHES, SPLITS


@dataclass(frozen=True, slots=True)
class MiniWorld:
    """A world in the form in which it is played.

    Attributes:
        world: All that there is to know.
        corpus: Its documents.
        questions: Of each split, question id to question.
        queries: Question id to what its oracle searches for.
    """

    world: World
    corpus: Corpus
    questions: Mapping[str, Mapping[str, Question]]
    queries: Mapping[str, Sequence[str]]


def mini_world(
    seed: int = 0,
    documents: int = DOCUMENTS,
    habits_seed: int | None = None,
    words_seed: int | None = None,
    names_seed: int | None = None,
    questions: int | None = None,
) -> MiniWorld:
    """The generated world of a seed, shared by every environment of this process.

    Args:
        seed: Decides the world and its questions.
        documents: How many.
        habits_seed: Other writers; None for those that the bundled skill bank is about.
        words_seed: Writers with other words; None for those of the bundled skill bank.
        names_seed: Names from one small list, drawn by this seed; None for names that no other world has.
        questions: How many; None for as many as documents.
    """
    return _mini_world(seed, documents, habits_seed, words_seed, names_seed, questions)


@lru_cache(maxsize=4)
def _mini_world(
    seed: int,
    documents: int,
    habits_seed: int | None,
    words_seed: int | None,
    names_seed: int | None,
    wanted: int | None,
) -> MiniWorld:
    world = generate(seed, documents, wanted, habits=HABITS if habits_seed is None else Habits.random(habits_seed))
    if words_seed is not None:
        world = Words.random(words_seed).retell(world)
    if names_seed is not None:
        world = CommonNames(names_seed).retell(world)
    questions: dict[str, dict[str, Question]] = {split: {} for split in SPLITS}
    for item in world.items:
        questions[item.split][item.question.id] = item.question
    queries = {item.question.id: item.queries for item in world.items}
    return MiniWorld(world, MemoryCorpus(world.passages), questions, queries)


class SearchQAMiniEnv(QuestionEnv):
    """Questions about a fictional world over its documents; nothing to download, and nothing that a model can know.

    Splits are `train`, `valid` and `test`; what test questions ask about, no other question asks about. Every answer
    follows from the documents that `question.supporting` names, one search each. Settings are those of `QuestionEnv`,
    without `questions`, and these.

    Args:
        world_seed: Another world of the same writers; tasks of two worlds differ.
        documents: How many documents and questions there are, from 100 to 200,000.
        habits_seed: Writers with other habits; None for those that the bundled skill bank is about.
        engine: A name of `engines.ENGINES`, the address of a service that speaks Search-R1's `/retrieve`, or an engine.
        engine_settings: Of the engine, such as its encoder; see `engines.make_engine`.
        words_seed: Writers who use other words for what is asked often; None for those of the bundled skill bank.
        names_seed: Names from one small list, for models that can write only words that they have met before; None for
            names that no other world has.
        max_hops: Only questions that need so many documents at most, from 1 to 3; None for all.
        questions: How many there are before `max_hops` chooses among them; None for as many as documents.
    """

    def __init__(
        self,
        world_seed: int = 0,
        documents: int = DOCUMENTS,
        habits_seed: int | None = None,
        engine: str | SearchEngine = "bm25",
        k: int = 3,
        split: str | None = None,
        reward: MetricName = "exact",
        format_penalty: float = 0.0,
        require_think: bool = False,
        max_turns: int = MAX_TURNS,
        passage_words: int | None = None,
        engine_settings: Mapping[str, Any] | None = None,
        snippets: int | None = None,
        words_seed: int | None = None,
        max_hops: int | None = None,
        names_seed: int | None = None,
        questions: int | None = None,
    ) -> None:
        if max_hops is not None and not 1 <= max_hops <= MOST_SEARCHES:
            raise ValueError(f"max_hops is {max_hops}; questions need from 1 to {MOST_SEARCHES} documents")
        self.mini = mini_world(world_seed, documents, habits_seed, words_seed, names_seed, questions)
        super().__init__(
            _within(self.mini, max_hops or MOST_SEARCHES),
            load_engine(engine, data=None, corpus=self.mini.corpus, settings=engine_settings or {}),
            k,
            split,
            reward,
            format_penalty,
            require_think,
            max_turns,
            passage_words,
            snippets,
        )

    def plan(self, question: Question) -> Sequence[str]:
        """One query for each of the passages that prove the answer, in the order in which they are needed."""
        return self.mini.queries[question.id]


def _within(mini: MiniWorld, hops: int) -> Mapping[str, Mapping[str, Question]]:
    """The questions that need so many documents at most."""
    return {
        split: {name: question for name, question in questions.items() if len(mini.queries[name]) <= hops}
        for split, questions in mini.questions.items()
    }
