"""Priors for maximum a posteriori fits (Fraley and Raftery 2007)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import struct
from jgmm.data.frame import Frame
from jgmm.em.steps import SufficientStats
from jgmm.families import covariance
from jgmm.mixture.mixture import Mixture, log_weights

_HIGHEST = lax.Precision.HIGHEST


@struct
class Prior:
    """A Dirichlet on the weights and a normal-inverse-Wishart on each mean and covariance.

    Weights ~ Dirichlet(concentration), Σ ~ inverse-Wishart(scale, dof), μ | Σ ~ N(mean,
    Σ / mean_strength). Variances of diag mixtures have the inverse-gamma analogue feature by
    feature, those of spherical ones a single one with the mean of the diagonal of ``scale``, and
    the one covariance of a tied mixture has one inverse-Wishart.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(0), (100, 2))
        >>> prior = jgmm.weak_prior(pixels, 3)
        >>> print(prior.dof, prior.mean_strength)
        4.0 0.01
    """

    concentration: Array  # [], 1 for a flat prior on the weights
    mean: Array  # [D]
    mean_strength: Array  # [], in samples
    scale: Array  # [D, D], positive definite
    dof: Array  # [], ν


def weak_prior(
    pixels: ArrayLike, k: int, weights: ArrayLike | None = None, *, missing: str = "error"
) -> Prior:
    """The default prior of Fraley and Raftery (2007): weak, and in proportion to the data.

    It is centred on the mean of the data and worth 0.01 samples there; with D + 2 degrees of
    freedom, its scale is the covariance of the data over k^(2/D), so that k components would share
    the volume. Flat on the weights. It keeps covariances from collapsing.

    Args:
        pixels: [..., D].
        k: the number of components.
        weights: sample weights >= 0 of shape [...] or [N]; None means all 1.
        missing: "nan" takes NaN features as missing, and then as average.

    Returns:
        The prior.

    Example:
        >>> import numpy as np, jgmm
        >>> pixels = np.array([[0.0], [2.0], [50.0]])
        >>> result = jgmm.fit(pixels, 2, prior=jgmm.weak_prior(pixels, 2), reg_covar=0.0)
        >>> bool((result.mixture.covariances > 10).all())
        True
    """
    k = _checks.as_count("k", k)
    array = _checks.as_pixels(pixels, missing=missing == "nan")
    d, dtype = array.shape[-1], array.dtype
    w = _checks.as_weights(weights, array.shape[:-1], dtype)
    flat = array.reshape(-1, d)
    total = jnp.sum(w)
    # Two passes: the second mean corrects the first without cancellation.
    seen = jnp.where(jnp.isnan(flat) & (missing == "nan"), 0, w[:, None])
    mass = jnp.maximum(jnp.sum(seen, axis=0), np.finfo(dtype).tiny)
    rough = jnp.sum(jnp.where(seen > 0, seen * flat, 0), axis=0) / mass
    moved = jnp.where(seen > 0, flat - rough, 0)
    shift = jnp.sum(seen * moved, axis=0) / mass
    moved = jnp.where(seen > 0, moved - shift, 0)
    scatter = jnp.dot((w[:, None] * moved).T, moved, precision=_HIGHEST) / total
    return Prior(
        concentration=jnp.ones((), dtype),
        mean=rough + shift,
        mean_strength=jnp.asarray(0.01, dtype),
        scale=scatter / k ** (2 / d),
        dof=jnp.asarray(d + 2, dtype),
    )


def as_prior(
    prior: Prior | str | None,
    pixels: Array,
    k: int,
    weights: ArrayLike | None,
    missing: str = "error",
) -> Prior | None:
    """What a caller means by ``prior``: "weak" is that of `weak_prior`."""
    if prior is None:
        return None
    if isinstance(prior, str):
        _checks.one_of("prior", prior, ("weak",))
        prior = weak_prior(pixels, k, weights, missing=missing)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, pixels.dtype), prior)


def enter(prior: Prior, frame: Frame) -> Prior:
    """The prior of the data's mixture as one of the mixture in the frame."""
    return Prior(
        concentration=prior.concentration,
        mean=(prior.mean - frame.center) / frame.scale,
        mean_strength=prior.mean_strength,
        scale=prior.scale / frame.scale[:, None] / frame.scale[None, :],
        dof=prior.dof,
    )


def volumes(prior: Prior, mixture: Mixture, covariance_type: str) -> Array:
    """How many unit volumes of a frame the density of the prior loses on leaving it."""
    d, k = mixture.n_features, jnp.sum(mixture.weights > 0).astype(prior.dof.dtype)
    return {
        "full": k * (prior.dof + d + 2),
        "tied": prior.dof + d + 1 + k,
        "diag": k * (prior.dof + 3),
        "spherical": k * (prior.dof + 2 + d) / d,
    }[covariance_type]


