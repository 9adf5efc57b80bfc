"""A mixture in the form that evaluates fastest and loses no digits: the frame of each component.

In it a sample is y = L⁻¹(x - μ), of order one whatever the offset and the scale of the data.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import Array, lax

from jgmm._struct import struct
from jgmm.families import covariance
from jgmm.mixture.mixture import Mixture, log_weights


@struct
class Whitening:
    """A mixture in the form that evaluates fastest: y = L⁻¹(x - μ), log-joint = c - |y|²/2."""

    factors: Array  # L⁻¹: [K, D, D], or 1/σ: [K, D]
    means: Array  # μ: [K, D]
    log_scales: Array  # c = log weight - log det L - D/2 log 2π: [K], -inf where unused
    matrix: Array | None  # [D K, D + 1]: (1, x) to y of all components


# With more features than this, variances are not spelled out as matrices.
_FEW_FEATURES = 8


def whitening(mixture: Mixture) -> Whitening:
    """Factorise the covariances and gather the constants."""
    k, d = mixture.means.shape
    factors, log_diagonals = covariance.inverse_factor(mixture.covariances)
    factors = jnp.broadcast_to(factors, (k, d, d) if factors.ndim == 3 else (k, d))
    half_log_det = jnp.sum(jnp.broadcast_to(log_diagonals, (k, d)), axis=-1)
    matrix = None
    if factors.ndim == 3 or d <= _FEW_FEATURES:
        full = (
            factors if factors.ndim == 3 else factors[:, :, None] * jnp.eye(d, dtype=factors.dtype)
        )
        offsets = jnp.einsum("kij,kj->ki", full, mixture.means, precision=lax.Precision.HIGHEST)
        rows = jnp.concatenate([-offsets[:, :, None], full], axis=2)
        matrix = rows.swapaxes(0, 1).reshape(-1, d + 1)
    return Whitening(
        factors=factors,
        means=mixture.means,
        log_scales=log_weights(mixture.weights) - half_log_det - d / 2 * math.log(2 * math.pi),
        matrix=matrix,
    )


def whiten(form: Whitening, samples: Array) -> Array:
    """Samples [D, S] as y [D, K, S], in the frame of each component."""
    k, d = form.means.shape
    if form.matrix is not None:
        y = jnp.dot(form.matrix, with_one(samples), precision=lax.Precision.HIGHEST)
        return y.reshape(d, k, -1)
    return (samples[:, None, :] - form.means.T[:, :, None]) * form.factors.T[:, :, None]


def with_one(samples: Array) -> Array:
    """Samples x [D, S] as (1, x) [D + 1, S]."""
    return jnp.concatenate([jnp.ones_like(samples[:1]), samples])


def log_joint(form: Whitening, y: Array) -> Array:
    """Logarithms of weight times density [K, S] of samples given as y [D, K, S]."""
    # Spelled out, because XLA's sum over a leading axis takes half as long again.
    squares = [row * row for row in y] if len(y) <= 64 else [jnp.sum(y**2, axis=0)]
    return form.log_scales[:, None] - 0.5 * sum(squares[1:], start=squares[0])


def normalise(joint: Array) -> tuple[Array, Array, Array]:
    """Numerators p [K, S], their sums [S] and log densities [S] from log-joints [K, S].

    The responsibilities are p over its sum.
    """
    top = lax.stop_gradient(jnp.max(joint, axis=0))
    top = jnp.where(jnp.isfinite(top), top, 0)
    p = jnp.exp(joint - top)
    # A product with ones is the fastest sum over components that XLA makes on a CPU.
    total = jnp.dot(jnp.ones((1, len(p)), p.dtype), p, precision=lax.Precision.HIGHEST)[0]
    return p, total, top + jnp.log(total)


def counted(log_density: Array, weights: Array) -> Array:
    """Log densities times sample weights [S].

    A sample of weight 0 counts for nothing, not even where its density underflows; but the
    derivative by its weight is its log density.
    """
    counts = (weights > 0) | jnp.isfinite(log_density)
    return weights * jnp.where(counts, log_density, 0)


def centered(mixture: Mixture, pixels: Array) -> tuple[Mixture, Array]:
    """Mixture and pixels, both shifted so that the mixture's mean is near the origin.

    Subtracting first is exact or nearly so; multiplying a large offset by L⁻¹ first is not.
    """
    center = lax.stop_gradient(mixture.weights @ mixture.means)
    moved = Mixture(
        weights=mixture.weights, means=mixture.means - center, covariances=mixture.covariances
    )
    return moved, pixels - center
