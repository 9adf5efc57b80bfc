"""The family that factor analysers start from: variances, and what a few directions say beside.

A sketch S Ω of a covariance S, with Ω of q fixed orthonormal columns, shows where it is large
(Halko, Martinsson and Tropp 2011), at the cost of q vectors.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from jgmm.data.products import dot, einsum
from jgmm.families.factor_kernels import FactorKernel, factor_kernel
from jgmm.families.family import Family
from jgmm.families.variances import Diag

_SEED = 0
_LEAST = 1e-3  # of a variance, that factors are not to explain at a start


@dataclasses.dataclass(frozen=True)
class Probe(Diag):
    """Variances [K, D] whose statistics are sketches [K, D, 1 + q]: diag S, and S Ω."""

    rank: int
    sketched = True

    @property
    def wide(self) -> Family:
        """Itself."""
        return self

    def directions(self, d: int) -> npt.NDArray[np.float64]:
        """Ω [D, q]."""
        return _directions(d, self.rank)

    def congruence(self, form: Array, spreads: Array) -> Array:
        """Variances by squares, products by deviations: Ω stays in units of those."""
        return jnp.concatenate(
            [form[..., None] ** 2 * spreads[..., :1], form[..., None] * spreads[..., 1:]], axis=-1
        )

    def outer(self, vectors: Array, root: Array | None = None) -> Array:
        """Squares, and what the directions have of them."""
        omega = jnp.asarray(self.directions(vectors.shape[-1]), vectors.dtype)
        products = vectors[..., None] * dot(vectors, omega)[..., None, :]
        return jnp.concatenate([vectors[..., None] ** 2, products], axis=-1)

    def widened(self, covariances: Array, k: int, d: int) -> Array:
        """The sketch of a diagonal."""
        omega = jnp.asarray(self.directions(d), covariances.dtype)
        products = jnp.sqrt(covariances)[..., None] * omega
        return jnp.concatenate([covariances[..., None], products], axis=-1)

    def kernel(self, weights: Array, means: Array, covariances: Array) -> FactorKernel:
        """That of no factors, with the directions to look along."""
        k, d = means.shape
        inverse, half_log_det = self.inverse_root(covariances, d)
        omega = jnp.asarray(self.directions(d), means.dtype)
        none = jnp.zeros((k, d, self.rank), means.dtype)
        return factor_kernel(
            self, 1 / inverse, none, inverse[..., None] * omega, means, half_log_det, counted=False
        )

    def near(self, *arguments: Any) -> Array:
        """Nothing is fitted of it."""
        raise NotImplementedError


def from_sketch(sketch: Array, directions: Array) -> Array:
    """Variances and loadings [K, D, 1 + q] of what diag S and S Ω tell of S.

    The loadings are S Ω (Ωᵀ S Ω)^-½, whose square is no larger than S (Nyström's approximation).
    """
    squares, products = sketch[..., 0], sketch[..., 1:]
    inner = einsum("di,kdj->kij", directions, products)
    inner = (inner + inner.swapaxes(-1, -2)) / 2
    values, vectors = jnp.linalg.eigh(inner)
    # What has no variance along some direction has no loadings there, but for rounding.
    least = _LEAST**2 * jnp.maximum(values[:, -1:], 0)
    roots = jnp.where(values > least, lax.rsqrt(jnp.where(values > least, values, 1)), 0)
    inverse = einsum("kij,kj,klj->kil", vectors, roots, vectors)
    loadings = einsum("kdi,kij->kdj", products, inverse)
    found = jnp.sum(loadings**2, axis=-1)
    most = (1 - _LEAST) * squares
    loadings = loadings * jnp.sqrt(jnp.where(found > most, most / found, 1))[..., None]
    left = squares - jnp.minimum(found, most)
    return jnp.concatenate([left[..., None], loadings], axis=-1)


@functools.cache
def _directions(d: int, q: int) -> npt.NDArray[np.float64]:
    drawn = np.random.default_rng(_SEED).normal(size=(d, q))
    found: npt.NDArray[np.float64] = np.linalg.qr(drawn)[0]
    return found
