"""The M-step: the mixture that explains the statistics best, with a prior or without."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from jgmm._struct import amend
from jgmm.data.products import along
from jgmm.em.prior import Prior
from jgmm.em.statistics import SufficientStats
from jgmm.families.family import Family
from jgmm.families.floor import Floor, Ridge
from jgmm.families.scatters import Scatters
from jgmm.mixture.mixture import Mixture


def maximisation(
    mixture: Mixture,
    stats: SufficientStats,
    family: Family,
    floor: Floor | Ridge,
    prior: Prior | None = None,
) -> Mixture:
    """The M-step. A component that explains nothing gets weight 0 and stays where it is.

    Args:
        mixture: the one that the statistics were taken under.
        stats: from `expectation`.
        family: of the result.
        floor: what keeps covariances from collapsing.
        prior: counts as samples beside the real ones; None for maximum likelihood.
    """
    d, source = mixture.n_features, mixture.family
    family.accept(source)
    counts = stats.counts
    # Below this, sums of subnormal numbers have lost their digits.
    limits = np.finfo(counts.dtype)
    used = counts > limits.tiny / limits.eps
    masses = jnp.where(used, stats.masses, 1)
    drift = stats.shifts / masses[:, None]
    root = source.root(mixture.covariances)
    moves = source.apply(root, drift)
    spreads = source.congruence(
        root, stats.scatters / along(masses, stats.scatters) - source.outer(drift, root)
    )
    shares = jnp.where(used, counts, 0)
    wishart = None
    if prior is not None:
        gaps = prior.mean - mixture.means
        strength = (prior.mean_strength / (masses + prior.mean_strength))[:, None]
        pulls = jnp.sqrt(strength) * (gaps - moves)
        spreads = spreads + source.products(pulls, mixture.covariances)
        moves = moves + strength * (gaps - moves)
        shares = jnp.where(used, jnp.maximum(shares + prior.concentration - 1, 0), 0)
        n_used = jnp.sum(used).astype(counts.dtype)
        wishart = prior.scale, family.wishart_exponent(prior.dof, d, n_used)
    kept = source.widened(mixture.covariances, *mixture.means.shape)
    spreads = jnp.where(along(used, spreads), spreads, kept)
    current = mixture.covariances if family == source else None
    scatters = Scatters(spreads=spreads, n=masses, counts=counts, used=used, wishart=wishart)
    covariances = family.estimate(scatters, floor, current)
    if family == source:
        covariances = family.select(used, covariances, mixture.covariances)
    total = jnp.sum(shares)
    dof = mixture.distribution.estimate(mixture.degrees_of_freedom, stats.tails, counts, used)
    return amend(
        mixture,
        weights=shares / jnp.where(total > 0, total, 1),
        means=mixture.means + jnp.where(used[:, None], moves, 0),
        covariances=covariances,
        family=family,
        degrees_of_freedom=dof,
    )
