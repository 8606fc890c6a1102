"""The memory plan by hand, against real models, and what is refused because of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from sdar_agents.config import ConfigError, TrainConfig, preset_config
from sdar_agents.learners.grpo import GRPO
from sdar_agents.learners.sdar import SDAR
from sdar_agents.machine import Speed, missing_devices
from sdar_agents.memory_plan import (
    GIB,
    PROCESS_BYTES,
    ModelShape,
    activation_bytes,
    kv_bytes_per_token,
    logit_bytes,
    longest_row,
    model_shape,
    plan_memory,
    scored_tokens,
)
from sdar_agents.policy import LoraSettings, ModelError, load_policy
from sdar_agents.setup import set_up
from sdar_agents.time_estimate import Workload, estimate_time, forward_flops, sample_run

SHAPE = ModelShape(
    architecture="Toy",
    parameters=1000,
    embeddings=200,
    adapted=30,
    layers=2,
    hidden=10,
    feed_forward=30,
    heads=2,
    kv_heads=1,
    head_size=5,
    vocabulary=20,
    bytes_per_weight=2,
)
CONFIG = replace(
    preset_config("quickstart", "grpo"),
    learner=GRPO(kl_coefficient=0.0),
    groups=2,
    group_size=3,
    max_prompt_tokens=40,
    max_skill_tokens=8,
    max_response_tokens=10,
    microbatch_tokens=100,
)


def sizes(config: TrainConfig, shape: ModelShape = SHAPE, **settings: Any) -> dict[str, int]:
    settings = {"device": "cuda", "device_bytes": 1000, **settings}
    return {item.name: item.size for item in plan_memory(config, shape, **settings).items}


# ---- by hand ---------------------------------------------------------------------------------------------


def test_full_training_takes_sixteen_bytes_a_parameter_whatever_it_computes_in() -> None:
    for bytes_per_weight in (2, 4):
        plan = sizes(CONFIG, replace(SHAPE, bytes_per_weight=bytes_per_weight))
        assert [plan[name] for name in ("weights", "optimizer", "gradients")] == [4000, 8000, 4000]


def test_computing_in_half_precision_puts_layers_together_and_all_of_them_to_generate() -> None:
    half, full = sizes(CONFIG), sizes(CONFIG, replace(SHAPE, bytes_per_weight=4))
    # Two layers of 400 weights, and all 1000, of two bytes each.
    assert (half["gathered layers"], half["gathered weights"]) == (1600, 2000)
    assert "gathered layers" not in full
    assert "gathered weights" not in sizes(replace(CONFIG, backend="vllm"))


def test_adapters_are_float32_and_nothing_else_is_trained() -> None:
    # Rank 16 over inputs and outputs of 30 in all: 480 numbers.
    plan = sizes(replace(CONFIG, tuning="lora"))
    names = ("weights", "adapters", "optimizer", "gradients")
    assert [plan[name] for name in names] == [2000, 4 * 480, 8 * 480, 4 * 480]


@pytest.mark.parametrize(
    ("learner", "teacher", "tuning", "copies"),
    [
        (GRPO(kl_coefficient=0.0), "frozen", "full", 0),
        (GRPO(kl_coefficient=0.1), "live", "full", 1),
        (SDAR(rl=GRPO(kl_coefficient=0.1)), "current", "full", 1),
        (SDAR(rl=GRPO(kl_coefficient=0.1)), "step_start", "full", 1),
        # Whole distributions of a step cannot be kept: the weights are.
        (SDAR(rl=GRPO(kl_coefficient=0.1), form="full_js"), "step_start", "full", 2),
        (SDAR(rl=GRPO(kl_coefficient=0.1), form="full_js"), "step_start", "lora", 1),
        (SDAR(rl=GRPO(kl_coefficient=0.1)), "some/model", "full", 1),
        (SDAR(rl=GRPO(kl_coefficient=0.1)), "reference", "full", 2),
        (SDAR(rl=GRPO(kl_coefficient=0.0)), "ema", "full", 1),
        # The initial weights lie under the adapters; an average needs a copy all the same.
        (SDAR(rl=GRPO(kl_coefficient=0.1)), "reference", "lora", 0),
        (SDAR(rl=GRPO(kl_coefficient=0.1)), "ema", "lora", 1),
    ],
)
def test_copies_of_the_weights_are_those_that_the_learner_needs(
    learner: Any, teacher: Any, tuning: Any, copies: int
) -> None:
    config = replace(CONFIG, learner=learner, teacher=teacher, tuning=tuning)
    assert sizes(config)["reference, teacher"] == copies * (4000 if tuning == "full" else 2000)


def test_another_model_as_teacher_is_held_in_what_layers_compute_in_and_sharded() -> None:
    config = replace(CONFIG, learner=SDAR(), teacher="some/model")
    other = replace(SHAPE, parameters=3000)
    # Two bytes a weight, where trained weights have four.
    assert sizes(config, teacher=other)["external teacher"] == 6000
    assert sizes(replace(config, groups=8), teacher=other, world=4)["external teacher"] == 1500
    assert sizes(config)["external teacher"] == 0


def test_sharding_divides_weights_and_optimizer_but_not_activations() -> None:
    config = replace(CONFIG, groups=8)
    one, four = sizes(config), sizes(config, world=4)
    for name in ("weights", "optimizer", "gradients"):
        assert four[name] * 4 == one[name]
    assert four["activations"] == one["activations"]
    # 24 episodes of at most 50 tokens, or 6 of them.
    assert one["KV cache"] == 4 * four["KV cache"] == 24 * 50 * kv_bytes_per_token(SHAPE)
    # Two layers of 400 weights of two bytes.
    assert four["gathered layers"] == 1600


def test_activations_by_hand() -> None:
    # A layer: norms 2*10*(4+4) = 160, attention 4*2*10 = 80, feed-forward 4*2*30 = 240.
    assert activation_bytes(SHAPE, 3, checkpointing=False) == 3 * 2 * 480
    # Two inputs of 20 bytes, and one layer again.
    assert activation_bytes(SHAPE, 3, checkpointing=True) == 3 * (2 * 20 + 480)


def test_packed_rows_have_the_logits_of_a_chunk_at_once() -> None:
    # Rows of 40 / 4 + 10 tokens: five of them, with 11 scored tokens each.
    assert scored_tokens(replace(CONFIG, packing="none"), 20) == scored_tokens(CONFIG, 20) == 55
    assert scored_tokens(CONFIG, 2**25) == 2
    # Whole distributions are kept for all rows.
    distributions = SDAR(rl=GRPO(kl_coefficient=0.0), form="full_forward_kl")
    assert scored_tokens(replace(CONFIG, learner=distributions), 2**25) == 55


def test_logits_by_hand() -> None:
    # 20 words: 2 bytes of logits and four float32 tensors; two more for the entropy, one for a teacher.
    assert logit_bytes(SHAPE, 7, entropy=False, distribution=False) == 7 * 20 * 18
    assert logit_bytes(SHAPE, 7, entropy=True, distribution=True) == 7 * 20 * 30


def test_rows_with_short_prompts_hold_the_most_responses() -> None:
    # 100 // (40 / 4 + 10) = 5 rows of 10 + 1.
    assert scored_tokens(CONFIG, 20) == 55
    assert longest_row(CONFIG) == 50
    assert longest_row(replace(CONFIG, learner=SDAR())) == 58


def test_vllm_takes_its_share_during_the_rollout() -> None:
    config = replace(CONFIG, backend="vllm", backend_options=("gpu_memory_utilization=0.25",))
    plan = plan_memory(config, SHAPE, device="cuda", device_bytes=4000)
    assert plan.size("rollout") == plan.size("always") + 1000
    assert plan.peak == max(plan.size("rollout"), plan.size("update"))
    assert plan.fixed == 2000 + 4000 + 8000 + 2000 + PROCESS_BYTES["cuda"]


def test_time_by_hand() -> None:
    # A row of 6 tokens, 2 of them scored: 6 * (2 * 800 + 4 * 2 * 2 * 5 * 6) + 2 * 2 * 10 * 20 = 13_280.
    assert forward_flops(SHAPE, 6, 2) == 13_280
    work = Workload(turns=2, prompt=4, skills=0, response=2, seconds_per_turn=0.0, source="")
    # 6 episodes of 2 turns at 35 % of 100 operations a second.
    estimate = estimate_time(CONFIG, SHAPE, work, Speed(100.0, 1e9), device="cuda")
    assert estimate.seconds["score"] == pytest.approx(12 * 13_280 / 35)
    assert estimate.seconds["update"] == pytest.approx(3 * 12 * 13_280 / 35)
    assert estimate.seconds["teacher"] == 0.0


# ---- against real models ---------------------------------------------------------------------------------


@pytest.fixture(params=["Qwen3", "Qwen2", "Llama"])
def built(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, str]:
    kind: Any = {"Qwen3": Qwen3Config, "Qwen2": Qwen2Config, "Llama": LlamaConfig}[request.param]
    own = {"head_dim": 32} if request.param == "Qwen3" else {}
    config = kind(
        vocab_size=500, hidden_size=128, intermediate_size=384, num_hidden_layers=3, num_attention_heads=8,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=request.param != "Llama", **own,
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa"), str(tmp_path)


def test_parameters_counted_without_loading_are_those_of_the_model(built: tuple[Any, str]) -> None:
    model, folder = built
    shape = model_shape(folder)
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    tied = model.config.tie_word_embeddings
    assert shape.embeddings == 500 * 128 * (1 if tied else 2)
    assert shape.architecture == type(model).__name__


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_activations_are_what_the_backward_pass_keeps(dtype: str, built: tuple[Any, str]) -> None:
    model, folder = built
    model = model.to(getattr(torch, dtype))
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.arange(4 * 256).view(4, 256) % 500
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    assert output.last_hidden_state.requires_grad
    planned = activation_bytes(model_shape(folder, dtype=dtype), ids.numel(), checkpointing=False)
    # Measured: 0.89 to 0.92 of it.
    assert 0.8 < planned / sum(kept.values()) < 1.25


def test_adapters_counted_without_loading_are_those_of_peft(number_line_model: Path) -> None:
    model, _ = load_policy(str(number_line_model), tuning="lora", lora=LoraSettings())
    real = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert model_shape(str(number_line_model)).trainable("lora") == real


def test_a_model_without_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read the config of the model .*nowhere"):
        model_shape(str(tmp_path / "nowhere"))


# ---- what is refused before loading ----------------------------------------------------------------------


def test_a_model_that_cannot_fit_is_refused_with_the_numbers_before_it_is_loaded(
    number_line_config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdar_agents.memory_plan.device_memory", lambda _: (GIB // 2, GIB // 2))
    monkeypatch.setattr("sdar_agents.setup.load_policy", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match=r"needs 0\.60 GiB .* has 0\.50 GiB in all: use .*--microbatch-tokens"):
        set_up(number_line_config("sdar"), resume=False)


def test_what_only_an_estimate_says_is_no_reason_to_refuse(
    number_line_config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdar_agents.memory_plan.device_memory", lambda _: (GIB, 1))
    assert set_up(number_line_config("sdar", microbatch_tokens=10_000_000), resume=False).device == "cpu"


@pytest.mark.parametrize(
    ("device", "environment", "count", "meant"),
    [
        ("cuda:3", {}, 1, "GPU number 3, but there are 1 GPUs"),
        ("cuda:x", {}, 1, "write cuda, or cuda:NUMBER"),
        ("auto", {"LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "4"}, 2, "4 processes were started here.*there are 2 GPUs"),
        ("cuda", {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, 2, None),
        # Without a GPU processes train on the CPU, as many as are wanted.
        ("auto", {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, 0, None),
        ("cuda:0", {}, 1, None),
    ],
)
def test_fewer_gpus_than_asked_for_are_an_error(
    device: str, environment: dict[str, str], count: int, meant: str | None
) -> None:
    problem = missing_devices(device, environment, count)
    if meant is None:
        assert problem is None
    else:
        assert problem is not None
        assert re.search(meant, problem)


def test_episodes_are_sampled_where_actions_cannot_be_listed() -> None:
    config = replace(preset_config("quickstart", "grpo"), env="sdar_gym/SearchQAMini-v0", retriever="none")
    work = sample_run(config)
    assert 1 <= work.turns <= 4
    assert work.prompt > 0
