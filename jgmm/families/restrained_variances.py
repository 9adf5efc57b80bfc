"""Diagonal covariances that share shape or volume: mclust's VEI and EVI."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from jgmm.families.family import Family
from jgmm.families.restrained import Restrained
from jgmm.families.variances import Diag


class _FeatureAxes(Restrained, Diag):
    """Variances [K, D], restrained."""

    n_parameters = Restrained.n_parameters

    def spectrum(self, covariances: Any, weights: Any) -> tuple[Any, Any]:
        """As they are."""
        return covariances, None

    def solve(self, totals: Array, mass: Array, used: Array, least: Array, current: Array) -> Array:
        """Along the axes of the features."""
        return self.solve_spectrum(totals, mass, used, least, jnp.mean(current, axis=1))


class VEI(_FeatureAxes):
    """One shape, [K, D]."""

    name = "VEI"


class EVI(_FeatureAxes):
    """One volume, [K, D]."""

    name = "EVI"

    @property
    def parts(self) -> Family:
        """Some features have different volumes."""
        return Diag()
