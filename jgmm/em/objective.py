"""What a fit climbs: the EM map, or the objective with its gradient; plain, or beyond the plain."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax

from jgmm.data.fold import Blocks
from jgmm.em import incomplete as partial_data
from jgmm.em import prior as priors
from jgmm.em.prior import Prior
from jgmm.em.steps import SufficientStats, expectation, maximisation
from jgmm.mixture.mixture import Mixture, log_weights
from jgmm.mixture.whitened import whitening
from jgmm.solvers.iterate import EmMap

_HIGHEST = lax.Precision.HIGHEST
Objective = Callable[[Mixture], Array]


def _expect(
    point: Mixture, blocks: Blocks, known: tuple[str, ...]
) -> tuple[SufficientStats, tuple[Array, Array]]:
    if not known:
        return expectation(point, blocks)
    missing, labelled = "missing" in known, "labels" in known
    return partial_data.expectation(point, blocks, missing=missing, labelled=labelled)


def em_map(
    blocks: Blocks, floor: Array, family: str, prior: Prior | None, known: tuple[str, ...]
) -> EmMap:
    """EM over the blocks, with what is asked for beyond the plain."""

    def em(point: Mixture) -> tuple[Mixture, tuple[Array, Array]]:
        stats, (head, tail) = _expect(point, blocks, known)
        if prior is None:
            return maximisation(point, stats, family, floor), (head, tail)
        bonus = priors.log_density(prior, point, family) / jnp.sum(stats.counts)
        whole = head + bonus
        rest = tail + jnp.where(
            abs(head) >= abs(bonus), (head - whole) + bonus, (bonus - whole) + head
        )
        return priors.maximisation(point, stats, family, floor, prior), (whole, rest)

    return em


def objective_map(
    blocks: Blocks, family: str, prior: Prior | None, known: tuple[str, ...]
) -> Objective:
    """What EM climbs, in nats per unit of sample weight, with the gradient of one E-step.

    By Fisher's identity the gradient of the log-likelihood is that of the expected log-likelihood
    of the complete data, so that no derivative goes through the pass over the data.
    """

    def objective(point: Mixture) -> Array:
        here = lax.stop_gradient(point)
        stats, (head, tail) = _expect(here, blocks, known)
        weight = jnp.sum(stats.counts)
        slope = complete(point, here, stats) / weight
        value = head + tail + (slope - lax.stop_gradient(slope))
        if prior is None:
            return value
        return value + priors.log_density(prior, point, family) / weight

    return objective


def complete(point: Mixture, at: Mixture, stats: SufficientStats) -> Array:
    """The expected log-likelihood of the complete data near ``at``, to first order, in nats.

    Linear in the log weights, means and covariances of ``point``; ``stats`` were taken under
    ``at``.
    """
    k, d = point.means.shape
    counts, factors = stats.counts, whitening(at).factors
    logs = jnp.where(at.weights > 0, log_weights(point.weights), 0)
    if factors.ndim == 3:
        means = jnp.einsum("kij,kj->ki", factors, point.means, precision=_HIGHEST)
        covariances = jnp.broadcast_to(point.covariances, (k, d, d))
        relative = jnp.einsum("kij,kjl,kml->kim", factors, covariances, factors, precision=_HIGHEST)
        excess = stats.scatters - counts[:, None, None] * jnp.eye(d, dtype=counts.dtype)
    else:
        means = factors * point.means
        relative = factors**2 * point.covariances
        excess = stats.scatters - counts[:, None]
    return jnp.sum(counts * logs) + jnp.sum(stats.shifts * means) + jnp.sum(excess * relative) / 2
