"""Sampling: seeds decide, neighbours do not; the cache changes nothing; finished rows leave."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from sdar_agents.backends.draws import draw
from sdar_agents.backends.hf import HFBackend
from sdar_agents.backends.hf_batch import cache_argument
from sdar_agents.backends.scripted import ScriptedBackend
from sdar_agents.batch import pad_left, pad_right
from sdar_agents.episode import Sampling
from sdar_agents.policy import load_policy, score
from sdar_agents.tokens import ChatTokenizer

PROMPTS = ["Task: Go to 7.\nNow: You are at 3. Go to 7.", "hello", "Task: Go to 1.\nDone: left; left\nNow: something"]


@pytest.fixture(scope="module")
def model_and_tokenizer(number_line_model: Path) -> tuple[Any, ChatTokenizer]:
    return load_policy(str(number_line_model))


def test_draw_is_the_inverse_of_the_distribution_function() -> None:
    # Probabilities 1/2, 1/4, 1/4: draws below .5 give 0, below .75 give 1, else 2.
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]])).repeat(4, 1)
    chosen, logprobs = draw(logits, torch.tensor([0.0, 0.49, 0.6, 0.99]), Sampling())
    assert chosen.tolist() == [0, 0, 1, 2]
    assert logprobs.tolist() == pytest.approx([math.log(0.5)] * 2 + [math.log(0.25)] * 2)


def test_temperature_sharpens_as_the_formula_says() -> None:
    # At temperature 1/2 the probabilities 2/3, 1/3 become 4/5, 1/5.
    logits = torch.log(torch.tensor([[2 / 3, 1 / 3]]))
    chosen, logprobs = draw(logits, torch.tensor([0.79]), Sampling(temperature=0.5))
    assert chosen.item() == 0
    assert logprobs.item() == pytest.approx(math.log(0.8))


def test_temperature_zero_is_greedy() -> None:
    chosen, logprobs = draw(torch.tensor([[0.0, 1.0]]), torch.tensor([0.0]), Sampling(temperature=0.0))
    assert chosen.item() == 1
    assert logprobs.item() == pytest.approx(-math.log(1 + math.exp(-1)))


def test_the_nucleus_leaves_out_what_the_mass_before_already_covers() -> None:
    # Sorted .5 .3 .2 with top-p .6: the third has .8 before it, and is out; the rest become 5/8 and 3/8.
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3]])).repeat(2, 1)
    chosen, logprobs = draw(logits, torch.tensor([0.6, 0.7]), Sampling(top_p=0.6))
    assert chosen.tolist() == [1, 2]
    assert logprobs.tolist() == pytest.approx([math.log(5 / 8), math.log(3 / 8)])


def test_a_row_does_not_depend_on_its_neighbours(model_and_tokenizer: tuple[Any, ChatTokenizer]) -> None:
    model, tokenizer = model_and_tokenizer
    backend = HFBackend(model, tokenizer)
    prompts = [tokenizer.prompt_ids(text) for text in PROMPTS]
    together = backend.generate(prompts, Sampling(max_tokens=6), [1, 2, 3])
    alone = [backend.generate([p], Sampling(max_tokens=6), [s])[0] for p, s in zip(prompts, [1, 2, 3], strict=True)]
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]


def test_small_chunks_give_the_same_completions_in_the_same_order(
    model_and_tokenizer: tuple[Any, ChatTokenizer],
) -> None:
    model, tokenizer = model_and_tokenizer
    prompts = [tokenizer.prompt_ids(text) for text in PROMPTS]
    whole = HFBackend(model, tokenizer).generate(prompts, Sampling(max_tokens=6), [4, 5, 6])
    chunked = HFBackend(model, tokenizer, max_batch_tokens=1).generate(prompts, Sampling(max_tokens=6), [4, 5, 6])
    assert [c.token_ids for c in whole] == [c.token_ids for c in chunked]


def test_the_cached_sampler_and_the_trainer_agree_on_every_token(
    model_and_tokenizer: tuple[Any, ChatTokenizer],
) -> None:
    model, tokenizer = model_and_tokenizer
    prompts = [tokenizer.prompt_ids(text) for text in PROMPTS]
    completions = HFBackend(model, tokenizer).generate(prompts, Sampling(max_tokens=8), [7, 8, 9])
    prompt_ids, prompt_mask = pad_left(prompts, tokenizer.pad_id)
    response_ids, response_mask = pad_right([c.token_ids for c in completions], tokenizer.pad_id)
    with torch.no_grad():
        scores = score(
            model,
            prompt_ids=prompt_ids,
            prompt_mask=prompt_mask,
            response_ids=response_ids,
            response_mask=response_mask,
        )
    for row, completion in enumerate(completions):
        trainer = scores.logprobs[row, : len(completion.token_ids)].tolist()
        assert trainer == pytest.approx(list(completion.logprobs), abs=1e-4)


def test_greedy_generation_is_what_transformers_generates(model_and_tokenizer: tuple[Any, ChatTokenizer]) -> None:
    model, tokenizer = model_and_tokenizer
    prompt = tokenizer.prompt_ids(PROMPTS[0])
    ours = HFBackend(model, tokenizer).generate([prompt], Sampling(temperature=0.0, max_tokens=6), [0])[0]
    theirs = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=6, pad_token_id=tokenizer.pad_id)
    assert list(ours.token_ids) == theirs[0, len(prompt) :].tolist()


def test_a_response_that_is_cut_says_so(model_and_tokenizer: tuple[Any, ChatTokenizer]) -> None:
    model, tokenizer = model_and_tokenizer
    completion = HFBackend(model, tokenizer).generate([tokenizer.prompt_ids("x")], Sampling(max_tokens=1), [0])[0]
    assert len(completion.token_ids) == 1
    assert completion.stopped == (completion.token_ids[0] == tokenizer.eos_id)


def test_prompts_and_seeds_must_pair_up(model_and_tokenizer: tuple[Any, ChatTokenizer]) -> None:
    model, tokenizer = model_and_tokenizer
    with pytest.raises(ValueError, match="1 prompts but 2 seeds"):
        HFBackend(model, tokenizer).generate([tokenizer.prompt_ids("x")], Sampling(), [0, 1])


def test_the_scripted_backend_answers_by_rule(model_and_tokenizer: tuple[Any, ChatTokenizer]) -> None:
    _, tokenizer = model_and_tokenizer
    backend = ScriptedBackend(tokenizer, lambda text: "right" if "Go to 7" in text else "left")
    completions = backend.generate([tokenizer.prompt_ids(text) for text in PROMPTS], Sampling(), [0, 0, 0])
    assert [c.text for c in completions] == ["right", "left", "left"]
    assert all(c.stopped and c.token_ids[-1] == tokenizer.eos_id for c in completions)
    assert backend.calls == [3]


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_the_cache_is_passed_by_the_name_that_the_model_knows(name: str) -> None:
    class Model:
        if name == "cache":

            def forward(self, input_ids: object, cache: object = None) -> None: ...

        else:

            def forward(self, input_ids: object, past_key_values: object = None) -> None: ...

    class Adapted:
        def forward(self, *args: object, **kwargs: object) -> None: ...

        def get_base_model(self) -> Model:
            return Model()

    assert cache_argument(Model()) == cache_argument(Adapted()) == name
