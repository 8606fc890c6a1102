"""SearchQA: turns, rewards, the last turn, an engine that fails, snapshots, oracle, settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded

import sdar_gym
from sdar_gym.envs.search_qa.corpus import MemoryCorpus
from sdar_gym.envs.search_qa.engines import make_engine
from sdar_gym.envs.search_qa.engines.server import SearchServer
from sdar_gym.envs.search_qa.env import QuestionEnv, SearchQAEnv
from sdar_gym.envs.search_qa.passages import Hit, Passage, RetrieverUnavailableError, SearchError
from sdar_gym.envs.search_qa.questions import Question
from sdar_gym.text_env import INTERRUPTED, UnknownTaskError

from .made_questions import make_data_folder, write_question_files

RIVER = Question(
    "set-1", "set", "On which river is Lower Fenwick?", ("the Osk", "Osk river"), "direct", ("Lower Fenwick",)
)
SEA = Question(
    "set-2", "set", "Where does it end?", ("Marl Sea",), "multi_hop", ("Lower Fenwick", "Osk", "Osk", "Marl")
)
SEARCH = "<search>Osk</search>"


class Shelf:
    """Finds one passage, which repeats the query; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.asked: list[tuple[tuple[str, ...], int]] = []

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.asked.append((tuple(queries), k))
        if self.failures:
            self.failures -= 1
            raise RetrieverUnavailableError("http://there: no answer within 2 seconds, 3 times")
        return [[Hit(Passage("1", query, "some words of text"), 1.0)] for query in queries]


def make(engine: Any = None, **settings: Any) -> QuestionEnv:
    questions = {"train": {RIVER.id: RIVER}, "test": {SEA.id: SEA}}
    return QuestionEnv(questions, engine or Shelf(), **settings)


def started(task_id: str = "train/set-1", engine: Any = None, **settings: Any) -> QuestionEnv:
    env = make(engine, **settings)
    env.reset(options={"task": task_id})
    return env


def test_the_first_observation_asks_the_question() -> None:
    observation, info = make().reset(seed=0)
    assert observation == f"Question: {RIVER.text}\nNothing has been searched for yet."
    assert info == {
        "task_id": "train/set-1",
        "task": RIVER.text,
        "task_type": "direct",
        "admissible_actions": [],
        "is_action_valid": True,
        "success": False,
        "score": 0.0,
        "source": "set",
        "searches": 0,
        "action": "",
        "failure": None,
    }


def test_a_search_is_answered_with_information() -> None:
    engine = Shelf()
    env = started(engine=engine, k=7)
    observation, reward, terminated, truncated, info = env.step("<think>Hm.</think> <search> Osk </search>")
    assert observation == "<information>Doc 1(Title: Osk) some words of text</information>"
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert (info["is_action_valid"], info["action"], info["searches"]) == (True, SEARCH, 1)
    assert "metrics" not in info
    assert engine.asked == [(("Osk",), 7)]


def test_the_right_answer_ends_the_episode_with_reward_1() -> None:
    env = started()
    env.step(SEARCH)
    observation, reward, terminated, truncated, info = env.step("<answer>The OSK.</answer>")
    assert (observation, reward, terminated, truncated) == ("Answered: The OSK.", 1.0, True, False)
    assert (info["success"], info["score"]) == (True, 1.0)
    assert info["metrics"] == {"em": 1.0, "f1": 1.0, "contains": 1.0}
    with pytest.raises(ResetNeeded):
        env.step(SEARCH)


@pytest.mark.parametrize(("reward", "value"), [("exact", 0.0), ("f1", 2 / 5), ("contains", 1.0)])
def test_what_rewards_is_a_setting_and_success_is_always_the_exact_match(reward: str, value: float) -> None:
    # "it is osk here" has 4 words, "osk" is 1 of them: 2 * 1 / 5.
    _, got, terminated, _, info = started(reward=reward).step("<answer>It is the Osk here</answer>")
    assert got == info["score"] == pytest.approx(value)
    assert terminated
    assert not info["success"]
    assert info["metrics"] == {"em": 0.0, "f1": pytest.approx(0.4), "contains": 1.0}


def test_a_response_that_cannot_be_followed_costs_its_turn_and_is_told_why() -> None:
    engine = Shelf()
    env = started(engine=engine)
    observation, reward, terminated, truncated, info = env.step("<search>Osk")
    assert "not closed" in observation
    assert "<answer>your answer</answer>" in observation
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert (info["is_action_valid"], info["failure"], info["action"]) == (False, "unclosed_tag", "")
    assert engine.asked == []
    assert env.state.turns == 1


