"""Fisher's identity: the gradient of a likelihood from the statistics of one E-step.

It is that of the expected log-likelihood of the complete data, so that no derivative has to go
through the pass over the data.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from jgmm.em.statistics import SufficientStats
from jgmm.mixture.mixture import Mixture, log_weights


def complete(point: Mixture, at: Mixture, stats: SufficientStats) -> Array:
    """The expected log-likelihood of the complete data near ``at``, to first order, in nats.

    Linear in the log weights, means, covariances and degrees of freedom of ``point``; ``stats``
    were taken under ``at``.
    """
    d = point.n_features
    family = at.family
    inverse, _ = family.inverse_root(at.covariances, d)
    logs = jnp.where(at.weights > 0, log_weights(point.weights), 0)
    total = (
        jnp.sum(stats.counts * logs)
        + jnp.sum(stats.shifts * family.apply(inverse, point.means))
        + family.slope(at.covariances, stats.scatters, stats.counts, point.covariances)
    )
    slope = at.distribution.slope(at.degrees_of_freedom, stats.tails, stats.counts)
    return total if slope is None else total + jnp.sum(slope * point.degrees_of_freedom)
