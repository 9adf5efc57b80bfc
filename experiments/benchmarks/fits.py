"""Whole fits against scikit-learn's, to the same likelihood."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

import jgmm
from experiments.benchmarks import scikit_learn, timing
from jgmm.image.samples import samples_of

NdArray = npt.NDArray[Any]


def pixels_of(image: NdArray) -> NdArray:
    """RGB in [0, 1], one row per pixel."""
    return (image.reshape(-1, 3) / 255).astype(np.float32)


def fit_image(image: NdArray, k: int, **options: Any) -> jgmm.FitResult:
    """What `jgmm.segment` does up to the fit, from one start: distinct colours, k-means, EM."""
    samples = samples_of(image)
    options = {"search": "none", **options}
    return jax.block_until_ready(
        jgmm.fit(samples.features, k, weights=samples.weights, reg_covar=samples.floor, **options)
    )


def fit_to_convergence(image: NdArray, k: int, repeats: int, n_starts: int = 5) -> dict[str, Any]:
    """One photograph, from its pixels, as `fit` and `segment` do it by default.

    scikit-learn runs from k-means, as many steps as plain EM takes from there to the likelihood
    that jgmm ended at, or to its own limit, where that is lower; after a k-means of its own.
    """
    x = pixels_of(image)
    ways: dict[str, Callable[[jax.Array], jgmm.FitResult]] = {
        "fit": lambda key: fit_image(image, k, key=key, search="best"),
        "fit, one start": lambda key: fit_image(image, k, key=key),
        "segment": lambda key: jgmm.segment(image, k, key=key).fit,
    }
    first = {name: timing.seconds(partial(run, jax.random.key(0))) for name, run in ways.items()}
    rows = []
    for seed in range(n_starts):
        key = jax.random.key(seed)
        alone: dict[str, Any] = {"key": key, "short_runs": False}
        start = fit_image(image, k, max_iter=0, **alone).mixture
        plain = fit_image(image, k, accelerate=False, max_iter=2000, tol=1e-9, **alone)
        limit = float(plain.log_likelihood)
        of_plain = scikit_learn.steps_to(plain.history, limit)
        k_means, seconds, found = scikit_learn.from_start(start, x, of_plain)
        times = timing.interleaved({n: partial(run, key) for n, run in ways.items()}, repeats)
        row: dict[str, Any] = {
            "plain_em": {"steps": of_plain, "log_likelihood": limit},
            "scikit_learn": {
                "k_means": k_means,
                "seconds_per_step": seconds / of_plain,
                "log_likelihood": found,
            },
        }
        for name, run in ways.items():
            result = run(key)
            likelihood = float(result.log_likelihood)
            steps = scikit_learn.steps_to(plain.history, min(likelihood, limit))
            peer, own = k_means + seconds * steps / of_plain, statistics.median(times[name])
            row[name] = {
                "seconds": own,
                "steps": int(result.n_iter),
                "log_likelihood": likelihood,
                "scikit_learn_steps": steps,
                "scikit_learn_seconds": peer,
                "ratio": peer / own,
            }
        rows.append(row)
    return {
        "pixels": len(x),
        "colours": len(samples_of(image).features),
        "k": k,
        "first_call_seconds": first,
        "starts": rows,
        "ratio": {name: statistics.median(row[name]["ratio"] for row in rows) for name in ways},
    }


def large_photograph(height: int = 3000, width: int = 4000, seed: int = 0) -> NdArray:
    """A sample photograph, enlarged, with the noise of a sensor (2 levels of 255)."""
    from skimage.transform import resize

    from jgmm.image import sample_image

    enlarge: Any = resize  # untyped
    enlarged = enlarge(sample_image().pixels, (height, width, 3), preserve_range=True)
    noise = np.random.default_rng(seed).normal(scale=2, size=enlarged.shape)
    return np.clip(np.rint(enlarged + noise), 0, 255).astype(np.uint8)


def large_fit(k: int, repeats: int) -> dict[str, Any]:
    """The same for 12 megapixels; scikit-learn extrapolated from two of its steps."""
    from sklearn.mixture import GaussianMixture

    image = large_photograph()
    fit_image(image, k)
    seconds = statistics.median(timing.seconds(lambda: fit_image(image, k)) for _ in range(repeats))
    result = fit_image(image, k)
    samples = samples_of(image)
    limit = fit_image(image, k, tol=1e-9, max_iter=2000)
    # From k-means, as scikit-learn does, without a short run on a subsample.
    clusters = jgmm.kmeans(samples.features, k, weights=samples.weights).labels
    plain = fit_image(image, k, init=clusters, accelerate=False, tol=1e-8, max_iter=1000)
    steps = scikit_learn.steps_to(plain.history, float(plain.log_likelihood))
    x = pixels_of(image)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = GaussianMixture(
            k,
            max_iter=1,
            tol=0.0,
            means_init=np.asarray(plain.mixture.means),
            random_state=0,
            init_params="random_from_data",
        )
        model.fit(x)
        start = time.perf_counter()
        for _ in range(2):
            _, log_resp = model._e_step(x)
            model._m_step(x, log_resp)
        each = (time.perf_counter() - start) / 2
    return {
        "pixels": image.shape[0] * image.shape[1],
        "colours": len(samples.features),
        "k": k,
        "jgmm_seconds": seconds,
        "jgmm_steps": int(result.n_iter),
        "jgmm_log_likelihood": float(result.log_likelihood),
        "jgmm_short_of_converged": float(limit.log_likelihood - result.log_likelihood),
        "plain_em_steps": steps,
        "plain_em_log_likelihood": float(plain.log_likelihood),
        "scikit_learn_seconds_per_step": each,
        "scikit_learn_seconds_extrapolated": each * steps,
        "ratio": each * steps / seconds,
    }


def sweep(image: NdArray, ks: list[int], n_restarts: int, sampled_ks: list[int]) -> dict[str, Any]:
    """Many fits at once, against the same one by one; the peer's time is that of ``sampled_ks``."""
    samples, x = samples_of(image), pixels_of(image)
    floor = scikit_learn.floor(x)

    def run() -> jgmm.SweepResult:
        return jax.block_until_ready(
            jgmm.sweep(
                samples.features,
                ks,
                weights=samples.weights,
                reg_covar=floor,
                n_restarts=n_restarts,
            )
        )

    first = timing.seconds(run)
    start = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - start
    rows = {}
    for k in sampled_ks:
        fits = [scikit_learn.to_the_end(x, k, seed) for seed in range(n_restarts)]
        rows[k] = {
            "scikit_learn_seconds": sum(fit["seconds"] for fit in fits),
            "scikit_learn_best": max(fit["log_likelihood"] for fit in fits),
            "jgmm_best": float(result[k].log_likelihood),
        }
    best = {k: scikit_learn.best_of_starts(x, k, n_restarts) for k in ks}
    # Seconds grow about linearly with k.
    peer = np.polyfit(
        sampled_ks, [rows[k]["scikit_learn_seconds"] for k in sampled_ks], min(1, len(rows) - 1)
    )
    total = float(np.sum(np.polyval(peer, ks)))
    return {
        "fits": len(ks) * n_restarts,
        "jgmm_seconds": seconds,
        "jgmm_first_call_seconds": first,
        "scikit_learn_seconds_extrapolated": total,
        "by_k": rows,
        "above_scikit_learn.best_of_starts": {
            k: float(result[k].log_likelihood) - best[k] for k in ks
        },
        "ratio": total / seconds,
    }