@pytest.mark.parametrize("text", ["<search></search>", "<search>" + "q" * 100_000 + "</search>", "\ud800", "<answer>"])
def test_no_engine_sees_an_empty_or_endless_query(text: str) -> None:
    engine = Shelf()
    info = started(engine=engine).step(text)[4]
    assert not info["is_action_valid"]
    assert engine.asked == []


def test_search_and_answer_in_one_turn_is_a_search_that_counts_as_invalid() -> None:
    env = started()
    observation, _, terminated, _, info = env.step("<search>Osk</search> <answer>Osk</answer>")
    assert observation.startswith("<information>")
    assert not terminated
    assert (info["is_action_valid"], info["failure"], info["action"]) == (False, "several_actions", SEARCH)


def test_a_format_penalty_is_taken_off_whatever_the_turn_earns() -> None:
    env = started(format_penalty=0.25, require_think=True)
    assert env.step("nothing")[1] == -0.25
    assert env.step(f"<think>Hm.</think>{SEARCH}")[1] == 0.0
    assert env.step("<answer>Osk</answer>")[1] == 0.75  # right, but without thoughts


def test_nothing_is_searched_for_on_the_last_turn() -> None:
    engine = Shelf()
    env = started(engine=engine, max_turns=2)
    assert env.step(SEARCH)[3] is False
    observation, reward, terminated, truncated, info = env.step(SEARCH)
    assert (observation, reward) == ("The turns are used up, and no answer was given.", 0.0)
    assert (terminated, truncated) == (False, True)
    assert info["metrics"] == {"em": 0.0, "f1": 0.0, "contains": 0.0}
    assert INTERRUPTED not in info
    assert len(engine.asked) == 1


def test_the_last_turn_still_takes_an_answer() -> None:
    env = started(max_turns=1)
    assert env.step("<answer>Osk</answer>")[1:4] == (1.0, True, False)


def test_an_engine_that_fails_ends_the_episode_with_a_reason_and_without_a_verdict() -> None:
    env = started(engine=Shelf(failures=1), format_penalty=0.5)
    observation, reward, terminated, truncated, info = env.step("<search>Osk</search><search>Osk</search>")
    assert "does not answer" in observation
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["failure"] == "retriever_unavailable"
    assert "no answer within 2 seconds" in info[INTERRUPTED]
    assert info["is_action_valid"]
    assert "metrics" not in info
    with pytest.raises(ResetNeeded):
        env.step(SEARCH)
    env.reset(options={"task": "train/set-1"})
    assert env.step(SEARCH)[0].startswith("<information>")


def test_a_damaged_engine_is_for_somebody_to_mend() -> None:
    class Damaged:
        def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
            raise SearchError("the index is damaged; build it again")

    with pytest.raises(SearchError, match="build it again"):
        started(engine=Damaged()).step(SEARCH)


def test_a_snapshot_holds_turns_and_queries() -> None:
    env = started("test/set-2", max_turns=3)
    env.step(SEARCH)
    snapshot = env.snapshot()
    assert env.step("<answer>wrong</answer>")[2]
    env.restore(snapshot)
    assert env.step("no action")[3] is False
    assert env.step(SEARCH)[3] is True
    other = make(max_turns=3)
    other.restore(snapshot)
    assert other.step("<answer>Marl Sea</answer>")[1] == 1.0


def test_a_fork_shares_the_engine_and_nothing_else() -> None:
    env = started()
    twin = env.fork()
    assert twin.engine is env.engine
    assert twin.questions is env.questions
    twin.step("<answer>Osk</answer>")
    assert env.step(SEARCH)[0].startswith("<information>")


def test_what_a_fork_draws_changes_nothing_for_its_origin() -> None:
    questions = {f"set-{number}": replace(RIVER, id=f"set-{number}") for number in range(50)}
    env = QuestionEnv({"train": questions}, Shelf())
    env.reset(seed=0)
    twin = env.fork()
    drawn = [twin.reset()[1]["task_id"] for _ in range(5)]
    assert [env.reset()[1]["task_id"] for _ in range(5)] == drawn


