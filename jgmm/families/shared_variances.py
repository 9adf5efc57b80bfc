"""Families of one diagonal covariance for all components: mclust's EII and EEI."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from jgmm.families.variances import Diag, Spherical


class EII(Spherical):
    """One variance for all components and features, [1, 1]."""

    name = "EII"
    conjugate = True
    shared = True

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """[1, 1]."""
        return 1, 1

    def n_parameters(self, k: int, d: int) -> int:
        """One."""
        return 1

    def pool(self, spreads: Array) -> Array:
        """The sum over components and features."""
        return jnp.sum(spreads, keepdims=True)

    def wishart_exponent(self, dof: Array, d: int, n_used: Array) -> Array:
        """Of one inverse gamma, and the normal prior of each mean."""
        return dof + 2 + d * n_used


class EEI(Diag):
    """A variance for each feature, that all components share, [1, D]."""

    name = "EEI"
    conjugate = True
    shared = True

    def shape(self, k: int, d: int) -> tuple[int, ...]:
        """[1, D]."""
        return 1, d

    def n_parameters(self, k: int, d: int) -> int:
        """One for each feature."""
        return d

    def pool(self, spreads: Array) -> Array:
        """The sum over components."""
        return jnp.sum(spreads, axis=0)[None]

    def wishart_exponent(self, dof: Array, d: int, n_used: Array) -> Array:
        """Of an inverse gamma for each feature, and the normal prior of each mean."""
        return dof + 2 + n_used
