"""k-means: Lloyd's algorithm (Lloyd 1982) from a k-means++ start."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jgmm import _checks, _frame
from jgmm._fold import Blocks, block_size, fold_sum, make_blocks, map_samples, subsample
from jgmm._parallel import Data, gather_rows, over_blocks, over_rows, place
from jgmm._status import Status, raise_for_status
from jgmm._struct import struct
from jgmm.plusplus import plus_plus, squared_distances

_HIGHEST = lax.Precision.HIGHEST


@struct
class KMeansResult:
    """The result of `kmeans`. With ``n_restarts`` it is the best of them."""

    centroids: Array  # [K, D]
    labels: Array  # [N] int32, the nearest centroid of each pixel
    inertia: Array  # [], weighted sum of squared distances to these centroids
    n_iter: Array  # [], Lloyd steps over all the data
    status: Array  # [], a `Status`

    def raise_for_status(self) -> None:
        """Raise a RuntimeError unless converged."""
        raise_for_status(self.status)


@struct
class LloydStats:
    """What a Lloyd step needs of the data."""

    counts: Array  # [K]
    residuals: Array  # [K, D], weighted sum of sample minus centroid
    inertia: Array  # []


def assign(centroids: Array, used: Array, blocks: Blocks) -> LloydStats:
    """Give each sample to its nearest used centroid, the first of several, and sum up."""
    k = len(centroids)
    offsets = jnp.where(used, 0.5 * jnp.sum(centroids**2, axis=-1), jnp.inf)
    index = jnp.arange(k, dtype=centroids.dtype)[:, None]

    def block(samples: Array, weights: Array) -> LloydStats:
        nearness = jnp.dot(centroids, samples, precision=_HIGHEST) - offsets[:, None]
        # On a CPU XLA makes two plain reductions far faster than an argmax.
        first = jnp.min(jnp.where(nearness == jnp.max(nearness, axis=0), index, k), axis=0)
        nearest = (index == first).astype(samples.dtype)
        residuals = samples - jnp.dot(centroids.T, nearest, precision=_HIGHEST)
        weighted = nearest * weights
        return LloydStats(
            counts=jnp.dot(weighted, jnp.ones_like(weights), precision=_HIGHEST),
            residuals=jnp.dot(weighted, residuals.T, precision=_HIGHEST),
            inertia=jnp.sum(weights * jnp.sum(residuals**2, axis=0)),
        )

    stats, error = fold_sum(block, blocks)
    return jax.tree.map(jnp.add, stats, error)


def update(centroids: Array, stats: LloydStats) -> Array:
    """Each centroid moved to the mean of its samples; empty ones stay."""
    filled = stats.counts[:, None] > 0
    return jnp.where(
        filled, centroids + stats.residuals / jnp.where(filled, stats.counts[:, None], 1), centroids
    )


def lloyd_step(
    centroids: ArrayLike, pixels: ArrayLike, weights: ArrayLike | None = None
) -> tuple[Array, Array]:
    """One step of Lloyd's algorithm, not jitted, for use inside other programs.

    Args:
        centroids: [K, D].
        pixels: [..., D].
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.

    Returns:
        The next centroids [K, D], an empty one where it was, and the inertia of those given.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> pixels = jnp.array([[0.0], [2.0], [10.0]])
        >>> centroids, inertia = jgmm.lloyd_step(jnp.array([[1.0], [9.0]]), pixels)
        >>> print(centroids.ravel(), inertia)
        [ 1. 10.] 3.0
    """
    start = jnp.asarray(centroids)
    if start.ndim != 2:
        raise ValueError(f"centroids: expected shape [K, D], got {start.shape}")
    array = _checks.as_pixels(pixels, start.shape[1])
    start = start.astype(array.dtype)
    sample_weights = _checks.as_weights(weights, array.shape[:-1], array.dtype)
    center = jnp.mean(start, axis=0)
    flat = array.reshape(-1, start.shape[1]) - center
    blocks = make_blocks(flat, sample_weights, block_size(*start.shape))
    stats = assign(start - center, jnp.ones(len(start), bool), blocks)
    return update(start - center, stats) + center, stats.inertia


@struct
class _Lloyd:
    """The state of the loop; inertia belongs to ``centroids``, ``shift`` leads to ``following``."""

    centroids: Array
    following: Array
    inertia: Array
    shift: Array
    n_iter: Array


def run(
    centroids: Array, used: Array, blocks: Blocks, pool: Blocks, tol: Array, max_iter: Array
) -> _Lloyd:
    """Lloyd's steps until the centroids shift by less than ``tol`` in all (squared).

    Args:
        centroids: the start, [K, D].
        used: which of them take part, [K].
        blocks: the samples.
        pool: one block of some of them, from which empty clusters are re-seeded.
        tol: in squared units of the samples.
        max_iter: steps at most.
    """

    def step(state: _Lloyd) -> _Lloyd:
        at = state.following
        stats = assign(at, used, blocks)
        empty = used & (stats.counts == 0)
        stats = lax.cond(
            jnp.any(empty), lambda s: _refill(at, s, empty, used, pool), lambda s: s, stats
        )
        following = update(at, stats)
        return _Lloyd(
            centroids=at,
            following=following,
            inertia=stats.inertia,
            shift=jnp.sum(jnp.where(used[:, None], following - at, 0) ** 2),
            n_iter=state.n_iter + 1,
        )

    infinity = jnp.asarray(jnp.inf, centroids.dtype)
    start = _Lloyd(
        centroids=centroids,
        following=centroids,
        inertia=infinity,
        shift=infinity,
        n_iter=jnp.asarray(-1, jnp.int32),
    )
    return lax.while_loop(lambda s: (s.shift > tol) & (s.n_iter < max_iter), step, start)


def _refill(
    centroids: Array, stats: LloydStats, empty: Array, used: Array, pool: Blocks
) -> LloydStats:
    """Empty clusters given the samples of the pool that are farthest from their own centroids."""
    samples, weights = pool.samples[0], pool.weights[0]
    distances = squared_distances(centroids, samples)
    distances = jnp.where((used & ~empty)[:, None], distances, jnp.inf)
    owner = jnp.argmin(distances, axis=0)
    distances = jnp.where(weights > 0, jnp.min(distances, axis=0), 0)
    far, index = lax.top_k(distances, min(len(centroids), len(weights)))
    rank = jnp.minimum(jnp.cumsum(empty) - 1, len(far) - 1)
    move = empty & (far[rank] > 0) & jnp.isfinite(far[rank])
    moved = samples[:, index[rank]].T
    old = owner[index[rank]]
    mass = jnp.where(move, weights[index[rank]], 0)
    taken = mass[:, None] * (moved - centroids[old])
    given = mass[:, None] * (moved - centroids)
    return LloydStats(
        counts=stats.counts.at[old].add(-mass) + mass,
        residuals=stats.residuals.at[old].add(-taken) + given,
        inertia=stats.inertia,
    )


def cluster(blocks: Blocks, k: int, used: Array, key: Array, tol: Array, max_iter: Array) -> _Lloyd:
    """k-means++ and Lloyd's steps, on a subsample to its own convergence and then on everything.

    Args:
        blocks: samples in a frame where they are of order one.
        k: K.
        used: which of the K take part, [K].
        key: a PRNG key.
        tol: see `run`.
        max_iter: Lloyd steps over everything at most.
    """
    pool = subsample(blocks, key)
    start = plus_plus(pool.samples[0], pool.weights[0], k, key)
    start = run(start, used, pool, pool, tol, max_iter).centroids
    return run(start, used, blocks, pool, tol, max_iter)


@partial(jax.jit, static_argnames=("k", "size", "mesh"))
def _kmeans(
    data: Data, keys: Array, tol: Array, max_iter: Array, k: int, size: int, mesh: Mesh | None
) -> KMeansResult:
    def best_of(blocks: Blocks, keys: Array, tol: Array, max_iter: Array) -> KMeansResult:
        frame = _frame.measure(blocks, isotropic=True)
        blocks = _frame.enter(blocks, frame)
        used = jnp.ones(k, bool)
        # Rounding moves a centroid back and forth by so much for ever.
        rounding = 4 * float(np.finfo(tol.dtype).eps)
        tol = jnp.maximum(tol, k * blocks.n_features * rounding**2)
        lanes = jax.vmap(lambda key: cluster(blocks, k, used, key, tol, max_iter))(keys)
        best = jax.tree.map(lambda leaf: leaf[jnp.argmin(lanes.inertia)], lanes)
        status = jnp.where(best.shift <= tol, Status.CONVERGED, Status.MAX_ITER)
        status = jnp.where(jnp.isfinite(best.inertia), status, Status.NONFINITE)
        return KMeansResult(
            centroids=best.centroids * frame.scale + frame.center,
            labels=jnp.zeros(0, jnp.int32),
            inertia=best.inertia * frame.scale[0] ** 2,
            n_iter=best.n_iter,
            status=status.astype(jnp.int32),
        )

    def labels(pixels: Array, centroids: Array) -> Array:
        center = jnp.mean(centroids, axis=0)
        moved = centroids - center
        half = 0.5 * jnp.sum(moved**2, axis=-1, keepdims=True)

        def nearest(samples: Array) -> Array:
            x = samples - center[:, None]
            return jnp.argmax(jnp.dot(moved, x, precision=_HIGHEST) - half, axis=0)

        return map_samples(nearest, pixels, size).astype(jnp.int32)

    result = over_blocks(best_of, data, size, mesh, keys, tol, max_iter)
    return dataclasses.replace(result, labels=over_rows(labels, data, mesh, result.centroids))


def kmeans(
    pixels: ArrayLike,
    k: int,
    *,
    key: Array | None = None,
    weights: ArrayLike | None = None,
    n_restarts: int = 1,
    max_iter: int = 300,
    tol: ArrayLike = 1e-4,
) -> KMeansResult:
    """Cluster pixels by k-means.

    Greedy k-means++ on up to 16,384 samples (Arthur and Vassilvitskii 2007), Lloyd's steps on
    those, then on all. An empty cluster is re-seeded at the sample farthest from every centroid.

    Args:
        pixels: [N, D], or [..., D] with the leading axes flattened.
        k: the number of clusters. Of data with fewer distinct samples some stay empty.
        key: a JAX PRNG key; None means ``jax.random.key(0)``.
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.
        n_restarts: runs from different starts, side by side; the best is returned.
        max_iter: Lloyd steps at most.
        tol: stop when the squared shifts of the centroids sum to less than this, relative to the
            mean variance of the features.

    Returns:
        The clustering; ``inertia`` and ``labels`` belong to the ``centroids`` returned.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: k < 1, shapes that do not fit, values that are not finite.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> result = jgmm.kmeans(jnp.array([[0.0], [1.0], [10.0], [11.0]]), 2)
        >>> [round(x, 3) for x in sorted(result.centroids.ravel().tolist())]
        [0.5, 10.5]
    """
    k = _checks.as_count("k", k)
    n_restarts = _checks.as_count("n_restarts", n_restarts)
    max_iter = _checks.as_count("max_iter", max_iter)
    array = _checks.as_pixels(pixels)
    dtype = array.dtype
    sample_weights = _checks.as_weights(weights, array.shape[:-1], dtype)
    flat = array.reshape(-1, array.shape[-1])
    data, mesh = place(flat, sample_weights)
    result = _kmeans(
        data,
        restart_keys(key, n_restarts),
        _checks.as_nonnegative("tol", tol, dtype),
        jnp.asarray(max_iter, jnp.int32),
        k=k,
        size=block_size(k, flat.shape[1]),
        mesh=mesh,
    )
    return dataclasses.replace(result, labels=gather_rows(result.labels, data, len(flat)))


def restart_keys(key: Array | None, n_restarts: int) -> Array:
    """One key per restart [R]; a single restart uses the key itself."""
    key = jax.random.key(0) if key is None else key
    return key[None] if n_restarts == 1 else jax.random.split(key, n_restarts)
