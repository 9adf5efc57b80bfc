"""Functions around the gamma function, without the large terms that cancel in a bound.

Counts of a million samples make log-gammas of ten millions, of which a bound needs differences of
order one. What is left over of Stirling's formula has them to all digits, in float32 too.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import Array

_FAR = 10.0  # from which on the series are exact in float64
# Bernoulli's numbers over 2n(2n - 1) and over 2n (Abramowitz and Stegun 1964, 6.1.40 and 6.3.18).
_BINET = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def stirling(x: Array) -> Array:
    """(x - 1/2) log x - x + log(2π)/2, which is nearly log Γ(x)."""
    return (x - 0.5) * jnp.log(x) - x + _HALF_LOG_2PI


def binet(x: Array) -> Array:
    """Log Γ(x) - stirling(x) for x > 0: Binet's function."""
    near = x < _FAR
    y = jnp.where(near, x + _FAR, x)
    far = _series(_BINET, y) / y
    x = jnp.where(near, x, 1)
    return far + jnp.where(
        near, stirling(x + _FAR) - stirling(x) - jnp.log(jnp.prod(_ascending(x), axis=-1)), 0
    )


def digamma_gap(x: Array) -> Array:
    """Ψ(x) - log x for x > 0."""
    near = x < _FAR
    y = jnp.where(near, x + _FAR, x)
    far = -0.5 / y - _series(_DIGAMMA, y) / y**2
    x = jnp.where(near, x, 1)
    terms = jnp.sum(1 / _ascending(x), axis=-1)
    return far + jnp.where(near, jnp.log1p(_FAR / x) - terms, 0)


def log_gamma(x: Array) -> Array:
    """Log Γ(x) for x > 0."""
    return stirling(x) + binet(x)


def entropic(x: Array) -> Array:
    """X ψ(x) - x - log Γ(x) for x > 0, about log(x)/2."""
    return 0.5 * jnp.log(x) + x * digamma_gap(x) - _HALF_LOG_2PI - binet(x)


def _series(coefficients: tuple[float, ...], y: Array) -> Array:
    square = 1 / y**2
    total = jnp.full_like(y, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * square + coefficient
    return total


def _ascending(x: Array) -> Array:
    """X, x + 1, ..., x + 9."""
    return x[..., None] + jnp.arange(_FAR, dtype=x.dtype)
