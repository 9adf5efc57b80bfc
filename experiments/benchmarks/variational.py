"""A step of variational Bayes, and a whole fit, against scikit-learn's from the same start."""

from __future__ import annotations

import functools
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import jgmm
from experiments.benchmarks import timing
from jgmm.image.colours import unique_colours

_STEPS, _THEIR_STEPS, _WHOLE = 60, 4, 100
NdArray = npt.NDArray[Any]


def compare(image: NdArray, k: int, repeats: int) -> dict[str, Any]:
    """Milliseconds per step, seconds of a fit of 100 steps, and what the bounds differ by.

    Both libraries take turns. Fits of 100 steps take them all, with the start before.

    Args:
        image: [H, W, C], 8-bit.
        k: components.
        repeats: timings of each, of which the median is reported.
    """
    import sklearn.mixture

    from jgmm.sklearn import BayesianGaussianMixture

    pixels = image.reshape(-1, image.shape[-1])
    colours, _, counts = unique_colours(pixels)
    estimators = {
        "jgmm.sklearn": BayesianGaussianMixture,
        "scikit-learn": sklearn.mixture.BayesianGaussianMixture,
    }
    options = {"n_components": k, "random_state": 0, "tol": 0.0}
    runs: dict[str, Callable[[int], Any]] = {}
    for dtype in (np.float64, np.float32):
        x = (pixels / 255.0).astype(dtype)
        for name, estimator in estimators.items():

            def run(n: int, x: NdArray = x, estimator: Any = estimator) -> Any:
                return estimator(max_iter=n, **options).fit(x)

            runs[f"{name}, {np.dtype(dtype)}"] = run
    first = jgmm.fit(colours, k, weights=counts, search="none", max_iter=2, tol=0.0)

    def ours(n: int) -> Any:
        found = jgmm.fit_variational(
            colours, k, weights=counts, init=first.mixture, max_iter=n, tol=0.0
        )
        return timing.all_steps(found, n)

    runs["jgmm.fit_variational, float32, distinct colours"] = ours
    steps = {name: _THEIR_STEPS if "scikit" in name else _STEPS for name in runs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        last = {name: run(1 + _THEIR_STEPS) for name, run in runs.items()}
        per_step = timing.per_step(runs, steps, repeats)
        fits = {name: functools.partial(run, _WHOLE) for name, run in runs.items()}
        times = timing.interleaved(fits, -(-repeats // 2))
    whole = {name: statistics.median(values) for name, values in times.items()}
    bounds = [last[f"{name}, float64"].lower_bound_ for name in estimators]
    ratios = {
        f"{kind}, {dtype}": times[f"scikit-learn, {dtype}"] / times[f"jgmm.sklearn, {dtype}"]
        for kind, times in (("step", per_step), ("whole", whole))
        for dtype in ("float64", "float32")
    }
    return {
        "n": len(pixels),
        "distinct": len(colours),
        "k": k,
        "ms_a_step": {name: 1e3 * value for name, value in per_step.items()},
        "seconds_of_100_steps": whole,
        "ratios": ratios,
        "bound": bounds[1],
        "bounds_differ_by": bounds[0] - bounds[1],
    }
