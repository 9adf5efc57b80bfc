"""Covariances stored as variances and loadings, Λ Λᵀ + Ψ: what they are, and their algebra."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jgmm.data.arrays import module_of
from jgmm.data.products import along, einsum
from jgmm.families import low_rank
from jgmm.families.family import Family
from jgmm.families.low_rank import core_of


@dataclasses.dataclass(frozen=True)
class Loadings(Family):
    """Variances Ψ and loadings Λ for each component, [K, D, 1 + q].

    Λ is known up to a rotation of its columns. Spreads are sketches of the same shape: mean squares
    of what the factors leave of a sample, and mean products of samples and factors.
    """

    rank: int

    independent = False
    sketched = True

    @property
    def ambiguous(self) -> bool:
        """Several loadings may be turned."""
        return self.rank > 1

    # What is stored.

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """[K, D, 1 + q]."""
        return k, d, 1 + self.rank

    def dense(self, covariances: Any, k: int, d: int) -> Any:
        """Λ Λᵀ + Ψ."""
        eye = np.eye(d, dtype=covariances.dtype)
        return low_rank.outer_of(covariances[..., 1:]) + covariances[..., :1] * eye

    def variances(self, covariances: Any, k: int, d: int) -> Any:
        """Sums of rows."""
        return covariances[..., 0] + (covariances[..., 1:] ** 2).sum(axis=-1)

    def rescale(self, covariances: Array, scale: Array) -> Array:
        """Variances by squares, loadings as they are."""
        column = scale[:, None]
        return jnp.concatenate(
            [covariances[..., :1] * column**2, covariances[..., 1:] * column], axis=-1
        )

    def scaled(self, covariances: Array, factors: Array) -> Array:
        """Variances by factors, loadings by their roots."""
        factors = along(factors, covariances)
        return jnp.concatenate(
            [covariances[..., :1] * factors, covariances[..., 1:] * jnp.sqrt(factors)], axis=-1
        )

    def marginal(self, covariances: Array, index: Any) -> Array:
        """Some rows, of as many factors."""
        return covariances[:, index]

    def conditional(
        self, covariances: Array, rest: Any, index: Any, gaps: Array
    ) -> tuple[Array, Array, Array]:
        """The factors given what is known of them, whose covariance is taken into the loadings."""
        core, others = core_of(covariances[:, index]), covariances[:, rest]
        form = low_rank.inverse_form(core)
        factors = einsum("kdi,kd->ki", core.regression, gaps / core.scale)
        shift = einsum("kri,ki->kr", others[..., 1:], factors)
        loadings = einsum("kri,kij->krj", others[..., 1:], low_rank.square_root(core.inner))
        whitened = low_rank.apply_form(form, gaps)
        log_density = -core.half_log_det - jnp.sum(whitened**2, axis=1) / 2
        return shift, jnp.concatenate([others[..., :1], loadings], axis=-1), log_density

    def of_matrices(self, matrices: Any) -> Any:
        """Loadings along the principal axes of the correlations; NumPy arrays stay so."""
        xp = module_of(matrices)
        variances = xp.diagonal(matrices, 0, -2, -1)
        unit = xp.sqrt(xp.where(variances > 0, variances, 1))
        _, loadings = low_rank.principal(
            matrices / (unit[:, :, None] * unit[:, None, :]), self.rank
        )
        left = xp.maximum(1 - (loadings**2).sum(axis=-1), float(np.finfo(unit.dtype).eps))
        stored = xp.concatenate([left[..., None], loadings], axis=-1)
        return xp.concatenate(
            [stored[..., :1] * variances[..., None], stored[..., 1:] * unit[..., None]], axis=-1
        )

    def shared_out(self, matrices: Any, weights: Any, floor: Any = 0) -> Any:
        """Those of the family that are near, above a floor."""
        near, xp = self.of_matrices(matrices), module_of(matrices)
        least = xp.asarray(self.diagonal(xp.zeros(near.shape[1], near.dtype) + floor)[..., :1])
        return xp.concatenate([xp.maximum(near[..., :1], least), near[..., 1:]], axis=-1)

    def moved(
        self, covariances: Any, before: Any, matrices: Any, weights: Any, floor: Any = 0
    ) -> Any:
        """Those of which the matrices were changed, anew; the others lose nothing."""
        xp = module_of(matrices)
        same = (before == matrices).all(axis=(1, 2))
        anew = self.shared_out(matrices, weights, floor)
        return xp.where(along(same, anew), covariances, anew)

    def average(self, covariances: Array, weights: Array) -> Array:
        """Mean loadings, and as much variance as the mean has."""
        total = jnp.tensordot(weights, self.variances(covariances, 0, 0), axes=1)
        loadings = jnp.tensordot(weights, covariances[..., 1:], axes=1)
        left = total - jnp.sum(loadings**2, axis=-1)
        mean = jnp.concatenate([left[..., None], loadings], axis=-1)
        return jnp.broadcast_to(self.member(mean, weights), covariances.shape)

    # Factor algebra.

    def root(self, covariances: Array) -> Array:
        """A form; see `jgmm.families.low_rank`."""
        return low_rank.root_form(core_of(covariances))

    def inverse_root(self, covariances: Array, d: int) -> tuple[Array, Array]:
        """A form, and the sum of logarithms."""
        core = core_of(covariances)
        return low_rank.inverse_form(core), core.half_log_det

    def lower(self, covariances: Array) -> Array:
        """Of the dense matrices."""
        return jnp.linalg.cholesky(self.dense(covariances, *covariances.shape[:2]))

    def movable(self, covariances: Array) -> Array:
        """Deviations and loadings."""
        return jnp.concatenate([jnp.sqrt(covariances[..., :1]), covariances[..., 1:]], axis=-1)

    def square(self, root: Array) -> Array:
        """Of deviations; loadings as they are."""
        return jnp.concatenate([root[..., :1] ** 2, root[..., 1:]], axis=-1)

    def apply(self, form: Array, vectors: Array) -> Array:
        """As the form says."""
        return low_rank.apply_form(form, vectors)

    def congruence(self, form: Array, spreads: Array) -> Array:
        """In the units of the diagonal: squares of residuals by its square, products by itself."""
        scale = form[..., :1]
        return jnp.concatenate([scale**2 * spreads[..., :1], scale * spreads[..., 1:]], axis=-1)

    def outer(self, vectors: Array, root: Array | None = None) -> Array:
        """The sketch of one sample that is whitened by the inverse of a root."""
        assert root is not None
        core = low_rank.core_of_root(root)
        gaps = low_rank.apply_form(root, vectors) / core.scale
        factors = einsum("kdi,kd->ki", core.regression, gaps)
        left = gaps - einsum("kdi,ki->kd", core.loadings, factors)
        return jnp.concatenate([left[..., None] ** 2, gaps[..., None] * factors[:, None]], axis=-1)

    def products(self, vectors: Array, covariances: Array) -> Array:
        """By whitening."""
        core = core_of(covariances)
        root, inverse = low_rank.root_form(core), low_rank.inverse_form(core)
        return self.congruence(root, self.outer(self.apply(inverse, vectors), root))

    def spreads(self, matrices: Array) -> Array:
        """They have to be sketches already."""
        return matrices

    def widened(self, covariances: Array, k: int, d: int) -> Array:
        """The sketch of the covariances themselves, of which an M-step makes them again."""
        left = covariances[..., 0] * (1 - core_of(covariances).shares)
        return jnp.concatenate([left[..., None], covariances[..., 1:]], axis=-1)

    def whitened_scatter(self, mixed: Array, inverse: Array) -> Array:
        """The kernel makes sketches itself."""
        raise NotImplementedError

    # What callers and files hold.

    def flaw(self, covariances: Any) -> str | None:
        """Variances may not be negative."""
        if (least := covariances[..., 0].min()) < 0:
            return f"expected variances of at least 0 beside the loadings, got {least:.6g}"
        return None

    def weakness(self, covariances: Any) -> str | None:
        """Nor are they to be 0."""
        tiny = np.finfo(covariances.dtype).tiny
        if (least := covariances[..., 0].min()) < tiny:
            return f"expected variances of at least {tiny:.4g}, got {least:.4g}"
        return None
