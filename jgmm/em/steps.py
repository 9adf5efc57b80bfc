"""The EM algorithm for mixtures (Dempster, Laird and Rubin 1977), one step at a time.

Both halves of a step work in the whitened frame of each component, y = L⁻¹(x - μ), where every
number is of order one: the statistics are moments of y, and the M-step moves the mixture by what
is left of them. Nothing cancels, whatever the offset and scale of the data.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm.data.programs import program
from jgmm.data.samples import Rows, make_samples
from jgmm.em.maximisation import maximisation
from jgmm.em.statistics import SufficientStats, expectation
from jgmm.families.family import Family
from jgmm.families.floor import Floor
from jgmm.families.table import family_of
from jgmm.mixture.mixture import FitLike, Mixture, as_mixture, checked, conform, promoted
from jgmm.mixture.posterior import centered


def e_step(
    mixture: Mixture | FitLike, pixels: ArrayLike, weights: ArrayLike | None = None
) -> tuple[SufficientStats, Array]:
    """The expectation step: what the data say under a mixture.

    Args:
        mixture: K components in D dimensions.
        pixels: [..., D].
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.

    Returns:
        The sufficient statistics in the whitened frame of ``mixture``, and the mean
        log-likelihood of ``mixture`` in nats per (weighted) pixel.

    Statistics under one mixture add up over chunks of the data, which need never be in memory at
    once: ``jax.tree.map(jnp.add, a, b)``. `experiments/chunks.py` does k-means and EM so.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> normal = jgmm.Mixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.ones((1, 1, 1)))
        >>> stats, log_likelihood = jgmm.e_step(normal, jnp.array([[-1.0], [1.0]]))
        >>> print(stats.counts, stats.scatters)
        [2.] [[[2.]]]
    """
    mixture, array = conform(mixture, pixels)
    sample_weights = _checks.as_weights(weights, array.shape[:-1], array.dtype)
    return _expected(mixture, array.reshape(-1, mixture.n_features), sample_weights)


@program()
def _expected(mixture: Mixture, flat: Array, weights: Array) -> tuple[SufficientStats, Array]:
    moved, flat = centered(mixture, flat)
    samples = make_samples(Rows(features=flat, weights=weights), mixture.block_size)
    stats, log_likelihood = expectation(moved, samples)
    return stats, log_likelihood.rounded()


def m_step(
    mixture: Mixture | FitLike,
    stats: SufficientStats,
    *,
    covariance_type: str = "full",
    reg_covar: ArrayLike = 0.0,
) -> Mixture:
    """The maximisation step: the mixture that explains the statistics best.

    Args:
        mixture: the one that ``stats`` were taken under.
        stats: from `e_step`.
        covariance_type: see `jgmm.fit`.
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
    mixture = as_mixture(mixture)
    family = family_of(covariance_type, n_features=mixture.n_features)
    return _maximised(mixture, stats, _floor(reg_covar, mixture), family=family)


def _floor(reg_covar: ArrayLike, mixture: Mixture) -> Array:
    least = _checks.as_nonnegative("reg_covar", reg_covar, mixture.means.dtype)
    return _checks.all_or_none("reg_covar", least)


@program("family")
def _maximised(mixture: Mixture, stats: SufficientStats, floor: Array, family: Family) -> Mixture:
    variances = jnp.broadcast_to(floor, (mixture.n_features,))
    return maximisation(mixture, stats, family, Floor(variances=variances))


def em_step(
    mixture: Mixture | FitLike,
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
        covariance_type: see `jgmm.fit`.
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
    near, array = conform(mixture, pixels)
    mixture = promoted(checked(mixture), near.means.dtype)
    family = family_of(covariance_type, n_features=mixture.n_features)
    return _stepped(
        mixture,
        near,
        array.reshape(-1, mixture.n_features),
        _checks.as_weights(weights, array.shape[:-1], array.dtype),
        _floor(reg_covar, mixture),
        family=family,
    )


@program("family")
def _stepped(
    mixture: Mixture, near: Mixture, flat: Array, weights: Array, floor: Array, family: Family
) -> tuple[Mixture, Array]:
    """``near`` is the mixture moved as the pixels are, whose statistics do not depend on that."""
    stats, log_likelihood = _expected(near, flat, weights)
    return _maximised(mixture, stats, floor, family=family), log_likelihood
