"""The E-step of many variances as two matrix products, where that loses no digits.

In natural parameters the log-density of a component with variances is linear in (1, x, x²), and
what an M-step needs are the means of the same. That is as fast as a mixture can be, but what is
left of x²/σ² - 2xμ/σ² + μ²/σ² has lost the digits of the larger terms. Where components are narrow
or far from the origin the whitened frame of `jgmm.em.steps` is worth its price.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jgmm._struct import struct
from jgmm.mixture.mixture import Mixture
from jgmm.mixture.whitened import Whitening

_HIGHEST = lax.Precision.HIGHEST
# Of log-densities whose terms add up to so much the fourth decimal is right in float32; rounding
# errors of single samples cancel in the sums over many.
_LARGEST = 1000.0


@struct
class Natural:
    """A mixture with variances, in natural parameters."""

    coefficients: Array  # [K, 2D + 1], of (1, x, x²)
    benign: Array  # [] bool, whether nothing large cancels


def natural(mixture: Mixture, form: Whitening) -> Natural:
    """The natural parameters of a mixture with variances, and whether they do no harm."""
    precisions = form.factors**2
    linear = form.means * precisions
    # Not infinite: some machines make NaN of infinity in a matrix product.
    least = float(np.finfo(linear.dtype).min) / 4
    constant = jnp.maximum(form.log_scales, least) - 0.5 * jnp.sum(linear * form.means, axis=1)
    # What samples of the mixture are like.
    squares = mixture.weights @ (form.means**2 + mixture.covariances)
    terms = jnp.sum((squares + form.means**2) * precisions, axis=1)
    return Natural(
        coefficients=jnp.concatenate([constant[:, None], linear, -0.5 * precisions], axis=1),
        benign=jnp.max(jnp.where(mixture.weights > 0, terms, 0)) < _LARGEST,
    )


def powers(samples: Array) -> Array:
    """Samples x [D, S] as (1, x, x²) [2D + 1, S]."""
    return jnp.concatenate([jnp.ones_like(samples[:1]), samples, samples**2])


def moments(form: Whitening, features: Array, r: Array) -> tuple[Array, Array, Array]:
    """As `jgmm.em.steps.moments`, from samples given as (1, x, x²)."""
    d = form.means.shape[1]
    sums = jnp.dot(r, features.T, precision=_HIGHEST)
    count, first, second = sums[:, :1], sums[:, 1 : d + 1], sums[:, d + 1 :]
    shifts = (first - count * form.means) * form.factors
    squares = (second - form.means * (2 * first - count * form.means)) * form.factors**2
    return count[:, 0], shifts.T, squares.T
