"""What a teacher's prompt shows in the slot for skills: one function a view, and the table of contents.

To add a view, write a function of (source, task) and a line in `VIEWS`; one that is known only when the episode has
ended is a function of (source, episode, its group).
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sdar_agents.episode import Episode
from sdar_agents.task_skills import TaskSkills
from sdar_gym.errors import unknown
from sdar_gym.prompts import Exchange
from sdar_skills.rendering import Rendering, render_skills
from sdar_skills.retrievers.base import Retriever
from sdar_skills.skill import Match, Skill, SkillQuery

SHUFFLES = 100
"""How many orders of a placebo's words are tried for one that has exactly as many tokens."""


class NoSkillsError(ValueError):
    """A view that has nothing to show, or nothing that fits: the teacher would silently be the student."""


@dataclass(frozen=True, slots=True)
class ViewedTask:
    """The task whose teacher is asked for.

    Attributes:
        task_id, task_type, task: As in `Episode`.
        is_wrong: Whether this task's teacher is given skills of other tasks only.
    """

    task_id: str
    task_type: str
    task: str
    is_wrong: bool = False


class ViewSource(Protocol):
    """What views are made from: `PrivilegedContext` has it, and says what each is."""

    @property
    def retriever(self) -> Retriever | None: ...
    @property
    def env(self) -> str: ...
    @property
    def k(self) -> int: ...
    @property
    def budget_tokens(self) -> int: ...
    @property
    def count_tokens(self) -> Callable[[str], int]: ...
    @property
    def tasks(self) -> TaskSkills | None: ...
    @property
    def seed(self) -> int: ...
    @property
    def given_text(self) -> str: ...


@dataclass(frozen=True, slots=True)
class TeacherView:
    """One way to fill the slot.

    Attributes:
        summary: What is shown, in one line.
        before: The text, known with the task; None if it is known only after the episode.
        after: The text, from the episode and all episodes of its group; None if it is known before.
        needs_bank: Whether it looks into the bank without the retriever.
        is_retrieved: Whether its skills are those that the retriever answered with.
        can_be_wrong: Whether `--wrong-skills` can take skills of other tasks in the place of its own.
    """

    summary: str
    before: Callable[[ViewSource, ViewedTask], Rendering] | None = None
    after: Callable[[ViewSource, Episode, Sequence[Episode]], Rendering] | None = None
    needs_bank: bool = False
    is_retrieved: bool = False
    can_be_wrong: bool = False


def teacher_view(name: str) -> TeacherView:
    """The view of that name.

    Raises:
        ValueError: there is none; the text suggests the nearest.
    """
    if name not in VIEWS:
        raise ValueError(unknown("teacher view", name, VIEWS))
    return VIEWS[name]


# ---- known with the task ---------------------------------------------------------------------------------


def retrieved(source: ViewSource, task: ViewedTask) -> Rendering:
    """What the retriever finds for the task; nothing with the retriever `none`.

    Raises:
        NoSkillsError: it finds nothing, or nothing that fits the budget.
    """
    if source.retriever is None:
        return _rendered(source, ())
    if task.is_wrong:
        return _of_other_tasks(source, task, source.k)
    matches = source.retriever.retrieve(SkillQuery(source.env, task.task_type, task.task), source.k)
    if not matches:
        raise NoSkillsError(
            f"the retriever returned no skill for the task {task.task!r} ({task.task_type}): the teacher would see "
            "what the student sees. Choose another --retriever or --bank, or --retriever none if that is meant"
        )
    return _some(source, [match.skill for match in matches], f"no retrieved skill for {task.task!r}")


def whole_bank(source: ViewSource, task: ViewedTask) -> Rendering:
    """Every skill of the environment, by id, as many whole ones as the budget holds; of a wrong task all but its own.

    Raises:
        NoSkillsError: nothing fits the budget.
    """
    known = _tasks(source)
    skills = known.of_other_tasks(task.task_id, task.task_type) if task.is_wrong else known.skills
    return _some(source, skills, "no skill of the bank")


