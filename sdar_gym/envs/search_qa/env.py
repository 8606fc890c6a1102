"""`sdar_gym/SearchQA-v0`: the published question sets. `QuestionEnv` plays any questions over any engine."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
from gymnasium.error import ResetNeeded

from sdar_gym.envs.search_qa import protocol
from sdar_gym.envs.search_qa.answers import METRICS, MetricName, score
from sdar_gym.envs.search_qa.corpus import Corpus
from sdar_gym.envs.search_qa.data_folder import describe, is_service, load_engine, load_questions
from sdar_gym.envs.search_qa.engines.batching import Batched
from sdar_gym.envs.search_qa.oracle import next_action, queries
from sdar_gym.envs.search_qa.passages import RetrieverUnavailableError, SearchEngine
from sdar_gym.envs.search_qa.protocol import Response
from sdar_gym.envs.search_qa.questions import Question
from sdar_gym.envs.search_qa.snippets import with_snippets
from sdar_gym.errors import unknown
from sdar_gym.text_env import TextEnv, TurnInfo, UnknownTaskError

MAX_TURNS = 4
"""As the paper plays it."""
MAX_PASSAGE_WORDS = 300
"""Search-R1's passages have 100; of HotpotQA's and MuSiQue's paragraphs more than 99 in 100 are shorter than this."""


