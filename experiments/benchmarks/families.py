"""The time of one EM step for each covariance family, and of Student-t, against full and diag."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

import jgmm
from experiments.benchmarks import timing
from jgmm.families.table import MCLUST

_STEPS = 40
_STUDENT: dict[str, Any] = {"distribution": "student_t"}
# What to fit, by its name.
KINDS: dict[str, dict[str, Any]] = {
    **{name: {"covariance_type": name} for name in MCLUST},
    "full, Student-t": {"covariance_type": "full", **_STUDENT},
    "full, Student-t of 4": {"covariance_type": "full", "degrees_of_freedom": 4.0, **_STUDENT},
    "diag, Student-t": {"covariance_type": "diag", **_STUDENT},
}
NdArray = npt.NDArray[Any]


def compare(x: NdArray, k: int, repeats: int) -> dict[str, Any]:
    """Milliseconds per step of plain EM from a few steps after k-means, and as a multiple of full.

    Args:
        x: samples [N, D].
        k: components.
        repeats: timings of each, of which the median is reported.
    """
    runs = {}
    for name, options in KINDS.items():
        start = jgmm.fit(x, k, search="none", max_iter=2, tol=0.0, **options).mixture
        given = {"init": start, "accelerate": False, **options}

        def run(n: int, given: dict[str, Any] = given) -> object:
            return timing.all_steps(jgmm.fit(x, k, max_iter=n, tol=0.0, **given), n)

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
