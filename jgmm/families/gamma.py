"""Functions around the gamma function, without the large terms that cancel.

A t distribution of many degrees of freedom is all but normal, and what it differs by is a small
difference of large logarithms of gammas. Counts of a million samples make log-gammas of ten
millions, of which an evidence bound needs differences of order one. Here the large parts are left
out beforehand: what is left over of Stirling's formula has all digits, in float32 too. Arguments
that are small are moved up by the recurrence, to where his series takes over.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

_MOVED = 10.0  # from there on the series are exact in float64
# Bernoulli's numbers over 2n(2n - 1) and over 2n (Abramowitz and Stegun 1964, 6.1.40 and 6.3.18).
_BINET = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def stirling(x: Array) -> Array:
    """(x - 1/2) log x - x + log(2π)/2, which is nearly log Γ(x)."""
    return (x - 0.5) * jnp.log(x) - x + _HALF_LOG_2PI


def binet(x: Array) -> Array:
    """Log Γ(x) - stirling(x) for x > 0: Binet's function."""
    near, y, x = _moved_up(x)
    moved = stirling(y) - stirling(x) - jnp.log(jnp.prod(_ascending(x), axis=-1))
    return _far_binet(y) + jnp.where(near, moved, 0)


def log_gamma(x: Array) -> Array:
    """Log Γ(x) for x > 0."""
    return stirling(x) + binet(x)


def entropic(x: Array) -> Array:
    """X ψ(x) - x - log Γ(x) for x > 0, about log(x)/2."""
    return 0.5 * jnp.log(x) - x * log_less_digamma(x) - _HALF_LOG_2PI - binet(x)


def log_gamma_rise(x: Array, a: Any) -> Array:
    """The logarithm of Γ(x + a) / (Γ(x) xᵃ), for x > 0 and a >= 0; 0 as x becomes infinite.

    Example:
        >>> print(f"{log_gamma_rise(jnp.asarray(2.0), 2.0):.4f}")  # log 6 - 2 log 2
        0.4055
    """
    y, a = x + _MOVED, jnp.asarray(a, x.dtype)
    moved = jnp.sum(jnp.log1p(a[..., None] / _ascending(x)), axis=-1)
    near = (y - 0.5) * jnp.log1p(a / y) - a + a * jnp.log1p((_MOVED + a) / x)
    return near + _far_binet(y + a) - _far_binet(y) - moved


def log_less_digamma(x: Array) -> Array:
    """What log x - ψ(x) is, for x > 0: it falls from infinity to 0, about as 1/2x.

    Example:
        >>> print(f"{log_less_digamma(jnp.asarray(1.0)):.5f}")  # Euler's constant
        0.57722
    """
    near, y, x = _moved_up(x)
    moved = jnp.sum(1 / _ascending(x), axis=-1) - jnp.log1p(_MOVED / x)
    return 0.5 / y + _series(_DIGAMMA, y) / y**2 + jnp.where(near, moved, 0)


def slope_of_log_less_digamma(x: Array) -> Array:
    """1/x - ψ'(x), which is below 0."""
    return jax.jvp(log_less_digamma, (x,), (jnp.ones_like(x),))[1]


@jax.custom_jvp
def inverse_of_log_less_digamma(c: Array) -> Array:
    """The x with log x - ψ(x) = c > 0.

    From a start that is right to 1.5%, by Newton's method for 1/x, in which c is nearly linear
    (Minka 2002).

    Example:
        >>> print(f"{inverse_of_log_less_digamma(jnp.asarray(0.5772157)):.5f}")
        1.00000
    """
    x = (3 - c + jnp.sqrt((c - 3) ** 2 + 24 * c)) / (12 * c)
    for _ in range(4):
        gap = log_less_digamma(x) - c
        x = 1 / (1 / x + gap / (x**2 * slope_of_log_less_digamma(x)))
    return x


@inverse_of_log_less_digamma.defjvp
def _inverse_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    x = inverse_of_log_less_digamma(*primals)
    return x, tangents[0] / slope_of_log_less_digamma(x)


def _moved_up(x: Array) -> tuple[Array, Array, Array]:
    """Where x is small; x, there moved up; and x where it is small, 1 elsewhere."""
    near = x < _MOVED
    return near, jnp.where(near, x + _MOVED, x), jnp.where(near, x, 1)


def _ascending(x: Array) -> Array:
    """X, x + 1, ..., x + 9."""
    return x[..., None] + jnp.arange(_MOVED, dtype=x.dtype)


def _far_binet(y: Array) -> Array:
    return _series(_BINET, y) / y


def _series(coefficients: tuple[float, ...], y: Array) -> Array:
    """A polynomial in 1/y²."""
    square = 1 / y**2
    total = jnp.full_like(y, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * square + coefficient
    return total