@dataclass(frozen=True, slots=True)
class State:
    """An episode at some turn.

    Attributes:
        turns: How many there were.
        asked: The queries that the engine answered, in order.
        answer: What was answered; None while nothing was.
        is_over: Whether nothing more can be done.
    """

    turns: int = 0
    asked: tuple[str, ...] = ()
    answer: str | None = None
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An episode at some turn, and which question it is about."""

    task_id: str
    state: State


class QuestionEnv(TextEnv):
    """Answering questions by searching, in the protocol of Search-R1 (arXiv 2503.09516); see `protocol.read`.

    An action is an agent's whole response. A search is answered with the best passages between `<information>` tags; an
    answer ends the episode, and its turn carries the reward: how right it is, by `reward`. A response that asks for
    nothing costs its turn and is told what is wrong with it. On the last turn nothing is searched for any more: what is
    no answer then ends the episode `truncated`. Task ids are `<split>/<question id>`.

    Beside the keys of `TurnInfo`, `info` holds `source` (the question set), `searches` (how many were answered),
    `action` (what was read in the response, without its thoughts), `failure` (why the response is not of the protocol,
    or None) and, when the episode is over, `metrics`: `em`, `f1` and `contains`. `info["score"]` is the one of them
    that rewards; `info["success"]` is always the exact match, which the paper reports.

    A search service that does not answer (`RetrieverUnavailableError`, after its own retries) says nothing about the
    agent. The episode then ends `truncated`, with `info["failure"]` `retriever_unavailable`, no `metrics`, and the
    reason in `info["interrupted"]`. That key is for whoever plays: `sdar_agents.rollout.play` treats such an episode
    like that of a crashed environment: it is played afresh once, then left out with its group, and never learned from
    or counted as a failure. An exception from `step` would have the same effect there, but would end the loops of
    those who step the environment themselves.

    Args:
        questions: Of each split, in order, question id to question. Seeds draw from the first split unless `split`
            names another.
        engine: What searches; shared with others. Where it is `Batched`, episodes play in threads, so that what they
            search for at a time is one call.
        k: Passages a search.
        split: The split that seeds draw from.
        reward: What an answer is rewarded by: "exact", "f1" or "contains".
        format_penalty: Taken off the reward of each turn whose response is not of the protocol, not negative.
        require_think: Whether a response without `<think>...</think>` is not of the protocol.
        max_turns: Turns of an episode, at least 1.
        passage_words: Passages are shown up to so many words, so that one long text does not fill the prompt; None for
            all of them.
        snippets: Of a passage, at most so many sentences are shown, those that fit the query best; None for all. For
            small models: what is searched for has to be right.

    Raises:
        ValueError: a setting out of its range.
        UnknownTaskError: there is no such split, or a split has no question.
    """

    _split_hint: ClassVar[str] = ""
    """What to do about a split that is not there, said after those that are."""

    def __init__(
        self,
        questions: Mapping[str, Mapping[str, Question]],
        engine: SearchEngine,
        k: int = 3,
        split: str | None = None,
        reward: MetricName = "exact",
        format_penalty: float = 0.0,
        require_think: bool = False,
        max_turns: int = MAX_TURNS,
        passage_words: int | None = MAX_PASSAGE_WORDS,
        snippets: int | None = None,
    ) -> None:
        super().__init__()
        if reward not in METRICS:
            raise ValueError(unknown("reward", reward, METRICS))
        counts = {"k": k, "max_turns": max_turns, "passage_words": passage_words, "snippets": snippets}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if format_penalty < 0:
            raise ValueError(f"format_penalty is {format_penalty}; it is subtracted, so it must not be negative")
        there = [name for name, of_split in questions.items() if of_split]
        if not there:
            raise UnknownTaskError("there is no question")
        if split is not None and split not in there:
            raise UnknownTaskError(unknown("split", split, there) + self._split_hint)
        first = there[0] if split is None else split
        # What is there depends on the questions.
        self.splits = (first, *(name for name in there if name != first))  # type: ignore[misc]
        self.questions = questions
        self.engine = engine
        self.k = k
        self.reward_name: MetricName = reward
        self.format_penalty = format_penalty
        self.require_think = require_think
        self.max_turns = max_turns
        self.passage_words = passage_words
        self.snippets = snippets
        # What other episodes ask in the meantime shares its calls.
        self.host = "threads" if isinstance(engine, Batched) else "inline"
        self._task: str | None = None
        self._question: Question
        self._state = State()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self._start(self.chosen_task(seed, options))
        return f"Question: {self._question.text}\nNothing has been searched for yet.", self._info(None)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if not isinstance(action, str):
            raise TypeError(f"a response is a string such as '<search>query</search>', not {type(action).__name__}")
        if self._task is None or self._state.is_over:
            raise ResetNeeded("the episode is over, or none was started; call reset() before step()")
        response = protocol.read(action, require_think=self.require_think)
        turns = self._state.turns + 1
        self._state = replace(self._state, turns=turns, is_over=turns >= self.max_turns)
        try:
            observation = self._answer(response)
        except RetrieverUnavailableError as error:
            self._state = replace(self._state, is_over=True)
            return f"The search engine does not answer: {error}", 0.0, False, True, self._interrupted(response, error)
        info = self._info(response)
        is_answered = self._state.answer is not None
        reward = (info["score"] if is_answered else 0.0) - self.format_penalty * (response.failure is not None)
        return observation, reward, is_answered, self._state.is_over and not is_answered, info

    def task_ids(self, split: str) -> Sequence[str]:
        if split not in self.splits:
            raise UnknownTaskError(unknown("split", split, self.splits) + self._split_hint)
        return tuple(f"{split}/{question_id}" for question_id in self.questions[split])

    def oracle(self) -> str | None:
        """The next of its queries (see `plan`), and the answer when all were asked, or on the last turn."""
        self._require_episode()
        if self._state.is_over:
            return None
        left = self.max_turns - self._state.turns
        return next_action(self._question, self.plan(self._question), self._state.asked, left)

    def plan(self, question: Question) -> Sequence[str]:
        """What the oracle searches for; an environment that knows better says so here."""
        return queries(question)

    def random_action(self, generator: np.random.Generator) -> str:
        """A search for a word of the question, or an answer with one."""
        self._require_episode()
        words = self._question.text.split()
        word = words[int(generator.integers(len(words)))]
        kind = "search" if generator.integers(2) else "answer"
        return f"<{kind}>{word}</{kind}>"

    def snapshot(self) -> Snapshot:
        return Snapshot(self._require_episode(), self._state)

    def restore(self, snapshot: Snapshot) -> None:
        if snapshot.task_id != self._task:
            self._start(snapshot.task_id)
        self._state = snapshot.state

    def fork(self) -> Self:
        """An independent environment in the same state; both share questions and engine."""
        twin = copy.copy(self)
        # Drawing a task for one must not change what the other draws next.
        twin._np_random = copy.deepcopy(self._np_random)
        return twin

    @property
    def question(self) -> Question:
        """What is asked, with its answers; hidden from agents."""
        self._require_episode()
        return self._question

    @property
    def state(self) -> State:
        """Where the episode stands."""
        return self._state

    @property
    def behaviour_hash(self) -> str:
        """Of the protocol's rules and of the settings that decide what an agent sees and what counts as right."""
        # Only here: it plays episodes itself.
        from sdar_gym.envs.search_qa.behaviour import digest, rules_hash

        shown = [self.k, self.max_turns, self.passage_words, self.require_think, describe(self.engine)]
        shown += [] if self.snippets is None else [self.snippets]
        return digest([rules_hash(), shown])

    def task_digest(self, task_id: str) -> str | None:
        return hashlib.sha256(json.dumps(asdict(self._find(task_id)), sort_keys=True).encode()).hexdigest()

    def _find(self, task_id: str) -> Question:
        split, _, question_id = task_id.partition("/")
        question = self.questions[split].get(question_id) if split in self.splits else None
        if question is None:
            example = f"{self.splits[0]}/{next(iter(self.questions[self.splits[0]]))}"
            raise UnknownTaskError(f"no task {task_id!r} here; ids look like {example!r}")
        return question

    def _start(self, task_id: str) -> None:
        self._question = self._find(task_id)
        self._task, self._state = task_id, State()

    def _answer(self, response: Response) -> str:
        """Do what is asked for; the observation."""
        if response.kind == "answer":
            self._state = replace(self._state, answer=response.text, is_over=True)
            return f"Answered: {response.text}"
        if self._state.is_over:
            return protocol.NO_TURN_LEFT
        if response.kind is None:
            assert response.failure is not None
            return protocol.correction(response.failure)
        hits = self.engine.search([response.text], self.k)[0]
        if self.snippets is not None:
            hits = with_snippets(hits, response.text, self.snippets)
        self._state = replace(self._state, asked=(*self._state.asked, response.text))
        return protocol.information(hits, passage_words=self.passage_words)

    def _require_episode(self) -> str:
        if self._task is None:
            raise ResetNeeded("no episode is running; call reset() first")
        return self._task

    def _interrupted(self, response: Response, error: RetrieverUnavailableError) -> dict[str, Any]:
        """What is reported when there is no engine; nothing counts against the agent."""
        info = self._info(response)
        del info["metrics"]
        return info | {
            "is_action_valid": True,
            "failure": "retriever_unavailable",
            "interrupted": f"the search engine of {self._task!r} does not answer: {error}",
        }

    def _info(self, response: Response | None) -> dict[str, Any]:
        scores = score(self._state.answer, self._question.answers)
        info: TurnInfo = {
            "task_id": self._require_episode(),
            "task": self._question.text,
            "task_type": self._question.task_type,
            "admissible_actions": [],
            "is_action_valid": response is None or response.failure is None,
            "success": scores.em == 1.0,
            "score": scores.named(self.reward_name),
        }
        more: dict[str, Any] = {
            "source": self._question.source,
            "searches": len(self._state.asked),
            "action": "" if response is None else response.action,
            "failure": None if response is None else response.failure,
        }
        if self._state.is_over:
            more["metrics"] = asdict(scores)
        return cast(dict[str, Any], info) | more