def test_the_oracle_asks_for_each_proof_once_and_answers_on_the_last_turn() -> None:
    assert play_by_oracle(started("train/set-1")) == ["<search>Lower Fenwick</search>", "<answer>the Osk</answer>"]
    assert play_by_oracle(started("test/set-2", max_turns=9)) == [
        "<search>Lower Fenwick</search>",
        "<search>Osk</search>",
        "<search>Marl</search>",
        "<answer>Marl Sea</answer>",
    ]
    assert play_by_oracle(started("test/set-2", max_turns=2)) == [
        "<search>Lower Fenwick</search>",
        "<answer>Marl Sea</answer>",
    ]


def play_by_oracle(env: QuestionEnv) -> list[str]:
    actions = []
    while (action := env.oracle()) is not None:
        actions.append(action)
        info = env.step(action)[4]
    assert info["success"]
    return actions


def test_without_proofs_the_oracle_asks_the_question() -> None:
    plain = Question("set-3", "set", "Who?", ("Ada",), "direct")
    env = QuestionEnv({"train": {plain.id: plain}}, Shelf())
    env.reset(seed=0)
    assert env.oracle() == "<search>Who?</search>"


def test_a_random_agent_can_play() -> None:
    env, generator = started(), np.random.default_rng(0)
    drawn = {env.random_action(generator) for _ in range(200)}
    assert {"<search>river</search>", "<answer>river</answer>"} <= drawn
    assert len(drawn) == 2 * len(RIVER.text.split())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"k": 0}, "k is 0"),
        ({"max_turns": 0}, "max_turns is 0"),
        ({"passage_words": 0}, "passage_words is 0"),
        ({"format_penalty": -1.0}, "must not be negative"),
        ({"reward": "exakt"}, "did you mean 'exact'"),
    ],
)
def test_nonsense_settings_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make(**settings)


def test_splits_are_what_there_is_and_seeds_draw_from_the_chosen_one() -> None:
    assert make().splits == ("train", "test")
    env = make(split="test")
    assert env.splits == ("test", "train")
    assert env.reset(seed=3)[1]["task_id"] == "test/set-2"
    with pytest.raises(UnknownTaskError, match="did you mean 'train'"):
        make(split="trian")
    with pytest.raises(UnknownTaskError, match="ids look like 'train/set-1'"):
        make().reset(options={"task": "train/set-2"})
    with pytest.raises(UnknownTaskError, match="no question"):
        QuestionEnv({"train": {}}, Shelf())


def test_a_tasks_digest_is_of_its_question() -> None:
    env = make()
    assert env.task_digest("train/set-1") != env.task_digest("test/set-2")
    assert env.task_digest("train/set-1") == make(k=9).task_digest("train/set-1")


def test_the_behaviour_hash_changes_with_what_an_agent_sees() -> None:
    # Whoever changes the protocol's rules or texts raises the version suffix, then this value.
    from sdar_gym.envs.search_qa.behaviour import rules_hash

    assert rules_hash() == "d7f020d83ce10626"
    plain = make().behaviour_hash
    assert plain == make(reward="f1").behaviour_hash
    corpus = MemoryCorpus([Passage("1", "t", "x")])
    searching = Shelf()
    searching.corpus = corpus  # type: ignore[attr-defined]
    others = [make(k=4), make(max_turns=5), make(passage_words=9), make(require_think=True), make(searching)]
    assert len({plain, *(env.behaviour_hash for env in others)}) == 6


# ---- from files ----


def test_it_is_made_of_a_data_folder(search_qa_folder: Path) -> None:
    env = sdar_gym.text_env(sdar_gym.make("sdar_gym/SearchQA-v0", data=str(search_qa_folder)))
    assert env.splits == ("train", "nq", "hotpotqa", "musique")
    assert env.host == "inline"
    assert env.task_ids("musique") == ("musique/musique-2hop__1_2",)
    env.reset(options={"task": "nq/nq-test_0"})
    assert "Ada Quill was a clockmaker." in env.step("<search>Ada Quill</search>")[0]


def test_environments_of_a_process_share_questions_and_engine(search_qa_folder: Path) -> None:
    first, second = SearchQAEnv(data=search_qa_folder), SearchQAEnv(data=search_qa_folder, k=5)
    assert first.engine is second.engine
    assert first.questions is second.questions


