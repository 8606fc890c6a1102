"""Teacher views: what each shows, that students and responses never notice, that nothing is lost in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sdar_agents.backends.scripted import ScriptedBackend
from sdar_agents.batch import collate
from sdar_agents.config import ConfigError, TrainConfig
from sdar_agents.env_hosts import EnvPool, make_agent_env
from sdar_agents.episode import Completion, Episode, Sampling, Turn
from sdar_agents.learners import SDAR
from sdar_agents.learners.base import Needs
from sdar_agents.policy import load_policy
from sdar_agents.rollout import Assignment, RolloutCounts, RolloutSettings, play
from sdar_agents.run_log import read_metrics
from sdar_agents.setup import make_context, set_up
from sdar_agents.task_skills import TaskSkills
from sdar_agents.teacher import NoSkillsError, PrivilegedContext
from sdar_agents.teacher_views import VIEWS
from sdar_agents.tokens import ChatTokenizer
from sdar_agents.train import train
from sdar_gym.prompts import COMPACT, prompt_style
from sdar_gym.registration import SUITE, make, text_env
from sdar_skills.bank import SkillBank, load_bank
from sdar_skills.retrievers import make_retriever
from sdar_skills.retrievers.base import LearningRetriever
from sdar_skills.skill import Skill

MakeConfig = Callable[..., TrainConfig]
QUIET = Console(quiet=True)
MINI = "sdar_gym/ALFWorldMini-v0"
LINE = "sdar_gym/NumberLine-v0"
LINE_BANK = SkillBank(
    (
        Skill("go-left", "number_line", "go_left", "", "", "Say left."),
        Skill("go-right", "number_line", "go_right", "", "", "Say right."),
        Skill("keep-going", "number_line", "general", "", "", "Never stop."),
    )
)


@pytest.fixture(scope="module")
def tokenizer() -> ChatTokenizer:
    return load_policy("tiny")[1]


def of_words(text: str) -> int:
    return len(text.split())


def line_context(**changes: Any) -> PrivilegedContext:
    settings: dict[str, Any] = {
        "retriever": make_retriever("task_type", LINE_BANK),
        "env": "number_line",
        "k": 1,
        "budget_tokens": 50,
        "count_tokens": of_words,
        "tasks": TaskSkills(LINE_BANK.skills, LINE),
        "given_text": "Mind the ends of the line.",
    }
    return PrivilegedContext(**(settings | changes))


def shown(context: PrivilegedContext, view: str, task_id: str = "train/3-7") -> str:
    start, goal = map(int, task_id.partition("/")[2].split("-"))
    task_type = "go_right" if goal > start else "go_left"
    return context.lookup(task=f"Go to {goal}.", task_type=task_type, task_id=task_id, view=view).text


# ---- what each view shows --------------------------------------------------------------------------------


def test_each_view_shows_what_its_name_says() -> None:
    context = line_context()
    assert shown(context, "skill") == "Say right."
    assert shown(context, "full") == "Say left.\nSay right.\nNever stop."
    # The number line names no skills of single tasks: those of the type stand in.
    assert shown(context, "oracle") == "Say right."
    assert shown(context, "placebo") == "right. Say"
    assert shown(context, "pruned") == "Never stop."
    assert shown(context, "hindsight") == ""


def test_the_whole_bank_is_as_much_as_fits_and_the_rest_is_counted() -> None:
    context = line_context(budget_tokens=4)
    assert shown(context, "full") == "Say left.\nSay right."
    assert context.dropped_skills == 1


@pytest.mark.parametrize("env_id", [name for name, entry in SUITE.items() if entry.own_skills is not None])
def test_the_oracles_view_tells_what_the_very_task_hides(env_id: str) -> None:
    bank = load_bank(SUITE[env_id].family)
    tasks = TaskSkills(bank.skills, env_id)
    context = PrivilegedContext(None, SUITE[env_id].family, 1, 2000, of_words, tasks)
    env = make(env_id)
    told = 0
    for task_id in text_env(env).task_ids("train")[:25]:
        _, info = env.reset(options={"task": task_id})
        rendering = context.lookup(task=info["task"], task_type=info["task_type"], task_id=task_id, view="oracle")
        own = {skill.id for skill in tasks.own(task_id)}
        told += bool(own)
        types = {kind for skill_id in rendering.skill_ids for kind in bank[skill_id].task_types}
        assert set(rendering.skill_ids) == own if own else types == {info["task_type"]}
        assert all(bank[skill_id].body in rendering.text for skill_id in rendering.skill_ids)
    assert told > 5


def test_in_the_mini_world_the_mugs_task_gets_the_mugs_skill() -> None:
    tasks = TaskSkills(load_bank("alfworld_mini").skills, MINI)
    env = make(MINI)
    seen = set()
    for task_id in text_env(env).task_ids("train")[:40]:
        _, info = env.reset(options={"task": task_id})
        (own,) = tasks.own(task_id)
        thing = own.id.removeprefix("where-the-").removesuffix("-is")
        assert thing in info["task"]
        seen.add(thing)
    assert len(seen) > 5


def test_what_single_tasks_hide_is_not_general_although_the_bank_files_it_there() -> None:
    bank = load_bank("alfworld_mini")
    general = TaskSkills(bank.skills, MINI).general()
    assert [skill.id for skill in general] == ["worth-opening"]
    assert bank["where-the-mug-is"].task_type == "general"


def test_a_placebo_has_the_same_words_in_another_order_and_as_many_tokens(tokenizer: ChatTokenizer) -> None:
    bank = load_bank("alfworld_mini")
    context = PrivilegedContext(
        make_retriever("task_type", bank), "alfworld_mini", 3, 256, lambda text: len(tokenizer.text_ids(text))
    )
    texts = set()
    env = make(MINI)
    for task_id in text_env(env).task_ids("train")[:20]:
        _, info = env.reset(options={"task": task_id})
        task = {"task": info["task"], "task_type": info["task_type"], "task_id": task_id}
        skill, placebo = (context.lookup(**task, view=view) for view in ("skill", "placebo"))
        assert Counter(placebo.text.split()) == Counter(skill.text.split())
        assert placebo.text != skill.text
        assert placebo.tokens == skill.tokens == len(tokenizer.text_ids(placebo.text))
        texts.add(placebo.text)
    # Tasks of one type have the same skills and each its own order.
    assert len(texts) == 20


def test_a_placebo_depends_on_the_seed_and_the_task_alone() -> None:
    skill = Skill("go-right", "number_line", "go_right", "", "", " ".join(f"word{number}" for number in range(20)))
    bank = SkillBank((skill,))

    def text(seed: int, task_id: str = "train/3-7") -> str:
        return shown(line_context(retriever=make_retriever("task_type", bank), seed=seed), "placebo", task_id)

    assert text(0) == text(0) != text(1)
    assert text(0) != text(0, "train/2-7")


def test_a_view_that_finds_nothing_stops_the_run() -> None:
    nothing = line_context(tasks=TaskSkills(LINE_BANK.skills[2:], LINE))
    with pytest.raises(NoSkillsError, match=r"no skill for the task .* itself and none for its type 'go_right'"):
        shown(nothing, "oracle")
    for view in ("full", "oracle", "skill", "placebo", "pruned"):
        with pytest.raises(NoSkillsError, match="--max-skill-tokens"):
            shown(line_context(budget_tokens=1), view)


def test_an_unknown_view_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'oracle'"):
        shown(line_context(), "orcale")


# ---- wrong skills ----------------------------------------------------------------------------------------


def line_ids() -> tuple[str, ...]:
    return tuple(text_env(make(LINE)).task_ids("train"))


def test_wrong_tasks_see_skills_of_other_tasks_only() -> None:
    context = line_context(wrong_share=1.0)
    assert shown(context, "skill") == shown(context, "oracle") == shown(context, "full") == "Say left."
    assert shown(context, "placebo") == "left. Say"
    # General skills are right for every task.
    assert shown(context, "pruned") == "Never stop."


def test_no_wrong_skill_of_the_mini_world_is_right_for_its_task() -> None:
    tasks = TaskSkills(load_bank("alfworld_mini").skills, MINI)
    context = PrivilegedContext(
        make_retriever("task_type", load_bank("alfworld_mini")), "alfworld_mini", 3, 500, of_words, tasks,
        wrong_share=1.0,
    )  # fmt: skip
    env = make(MINI)
    for task_id in text_env(env).task_ids("train")[:20]:
        _, info = env.reset(options={"task": task_id})
        rendering = context.lookup(task=info["task"], task_type=info["task_type"], task_id=task_id)
        right = {skill.id for skill in (*tasks.own(task_id), *tasks.of_type(info["task_type"]), *tasks.general())}
        assert len(rendering.skill_ids) == 3
        assert right.isdisjoint(rendering.skill_ids)


def test_the_share_of_wrong_tasks_is_what_was_asked_and_the_same_tasks_every_time() -> None:
    ids = [f"train/{number}" for number in range(4000)]
    wrong = {task for task in ids if line_context(wrong_share=0.3).is_wrong(task)}
    # Binomial(4000, .3): 1200, deviation 29.
    assert abs(len(wrong) - 1200) < 116
    assert wrong == {task for task in ids if line_context(wrong_share=0.3).is_wrong(task)}
    assert wrong < {task for task in ids if line_context(wrong_share=0.5).is_wrong(task)}
    assert wrong != {task for task in ids if line_context(wrong_share=0.3, seed=1).is_wrong(task)}
    assert not any(line_context().is_wrong(task) for task in ids)


def test_a_bank_without_other_skills_cannot_be_wrong() -> None:
    with pytest.raises(NoSkillsError, match="no skill of other tasks"):
        shown(line_context(wrong_share=1.0, tasks=TaskSkills(LINE_BANK.skills[1:], LINE)), "skill")


def test_a_bandit_is_not_taught_by_episodes_whose_teacher_saw_something_else() -> None:
    bandit = make_retriever("ucb", LINE_BANK)
    assert isinstance(bandit, LearningRetriever)
    untouched = bandit.state_dict()
    episode = replace(ended(["right"], success=True), task_type="go_right", skill_ids=("go-right",))
    line_context(retriever=bandit, wrong_share=1.0).learn([episode])
    line_context(retriever=bandit, view="oracle").learn([episode])
    assert bandit.state_dict() == untouched
    line_context(retriever=bandit).learn([episode])
    assert bandit.state_dict() != untouched


# ---- hindsight -------------------------------------------------------------------------------------------


def ended(actions: list[str], *, success: bool, truncated: bool = False, valid: bool = True) -> Episode:
    turns = tuple(
        Turn((1,), None, Completion((2,), (0.0,), action, stopped=True), action, "", 0.0, valid, None)
        for action in actions
    )
    return Episode(LINE, "train/3-7", "go_right", "Go to 7.", 0, turns, success, float(success), truncated, ())


SOLVED = ended(["right", "right", "right"], success=True)
QUICKER = ended(["right", "jump"], success=True)
FAILED = ended(["left", "stay"], success=False, truncated=True)


def test_hindsight_of_a_success_is_its_own_actions() -> None:
    text = line_context().look_back(SOLVED, [SOLVED, QUICKER, FAILED], view="hindsight").text
    assert text == "Solved by: right; right; right"


def test_hindsight_of_a_failure_is_the_shortest_success_of_its_group() -> None:
    text = line_context().look_back(FAILED, [SOLVED, QUICKER, FAILED], view="hindsight").text
    assert text == "Failed. Solved by: right; jump"


def test_hindsight_of_a_failure_among_failures_is_its_own_actions_with_what_was_not_understood() -> None:
    lost = ended(["fly\n to the moon", ""], success=False, valid=False)
    text = line_context().look_back(lost, [lost, FAILED], view="hindsight").text
    assert text == "Failed by: fly to the moon (failed); (no action) (failed)"


def test_hindsight_over_its_budget_loses_whole_actions_from_the_end_and_counts_them() -> None:
    # Two words before the actions.
    context = line_context(budget_tokens=3)
    rendering = context.look_back(SOLVED, [SOLVED], view="hindsight")
    assert rendering.text == "Solved by: right"
    assert len(rendering.dropped_ids) == context.dropped_skills == 2
    with pytest.raises(NoSkillsError, match="--max-skill-tokens"):
        line_context(budget_tokens=1).look_back(SOLVED, [SOLVED], view="hindsight")


# ---- in a rollout ----------------------------------------------------------------------------------------


def rolled(
    tokenizer: ChatTokenizer, context: PrivilegedContext, respond: Callable[[str], str], **settings: Any
) -> tuple[tuple[Episode, ...], RolloutCounts]:
    counts = RolloutCounts()
    rollout = play(
        [Assignment("train/3-7", 0), Assignment("train/3-7", 0), Assignment("train/2-0", 1)],
        pool=EnvPool(lambda: make_agent_env(LINE, COMPACT)),
        backend=ScriptedBackend(tokenizer, respond),
        tokenizer=tokenizer,
        settings=RolloutSettings(LINE, Sampling(max_tokens=12), 300, **settings),
        context=context,
        seed="0",
        counts=counts,
    )
    return rollout.episodes, counts


def text_of(tokenizer: ChatTokenizer, ids: tuple[int, ...] | None) -> str:
    assert ids is not None
    return str(tokenizer.tokenizer.decode(ids))


@pytest.mark.parametrize("view", sorted(set(VIEWS) - {"bare"}))
def test_every_view_differs_from_the_students_prompt_by_its_text_in_the_user_turn_and_by_nothing_else(
    view: str, tokenizer: ChatTokenizer
) -> None:
    bare, _ = rolled(tokenizer, line_context(), lambda _: "right")
    others = tuple(name for name in VIEWS if name != view)
    episodes, _ = rolled(tokenizer, line_context(view=view), lambda _: "right", teacher_prompts=True, views=others)
    as_further, _ = rolled(tokenizer, line_context(), lambda _: "right", views=(view,))
    for episode, plain, further in zip(episodes, bare, as_further, strict=True):
        assert episode.skill_text
        for turn, before, again in zip(episode.turns, plain.turns, further.turns, strict=True):
            student, teacher = text_of(tokenizer, turn.prompt_ids), text_of(tokenizer, turn.teacher_prompt_ids)
            assert teacher.replace(f"Skills:\n{episode.skill_text}\n", "") == student
            assert teacher.index("<|im_start|>user") < teacher.index(episode.skill_text) < teacher.index("<|im_end|>")
            # The student sees what it would see without a teacher, and its response stays what it was.
            assert (turn.prompt_ids, turn.completion) == (before.prompt_ids, before.completion)
            assert set(turn.view_prompt_ids) == set(others)
            assert again.view_prompt_ids == {view: turn.teacher_prompt_ids}
            assert again.teacher_prompt_ids is None


def test_the_bare_view_is_the_prompt_of_a_student_without_skills(tokenizer: ChatTokenizer) -> None:
    episodes, _ = rolled(tokenizer, line_context(view="bare"), lambda _: "right", teacher_prompts=True)
    for episode in episodes:
        assert episode.skill_text == ""
        assert all(turn.teacher_prompt_ids == turn.prompt_ids for turn in episode.turns)


def test_a_given_text_that_is_too_long_is_refused() -> None:
    context = line_context(view="text", given_text="one two three", budget_tokens=2)
    with pytest.raises(NoSkillsError, match="has 3 tokens, more than the 2"):
        context.lookup(task="Go.", task_type="go")


@pytest.mark.parametrize(
    "env_id", [MINI, "sdar_gym/ALFWorldRooms-v0", "sdar_gym/WebShopMini-v0", "sdar_gym/SearchQAMini-v0"]
)
def test_in_every_environment_the_teacher_reads_the_tasks_own_skills_word_for_word(
    env_id: str, tokenizer: ChatTokenizer
) -> None:
    entry = SUITE[env_id]
    bank = load_bank(entry.family)
    tasks = TaskSkills(bank.skills, env_id)
    style = prompt_style(entry.prompt_style or "tagged")
    env = make(env_id)
    task_ids = text_env(env).task_ids("train")[:3]
    arguments: dict[str, Any] = {
        "pool": EnvPool(lambda: make_agent_env(env_id, style)),
        "backend": ScriptedBackend(tokenizer, lambda _: "<think>Why?</think><action>look</action>"),
        "tokenizer": tokenizer,
        "context": PrivilegedContext(None, entry.family, 1, 2000, lambda text: len(tokenizer.text_ids(text)), tasks,
                                     view="oracle"),
        "seed": "0",
    }  # fmt: skip
    assignments = [Assignment(task_id, group) for group, task_id in enumerate(task_ids)]
    settings = RolloutSettings(env_id, Sampling(max_tokens=60), 20_000)
    taught = play(assignments, settings=replace(settings, teacher_prompts=True), **arguments).episodes
    bare = play(assignments, settings=settings, **arguments).episodes
    for episode, plain in zip(taught, bare, strict=True):
        own = tasks.own(episode.task_id) or tasks.of_type(episode.task_type)
        assert {skill.id for skill in own} == set(episode.skill_ids)
        for turn, before in zip(episode.turns, plain.turns, strict=True):
            teacher, student = (text_of(tokenizer, ids) for ids in (turn.teacher_prompt_ids, turn.prompt_ids))
            for skill in own:
                assert teacher.index("<|im_start|>user") < teacher.index(skill.body) < teacher.index("<|im_end|>")
                assert skill.body not in student
            assert (turn.prompt_ids, turn.completion) == (before.prompt_ids, before.completion)


def test_a_failed_episode_learns_from_its_successful_sibling_of_its_own_group_alone(tokenizer: ChatTokenizer) -> None:
    # The first of group 0 walks right to 7, the second stays; the third, alone in its group, walks left to 0.
    waiting = Counter[str]()

    def respond(text: str) -> str:
        here = text.rpartition("Now: ")[2]
        waiting[here] += 1
        return "left" if "Go to 0." in text else "stay" if "Done: stay" in text or waiting[here] == 2 else "right"

    episodes, _ = rolled(tokenizer, line_context(view="hindsight"), respond, teacher_prompts=True)
    assert [episode.success for episode in episodes] == [True, False, True]
    assert [episode.skill_text for episode in episodes] == [
        "Solved by: right; right; right; right",
        "Failed. Solved by: right; right; right; right",
        "Solved by: left; left",
    ]


def test_what_does_not_fit_is_counted_once_for_each_prompt_that_lacks_it(tokenizer: ChatTokenizer) -> None:
    # Of three skills two fit the view `full`; four, four and two turns.
    context = line_context(budget_tokens=4)
    way = {"7": "right", "0": "left"}
    respond = lambda text: way[text.rpartition("Go to ")[2][0]]  # noqa: E731
    episodes, counts = rolled(tokenizer, context, respond, teacher_prompts=True, views=("full",))
    assert [len(episode.turns) for episode in episodes] == [4, 4, 2]
    assert counts.dropped_skills == 4 + 4 + 2
    _, without = rolled(tokenizer, line_context(budget_tokens=4), respond, teacher_prompts=True)
    assert without.dropped_skills == 0
    # Of the view `hindsight` whole actions: 3 words fit of 6, 6 and 4.
    lines = line_context(budget_tokens=3, view="hindsight")
    _, late = rolled(tokenizer, lines, respond, teacher_prompts=True)
    assert late.dropped_skills == 3 * 4 + 3 * 4 + 1 * 2


def test_views_reach_the_batch_and_an_acting_prompt_cannot_show_what_comes_later(tokenizer: ChatTokenizer) -> None:
    episodes, _ = rolled(tokenizer, line_context(), lambda _: "right", views=("pruned", "hindsight"))
    batch = collate(episodes, pad_id=tokenizer.pad_id)
    assert sorted(batch.views) == ["hindsight", "pruned"]
    longest = max(len(ids) for episode in episodes for turn in episode.turns for ids in turn.view_prompt_ids.values())
    assert batch.row_lengths().max() == longest + batch.response_mask.sum(1).max()
    with pytest.raises(ValueError, match="an acting prompt cannot show it"):
        rolled(tokenizer, line_context(view="hindsight"), lambda _: "right", student_skills=True)


# ---- in a run --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["full", "oracle", "placebo", "hindsight"])
def test_a_run_trains_with_every_view_as_its_teacher(view: str, number_line_config: MakeConfig) -> None:
    config = number_line_config("sdar", steps=2, teacher_view=view, max_skill_tokens=60)
    train(config, console=QUIET)
    rows = read_metrics(Path(config.run))
    assert [row["step"] for row in rows if row["kind"] == "train"] == [1, 2]
    # Nobody can be shown beforehand how an episode ends.
    assert ("skills_success_rate" in rows[-1]) == (view != "hindsight")
    assert rows[1]["gap"] != 0


class _TwoViews(SDAR):
    __slots__ = ()

    @property
    def needs(self) -> Needs:
        return replace(super().needs, views=("full", "hindsight"))


def test_a_run_collects_scores_and_probes_the_views_that_a_learner_asks_for(
    number_line_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdar_agents.config.LEARNERS", {"two_views": _TwoViews})
    seen = []

    def prepare(self: SDAR, batch: Any, step: int) -> Any:
        seen.append({name: view.logprobs for name, view in batch.views.items()})
        return self.rl.prepare(batch, step)

    monkeypatch.setattr(_TwoViews, "prepare", prepare)
    config = number_line_config("sdar", learner=_TwoViews(), steps=1, eval_every=5, max_skill_tokens=60)
    train(config, console=QUIET)
    # Two probes and a step.
    assert len(seen) == 3
    for scores in seen:
        assert set(scores) == {"full", "hindsight"}
        assert all(value is not None for value in scores.values())
    assert (seen[-1]["full"] != seen[-1]["hindsight"]).any()


def test_a_run_says_what_share_of_its_episodes_was_taught_wrong(number_line_config: MakeConfig) -> None:
    config = number_line_config("sdar", steps=3, wrong_skills=0.5, eval_every=9)
    run = set_up(config, resume=False)
    assert run.context is not None
    train(replace(config, run=config.run + "-2"), console=QUIET)
    rows = [row for row in read_metrics(Path(config.run + "-2")) if row["kind"] == "train"]
    # With one skill a type, the teacher sees the other way or the right one.
    assert all(row["skill_matches_type"] == pytest.approx(1 - row["wrong_skills"]) for row in rows)
    assert 0 < sum(row["wrong_skills"] for row in rows) / 3 < 1


def test_without_a_retriever_a_view_of_the_bank_still_shows_it(number_line_config: MakeConfig) -> None:
    _, tokenizer = load_policy("tiny")
    config = number_line_config("sdar", retriever="none", teacher_view="oracle")
    context, bank = make_context(config, tokenizer)
    assert bank is not None
    assert context is not None
    assert shown(context, "oracle") == "Say right."
    nothing, no_bank = make_context(replace(config, teacher_view="skill"), tokenizer)
    assert no_bank is None
    assert nothing is not None
    assert not nothing.shows_skills
    assert shown(nothing, "skill") == ""
    assert make_context(replace(config, teacher_view="skill", learner=config.learner.rl), tokenizer) == (None, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher_view": "orcale"}, "did you mean 'oracle'"),
        ({"wrong_skills": 1.5}, r"--wrong-skills must be in \[0, 1\], got 1.5"),
        ({"wrong_skills": 0.5, "teacher_view": "hindsight"}, "--wrong-skills changes nothing in the view hindsight"),
        ({"wrong_skills": 0.5, "retriever": "none"}, "makes no sense with --retriever none"),
        ({"teacher_view": "pruned"}, "this bank has none: choose another view"),
    ],
)
def test_settings_under_which_a_view_would_show_nothing_are_refused(
    settings: dict[str, Any], message: str, number_line_config: MakeConfig
) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        set_up(number_line_config("sdar", **settings), resume=False)
