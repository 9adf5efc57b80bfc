"""Information criteria: how many components do the data call for? The least is the best."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm.data.fold import Blocks, block_size, fold_sum, make_blocks
from jgmm.families.covariance import FAMILIES
from jgmm.mixture.mixture import Mixture, conform
from jgmm.mixture.whitened import centered, log_joint, normalise, whiten, whitening


def n_parameters(mixture: Mixture) -> Array:
    """Free parameters of the components in use."""
    d = mixture.n_features
    family = FAMILIES[mixture.covariance_type]
    counts = [family.n_parameters(k, d) + k * d + k - 1 for k in range(mixture.n_components + 1)]
    return jnp.asarray(counts, mixture.means.dtype)[jnp.sum(mixture.weights > 0)]


def entropy_and_likelihood(mixture: Mixture, blocks: Blocks) -> tuple[Array, Array, Array]:
    """Sums over the samples: the entropy of the responsibilities, log-likelihood and weight."""
    form = whitening(mixture)

    def block(samples: Array, weights: Array) -> tuple[Array, Array, Array]:
        joint = log_joint(form, whiten(form, samples))
        p, total, log_density = normalise(joint)
        r = p / total
        # -Σ r log r, from log r = joint - log_density; a component with r = 0 adds nothing.
        log_r = jnp.where(r > 0, joint - log_density, 0)
        entropy = -jnp.sum(r * log_r, axis=0)
        return (
            jnp.sum(weights * entropy),
            jnp.sum(jnp.where(weights > 0, weights * log_density, 0)),
            jnp.sum(weights),
        )

    total, error = fold_sum(block, blocks)
    return jax.tree.map(jnp.add, total, error)


def bic_of(log_likelihood: Array, parameters: Array, n: Array) -> Array:
    """BIC of a total log-likelihood of ``n`` samples."""
    return -2 * log_likelihood + parameters * jnp.log(n)


def aic_of(log_likelihood: Array, parameters: Array, n: Array) -> Array:
    """AIC of a total log-likelihood."""
    return -2 * log_likelihood + 2 * parameters


@partial(jax.jit, static_argnames="kind")
def _criterion(mixture: Mixture, pixels: Array, weights: Array, kind: str) -> Array:
    moved, flat = centered(mixture, pixels.reshape(-1, pixels.shape[-1]))
    size = block_size(mixture.n_components, mixture.n_features)
    entropy, log_likelihood, n = entropy_and_likelihood(moved, make_blocks(flat, weights, size))
    parameters = n_parameters(mixture)
    if kind == "aic":
        return aic_of(log_likelihood, parameters, n)
    value = bic_of(log_likelihood, parameters, n)
    return value + 2 * entropy if kind == "icl" else value


def bic(mixture: Mixture, pixels: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """The Bayesian information criterion (Schwarz 1978); the least is the best.

    Args:
        mixture: K components in D dimensions, fitted to the pixels.
        pixels: [..., D].
        weights: sample weights >= 0 of shape [...] or [N], counted as repetitions.

    Returns:
        A scalar, in nats times two.

    Example:
        >>> import jax, jgmm
        >>> pixels = jax.random.normal(jax.random.key(0), (500, 1))
        >>> one, two = (jgmm.fit(pixels, k).mixture for k in (1, 2))
        >>> print(jgmm.bic(one, pixels) < jgmm.bic(two, pixels))
        True
    """
    return _evaluate(mixture, pixels, weights, "bic")


def aic(mixture: Mixture, pixels: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Akaike's information criterion (Akaike 1974); the least is the best.

    Args:
        mixture: K components in D dimensions, fitted to the pixels.
        pixels: [..., D].
        weights: sample weights >= 0 of shape [...] or [N], counted as repetitions.

    Returns:
        A scalar, in nats times two.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> normal = jgmm.Mixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.ones((1, 1)))
        >>> print(round(float(jgmm.aic(normal, jnp.zeros((1, 1)))), 3))
        5.838
    """
    return _evaluate(mixture, pixels, weights, "aic")


def icl(mixture: Mixture, pixels: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """The integrated completed likelihood (Biernacki, Celeux and Govaert 2000); least is best.

    BIC plus twice the entropy of the responsibilities, which favours components that do not
    overlap.

    Args:
        mixture: K components in D dimensions, fitted to the pixels.
        pixels: [..., D].
        weights: sample weights >= 0 of shape [...] or [N], counted as repetitions.

    Returns:
        A scalar, in nats times two.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> same = jgmm.Mixture(jnp.ones(2) / 2, jnp.zeros((2, 1)), jnp.ones((2, 1)))
        >>> pixels = jnp.zeros((1, 1))
        >>> print(round(float(jgmm.icl(same, pixels) - jgmm.bic(same, pixels)), 3))
        1.386
    """
    return _evaluate(mixture, pixels, weights, "icl")


def _evaluate(mixture: Mixture, pixels: ArrayLike, weights: ArrayLike | None, kind: str) -> Array:
    mixture, array = conform(mixture, pixels)
    sample_weights = _checks.as_weights(weights, array.shape[:-1], array.dtype)
    return _criterion(mixture, array, sample_weights, kind=kind)
