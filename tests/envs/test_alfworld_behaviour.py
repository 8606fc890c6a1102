"""Versions: the hash of the rules, and the words of old agents."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import sdar_gym
from sdar_gym.envs.alfworld import engine as engine_module
from sdar_gym.envs.alfworld.behaviour import PROBE_WALK, probe_games, rules_hash
from sdar_gym.envs.alfworld.engine import Act, NativeEngine, compile_game
from sdar_gym.envs.alfworld.env import HouseholdEnv
from sdar_gym.envs.alfworld.legacy import to_current
from sdar_gym.envs.alfworld.mini import ALFWorldMiniEnv, MiniGames
from sdar_gym.envs.alfworld.official import is_installed
from sdar_gym.envs.alfworld.parity import compare_walk

if TYPE_CHECKING:
    from sdar_gym.envs.alfworld.state import State

    from .conftest import Kitchen

needs_official = pytest.mark.skipif(not is_installed(), reason='needs the extra: pip install "sdar-gym[alfworld]"')


def test_the_rules_are_those_of_version_0() -> None:
    # Results of earlier releases carry this hash. A change of the rules needs a new version suffix of the ids (-v1),
    # an entry in CHANGELOG, and then its own hash here.
    assert rules_hash() == "c146ace8731c8dd2"
    assert rules_hash(legacy_actions=True) == "ebd7f45965dfbd9b"


def test_the_walk_takes_every_action_and_reaches_every_goal() -> None:
    kinds, wins = set(), []
    for game in probe_games():
        engine = NativeEngine(compile_game(game))
        acts = {}
        won = False
        for command in PROBE_WALK:
            choices = engine.game.choices(engine.state)
            acts = {**choices.always, **choices.now}
            if command.strip() in acts:
                kinds.add(acts[command.strip()].kind)
            won = engine.step(command).won or won
        wins.append((engine.game.compiled.goal.task_type, won))
    assert len(kinds) == 15
    assert len({kind for kind, _ in wins}) == 6
    assert all(won for _, won in wins)


def _forgets_cold(state: State, act: Act) -> None:
    state.hot |= 1 << act.thing


@pytest.mark.parametrize("kind", ["heatobject", "sliceobject", "toggleobject"])
def test_another_rule_gives_another_hash(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setitem(engine_module._EFFECTS, kind, _forgets_cold)
    assert rules_hash.__wrapped__() != rules_hash()


def test_settings_and_worlds_have_hashes_of_their_own() -> None:
    mini, legacy = ALFWorldMiniEnv(), ALFWorldMiniEnv(legacy_actions=True)
    assert sdar_gym.text_env(sdar_gym.make("sdar_gym/ALFWorldMini-v0")).behaviour_hash == mini.behaviour_hash
    hashes = [mini.behaviour_hash, legacy.behaviour_hash, ALFWorldMiniEnv(things=5).behaviour_hash, rules_hash()]
    assert len(set(hashes)) == 4


@needs_official
def test_the_official_engine_has_the_hash_of_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rules_hash.__wrapped__("textworld")
    assert len({before, rules_hash(), rules_hash.__wrapped__("textworld", True)}) == 3
    monkeypatch.setattr("sdar_gym.envs.alfworld.behaviour.version", lambda package: "9.9")
    assert rules_hash.__wrapped__("textworld") != before


@needs_official
def test_the_official_engine_answers_the_walk_alike() -> None:
    assert compare_walk(probe_games()[0], PROBE_WALK, len(PROBE_WALK)) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("put apple 1 in/on fridge 1", "move apple 1 to fridge 1"),
        ("put apple 1 in fridge 1", "move apple 1 to fridge 1"),
        ("put apple 1 on countertop 2", "move apple 1 to countertop 2"),
        ("  put salt shaker 1 in/on drawer 12\n", "move salt shaker 1 to drawer 12"),
        ("put pan 1 in/on stoveburner 1 in/on fridge 1", "move pan 1 to stoveburner 1 in/on fridge 1"),
    ],
)
def test_old_commands_are_translated(old: str, new: str) -> None:
    assert to_current(old) == new


@pytest.mark.parametrize(
    "command", ["put apple 1", "put in/on fridge 1", "PUT a in/on b", "move a to b", "", "put  in b"]
)
def test_what_is_no_old_command_stays_as_it_is(command: str) -> None:
    assert to_current(command) == command


def test_old_agents_play_on_request_only(kitchen: Kitchen) -> None:
    class One(MiniGames):
        def load(self, task_id: str):  # type: ignore[no-untyped-def]
            return kitchen.game()

    fetch = ["go to stoveburner 2", "take pan 1 from stoveburner 2", "go to fridge 1", "open fridge 1"]
    for legacy in (False, True):
        env = HouseholdEnv(One(), legacy_actions=legacy)
        env.reset(seed=0)
        for command in fetch:
            before = env.step(command)[4]
        assert "move pan 1 to fridge 1" in before["admissible_actions"]
        answer, reward, terminated, _, info = env.step("put pan 1 in/on fridge 1")
        assert (terminated, info["is_action_valid"], reward) == (legacy, legacy, float(legacy))
        assert answer == ("You move the pan 1 to the fridge 1." if legacy else "Nothing happens.")


def test_a_game_in_the_old_words_is_played_in_the_old_words(kitchen: Kitchen) -> None:
    game = kitchen.game()
    old = replace(game, grammar=game.grammar.replace("move {o} to {r}", "put {o} in/on {r}"))
    assert old.grammar != game.grammar

    class One(MiniGames):
        def load(self, task_id: str):  # type: ignore[no-untyped-def]
            return old

    env = HouseholdEnv(One(), legacy_actions=True)
    env.reset(seed=0)
    for command in ("go to stoveburner 2", "take pan 1 from stoveburner 2", "go to fridge 1", "open fridge 1"):
        _, _, _, _, info = env.step(command)
    assert "put pan 1 in/on fridge 1" in info["admissible_actions"]
    assert env.step("put pan 1 in/on fridge 1")[2]


def test_a_fork_goes_its_own_way_and_shares_the_game() -> None:
    env = ALFWorldMiniEnv()
    env.reset(options={"task": "valid/000003"})
    first = env.oracle()
    assert first is not None
    env.step(first)
    twin = env.fork()
    rest = []
    while (command := twin.oracle()) is not None:
        rest.append((command, twin.step(command)))
    assert rest[-1][1][2]
    # The origin stands where it stood, and plays the same to the same end.
    assert [(command, env.step(command)) for command, _ in rest] == rest
    assert twin._game is env._game
    assert twin.fork().snapshot() == twin.snapshot()


def test_a_fork_draws_the_tasks_that_its_origin_draws() -> None:
    env = ALFWorldMiniEnv()
    env.reset(seed=5)
    twin = env.fork()
    drawn = [env.reset()[1]["task_id"] for _ in range(3)]
    assert [twin.reset()[1]["task_id"] for _ in range(3)] == drawn


def test_a_fork_before_the_first_reset_is_as_new() -> None:
    assert ALFWorldMiniEnv().fork().reset(seed=1) == ALFWorldMiniEnv().reset(seed=1)


def test_wrappers_are_forked_with_what_they_count() -> None:
    env = sdar_gym.make("sdar_gym/NumberLine-v0", max_episode_steps=3)
    env.reset(options={"task": "train/3-7"})
    env.step("stay")
    twin = sdar_gym.fork(env)
    assert [twin.step("stay")[3] for _ in range(2)] == [False, True]
    assert [env.step("right")[0] for _ in range(2)] == ["You are at 4. Go to 7.", "You are at 5. Go to 7."]
    assert sdar_gym.text_env(twin) is not sdar_gym.text_env(env)


@needs_official
def test_a_fork_of_the_official_engine_plays_the_same() -> None:
    env = ALFWorldMiniEnv(engine="textworld")
    env.reset(options={"task": "valid/000003"})
    command = env.oracle()
    assert command is not None
    env.step(command)
    twin = env.fork()
    command = env.oracle()
    assert command is not None
    assert twin.step(command) == env.step(command)
    twin.step("look")
    assert len(twin.snapshot().commands) == len(env.snapshot().commands) + 1
