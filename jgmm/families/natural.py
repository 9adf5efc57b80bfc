"""The pass over the data for many variances as two matrix products, where that loses no digits.

In natural parameters the energy of a component with variances is linear in (1, x, x²), and what an
M-step needs are the means of the same. That is as fast as a mixture can be, but what is left of
x²/σ² - 2xμ/σ² + μ²/σ² has lost the digits of the larger terms. Where components are narrow or far
from the origin the whitened frame of `jgmm.families.kernels` is worth its price.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from jgmm._struct import struct
from jgmm.data.products import dot

# Of energies whose terms add up to so much the fourth decimal is right in float32; rounding
# errors of single samples cancel in the sums over many.
_LARGEST = 1000.0


@struct
class Natural:
    """Components with variances, in natural parameters."""

    coefficients: Array  # [K, 2D + 1], of (1, x, x²)
    benign: Array  # [] bool, whether nothing large cancels

    def sums(
        self, features: Array, r: Array, means: Array, inverse_roots: Array
    ) -> tuple[Array, Array, Array]:
        """Σr, Σr·y and Σr·y² of samples given as (1, x, x²), in the layout of the whitened sums."""
        d = means.shape[1]
        sums = dot(r, features.T)
        count, first, second = sums[:, :1], sums[:, 1 : d + 1], sums[:, d + 1 :]
        shifts = (first - count * means) * inverse_roots
        squares = (second - means * (2 * first - count * means)) * inverse_roots**2
        return count[:, 0], shifts.T, squares.T


def natural(weights: Array, means: Array, variances: Array, inverse_roots: Array) -> Natural:
    """The natural parameters of components with variances [K, D or 1], and whether they do harm."""
    precisions = inverse_roots**2
    linear = means * precisions
    constant = -0.5 * jnp.sum(linear * means, axis=1)
    # What samples of the mixture are like.
    squares = weights @ (means**2 + variances)
    terms = jnp.sum((squares + means**2) * precisions, axis=1)
    return Natural(
        coefficients=jnp.concatenate([constant[:, None], linear, -0.5 * precisions], axis=1),
        benign=jnp.max(jnp.where(weights > 0, terms, 0)) < _LARGEST,
    )


def powers(samples: Array) -> Array:
    """Samples x [D, S] as (1, x, x²) [2D + 1, S]."""
    return jnp.concatenate([jnp.ones_like(samples[:1]), samples, samples**2])
