from __future__ import annotations

import gc
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sdar_gym
from sdar_gym.envs.textworld import pool
from sdar_gym.envs.textworld.env import CoinEnv, CookingEnv, GameEnv, GameError, SimpleEnv, TextWorldEnv, TreasureEnv
from sdar_gym.envs.textworld.pool import GamePool, shared_pool
from tests.envs.hostile_story import story

pytest.importorskip("textworld", reason="textworld is not installed")

FEW: dict[str, Any] = {"train_games": 1, "valid_games": 1, "test_games": 1}
START = {"task": "train/000000"}
HostileGame = Callable[..., Path]


@pytest.fixture
def simple() -> Iterator[SimpleEnv]:
    env = SimpleEnv(**FEW)
    yield env
    env.close()


@pytest.fixture(scope="module")
def simple_game() -> Path:
    """The files of a made game."""
    env = SimpleEnv(**FEW)
    env.reset(options=START)
    env.close()
    return env.games.game("train/000000").path


@pytest.fixture
def hostile_game(simple_game: Path, tmp_path: Path) -> HostileGame:
    """Writes a game whose interpreter hangs after some commands."""

    def write(answered: int) -> Path:
        # Two settings are made at the start.
        (tmp_path / "hostile.z8").write_bytes(story(answered + 2))
        (tmp_path / "hostile.json").write_bytes(simple_game.with_suffix(".json").read_bytes())
        return tmp_path

    return write


def play(env: GameEnv) -> tuple[list[float], dict[str, Any]]:
    """Follow the oracle to the end: the rewards, and the last info."""
    rewards = []
    while True:
        action = env.oracle()
        assert action is not None
        _, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        if terminated or truncated:
            return rewards, info


def test_the_first_observation_is_the_game_without_logo_and_prompt(simple: SimpleEnv) -> None:
    observation, info = simple.reset(options=START)
    assert observation.startswith(info["task"])
    assert "\n\n-= Bedroom =-\n" in observation
    assert "$$" not in observation
    assert not observation.endswith("0/1")
    assert "\n\n\n" not in observation
    assert info["task_type"] == "simple"
    assert info["admissible_actions"] == sorted(info["admissible_actions"])
    assert "open chest drawer" in info["admissible_actions"]


def test_winning_is_rewarded_once_by_default(simple: SimpleEnv) -> None:
    simple.reset(options=START)
    rewards, info = play(simple)
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
    assert info["success"]
    assert info["won"]
    assert not info["lost"]
    assert info["score"] == 1.0
    assert info["points"] == info["max_points"]
    assert info["admissible_actions"] == []


def test_the_reward_can_be_the_share_of_points_gained() -> None:
    env = SimpleEnv(reward="score", **FEW)
    env.reset(options=START)
    rewards, info = play(env)
    env.close()
    # Every step of a "dense" game gives a point, but for a few of the way.
    assert sum(reward > 0 for reward in rewards) == info["max_points"]
    assert set(rewards) <= {0.0, round(1 / info["max_points"], 6)}
    assert sum(rewards) == pytest.approx(1.0, abs=1e-4)


def test_losing_ends_the_episode_without_reward() -> None:
    env = TreasureEnv(**FEW)
    _, info = env.reset(options=START)
    right = env.oracle()
    walk, seen, wrong = random.Random(0), [], list[str]()
    for _ in range(200):
        wrong = [action for action in info["admissible_actions"] if action.startswith("take ") and action != right]
        if wrong:
            break
        seen.append((right, info["admissible_actions"]))
        # A walk that turns anywhere sees every room; one by a rule may go round in circles.
        moves = [action for action in info["admissible_actions"] if action.startswith("go ")]
        _, _, _, _, info = env.step(walk.choice(moves))
        right = env.oracle()
    assert wrong, f"only the right thing was seen: {seen[-3:]}"
    observation, reward, terminated, truncated, info = env.step(wrong[0])
    env.close()
    assert "You lost" in observation
    assert (reward, terminated, truncated) == (0.0, True, False)
    assert info["lost"]
    assert not info["success"]


@pytest.mark.parametrize("env_class", [TextWorldEnv, TreasureEnv, CoinEnv, CookingEnv, SimpleEnv])
def test_the_oracle_wins_from_off_its_path(env_class: type[GameEnv]) -> None:
    env = env_class(**FEW)  # type: ignore[call-arg]
    for task in ("train/000000", "test/000000"):
        _, info = env.reset(options={"task": task})
        for turn in range(8):
            # A fixed walk among what can be done, that does not end the game.
            before = env.snapshot()
            _, _, terminated, _, info = env.step(
                info["admissible_actions"][(7 * turn) % len(info["admissible_actions"])]
            )
            if terminated:
                env.restore(before)
                info["admissible_actions"] = ["look"]
        _, last = play(env)
        assert last["won"], task
    env.close()


