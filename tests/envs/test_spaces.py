from __future__ import annotations

import copy
import multiprocessing
import pickle

import gymnasium as gym
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory, write_to_shared_memory

from sdar_gym import FreeText, TextEnv
from sdar_gym.spaces import MAX_SHARED_BYTES, SharedTextError

NUMBER_LINE = "sdar_gym/NumberLine-v0"


def test_text_of_any_script_and_no_text_are_in_the_space() -> None:
    space = FreeText(max_length=10)
    assert space.min_length == 0
    for text in ("", "Süden", "去厨房", "🚪" * 10, "\x00\n"):
        assert text in space
    assert "x" * 11 not in space
    assert 3 not in space


def test_samples_are_in_the_space_and_repeat_with_the_seed() -> None:
    space = FreeText(seed=5)
    words = [space.sample() for _ in range(20)]
    assert all(word in space for word in words)
    assert len(set(words)) > 10
    assert [FreeText(seed=5).sample(), FreeText(seed=6).sample()] != [words[0], words[0]]
    assert FreeText(seed=5).sample() == words[0]


def test_spaces_are_equal_by_length() -> None:
    assert FreeText(5) == FreeText(5)
    assert FreeText(5) != FreeText(6)
    assert repr(FreeText(5)) == "FreeText(5)"


def test_gymnasiums_own_check_accepts_a_text_environment() -> None:
    env: TextEnv = gym.make(NUMBER_LINE).unwrapped  # type: ignore[assignment]
    check_env(env)


def test_shared_memory_keeps_texts_of_any_script_apart() -> None:
    space = FreeText(max_length=8)
    memory = create_shared_memory(space, n=3)
    texts = read_from_shared_memory(space, memory, n=3)
    assert copy.deepcopy(texts) == ("", "", "")
    # Eight characters of four bytes fill the middle slot to its end; a lone surrogate is what careless agents send.
    for index, text in enumerate(("Süden\x00\n", "🚪" * 8, "\ud800去")):
        write_to_shared_memory(space, index, text, memory)
    assert copy.deepcopy(texts) == ("Süden\x00\n", "🚪" * 8, "\ud800去")


def test_a_shorter_text_leaves_nothing_of_the_longer_one_before_it() -> None:
    space = FreeText()
    memory = create_shared_memory(space, n=2, ctx=multiprocessing.get_context("spawn"))
    texts = read_from_shared_memory(space, memory, n=2)
    write_to_shared_memory(space, 1, "a long text", memory)
    before = copy.deepcopy(texts)
    write_to_shared_memory(space, 1, "short", memory)
    assert before == ("", "a long text")
    assert isinstance(before, tuple)
    assert list(texts) == ["", "short"]
    assert (texts[-1], texts[:1], len(texts)) == ("short", ("",), 2)
    with pytest.raises(IndexError):
        texts[2]


def test_a_text_that_does_not_fit_is_refused_and_the_one_before_it_stays() -> None:
    space = FreeText()
    memory = create_shared_memory(space, n=1)
    texts = read_from_shared_memory(space, memory, n=1)
    fitting = "ü" * (MAX_SHARED_BYTES // 2)
    write_to_shared_memory(space, 0, fitting, memory)
    with pytest.raises(SharedTextError, match=r"65,537 bytes does not fit the 65,536 .*shared_memory=False") as caught:
        write_to_shared_memory(space, 0, fitting + "!", memory)
    assert texts[0] == fitting
    # Gymnasium sends the error of a process through a queue and raises its class with it as the only argument.
    again = type(caught.value)(pickle.loads(pickle.dumps(caught.value)))
    assert str(again) == str(caught.value)
    # Gymnasium reports the trace by `text % ()`, which a percent sign in it would break.
    assert "%" not in str(caught.value)


def test_free_text_within_other_spaces_is_shared_too() -> None:
    space = spaces.Dict({"page": FreeText(), "turn": spaces.Discrete(9)})
    memory = create_shared_memory(space, n=2)
    observations = read_from_shared_memory(space, memory, n=2)
    write_to_shared_memory(space, 1, {"page": "Süden", "turn": 3}, memory)
    copied = copy.deepcopy(observations)
    assert copied["page"] == ("", "Süden")
    assert copied["turn"].tolist() == [0, 3]
