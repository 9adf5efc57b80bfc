"""What an M-step knows of the covariances that it is to find."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from jgmm._struct import struct
from jgmm.data.products import along


@struct
class Scatters:
    """How the samples of each component scatter around its mean, and what a prior says of that."""

    spreads: Array  # [K, ...] as the family stores them, or [K, D, D]
    n: Array  # [K], how many samples they are means of
    counts: Array  # [K], how many samples share them; of Gaussians as many
    used: Array  # [K] bool, whether a component explains anything; spreads of others are kept
    wishart: tuple[Array, Array] | None = None  # scale [D, D] and exponent of a prior

    def sums(self, spreads: Array, idle: float = 1) -> tuple[Array, Array]:
        """The sums that ``spreads`` are means of [K, ...], and what to divide those by [K].

        Components that explain nothing count as ``idle`` samples.
        """
        n, mass = (jnp.where(self.used, x, idle) for x in (self.n, self.counts))
        return along(n, spreads) * spreads, mass


def of_one_sample(spreads: Array) -> Scatters:
    """Those of components that count alike, each as one sample."""
    ones = jnp.ones(len(spreads), spreads.dtype)
    return Scatters(spreads=spreads, n=ones, counts=ones, used=ones > 0)
