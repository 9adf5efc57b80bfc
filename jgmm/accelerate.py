"""SQUAREM: squared extrapolation around an EM map (Varadhan and Roland 2008).

Three successive mixtures of plain EM show the direction and the rate of its convergence; the
extrapolation goes along that direction as far as the rate suggests, in a parameterisation where
every point is a mixture. The caller keeps the result only if the likelihood does not fall.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jgmm.mixture import Mixture, log_weights

Parameters = tuple[Array, Array, Array]


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
    covariances = jnp.einsum("kij,klj->kil", lower, lower, precision=jax.lax.Precision.HIGHEST)
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
    length = jnp.sqrt(_squares(r) / jnp.maximum(_squares(v), np.finfo(longest.dtype).tiny))
    length = jnp.clip(length, 1, longest)
    far = jax.tree.map(lambda x, r, v: x + 2 * length * r + length**2 * v, start, r, v)
    return constrained(far, second.weights > 0), length


def _squares(tree: Parameters) -> Array:
    return sum((jnp.sum(leaf**2) for leaf in tree), start=jnp.zeros((), tree[0].dtype))