def k_means(image: NdArray, k: int, repeats: int) -> dict[str, Any]:
    """k-means on all pixels, both libraries from starts that end at the same inertia."""
    from sklearn.cluster import KMeans

    x = pixels_of(image)
    peers = {
        seed: KMeans(k, n_init=1, random_state=seed, algorithm="lloyd").fit(x).inertia_
        for seed in range(10)
    }
    ours = {seed: float(jgmm.kmeans(x, k, key=jax.random.key(seed)).inertia) for seed in range(10)}
    gap, mine, theirs = min(
        (abs(a / b - 1), i, j) for i, a in ours.items() for j, b in peers.items()
    )
    key = jax.random.key(mine)
    times = timing.interleaved(
        {
            "jgmm": lambda: jax.block_until_ready(jgmm.kmeans(x, k, key=key)),
            "scikit-learn": lambda: KMeans(k, n_init=1, random_state=theirs, algorithm="lloyd").fit(
                x
            ),
        },
        repeats,
    )
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "seconds": medians,
        "inertia": {"jgmm": ours[mine], "scikit-learn": peers[theirs]},
        "relative_gap": gap,
        "best_inertia_of_10": {"jgmm": min(ours.values()), "scikit-learn": min(peers.values())},
        "ratio": medians["scikit-learn"] / medians["jgmm"],
    }
