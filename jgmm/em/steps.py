"""The EM algorithm for Gaussian mixtures (Dempster, Laird and Rubin 1977), one step at a time.

Both halves of a step work in the whitened frame of each component, y = L⁻¹(x - μ), where every
number is of order one: the statistics are moments of y, and the M-step moves the mixture by what
is left of them. Nothing cancels, whatever the offset and scale of the data.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import struct
from jgmm.data.fold import Blocks, block_size, fold_sum, make_blocks
from jgmm.families import covariance
from jgmm.mixture.mixture import Mixture, conform
from jgmm.mixture.natural import moments as natural_moments
from jgmm.mixture.natural import natural, powers
from jgmm.mixture.whitened import (
    Whitening,
    centered,
    counted,
    log_joint,
    normalise,
    whiten,
    whitening,
    with_one,
)

_HIGHEST = lax.Precision.HIGHEST


@struct
class SufficientStats:
    """What an M-step needs to know of the data, in the whitened frame of the mixture.

    With responsibilities r and y = L⁻¹(x - μ) for each component: Σr, Σr·y and Σr·y·yᵀ.
    """

    counts: Array  # [K], sum of the sample weights in all
    shifts: Array  # [K, D]
    scatters: Array  # [K, D, D]; [K, D] (the diagonal) under diag and spherical mixtures


def moments(form: Whitening, samples: Array, y: Array, r: Array) -> tuple[Array, ...]:
    """What `statistics` needs of a block: samples [D, S], y [D, K, S], weights r [K, S].

    One matrix product gives Σr·y·(1, x)ᵀ for all components. Only y is in the frame of the
    component; that leaves one factor of the offset to cancel where two would do harm.
    """
    ones = jnp.ones(samples.shape[1], y.dtype)
    counts = jnp.dot(r, ones, precision=_HIGHEST)
    ry = (r * y).reshape(-1, samples.shape[1])
    if form.matrix is not None:
        return counts, jnp.dot(ry, with_one(samples).T, precision=_HIGHEST)
    squares = (r * y**2).reshape(-1, samples.shape[1])
    return (
        counts,
        jnp.dot(ry, ones, precision=_HIGHEST).reshape(len(y), -1),
        jnp.dot(squares, ones, precision=_HIGHEST).reshape(len(y), -1),
    )


def statistics(form: Whitening, total: tuple[Array, ...]) -> SufficientStats:
    """The statistics from the sum over blocks of `moments`."""
    k, d = form.means.shape
    if form.matrix is None:
        counts, first, squares = total
        return SufficientStats(counts=counts, shifts=first.T, scatters=squares.T)
    counts, products = total
    table = products.reshape(d, k, d + 1).swapaxes(0, 1)
    shifts = table[:, :, 0]
    # Σr·y·xᵀ to Σr·y·(x - μ)ᵀ to Σr·y·yᵀ
    mixed = table[:, :, 1:] - shifts[:, :, None] * form.means[:, None, :]
    if form.factors.ndim == 2:
        scatters = covariance.variances(mixed) * form.factors
    else:
        scatters = jnp.einsum("kij,klj->kil", mixed, form.factors, precision=_HIGHEST)
        scatters = (scatters + scatters.swapaxes(-1, -2)) / 2
    return SufficientStats(counts=counts, shifts=shifts, scatters=scatters)


def expectation(
    mixture: Mixture, blocks: Blocks, *, hard: bool = False
) -> tuple[SufficientStats, tuple[Array, Array]]:
    """The E-step over blocks whose samples are near the origin.

    Args:
        mixture: where the responsibilities are taken.
        blocks: the samples.
        hard: give each sample to its most probable component alone.

    Returns:
        The statistics, and the log-likelihood per unit of sample weight as a sum of two numbers,
        of which the second refines the first beyond its precision.
    """
    form = whitening(mixture)

    def weigh(joint: Array, weights: Array) -> tuple[Array, Array]:
        p, total, log_density = normalise(joint)
        weighted = counted(log_density, weights)
        log_likelihood = jnp.dot(weighted, jnp.ones_like(weighted), precision=_HIGHEST)
        if hard:
            r = jax.nn.one_hot(jnp.argmax(joint, axis=0), len(joint), axis=0, dtype=p.dtype)
            return r * weights, log_likelihood
        # total is 0 only where a sample is too far from every component to be told from infinity.
        return p * (weights / jnp.where(total > 0, total, 1)), log_likelihood

    def block(samples: Array, weights: Array) -> tuple[tuple[Array, ...], Array]:
        y = whiten(form, samples)
        r, log_likelihood = weigh(log_joint(form, y), weights)
        return moments(form, samples, y, r), log_likelihood

    if form.matrix is None:
        plain, careful = natural(mixture, form), block

        def quick(samples: Array, weights: Array) -> tuple[tuple[Array, ...], Array]:
            features = powers(samples)
            joint = jnp.dot(plain.coefficients, features, precision=_HIGHEST)
            r, log_likelihood = weigh(joint, weights)
            return natural_moments(form, features, r), log_likelihood

        def block(samples: Array, weights: Array) -> tuple[tuple[Array, ...], Array]:
            return lax.cond(plain.benign, quick, careful, samples, weights)

    (total, log_likelihood), (error, log_likelihood_error) = fold_sum(block, blocks)
    stats = statistics(form, jax.tree.map(jnp.add, total, error))
    weight = jnp.sum(stats.counts)
    return stats, per_weight(log_likelihood, log_likelihood_error, weight)


def per_weight(total: Array, error: Array, weight: Array) -> tuple[Array, Array]:
    """(total + error) / weight as the nearest number and what it lacks."""
    quotient = total / weight
    rest = (total - quotient * weight + error) / weight
    head = quotient + rest
    return head, rest - (head - quotient)


def maximisation(
    mixture: Mixture,
    stats: SufficientStats,
    covariance_type: str,
    floor: Array | covariance.Ridge,
) -> Mixture:
    """The M-step. A component that explains nothing gets weight 0 and stays where it is.

    Args:
        mixture: the one that the statistics were taken under.
        stats: from `expectation`.
        covariance_type: the family of the result.
        floor: least variance of each feature [D], or a variance to add.
    """
    family = covariance.FAMILIES[covariance_type]
    k, d = mixture.means.shape
    counts = stats.counts
    total = jnp.sum(counts)
    # Below this, sums of subnormal numbers have lost their digits.
    limits = np.finfo(counts.dtype)
    used = counts > limits.tiny / limits.eps
    safe = jnp.where(used, counts, 1)
    drift = stats.shifts / safe[:, None]
    if mixture.covariances.ndim == 3:
        lower = jnp.broadcast_to(jnp.linalg.cholesky(mixture.covariances), (k, d, d))
        means = mixture.means + jnp.einsum("kij,kj->ki", lower, drift, precision=_HIGHEST)
        spread = stats.scatters / safe[:, None, None] - drift[:, :, None] * drift[:, None, :]
        covariances = jnp.einsum("kij,kjl,kml->kim", lower, spread, lower, precision=_HIGHEST)
        covariances = (covariances + covariances.swapaxes(-1, -2)) / 2
    else:
        means = mixture.means + jnp.sqrt(mixture.covariances) * drift
        spread = stats.scatters / safe[:, None] - drift**2
        covariances = mixture.covariances * jnp.maximum(spread, 0)
    share = jnp.where(used, counts, 0) / jnp.where(total > 0, total, 1)
    covariances = covariance.regularise(family.constrain(covariances, share), floor)
    kept = mixture.covariances
    if kept.shape == covariances.shape and len(kept) == k:
        mask = used.reshape(k, *(1,) * (kept.ndim - 1))
        covariances = jnp.where(mask, covariances, kept)
    return Mixture(
        weights=share,
        means=jnp.where(used[:, None], means, mixture.means),
        covariances=covariances,
    )


def e_step(
    mixture: Mixture, pixels: ArrayLike, weights: ArrayLike | None = None
) -> tuple[SufficientStats, Array]:
    """The expectation step: what the data say under a mixture.

    Not jitted, so that it can be part of a larger program.

    Args:
        mixture: K components in D dimensions.
        pixels: [..., D].
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.

    Returns:
        The sufficient statistics in the whitened frame of ``mixture``, and the mean
        log-likelihood of ``mixture`` in nats per (weighted) pixel.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> normal = jgmm.Mixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.ones((1, 1, 1)))
        >>> stats, log_likelihood = jgmm.e_step(normal, jnp.array([[-1.0], [1.0]]))
        >>> print(stats.counts, stats.scatters)
        [2.] [[[2.]]]
    """
    mixture, array = conform(mixture, pixels)
    sample_weights = _checks.as_weights(weights, array.shape[:-1], array.dtype)
    moved, flat = centered(mixture, array.reshape(-1, mixture.n_features))
    size = block_size(mixture.n_components, mixture.n_features)
    stats, (head, tail) = expectation(moved, make_blocks(flat, sample_weights, size))
    return stats, head + tail


def m_step(
    mixture: Mixture,
    stats: SufficientStats,
    *,
    covariance_type: str = "full",
    reg_covar: ArrayLike = 0.0,
) -> Mixture:
    """The maximisation step: the mixture that explains the statistics best.

    Args:
        mixture: the one that ``stats`` were taken under.
        stats: from `e_step`.
        covariance_type: full, tied, diag or spherical.
        reg_covar: least variance along any direction, absolute, a scalar or [D] (all positive
            or all 0). Covariances above it are left as they are.

    Returns:
        The new mixture. A component that explains nothing has weight 0.

    Raises:
        ValueError: an unknown family, or one that the statistics are too few for.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> normal = jgmm.Mixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.ones((1, 1, 1)))
        >>> stats, _ = jgmm.e_step(normal, jnp.array([[1.0], [5.0]]))
        >>> fitted = jgmm.m_step(normal, stats)
        >>> print(fitted.means, fitted.covariances)
        [[3.]] [[[4.]]]
    """
    _checks.one_of("covariance_type", covariance_type, covariance.FAMILIES)
    dtype = mixture.means.dtype
    floor = jnp.broadcast_to(
        _checks.as_nonnegative("reg_covar", reg_covar, dtype), (mixture.n_features,)
    )
    return maximisation(mixture, stats, covariance_type, floor)


def em_step(
    mixture: Mixture,
    pixels: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    covariance_type: str = "full",
    reg_covar: ArrayLike = 0.0,
) -> tuple[Mixture, Array]:
    """One step of EM: `e_step`, then `m_step`.

    Args:
        mixture: K components in D dimensions.
        pixels: [..., D].
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.
        covariance_type: full, tied, diag or spherical.
        reg_covar: least variance along any direction, absolute; see `m_step`.

    Returns:
        The next mixture, and the mean log-likelihood of the one given.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> normal = jgmm.Mixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.ones((1, 1, 1)))
        >>> fitted, before = jgmm.em_step(normal, jnp.array([[1.0], [5.0]]))
        >>> print(fitted.means, before)
        [[3.]] -7.4189386
    """
    stats, log_likelihood = e_step(mixture, pixels, weights)
    mixture, _ = conform(mixture, pixels)
    fitted = m_step(mixture, stats, covariance_type=covariance_type, reg_covar=reg_covar)
    return fitted, log_likelihood
