"""Covariances with axes of their own that share shape or volume: mclust's EEV, VEV and EVV."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from jgmm.families import axes as _axes
from jgmm.families.family import Family
from jgmm.families.matrices import Full
from jgmm.families.restrained import Restrained


class _OwnAxes(Restrained, Full):
    """Matrices [K, D, D], restrained.

    The likeliest axes are the principal ones, whatever the variances along them, as long as both
    are in the same order.
    """

    @property
    def parts(self) -> Family:
        """Some features know no restraint."""
        return Full()

    def spectrum(self, covariances: Any, weights: Any) -> tuple[Any, Any]:
        """Eigenvalues and eigenvectors."""
        return _axes.own(covariances)

    def solve(self, totals: Array, mass: Array, used: Array, least: Array, current: Array) -> Array:
        """Along the principal axes."""
        squares, axes = _axes.own(totals)
        volumes = jnp.trace(current, axis1=1, axis2=2) / current.shape[-1]
        return _axes.assemble(self.solve_spectrum(squares, mass, used, least, volumes), axes)


class EEV(_OwnAxes):
    """One volume and one shape, [K, D, D]."""

    name = "EEV"
    isotropic = True


class VEV(_OwnAxes):
    """One shape, [K, D, D]."""

    name = "VEV"
    isotropic = True


class EVV(_OwnAxes):
    """One volume, [K, D, D]."""

    name = "EVV"
