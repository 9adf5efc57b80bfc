"""The covariance families: full, tied, diag and spherical.

A family is known by the shape of its covariances, which broadcast over components and features:
full [K, D, D], tied [1, D, D], diag [K, D], spherical [K, 1]. Its name is needed only to turn
unconstrained covariances into the family's, and to count parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import solve_triangular

from jgmm._struct import struct

_HIGHEST = lax.Precision.HIGHEST


class Family(NamedTuple):
    """What distinguishes one covariance family from another."""

    constrain: Callable[[Array, Array], Array]
    """Maximum-likelihood covariances of the family, from one unconstrained covariance per
    component ([K, D, D], or [K, D] where only variances are kept) and the shares [K] of the data
    that each component explains."""
    shape: Callable[[int, int], tuple[int, ...]]
    """The shape of the covariances of K components in D dimensions."""
    n_parameters: Callable[[int, int], int]
    """Free parameters of the covariances of K components in D dimensions."""


def variances(covariances: Array) -> Array:
    """The diagonals [..., D] of matrices [..., D, D]; variances [K, D] stay as they are."""
    if covariances.ndim == 3:
        return jnp.diagonal(covariances, axis1=-2, axis2=-1)
    return covariances


def _require_matrices(covariances: Array) -> Array:
    if covariances.ndim != 3:
        raise ValueError(
            "covariance_type: expected diag or spherical, because the statistics were taken under "
            "a mixture that has only variances"
        )
    return covariances


FAMILIES = {
    "full": Family(
        constrain=lambda c, share: _require_matrices(c),
        shape=lambda k, d: (k, d, d),
        n_parameters=lambda k, d: k * d * (d + 1) // 2,
    ),
    "tied": Family(
        constrain=lambda c, share: jnp.tensordot(
            share, _require_matrices(c), axes=1, precision=_HIGHEST
        )[None],
        shape=lambda k, d: (1, d, d),
        n_parameters=lambda k, d: d * (d + 1) // 2,
    ),
    "diag": Family(
        constrain=lambda c, share: variances(c),
        shape=lambda k, d: (k, d),
        n_parameters=lambda k, d: k * d,
    ),
    "spherical": Family(
        constrain=lambda c, share: jnp.mean(variances(c), axis=-1, keepdims=True),
        shape=lambda k, d: (k, 1),
        n_parameters=lambda k, d: k,
    ),
}


def covariance_type(covariances: Array, n_components: int, n_features: int) -> str:
    """The name of the family that covariances of this shape belong to.

    Where two families coincide (one component, or one feature) it is the first in the table.
    """
    for name, family in FAMILIES.items():
        if family.shape(n_components, n_features) == covariances.shape:
            return name
    shapes = ", ".join(f"{n} {f.shape(n_components, n_features)}" for n, f in FAMILIES.items())
    raise ValueError(f"covariances: expected the shape of {shapes}; got {covariances.shape}")


def inverse_factor(covariances: Array) -> tuple[Array, Array]:
    """The whitening transform and the log-determinant.

    Args:
        covariances: matrices L Lᵀ of shape [..., D, D], or variances [..., D] or [..., 1].

    Returns:
        The inverse L⁻¹ of the lower Cholesky factor, or one over the standard deviations, in the
        shape of the covariances, and half the log-determinant of each feature that the factor
        has: log of the diagonal of L, [..., D] or [..., 1]. NaN where not positive definite.
    """
    if covariances.ndim == 2:
        return lax.rsqrt(covariances), 0.5 * jnp.log(covariances)
    lower = jnp.linalg.cholesky(covariances)
    eye = jnp.broadcast_to(jnp.eye(lower.shape[-1], dtype=lower.dtype), lower.shape)
    return solve_triangular(lower, eye, lower=True), jnp.log(variances(lower))


@struct
class Ridge:
    """A variance that is added to every covariance, as scikit-learn does.

    It bounds covariances from below too, but an EM step with it may lower the likelihood.
    """

    variances: Array  # [D]


def regularise(covariances: Array, floor: Array | Ridge) -> Array:
    """`clip` to a floor [D], or add a ridge to the variances."""
    if not isinstance(floor, Ridge):
        return clip(covariances, floor)
    return covariances + shaped(floor.variances, covariances.shape)


def shaped(diagonal: Array, shape: tuple[int, ...]) -> Array:
    """Variances [D] of the features as a covariance of the family of ``shape``: [D, D], [D], []."""
    if len(shape) == 3:
        return jnp.diag(diagonal)
    return diagonal if shape[1] > 1 else jnp.mean(diagonal)


def clip(covariances: Array, floor: Array) -> Array:
    """Covariances no smaller than a floor.

    Among covariances Σ with Σ - diag(floor) positive semi-definite, the one that maximises the
    likelihood of data with the given covariance: eigenvalues relative to the floor are raised
    to 1. Unlike adding to the diagonal it leaves alone what is large enough, and an EM step with
    it never lowers the likelihood.

    Args:
        covariances: of any family.
        floor: least variance of each feature, [D]; all positive, or 0 to clip nothing.
    """
    if covariances.ndim == 2:
        return jnp.maximum(covariances, shaped(floor, covariances.shape))

    active = jnp.all(floor > 0)
    scale = jnp.sqrt(jnp.where(active, floor, 1))
    units = scale[:, None] * scale[None, :]
    return _raise_eigenvalues(covariances / units, active.astype(covariances.dtype)) * units


@jax.custom_jvp
def _raise_eigenvalues(matrices: Array, least: Array) -> Array:
    """Symmetric matrices with their eigenvalues raised to ``least``, which is 0 or 1."""

    def clipped(matrices: Array) -> Array:
        values, vectors = jnp.linalg.eigh(matrices)
        raised = jnp.maximum(values, least)
        low = jnp.any(values < raised, axis=-1)[:, None, None]
        # A sum of squares, so that the result is symmetric and positive to the last bit.
        half = vectors * jnp.sqrt(raised)[:, None, :]
        product = jnp.einsum("kij,klj->kil", half, half, precision=_HIGHEST)
        return jnp.where(low, product, matrices)

    return lax.cond(_above(matrices, least), lambda matrices: matrices, clipped, matrices)


@_raise_eigenvalues.defjvp
def _raise_eigenvalues_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Daleckii and Krein (1965): divided differences of the eigenvalues, in the eigenvectors.

    The derivative of `jnp.linalg.eigh` itself is infinite where eigenvalues are equal.
    """
    matrices, least = primals

    def clipped(tangent: Array) -> Array:
        values, vectors = jnp.linalg.eigh(matrices)
        values = values - least
        high, low = jnp.maximum(values, 0), jnp.minimum(values, 0)
        # f(a) - f(b) over a - b for f = max(., 0); between two high ones it is 1
        rise = jnp.maximum(high[:, :, None], high[:, None, :])
        fall = jnp.minimum(low[:, :, None], low[:, None, :])
        quotients = rise / jnp.where(rise > fall, rise - fall, 1)
        both = (values[:, :, None] > 0) & (values[:, None, :] > 0)
        quotients = jnp.where(both, 1, quotients)
        inner = jnp.einsum("kai,kab,kbj->kij", vectors, tangent, vectors, precision=_HIGHEST)
        inner = quotients * inner
        return jnp.einsum("kai,kij,kbj->kab", vectors, inner, vectors, precision=_HIGHEST)

    tangent = lax.cond(_above(matrices, least), lambda tangent: tangent, clipped, tangents[0])
    return _raise_eigenvalues(matrices, least), tangent


def _above(matrices: Array, least: Array) -> Array:
    """True if no eigenvalue is below ``least``.

    A Cholesky factorisation tells for a fraction of the price of the eigenvalues.
    """
    eye = jnp.eye(matrices.shape[-1], dtype=least.dtype)
    return jnp.all(jnp.isfinite(jnp.linalg.cholesky(matrices - least * eye)))
