"""Privileged context: what a task's teacher sees beside the student's prompt, found once and remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sdar_agents.episode import Episode
from sdar_agents.task_skills import TaskSkills
from sdar_agents.teacher_views import NoSkillsError, ViewedTask, is_chosen, teacher_view
from sdar_skills.rendering import Rendering
from sdar_skills.retrievers.base import LearningRetriever, Retriever
from sdar_skills.skill import SkillQuery

__all__ = ["NoSkillsError", "PrivilegedContext"]


@dataclass(slots=True)
class PrivilegedContext:
    """Renders the views of a task's teacher under a budget, and remembers them until the retriever has learned.

    Attributes:
        retriever: Any retriever; None stands for the explicit choice of no skills.
        env: Family under which the bank files this environment's skills.
        k: How many skills are asked for.
        budget_tokens: Longest text of a view, on top of the student's prompt budget.
        count_tokens: Tokens of a text.
        tasks: The bank by tasks, for the views that look into it; None where none does.
        view: The view that teachers are shown unless another is named, and students that are shown skills.
        wrong_share: Share of the tasks whose views are made of skills of other tasks only; for studies.
        seed: Decides which tasks are wrong, what they get, and the order of a placebo's words.
        given_text: What the view `text` shows of every task.
        dropped_skills: How many skills did not fit so far; counted, logged, never cut in the middle.
    """

    retriever: Retriever | None
    env: str
    k: int
    budget_tokens: int
    count_tokens: Callable[[str], int]
    tasks: TaskSkills | None = None
    view: str = "skill"
    wrong_share: float = 0.0
    seed: int = 0
    given_text: str = ""
    dropped_skills: int = 0
    _known: dict[tuple[str, str, str, str], Rendering] = field(default_factory=dict)

    def lookup(self, *, task: str, task_type: str, task_id: str = "", view: str | None = None) -> Rendering:
        """The text of a view for a task; an empty one for a view that is known only after the episode.

        Args:
            task_id: Which task; views of the retriever's answers alone can do without.
            view: A name of `VIEWS`; by default `self.view`.

        Raises:
            NoSkillsError: nothing was found, or nothing fits the budget.
            ValueError: no such view.
        """
        name = view or self.view
        is_wrong = self.is_wrong(task_id, name)
        # Tasks with one goal get one answer of the retriever: it is asked, and what does not fit is counted, once.
        key = (name, "" if name == "skill" and not is_wrong else task_id, task_type, task)
        if key not in self._known:
            before = teacher_view(name).before
            if before is None:
                return Rendering("", (), 0, ())
            rendering = before(self, ViewedTask(task_id, task_type, task, is_wrong))
            self.dropped_skills += len(rendering.dropped_ids)
            self._known[key] = rendering
        return self._known[key]

    def look_back(self, episode: Episode, group: Sequence[Episode], *, view: str) -> Rendering:
        """The text of a view that is known only after the episode.

        Args:
            episode: That has ended.
            group: All episodes of its group, itself among them.
            view: A name of `VIEWS`.
        """
        after = teacher_view(view).after
        if after is None:
            raise ValueError(f"the view {view!r} is known before the episode; ask `lookup` for it")
        rendering = after(self, episode, group)
        self.dropped_skills += len(rendering.dropped_ids)
        return rendering

    def is_wrong(self, task_id: str, view: str | None = None) -> bool:
        """Whether this task's teacher is given skills of other tasks only."""
        return teacher_view(view or self.view).can_be_wrong and is_chosen(self.wrong_share, self.seed, task_id)

    @property
    def shows_skills(self) -> bool:
        """Whether there is anything to show before an episode: neither no skills nor a view of the episode itself."""
        view = teacher_view(self.view)
        return view.needs_bank or self.view == "text" or (self.retriever is not None and view.is_retrieved)

    def learn(self, episodes: Sequence[Episode]) -> None:
        """Tell a retriever that learns what the episodes of a step returned, and ask it anew from then on.

        For every other retriever this does nothing, nor for episodes whose teacher was not shown what it answered. It
        takes place between steps, so that all episodes of a step have the same skills whatever the order in which they
        end.
        """
        if not isinstance(self.retriever, LearningRetriever) or not teacher_view(self.view).is_retrieved:
            return
        for episode in episodes:
            if not self.is_wrong(episode.task_id):
                query = SkillQuery(self.env, episode.task_type, episode.task)
                self.retriever.update(query, episode.skill_ids, episode.episode_return)
        self._known.clear()

    def state_dict(self) -> dict[str, Any]:
        """What was looked up so far, as plain values: a resumed run must neither count nor retrieve it again."""
        known = [
            (*key, rendering.text, list(rendering.skill_ids), rendering.tokens, list(rendering.dropped_ids))
            for key, rendering in self._known.items()
        ]
        return {"dropped_skills": self.dropped_skills, "known": known}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.dropped_skills = int(state["dropped_skills"])
        self._known = {}
        for *key, text, ids, tokens, dropped in state["known"]:
            # Checkpoints of before there were views name task type and task alone.
            name, task_id, task_type, task = key if len(key) == 4 else ("skill", "", *key)
            self._known[name, task_id, task_type, task] = Rendering(text, tuple(ids), tokens, tuple(dropped))
