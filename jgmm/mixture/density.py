"""What a mixture says of samples: densities, responsibilities, labels."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm.data.fold import block_size, fold_sum, make_blocks, map_samples, pad_rows
from jgmm.mixture.mixture import Mixture, conform
from jgmm.mixture.whitened import centered, counted, log_joint, normalise, whiten, whitening


@partial(jax.jit, static_argnames="kind")
def _evaluate(mixture: Mixture, pixels: Array, kind: str) -> Array:
    """One of log_joint, log_prob, responsibilities, certainty, labels of pixels [N, D]."""
    mixture, pixels = centered(mixture, pixels)
    form = whitening(mixture)

    def block(samples: Array) -> Array:
        joint = log_joint(form, whiten(form, samples))
        if kind == "log_joint":
            return joint
        if kind == "labels":
            return jnp.argmax(joint, axis=0).astype(jnp.int32)
        p, total, log_density = normalise(joint)
        if kind == "certainty":
            return jnp.max(p, axis=0) / total
        return log_density if kind == "log_prob" else p / total

    return map_samples(block, pixels, block_size(mixture.n_components, mixture.n_features))


def evaluate(mixture: Mixture, pixels: ArrayLike, kind: str) -> Array:
    """`_evaluate` of pixels [..., D], padded so that few lengths are ever compiled for."""
    mixture, array = conform(mixture, pixels)
    flat = array.reshape(-1, mixture.n_features)
    out = _evaluate(mixture, pad_rows(flat), kind=kind)[: len(flat)]
    return out.reshape(*array.shape[:-1], *out.shape[1:])


def log_prob(mixture: Mixture, pixels: ArrayLike) -> Array:
    """The log-density of each pixel, in nats.

    Args:
        mixture: K components in D dimensions.
        pixels: [..., D].

    Returns:
        Log-densities [...].

    Raises:
        ValueError: pixels that are not finite or not of D features.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> normal = jgmm.Mixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.ones((1, 1)))
        >>> print(jgmm.log_prob(normal, jnp.zeros((1, 1))))
        [-0.9189385]
    """
    return evaluate(mixture, pixels, "log_prob")


def responsibilities(mixture: Mixture, pixels: ArrayLike) -> Array:
    """The posterior probability of each component for each pixel.

    This has K values per pixel; `predict` needs far less memory where labels are enough.

    Args:
        mixture: K components in D dimensions.
        pixels: [..., D].

    Returns:
        Probabilities [..., K] that sum to 1 over the last axis.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> mixture = jgmm.Mixture(jnp.ones(2) / 2, jnp.array([[-1.0], [1.0]]), jnp.ones((2, 1)))
        >>> print(jgmm.responsibilities(mixture, jnp.zeros((1, 1))))
        [[0.5 0.5]]
    """
    return evaluate(mixture, pixels, "responsibilities")


def predict(mixture: Mixture, pixels: ArrayLike) -> Array:
    """The most probable component of each pixel.

    Args:
        mixture: K components in D dimensions.
        pixels: [..., D].

    Returns:
        Labels [...] from 0 to K - 1, int32.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> mixture = jgmm.Mixture(jnp.ones(2) / 2, jnp.array([[-1.0], [1.0]]), jnp.ones((2, 1)))
        >>> print(jgmm.predict(mixture, jnp.array([[-3.0], [0.2]])))
        [0 1]
    """
    return evaluate(mixture, pixels, "labels")


def certainty(mixture: Mixture, pixels: ArrayLike) -> Array:
    """The posterior probability of each pixel's most probable component, [...] of [..., D].

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> mixture = jgmm.Mixture(jnp.ones(2) / 2, jnp.array([[-1.0], [1.0]]), jnp.ones((2, 1)))
        >>> print(jgmm.certainty(mixture, jnp.zeros((1, 1))))
        [0.5]
    """
    return evaluate(mixture, pixels, "certainty")


@jax.jit
def _score(mixture: Mixture, pixels: Array, weights: Array) -> Array:
    mixture, flat = centered(mixture, pixels.reshape(-1, pixels.shape[-1]))
    form = whitening(mixture)
    size = block_size(mixture.n_components, mixture.n_features)

    def block(samples: Array, w: Array) -> tuple[Array, Array]:
        log_density = normalise(log_joint(form, whiten(form, samples)))[2]
        return jnp.sum(counted(log_density, w)), jnp.sum(w)

    (total, weight), (error, _) = fold_sum(block, make_blocks(flat, weights, size))
    return total / weight + error / weight


def score(mixture: Mixture, pixels: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """The mean log-likelihood in nats per (weighted) pixel.

    Args:
        mixture: K components in D dimensions.
        pixels: [..., D].
        weights: sample weights >= 0 of shape [...] or [N]; None means all equal.

    Returns:
        A scalar.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> normal = jgmm.Mixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.ones((1, 1)))
        >>> print(jgmm.score(normal, jnp.zeros((4, 1))))
        -0.9189385
    """
    mixture, array = conform(mixture, pixels)
    return _score(mixture, array, _checks.as_weights(weights, array.shape[:-1], array.dtype))