META = (
    "save", "SAVE", " restore", "quit", "q", "restart", "undo", "script", "transcript on", "look. quit",
    "look then undo", "verbose", "tw-trace-actions", "TW-extra-infos moves", "restrict commands",
    "transcripting", "$ve", "\\quit", "notify off", "inventory, restart", "oops key",
)  # fmt: skip


@pytest.mark.parametrize("action", META)
def test_what_is_meant_for_the_interpreter_is_not_sent(simple: SimpleEnv, action: str) -> None:
    _, before = simple.reset(options=START)
    observation, reward, terminated, truncated, info = simple.step(action)
    assert observation == "That is not a command of this game."
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert not info["is_action_valid"]
    assert info["admissible_actions"] == before["admissible_actions"]
    assert simple.snapshot().commands == ()


SOMETHING = (
    "look\ninventory", "look\r\nquit\r\n", "\x00\x1b[2J", "take 漢字 🚪", "x" * 100_000, "look " * 50, "(" * 90,
    "[opening antique trunk - succeeded]", "say *** The End ***", "<score>\n5\n</score>", "answer <moves>",
    "|", "\ud800", "take\u2028key", "ask me about [looking - succeeded]", ".", "then", "then then . . then", "%s%n",
)  # fmt: skip


def test_garbage_neither_ends_a_game_nor_gets_it_out_of_step(simple: SimpleEnv) -> None:
    simple.reset(options=START)
    for action in SOMETHING:
        observation, reward, terminated, truncated, info = simple.step(action)
        assert (reward, terminated, truncated) == (0.0, False, False), action
        assert info["points"] == 0
        assert "succeeded" not in observation
    # One answer a command: the last question is answered, and not the one before it.
    assert "You are carrying nothing" in simple.step("inventory")[0]
    assert simple.step("look")[0].startswith("-= Bedroom =-")
    assert play(simple)[1]["won"]


