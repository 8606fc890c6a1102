"""What a rollout records: sampled completions, turns, episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: 0 is greedy.
        top_p: Nucleus mass in (0, 1].
        max_tokens: Longest response, in tokens.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled response.

    Attributes:
        token_ids: Ids as sampled, the end-of-turn token included where it was drawn.
        logprobs: Log-probability in nats of each id under the sampler's distribution.
        text: The ids decoded, special tokens left out.
        stopped: True if an end token was drawn, False if `max_tokens` cut it.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    stopped: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """One decision: the student's prompt, the teacher's prompt, the response, what came of it.

    Attributes:
        prompt_ids: What the student saw.
        teacher_prompt_ids: The same prompt with retrieved skills in its slot; None where no teacher is asked for.
        completion: What the student said; its ids are kept from sampling to loss.
        action: What the environment was given.
        observation: What it answered.
        reward: Reward of this turn.
        is_valid: Whether the response was well formed and the environment understood the action.
        failure: Why the response was not well formed, or None.
        seen: The observation that the response answers.
        skills_shown: Whether the student's own prompt carried the skills.
        view_prompt_ids: Prompts of further teacher views, by the view's name.
        around_slot: The fitted message without skills, before and after their slot (`sdar_gym.prompts.fill_slot`).
    """

    prompt_ids: tuple[int, ...]
    teacher_prompt_ids: tuple[int, ...] | None
    completion: Completion
    action: str
    observation: str
    reward: float
    is_valid: bool
    failure: str | None
    seen: str = ""
    skills_shown: bool = False
    view_prompt_ids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    around_slot: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Episode:
    """One task played once.

    Attributes:
        env_id: Gymnasium id.
        task_id: Which task; the members of a group share it.
        task_type: The environment's own kind of task.
        task: The goal in one sentence.
        group: Number of the group in its batch; a group is one task played G times.
        turns: In order.
        success: Whether the task was solved.
        score: Final score, 0 to 1.
        truncated: True if the time limit ended it.
        skill_ids: Skills that the retriever returned for the task.
        skill_text: Their text as prompts carry it.
    """

    env_id: str
    task_id: str
    task_type: str
    task: str
    group: int
    turns: tuple[Turn, ...]
    success: bool
    score: float
    truncated: bool
    skill_ids: tuple[str, ...]
    skill_text: str = ""

    @property
    def episode_return(self) -> float:
        """Sum of the rewards."""
        return sum(turn.reward for turn in self.turns)

    @property
    def invalid_turns(self) -> int:
        """Turns whose response was malformed or whose action was not understood."""
        return sum(not turn.is_valid for turn in self.turns)
