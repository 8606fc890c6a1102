"""`sdar_gym/WebShop-v0`: the published shop. `ShopEnv` plays in a shop of the same form from any source."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

from gymnasium.error import ResetNeeded

from sdar_gym.envs.webshop import pages, session
from sdar_gym.envs.webshop.files import find_files
from sdar_gym.envs.webshop.goals import GOAL_KINDS, HOLDOUTS, SPLITS, Goal, GoalKind, Holdout, canonical
from sdar_gym.envs.webshop.html import NO_FRAME, Frame, as_html
from sdar_gym.envs.webshop.nouns import NounTagger
from sdar_gym.envs.webshop.nouns import nouns as light_nouns
from sdar_gym.envs.webshop.oracle import next_action
from sdar_gym.envs.webshop.pages import OBSERVATION_MODES, ObservationMode
from sdar_gym.envs.webshop.reward import Reward, reward
from sdar_gym.envs.webshop.session import State
from sdar_gym.envs.webshop.shop import Shop, open_shop
from sdar_gym.envs.webshop.short_pages import meant, places_of, short_text
from sdar_gym.errors import unknown
from sdar_gym.text_env import TextEnv, TurnInfo, UnknownTaskError

NounTaggerName = Literal["light", "spacy"]
NOUN_TAGGERS: tuple[NounTaggerName, ...] = ("light", "spacy")
RewardName = Literal["score", "success"]
REWARDS: tuple[RewardName, ...] = ("score", "success")
SEARCH_HINT = "search[<keywords>]"
"""How the action list says that one can search: as an action it looks for the word."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An episode at some turn.

    Attributes:
        task_id: Whose goal it is.
        state: Where the customer is.
    """

    task_id: str
    state: State


class ShopEnv(TextEnv):
    """Shopping for an instruction, by `search[...]` and `click[...]`; the episode ends with `click[buy now]`.

    The reward of the purchase is its score from 0 to 1: type of product, attributes, options and price; every other
    turn gives 0. `info["success"]` says that the score is 1, `info["task_type"]` is the category of the goal. An action
    that means nothing on the page is answered with the page as it is. Beside the keys of `TurnInfo`, `info` holds
    `available_actions`, in the original's form (`has_search_bar` and `clickables`), and, after the purchase,
    `reward_info`, what the score is made of.

    Args:
        shop: Where to shop.
        split: The split that seeds draw from; by default the first one that has goals: train, dev, test.
        goals: "synthetic" (made of the products' options and attributes), or "human".
        observation_mode: "text" (pieces between ` [SEP] `), "text_rich" (lines, with marks round what can be clicked),
            or "html".
        show_instruction: Whether each page repeats the instruction, as the original's do; a prompt that states the task
            anyway is shorter without.
        show_attributes: Whether products have a page of the attributes that purchases are judged by.
        holdout: What training leaves out: the goals of the other splits, or also their "products".
        reward: What a purchase is rewarded by: its "score", or 1 for "success" and 0 for anything less.
        nouns: How nouns in titles are found: "light", or "spacy" for the original's model, which has to be installed.
        results: How many products a search shows at most; None for the original's fifty, ten a page. For small models:
            pages get shorter, and what is searched for has to be right.

    Raises:
        ValueError: an unknown setting, or one out of its range.
        UnknownTaskError: there is no such split, or no goal in it.
    """

    is_generated: ClassVar[bool] = False
    """Whether the shop is made by this package: then its behaviour hash covers it."""

    def __init__(
        self,
        shop: Shop,
        split: str | None = None,
        goals: GoalKind = "synthetic",
        observation_mode: ObservationMode = "text",
        show_instruction: bool = True,
        show_attributes: bool = False,
        holdout: Holdout = "goals",
        reward: RewardName = "score",
        nouns: NounTaggerName = "light",
        results: int | None = None,
    ) -> None:
        super().__init__()
        _require("kind of goals", goals, GOAL_KINDS)
        _require("observation mode", observation_mode, OBSERVATION_MODES)
        _require("holdout", holdout, HOLDOUTS)
        _require("reward", reward, REWARDS)
        _require("noun tagger", nouns, NOUN_TAGGERS)
        if results is not None and not 1 <= results <= session.RESULTS_A_SEARCH:
            raise ValueError(f"results is {results}; a search shows from 1 to {session.RESULTS_A_SEARCH} products")
        self.shop = shop
        self.goals = shop.goals(goals)
        self.observation_mode = observation_mode
        self.show_instruction = show_instruction
        self.show_attributes = show_attributes
        self.reward_name = reward
        self.nouns: NounTaggerName = nouns
        self.results = results
        self._tag = _noun_tagger(nouns)
        self._places = self.goals.places(holdout)
        there = tuple(name for name in SPLITS if self._places[name])
        if not there:
            raise UnknownTaskError(f"this shop has no {goals} goal; its instruction files name none of its products")
        if split is not None and split not in there:
            raise UnknownTaskError(unknown("split", split, there))
        first = there[0] if split is None else split
        # What is there depends on the data: the class variable only states the usual.
        self.splits = (first, *(name for name in there if name != first))  # type: ignore[misc]
        self._task: str | None = None
        self._goal: Goal
        self._state = State()
        self._bought: Reward | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self._start(self.chosen_task(seed, options))
        return self._observe(), self._info(is_valid=True)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if not isinstance(action, str):
            raise TypeError(f"an action is a string such as 'click[buy now]', not {type(action).__name__}")
        if self._task is None or self._bought is not None:
            raise ResetNeeded("the episode is over, or none was started; call reset() before step()")
        if self.observation_mode == "short":
            action = meant(self.shop, self._state, action)
        state = session.act(self.shop, self._state, action, seed=self._task, with_attributes=self.show_attributes)
        if state is not None:
            self._go_to(state if self.results is None else replace(state, found=state.found[: self.results]))
        is_over = self._bought is not None
        return self._observe(), self._rewarded() if is_over else 0.0, is_over, False, self._info(state is not None)

    def task_ids(self, split: str) -> Sequence[str]:
        if split not in self.splits:
            raise UnknownTaskError(unknown("split", split, self.splits))
        return tuple(self._places[split])

    def oracle(self) -> str | None:
        """The next action towards a best purchase for the goal; it reads the hidden goal. See `oracle.next_action`."""
        self._require_episode()
        return next_action(
            self.shop,
            self._goal,
            self._state,
            self._tag,
            with_attributes=self.show_attributes,
            results=self.results or session.RESULTS_A_PAGE,
        )

    def snapshot(self) -> Snapshot:
        return Snapshot(self._require_episode(), self._state)

    def restore(self, snapshot: Snapshot) -> None:
        if snapshot.task_id != self._task:
            self._start(snapshot.task_id)
        self._bought = None
        self._go_to(snapshot.state)

    def fork(self) -> Self:
        """An independent environment in the same state; both share the shop."""
        twin = copy.copy(self)
        # Drawing a task for one must not change what the other draws next.
        twin._np_random = copy.deepcopy(self._np_random)
        return twin

    @property
    def goal(self) -> Goal:
        """What is wanted; hidden from agents."""
        self._require_episode()
        return self._goal

    @property
    def state(self) -> State:
        """Where the customer is."""
        return self._state

    @property
    def page(self) -> str:
        """The page as HTML, whatever the observation mode."""
        return self.page_in(NO_FRAME)

    def page_in(self, frame: Frame) -> str:
        """The page as HTML, with what people see round it."""
        self._require_episode()
        return as_html(
            self.shop,
            self._state,
            self._goal.instruction,
            reward=self._bought,
            with_attributes=self.show_attributes,
            frame=frame,
        )

    @property
    def behaviour_hash(self) -> str:
        """Of the rules and, where the shop is generated, of its content; see `behaviour.rules_hash`."""
        # Only here: it goes shopping itself.
        from sdar_gym.envs.webshop.behaviour import digest, rules_hash

        rules = rules_hash(self.nouns)
        if self.results is not None:
            rules = digest([rules, self.results])
        return digest([rules, self.shop.content, self.goals.hash]) if self.is_generated else rules

    def task_digest(self, task_id: str) -> str | None:
        if self.is_generated:
            return None  # the behaviour hash covers the catalogue
        goal = canonical(self.goals[self._index(task_id)])
        return hashlib.sha256(f"{self.shop.content}\n{goal}".encode()).hexdigest()

    def _index(self, task_id: str) -> int:
        index = self._places.get(task_id.partition("/")[0], {}).get(task_id)
        if index is None:
            example = next(iter(self._places[self.splits[0]]))
            raise UnknownTaskError(f"no task {task_id!r} in this shop; ids look like {example!r}")
        return index

    def _start(self, task_id: str) -> None:
        goal = self.goals[self._index(task_id)]
        self._task, self._goal, self._state, self._bought = task_id, goal, State(), None

    def _go_to(self, state: State) -> None:
        self._state = state
        if state.kind == "done":
            assert state.product is not None
            product = self.shop.product(state.product)
            self._bought = reward(product, self._goal, self.shop.price(state.product), state.options, nouns=self._tag)

    def _rewarded(self) -> float:
        assert self._bought is not None
        return float(self._bought.total if self.reward_name == "score" else self._bought.total == 1.0)

    def _observe(self) -> str:
        if self.observation_mode == "html":
            return self.page
        if self.observation_mode == "short":
            score = None if self._bought is None else self._bought.total
            return short_text(self.shop, self._state, reward=score)
        shown = pages.pieces(
            self.shop,
            self._state,
            self._goal.instruction if self.show_instruction else None,
            reward=None if self._bought is None else self._bought.total,
            with_attributes=self.show_attributes,
        )
        if self.observation_mode == "text":
            return pages.as_text(shown)
        return pages.as_rich_text(shown, self._state, self._address())

    def _address(self) -> str:
        return pages.address(self.shop, self._state, self._require_episode())

    def _require_episode(self) -> str:
        if self._task is None:
            raise ResetNeeded("no episode is running; call reset() first")
        return self._task

    def _info(self, is_valid: bool) -> dict[str, Any]:
        targets = session.clickable(self.shop, self._state, with_attributes=self.show_attributes)
        if self.observation_mode == "short":
            places = places_of(self.shop, self._state)
            targets = {places.get(text, text): target for text, target in targets.items()}
        score = 0.0 if self._bought is None else self._bought.total
        info: TurnInfo = {
            "task_id": self._require_episode(),
            "task": self._goal.instruction,
            "task_type": self._goal.category,
            "admissible_actions": admissible(self._state, targets),
            "is_action_valid": is_valid,
            "success": score == 1.0,
            "score": score,
        }
        more: dict[str, Any] = {
            "available_actions": {"has_search_bar": self._state.kind == "search", "clickables": list(targets)}
        }
        if self._bought is not None:
            more["reward_info"] = asdict(self._bought)
        return cast(dict[str, Any], info) | more


class WebShopEnv(ShopEnv):
    """The published WebShop: pages, search, goals and rewards as the original's, without Java or spaCy.

    Task ids are `<split>/<kind>-<index>`, such as `test/synthetic-00017`: the index is the goal's place in the
    original's shuffle. Settings are those of `ShopEnv`, without `shop`, and these three.

    Args:
        data: The folder of the published files, or the file of products; by default the folder that the environment
            variable WEBSHOP_DATA names, else `~/.cache/webshop`, where `sdar-gym data download webshop` puts them.
        cache: Where the shop is built, once; by default the folder that SDAR_GYM_CACHE names, else
            `~/.cache/sdar-gym`.
        products: Sell the first so many products of the file only, such as 100,000 of the 1.18 million.

    Raises:
        FileNotFoundError: no files are there; the text says how to get them.
        CatalogueError: they are damaged.
    """

    def __init__(
        self,
        data: str | Path | None = None,
        cache: str | Path | None = None,
        products: int | None = None,
        split: str | None = None,
        goals: GoalKind = "synthetic",
        observation_mode: ObservationMode = "text",
        show_instruction: bool = True,
        show_attributes: bool = False,
        holdout: Holdout = "goals",
        reward: RewardName = "score",
        nouns: NounTaggerName = "light",
        results: int | None = None,
    ) -> None:
        super().__init__(
            open_shop(find_files(data), cache, products=products),
            split,
            goals,
            observation_mode,
            show_instruction,
            show_attributes,
            holdout,
            reward,
            nouns,
            results,
        )


def admissible(state: State, targets: dict[str, session.Target]) -> list[str]:
    """The actions that a page offers, searching as `SEARCH_HINT`; clicks that no action can say are left out."""
    if state.kind == "search":
        return [SEARCH_HINT]
    return [f"click[{text}]" for text in targets if session.can_be_said(text) and text != session.SEARCH.lower()]


def _require(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ValueError(unknown(kind, name, known))


def _noun_tagger(name: NounTaggerName) -> NounTagger:
    if name == "light":
        return light_nouns
    # Only here: spaCy is no dependency.
    from sdar_gym.envs.webshop.nouns import spacy_nouns

    return spacy_nouns()
