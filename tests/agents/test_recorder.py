"""A run keeps some of its episodes with what learning saw of each token, each step once even after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdar_agents.episode_file import drop_episodes, read_episodes
from sdar_agents.recorder import EPISODES
from sdar_agents.run_log import read_metrics
from sdar_agents.train import train


def places(run: str) -> list[tuple[str, int, int]]:
    return [each.key for each in read_episodes(Path(run) / EPISODES)]


def test_a_run_records_first_and_last_steps_with_traces_and_its_evaluations(
    tmp_path: Path, number_line_config: Any
) -> None:
    config = number_line_config("sdar", steps=3, eval_every=3, record_episodes=2)
    train(config)
    recorded = list(read_episodes(Path(config.run) / EPISODES))
    assert {(each.phase, each.step) for each in recorded} == {("eval", 0), ("train", 1), ("train", 3), ("eval", 3)}
    assert len(recorded) == 8
    for each in recorded:
        if each.phase == "train":
            assert each.advantages is not None
            assert each.traces is not None
            for turn, trace in zip(each.episode.turns, each.traces, strict=True):
                length = len(turn.completion.token_ids)
                assert trace.teacher is not None
                assert trace.gate is not None
                assert [len(trace.student), len(trace.teacher), len(trace.gate)] == [length] * 3
                assert all(number <= 1e-4 for number in (*trace.student, *trace.teacher))
                # SDAR's gate is a sigmoid of the gap: above one half exactly where the teacher thinks more of a token.
                for student, teacher, gate in zip(trace.student, trace.teacher, trace.gate, strict=True):
                    assert abs(teacher - student) < 1e-3 or (gate > 0.5) == (teacher > student)


def test_metrics_are_the_same_whether_episodes_are_recorded_or_not(tmp_path: Path, number_line_config: Any) -> None:
    rows = []
    for count in (0, 4):
        config = number_line_config(
            "sdar", steps=2, eval_every=2, record_episodes=count, run=str(tmp_path / f"r{count}")
        )
        train(config)
        kept = [{k: v for k, v in row.items() if "seconds" not in k} for row in read_metrics(Path(config.run))]
        rows.append(kept)
        assert (Path(config.run) / EPISODES).exists() == bool(count)
    assert rows[0] == rows[1]


def test_episodes_of_steps_that_are_played_again_are_dropped_first(tmp_path: Path, number_line_config: Any) -> None:
    config = number_line_config("grpo", steps=2, eval_every=2, record_episodes=2, record_every=1)
    train(config)
    file = Path(config.run) / EPISODES
    lines = file.read_bytes().splitlines(keepends=True)
    with file.open("ab") as stream:
        stream.write(lines[-1][:30])
    drop_episodes(file, after=1)
    assert {each.step for each in read_episodes(file)} == {0, 1}
    assert file.read_bytes() == b"".join(lines[: 1 + 2 + 2])


def test_with_rounds_of_sampling_the_episodes_that_are_trained_on_are_kept(
    number_line_config: Any, tmp_path: Path
) -> None:
    # Groups whose members all do alike are played and not trained on: they have no advantages to record.
    # Of 8 pairs some do alike whatever the model is (all differ with odds of at most 1 in 256).
    config = number_line_config("grpo", steps=1, groups=8, group_size=2, sampling_rounds=2, record_episodes=32)
    train(config)
    (row,) = [row for row in read_metrics(Path(config.run)) if row["kind"] == "train"]
    assert row["trained_groups"] < row["played_groups"]
    recorded = [each for each in read_episodes(Path(config.run) / EPISODES) if each.phase == "train"]
    assert len(recorded) == 2 * row["trained_groups"]
    for each in recorded:
        assert each.advantages is not None
        assert len(each.advantages) == len(each.episode.turns)
        assert any(each.advantages)