def oracle(source: ViewSource, task: ViewedTask) -> Rendering:
    """The skills that tell what this very task hides; where it has none, those of its type.

    Raises:
        NoSkillsError: the bank has neither, or none fits the budget.
    """
    known = _tasks(source)
    right = known.own(task.task_id) or known.of_type(task.task_type)
    if not right:
        raise NoSkillsError(
            f"the bank has no skill for the task {task.task!r} itself and none for its type {task.task_type!r}: add "
            "one, or choose another --teacher-view"
        )
    if task.is_wrong:
        return _of_other_tasks(source, task, len(right))
    return _some(source, right, f"no skill of the task {task.task!r} itself")


def right(source: ViewSource, task: ViewedTask) -> Rendering:
    """As many skills as the retriever would be asked for, of those that `skills eval` judges right for the task.

    First those that tell what the task itself hides, then those of its type, by id.

    Raises:
        NoSkillsError: the bank has none, or none fits the budget.
    """
    known = _tasks(source)
    skills = tuple(dict.fromkeys((*known.own(task.task_id), *known.of_type(task.task_type))))[: source.k]
    if not skills:
        raise NoSkillsError(
            f"the bank has no skill for the task {task.task!r} itself and none for its type {task.task_type!r}: add one"
        )
    if task.is_wrong:
        return _of_other_tasks(source, task, len(skills))
    return _some(source, skills, f"no skill of the task {task.task!r} or its type")


