"""Σ = Λ Λᵀ + Ψ, Λ of q columns and Ψ diagonal: its algebra by matrices of q × q (Woodbury 1950).

In units of √Ψ that is I + W Wᵀ with W = Ψ^-½ Λ. With M = I + Wᵀ W = C Cᵀ, C lower triangular, its
root is I + W (I + C)⁻¹ Wᵀ, and the inverse of that I - W (C (I + C)ᵀ)⁻¹ Wᵀ: nothing of D × D, and
nothing that is large where the loadings are and then cancels.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.lax import linalg

from jgmm._struct import struct
from jgmm.data.arrays import module_of
from jgmm.data.products import einsum, matmul


@struct
class Core:
    """What there is to know of Σ for K components."""

    scale: Array  # √Ψ [K, D]
    loadings: Array  # W [K, D, q]
    root: Array  # C [K, q, q]
    inner: Array  # M⁻¹ [K, q, q], the covariance of the factors given a sample

    @property
    def regression(self) -> Array:
        """W M⁻¹ [K, D, q]: what the factors of a sample are, in units of √Ψ, is its transpose."""
        return einsum("kdi,kij->kdj", self.loadings, self.inner)

    @property
    def shares(self) -> Array:
        """The part [K, D] of the variance Ψ of each feature that a sample leaves to its factors."""
        return jnp.sum(self.regression * self.loadings, axis=-1)

    @property
    def half_log_det(self) -> Array:
        """[K]."""
        diagonal = jnp.diagonal(self.root, axis1=-2, axis2=-1)
        return jnp.sum(jnp.log(self.scale), axis=-1) + jnp.sum(jnp.log(diagonal), axis=-1)


def core_of(covariances: Array) -> Core:
    """From variances and loadings [K, D, 1 + q]; NaN where a variance is not positive."""
    scale = jnp.sqrt(covariances[..., 0])
    loadings = covariances[..., 1:] / scale[..., None]
    return with_loadings(scale, loadings)


def with_loadings(scale: Array, loadings: Array) -> Core:
    """From √Ψ and W."""
    eye = jnp.eye(loadings.shape[-1], dtype=loadings.dtype)
    root = jnp.linalg.cholesky(eye + einsum("kdi,kdj->kij", loadings, loadings))
    half = _inverse(root)
    inner = einsum("kij,kil->kjl", half, half)
    return Core(scale=scale, loadings=loadings, root=root, inner=inner)


# Forms: a diagonal c and a product of two matrices [D, q], as [K, D, 1 + 2q] (c, A, B); what they
# do to a vector v is c v + A Bᵀ v.


def root_form(core: Core) -> Array:
    """L with Σ = L Lᵀ."""
    eye = jnp.eye(core.root.shape[-1], dtype=core.root.dtype)
    gain = _inverse(eye + core.root)
    scale = core.scale[..., None]
    left = scale * einsum("kdi,kij->kdj", core.loadings, gain)
    return jnp.concatenate([scale, left, core.loadings], axis=-1)


def inverse_form(core: Core) -> Array:
    """L⁻¹."""
    eye = jnp.eye(core.root.shape[-1], dtype=core.root.dtype)
    # (C (I + C)ᵀ)⁻¹
    gain = einsum("kji,kjl->kil", _inverse(eye + core.root), _inverse(core.root))
    scale = 1 / core.scale[..., None]
    left = -einsum("kdi,kij->kdj", core.loadings, gain)
    return jnp.concatenate([scale, left, scale * core.loadings], axis=-1)


def apply_form(form: Array, vectors: Array) -> Array:
    """What a form does to vectors [K, D]."""
    scale, left, right = parts_of(form)
    return scale * vectors + einsum("kdi,ki->kd", left, einsum("kdi,kd->ki", right, vectors))


def apply_to_columns(form: Array, matrix: Array) -> Array:
    """What forms do to the columns of a matrix [D, F], [K, D, F]."""
    scale, left, right = parts_of(form)
    inner = einsum("kdi,df->kif", right, matrix)
    return scale[..., None] * matrix + einsum("kdi,kif->kdf", left, inner)


def parts_of(form: Array) -> tuple[Array, Array, Array]:
    """C, A and B."""
    q = (form.shape[-1] - 1) // 2
    return form[..., 0], form[..., 1 : 1 + q], form[..., 1 + q :]


def core_of_root(form: Array) -> Core:
    """The core again, from the form of the root."""
    scale, _, loadings = parts_of(form)
    return with_loadings(scale, loadings)


def _inverse(lower: Array) -> Array:
    """Of lower triangular matrices."""
    eye = jnp.broadcast_to(jnp.eye(lower.shape[-1], dtype=lower.dtype), lower.shape)
    return linalg.triangular_solve(lower, eye, left_side=True, lower=True)


def principal(matrices: Any, rank: int) -> tuple[Any, Any]:
    """The mean [K] of all but the largest eigenvalues of matrices, and loadings [K, D, q].

    With these loadings and that variance for all features it is the likeliest covariance of so
    many factors (Tipping and Bishop 1999). NumPy arrays stay so.
    """
    xp = module_of(matrices)
    values, vectors = xp.linalg.eigh(matrices)
    d = values.shape[-1]
    left = d - rank
    noise = values[..., :left].mean(axis=-1) if left > 0 else xp.zeros_like(values[..., 0])
    noise = xp.maximum(noise, 0)
    sizes = xp.sqrt(xp.maximum(values[..., left:] - noise[..., None], 0))
    return noise, vectors[..., :, left:] * sizes[..., None, :]


def outer_of(loadings: Any) -> Any:
    """Λ Λᵀ [K, D, D]; NumPy arrays stay so."""
    return matmul(loadings, loadings.swapaxes(-1, -2))


@jax.custom_jvp
def square_root(matrices: Array) -> Array:
    """The symmetric roots of symmetric matrices that are not negative."""
    values, vectors = jnp.linalg.eigh(matrices)
    return einsum("kij,kj,klj->kil", vectors, jnp.sqrt(jnp.maximum(values, 0)), vectors)


@square_root.defjvp
def _square_root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """X dX + dX X = dM, in the eigenvectors; fine where eigenvalues are equal."""
    values, vectors = jnp.linalg.eigh(primals[0])
    roots = jnp.sqrt(jnp.maximum(values, 0))
    inner = einsum("kai,kab,kbj->kij", vectors, tangents[0], vectors)
    sums = roots[:, :, None] + roots[:, None, :]
    inner = inner / jnp.where(sums > 0, sums, 1)
    return square_root(primals[0]), einsum("kai,kij,kbj->kab", vectors, inner, vectors)


def turn_of(loadings: Array, change: Array) -> Array:
    """The skew matrix A [K, q, q] for which W A is nearest to a change of loadings W."""
    overlap = einsum("kdi,kdj->kij", loadings, change)
    values, vectors = jnp.linalg.eigh(einsum("kdi,kdj->kij", loadings, loadings))
    skew = einsum("kai,kab,kbj->kij", vectors, overlap - overlap.swapaxes(-1, -2), vectors)
    sums = jnp.maximum(values, 0)[:, :, None] + jnp.maximum(values, 0)[:, None, :]
    skew = jnp.where(sums > 0, skew / jnp.where(sums > 0, sums, 1), 0)
    return einsum("kai,kij,kbj->kab", vectors, skew, vectors)
