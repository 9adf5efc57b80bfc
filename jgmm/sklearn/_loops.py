"""The loops of EM and k-means as scikit-learn counts them, over the folds of jgmm.

They differ from `jgmm.fit` and `jgmm.kmeans` in when they stop and in what they return then, so
that the same start and the same settings give the same figures.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh

from jgmm._struct import struct
from jgmm.clustering import lloyd
from jgmm.data import frame as _frame
from jgmm.data.devices import Data, gather_rows, over_blocks, over_rows, place
from jgmm.data.fold import Blocks, block_size, subsample
from jgmm.em.steps import expectation, maximisation
from jgmm.families.covariance import Ridge
from jgmm.mixture.mixture import Mixture


@struct
class EmResult:
    """Plain EM: the mixture after the last step, and the bound of the mixture before each."""

    mixture: Mixture
    bounds: Array  # [capacity], mean nats per sample; then NaN
    n_iter: Array  # []
    converged: Array  # [] bool
    failed: Array  # [] bool, a covariance was not positive definite


@struct
class _EmState:
    mixture: Mixture
    bound: Array  # of the mixture before, as head and tail [2]
    bounds: Array
    n_iter: Array
    converged: Array
    failed: Array


@partial(jax.jit, static_argnames=("covariance_type", "size", "capacity", "mesh"))
def _em(
    data: Data,
    start: Mixture,
    settings: dict[str, Array],
    covariance_type: str,
    size: int,
    capacity: int,
    mesh: Mesh | None,
) -> EmResult:
    def fit(blocks: Blocks, start: Mixture, settings: dict[str, Array]) -> EmResult:
        frame = _frame.measure(blocks, isotropic=covariance_type == "spherical")
        inside = _frame.enter(blocks, frame)
        volume = jnp.sum(jnp.log(frame.scale))
        ridge = Ridge(variances=settings["reg_covar"] / frame.scale**2)

        def step(s: _EmState) -> _EmState:
            stats, (head, tail) = expectation(s.mixture, inside)
            following = maximisation(s.mixture, stats, covariance_type, ridge)
            change = (head - s.bound[0]) + (tail - s.bound[1])
            return _EmState(
                mixture=following,
                bound=jnp.stack([head, tail]),
                bounds=s.bounds.at[s.n_iter].set(head),
                n_iter=s.n_iter + 1,
                converged=jnp.abs(change) < settings["tol"],
                failed=jnp.isnan(head),
            )

        zero = jnp.zeros_like(volume)
        first = _EmState(
            mixture=_frame.mixture_enter(start, frame),
            bound=jnp.stack([settings["bound"] + volume, zero]),
            bounds=jnp.full(capacity, jnp.nan, volume.dtype),
            n_iter=jnp.zeros((), jnp.int32),
            converged=jnp.asarray(False),
            failed=jnp.asarray(False),
        )

        def running(s: _EmState) -> Array:
            return ~s.converged & ~s.failed & (s.n_iter < settings["max_iter"])

        last = lax.while_loop(running, step, first)
        return EmResult(
            mixture=_frame.mixture_leave(last.mixture, frame),
            bounds=last.bounds - volume,
            n_iter=last.n_iter,
            converged=last.converged,
            failed=last.failed,
        )

    result: EmResult = over_blocks(fit, data, size, mesh, start, settings)
    return result


def em(
    x: np.ndarray,
    weights: np.ndarray,
    start: Mixture,
    *,
    tol: float,
    reg_covar: float,
    max_iter: int,
    bound: float,
    covariance_type: str,
) -> EmResult:
    """Plain EM over samples [N, D] with weights [N] until the bound changes by less than tol.

    Args:
        x: the samples.
        weights: their weights.
        start: the mixture to start from.
        tol: in nats per sample and step.
        reg_covar: a variance that every M-step adds, absolute.
        max_iter: steps at most, >= 1.
        bound: what the first bound is compared with, -inf if with nothing.
        covariance_type: the family.

    Returns:
        The result, on the host.
    """
    dtype = x.dtype
    data, mesh = place(jnp.asarray(x), jnp.asarray(weights, dtype))
    k = start.n_components
    padded = pad(start, bucket(k, x.size), tied=covariance_type == "tied")
    settings = {"tol": tol, "reg_covar": reg_covar, "bound": bound}
    result = _em(
        data,
        jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), padded),
        {name: jnp.asarray(value, dtype) for name, value in settings.items()}
        | {"max_iter": jnp.asarray(max_iter, jnp.int32)},
        covariance_type=covariance_type,
        size=block_size(padded.n_components, x.shape[1]),
        capacity=128 * 2 ** max(0, -(-max_iter // 128) - 1).bit_length(),
        mesh=mesh,
    )
    result = jax.device_get(result)
    cut = Mixture(
        weights=result.mixture.weights[:k],
        means=result.mixture.means[:k],
        covariances=result.mixture.covariances[:k],
    )
    return EmResult(
        mixture=cut,
        bounds=result.bounds[: result.n_iter],
        n_iter=result.n_iter,
        converged=result.converged,
        failed=result.failed,
    )


def bucket(k: int, size: int) -> int:
    """``k`` rounded up to one of few, for ``size`` numbers so few that compiling takes longest."""
    return -(-k // 4) * 4 if size * k < 1 << 18 else k


def pad(mixture: Mixture, k: int, tied: bool) -> Mixture:
    """The mixture with components of weight 0 behind, ``k`` in all."""
    more = k - mixture.n_components
    means: Any = mixture.means
    covariances: Any = mixture.covariances
    weights: Any = np.concatenate([mixture.weights, np.zeros(more, means.dtype)])
    if not tied:
        covariances = np.concatenate([covariances, np.repeat(covariances[:1], more, axis=0)])
    return Mixture(
        weights=weights,
        means=np.concatenate([means, np.repeat(means[:1], more, axis=0)]),  # type: ignore[arg-type]
        covariances=covariances,
    )


@partial(jax.jit, static_argnames=("size", "mesh"))
def _lloyd(
    data: Data, centers: Array, used: Array, tol: Array, max_iter: Array, size: int,
    mesh: Mesh | None,
) -> tuple[Any, ...]:  # fmt: skip
    def run(
        blocks: Blocks, centers: Array, used: Array, tol: Array, max_iter: Array
    ) -> tuple[Array, ...]:
        frame = _frame.measure(blocks, isotropic=True)
        inside = _frame.enter(blocks, frame)
        # Rounding moves a center back and forth by so much for ever.
        rounding = centers.size * (4 * float(np.finfo(tol.dtype).eps)) ** 2
        least = jnp.maximum(tol / frame.scale[0] ** 2, rounding)
        start = (centers - frame.center) / frame.scale
        pool = subsample(inside, jax.random.key(0))
        last = lloyd.run(start, used, inside, pool, least, max_iter)
        return (
            last.centroids * frame.scale + frame.center,
            lloyd.inertia(last.centroids, used, inside) * frame.scale[0] ** 2,
            last.n_iter,
            last.shift * frame.scale[0] ** 2,
        )

    def labels(pixels: Array, centers: Array, used: Array) -> Array:
        return lloyd.label(pixels, centers, used, size)

    result = over_blocks(run, data, size, mesh, centers, used, tol, max_iter)
    return (over_rows(labels, data, mesh, result[0], used), *result)


def k_means(
    x: np.ndarray, weights: np.ndarray, centers: np.ndarray, *, tol: float, max_iter: int
) -> tuple[Any, ...]:
    """Lloyd's algorithm over samples [N, D] from given centers [K, D].

    Returns:
        Labels [N], centers, inertia, steps and the squared shift of the last, on the host.
    """
    data, mesh = place(jnp.asarray(x), jnp.asarray(weights, x.dtype))
    k = len(centers)
    centers, used = pad_centers(centers, x.size)
    labels, found, *rest = _lloyd(
        data,
        jnp.asarray(centers, x.dtype),
        jnp.asarray(used),
        jnp.asarray(tol, x.dtype),
        jnp.asarray(max_iter, jnp.int32),
        size=block_size(*centers.shape),
        mesh=mesh,
    )
    labels, found, *rest = jax.device_get((gather_rows(labels, data, len(x)), found, *rest))
    return (labels, found[:k], *rest)


def pad_centers(centers: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Centers repeated to one of few numbers, and which of them are to be used."""
    k = len(centers)
    more = bucket(k, size) - k
    return np.concatenate([centers, np.repeat(centers[:1], more, axis=0)]), np.arange(k + more) < k
