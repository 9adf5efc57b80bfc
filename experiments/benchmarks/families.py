"""The time of one EM step for each covariance family, and of Student-t, against full and diag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

import jgmm
from experiments.benchmarks import timing
from jgmm.families.table import MCLUST

_STEPS = 40
_STUDENT: dict[str, Any] = {"distribution": "student_t"}
# What to fit, by its name.
KINDS: dict[str, dict[str, Any]] = {
    **{name: {"covariance_type": name} for name in MCLUST},
    **{name: {"covariance_type": name} for name in ("factor(1)", "ppca(1)")},
    "full, Student-t": {"covariance_type": "full", **_STUDENT},
    "full, Student-t of 4": {"covariance_type": "full", "degrees_of_freedom": 4.0, **_STUDENT},
    "diag, Student-t": {"covariance_type": "diag", **_STUDENT},
}
MANY_BANDS: dict[str, dict[str, Any]] = {
    name: {"covariance_type": name} for name in ("full", "diag", "factor(5)", "ppca(5)")
}
NdArray = npt.NDArray[Any]


def bands(n: int = 1 << 17, d: int = 200, k: int = 10, q: int = 5) -> NdArray:
    """Samples [n, d] in float32 of k components of q factors each, made in blocks."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(k, d)).astype(np.float32)
    loadings = 0.7 * rng.normal(size=(k, q, d)).astype(np.float32)
    deviations = rng.uniform(0.2, 0.6, size=(k, d)).astype(np.float32)
    x = np.empty((n, d), np.float32)
    for block in np.split(x, range(8192, n, 8192)):
        labels = rng.integers(k, size=len(block))
        factors = rng.standard_normal((len(block), q), np.float32)
        block[:] = rng.standard_normal(block.shape, np.float32) * deviations[labels] + means[labels]
        for j in range(k):
            block[labels == j] += factors[labels == j] @ loadings[j]
    return x


def compare(
    x: NdArray,
    k: int,
    repeats: int,
    kinds: Mapping[str, dict[str, Any]] = KINDS,
    n_steps: int = _STEPS,
) -> dict[str, Any]:
    """Milliseconds per step of plain EM from a few steps after k-means, and as a multiple of full.

    Args:
        x: samples [N, D].
        k: components.
        repeats: timings of each, of which the median is reported.
        kinds: what to fit, full among them.
        n_steps: to time.
    """
    runs = {}
    for name, options in kinds.items():
        start = jgmm.fit(x, k, search="none", max_iter=2, tol=0.0, **options).mixture
        given = {"init": start, "accelerate": False, **options}

        def run(n: int, given: dict[str, Any] = given) -> object:
            return timing.all_steps(jgmm.fit(x, k, max_iter=n, tol=0.0, **given), n)

        run(1)
        runs[name] = run
    seconds = timing.per_step(runs, dict.fromkeys(runs, n_steps), repeats)
    return {
        "n": len(x),
        "d": x.shape[1],
        "k": k,
        "ms_per_step": {name: 1e3 * value for name, value in seconds.items()},
        "ratio_to_full": {name: value / seconds["full"] for name, value in seconds.items()},
    }
