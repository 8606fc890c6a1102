"""Reading what Gymnasium's vector environments report. They are made by `make_vec`; `TextBatch` needs none of this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def turn_info(infos: Mapping[str, Any], index: int) -> dict[str, Any]:
    """What copy `index` reported, out of the merged infos of a Gymnasium vector environment.

    Merged, each key holds an array over the copies, with zeros or None where a copy did not report it (the masks are
    under `_key`). Here such keys are absent, NumPy's scalars are Python's, and `final_info` is a dict as well.
    """
    own: dict[str, Any] = {}
    for key, values in infos.items():
        reported = infos.get(f"_{key}")
        if reported is None or not reported[index]:
            continue
        value = turn_info(values, index) if isinstance(values, Mapping) else values[index]
        own[key] = value.item() if isinstance(value, np.generic) else value
    return own
