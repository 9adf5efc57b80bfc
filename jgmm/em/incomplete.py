"""The E-step where some features of a sample are missing, or where its component is known.

Missing features are integrated out (Ghahramani and Jordan 1994): the density of a sample is that
of its observed features, and what the component expects of the others, with its uncertainty,
takes their place in the statistics. A known label leaves a sample to its component.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import solve_triangular

from jgmm.data.fold import Blocks, fold_sum
from jgmm.em.steps import SufficientStats, moments, per_weight, statistics
from jgmm.mixture.mixture import Mixture, log_weights
from jgmm.mixture.whitened import counted, log_joint, normalise, whiten, whitening

_HIGHEST = lax.Precision.HIGHEST


def expectation(
    mixture: Mixture, blocks: Blocks, *, missing: bool, labelled: bool
) -> tuple[SufficientStats, tuple[Array, Array]]:
    """The E-step over blocks of incomplete samples near the origin.

    Args:
        mixture: where the responsibilities are taken.
        blocks: the samples; if ``labelled`` a row of labels (-1 for unknown) follows the features.
        missing: NaN features are missing.
        labelled: see ``blocks``.

    Returns:
        As `jgmm.em.steps.expectation`; the likelihood is that of what is known.
    """
    d = mixture.n_features
    form = whitening(mixture)

    def block(samples: Array, weights: Array) -> tuple[tuple[Array, ...], Array]:
        x = samples[:d]
        if missing:
            joint, y, spread = observed(mixture, x)
        else:
            y = whiten(form, x)
            joint = log_joint(form, y)
        if labelled:
            joint = _only_known(joint, samples[d])
        p, total, log_density = normalise(joint)
        log_likelihood = jnp.sum(counted(log_density, weights))
        r = p * (weights / jnp.where(total > 0, total, 1))
        if not missing:
            return moments(form, x, y, r), log_likelihood
        shifts = jnp.einsum("ks,iks->ki", r, y, precision=_HIGHEST)
        if spread.ndim == 3:  # variances
            scatters = jnp.einsum("ks,iks->ki", r, y**2 + spread, precision=_HIGHEST)
        else:
            scatters = jnp.einsum("ks,iks,jks->kij", r, y, y, precision=_HIGHEST)
            scatters = scatters + jnp.einsum("ks,ksij->kij", r, spread, precision=_HIGHEST)
        return (jnp.sum(r, axis=1), shifts, scatters), log_likelihood

    (total, log_likelihood), (error, log_likelihood_error) = fold_sum(block, blocks)
    table = jax.tree.map(jnp.add, total, error)
    if missing:
        stats = SufficientStats(counts=table[0], shifts=table[1], scatters=table[2])
    else:
        stats = statistics(form, table)
    weight = jnp.sum(stats.counts)
    return stats, per_weight(log_likelihood, log_likelihood_error, weight)


def _only_known(joint: Array, labels: Array) -> Array:
    """Log-densities [K, S], -inf but for the component of a sample whose label is known."""
    index = jnp.arange(len(joint), dtype=labels.dtype)[:, None]
    return jnp.where((labels < 0) | (labels == index), joint, -jnp.inf)


def entropy(mixture: Mixture, blocks: Blocks, *, missing: bool, labelled: bool) -> Array:
    """The sum over the samples of the entropy of the responsibilities; see `expectation`."""
    d = mixture.n_features
    form = whitening(mixture)

    def block(samples: Array, weights: Array) -> Array:
        x = samples[:d]
        joint = observed(mixture, x)[0] if missing else log_joint(form, whiten(form, x))
        if labelled:
            joint = _only_known(joint, samples[d])
        p, total, log_density = normalise(joint)
        r = p / jnp.where(total > 0, total, 1)
        log_r = jnp.where(r > 0, joint - log_density, 0)
        return jnp.sum(jnp.where(weights > 0, -weights * jnp.sum(r * log_r, axis=0), 0))

    total, error = fold_sum(block, blocks)
    return total + error


def observed(mixture: Mixture, samples: Array) -> tuple[Array, Array, Array]:
    """What the observed features of samples [D, S] with NaN say of the whole.

    Returns:
        The logarithms of weight times density of what is observed [K, S]; the expected whitened
        samples [D, K, S]; and their covariances [K, S, D, D], or variances [D, K, S] of mixtures
        that have only variances.
    """
    k, d = mixture.means.shape
    seen = ~jnp.isnan(samples)
    mask = seen.astype(samples.dtype)
    x = jnp.where(seen, samples, 0)
    constant = 0.5 * math.log(2 * math.pi) * jnp.sum(mask, axis=0)
    logs = log_weights(mixture.weights)[:, None] - constant
    if mixture.covariances.ndim == 2:
        deviations = jnp.sqrt(jnp.broadcast_to(mixture.covariances, (k, d)))
        y = mask[:, None] * (x[:, None] - mixture.means.T[:, :, None]) / deviations.T[:, :, None]
        volume = jnp.dot(jnp.log(deviations), mask, precision=_HIGHEST)
        spread = jnp.broadcast_to(1 - mask[:, None], y.shape)
        return logs - volume - 0.5 * jnp.sum(y**2, axis=0), y, spread
    # With O the projection on what is observed and A = O Σ O + (1 - O), the expected whitened
    # sample is Lᵀ O A⁻¹ O (x - μ) and its covariance 1 - Lᵀ O A⁻¹ O L.
    o = mask.T
    eye = jnp.eye(d, dtype=x.dtype)
    sigma = jnp.broadcast_to(mixture.covariances, (k, d, d))
    lower = jnp.linalg.cholesky(sigma)
    inner = sigma[:, None] * o[:, :, None] * o[:, None, :] + (1 - o)[:, :, None] * eye
    factor = jnp.linalg.cholesky(inner)
    gap = o * (x.T - mixture.means[:, None])
    sides = jnp.concatenate([o[:, :, None] * lower[:, None], gap[..., None]], axis=-1)
    solved = solve_triangular(factor, sides, lower=True)
    a, u = solved[..., :d], solved[..., d]
    y = jnp.einsum("ksij,ksi->jks", a, u, precision=_HIGHEST)
    spread = eye - jnp.einsum("ksij,ksil->ksjl", a, a, precision=_HIGHEST)
    volume = jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)
    return logs - volume - 0.5 * jnp.sum(u**2, axis=-1), y, spread


def shares_observed(blocks: Blocks, n_features: int) -> Array:
    """The share [D] of the weight of all samples for which each feature is known."""

    def block(samples: Array, weights: Array) -> tuple[Array, Array]:
        seen = jnp.where(jnp.isnan(samples[:n_features]), 0, weights)
        return jnp.sum(seen, axis=1), jnp.sum(weights)

    (seen, total), _ = fold_sum(block, blocks)
    return seen / total
