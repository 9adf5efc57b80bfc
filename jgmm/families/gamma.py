"""Differences of the gamma function's logarithms, without cancellation.

A t distribution of many degrees of freedom is all but normal, and what it differs by is a small
difference of large logarithms of gammas. Here the large parts are left out beforehand: arguments
are moved up by the recurrence, and there the series of Stirling takes over.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

_MOVED = 8
# Of log Γ(y) - (y - 1/2) log y + y - log(2π)/2 in odd powers of 1/y, and of log y - ψ(y) - 1/2y in
# even ones.
_LOG_GAMMA = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760)


def log_gamma_rise(x: Array, a: Any) -> Array:
    """The logarithm of Γ(x + a) / (Γ(x) xᵃ), for x > 0 and a >= 0; 0 as x becomes infinite.

    Example:
        >>> print(f"{log_gamma_rise(jnp.asarray(2.0), 2.0):.4f}")  # log 6 - 2 log 2
        0.4055
    """
    y = x + _MOVED
    moved: Any = sum(jnp.log1p(a / (x + i)) for i in range(_MOVED))
    near = (y - 0.5) * jnp.log1p(a / y) - a + a * jnp.log1p((_MOVED + a) / x)
    return near + _stirling(y + a) - _stirling(y) - moved


def log_less_digamma(x: Array) -> Array:
    """What log x - ψ(x) is, for x > 0: it falls from infinity to 0, about as 1/2x.

    Example:
        >>> print(f"{log_less_digamma(jnp.asarray(1.0)):.5f}")  # Euler's constant
        0.57722
    """
    y = x + _MOVED
    moved: Any = sum(1 / (x + i) for i in range(_MOVED))
    return 0.5 / y + _series(_DIGAMMA, 1 / y**2) / y**2 + moved - jnp.log1p(_MOVED / x)


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


def _stirling(y: Array) -> Array:
    return _series(_LOG_GAMMA, 1 / y**2) / y


def _series(coefficients: tuple[float, ...], z: Array) -> Array:
    total = jnp.full_like(z, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * z + coefficient
    return total
