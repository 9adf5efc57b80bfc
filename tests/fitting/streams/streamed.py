"""Data of three clusters, a start, and fits of streams in small chunks."""

from __future__ import annotations

from typing import Any

import numpy as np

import jgmm

RNG = np.random.default_rng(0)
X: Any = np.concatenate(
    [RNG.normal(size=(300, 2)) * [1.0, 2.0] + center for center in ([0, 0], [4, 1], [0, 7])]
)
RNG.shuffle(X)
WEIGHTS = RNG.integers(0, 3, len(X)).astype(float)
START = jgmm.Mixture(
    np.ones(3) / 3,
    np.array([[0.5, 0.5], [3.0, 0.0], [0.0, 5.0]]),
    np.broadcast_to(np.eye(2) * 2, (3, 2, 2)),
)
CHUNK = 256


def stream(source: Any, k: int = 3, **options: Any) -> jgmm.FitResult:
    return jgmm.fit_stream(source, k, **{"init": START, "chunk": CHUNK, **options})
