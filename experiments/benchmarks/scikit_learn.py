"""scikit-learn's fits, timed to where they converge, from its own start or from a given one."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

import jgmm
from experiments.benchmarks import timing
from experiments.benchmarks.peers import mean_log_likelihood

NdArray = npt.NDArray[Any]
CLOSE = 1e-5  # nats per pixel from the converged likelihood


def floor(x: NdArray) -> NdArray:
    """The 1e-6 that scikit-learn adds to variances, relative to those of the data.

    Narrow components gain by a lower floor, so that likelihoods compare under the same only.
    """
    return (1e-6 / np.var(x, axis=0, dtype=float)).astype(np.float32)


def steps_to(history: Any, limit: float) -> int:
    """Steps until a history is within `CLOSE` of its limit."""
    return int(np.argmax(np.asarray(history) >= limit - CLOSE))


def to_the_end(x: NdArray, k: int, seed: int, max_iter: int = 400) -> dict[str, float]:
    """Seconds and steps until scikit-learn is within `CLOSE` of where it converges."""
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        GaussianMixture(k, random_state=seed, max_iter=1, tol=0.0).fit(x)
        first = time.perf_counter() - start
        model = GaussianMixture(k, random_state=seed, max_iter=max_iter, tol=1e-8)
        start = time.perf_counter()
        model.fit(x)
        total = time.perf_counter() - start
    bounds = np.asarray(model.lower_bounds_)
    steps = int(np.argmax(bounds >= bounds[-1] - CLOSE)) + 1
    each = (total - first) / max(1, len(bounds) - 1)
    return {
        "seconds": first + (steps - 1) * each,
        "steps": steps,
        "seconds_per_step": each,
        # What it reports is off by up to 0.01 in float32.
        "log_likelihood": mean_log_likelihood(
            x, (model.weights_, model.means_, model.covariances_)
        ),
    }


def from_start(start: jgmm.Mixture, x: NdArray, steps: int) -> tuple[float, float, float]:
    """Seconds of scikit-learn's k-means and of so many steps from a start, and its likelihood."""
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture

    precisions = np.linalg.inv(np.asarray(start.covariances, np.float64))
    k_means = timing.seconds(lambda: KMeans(len(start.weights), n_init=1, random_state=0).fit(x))
    model = GaussianMixture(
        len(start.weights),
        tol=0.0,
        max_iter=steps,
        init_params="random_from_data",
        weights_init=np.asarray(start.weights, np.float64) / np.sum(start.weights, dtype=float),
        means_init=np.asarray(start.means),
        precisions_init=(precisions + precisions.swapaxes(1, 2)) / 2,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds = timing.seconds(lambda: model.fit(x))
    found = (model.weights_, model.means_, model.covariances_)
    return k_means, seconds, mean_log_likelihood(x, found)


def best_of_starts(x: NdArray, k: int, n_restarts: int) -> float:
    """The best likelihood that plain EM reaches from scikit-learn's own k-means.

    EM is this library's, which takes the same steps and makes it possible to compare every k.
    """
    from sklearn.cluster import KMeans

    colours, inverse = np.unique(x, axis=0, return_inverse=True)
    counts = np.bincount(inverse.ravel()).astype(np.float32)
    _, first = np.unique(inverse, return_index=True)
    best = -np.inf
    for seed in range(n_restarts):
        k_means = KMeans(k, n_init=1, random_state=np.random.RandomState(seed)).fit(x)
        fit = jgmm.fit(
            colours,
            k,
            weights=counts,
            reg_covar=floor(x),
            init=k_means.labels_[first],
            accelerate=False,
            tol=1e-8,
            max_iter=2000,
        )
        best = max(best, float(fit.log_likelihood))
    return best
