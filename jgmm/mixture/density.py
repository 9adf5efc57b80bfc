"""What a mixture says of samples: densities, responsibilities, labels."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm.data.fold import fold_sum, map_samples
from jgmm.data.programs import on_host, program, round_up
from jgmm.data.samples import Block, Rows, block_size, make_samples, pad_rows
from jgmm.mixture.mixture import Mixture, conform, pad
from jgmm.mixture.posterior import Posterior, centered, counted, log_joint, normalise

# What is asked of a posterior and its log-joints [K, S].
_KINDS: dict[str, Callable[[Array, Posterior], Array]] = {
    "log_joint": lambda joint, posterior: joint,
    "log_prob": lambda joint, posterior: posterior.log_density,
    "responsibilities": lambda joint, posterior: posterior.numerators / posterior.totals,
    "labels": lambda joint, posterior: jnp.argmax(joint, axis=0).astype(jnp.int32),
    "certainty": lambda joint, posterior: jnp.max(posterior.numerators, axis=0) / posterior.totals,
}


@program("kinds")
def _evaluate(mixture: Mixture, pixels: Array, kinds: tuple[str, ...]) -> tuple[Array, ...]:
    """What `_KINDS` has, of pixels [N, D]."""
    mixture, pixels = centered(mixture, pixels)
    kernel = mixture.kernel()

    def block(features: Array) -> tuple[Array, ...]:
        whole = Block(features=features, weights=jnp.ones_like(features[0]))
        joint = log_joint(mixture, kernel.evaluate(whole))
        posterior = normalise(joint)
        return tuple(_KINDS[kind](joint, posterior) for kind in kinds)

    return map_samples(block, pixels, block_size(mixture.n_components, mixture.n_features))


def evaluate(mixture: Mixture, pixels: ArrayLike, *kinds: str) -> tuple[Array, ...]:
    """Some of log_joint, log_prob, responsibilities, certainty, labels of pixels [..., D].

    They are padded so that few lengths are ever compiled for.
    """
    mixture, array = conform(mixture, pixels)
    flat = array.reshape(-1, mixture.n_features)
    n, k, shape = len(flat), mixture.n_components, array.shape[:-1]
    if not on_host((mixture, flat)):
        found = _evaluate(mixture, pad_rows(flat), kinds=kinds)
        return tuple(leaf[:n].reshape(*shape, *leaf.shape[1:]) for leaf in found)
    padded = pad(jax.device_get(mixture), round_up(k, flat.size))
    found = jax.device_get(_evaluate(padded, pad_rows(flat), kinds=kinds))
    # On the host, where nothing is compiled.
    cut = (leaf[:n, :k] if leaf.ndim > 1 else leaf[:n] for leaf in found)
    return tuple(jax.device_put(leaf.reshape(*shape, *leaf.shape[1:])) for leaf in cut)


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
    return evaluate(mixture, pixels, "log_prob")[0]


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
    return evaluate(mixture, pixels, "responsibilities")[0]


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
    return evaluate(mixture, pixels, "labels")[0]


def certainty(mixture: Mixture, pixels: ArrayLike) -> Array:
    """The posterior probability of each pixel's most probable component, [...] of [..., D].

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> mixture = jgmm.Mixture(jnp.ones(2) / 2, jnp.array([[-1.0], [1.0]]), jnp.ones((2, 1)))
        >>> print(jgmm.certainty(mixture, jnp.zeros((1, 1))))
        [0.5]
    """
    return evaluate(mixture, pixels, "certainty")[0]


@program()
def _score(mixture: Mixture, pixels: Array, weights: Array) -> Array:
    mixture, flat = centered(mixture, pixels.reshape(-1, pixels.shape[-1]))
    kernel = mixture.kernel()
    size = block_size(mixture.n_components, mixture.n_features)

    def block(block: Block) -> tuple[Array, Array]:
        posterior = normalise(log_joint(mixture, kernel.evaluate(block)))
        return counted(posterior.log_density, block.weights), jnp.sum(block.weights)

    found = fold_sum(block, make_samples(Rows(features=flat, weights=weights), size))
    (total, weight), (error, _) = found.value, found.error
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
