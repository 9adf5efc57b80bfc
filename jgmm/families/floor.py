"""What keeps covariances from collapsing: a floor under them, or a ridge added to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jgmm._struct import struct
from jgmm.data.products import einsum

if TYPE_CHECKING:
    from jgmm.families.family import Family

_NEAR = 1.5  # times the floor, what counts as at it


@struct
class Floor:
    """The least variance along any direction.

    It leaves alone what is large enough, and an EM step with it never lowers the likelihood.
    """

    variances: Array  # [D]; all positive, or 0 to clip nothing

    def under(self, family: Family, covariances: Array) -> Array:
        """Covariances with the floor under them."""
        return family.clip(covariances, self.variances)


@struct
class Ridge:
    """A variance that is added to every covariance, as scikit-learn does.

    It bounds covariances from below too, but an EM step with it may lower the likelihood.
    """

    variances: Array  # [D]

    def under(self, family: Family, covariances: Array) -> Array:
        """Covariances with the ridge added."""
        return covariances + family.diagonal(self.variances)


def at_floor(family: Family, covariances: Array, variances: Array, k: int) -> Array:
    """Which of K components are kept from collapsing [K]: flat along some direction.

    Those are, whose variance there is no more than half above the least one. What is left over is
    rounding: of a component that is long in another direction, the floor has few digits.

    Args:
        family: of the covariances.
        covariances: of the family.
        variances: the least variance of each feature [D]; 0 for none.
        k: K.
    """
    root = family.root(covariances - family.diagonal(_NEAR * variances))
    low = ~jnp.all(jnp.isfinite(root), axis=tuple(range(1, root.ndim)))
    return jnp.broadcast_to(low & jnp.all(variances > 0), (k,))


def clip_matrices(covariances: Array, floor: Array) -> Array:
    """Matrices [., D, D] with their eigenvalues, relative to a floor [D], raised to 1.

    Among matrices Σ with Σ - diag(floor) positive semi-definite, that is the one that maximises
    the likelihood of data with the given covariance.
    """
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
        return jnp.where(low, einsum("kij,klj->kil", half, half), matrices)

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
        inner = quotients * einsum("kai,kab,kbj->kij", vectors, tangent, vectors)
        return einsum("kai,kij,kbj->kab", vectors, inner, vectors)

    tangent = lax.cond(_above(matrices, least), lambda tangent: tangent, clipped, tangents[0])
    return _raise_eigenvalues(matrices, least), tangent


def _above(matrices: Array, least: Array) -> Array:
    """True if no eigenvalue is below ``least``.

    A Cholesky factorisation tells for a fraction of the price of the eigenvalues.
    """
    eye = jnp.eye(matrices.shape[-1], dtype=least.dtype)
    return jnp.all(jnp.isfinite(jnp.linalg.cholesky(matrices - least * eye)))


def too_small(variances: Any) -> str | None:
    """What to say of variances of which one is too small for one over it to be a number."""
    tiny = np.finfo(variances.dtype).tiny
    if (least := variances.min()) < tiny:
        return f"expected variances of at least {tiny:.4g}, got {least:.4g}"
    return None
