"""The observed information of a mixture's parameters, and their standard errors.

The information is the negative Hessian of the log-likelihood (Louis 1982). By Fisher's identity
the gradient is that of the complete data's expected log-likelihood, so that a column of the
Hessian is the derivative of one E-step along one parameter: no array of samples times parameters.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import struct
from jgmm.data.fold import block_size, make_blocks
from jgmm.em.objective import complete
from jgmm.em.steps import expectation
from jgmm.mixture.mixture import Mixture, conform, log_weights
from jgmm.mixture.whitened import centered

_HIGHEST = lax.Precision.HIGHEST
_COLUMNS = 16  # of the Hessian, found in one pass over the data
Parameters = tuple[Array, Array, Array]


@struct
class StandardErrors:
    """Standard errors of the parameters of a `Mixture`, in their units and shapes."""

    weights: Array  # [K]
    means: Array  # [K, D]
    covariances: Array  # of its family's shape


def standard_errors(
    mixture: Mixture, pixels: ArrayLike, weights: ArrayLike | None = None
) -> StandardErrors:
    """How far the parameters of a maximum-likelihood fit are from the truth, as it is estimated.

    From the observed information, the negative Hessian of the log-likelihood at the fit (Louis
    1982), in log weights, means and log-Cholesky factors, and from there to the parameters by the
    delta method. They hold for many independent samples of the mixture and a fit that has
    converged to a maximum inside the space of parameters: not for covariances at the floor of
    ``reg_covar``, not for the pixels of a photograph, which depend on their neighbours, and not
    with a prior, whose information is left out.

    Args:
        mixture: a converged fit of the pixels, K components in D dimensions.
        pixels: [..., D].
        weights: sample weights >= 0 of shape [...] or [N], which are taken as counts: twice the
            weight is twice the information. None means all 1.

    Returns:
        The standard errors. Those of unused components are NaN; all are where the information is
        not positive definite: the mixture is not a maximum, or its parameters cannot be told
        from the data.

    Raises:
        ValueError: shapes that do not fit, values that are not finite.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> pixels = jnp.array([[-1.0], [1.0]] * 50)
        >>> errors = jgmm.standard_errors(jgmm.fit(pixels, 1).mixture, pixels)
        >>> print(errors.means, errors.covariances)  # σ / √N and σ² √(2 / N)
        [[0.1]] [[[0.14142136]]]
    """
    mixture, array = conform(mixture, pixels)
    sample_weights = _checks.as_weights(weights, array.shape[:-1], array.dtype)
    return _errors(mixture, array.reshape(-1, mixture.n_features), sample_weights)


@jax.jit
def _errors(mixture: Mixture, pixels: Array, weights: Array) -> StandardErrors:
    k, d = mixture.means.shape
    used = mixture.weights > 0
    mixture, pixels = centered(mixture, pixels)
    mixture_at, origin = _chart(mixture)
    flat, unravel = ravel_pytree(origin)
    size = block_size(k * _COLUMNS, d)
    blocks = make_blocks(pixels, weights, size)

    def score(vector: Array) -> Array:
        """The gradient of the log-likelihood of all samples."""
        here = mixture_at(unravel(vector))
        stats, _ = expectation(here, blocks)
        return jax.grad(lambda v: complete(mixture_at(unravel(v)), here, stats))(vector)

    eye = jnp.eye(len(flat), dtype=flat.dtype)
    _, push = jax.linearize(score, flat)
    information = -lax.map(push, eye, batch_size=_COLUMNS)
    information = (information + information.T) / 2
    # Neither unused components nor the sum of all log weights have any: the units of the latter
    # change no weight, those of the former are given up for.
    free = ravel_pytree(jax.tree.map(lambda leaf: _spread(used, leaf), origin))[0] > 0
    total = jnp.sum(weights)
    common = ravel_pytree((jnp.sqrt(mixture.weights), *jax.tree.map(jnp.zeros_like, origin[1:])))[0]
    information = information + total * common[:, None] * common[None, :]
    information = jnp.where(free[:, None] & free[None, :], information, total * eye)
    # The variances of θ are the squares of J R⁻ᵀ, with the information R Rᵀ.
    root = jnp.linalg.cholesky(information)
    half = jax.scipy.linalg.solve_triangular(root, eye, lower=True)

    def parameters(vector: Array) -> StandardErrors:
        at = mixture_at(unravel(vector))
        return StandardErrors(weights=at.weights, means=at.means, covariances=at.covariances)

    jacobian = jax.jacfwd(parameters)(flat)
    squares = jax.tree.map(
        lambda leaf: jnp.sum(jnp.dot(leaf, half.T, precision=_HIGHEST) ** 2, axis=-1), jacobian
    )
    return jax.tree.map(
        lambda leaf: jnp.where(_spread(used, leaf) > 0, jnp.sqrt(leaf), jnp.nan), squares
    )


def _spread(used: Array, leaf: Array) -> Array:
    """1 where an entry belongs to a component that is used, or to all."""
    if len(leaf) != len(used):
        return jnp.ones_like(leaf)
    mask = used.reshape(-1, *(1,) * (leaf.ndim - 1))
    return jnp.where(mask, jnp.ones_like(leaf), 0)


def _chart(mixture: Mixture) -> tuple[Callable[[Parameters], Mixture], Parameters]:
    """Free parameters around a mixture, in units that make their information near N.

    Log weights, means whitened, and log-Cholesky factors [., D(D + 1)/2] or log variances.
    """
    k, d = mixture.means.shape
    c = mixture.covariances
    used = mixture.weights > 0
    share = jnp.where(used, mixture.weights, 1)
    logits = log_weights(mixture.weights)
    roots = jnp.linalg.cholesky(c) if c.ndim == 3 else jnp.sqrt(c)
    wide = jnp.broadcast_to(roots, (k, d, d) if c.ndim == 3 else (k, d))
    mass = share if len(c) == k else jnp.ones(1, c.dtype)
    rows, columns = np.tril_indices(d)
    units = np.where(rows == columns, 0.5**0.5, 1.0)

    def mixture_at(parameters: Parameters) -> Mixture:
        log_ratios, shifts, growth = parameters
        shifts = shifts * lax.rsqrt(share)[:, None]
        growth = growth * lax.rsqrt(mass)[:, None]
        if c.ndim == 3:
            means = jnp.einsum("kij,kj->ki", wide, shifts, precision=_HIGHEST)
            entries = growth * jnp.asarray(units, growth.dtype)
            entries = jnp.where(rows == columns, jnp.exp(entries), entries)
            inner = jnp.zeros((len(c), d, d), c.dtype).at[:, rows, columns].set(entries)
            lower = jnp.einsum("kij,kjl->kil", roots, inner, precision=_HIGHEST)
            covariances = jnp.einsum("kij,klj->kil", lower, lower, precision=_HIGHEST)
        else:
            means = wide * shifts
            covariances = c * jnp.exp(growth * (2 * c.shape[1] / d) ** 0.5)
        return Mixture(
            weights=jax.nn.softmax(
                jnp.where(used, logits + log_ratios * lax.rsqrt(share), -jnp.inf)
            ),
            means=mixture.means + means,
            covariances=covariances,
        )

    growth = jnp.zeros((len(c), len(rows)) if c.ndim == 3 else c.shape, c.dtype)
    return mixture_at, (jnp.zeros(k, c.dtype), jnp.zeros((k, d), c.dtype), growth)
