"""SQUAREM: squared extrapolation around an EM map (Varadhan and Roland 2008).

Three successive mixtures of plain EM show the direction and the rate of its convergence; the
extrapolation goes along that direction as far as the rate suggests, in a parameterisation where
every point is a mixture. The caller keeps the result only if the likelihood does not fall.

Lengths are measured in the Fisher information of samples whose components are known. In that metric
the Jacobian of EM is self-adjoint, and it weighs a parameter by what it means to the data: a small
component's mean for little, a mean along a narrow direction for much.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jgmm.families.covariance import inverse_factor, variances
from jgmm.mixture.mixture import Mixture, log_weights

Parameters = tuple[Array, Array, Array]
_HIGHEST = jax.lax.Precision.HIGHEST


def unconstrained(mixture: Mixture) -> Parameters:
    """Log weights, means, and covariances as log-Cholesky factors or log variances."""
    logits = jnp.where(mixture.weights > 0, log_weights(mixture.weights), 0)
    if mixture.covariances.ndim == 2:
        return logits, mixture.means, jnp.log(mixture.covariances)
    lower = jnp.linalg.cholesky(mixture.covariances)
    diagonal = jnp.diagonal(lower, axis1=-2, axis2=-1)
    eye = jnp.eye(lower.shape[-1], dtype=lower.dtype)
    return logits, mixture.means, lower + (jnp.log(diagonal) - diagonal)[..., None] * eye


def constrained(parameters: Parameters, used: Array) -> Mixture:
    """The mixture with these parameters; components not ``used`` [K] get weight 0."""
    logits, means, factors = parameters
    weights = jax.nn.softmax(jnp.where(used, logits, -jnp.inf))
    if factors.ndim == 2:
        return Mixture(weights=weights, means=means, covariances=jnp.exp(factors))
    diagonal = jnp.diagonal(factors, axis1=-2, axis2=-1)
    eye = jnp.eye(factors.shape[-1], dtype=factors.dtype)
    lower = factors + (jnp.exp(diagonal) - diagonal)[..., None] * eye
    covariances = jnp.einsum("kij,klj->kil", lower, lower, precision=_HIGHEST)
    return Mixture(weights=weights, means=means, covariances=covariances)


def extrapolate(
    zeroth: Mixture, first: Mixture, second: Mixture, longest: Array
) -> tuple[Mixture, Array]:
    """The squared extrapolation of three successive mixtures.

    Args:
        zeroth: where the cycle starts.
        first: one EM step on.
        second: two EM steps on.
        longest: the largest step length allowed, >= 1.

    Returns:
        The extrapolated mixture, and the step length taken: 1 is ``second`` itself.
    """
    start, middle, end = unconstrained(zeroth), unconstrained(first), unconstrained(second)
    r = jax.tree.map(jnp.subtract, middle, start)
    v = jax.tree.map(lambda a, b, c: c - 2 * b + a, start, middle, end)
    squares = partial(information_norm, second)
    length = jnp.sqrt(squares(r) / jnp.maximum(squares(v), np.finfo(longest.dtype).tiny))
    length = jnp.clip(length, 1, longest)
    far = jax.tree.map(lambda x, r, v: x + 2 * length * r + length**2 * v, start, r, v)
    return constrained(far, second.weights > 0), length


def information_norm(mixture: Mixture, change: Parameters) -> Array:
    """The squared length of a small change of the parameters of `unconstrained`.

    Half of it is the Kullback-Leibler divergence of the changed mixture from the one given, for
    samples whose components are known.
    """
    weights = mixture.weights
    k, d = mixture.means.shape
    logits, means, factors = change
    inverse, _ = inverse_factor(mixture.covariances)
    whitened = jnp.broadcast_to(inverse, (k, *inverse.shape[1:]))
    if factors.ndim == 2:
        moved = jnp.sum((means * whitened) ** 2, axis=-1)
        # A variance that all features share counts for each.
        spread = 0.5 * jnp.sum(factors**2, axis=-1) * (d // factors.shape[-1])
    else:
        moved = jnp.sum(jnp.einsum("kij,kj->ki", whitened, means, precision=_HIGHEST) ** 2, axis=-1)
        # The diagonal of the factor changes by this ratio.
        log_diagonal = variances(factors)
        lower = jnp.tril(factors, -1) + (log_diagonal / variances(inverse))[..., None] * jnp.eye(
            d, dtype=factors.dtype
        )
        turned = jnp.einsum("kij,kjl->kil", inverse, lower, precision=_HIGHEST)
        turned = turned + turned.swapaxes(-1, -2)
        spread = 0.5 * jnp.sum(turned**2, axis=(-2, -1))
    shift = logits - weights @ logits
    return weights @ (shift**2 + moved + spread)
