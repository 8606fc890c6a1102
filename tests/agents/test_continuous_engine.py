"""Continuous batching: the tokens of the plain path, keys reused over turns and group members, memory bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from sdar_agents.backends.base import Backend, BackendError, Request
from sdar_agents.backends.hf import HFBackend
from sdar_agents.backends.hf_batch import LockStepEngine
from sdar_agents.backends.hf_continuous import ContinuousEngine
from sdar_agents.batch import pad_left, pad_right
from sdar_agents.episode import Completion, Sampling
from sdar_agents.policy import LoraSettings, load_policy, score, with_lora
from sdar_agents.tokens import ChatTokenizer

SAMPLING = Sampling(max_tokens=6)
SHAPE = {"vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}  # fmt: skip
# Turn by turn, what three conversations are asked; the second begins like the first and parts from it later.
TURNS = [
    ["Task: Go to 7.\nNow: You are at 3. Go to 7.", "Task: Go to 7.\nNow: You are at 3. Go to 7.", "hello"],
    ["Task: Go to 7.\nDone: right\nNow: You are at 4. Go to 7.", "Task: Go to 7.\nDone: stay\nNow: You are at 3.", "h"],
    ["Task: Go to 7.\nDone: right; right\nNow: You are at 5. Go to 7.", "something else altogether", "Task: Go to"],
]


@pytest.fixture(scope="module")
def tokenizer(number_line_model: Path) -> ChatTokenizer:
    return load_policy(str(number_line_model))[1]


def random_model(kind: str, tokenizer: ChatTokenizer, **changes: Any) -> Any:
    """A small untrained model whose logits are far from uniform, so that every mistake shows in the tokens."""
    names = (
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "vocab_size": 320} if kind == "gpt2" else SHAPE
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(kind, **names, eos_token_id=tokenizer.eos_id, **changes)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def converse(engine: Backend, tokenizer: ChatTokenizer, sampling: Sampling = SAMPLING) -> list[list[Completion]]:
    """The completions of every turn; requests of a turn come in one by one, while others are under way."""
    answers = []
    for turn, texts in enumerate(TURNS):
        done: dict[int, Completion] = {}
        for number, text in enumerate(texts):
            seed = 10 * turn + number
            engine.add(Request(number, tokenizer.prompt_ids(text), sampling, seed, conversation=number))
            done |= {finished.id: finished.completion for finished in engine.step()}
        while len(done) < len(texts):
            done |= {finished.id: finished.completion for finished in engine.step()}
        answers.append([done[number] for number in range(len(texts))])
    return answers


def ids(answers: list[list[Completion]]) -> list[list[tuple[int, ...]]]:
    return [[answer.token_ids for answer in turn] for turn in answers]


@pytest.mark.parametrize("kind", ["qwen3", "qwen2", "llama", "gpt2"])
@pytest.mark.parametrize("sampling", [SAMPLING, Sampling(0.0, 1.0, 6), Sampling(0.7, 0.8, 6)])
def test_the_tokens_are_those_of_the_plain_path(kind: str, sampling: Sampling, tokenizer: ChatTokenizer) -> None:
    model = random_model(kind, tokenizer)
    continuous, plain = ContinuousEngine(model, tokenizer), LockStepEngine(model, tokenizer)
    assert ids(converse(continuous, tokenizer, sampling)) == ids(converse(plain, tokenizer, sampling))


@pytest.mark.parametrize("kind", ["qwen3", "gpt2"])
def test_log_probabilities_are_the_trainers(kind: str, tokenizer: ChatTokenizer) -> None:
    model = random_model(kind, tokenizer)
    for texts, answers in zip(TURNS, converse(ContinuousEngine(model, tokenizer), tokenizer), strict=True):
        prompt_ids, prompt_mask = pad_left([tokenizer.prompt_ids(text) for text in texts], tokenizer.pad_id)
        response_ids, response_mask = pad_right([answer.token_ids for answer in answers], tokenizer.pad_id)
        with torch.no_grad():
            scores = score(
                model,
                prompt_ids=prompt_ids,
                prompt_mask=prompt_mask,
                response_ids=response_ids,
                response_mask=response_mask,
            )
        for row, answer in enumerate(answers):
            assert scores.logprobs[row, : len(answer.token_ids)].tolist() == pytest.approx(answer.logprobs, abs=1e-5)


def test_the_trainers_attention_is_put_back(tokenizer: ChatTokenizer) -> None:
    model = random_model("qwen3", tokenizer)
    converse(ContinuousEngine(model, tokenizer), tokenizer)
    assert model.config._attn_implementation == "sdpa"


def test_adapters_sample_too(tokenizer: ChatTokenizer) -> None:
    pytest.importorskip("peft")
    model = with_lora(random_model("qwen3", tokenizer), LoraSettings(rank=2)).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    assert HFBackend(model, tokenizer).whole_batches_because is None
    plain = LockStepEngine(model, tokenizer)
    assert ids(converse(HFBackend(model, tokenizer), tokenizer)) == ids(converse(plain, tokenizer))


def test_a_later_turn_computes_only_what_is_new(tokenizer: ChatTokenizer) -> None:
    engine = ContinuousEngine(random_model("qwen3", tokenizer), tokenizer)
    first, later = (tokenizer.prompt_ids(TURNS[turn][0]) for turn in (0, 1))
    common = next(n for n in range(len(first)) if first[n] != later[n])
    one_token = Sampling(max_tokens=1)
    engine.add(Request(0, first, one_token, 0, conversation=5))
    engine.step()
    assert engine.computed_tokens == len(first)
    engine.add(Request(1, later, one_token, 0, conversation=5))
    engine.step()
    assert engine.computed_tokens == len(first) + len(later) - common


def test_a_group_computes_its_first_prompt_once(tokenizer: ChatTokenizer) -> None:
    engine = ContinuousEngine(random_model("qwen3", tokenizer), tokenizer)
    prompt = tokenizer.prompt_ids(TURNS[0][0])
    for number in range(8):
        engine.add(Request(number, prompt, Sampling(max_tokens=1), number, conversation=number))
    finished = [*engine.step(), *engine.step()]
    assert sorted(each.id for each in finished) == list(range(8))
    # The others compute its last token only, which the first draw is made from.
    assert engine.computed_tokens == len(prompt) + 7


def test_rows_join_and_leave_while_others_are_under_way(tokenizer: ChatTokenizer) -> None:
    engine = ContinuousEngine(random_model("qwen3", tokenizer), tokenizer)
    prompt, left = tokenizer.prompt_ids("hello"), dict[int, int]()
    engine.add(Request(0, prompt, Sampling(0.0, 1.0, 9), 0))
    for step in range(9):
        if step == 3:
            engine.add(Request(1, tokenizer.prompt_ids("x"), Sampling(0.0, 1.0, 2), 0))
        left |= {finished.id: step for finished in engine.step()}
    plain = LockStepEngine(engine.model, tokenizer).generate([prompt], Sampling(0.0, 1.0, 9), [0])[0]
    assert left[1] <= 4
    assert left[0] == len(plain.token_ids) - 1


@pytest.mark.parametrize("max_batch_tokens", [1, 100, 130, 300])
def test_memory_stays_below_its_bound_and_the_tokens_the_same(max_batch_tokens: int, tokenizer: ChatTokenizer) -> None:
    model = random_model("qwen3", tokenizer)
    engine = ContinuousEngine(model, tokenizer, max_batch_tokens=max_batch_tokens)
    assert ids(converse(engine, tokenizer)) == ids(converse(LockStepEngine(model, tokenizer), tokenizer))
    longest = max(len(tokenizer.prompt_ids(text)) for texts in TURNS for text in texts) + SAMPLING.max_tokens
    # A request that is longer than the bound by itself is served alone.
    assert engine._cache.slots * engine._cache.room <= max(max_batch_tokens, longest)
    assert engine._cache._keys[0].shape[:2] == (engine._cache.slots, engine._cache.room)


def test_new_weights_are_never_mixed_with_keys_of_the_old(tokenizer: ChatTokenizer) -> None:
    model = random_model("qwen3", tokenizer)
    prompt, later = (tokenizer.prompt_ids(TURNS[turn][0]) for turn in (0, 1))

    def difference_to_fresh(*, is_told: bool) -> float:
        backend = HFBackend(model, tokenizer)
        backend.add(Request(0, prompt, Sampling(max_tokens=1), 0, conversation=0))
        backend.step()
        with torch.no_grad():
            model.model.embed_tokens.weight.mul_(0.5)
        if is_told:
            backend.load_weights(model)
        backend.add(Request(1, later, Sampling(max_tokens=1), 0, conversation=0))
        (finished,) = backend.step()
        fresh = LockStepEngine(model, tokenizer).generate([later], Sampling(max_tokens=1), [0])[0]
        with torch.no_grad():
            model.model.embed_tokens.weight.mul_(2.0)
        return finished.completion.logprobs[0] - fresh.logprobs[0]

    assert difference_to_fresh(is_told=True) == pytest.approx(0.0, abs=1e-5)
    # Without the call the keys are stale: this is what the call is for, and shows that the line above can fail.
    assert abs(difference_to_fresh(is_told=False)) > 1e-3


def test_weights_do_not_change_while_a_request_is_under_way(tokenizer: ChatTokenizer) -> None:
    model = random_model("qwen3", tokenizer)
    backend = HFBackend(model, tokenizer)
    backend.add(Request(0, tokenizer.prompt_ids("x"), SAMPLING, 0, conversation=3))
    with pytest.raises(RuntimeError, match="under way"):
        backend.load_weights(model)
    backend.step()
    backend.end(3)
    backend.load_weights(model)
    assert backend.step() == []
    with pytest.raises(ValueError, match="another"):
        backend.load_weights(object())


def test_an_ended_conversation_leaves_nothing(tokenizer: ChatTokenizer) -> None:
    engine = ContinuousEngine(random_model("qwen3", tokenizer), tokenizer)
    prompt = tokenizer.prompt_ids(TURNS[0][0])
    for conversation in (0, 1):
        before = engine.computed_tokens
        engine.add(Request(conversation, prompt, Sampling(max_tokens=1), 0, conversation=conversation))
        engine.step()
        assert engine.computed_tokens - before == len(prompt)
        assert engine._cache._keys
        engine.end(conversation)
        assert not engine._cache._keys


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("mistral", {"sliding_window": 8}, "attends within a window of 8 tokens"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, "sliding_attention"),
        ("bloom", {}, "registry"),
    ],
)
def test_a_model_with_another_cache_is_served_in_whole_batches(
    kind: str, changes: dict[str, Any], reason: str, tokenizer: ChatTokenizer
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(kind, **SHAPE, eos_token_id=tokenizer.eos_id, **changes)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
    backend = HFBackend(model, tokenizer)
    assert reason in str(backend.whole_batches_because)
    prompt = tokenizer.prompt_ids(TURNS[0][0])
    ours = backend.generate([prompt], Sampling(temperature=0.0, max_tokens=4), [0])[0]
    theirs = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=4, pad_token_id=tokenizer.pad_id)
    assert list(ours.token_ids) == theirs[0, len(prompt) :].tolist()


def test_a_request_beyond_the_models_context_is_refused_with_the_numbers(tokenizer: ChatTokenizer) -> None:
    backend = HFBackend(random_model("qwen3", tokenizer), tokenizer)
    with pytest.raises(BackendError, match=r"500 tokens and a response of up to 20 are 520 .* context is 512"):
        backend.add(Request(0, (5,) * 500, Sampling(max_tokens=20), 0))


def test_a_longer_request_in_the_midst_of_an_admission_may_renumber_the_slots(tokenizer: ChatTokenizer) -> None:
    model = random_model("qwen3", tokenizer)
    # Slots of 128 tokens: 4 of them in 512. A request beyond 128 makes them 256 long, and then there are 2.
    engine = ContinuousEngine(model, tokenizer, max_batch_tokens=512)
    for number in range(4):
        engine.add(Request(number, tokenizer.prompt_ids("h"), Sampling(max_tokens=2), seed=number, conversation=number))
    answered: set[int] = set()
    while len(answered) < 4:
        answered |= {finished.id for finished in engine.step()}
    # Of the last conversation, so it sits in slot 3 until the longer one comes, and in slot 0 or 1 afterwards.
    engine.add(Request(4, tokenizer.prompt_ids("h again"), SAMPLING, seed=4, conversation=3))
    engine.add(Request(5, tokenizer.prompt_ids("h " * 80), SAMPLING, seed=5))
    while len(answered) < 6:
        answered |= {finished.id for finished in engine.step()}
    assert answered == set(range(6))
