"""Where EM starts: a table of named starts, and starts from what the caller knows already.

All work on samples in the frame of `_frame`, where every feature is of order one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm.clustering import lloyd
from jgmm.clustering.plus_plus import plus_plus
from jgmm.data.fold import Blocks, fold, fold_sum, subsample
from jgmm.em.steps import expectation, maximisation, moments, statistics
from jgmm.families.covariance import FAMILIES
from jgmm.mixture.mixture import Mixture
from jgmm.mixture.whitened import whiten, whitening

_Carry = tuple[Array, tuple[Array, ...]]
Start = Callable[[Blocks, Array, Array, str, Array], Mixture]


def spheres(means: Array, used: Array, covariance_type: str) -> Mixture:
    """Equal components of unit covariance around ``means`` [K, D], the origin of statistics."""
    k, d = means.shape
    eye = jnp.eye(d, dtype=means.dtype)
    matrices = covariance_type in ("full", "tied")
    return Mixture(
        weights=used.astype(means.dtype) / jnp.sum(used, dtype=means.dtype),
        means=means,
        covariances=jnp.broadcast_to(eye, (k, d, d)) if matrices else jnp.ones_like(means),
    )


def from_means(
    blocks: Blocks, means: Array, used: Array, covariance_type: str, floor: Array
) -> Mixture:
    """Equal weights, the means as given, and one covariance for all components.

    It is that of the samples around the mean nearest to each, so that no component starts out
    empty or collapsed.
    """
    origin = spheres(means, used, covariance_type)
    stats, _ = expectation(origin, blocks, hard=True)
    cells = maximisation(origin, stats, covariance_type, floor)
    if covariance_type == "tied":
        return dataclasses.replace(cells, weights=origin.weights, means=means)
    share = cells.weights
    pooled = jnp.tensordot(share, cells.covariances, axes=1, precision=lax.Precision.HIGHEST)
    return Mixture(
        weights=origin.weights,
        means=means,
        covariances=jnp.broadcast_to(pooled, cells.covariances.shape),
    )


def kmeans(blocks: Blocks, used: Array, key: Array, covariance_type: str, floor: Array) -> Mixture:
    """The mixture of the clusters that k-means finds: their shares, means and covariances."""
    k, dtype = len(used), blocks.samples.dtype
    found = lloyd.cluster(
        blocks, k, used, key, jnp.asarray(1e-4, dtype), jnp.asarray(100, jnp.int32)
    )
    origin = spheres(found.centroids, used, covariance_type)
    stats, _ = expectation(origin, blocks, hard=True)
    return maximisation(origin, stats, covariance_type, floor)


def kmeans_plus_plus(
    blocks: Blocks, used: Array, key: Array, covariance_type: str, floor: Array
) -> Mixture:
    """Means that k-means++ chooses among the samples."""
    pool = subsample(blocks, key)
    means = plus_plus(pool.samples[0], pool.weights[0], len(used), key)
    return from_means(blocks, means, used, covariance_type, floor)


def random_from_data(
    blocks: Blocks, used: Array, key: Array, covariance_type: str, floor: Array
) -> Mixture:
    """Means that are different samples, drawn with probability proportional to their weight."""
    pool = subsample(blocks, key)
    weights = pool.weights[0]
    # The largest of log weight + Gumbel noise are a draw without replacement (Vieira 2014).
    lots = jnp.log(weights) + jax.random.gumbel(key, weights.shape, weights.dtype)
    _, index = lax.top_k(lots, len(used))
    return from_means(blocks, pool.samples[0, :, index], used, covariance_type, floor)


def random(blocks: Blocks, used: Array, key: Array, covariance_type: str, floor: Array) -> Mixture:
    """Components of random responsibilities, uniform draws that are made to sum to one."""
    if blocks.axis is not None:
        key = jax.random.fold_in(key, lax.axis_index(blocks.axis.name))
    k, dtype = len(used), blocks.samples.dtype

    def draw(i: Array, samples: Array) -> Array:
        lots = jax.random.uniform(jax.random.fold_in(key, i), (k, samples.shape[1]), dtype)
        lots = jnp.where(used[:, None], lots, 0)
        return lots / jnp.sum(lots, axis=0)

    return from_responsibilities(blocks, used, draw, covariance_type, floor)


def from_responsibilities(
    blocks: Blocks,
    used: Array,
    shares: Callable[[Array, Array], Array],
    covariance_type: str,
    floor: Array,
) -> Mixture:
    """The M-step of responsibilities ``shares(i, samples [rows, S])`` [K, S] for the i-th block.

    The first D rows of the samples are the features; what else is known of them may follow.
    """
    d = len(floor)
    origin = spheres(jnp.zeros((len(used), d), floor.dtype), used, covariance_type)
    form = whitening(origin)

    def block(samples: Array, r: Array) -> tuple[Array, ...]:
        return moments(form, samples, whiten(form, samples), r)

    def visit(carry: _Carry, samples: Array, weights: Array) -> _Carry:
        i, total = carry
        r = shares(i, samples) * weights
        return i + 1, jax.tree.map(jnp.add, total, block(samples[:d], r))

    size = blocks.weights.shape[1]
    shapes = jax.eval_shape(
        block,
        jax.ShapeDtypeStruct((d, size), floor.dtype),
        jax.ShapeDtypeStruct((len(used), size), floor.dtype),
    )
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    _, total = fold(visit, (jnp.zeros((), jnp.int32), zeros), blocks)
    if blocks.axis is not None:
        total = lax.psum(total, blocks.axis.name)
    return maximisation(origin, statistics(form, total), covariance_type, floor)


STARTS: dict[str, Start] = {
    "kmeans": kmeans,
    "k-means++": kmeans_plus_plus,
    "random": random,
    "random_from_data": random_from_data,
}


def from_labels(
    blocks: Blocks, used: Array, kind: str, covariance_type: str, floor: Array
) -> Mixture:
    """The M-step of labels (one row behind the features) or responsibilities (K rows)."""
    k, d = len(used), len(floor)

    def shares(i: Array, samples: Array) -> Array:
        rows = samples[d:]
        if kind == "responsibilities":
            return rows
        index = jnp.arange(k, dtype=rows.dtype)[:, None]
        return (rows == index).astype(rows.dtype)

    return from_responsibilities(blocks, used, shares, covariance_type, floor)


def match_labels(
    mixture: Mixture, blocks: Blocks, used: Array, covariance_type: str, floor: Array
) -> Mixture:
    """A start whose components stand where the samples known to be theirs are.

    The components without a label take what the labelled ones leave: each label in turn takes
    the place of the component nearest to its samples.
    """
    k, d = mixture.means.shape
    index = jnp.arange(k, dtype=blocks.samples.dtype)[:, None]

    def block(samples: Array, weights: Array) -> tuple[Array, Array]:
        seen = jnp.isfinite(samples[:d])
        mine = jnp.where(samples[d] == index, weights, 0)
        total = jnp.dot(mine, jnp.where(seen, samples[:d], 0).T, precision=lax.Precision.HIGHEST)
        return total, jnp.dot(mine, seen.astype(mine.dtype).T, precision=lax.Precision.HIGHEST)

    (total, mass), _ = fold_sum(block, blocks)
    labelled = jnp.any(mass > 0, axis=1)
    known = total / jnp.where(mass > 0, mass, 1)

    def place(i: Array, means: Array) -> Array:
        # Components before i that are labelled have their places already.
        taken = labelled & (jnp.arange(k) < i)
        gaps = jnp.sum((means - known[i]) ** 2, axis=1)
        nearest = jnp.argmin(jnp.where(taken | ~used, jnp.inf, gaps))
        swapped = means.at[nearest].set(means[i]).at[i].set(known[i])
        return jnp.where(labelled[i], swapped, means)

    means = lax.fori_loop(0, k, place, mixture.means)
    features = jnp.nan_to_num(blocks.samples[:, :d])
    return from_means(
        dataclasses.replace(blocks, samples=features), means, used, covariance_type, floor
    )


def read(
    init: str | Mixture | ArrayLike,
    k: int,
    shape: tuple[int, ...],
    covariance_type: str,
    dtype: Any,
) -> tuple[str, Mixture | Array | None, Array | None]:
    """What a caller means by ``init``, for pixels of ``shape`` [..., D].

    Returns:
        The kind of start: a name in `STARTS`, mixture, means, labels or responsibilities; the
        mixture or the means; and what goes along with each sample [N, E].

    Raises:
        TypeError: of no kind that can be a start.
        ValueError: an unknown name, a shape that does not fit, labels beyond k.
    """
    if isinstance(init, str):
        return _checks.one_of("init", init, STARTS), None, None
    if isinstance(init, Mixture):
        return "mixture", _conform(init, k, shape[-1], covariance_type, dtype), None
    array = init if isinstance(init, jax.Array) else np.asarray(init)
    n = int(np.prod(shape[:-1]))
    if jnp.issubdtype(array.dtype, jnp.floating) and array.shape == (k, shape[-1]):
        return "means", _finite(jnp.asarray(array, dtype)), None
    if jnp.issubdtype(array.dtype, jnp.integer) and array.shape in (shape[:-1], (n,)):
        return "labels", None, as_labels("init", array, k, shape).astype(dtype)[:, None]
    if jnp.issubdtype(array.dtype, jnp.floating) and array.shape in ((*shape[:-1], k), (n, k)):
        rows = _checks.as_nonnegative("init", array, dtype)
        return "responsibilities", None, rows.reshape(n, k)
    raise ValueError(
        f"init: expected one of {', '.join(STARTS)}, a Mixture, means ({k}, {shape[-1]}), "
        f"integer labels {shape[:-1]} or responsibilities {(*shape[:-1], k)}; "
        f"got {array.dtype} {array.shape}"
    )


def as_labels(name: str, labels: ArrayLike, k: int, shape: tuple[int, ...]) -> Array:
    """Labels of pixels of ``shape`` [..., D] as int32 [N], from -1 (unknown) to k - 1."""
    array = labels if isinstance(labels, jax.Array) else np.asarray(labels)
    n = int(np.prod(shape[:-1]))
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name}: expected integer labels, got dtype {array.dtype}")
    if array.shape not in (shape[:-1], (n,)):
        raise ValueError(f"{name}: expected labels of shape {shape[:-1]}, got {array.shape}")
    if _checks.is_concrete(array) and not -1 <= int(array.min()) <= int(array.max()) < k:
        raise ValueError(
            f"{name}: expected labels from -1 (unknown) to {k - 1}, "
            f"got {int(array.min())} to {int(array.max())}"
        )
    return jnp.asarray(array.reshape(n)).astype(jnp.int32)


def _finite(means: Array) -> Array:
    if _checks.is_concrete(means) and not bool(np.isfinite(np.asarray(means)).all()):
        raise ValueError("init: expected finite means, got NaN or infinity")
    return means


def _conform(init: Mixture, k: int, d: int, covariance_type: str, dtype: Any) -> Mixture:
    """The warm start in ``dtype``, or a ValueError where it does not fit what is asked for."""
    shapes = (init.weights.shape, init.means.shape, init.covariances.shape)
    expected = ((k,), (k, d), FAMILIES[covariance_type].shape(k, d))
    if shapes != expected:
        raise ValueError(
            f"init: expected a {covariance_type} mixture of weights, means and covariances of "
            f"shapes {expected}, got {shapes}"
        )
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), init)
