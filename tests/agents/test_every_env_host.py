"""What every host of environments does: the same episodes, and nothing lost, hidden or scored when one fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sdar_agents.backends.base import Backend
from sdar_agents.backends.hf import HFBackend
from sdar_agents.backends.hf_batch import LockStepEngine
from sdar_agents.backends.scripted import ScriptedBackend
from sdar_agents.env_hosts import ENV_HOSTS, EnvPool, check_env_workers, make_agent_env
from sdar_agents.episode import Sampling
from sdar_agents.policy import load_policy
from sdar_agents.rollout import Assignment, Rollout, RolloutCounts, RolloutSettings, draw_seed, play
from sdar_agents.tokens import ChatTokenizer
from sdar_gym.errors import TaskError
from sdar_gym.prompts import COMPACT
from tests.agents.fragile import ENV, Fault, make_fragile

# Two groups of two and a lone third; with two seats in processes, later episodes wait for a seat.
ASSIGNMENTS = [Assignment(t, g) for t, g in (("train/3-7", 0), ("train/3-7", 0), ("train/2-0", 1), ("train/1-6", 2))]
WORKERS = {"inline": "inline", "threads": "threads", "processes": "processes:2", "ray": "ray:2"}
INTERRUPTIBLE = sorted(set(ENV_HOSTS) - {"inline"})
SETTINGS = RolloutSettings(env_id=ENV, sampling=Sampling(max_tokens=8), max_prompt_tokens=300)
DELAYS = tuple(Fault(a.task_id, turn, "delay", times=99) for a in ASSIGNMENTS for turn in range(11))

Roll = Callable[..., Rollout]


@pytest.fixture(scope="module")
def model_and_tokenizer(number_line_model: Path) -> tuple[Any, ChatTokenizer]:
    return load_policy(str(number_line_model))


@pytest.fixture
def roll(model_and_tokenizer: tuple[Any, ChatTokenizer], tmp_path: Path) -> Roll:
    """Plays the assignments by the oracle's rule, or with another backend, on a host whose environments have faults."""

    def run(
        host: str,
        *faults: Fault,
        backend: Backend | None = None,
        timeout_seconds: float = 60.0,
        counts: RolloutCounts | None = None,
    ) -> Rollout:
        pool = EnvPool(partial(make_fragile, str(tmp_path), faults), WORKERS.get(host, host), timeout_seconds)
        try:
            return play(
                ASSIGNMENTS,
                pool=pool,
                backend=backend or ScriptedBackend(model_and_tokenizer[1], by_oracle),
                tokenizer=model_and_tokenizer[1],
                settings=SETTINGS,
                context=None,
                seed="0",
                counts=counts,
            )
        finally:
            pool.close()

    return run


def by_oracle(text: str) -> str:
    here, goal = (int(part.split(".")[0]) for part in text.rpartition("You are at ")[2].split("Go to "))
    return "right" if goal > here else "left"


def tokens(rollout: Rollout) -> list[list[tuple[int, ...]]]:
    return [[turn.completion.token_ids for turn in episode.turns] for episode in rollout.episodes]


def lock_step(model: Any, tokenizer: ChatTokenizer) -> list[list[tuple[int, ...]]]:
    """The plain way: all episodes answer, then all environments step."""
    backend = LockStepEngine(model, tokenizer)
    envs = [make_agent_env(ENV, COMPACT) for _ in ASSIGNMENTS]
    infos = [env.reset(options={"task": a.task_id})[1] for env, a in zip(envs, ASSIGNMENTS, strict=True)]
    said: list[list[tuple[int, ...]]] = [[] for _ in envs]
    live = list(range(len(envs)))
    while live:
        prompts = [tokenizer.prompt_ids(infos[number]["prompt"].render()) for number in live]
        seeds = [draw_seed("0", number, len(said[number])) for number in live]
        still = []
        for number, answer in zip(live, backend.generate(prompts, SETTINGS.sampling, seeds), strict=True):
            said[number].append(answer.token_ids)
            _, _, terminated, truncated, infos[number] = envs[number].step(answer.text)
            if not (terminated or truncated):
                still.append(number)
        live = still
    return said


