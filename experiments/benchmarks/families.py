"""The time of one EM step for each covariance family, against those of full and diag."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

import jgmm
from experiments.benchmarks import timing
from jgmm.families.table import MCLUST

_STEPS = 40
NdArray = npt.NDArray[Any]


def compare(x: NdArray, k: int, repeats: int) -> dict[str, Any]:
    """Milliseconds per step of plain EM from a few steps after k-means, and as a multiple of full.

    Args:
        x: samples [N, D].
        k: components.
        repeats: timings of each, of which the median is reported.
    """
    runs = {}
    for name in MCLUST:
        start = jgmm.fit(x, k, covariance_type=name, search="none", max_iter=2, tol=0.0).mixture

        def run(n: int, name: str = name, start: jgmm.Mixture = start) -> object:
            fit = jgmm.fit(
                x, k, init=start, covariance_type=name, accelerate=False, max_iter=n, tol=0.0
            )
            return timing.all_steps(fit, n)

        run(1)
        runs[name] = run
    seconds = timing.per_step(runs, dict.fromkeys(runs, _STEPS), repeats)
    return {
        "n": len(x),
        "d": x.shape[1],
        "k": k,
        "ms_per_step": {name: 1e3 * value for name, value in seconds.items()},
        "ratio_to_full": {name: value / seconds["full"] for name, value in seconds.items()},
    }
