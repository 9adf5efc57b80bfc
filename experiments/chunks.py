"""k-means and EM over chunks of data that need never be in memory together.

    python -m experiments.chunks

The sufficient statistics of an E-step add up over chunks, under one mixture. k-means is the same
with equal spheres so small that every sample belongs to the nearest alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

import jgmm

Chunks = Iterable[np.ndarray]  # gone through once for every step: a list, or a class that reads


def e_step(mixture: jgmm.Mixture, chunks: Chunks) -> tuple[jgmm.SufficientStats, float]:
    """The E-step over all chunks: their statistics added up, and the mean log-likelihood."""
    step = jax.jit(jgmm.e_step)  # chunks of one length share a program
    total: jgmm.SufficientStats | None = None
    log_likelihood = weight = 0.0
    for chunk in chunks:
        stats, mean = step(mixture, chunk)
        total = stats if total is None else jax.tree.map(jnp.add, total, stats)
        log_likelihood += float(mean) * len(chunk)
        weight += len(chunk)
    if total is None:
        raise ValueError("chunks: expected at least one, got none")
    return total, log_likelihood / weight


def kmeans(chunks: Chunks, centroids: jax.Array, n_steps: int) -> jax.Array:
    """Lloyd's algorithm: so many steps from ``centroids`` [K, D]."""
    k = len(centroids)
    gaps = jnp.sum((centroids[:, None] - centroids[None]) ** 2, -1) + jnp.diag(jnp.full(k, jnp.inf))
    small = jnp.full((k, 1), 1e-6 * jnp.min(gaps))
    for _ in range(n_steps):
        spheres = jgmm.Mixture(jnp.ones(k) / k, centroids, small)
        stats, _ = e_step(spheres, chunks)
        centroids = jgmm.m_step(spheres, stats, covariance_type="spherical").means
    return centroids


def fit(
    chunks: Chunks, start: jgmm.Mixture, n_steps: int, reg_covar: float
) -> tuple[jgmm.Mixture, list[float]]:
    """EM: so many steps, and the log-likelihood before each."""
    history, mixture = [], start
    family = start.covariance_type
    for _ in range(n_steps):
        stats, log_likelihood = e_step(mixture, chunks)
        history.append(log_likelihood)
        mixture = jgmm.m_step(mixture, stats, covariance_type=family, reg_covar=reg_covar)
    return mixture, history


def main(argv: Sequence[str] | None = None) -> None:
    """A mixture of three, of 40 chunks of 5,000 samples."""
    rng = np.random.default_rng(0)
    centers = np.array([[0.0, 0.0], [6.0, 1.0], [2.0, 7.0]])
    chunks = [
        (centers[rng.integers(3, size=5000)] + rng.normal(size=(5000, 2))).astype(np.float32)
        for _ in range(40)
    ]
    # A first mixture from one chunk, which is a sample of all here.
    clusters = jgmm.kmeans(chunks[0], 3)
    centroids = kmeans(chunks, clusters.centroids, 5)
    start = jgmm.fit(chunks[0], 3, init=centroids, max_iter=0).mixture
    mixture, history = fit(chunks, start, 20, reg_covar=1e-6)
    print(mixture.summary())
    print(f"log-likelihood {history[0]:.4f} at the start, {history[-1]:.4f} after 20 steps")


if __name__ == "__main__":
    main()
