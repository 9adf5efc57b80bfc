"""Mixtures of probabilistic principal component analysers (Tipping and Bishop 1999): Λ Λᵀ + σ²."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jgmm.data.arrays import module_of
from jgmm.families import low_rank
from jgmm.families.factor import Factor, _n_loadings

_APART = 1e-3  # so far variances may be from each other that are to be the same


@dataclasses.dataclass(frozen=True)
class Ppca(Factor):
    """Factor analysers with one variance for all features, which is stored for each."""

    kind = "ppca"
    isotropic = True

    def n_parameters(self, k: int, d: int) -> int:
        """A variance, and loadings but for rotations; no more than of matrices."""
        return k * min(1 + _n_loadings(d, self.rank), d * (d + 1) // 2)

    def member(self, covariances: Any, weights: Any) -> Any:
        """The mean of the variances."""
        xp = module_of(covariances)
        mean = covariances[..., 0].mean(axis=-1)[..., None, None]
        wide = xp.broadcast_to(mean, (*covariances.shape[:-1], 1))
        return xp.concatenate([wide, covariances[..., 1:]], axis=-1)

    def rescale(self, covariances: Array, scale: Array) -> Array:
        """By the one scale that all features have in an isotropic frame."""
        return super().rescale(covariances, jnp.broadcast_to(scale[:1], covariances.shape[1:2]))

    def of_matrices(self, matrices: Any) -> Any:
        """The likeliest, in closed form; NumPy arrays stay so."""
        xp = module_of(matrices)
        noise, loadings = low_rank.principal(matrices, self.rank)
        largest = xp.trace(matrices, axis1=-2, axis2=-1)
        noise = xp.maximum(noise, float(np.finfo(noise.dtype).eps) * largest)
        wide = xp.broadcast_to(noise[:, None, None], (*loadings.shape[:2], 1))
        return xp.concatenate([wide, loadings], axis=-1)

    def diagonal(self, variances: Array) -> Array:
        """Their mean."""
        xp = module_of(variances)
        return super().diagonal(xp.broadcast_to(variances.mean(), variances.shape))

    def tangent_shape(self, k: int, d: int) -> tuple[int, int]:
        """A variance, and all loadings."""
        return k, 1 + d * self.rank

    def push(self, root: Array, growth: Array, d: int) -> Array:
        """The one variance counts for all features."""
        wide = jnp.broadcast_to(growth[:, None, :1] / d**0.5, (len(growth), d, 1))
        loadings = growth[:, 1:].reshape(len(growth), d, self.rank)
        return super().push(root, jnp.concatenate([wide, loadings], axis=-1), d)

    def flaw(self, covariances: Any) -> str | None:
        """The variances have to be equal."""
        variances = covariances[..., 0]
        if (np.ptp(variances, axis=-1) > _APART * np.abs(variances).max(axis=-1)).any():
            return f"expected {self.name} covariances, of one variance for all features, got others"
        return super().flaw(covariances)
