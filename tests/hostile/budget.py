"""How many cases are drawn: 2,000 in all, or as many as JGMM_HOSTILE_CASES says.

By default they are the same each time. With JGMM_HOSTILE_SEED they are others:

    JGMM_HOSTILE_CASES=100000 JGMM_HOSTILE_SEED=1 python -m pytest tests/hostile
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import hypothesis

_SEED = os.environ.get("JGMM_HOSTILE_SEED")
_SHARES = {"arrays": 0.3, "files": 0.3, "images": 0.1, "models": 0.1, "options": 0.2}
CASES = int(os.environ.get("JGMM_HOSTILE_CASES", "2000"))
PROCESSES = int(os.environ.get("JGMM_HOSTILE_PROCESSES", "2"))  # that are killed


def cases(of: str) -> Callable[[Any], Any]:
    """A test by hypothesis with its share of the cases."""
    settings = hypothesis.settings(
        max_examples=max(1, round(_SHARES[of] * CASES)),
        derandomize=_SEED is None,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=True,
    )
    if _SEED is None:
        return settings
    return lambda test: hypothesis.seed(int(_SEED))(settings(test))
