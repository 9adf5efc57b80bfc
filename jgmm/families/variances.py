"""Families whose covariances are variances: diag and spherical. Roots are standard deviations."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jgmm.data.arrays import module_of
from jgmm.families.family import Family
from jgmm.families.floor import too_small
from jgmm.families.gaps import VarianceGapKernel
from jgmm.families.kernels import ElementwiseKernel, Kernel, matrix_kernel
from jgmm.families.natural import natural

# With more features than this, variances are not spelled out as matrices.
_FEW_FEATURES = 8


class Variances(Family):
    """Covariances [., D] or [., 1]. Spreads are variances [K, D]."""

    independent = True

    @property
    def wide(self) -> Family:
        """A variance for each component and feature."""
        return Diag()

    def dense(self, covariances: Any, k: int, d: int) -> Any:
        """Diagonal matrices."""
        wide = module_of(covariances).broadcast_to(covariances, (k, d))
        return wide[:, :, None] * np.eye(d, dtype=covariances.dtype)

    def variances(self, covariances: Any, k: int, d: int) -> Any:
        """As they are, of each."""
        return module_of(covariances).broadcast_to(covariances, (k, d))

    def conditional(
        self, covariances: Array, rest: Any, index: Any, gaps: Array
    ) -> tuple[Array, Array, Array]:
        """Features that are independent say nothing of each other."""
        inverse, half_log_det = self.inverse_root(self.marginal(covariances, index), gaps.shape[1])
        log_density = -half_log_det - jnp.sum((gaps * inverse) ** 2, axis=1) / 2
        shift = jnp.zeros((len(gaps), len(rest)), gaps.dtype)
        return shift, self.marginal(covariances, rest), log_density

    def root(self, covariances: Array) -> Array:
        """Standard deviations."""
        return jnp.sqrt(covariances)

    def inverse_root(self, covariances: Array, d: int) -> tuple[Array, Array]:
        """One over them, and the sum of their logarithms over all features."""
        logs = jnp.log(covariances)
        return lax.rsqrt(covariances), 0.5 * self.entries(d) * jnp.sum(logs, axis=-1)

    def square(self, root: Array) -> Array:
        """Squares."""
        return root**2

    def apply(self, form: Array, vectors: Array) -> Array:
        """A product."""
        return form * vectors

    def congruence(self, form: Array, spreads: Array) -> Array:
        """A product with squares, never negative."""
        return form**2 * jnp.maximum(spreads, 0)

    def outer(self, vectors: Array, root: Array | None = None) -> Array:
        """Squares."""
        return vectors**2

    def spreads(self, matrices: Array) -> Array:
        """The diagonals."""
        if matrices.ndim == 3:
            return jnp.diagonal(matrices, axis1=-2, axis2=-1)
        return matrices

    def whitened_scatter(self, mixed: Array, inverse: Array) -> Array:
        """The diagonals, whitened."""
        return self.spreads(mixed) * inverse

    def wishart_traces(self, inverse: Array, scale: Array) -> Array:
        """Sums of quotients."""
        return jnp.sum(self.wishart_scale(scale) * inverse**2, axis=1)

    def clip(self, covariances: Array, floor: Array) -> Array:
        """Variances raised."""
        return jnp.maximum(covariances, self.diagonal(floor))

    def unconstrained(self, covariances: Array) -> Array:
        """Logarithms."""
        return jnp.log(covariances)

    def constrained(self, chart: Array) -> Array:
        """Exponentials."""
        return jnp.exp(chart)

    def isometric(self, inverse: Array, change: Array, d: int) -> Array:
        """Relative to the variance; one that D features share counts for each."""
        return inverse**2 * change * (self.entries(d) / 2) ** 0.5

    def from_isometric(self, root: Array, change: Array, d: int) -> Array:
        """Times the variance."""
        return root**2 * change / (self.entries(d) / 2) ** 0.5

    def tangent_shape(self, k: int, d: int) -> tuple[int, int]:
        """As covariances."""
        rows, width = self.shape(k, d)
        return rows, width

    def push(self, root: Array, growth: Array, d: int) -> Array:
        """Relative to the deviation."""
        return root * growth / (2 * self.entries(d)) ** 0.5

    def kernel(self, weights: Array, means: Array, covariances: Array) -> Kernel:
        """By one product with matrices of few features, else feature by feature."""
        k, d = means.shape
        inverse, half_log_det = self.inverse_root(covariances, d)
        inverse = jnp.broadcast_to(inverse, (k, d))
        logs = self.per_component(half_log_det, k)
        if d <= _FEW_FEATURES:
            full = inverse[:, :, None] * jnp.eye(d, dtype=inverse.dtype)
            return matrix_kernel(self, inverse, full, means, logs)
        return ElementwiseKernel(
            inverse_roots=inverse,
            means=means,
            half_log_dets=logs,
            natural=natural(weights, means, covariances, inverse),
        )

    def gap_kernel(self, means: Array, covariances: Array) -> Kernel:
        """Feature by feature."""
        return VarianceGapKernel(
            means=means, deviations=jnp.broadcast_to(self.root(covariances), means.shape)
        )

    def flaw(self, covariances: Any) -> str | None:
        """Variances may not be negative."""
        if (least := covariances.min()) < 0:
            return f"expected variances of at least 0, got {least:.6g}"
        return None

    def weakness(self, covariances: Any) -> str | None:
        """Nor so small that one over them overflows."""
        return too_small(covariances)


class Diag(Variances):
    """A variance for each component and feature, [K, D]."""

    name = "diag"
    conjugate = True

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """[K, D]."""
        return k, d

    def n_parameters(self, k: int, d: int) -> int:
        """All of them."""
        return k * d

    def rescale(self, covariances: Array, scale: Array) -> Array:
        """By squares."""
        return covariances * scale**2

    def of_matrices(self, matrices: Any) -> Any:
        """Their diagonals."""
        return _diagonals(matrices)

    def marginal(self, covariances: Array, index: Any) -> Array:
        """Some columns."""
        return covariances[:, index]

    def entries(self, d: int) -> int:
        """None is shared."""
        return 1

    def pool(self, spreads: Array) -> Array:
        """Each on its own."""
        return spreads

    def wishart_exponent(self, dof: Array, d: int, n_used: Array) -> Array:
        """Of an inverse gamma for each feature, and the normal prior of the mean."""
        return dof + 3

    def wishart_scale(self, scale: Array) -> Array:
        """The diagonal."""
        return jnp.diagonal(scale)

    def diagonal(self, variances: Array) -> Array:
        """As they are."""
        return variances


class Spherical(Variances):
    """One variance for each component, [K, 1]."""

    name = "spherical"
    conjugate = True
    isotropic = True

    def of_matrices(self, matrices: Any) -> Any:
        """The means of their diagonals."""
        return _diagonals(matrices).mean(axis=-1, keepdims=True)

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """[K, 1]."""
        return k, 1

    def n_parameters(self, k: int, d: int) -> int:
        """One each."""
        return k

    def rescale(self, covariances: Array, scale: Array) -> Array:
        """By the one scale that all features have in an isotropic frame."""
        return covariances * scale[:1] ** 2

    def marginal(self, covariances: Array, index: Any) -> Array:
        """The same."""
        return covariances

    def entries(self, d: int) -> int:
        """All are."""
        return d

    def pool(self, spreads: Array) -> Array:
        """The sum over features."""
        return jnp.sum(spreads, axis=-1, keepdims=True)

    def wishart_exponent(self, dof: Array, d: int, n_used: Array) -> Array:
        """Of one inverse gamma, and the normal prior of the mean."""
        return dof + 2 + d

    def wishart_scale(self, scale: Array) -> Array:
        """The mean of the diagonal."""
        return jnp.mean(jnp.diagonal(scale), keepdims=True)

    def diagonal(self, variances: Array) -> Array:
        """Their mean."""
        return jnp.mean(variances, keepdims=True)


def _diagonals(matrices: Any) -> Any:
    """The diagonals of matrices; variances [., D] are such already."""
    return matrices.diagonal(0, -2, -1) if matrices.ndim == 3 else matrices
