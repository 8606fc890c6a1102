"""The tiny models that can be built: a line for each environment."""

from __future__ import annotations

from typing import Any

from sdar_agents.warmup import Warmup
from sdar_agents.warmup_alfworld import ALFWORLD
from sdar_agents.warmup_search_qa import SEARCH_QA
from sdar_agents.warmup_webshop import WEBSHOP

WARMUPS: dict[str, Warmup[Any]] = {warmup.env: warmup for warmup in (ALFWORLD, WEBSHOP, SEARCH_QA)}
"""Gymnasium id -> how its tiny model is made."""
