"""Covariances taken apart into variances along axes, put together again, and turned."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jgmm.data.arrays import module_of
from jgmm.data.products import einsum, matmul

_GOLDEN = 0.6180339887498949


def shares(weights: Any) -> Any:
    """Weights [K] that sum to 1; equal ones where all are 0. NumPy arrays stay so."""
    xp = module_of(weights)
    total = weights.sum()
    even = xp.full_like(weights, 1 / len(weights))
    return xp.where(total > 0, weights / xp.where(total > 0, total, 1), even)


def assemble(variances: Any, axes: Any) -> Any:
    """Covariances of variances [K, D] along axes [K or 1, D, D], its columns; None: as they are.

    Symmetric to the last bit. NumPy arrays stay so.
    """
    if axes is None:
        return variances
    product = matmul(axes * variances[:, None, :], axes.swapaxes(-1, -2))
    return (product + product.swapaxes(-1, -2)) / 2


def own(covariances: Any) -> tuple[Any, Any]:
    """Variances [K, D], ascending, along the principal axes of each covariance."""
    values, vectors = module_of(covariances).linalg.eigh(covariances)
    return values, vectors


def common(covariances: Any, weights: Any) -> tuple[Any, Any]:
    """Variances [K, D] along the principal axes [1, D, D] of a mean of all covariances.

    Those are the axes that the covariances share, if they do. They count by ``weights`` but for a
    factor, and for their size: in a plain mean the variances along two of them might be equal.
    """
    xp = module_of(covariances)
    odd = 0.5 + np.arange(1, len(covariances) + 1) * _GOLDEN % 1
    sizes = xp.trace(covariances, axis1=-2, axis2=-1)
    shares = weights * odd.astype(covariances.dtype) / xp.where(sizes > 0, sizes, 1)
    mean = (shares[:, None, None] * covariances).sum(axis=0)
    axes = xp.linalg.eigh(mean)[1][None]
    return along(covariances, axes), axes


def along(matrices: Any, axes: Any) -> Any:
    """The variances [K, D] of matrices along axes."""
    inner = matmul(matmul(axes.swapaxes(-1, -2), matrices), axes)
    return module_of(inner).diagonal(inner, 0, -2, -1)


def turned(axes: Array, angles: Array, variances: Array, weights: Array) -> Array:
    """Axes [K or 1, D, D] turned in each plane of two by angles [K or 1, D (D - 1) / 2].

    In units in which an angle of 1 is, to first order, a change of information 1 of samples whose
    components have ``weights`` [K].
    """
    d = axes.shape[-1]
    rows, columns = np.tril_indices(d, -1)
    one, two = variances[:, rows], variances[:, columns]
    known = weights[:, None] * (one - two) ** 2 / (one * two)
    if len(axes) == 1:
        known = jnp.sum(known, axis=0, keepdims=True)
    known = jnp.where(known > 0, known, 1)
    skew = jnp.zeros(axes.shape, axes.dtype)
    skew = skew.at[:, rows, columns].set(angles * lax.rsqrt(lax.stop_gradient(known)) / 2)
    skew = skew - skew.swapaxes(-1, -2)
    eye = jnp.eye(d, dtype=axes.dtype)
    cayley = jnp.linalg.solve(eye - skew, jnp.broadcast_to(eye + skew, skew.shape))
    return einsum("kij,kjl->kil", axes, cayley)
