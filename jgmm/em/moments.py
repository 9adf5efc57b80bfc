"""Counts, means and spreads of components: statistics of no mixture, that can be blended.

Those of an E-step are in the frame of the mixture that they were taken under. Here they are in the
units of the samples, spreads about their own means, so that nothing cancels where old ones and new
ones are joined (Chan, Golub and LeVeque 1983).
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from jgmm._struct import struct
from jgmm.data.products import along
from jgmm.em.statistics import SufficientStats
from jgmm.families.family import Family
from jgmm.mixture.mixture import Mixture


@struct
class Moments:
    """What samples, by their responsibilities, say of each component."""

    counts: Array  # [K]
    means: Array  # [K, D]
    spreads: Array  # mean squares about the means, as `Family.wide` has them


def moments_of(mixture: Mixture, stats: SufficientStats) -> Moments:
    """Statistics that were taken under a mixture, in the units of its samples."""
    family = mixture.family
    used = _used(stats.counts)
    n = jnp.where(used, stats.counts, 1)
    drift = stats.shifts / n[:, None]
    root = family.root(mixture.covariances)
    spreads = stats.scatters / along(n, stats.scatters) - family.outer(drift)
    spreads = family.congruence(root, spreads)
    kept = family.widened(mixture.covariances, *mixture.means.shape)
    return Moments(
        counts=jnp.where(used, stats.counts, 0),
        means=mixture.means + jnp.where(used[:, None], family.apply(root, drift), 0),
        spreads=jnp.where(along(used, spreads), spreads, kept),
    )


def implied(mixture: Mixture, weight: Array) -> Moments:
    """What samples of that weight would say that are just as the mixture has it."""
    return Moments(
        counts=mixture.weights * weight,
        means=mixture.means,
        spreads=mixture.family.widened(mixture.covariances, *mixture.means.shape),
    )


def stats_under(mixture: Mixture, moments: Moments) -> SufficientStats:
    """The way back: the moments as an M-step from a mixture takes them."""
    family, counts = mixture.family, moments.counts
    inverse, _ = family.inverse_root(mixture.covariances, mixture.n_features)
    drift = family.apply(inverse, moments.means - mixture.means)
    scatters = family.congruence(inverse, moments.spreads) + family.outer(drift)
    return SufficientStats(
        counts=counts,
        shifts=counts[:, None] * drift,
        scatters=along(counts, scatters) * scatters,
    )


def blended(old: Moments, new: Moments, share: Array, family: Family) -> Moments:
    """The moments of both, of which the old ones count for a share."""
    before = share * old.counts
    counts = before + new.counts
    part = new.counts / jnp.where(counts > 0, counts, 1)
    gap = new.means - old.means
    wide = along(part, new.spreads)
    spreads = (1 - wide) * old.spreads + wide * new.spreads
    return Moments(
        counts=counts,
        means=old.means + part[:, None] * gap,
        spreads=spreads + wide * (1 - wide) * family.outer(gap),
    )


def variances(moments: Moments, family: Family) -> Array:
    """The variance of each feature [D], of all components together."""
    k, d = moments.means.shape
    total = jnp.sum(moments.counts)
    shares = moments.counts / jnp.where(total > 0, total, 1)
    gaps = moments.means - shares @ moments.means
    matrices = family.wide.dense(moments.spreads, k, d)
    return shares @ (jnp.diagonal(matrices, axis1=-2, axis2=-1) + gaps**2)


def _used(counts: Array) -> Array:
    """As in `jgmm.em.maximisation`: sums of subnormal numbers have lost their digits."""
    limits = np.finfo(counts.dtype)
    return counts > limits.tiny / limits.eps