def test_sets_can_be_chosen(search_qa_folder: Path) -> None:
    env = SearchQAEnv(data=search_qa_folder, sets=["nq"])
    assert env.splits == ("nq",)
    both = SearchQAEnv(data=search_qa_folder, sets=["hotpotqa", "nq"])
    assert both.splits == ("train", "nq", "hotpotqa")
    with pytest.raises(UnknownTaskError, match=r"unknown split 'musique'.*import search_qa FILES --split test"):
        env.task_ids("musique")
    with pytest.raises(ValueError, match="did you mean 'hotpotqa'"):
        SearchQAEnv(data=search_qa_folder, sets=["hotpot"])


def test_a_question_file_with_paragraphs_is_enough(tmp_path: Path) -> None:
    write_question_files(tmp_path)
    env = SearchQAEnv(data=tmp_path / "hotpot_dev_fullwiki_v1.json")
    assert env.splits == ("hotpotqa",)
    env.reset(seed=0)
    assert "painter" in env.step("<search>Bram Oster</search>")[0]


def test_the_corpus_can_be_named(search_qa_folder: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "mine.jsonl"
    corpus.write_text(json.dumps({"id": "1", "title": "Osk", "text": "A river of another world."}) + "\n")
    env = SearchQAEnv(data=search_qa_folder, corpus=corpus)
    env.reset(seed=0)
    assert "another world" in env.step("<search>river</search>")[0]


def test_missing_data_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEARCH_QA_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"nowhere.*sdar-gym data download search_qa.*SEARCH_QA_DATA"):
        SearchQAEnv()
    folder = make_data_folder(tmp_path)
    (folder / "passages.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"nothing to search in .*engine='http"):
        SearchQAEnv(data=folder)
    with pytest.raises(ValueError, match=r"did you mean 'bm25'.*or the address of a service"):
        SearchQAEnv(data=folder, engine="bm52")
    questions = tmp_path / "files" / "nq" / "test.jsonl"
    with pytest.raises(FileNotFoundError, match="come without paragraphs"):
        SearchQAEnv(data=questions)


def test_any_engine_can_be_given(search_qa_folder: Path) -> None:
    engine = Shelf()
    env = SearchQAEnv(data=search_qa_folder, engine=engine)
    env.reset(seed=0)
    env.step(SEARCH)
    assert engine.asked == [(("Osk",), 3)]


@pytest.mark.data
@pytest.mark.parametrize("name", ["hotpotqa_300.jsonl", "hotpotqa_kag_qa_train.json", "musique_kag_qa_train.json"])
def test_the_oracle_wins_every_published_question(data_root: Path, name: str) -> None:
    env = SearchQAEnv(data=data_root / "search_qa" / name)
    for task_id in env.task_ids(env.splits[0]):
        env.reset(options={"task": task_id})
        play_by_oracle(env)


# ---- engines ----


def test_a_search_service_is_asked_in_threads_and_shared(search_qa_folder: Path) -> None:
    corpus = MemoryCorpus([Passage("1", "Osk", "A river.")])
    with SearchServer(make_engine("bm25", corpus), port=0) as server:
        env, twin = (SearchQAEnv(data=search_qa_folder, engine=server.url) for _ in range(2))
        assert env.host == "threads"
        assert env.engine is twin.engine
        env.reset(seed=0)
        assert env.step(SEARCH)[0] == "<information>Doc 1(Title: Osk) A river.</information>"
    with pytest.raises(ValueError, match="has a corpus of its own"):
        SearchQAEnv(data=search_qa_folder, engine=server.url, corpus=corpus)


def test_a_service_that_is_down_ends_the_episode_with_its_address(search_qa_folder: Path) -> None:
    url = "http://127.0.0.1:9/retrieve"
    env = SearchQAEnv(data=search_qa_folder, engine=url, engine_settings={"attempts": 2, "backoff_seconds": 0})
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(SEARCH)
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert f"the retriever at {url} failed 2 times" in info[INTERRUPTED]


@pytest.mark.parametrize("name", ["dense", "hybrid"])
def test_other_engines_are_named_with_their_settings(search_qa_folder: Path, name: str) -> None:
    pytest.importorskip("faiss", reason="faiss is not installed")
    hashing: dict[str, Any] = {"encoder": "hashing"}
    settings = hashing if name == "dense" else {"engines": ["bm25", ("dense", hashing)]}
    env = SearchQAEnv(data=search_qa_folder, engine=name, engine_settings=settings)
    plain = SearchQAEnv(data=search_qa_folder)
    assert (env.host, plain.host) == ("threads", "inline")
    assert env.behaviour_hash != plain.behaviour_hash
    env.reset(seed=0)
    assert "clockmaker" in env.step("<search>Ada Quill</search>")[0]