def log_density(prior: Prior, mixture: Mixture, covariance_type: str) -> Array:
    """The logarithm of the prior's density at a mixture, up to a constant, in nats."""
    k, d = mixture.means.shape
    used = mixture.weights > 0
    factors, logs = covariance.inverse_factor(mixture.covariances)
    gap = mixture.means - prior.mean
    if factors.ndim == 3:
        root = jnp.linalg.cholesky(prior.scale)
        whitened = jnp.einsum("kij,kj->ki", jnp.broadcast_to(factors, (k, d, d)), gap)
        traces = jnp.sum(jnp.einsum("kij,jl->kil", factors, root) ** 2, axis=(1, 2))
    else:
        whitened = gap * factors
        scales = jnp.diagonal(prior.scale)
        scales = scales if covariance_type == "diag" else jnp.mean(scales)[None]
        traces = jnp.sum(scales * factors**2, axis=1)
    exponent = {
        "full": prior.dof + d + 2,
        "tied": prior.dof + d + 1 + jnp.sum(used).astype(prior.dof.dtype),
        "diag": prior.dof + 3,
        "spherical": prior.dof + 2 + d,
    }[covariance_type]
    spread = -exponent * jnp.sum(logs, axis=1) - traces / 2
    where = jnp.sum(whitened**2, axis=1)
    flat = (prior.concentration - 1) * jnp.where(used, log_weights(mixture.weights), 0)
    return (
        jnp.sum(spread if covariance_type == "tied" else jnp.where(used, spread, 0))
        - prior.mean_strength / 2 * jnp.sum(jnp.where(used, where, 0))
        + jnp.sum(flat)
    )


def maximisation(
    mixture: Mixture, stats: SufficientStats, covariance_type: str, floor: Array, prior: Prior
) -> Mixture:
    """The M-step of a MAP fit: the prior counts as samples beside the real ones.

    A component that explains nothing gets weight 0 and stays where it is.
    """
    k, d = mixture.means.shape
    counts = stats.counts
    used = (counts > 0) & (mixture.weights > 0)
    strength = prior.mean_strength
    gap = prior.mean - mixture.means
    n = (jnp.where(used, counts, 1) + strength)[:, None]
    if mixture.covariances.ndim == 3:
        lower = jnp.broadcast_to(jnp.linalg.cholesky(mixture.covariances), (k, d, d))
        shift = jnp.einsum("kij,kj->ki", lower, stats.shifts, precision=_HIGHEST)
        scatter = jnp.einsum("kij,kjl,kml->kim", lower, stats.scatters, lower, precision=_HIGHEST)
        drift = (shift + strength * gap) / n
        spread = (
            scatter
            + strength * gap[:, :, None] * gap[:, None, :]
            - n[:, :, None] * drift[:, :, None] * drift[:, None, :]
        )
        spread = (spread + spread.swapaxes(-1, -2)) / 2
    else:
        shift = jnp.sqrt(mixture.covariances) * stats.shifts
        drift = (shift + strength * gap) / n
        spread = mixture.covariances * stats.scatters + strength * gap**2 - n * drift**2
        spread = jnp.maximum(spread, 0)
    scales = jnp.diagonal(prior.scale)
    if covariance_type == "full":
        covariances = (spread + prior.scale) / (counts + prior.dof + d + 2)[:, None, None]
    elif covariance_type == "tied":
        pooled = jnp.sum(jnp.where(used[:, None, None], spread, 0), axis=0) + prior.scale
        k_used = jnp.sum(used).astype(counts.dtype)
        covariances = (pooled / (jnp.sum(counts) + prior.dof + d + 1 + k_used))[None]
    elif covariance_type == "diag":
        covariances = (covariance.variances(spread) + scales) / (counts + prior.dof + 3)[:, None]
    else:
        total = jnp.sum(covariance.variances(spread), axis=1) + jnp.mean(scales)
        covariances = (total / (prior.dof + d * (counts + 1) + 2))[:, None]
    covariances = covariance.clip(covariances, floor)
    kept = mixture.covariances
    if kept.shape == covariances.shape and len(kept) == k:
        covariances = jnp.where(used.reshape(k, *(1,) * (kept.ndim - 1)), covariances, kept)
    mass = jnp.where(used, jnp.maximum(counts + prior.concentration - 1, 0), 0)
    return Mixture(
        weights=mass / jnp.sum(mass),
        means=jnp.where(used[:, None], mixture.means + drift, mixture.means),
        covariances=covariances,
    )
