"""Lloyd's algorithm (Lloyd 1982), a step at a time and to convergence."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import struct
from jgmm.clustering.plus_plus import plus_plus, squared_distances
from jgmm.data.fold import fold_sum, in_turn, map_samples
from jgmm.data.origin import less, near_origin, plus
from jgmm.data.products import dot, with_one
from jgmm.data.programs import program
from jgmm.data.samples import Block, Rows, Samples, block_size, make_samples


@struct
class LloydStats:
    """What a Lloyd step needs of the data."""

    counts: Array  # [K]
    totals: Array  # [K, D], weighted sum of samples


def nearest(centroids: Array, used: Array, samples: Array) -> Array:
    """Which used centroid [K, D] each of the samples [D, S] is nearest to, the first of several.

    Returns:
        Indices [S], in the samples' dtype.
    """
    k = len(centroids)
    # Not infinite: some machines make NaN of infinity in a matrix product.
    least = float(np.finfo(centroids.dtype).min) / 4
    offsets = jnp.where(used, -0.5 * jnp.sum(centroids**2, axis=-1), least)
    plane = jnp.concatenate([offsets[:, None], centroids], axis=1)
    nearness = dot(plane, with_one(samples))
    # On a CPU XLA makes two plain reductions far faster than an argmax.
    index = jnp.arange(k, dtype=samples.dtype)[:, None]
    return jnp.min(jnp.where(nearness == jnp.max(nearness, axis=0), index, k), axis=0)


def assign(centroids: Array, used: Array, samples: Samples) -> LloydStats:
    """Give each sample to its nearest used centroid and sum up."""
    index = jnp.arange(len(centroids), dtype=centroids.dtype)[:, None]

    def visit(block: Block) -> Array:
        mine = index == nearest(centroids, used, block.features)
        return dot(jnp.where(mine, block.weights, 0), with_one(block.features).T)

    table = fold_sum(visit, samples).rounded()
    return LloydStats(counts=table[:, 0], totals=table[:, 1:])


def inertia(centroids: Array, used: Array, samples: Samples) -> Array:
    """The weighted sum of squared distances to the nearest used centroid, without cancellation."""

    def visit(block: Block) -> Array:
        distances = squared_distances(centroids, block.features)
        least = jnp.min(jnp.where(used[:, None], distances, jnp.inf), axis=0)
        return jnp.sum(block.weights * least)

    return fold_sum(visit, samples).rounded()


def label(pixels: Array, centroids: Array, used: Array, size: int) -> Array:
    """The index of the nearest used centroid of each of the pixels [N, D], int32."""
    origin = jnp.mean(centroids, axis=0)

    def block(samples: Array) -> Array:
        return nearest(centroids - origin, used, samples - origin[:, None])

    return map_samples(block, pixels, size).astype(jnp.int32)


def update(centroids: Array, stats: LloydStats) -> Array:
    """Each centroid moved to the mean of its samples; empty ones stay."""
    filled = stats.counts[:, None] > 0
    return jnp.where(filled, stats.totals / jnp.where(filled, stats.counts[:, None], 1), centroids)


def lloyd_step(
    centroids: ArrayLike, pixels: ArrayLike, weights: ArrayLike | None = None
) -> tuple[Array, Array]:
    """One step of Lloyd's algorithm.

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
    start = _checks.as_array(centroids)
    if start.ndim != 2:
        raise ValueError(f"centroids: expected shape [K, D], got {start.shape}")
    array, origin = near_origin(pixels, start.shape[1])
    start = less(start, origin).astype(array.dtype)
    sample_weights = _checks.as_weights(weights, array.shape[:-1], array.dtype)
    moved, error = _stepped(start, array.reshape(-1, start.shape[1]), sample_weights)
    return plus(moved, origin), error


@program()
def _stepped(start: Array, flat: Array, weights: Array) -> tuple[Array, Array]:
    k, d = start.shape
    center = jnp.mean(start, axis=0)
    rows = Rows(features=flat - center, weights=weights)
    samples = make_samples(rows, block_size(k, d, start.dtype))
    start, used = start - center, jnp.ones(k, bool)
    moved = update(start, assign(start, used, samples))
    return moved + center, inertia(start, used, samples)


@struct
class Clusters:
    """The state of Lloyd's algorithm."""

    centroids: Array  # [K, D]
    shift: Array  # [], squared, of all centroids in the step that led to them
    n_iter: Array  # []


def run(
    centroids: Array, used: Array, samples: Samples, few: Rows, tol: Array, max_iter: Array
) -> Clusters:
    """Lloyd's steps until the centroids shift by less than ``tol`` in all (squared).

    Args:
        centroids: the start, [K, D].
        used: which of them take part, [K].
        samples: all of them.
        few: some of them, from which empty clusters are re-seeded, one in each step.
        tol: in squared units of the samples.
        max_iter: steps at most.
    """

    def step(state: Clusters) -> Clusters:
        at = state.centroids
        stats = assign(at, used, samples)
        empty = used & (stats.counts == 0)
        stats = lax.cond(
            jnp.any(empty), lambda s: _refill(at, s, empty, used, few), lambda s: s, stats
        )
        moved = update(at, stats)
        return Clusters(
            centroids=moved,
            shift=jnp.sum(jnp.where(used[:, None], moved - at, 0) ** 2),
            n_iter=state.n_iter + 1,
        )

    start = Clusters(
        centroids=centroids,
        shift=jnp.asarray(jnp.inf, centroids.dtype),
        n_iter=jnp.zeros((), jnp.int32),
    )
    return lax.while_loop(lambda s: (s.shift > tol) & (s.n_iter < max_iter), step, start)


def _refill(
    centroids: Array, stats: LloydStats, empty: Array, used: Array, few: Rows
) -> LloydStats:
    """The first empty cluster given, of a few samples, the farthest from all centroids."""
    distances = squared_distances(centroids, few.features.T)
    distances = jnp.where((used & ~empty)[:, None], distances, jnp.inf)
    nearest = jnp.where(few.weights > 0, jnp.min(distances, axis=0), 0)
    far = jnp.argmax(nearest)
    sample, weight = few.features[far], few.weights[far]
    can = (nearest[far] > 0) & jnp.isfinite(nearest[far])
    index = jnp.arange(len(centroids))
    gains = (index == jnp.argmax(empty)).astype(weight.dtype)
    loses = (index == jnp.argmin(distances[:, far])).astype(weight.dtype)
    change = jnp.where(can, weight, 0) * (gains - loses)
    return LloydStats(
        counts=stats.counts + change,
        totals=stats.totals + change[:, None] * sample,
    )


def cluster(
    parts: Sequence[Samples],
    few: Rows,
    k: int,
    used: Array,
    key: Array,
    tol: Array,
    max_iter: Array,
) -> Clusters:
    """k-means++, and Lloyd's steps to convergence on each of some parts of the samples in turn.

    Args:
        parts: in a frame where they are of order one; all of them last.
        few: some of the samples, from which centroids are chosen.
        k: K.
        used: which of the K take part, [K].
        key: a PRNG key.
        tol: see `run`.
        max_iter: Lloyd steps at most over each part.
    """
    start = Clusters(
        centroids=plus_plus(few.features.T, few.weights, k, key),
        shift=jnp.asarray(jnp.inf, few.weights.dtype),
        n_iter=jnp.zeros((), jnp.int32),
    )

    def on(clusters: Clusters, part: Samples) -> Clusters:
        return run(clusters.centroids, used, part, few, tol, max_iter)

    return in_turn(on, start, parts)