@pytest.mark.parametrize("host", sorted(ENV_HOSTS))
@pytest.mark.parametrize("max_batch_tokens", [65_536, 500, 1])
def test_the_same_seeds_give_the_episodes_of_the_lock_step_path(
    host: str, max_batch_tokens: int, roll: Roll, model_and_tokenizer: tuple[Any, ChatTokenizer]
) -> None:
    backend = HFBackend(*model_and_tokenizer, max_batch_tokens=max_batch_tokens)
    assert tokens(roll(host, *DELAYS, backend=backend)) == lock_step(*model_and_tokenizer)


@pytest.mark.parametrize("host", sorted(ENV_HOSTS))
@pytest.mark.parametrize("turn", [0, 2])
def test_an_environment_that_raises_is_replaced_and_its_episode_played_afresh(
    host: str, turn: int, roll: Roll, model_and_tokenizer: tuple[Any, ChatTokenizer]
) -> None:
    counts = RolloutCounts()
    backend = HFBackend(*model_and_tokenizer)
    rollout = roll(host, Fault("train/1-6", turn, "raise"), backend=backend, counts=counts)
    assert tokens(rollout) == lock_step(*model_and_tokenizer)
    assert rollout.failures == ()
    # What the failed attempt said is counted nowhere.
    assert counts.turns == sum(len(episode.turns) for episode in rollout.episodes)
    assert counts.failed_episodes == counts.dropped_groups == 0


@pytest.mark.parametrize("host", sorted(ENV_HOSTS))
def test_what_fails_twice_is_reported_and_takes_its_whole_group_out(host: str, roll: Roll) -> None:
    # Twice for one member of the group of two, whichever comes first; no third time for its sibling.
    counts = RolloutCounts()
    rollout = roll(host, Fault("train/3-7", 1, "raise", times=99), counts=counts)
    assert [episode.task_id for episode in rollout.episodes] == ["train/2-0", "train/1-6"]
    assert all(episode.success for episode in rollout.episodes)
    assert [failure.task_id for failure in rollout.failures] == ["train/3-7"] * 2
    assert all(len(failure.errors) == 2 for failure in rollout.failures)
    assert "RuntimeError: the engine fell over" in str(rollout.failures[0])
    assert (counts.failed_episodes, counts.dropped_groups, counts.turns) == (2, 1, 7)


@pytest.mark.parametrize("host", sorted(ENV_HOSTS))
@pytest.mark.parametrize(("kind", "error"), [("no such task", TaskError), ("no such file", FileNotFoundError)])
def test_what_somebody_has_to_mend_is_raised_at_once(host: str, kind: Any, error: type[Exception], roll: Roll) -> None:
    with pytest.raises(error, match=r"corrupt|no data"):
        roll(host, Fault("train/2-0", 1, kind, times=99))


@pytest.mark.parametrize("host", sorted(ENV_HOSTS))
def test_an_environment_that_wants_to_end_the_process_only_fails(host: str, roll: Roll) -> None:
    rollout = roll(host, Fault("train/2-0", 1, "exit", times=2))
    assert [failure.errors[0].split(" ")[0] for failure in rollout.failures] == ["SystemExit:"]


@pytest.mark.parametrize("host", INTERRUPTIBLE)
def test_an_environment_that_hangs_is_given_up_and_the_others_play_on(host: str, roll: Roll) -> None:
    begin = time.monotonic()
    rollout = roll(host, Fault("train/2-0", 1, "hang"), timeout_seconds=2.0)
    assert time.monotonic() - begin < 25  # the sleep is one of 30 seconds
    assert [episode.success for episode in rollout.episodes] == [True] * 4
    (failure,) = roll(host, Fault("train/1-6", 1, "hang", times=99), timeout_seconds=1.0).failures
    assert failure.errors == ("no answer within 1 seconds (--env-timeout-seconds)",) * 2


def test_further_episodes_wait_for_a_seat(model_and_tokenizer: tuple[Any, ChatTokenizer]) -> None:
    tokenizer, made = model_and_tokenizer[1], list[Any]()

    def make() -> Any:
        made.append(make_agent_env(ENV, COMPACT))
        return made[-1]

    pool = EnvPool(make, "inline:2")
    backend = ScriptedBackend(tokenizer, by_oracle)
    rollout = play(
        ASSIGNMENTS, pool=pool, backend=backend, tokenizer=tokenizer, settings=SETTINGS, context=None, seed="0"
    )
    assert [episode.task_id for episode in rollout.episodes] == [assignment.task_id for assignment in ASSIGNMENTS]
    assert max(backend.calls) == 2
    assert len(made) == 2 + 1  # and the pool's example


