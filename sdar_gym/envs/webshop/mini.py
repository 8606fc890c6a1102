"""`sdar_gym/WebShopMini-v0`: a generated shop, made on demand from its seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import ClassVar

from sdar_gym.cache import default_cache
from sdar_gym.envs.webshop.env import NounTaggerName, RewardName, ShopEnv
from sdar_gym.envs.webshop.files import ShopFiles, find_files
from sdar_gym.envs.webshop.generator import PRODUCTS, Files, generate, write
from sdar_gym.envs.webshop.goals import GoalKind, Holdout
from sdar_gym.envs.webshop.merchant import MERCHANT, Merchant
from sdar_gym.envs.webshop.pages import ObservationMode
from sdar_gym.envs.webshop.shop import FORMAT, Shop, open_built
from sdar_gym.envs.webshop.vocabulary import CATEGORIES
from sdar_gym.errors import unknown

_HASH_DIGITS = 16


def mini_shop(
    seed: int = 0,
    products: int = PRODUCTS,
    cache: str | Path | None = None,
    merchant_seed: int | None = None,
) -> Shop:
    """The generated shop of a seed, shared by every environment of this process.

    Args:
        seed: Decides the catalogue and its goals.
        products: How many.
        cache: Where it is built, once; see `default_cache`.
        merchant_seed: Another merchant; None for the one that the bundled skill bank is about.
    """
    # The cache may be named by another variable by now.
    return _mini_shop(seed, products, default_cache() if cache is None else Path(cache), merchant_seed)


@lru_cache(maxsize=8)
def _mini_shop(seed: int, products: int, cache: Path, merchant_seed: int | None) -> Shop:
    files = generate(seed, products, merchant=_merchant(merchant_seed))
    return open_built(f"mini-{FORMAT}-{files.hash[:_HASH_DIGITS]}", partial(_written, files), cache)


def _merchant(seed: int | None) -> Merchant:
    return MERCHANT if seed is None else Merchant.random(seed)


def _written(files: Files, folder: Path) -> ShopFiles:
    write(files, folder)
    return find_files(folder)


class WebShopMiniEnv(ShopEnv):
    """A small shop of generated products, by the rules and in the words of `sdar_gym/WebShop-v0`; nothing to download.

    What a skill tells (what each brand promises, which page tells what, how sizes are named, what materials cost) no
    search shows, but it holds for all products, so that it can also be learned. Settings are those of `ShopEnv`,
    without `shop`, and these five.

    Args:
        catalogue_seed: Another catalogue of the same merchant; tasks of two catalogues differ.
        products: How many products there are, from 10 to 20,000.
        merchant_seed: A merchant with other habits; None for the one that the bundled skill bank is about.
        cache: Where the shop is built, once; by default the folder that SDAR_GYM_CACHE names, else
            `~/.cache/sdar-gym`.
        categories: Only goals of these, such as "beauty" or ["beauty", "grocery"]; None for all five. The shop stays
            whole. A small model meets each brand more often.

    Raises:
        ValueError: no such category, or none at all.
    """

    is_generated: ClassVar[bool] = True

    def __init__(
        self,
        catalogue_seed: int = 0,
        products: int = PRODUCTS,
        merchant_seed: int | None = None,
        cache: str | Path | None = None,
        split: str | None = None,
        goals: GoalKind = "synthetic",
        observation_mode: ObservationMode = "text",
        show_instruction: bool = True,
        show_attributes: bool = False,
        holdout: Holdout = "goals",
        reward: RewardName = "score",
        nouns: NounTaggerName = "light",
        results: int | None = None,
        categories: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            mini_shop(catalogue_seed, products, cache, merchant_seed),
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
        self.merchant = _merchant(merchant_seed)
        if categories is not None:
            self._places = self._within((categories,) if isinstance(categories, str) else categories, holdout)

    def _within(self, categories: Sequence[str], holdout: Holdout) -> Mapping[str, Mapping[str, int]]:
        """Split to task id to number of the goal, of goals in these categories."""
        if not categories:
            raise ValueError(f"categories is empty: name at least one category of {', '.join(CATEGORIES)}, or None")
        for category in categories:
            if category not in CATEGORIES:
                raise ValueError(unknown("category", category, CATEGORIES))
        return self.goals.places(holdout, frozenset(categories))
