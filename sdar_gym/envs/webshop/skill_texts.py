"""The wording of a merchant's skills, and the bank that is made of them: `webshop_mini`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sdar_gym.envs.webshop.goals import Goal
from sdar_gym.envs.webshop.merchant import Merchant
from sdar_gym.envs.webshop.mini import WebShopMiniEnv
from sdar_gym.envs.webshop.vocabulary import BRANDS, CATEGORIES, KINDS, MATERIALS, SIZES, Kind
from sdar_gym.skill_text import SkillText, write_skills
from sdar_gym.text_env import TextEnv

FAMILY = "webshop_mini"
"""The environment family that the skills are filed under."""
_GENERAL = "general"
_BAND_WORDS = {"cheap": "Cheap", "middle": "In the middle", "dear": "Dear"}


def write_skill_bank(merchant: Merchant, folder: str | Path) -> list[Path]:
    """Write one folder with a SKILL.md for each skill of the merchant's shop.

    To make the bundled bank anew after a change of habits, words or texts, from the root of the repository:
    `write_skill_bank(MERCHANT, "skills/sdar_skills/banks/webshop_mini")`.

    Args:
        merchant: Whose habits the skills tell.
        folder: The bank; made if it is absent. Other folders in it are left alone.
    """
    return write_skills(skills(merchant), FAMILY, folder)


def own_skills(env: TextEnv) -> tuple[str, ...]:
    """Of the skills of the goal's category those that the running task needs: of its brands, of its sizes.

    A brand's where the goal wants what it promises, the sizes' where it names one.

    Raises:
        TypeError: another environment than the small shop.
    """
    if not isinstance(env, WebShopMiniEnv):
        raise TypeError(f"{type(env).__name__} is not the small shop, whose tasks have skills of their own")
    goal = env.goal
    promised = [env.merchant.promises[brand] for brand in BRANDS[goal.category]]
    brands = [brand_skill_id(goal.category, promise) for promise in promised if promise in goal.attributes]
    return (*brands, *((f"{goal.category}-sizes",) if _names_size(goal) else ()))


def _names_size(goal: Goal) -> bool:
    # Goals in people's words state the values of options without their names.
    if isinstance(goal.options, Mapping):
        return "size" in goal.options
    return not {value.lower() for scheme in SIZES.values() for value in scheme}.isdisjoint(goal.options)


def skills(merchant: Merchant) -> list[SkillText]:
    """What there is to know of a merchant's shop: by category what brands promise, where to look, prices, words."""
    told = [_general_skills(), *(_category_skills(merchant, category) for category in CATEGORIES)]
    return [skill for group in told for skill in group]


def _category_skills(merchant: Merchant, category: str) -> list[SkillText]:
    kinds = [kind for kind in KINDS if kind.category == category]
    return [
        *(_brand_skill(merchant.promises[brand], brand, category, kinds) for brand in BRANDS[category]),
        _pages_skill(merchant, category, kinds),
        _materials_skill(merchant, category, kinds),
        _names_skill(category, kinds),
        _sizes_skill(merchant, category, kinds),
    ]


def brand_skill_id(category: str, promise: str) -> str:
    """The skill that tells which brand of a category keeps a promise."""
    return f"{category}-brand-of-{promise.replace(' ', '-')}"


def _brand_skill(promise: str, brand: str, category: str, kinds: Sequence[Kind]) -> SkillText:
    return SkillText(
        id=brand_skill_id(category, promise),
        task_type=category,
        title=f"Which brand of {category} is {promise}",
        description=f"Use when the goal wants {promise} {_or(kind.query for kind in kinds)}.",
        body=f"For {promise} things search the brand {brand}, as in `search[{kinds[0].query} {brand.lower()}]`: titles "
        f"name the brand, no search finds the promise, and all products of {brand} keep it.",
        keywords=(promise,),
    )


