"""How the precisions of a family are distributed: Wisharts, and gammas where there are variances.

The precision of full and tied components is a Wishart of D dimensions. Of diag ones each feature
has a gamma, which is a Wishart of one dimension, and of spherical ones D features share one.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import Array

from jgmm.families.family import Family
from jgmm.families.gamma import entropic, log_gamma, log_less_digamma


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Wishart:
    """Blocks of independent Wisharts that make up a precision in D dimensions; static.

    Each is of ``order`` dimensions and counts a sample ``entries`` times, once for each feature
    that it describes: with ν degrees of freedom and the mean precision Λ, it is
    Wishart(entries ν) of mean Λ.
    """

    d: int
    order: int
    entries: int

    @property
    def blocks(self) -> int:
        """How many there are."""
        return self.d // (self.order * self.entries)

    @property
    def features(self) -> int:
        """How many features one describes."""
        return self.order * self.entries

    @property
    def least_dof(self) -> float:
        """What ν has to be above."""
        return (self.order - 1) / self.entries

    def tilts(self, dofs: Array) -> Array:
        """Half of E log|Λ| - log|E Λ| [.], of degrees of freedom [.]."""
        x = self._halves(dofs)
        steps = jnp.log1p(-self._offsets(dofs) / (self.entries * dofs / 2))
        return self.d / self.order / 2 * jnp.sum(steps - log_less_digamma(x), axis=0)

    def divergences(self, dofs: Array, prior_dof: Array, gains: Array, traces: Array) -> Array:
        """Kullback-Leibler divergences [.] from a prior, in nats.

        Args:
            dofs: degrees of freedom [.].
            prior_dof: those of the prior.
            gains: log|S| - log|Σ| of the prior's scale S, in D dimensions, and Σ = (E Λ)⁻¹ [.].
            traces: tr(S Σ⁻¹) of the entries that are stored [.].
        """
        x, offsets = self._halves(dofs), self._offsets(dofs)
        digammas = jnp.log(x) - log_less_digamma(x)
        own = entropic(x) + offsets * (digammas - 1) + log_gamma(self._halves(prior_dof[None]))
        logs = 2 * self.tilts(dofs) + self.d * math.log(self.entries / 2) + gains
        return self.blocks * jnp.sum(own, axis=0) - prior_dof / 2 * logs + self.entries / 2 * traces

    def _halves(self, dofs: Array) -> Array:
        """(entries ν - i) / 2 for i below the order [order, .]."""
        return self.entries * dofs / 2 - self._offsets(dofs)

    def _offsets(self, like: Array) -> Array:
        steps = jnp.arange(self.order, dtype=like.dtype) / 2
        return steps.reshape(-1, *(1,) * like.ndim)


def wishart_of(family: Family, d: int) -> Wishart:
    """That of a family in D dimensions."""
    return Wishart(d, 1 if family.independent else d, family.entries(d))
