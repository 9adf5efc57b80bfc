"""Priors for maximum a posteriori fits (Fraley and Raftery 2007)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import struct
from jgmm.data.frame import Frame
from jgmm.data.origin import Origin, less, near_origin, plus
from jgmm.data.products import dot
from jgmm.data.programs import program
from jgmm.mixture.mixture import Mixture, log_weights


@struct
class Prior:
    """A Dirichlet on the weights and a normal-inverse-Wishart on each mean and covariance.

    Weights ~ Dirichlet(concentration), Σ ~ inverse-Wishart(scale, dof), μ | Σ ~ N(mean,
    Σ / mean_strength). Variances of diag mixtures have the inverse-gamma analogue feature by
    feature, those of spherical ones a single one with the mean of the diagonal of ``scale``, and
    the one covariance of a tied mixture has one inverse-Wishart.

    Attributes:
        concentration: of the weights [], 1 for a flat prior on them.
        mean: where means are expected [D].
        mean_strength: how strongly [], in samples.
        scale: of the covariances [D, D], positive definite.
        dof: degrees of freedom ν [].

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(0), (100, 2))
        >>> prior = jgmm.weak_prior(pixels, 3)
        >>> print(prior.dof, prior.mean_strength)
        4.0 0.01
    """

    concentration: Array
    mean: Array
    mean_strength: Array
    scale: Array
    dof: Array


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
        >>> pixels = np.array([[0.0], [2.0], [50.0]], np.float32)
        >>> result = jgmm.fit(pixels, 2, prior=jgmm.weak_prior(pixels, 2), reg_covar=0.0)
        >>> bool((result.mixture.covariances > 10).all())
        True
    """
    k = _checks.as_count("k", k)
    array, origin = near_origin(pixels, missing=missing == "nan")
    d, dtype = array.shape[-1], array.dtype
    w = _checks.as_weights(weights, array.shape[:-1], dtype)
    shrink = _checks.as_array(k ** (2 / d), dtype)
    center, scale = _spread(array.reshape(-1, d), w, shrink, incomplete=missing == "nan")
    return Prior(
        concentration=_checks.as_array(1, dtype),
        mean=plus(center, origin),
        mean_strength=_checks.as_array(0.01, dtype),
        scale=scale,
        dof=_checks.as_array(d + 2, dtype),
    )


@program("incomplete", once=True)
def _spread(flat: Array, weights: Array, shrink: Array, incomplete: bool) -> tuple[Array, Array]:
    """Mean [D] and covariance [D, D] over ``shrink``; what was not observed is average."""
    # Two passes: the second mean corrects the first without cancellation.
    seen = jnp.where(jnp.isnan(flat) & incomplete, 0, weights[:, None])
    mass = jnp.maximum(jnp.sum(seen, axis=0), np.finfo(flat.dtype).tiny)
    rough = jnp.sum(jnp.where(seen > 0, seen * flat, 0), axis=0) / mass
    moved = jnp.where(seen > 0, flat - rough, 0)
    shift = jnp.sum(seen * moved, axis=0) / mass
    moved = jnp.where(seen > 0, moved - shift, 0)
    scatter = dot((weights[:, None] * moved).T, moved) / jnp.sum(weights)
    return rough + shift, scatter / shrink


def expect_prior(prior: Prior | str | None) -> None:
    """Refuse what a caller cannot mean by ``prior``.

    Raises:
        TypeError: neither a prior nor a name.
        ValueError: an unknown name.
    """
    if isinstance(prior, str):
        _checks.one_of("prior", prior, ("weak",))
    elif not isinstance(prior, Prior | None):
        raise TypeError(f"prior: expected a Prior, 'weak' or None, got {type(prior).__name__}")


def as_prior(
    prior: Prior | str | None,
    pixels: Array,
    k: int,
    weights: ArrayLike | None,
    missing: str = "error",
    origin: Origin | None = None,
) -> Prior | None:
    """What a caller means by ``prior``, for pixels near an ``origin``.

    "weak" is that of `weak_prior`.
    """
    expect_prior(prior)
    if prior is None:
        return None
    if isinstance(prior, str):
        prior = weak_prior(pixels, k, weights, missing=missing)
    elif origin is not None:
        prior = dataclasses.replace(prior, mean=less(_checks.as_array(prior.mean), origin))
    return jax.tree.map(lambda leaf: _checks.as_array(leaf, pixels.dtype), prior)


def standardize(prior: Prior, frame: Frame) -> Prior:
    """The prior of the data's mixture as one of the mixture in the frame."""
    return Prior(
        concentration=prior.concentration,
        mean=(prior.mean - frame.center) / frame.scale,
        mean_strength=prior.mean_strength,
        scale=prior.scale / frame.scale[:, None] / frame.scale[None, :],
        dof=prior.dof,
    )


def log_density(prior: Prior, mixture: Mixture) -> Array:
    """The logarithm of the prior's density at a mixture, up to a constant, in nats."""
    family, d = mixture.family, mixture.n_features
    used = mixture.weights > 0
    inverse, half_log_dets = family.inverse_root(mixture.covariances, d)
    distances = jnp.sum(family.apply(inverse, mixture.means - prior.mean) ** 2, axis=1)
    exponent = _exponent(prior, mixture)
    spread = -exponent * half_log_dets / family.entries(d)
    spread = spread - family.wishart_traces(inverse, prior.scale) / 2
    flat = (prior.concentration - 1) * jnp.where(used, log_weights(mixture.weights), 0)
    return (
        jnp.sum(family.select(used, spread, jnp.zeros_like(spread)))
        - prior.mean_strength / 2 * jnp.sum(jnp.where(used, distances, 0))
        + jnp.sum(flat)
    )


def volumes(prior: Prior, mixture: Mixture) -> Array:
    """How many unit volumes of a frame the density of the prior loses on leaving it."""
    family, d = mixture.family, mixture.n_features
    n_used = jnp.sum(mixture.weights > 0).astype(prior.dof.dtype)
    n_covariances = 1 if family.shared else n_used
    return n_covariances * _exponent(prior, mixture) / family.entries(d)


def _exponent(prior: Prior, mixture: Mixture) -> Array:
    n_used = jnp.sum(mixture.weights > 0).astype(prior.dof.dtype)
    return mixture.family.wishart_exponent(prior.dof, mixture.n_features, n_used)