class SearchQAEnv(QuestionEnv):
    """The published question sets over a corpus of one's own or a search service.

    Splits are `train` (in the paper: NQ and HotpotQA) and a held-out one for each of the seven sets, under its name.
    Settings are those of `QuestionEnv`, without `questions`, and these.

    Args:
        data: A folder with `tasks.jsonl` (made by `sdar-gym data download search_qa` or `data import search_qa`), such
            a file, or a question file of a published form, which is read as it is; by default the folder that the
            environment variable SEARCH_QA_DATA names, else `~/.cache/search_qa`.
        corpus: The file or files of passages to search; by default what lies beside the questions, or the paragraphs
            that a question file itself holds.
        engine: A name of `engines.ENGINES`, the address of a service that speaks Search-R1's `/retrieve`, or an engine.
        sets: Question sets that take part; all by default.
        engine_settings: Of the engine, such as its encoder; see `engines.make_engine`.

    Raises:
        ValueError: as for `QuestionEnv`; a corpus for a service that has its own.
        FileNotFoundError: no questions or no passages are there; the text says how to get them.
        QuestionFileError, SearchError: they are damaged.
    """

    _split_hint = (
        "; a set is a split of its own where questions of it are held out: "
        "`sdar-gym data import search_qa FILES --split test`"
    )

    def __init__(
        self,
        data: str | Path | None = None,
        corpus: str | Path | Sequence[str | Path] | Corpus | None = None,
        engine: str | SearchEngine = "bm25",
        k: int = 3,
        split: str | None = None,
        sets: Sequence[str] | None = None,
        reward: MetricName = "exact",
        format_penalty: float = 0.0,
        require_think: bool = False,
        max_turns: int = MAX_TURNS,
        passage_words: int | None = MAX_PASSAGE_WORDS,
        engine_settings: Mapping[str, Any] | None = None,
        snippets: int | None = None,
    ) -> None:
        if corpus is not None and is_service(engine):
            raise ValueError(f"a search service has a corpus of its own: name either it ({engine}) or a corpus")
        super().__init__(
            load_questions(data, sets),
            load_engine(engine, data=data, corpus=corpus, settings=engine_settings or {}),
            k,
            split,
            reward,
            format_penalty,
            require_think,
            max_turns,
            passage_words,
            snippets,
        )
