"""Families whose covariances are matrices: full and tied. Roots are lower Cholesky factors."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.lax import linalg

from jgmm.data.products import einsum
from jgmm.families.family import Family
from jgmm.families.floor import clip_matrices, too_small
from jgmm.families.gaps import MatrixGapKernel
from jgmm.families.kernels import Kernel, matrix_kernel


class Matrices(Family):
    """Covariances [., D, D]. Spreads are matrices [K, D, D]."""

    independent = False

    @property
    def wide(self) -> Family:
        """A matrix for each component."""
        return Full()

    def dense(self, covariances: Any, k: int, d: int) -> Any:
        """As they are, for each component."""
        return self.per_component(covariances, k)

    def of_matrices(self, matrices: Any) -> Any:
        """All of them."""
        return matrices

    def rescale(self, covariances: Array, scale: Array) -> Array:
        """Rows and columns, symmetric to the last bit."""
        return covariances * (scale[:, None] * scale[None, :])

    def marginal(self, covariances: Array, index: Any) -> Array:
        """Some rows and columns."""
        return covariances[:, index][:, :, index]

    def conditional(
        self, covariances: Array, rest: Any, index: Any, gaps: Array
    ) -> tuple[Array, Array, Array]:
        """Schur complements."""
        k, f = gaps.shape
        inverse, half_log_det = self.inverse_root(self.marginal(covariances, index), f)
        whitened = self.apply(inverse, gaps)
        gain = einsum("kri,kji->krj", covariances[:, rest][:, :, index], inverse)
        left = self.marginal(covariances, rest) - einsum("kri,ksi->krs", gain, gain)
        shift = self.apply(gain, whitened)
        return shift, left, -half_log_det - jnp.sum(whitened**2, axis=1) / 2

    def root(self, covariances: Array) -> Array:
        """The lower Cholesky factor."""
        return jnp.linalg.cholesky(covariances)

    def inverse_root(self, covariances: Array, d: int) -> tuple[Array, Array]:
        """Its inverse, and the sum of the logarithms of its diagonal."""
        lower = self.root(covariances)
        eye = jnp.broadcast_to(jnp.eye(d, dtype=lower.dtype), lower.shape)
        half_log_det = jnp.sum(jnp.log(jnp.where(eye > 0, lower, 1)), axis=(-2, -1))
        return linalg.triangular_solve(lower, eye, left_side=True, lower=True), half_log_det

    def square(self, root: Array) -> Array:
        """A matrix product."""
        return einsum("kij,klj->kil", root, root)

    def apply(self, form: Array, vectors: Array) -> Array:
        """Matrix times vector."""
        return einsum("kij,kj->ki", self.per_component(form, len(vectors)), vectors)

    def congruence(self, form: Array, spreads: Array) -> Array:
        """Two matrix products, symmetric to the last bit."""
        form = self.per_component(form, len(spreads))
        product = einsum("kij,kjl,kml->kim", form, spreads, form)
        return (product + product.swapaxes(-1, -2)) / 2

    def outer(self, vectors: Array, root: Array | None = None) -> Array:
        """V vᵀ."""
        return vectors[:, :, None] * vectors[:, None, :]

    def spreads(self, matrices: Array) -> Array:
        """All of them."""
        if matrices.ndim != 3:
            raise ValueError(
                "covariance_type: expected diag or spherical, because the statistics were taken "
                "under a mixture that has only variances"
            )
        return matrices

    def whitened_scatter(self, mixed: Array, inverse: Array) -> Array:
        """Times L⁻ᵀ, symmetric to the last bit."""
        scatters = einsum("kij,klj->kil", mixed, inverse)
        return (scatters + scatters.swapaxes(-1, -2)) / 2

    def entries(self, d: int) -> int:
        """None is shared."""
        return 1

    def wishart_scale(self, scale: Array) -> Array:
        """As it is."""
        return scale

    def wishart_traces(self, inverse: Array, scale: Array) -> Array:
        """Squares of L⁻¹ R with the scale R Rᵀ."""
        root = jnp.linalg.cholesky(scale)
        return jnp.sum(einsum("kij,jl->kil", inverse, root) ** 2, axis=(1, 2))

    def diagonal(self, variances: Array) -> Array:
        """A diagonal matrix."""
        return jnp.diag(variances)

    def clip(self, covariances: Array, floor: Array) -> Array:
        """Eigenvalues raised."""
        return clip_matrices(covariances, floor)

    def unconstrained(self, covariances: Array) -> Array:
        """Cholesky factors with the logarithms of their diagonals."""
        lower, eye = self.root(covariances), _is_diagonal(covariances)
        return jnp.where(eye, jnp.log(jnp.where(eye, lower, 1)), lower)

    def constrained(self, chart: Array) -> Array:
        """The diagonal exponentiated, and squared."""
        eye = _is_diagonal(chart)
        return self.square(jnp.where(eye, jnp.exp(jnp.where(eye, chart, 0)), chart))

    def isometric(self, inverse: Array, change: Array, d: int) -> Array:
        """L⁻¹ dΣ L⁻ᵀ / √2."""
        return einsum("kij,kjl,kml->kim", inverse, change, inverse) * 0.5**0.5

    def from_isometric(self, root: Array, change: Array, d: int) -> Array:
        """√2 L e Lᵀ."""
        return einsum("kij,kjl,kml->kim", root, change, root) * 2**0.5

    def tangent_shape(self, k: int, d: int) -> tuple[int, int]:
        """Lower triangles."""
        return self.shape(k, d)[0], d * (d + 1) // 2

    def push(self, root: Array, growth: Array, d: int) -> Array:
        """L times a lower triangle, its diagonal in units of 1/√2."""
        rows, columns = np.tril_indices(d)
        units = jnp.asarray(np.where(rows == columns, 0.5**0.5, 1.0), growth.dtype)
        inner = jnp.zeros((len(growth), d, d), growth.dtype)
        inner = inner.at[:, rows, columns].set(growth * units)
        return einsum("kij,kjl->kil", root, inner)

    def kernel(self, weights: Array, means: Array, covariances: Array) -> Kernel:
        """One product with all inverse roots."""
        k, d = means.shape
        inverse, half_log_det = self.inverse_root(covariances, d)
        inverse = self.per_component(inverse, k)
        logs = self.per_component(half_log_det, k)
        return matrix_kernel(self, inverse, inverse, means, logs)

    def gap_kernel(self, means: Array, covariances: Array) -> Kernel:
        """A factorisation for each sample."""
        return MatrixGapKernel(means=means, covariances=self.per_component(covariances, len(means)))

    def flaw(self, covariances: Any) -> str | None:
        """Matrices have to be symmetric, and no variance may be negative."""
        size = np.abs(covariances).max(axis=(-2, -1), keepdims=True)
        if (np.abs(covariances - covariances.swapaxes(-1, -2)) > 1e-4 * size).any():
            return "expected symmetric covariances"
        least = np.linalg.eigvalsh(covariances)[..., 0]
        if (least < -1e-4 * size[..., 0, 0]).any():
            return (
                "expected covariances without negative variances, got an eigenvalue of "
                f"{least.min():.6g}"
            )
        return None

    def weakness(self, covariances: Any) -> str | None:
        """They have to be positive definite, and not so small that their inverses overflow."""
        if (small := too_small(np.diagonal(covariances, axis1=-2, axis2=-1))) is not None:
            return small
        try:
            np.linalg.cholesky(covariances)
        except np.linalg.LinAlgError:
            return "expected positive definite covariances, got others"
        return None


class Full(Matrices):
    """Any covariance for each component, [K, D, D]."""

    name = "full"
    conjugate = True

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """[K, D, D]."""
        return k, d, d

    def n_parameters(self, k: int, d: int) -> int:
        """Triangles."""
        return k * d * (d + 1) // 2

    def pool(self, spreads: Array) -> Array:
        """Each on its own."""
        return spreads

    def wishart_exponent(self, dof: Array, d: int, n_used: Array) -> Array:
        """Of the inverse Wishart and the normal prior of the mean."""
        return dof + d + 2


class Tied(Matrices):
    """One covariance for all components, [1, D, D]."""

    name = "tied"
    conjugate = True
    shared = True

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """[1, D, D]."""
        return 1, d, d

    def n_parameters(self, k: int, d: int) -> int:
        """One triangle."""
        return d * (d + 1) // 2

    def pool(self, spreads: Array) -> Array:
        """The sum over components."""
        return jnp.sum(spreads, axis=0)[None]

    def wishart_exponent(self, dof: Array, d: int, n_used: Array) -> Array:
        """Of one inverse Wishart and the normal prior of each mean."""
        return dof + d + 1 + n_used


def _is_diagonal(matrices: Array) -> np.ndarray:
    """A mask. What it selects is cheaper to compile than what is gathered."""
    return np.eye(matrices.shape[-1], dtype=bool)
