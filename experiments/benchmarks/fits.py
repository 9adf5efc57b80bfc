"""Whole fits against scikit-learn's, to the same likelihood."""

from __future__ import annotations

import statistics
import time
import warnings
from functools import partial
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

import jgmm
from experiments.benchmarks import timing
from experiments.benchmarks.peers import mean_log_likelihood
from jgmm.image.samples import samples_of

NdArray = npt.NDArray[Any]
CLOSE = 1e-5  # nats per pixel from the converged likelihood


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


def floor_of_scikit_learn(x: NdArray) -> NdArray:
    """The 1e-6 that scikit-learn adds to variances, relative to those of the data.

    Narrow components gain by a lower floor, so that likelihoods compare under the same only.
    """
    return (1e-6 / np.var(x, axis=0, dtype=float)).astype(np.float32)


def steps_to(history: Any, limit: float) -> int:
    """Steps until a history is within `CLOSE` of its limit."""
    return int(np.argmax(np.asarray(history) >= limit - CLOSE))


def scikit_learn_to_the_end(x: NdArray, k: int, seed: int, max_iter: int = 400) -> dict[str, float]:
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


def scikit_learn_from(start: jgmm.Mixture, x: NdArray, steps: int) -> tuple[float, float]:
    """Seconds of k-means and so many steps of scikit-learn from a start, and its likelihood."""
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
        seconds = k_means + timing.seconds(lambda: model.fit(x))
    found = (model.weights_, model.means_, model.covariances_)
    return seconds, mean_log_likelihood(x, found)


def fit_to_convergence(image: NdArray, k: int, repeats: int, n_starts: int = 3) -> dict[str, Any]:
    """One photograph, from its pixels to within `CLOSE` of where the fit converges.

    scikit-learn runs from k-means, as many steps as plain EM takes from there to the same
    likelihood, after a k-means of its own.
    """
    x, rows = pixels_of(image), []
    for seed in range(n_starts):
        options: dict[str, Any] = {"key": jax.random.key(seed), "max_iter": 2000, "tol": 1e-9}
        limit = fit_image(image, k, **options)
        plain = fit_image(image, k, accelerate=False, short_runs=False, **options)
        # They may end in different optima; both have to reach the lower.
        goal = min(float(limit.log_likelihood), float(plain.log_likelihood))
        steps, plain_steps = steps_to(limit.history, goal), steps_to(plain.history, goal)
        run = partial(fit_image, image, k, key=jax.random.key(seed), max_iter=steps, tol=0)
        first = timing.seconds(run)
        seconds = statistics.median(timing.seconds(run) for _ in range(repeats))
        reached = float(run().log_likelihood)
        if reached < goal - 2 * CLOSE:
            raise RuntimeError(f"expected the timed fit to reach {goal}, got {reached}")
        default = fit_image(image, k, key=jax.random.key(seed))
        start = fit_image(image, k, key=jax.random.key(seed), max_iter=0, short_runs=False).mixture
        peer_seconds, peer_likelihood = scikit_learn_from(start, x, plain_steps)
        rows.append(
            {
                "jgmm_seconds": seconds,
                "jgmm_first_call_seconds": first,
                "jgmm_steps": steps,
                "jgmm_log_likelihood": float(limit.log_likelihood),
                "default_steps": int(default.n_iter),
                "default_short_of_converged": float(limit.log_likelihood - default.log_likelihood),
                "scikit_learn_seconds": peer_seconds,
                "scikit_learn_steps": plain_steps,
                "scikit_learn_log_likelihood": peer_likelihood,
                "plain_em_log_likelihood": float(plain.log_likelihood),
                "ratio": peer_seconds / seconds,
            }
        )
    return {
        "pixels": len(x),
        "colours": len(samples_of(image).features),
        "k": k,
        "starts": rows,
        "ratio": statistics.median(row["ratio"] for row in rows),
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
    steps = steps_to(plain.history, float(plain.log_likelihood))
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


def best_of_scikit_learn_starts(image: NdArray, k: int, n_restarts: int) -> float:
    """The best likelihood that plain EM reaches from scikit-learn's own k-means.

    EM is this library's, which takes the same steps and makes it possible to compare every k.
    """
    from sklearn.cluster import KMeans

    x = pixels_of(image)
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
            reg_covar=floor_of_scikit_learn(x),
            init=k_means.labels_[first],
            accelerate=False,
            tol=1e-8,
            max_iter=2000,
        )
        best = max(best, float(fit.log_likelihood))
    return best


def sweep(image: NdArray, ks: list[int], n_restarts: int, sampled_ks: list[int]) -> dict[str, Any]:
    """Many fits at once, against the same one by one; the peer's time is that of ``sampled_ks``."""
    samples, x = samples_of(image), pixels_of(image)
    floor = floor_of_scikit_learn(x)

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
        fits = [scikit_learn_to_the_end(x, k, seed) for seed in range(n_restarts)]
        rows[k] = {
            "scikit_learn_seconds": sum(fit["seconds"] for fit in fits),
            "scikit_learn_best": max(fit["log_likelihood"] for fit in fits),
            "jgmm_best": float(result[k].log_likelihood),
        }
    best = {k: best_of_scikit_learn_starts(image, k, n_restarts) for k in ks}
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
        "above_best_of_scikit_learn_starts": {
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