def test_a_killed_process_is_noticed_and_replaced(roll: Roll) -> None:
    rollout = roll("processes", Fault("train/2-0", 1, "die"))
    assert [episode.success for episode in rollout.episodes] == [True] * 4
    (failure,) = roll("processes", Fault("train/1-6", 2, "die", times=99)).failures
    assert failure.errors == ("the environment's process ended by signal SIGKILL",) * 2


def test_an_error_that_cannot_be_sent_between_processes_is_still_told(roll: Roll) -> None:
    (failure,) = roll("processes", Fault("train/2-0", 1, "unpicklable", times=99)).failures
    assert "_LocalError" in failure.errors[0]


@pytest.mark.parametrize("host", sorted(ENV_HOSTS))
def test_an_error_that_is_raised_leaves_host_and_engine_ready(
    host: str, model_and_tokenizer: tuple[Any, ChatTokenizer], tmp_path: Path
) -> None:
    model, tokenizer = model_and_tokenizer
    fault = Fault("train/3-7", 1, "no such task")
    pool = EnvPool(partial(make_fragile, str(tmp_path), (fault,)), WORKERS[host], 60.0)
    # One request at a time: when the first is answered and its environment raises, others are under way.
    backend = HFBackend(model, tokenizer, max_batch_tokens=1)
    arguments: dict[str, Any] = {"pool": pool, "backend": backend, "tokenizer": tokenizer, "context": None, "seed": "0"}
    tight = RolloutSettings(ENV, Sampling(max_tokens=8), max_prompt_tokens=5)
    for _ in range(2):
        with pytest.raises(ValueError, match="--max-prompt-tokens"):
            play(ASSIGNMENTS, settings=tight, **arguments)
    with pytest.raises(TaskError):
        play(ASSIGNMENTS, settings=SETTINGS, **arguments)
    backend.load_weights(model)  # refused while a request is under way
    assert tokens(play(ASSIGNMENTS, settings=SETTINGS, **arguments)) == lock_step(model, tokenizer)
    pool.close()
    assert tokens(play(ASSIGNMENTS, settings=SETTINGS, **arguments)) == lock_step(model, tokenizer)
    pool.close()


def test_a_slow_environment_does_not_hold_up_the_others(
    model_and_tokenizer: tuple[Any, ChatTokenizer], tmp_path: Path
) -> None:
    # While the walk from 2 to 0 hangs in its first step, the others are answered to their ends: 4, 4 and 5 turns.
    tokenizer = model_and_tokenizer[1]
    seen: list[str] = []

    def respond(text: str) -> str:
        seen.append(text.rpartition("Go to ")[2][0])
        return by_oracle(text)

    pool = EnvPool(partial(make_fragile, str(tmp_path), (Fault("train/2-0", 1, "hang"),)), "threads", 2.0)
    play(
        ASSIGNMENTS,
        pool=pool,
        backend=ScriptedBackend(tokenizer, respond),
        tokenizer=tokenizer,
        settings=SETTINGS,
        context=None,
        seed="0",
    )
    pool.close()
    assert seen.count("7") == 8
    assert seen[-2:] == ["0", "0"]
    assert seen.index("0") < 4


@pytest.mark.parametrize(
    ("name", "message"),
    [("procesess", "did you mean 'processes'"), ("threads:none", "processes:16"), ("processes:0", "processes:16")],
)
def test_a_misspelt_host_is_refused_with_what_was_meant(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_env_workers(name)


def test_auto_is_what_the_environment_asks_for(tmp_path: Path) -> None:
    def host(preferred: Any) -> str:
        def make() -> Any:
            env = make_fragile(str(tmp_path), ())
            env.unwrapped.host = preferred  # type: ignore[attr-defined]
            return env

        chosen = EnvPool(make).host
        return next(name for name, kind in ENV_HOSTS.items() if type(chosen) is kind)

    assert [host(name) for name in ("inline", "threads", "processes")] == ["inline", "threads", "processes"]