def placebo(source: ViewSource, task: ViewedTask) -> Rendering:
    """The retrieved text with its words in another order: as long, and without meaning.

    The order is a function of the seed and the task. White space stays where it is. Of `SHUFFLES` orders it is the
    first that has as many tokens as the text; else the nearest that fits the budget. The first half of them keep words
    at the ends of lines among themselves, which hardly any tokenizer counts otherwise.
    """
    rendering = retrieved(source, task)
    parts = re.split(r"(\s+)", rendering.text)
    words, spaces = parts[::2], ["", *parts[1::2], ""]
    rng = _rng("placebo", source.seed, task.task_id, task.task)
    best, distance = rendering, math.inf
    for attempt in range(SHUFFLES if len(set(words)) > 1 else 0):
        keys = [tuple(spaces[place : place + 2]) if attempt < SHUFFLES // 2 else () for place in range(len(words))]
        mixed = _shuffled_within(words, keys, rng)
        text = "".join(space + word for space, word in zip(spaces, [*mixed, ""], strict=True))
        tokens = source.count_tokens(text)
        off = abs(tokens - rendering.tokens)
        if text != rendering.text and off < distance and tokens <= source.budget_tokens:
            best, distance = Rendering(text, rendering.skill_ids, tokens, rendering.dropped_ids), off
        if distance == 0:
            break
    return best


def _shuffled_within(words: Sequence[str], keys: Sequence[object], rng: random.Random) -> list[str]:
    """The words, those of equal keys exchanged among their places."""
    mixed = list(words)
    for key in dict.fromkeys(keys):
        places = [place for place, own in enumerate(keys) if own == key]
        chosen = [words[place] for place in places]
        rng.shuffle(chosen)
        for place, word in zip(places, chosen, strict=True):
            mixed[place] = word
    return mixed


def general_only(source: ViewSource, task: ViewedTask) -> Rendering:
    """The skills that help with every task, by id; an empty text where the bank has none.

    Skills that tell what single tasks hide are left out, although they too are filed under `general`.

    Raises:
        NoSkillsError: there are some, and none fits the budget.
    """
    skills = _tasks(source).general()
    return _some(source, skills, "no general skill") if skills else _rendered(source, ())


def given(source: ViewSource, task: ViewedTask) -> Rendering:
    """The text that `--teacher-text` names, the same for every task.

    Raises:
        NoSkillsError: it does not fit the budget.
    """
    tokens = source.count_tokens(source.given_text)
    if tokens > source.budget_tokens:
        raise NoSkillsError(
            f"the text of --teacher-text has {tokens} tokens, more than the {source.budget_tokens} of "
            "--max-skill-tokens: raise that, or shorten the text"
        )
    return Rendering(source.given_text, (), tokens, ())


def nothing(source: ViewSource, task: ViewedTask) -> Rendering:
    """An empty slot: the prompt of a student that acts without skills."""
    return _rendered(source, ())


# ---- known after the episode -----------------------------------------------------------------------------


def hindsight(source: ViewSource, episode: Episode, group: Sequence[Episode]) -> Rendering:
    """How the episode ended, and the actions of an attempt to learn from.

    A successful episode tells its own actions, `Solved by: take mug 1; ...`, which are what the teacher then scores. A
    failed one tells those of the successful episode of its group that took the fewest turns (the first of equals),
    `Failed. Solved by: ...`; where nobody in the group succeeded, its own, `Failed by: ...`. Actions stand in order;
    one that was not understood is marked `(failed)`. Whole actions are left out from the end where the text is over
    the budget, and counted as dropped.

    Raises:
        NoSkillsError: not even the words before the actions fit the budget.
    """
    solved = min((other for other in group if other.success), key=lambda other: len(other.turns), default=None)
    if episode.success:
        told, lead = episode, "Solved by:"
    elif solved is not None:
        told, lead = solved, "Failed. Solved by:"
    else:
        told, lead = episode, "Failed by:"
    actions = [
        Exchange("", " ".join(turn.action.split()) or "(no action)", turn.is_valid).noted_action for turn in told.turns
    ]
    for kept in range(len(actions), -1, -1):
        text = f"{lead} {'; '.join(actions[:kept])}".strip()
        tokens = source.count_tokens(text)
        if tokens <= source.budget_tokens:
            dropped = tuple(f"action {number}" for number in range(kept + 1, len(actions) + 1))
            return Rendering(text, (), tokens, dropped)
    raise NoSkillsError(
        f"not even the first words of the view hindsight fit into {source.budget_tokens} tokens: raise "
        "--max-skill-tokens"
    )


BARE = "bare"
"""The view that shows nothing."""
VIEWS: dict[str, TeacherView] = {
    "skill": TeacherView("what the retriever finds for the task", retrieved, is_retrieved=True, can_be_wrong=True),
    "full": TeacherView("the whole bank, as far as the budget goes", whole_bank, needs_bank=True, can_be_wrong=True),
    "oracle": TeacherView("the task's own skills, else its type's", oracle, needs_bank=True, can_be_wrong=True),
    "right": TeacherView(
        "the task's own skills, then its type's, as many as are asked for", right, needs_bank=True, can_be_wrong=True
    ),
    "placebo": TeacherView(
        "the words of what the retriever finds, shuffled", placebo, is_retrieved=True, can_be_wrong=True
    ),
    "pruned": TeacherView("the general skills only", general_only, needs_bank=True),
    "text": TeacherView("the text of --teacher-text", given),
    BARE: TeacherView("nothing: what a student without skills reads", nothing),
    "hindsight": TeacherView("how the episode itself ended, and a solution", after=hindsight),
}
"""Name -> what the teacher's prompt shows in the slot."""


# ---- helpers ---------------------------------------------------------------------------------------------


def is_chosen(share: float, seed: int, task_id: str) -> bool:
    """Whether a task is among this share of all: a function of the seed and the task, and a larger share has more."""
    return _draw("wrong skills", seed, task_id) < share * 2**64


def _of_other_tasks(source: ViewSource, task: ViewedTask, count: int) -> Rendering:
    others = list(_tasks(source).of_other_tasks(task.task_id, task.task_type))
    if not others:
        raise NoSkillsError(
            f"--wrong-skills: the bank has no skill of other tasks than {task.task!r} ({task.task_type}); add some, or "
            "leave the option out"
        )
    _rng("which wrong skills", source.seed, task.task_id).shuffle(others)
    return _some(source, others[:count], f"no skill of other tasks than {task.task!r}")


def _tasks(source: ViewSource) -> TaskSkills:
    if source.tasks is None:
        raise ValueError("this view looks into the skill bank, but the privileged context was made without one")
    return source.tasks


def _some(source: ViewSource, skills: Sequence[Skill], none: str) -> Rendering:
    rendering = _rendered(source, skills)
    if not rendering.skill_ids:
        dropped = ", ".join(rendering.dropped_ids)
        raise NoSkillsError(f"{none} fits into {source.budget_tokens} tokens ({dropped}): raise --max-skill-tokens")
    return rendering


def _rendered(source: ViewSource, skills: Sequence[Skill]) -> Rendering:
    matches = [Match(skill, 0.0) for skill in skills]
    return render_skills(matches, budget_tokens=source.budget_tokens, count_tokens=source.count_tokens)


def _rng(*names: object) -> random.Random:
    return random.Random(_draw(*names))


def _draw(*names: object) -> int:
    """A number below 2^64, the same on every machine and in every process."""
    text = "/".join(map(str, names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