def _pages_skill(merchant: Merchant, category: str, kinds: Sequence[Kind]) -> SkillText:
    by_page = {
        page: [kind.query for kind in kinds if merchant.pages[kind.query] == page]
        for page in ("features", "description")
    }
    told = " ".join(f"For {_and(queries)}: `click[{page}]`." for page, queries in by_page.items() if queries)
    return SkillText(
        id=f"{category}-hidden-facts",
        task_type=category,
        title=f"Where pages of {category} tell what the title leaves out",
        description="Use on the page of a product whose title does not name everything that the goal wants of "
        f"{_or(kind.query for kind in kinds)}.",
        body=f"Mostly one of the two pages tells it. {told} What a brand promises always stands under features.",
        keywords=("features", "description", "attribute"),
    )


def _materials_skill(merchant: Merchant, category: str, kinds: Sequence[Kind]) -> SkillText:
    families = dict.fromkeys(kind.materials for kind in kinds)
    names = [name for family in families for name in MATERIALS[family].names]
    told = " ".join(
        f"{word}: {', '.join(name for name in names if merchant.bands[name] == band)}."
        for band, word in _BAND_WORDS.items()
    )
    return SkillText(
        id=f"{category}-materials",
        task_type=category,
        title=f"What materials cost in {category}",
        description=f"Use when the price must be low, or the goal names a material: {', '.join(names)}.",
        body=f"The material decides the price. {told} A dear one costs three times as much as a cheap one.",
        keywords=("price", *names),
    )


def _names_skill(category: str, kinds: Sequence[Kind]) -> SkillText:
    told = ", ".join(f"{kind.query}: {kind.nouns[1].lower()}" for kind in kinds)
    return SkillText(
        id=f"{category}-names",
        task_type=category,
        title=f"Other names of things in {category}",
        description=f"Use when a search for {_or(kind.query for kind in kinds)} does not show the right product.",
        body=f"One title in four uses another name. Search for it too: {told}.",
        keywords=("search", "name", *(kind.query for kind in kinds)),
    )


def _sizes_skill(merchant: Merchant, category: str, kinds: Sequence[Kind]) -> SkillText:
    schemes: dict[str, list[str]] = {}
    for kind in kinds:
        if kind.query in merchant.sizes:
            schemes.setdefault(merchant.sizes[kind.query], []).append(kind.query)
    told = " ".join(
        f"{_and(queries).capitalize()}: {SIZES[scheme][0].lower()} to {SIZES[scheme][-1].lower()}."
        for scheme, queries in schemes.items()
    )
    return SkillText(
        id=f"{category}-sizes",
        task_type=category,
        title=f"How sizes are named in {category}",
        description=f"Use when the goal names a size of {_or(kind.query for kind in kinds if kind.size_schemes)}.",
        body=f"Sizes by kind. {told} A product may lack some of them: without the right one, take another product.",
        keywords=("size",),
    )


def _general_skills() -> tuple[SkillText, ...]:
    return (
        SkillText(
            id="buy-in-this-order",
            task_type=_GENERAL,
            title="The order of a purchase",
            description="Use at the start: search, open a product, choose options, buy.",
            body="Search for brand and kind; open the product whose title fits; look for what the title leaves out; "
            "click every option value that the goal names; `click[buy now]`.",
            keywords=("search", "buy"),
        ),
        SkillText(
            id="choose-every-option",
            task_type=_GENERAL,
            title="Choose every option that the goal names",
            description="Use on a product's page when the goal names a color, size, scent, style or flavor.",
            body="After `with`, the goal names options as `name: value`. Click each value, such as `click[navy]`, "
            "before you buy. If a value is not there, go back and take another product.",
            keywords=("option", "color", "size", "scent", "style", "flavor"),
        ),
        SkillText(
            id="mind-the-other-kind",
            task_type=_GENERAL,
            title="Do not buy a thing that only mentions the right one",
            description="Use on a list of results with things that the goal does not want.",
            body="`Goes with ...` in a title names another thing, not this one. Buy only what the title itself is.",
            keywords=("results", "title"),
        ),
        SkillText(
            id="price-below-the-limit",
            task_type=_GENERAL,
            title="Stay below the price",
            description="Use when the goal ends with: and price lower than some dollars.",
            body="Leave the price out of the search. Compare it with the list: options do not change it.",
            keywords=("price", "lower", "dollars"),
        ),
    )


def _and(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def _or(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