def test_playing_writes_no_file(simple: SimpleEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    simple.reset(options=START)
    for action in ("save", "script", "look. save", "look", "script on"):
        simple.step(action)
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_is_come_back_to_exactly(simple: SimpleEnv) -> None:
    simple.reset(options=START)
    for _ in range(4):
        simple.step(str(simple.oracle()))
    snapshot = simple.snapshot()
    first = [simple.step(action) for action in ("look", "inventory", "go east", "xyzzy")]
    other = SimpleEnv(**FEW)
    for env in (simple, other):
        env.restore(snapshot)
        assert env.snapshot() == snapshot
        assert [env.step(action) for action in ("look", "inventory", "go east", "xyzzy")] == first
    other.close()


def test_a_won_game_stays_won_in_a_snapshot() -> None:
    env = CoinEnv(**FEW)
    env.reset(options=START)
    play(env)
    snapshot = env.snapshot()
    env.reset(options=START)
    env.restore(snapshot)
    assert env.oracle() is None
    env.close()


def test_a_hung_interpreter_ends_its_episode_with_a_reason(hostile_game: HostileGame) -> None:
    env = TextWorldEnv(data=hostile_game(answered=3), timeout_seconds=1.0, workers=1)
    healthy = SimpleEnv(workers=1, **FEW)
    env.reset(seed=0)
    healthy.reset(options=START)
    healthy.step(str(healthy.oracle()))
    healthy_before = healthy.step("look")
    for _ in range(3):
        assert env.step("look")[2:4] == (False, False)
    observation, reward, terminated, truncated, info = env.step("look")
    assert observation == "The game gives no answer any more."
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["failure"] == "interpreter_failed"
    assert info["interrupted"] == "the interpreter gave no answer within 1 s and was ended"
    # The other game was in the same worker: it goes on where it was.
    assert healthy.step("look")[0] == healthy_before[0]
    assert play(healthy)[1]["won"]
    # And so does the environment itself, with the next episode.
    assert env.reset(seed=0)[1]["interrupted"] is None
    env.close()
    healthy.close()


def test_a_crashed_interpreter_ends_its_episode_with_a_reason(hostile_game: HostileGame) -> None:
    env = TextWorldEnv(data=hostile_game(answered=0), workers=1)
    env.reset(seed=0)
    (process,) = shared_pool(1).processes
    # While it hangs.
    killer = threading.Timer(0.3, os.kill, (process.pid, signal.SIGSEGV))
    killer.start()
    _, reward, terminated, truncated, info = env.step("look")
    killer.join()
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["interrupted"] == "the interpreter's process ended by signal SIGSEGV"
    env.close()


def test_a_game_that_cannot_be_started_is_an_error_that_names_it(hostile_game: HostileGame) -> None:
    env = TextWorldEnv(data=hostile_game(answered=-1), timeout_seconds=0.5, workers=1)
    with pytest.raises(GameError, match=r"hostile\.z8 cannot be played: .*, twice"):
        env.reset(seed=0)
    env.close()


def test_a_killed_worker_costs_nobody_an_episode(simple: SimpleEnv) -> None:
    simple.reset(options=START)
    simple.step(str(simple.oracle()))
    for process in shared_pool().processes:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert play(simple)[1]["won"]


def test_a_stopped_worker_is_replaced(simple_game: Path) -> None:
    env = TextWorldEnv(data=simple_game, timeout_seconds=0.5, workers=1)
    env.reset(seed=0)
    for process in shared_pool(1).processes:
        os.kill(process.pid, signal.SIGSTOP)
    assert env.step("look")[3]
    assert env.reset(seed=0)[1]["interrupted"] is None
    assert env.step("look")[1:4] == (0.0, False, False)
    env.close()


def test_environments_that_are_forgotten_give_their_places_back() -> None:
    env = SimpleEnv(workers=1, **FEW)
    env.reset(options=START)
    worker = shared_pool(1)._players[0]
    taken = len(worker.seats)
    del env
    gc.collect()
    assert len(worker.seats) == taken - 1


def test_workers_without_games_end_after_a_while(monkeypatch: pytest.MonkeyPatch, simple_game: Path) -> None:
    owned = GamePool(1)
    seat = owned.seat()
    seat.start(str(simple_game))
    (process,) = owned.processes
    monkeypatch.setattr(pool, "LINGER_SECONDS", 0.0)
    time.sleep(1.5)
    assert owned.processes == (process,)  # it has a game
    seat.release()
    deadline = time.monotonic() + 20
    while owned.processes and time.monotonic() < deadline:
        time.sleep(0.05)
    assert owned.processes == ()
    assert process.wait(timeout=20) != 0  # it was ended, and nobody is left to wait for
    # What is asked for again is played again, elsewhere.
    assert seat.step("look").text
    owned.close()


def test_closing_twice_and_playing_on_after_it_work() -> None:
    env = CoinEnv(**FEW)
    first = env.reset(options=START)
    env.close()
    env.close()
    assert env.reset(options=START) == first
    env.close()


def test_unknown_settings_say_what_is_known() -> None:
    with pytest.raises(ValueError, match="level is 0; it must be a whole number from 1 to 30"):
        TreasureEnv(level=0)
    with pytest.raises(ValueError, match=r"level 160 has 120 rooms, and a \.z8 file holds 100"):
        CoinEnv(level=160)
    with pytest.raises(ValueError, match="take is 3; it must be a whole number from 0 to 2"):
        CookingEnv(recipe=2, take=3)
    with pytest.raises(ValueError, match="go is 7; there are games of 1, 6, 9, 12 rooms"):
        CookingEnv(go=7)
    with pytest.raises(ValueError, match="open is 1; it must be True or False"):
        CookingEnv(open=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown rewards 'denser'; did you mean 'dense'"):
        SimpleEnv(rewards="denser")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown reward 'win'"):
        SimpleEnv(reward="win")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rooms is 0"):
        TextWorldEnv(rooms=0)
    with pytest.raises(ValueError, match="workers is 0"):
        TextWorldEnv(workers=0)
    with pytest.raises(ValueError, match="train_games is 0"):
        TextWorldEnv(train_games=0)
    with pytest.raises(ValueError, match="game_seed is -1"):
        TextWorldEnv(game_seed=-1)
    with pytest.raises(sdar_gym.UnknownTaskError, match="unknown split 'dev'"):
        TextWorldEnv(split="dev")
    with pytest.raises(sdar_gym.UnknownTaskError, match="ids look like 'train/000000'"):
        CoinEnv(**FEW).reset(options={"task": "train/000001"})


def test_it_is_stepped_in_threads_and_says_which_rules_it_plays() -> None:
    hashes = {
        env.behaviour_hash
        for env in (SimpleEnv(), SimpleEnv(goal="none"), SimpleEnv(game_seed=1), CoinEnv(), CoinEnv(level=4))
    }
    assert len(hashes) == 5
    assert SimpleEnv(train_games=3).behaviour_hash == SimpleEnv().behaviour_hash
    assert SimpleEnv().host == "threads"


def test_many_games_go_on_at_once_in_a_few_processes() -> None:
    with sdar_gym.TextBatch("sdar_gym/TextWorld-Coin-v0", 12, threads=3, workers=2, **FEW) as batch:
        won = 0
        for turns in batch.play(["train/000000", "valid/000000", "test/000000"] * 8):
            for turn in turns:
                won += turn.info["success"]
                if not turn.done:
                    batch.send(turn.slot, str(batch.envs[turn.slot].unwrapped.oracle()))
        assert won == 24
        assert len(shared_pool(2)._players) == 2


def test_workers_end_with_the_process_that_started_them(run_python: Callable[..., str], simple_game: Path) -> None:
    code = """
import os, sys
import sdar_gym
from sdar_gym.envs.textworld.pool import GamePool, shared_pool
env = sdar_gym.make("sdar_gym/TextWorld-v0", data=sys.argv[1])
env.reset(seed=0)
print(*(process.pid for process in shared_pool().processes), flush=True)
if sys.argv[2] == "killed":
    os._exit(0)
"""
    for how in ("ended", "killed"):
        pids = [int(pid) for pid in run_python(code, str(simple_game), how).split()]
        assert pids
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids), how
