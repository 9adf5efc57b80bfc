"""EM and k-means as scikit-learn counts them: jgmm's, with settings of their own.

They differ from `jgmm.fit` and `jgmm.kmeans` in when they stop and in what they return then, so
that the same start and the same settings give the same figures.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from jgmm import _checks
from jgmm._status import Status
from jgmm._struct import struct
from jgmm.clustering import lloyd
from jgmm.data.arrays import lengthened
from jgmm.data.devices import Placed, gather_rows, over_rows, over_samples, place
from jgmm.data.frame import measure
from jgmm.data.frame import standardize as standardize_samples
from jgmm.data.programs import program, round_up
from jgmm.data.samples import Rows, Samples, block_size
from jgmm.data.subsample import subsample
from jgmm.em.problem import pose
from jgmm.families.floor import Ridge
from jgmm.mixture.components import pad, take
from jgmm.mixture.mixture import Mixture, standardize
from jgmm.solvers.em import LastOfEm
from jgmm.solvers.iterate import iterate
from jgmm.solvers.stopping import Change


@struct
class EmResult:
    """Plain EM: the mixture after the last step, and the bound of the mixture before each."""

    mixture: Mixture
    bounds: Array  # [capacity], mean nats per sample; then NaN
    n_iter: Array  # []
    converged: Array  # [] bool
    failed: Array  # [] bool, a covariance was not positive definite


@program("size", "capacity", "mesh")
def _em(
    placed: Placed,
    start: Mixture,
    reg_covar: Array,
    stop: Change,
    size: int,
    capacity: int,
    mesh: Mesh | None,
) -> EmResult:
    def fit(raw: Samples, start: Mixture, reg_covar: Array, stop: Change) -> EmResult:
        problem = pose(raw, start.family, jnp.zeros_like(start.means[0]))
        scale = problem.frame.scale
        ridge = Ridge(variances=reg_covar / scale**2)
        problem = dataclasses.replace(problem, floor=ridge)
        volume = jnp.sum(jnp.log(scale))
        stop = dataclasses.replace(stop, previous=stop.previous + volume)
        inside = standardize(start, problem.frame)
        run = iterate(problem, LastOfEm(), inside, stop, capacity, jax.random.key(0))
        return EmResult(
            mixture=problem.unstandardize(run.state),  # one step on from what was evaluated
            bounds=run.history - volume,
            n_iter=run.n_iter + 1,
            converged=run.status == Status.CONVERGED,
            failed=(run.status == Status.NONFINITE) | (run.status == Status.DEGENERATE),
        )

    result: EmResult = over_samples(fit, placed, size, mesh, start, reg_covar, stop)
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

    Returns:
        The result, on the host.
    """
    dtype = x.dtype
    placed, mesh = place(
        Rows(features=_checks.as_array(x), weights=_checks.as_array(weights, dtype))
    )
    k = start.n_components
    padded = pad(start, round_up(k, x.size))
    result = _em(
        placed,
        jax.tree.map(lambda leaf: _checks.as_array(leaf, dtype), padded),
        _checks.as_array(reg_covar, dtype),
        Change(
            tol=_checks.as_array(tol, dtype),
            max_iter=_checks.as_array(
                max_iter - 1, jnp.int32
            ),  # the step after the last evaluation
            previous=_checks.as_array(bound, dtype),
        ),
        size=block_size(padded.n_components, x.shape[1], dtype),
        capacity=capacity_for(max_iter),
        mesh=mesh,
    )
    result = jax.device_get(result)
    return dataclasses.replace(
        result, mixture=take(result.mixture, slice(k)), bounds=result.bounds[: result.n_iter]
    )


def capacity_for(max_iter: int) -> int:
    """The length of the history to compile for: one of few."""
    return 128 * 2 ** max(0, -(-max_iter // 128) - 1).bit_length()


@program("size", "mesh")
def _lloyd(
    placed: Placed, centers: Array, used: Array, tol: Array, max_iter: Array, size: int,
    mesh: Mesh | None,
) -> tuple[Any, ...]:  # fmt: skip
    def run(
        raw: Samples, centers: Array, used: Array, tol: Array, max_iter: Array
    ) -> tuple[Array, ...]:
        frame = measure(raw, isotropic=True)
        inside = standardize_samples(raw, frame)
        # Rounding moves a center back and forth by so much for ever.
        rounding = centers.size * (4 * float(np.finfo(tol.dtype).eps)) ** 2
        least = jnp.maximum(tol / frame.scale[0] ** 2, rounding)
        start = (centers - frame.center) / frame.scale
        few = subsample(inside, jax.random.key(0))
        last = lloyd.run(start, used, inside, few, least, max_iter)
        return (
            last.centroids * frame.scale + frame.center,
            lloyd.inertia(last.centroids, used, inside) * frame.scale[0] ** 2,
            last.n_iter,
            last.shift * frame.scale[0] ** 2,
        )

    def labels(pixels: Array, centers: Array, used: Array) -> Array:
        return lloyd.label(pixels, centers, used, size)

    result = over_samples(run, placed, size, mesh, centers, used, tol, max_iter)
    return (over_rows(labels, placed.rows.features, mesh, result[0], used), *result)


def k_means(
    x: np.ndarray, weights: np.ndarray, centers: np.ndarray, *, tol: float, max_iter: int
) -> tuple[Any, ...]:
    """Lloyd's algorithm over samples [N, D] from given centers [K, D].

    Returns:
        Labels [N], centers, inertia, steps and the squared shift of the last, on the host.
    """
    rows = Rows(features=_checks.as_array(x), weights=_checks.as_array(weights, x.dtype))
    placed, mesh = place(rows)
    k = len(centers)
    centers, used = pad_centers(centers, x.size)
    labels, found, *rest = _lloyd(
        placed,
        _checks.as_array(centers, x.dtype),
        _checks.as_array(used),
        _checks.as_array(tol, x.dtype),
        _checks.as_array(max_iter, jnp.int32),
        size=block_size(len(centers), x.shape[1], x.dtype),
        mesh=mesh,
    )
    labels, found, *rest = jax.device_get((gather_rows(labels, placed, len(x)), found, *rest))
    return (labels, found[:k], *rest)


def pad_centers(centers: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Centers repeated to one of few numbers, and which of them are to be used."""
    k = len(centers)
    most = round_up(k, size)
    return lengthened(centers, most), np.arange(most) < k
