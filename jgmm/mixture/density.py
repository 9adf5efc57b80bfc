"""What a mixture says of samples: densities, responsibilities, labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm.data.compensated import Compensated
from jgmm.data.devices import mesh_of, over_rows, summed_over_rows
from jgmm.data.fold import fold_sum, map_samples
from jgmm.data.programs import are_few, on_host, program, round_up
from jgmm.data.samples import Block, Rows, Samples, pad_rows
from jgmm.mixture.components import pad
from jgmm.mixture.mixture import FitLike, Mixture, conform
from jgmm.mixture.posterior import Posterior, centered, counted, log_joint, normalise

# What is asked of a posterior and its log-joints [K, S].
_KINDS: dict[str, Callable[[Array, Posterior], Array]] = {
    "log_joint": lambda joint, posterior: joint,
    "log_prob": lambda joint, posterior: posterior.log_density,
    "responsibilities": lambda joint, posterior: posterior.numerators / posterior.totals,
    "labels": lambda joint, posterior: jnp.argmax(joint, axis=0).astype(jnp.int32),
    "certainty": lambda joint, posterior: jnp.max(posterior.numerators, axis=0) / posterior.totals,
}


@program("kinds", "incomplete", "mesh")
def _evaluate(
    mixture: Mixture,
    pixels: Array,
    kinds: tuple[str, ...],
    incomplete: bool = False,
    mesh: Mesh | None = None,
) -> tuple[Array, ...]:
    """What `_KINDS` has, of pixels [N, D]; with ``incomplete`` NaN was not observed."""

    def on_device(pixels: Array, mixture: Mixture) -> tuple[Array, ...]:
        return _local(mixture, pixels, kinds, incomplete)

    return over_rows(on_device, pixels, mesh, mixture)


def _local(
    mixture: Mixture, pixels: Array, kinds: tuple[str, ...], incomplete: bool
) -> tuple[Array, ...]:
    mixture, pixels = centered(mixture, pixels)
    kernel = mixture.kernel(gaps=incomplete)

    def block(features: Array) -> tuple[Array, ...]:
        observed = None
        if incomplete:
            observed = ~jnp.isnan(features)
            features = jnp.where(observed, features, 0)
        whole = Block(features=features, weights=jnp.ones_like(features[0]), observed=observed)
        joint = log_joint(mixture, kernel.evaluate(whole))
        posterior = normalise(joint)
        return tuple(_KINDS[kind](joint, posterior) for kind in kinds)

    return map_samples(block, pixels, mixture.block_size)


def evaluate(
    mixture: Any, pixels: ArrayLike, *kinds: str, missing: str = "error"
) -> tuple[Array, ...]:
    """Some of log_joint, log_prob, responsibilities, certainty, labels of pixels [..., D].

    They are padded so that few lengths are ever compiled for.
    """
    mixture, array = conform(mixture, pixels, missing=missing)
    flat, incomplete = array.reshape(-1, mixture.n_features), missing == "nan"
    n, k, shape = len(flat), mixture.n_components, array.shape[:-1]
    mesh = mesh_of(flat)
    if mesh is not None:
        found = _evaluate(mixture, flat, kinds=kinds, incomplete=incomplete, mesh=mesh)
        return tuple(leaf.reshape(*shape, *leaf.shape[1:]) for leaf in found)
    if not on_host((mixture, flat)):
        found = _evaluate(mixture, pad_rows(flat), kinds=kinds, incomplete=incomplete)
        return tuple(leaf[:n].reshape(*shape, *leaf.shape[1:]) for leaf in found)
    found = jax.device_get(_evaluate(*_padded(mixture, flat), kinds=kinds, incomplete=incomplete))
    # On the host, where nothing is compiled.
    cut = (leaf[:n, :k] if leaf.ndim > 1 else leaf[:n] for leaf in found)
    return tuple(jax.device_put(leaf.reshape(*shape, *leaf.shape[1:])) for leaf in cut)


def log_prob(mixture: Mixture | FitLike, pixels: ArrayLike, *, missing: str = "error") -> Array:
    """The log-density of each pixel, in nats.

    Args:
        mixture: K components in D dimensions, or the result of a fit.
        pixels: [..., D].
        missing: "nan" takes NaN features as missing and goes by the others; "error" refuses them.

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
    return evaluate(mixture, pixels, "log_prob", missing=missing)[0]


def responsibilities(
    mixture: Mixture | FitLike, pixels: ArrayLike, *, missing: str = "error"
) -> Array:
    """The posterior probability of each component for each pixel.

    This has K values per pixel; `predict` needs far less memory where labels are enough.

    Args:
        mixture: K components in D dimensions, or the result of a fit.
        pixels: [..., D].
        missing: "nan" takes NaN features as missing and goes by the others; "error" refuses them.

    Returns:
        Probabilities [..., K] that sum to 1 over the last axis.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> mixture = jgmm.Mixture(jnp.ones(2) / 2, jnp.array([[-1.0], [1.0]]), jnp.ones((2, 1)))
        >>> print(jgmm.responsibilities(mixture, jnp.zeros((1, 1))))
        [[0.5 0.5]]
    """
    return evaluate(mixture, pixels, "responsibilities", missing=missing)[0]


def predict(mixture: Mixture | FitLike, pixels: ArrayLike, *, missing: str = "error") -> Array:
    """The most probable component of each pixel.

    Args:
        mixture: K components in D dimensions, or the result of a fit.
        pixels: [..., D].
        missing: "nan" takes NaN features as missing and goes by the others; "error" refuses them.

    Returns:
        Labels [...] from 0 to K - 1, int32.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> mixture = jgmm.Mixture(jnp.ones(2) / 2, jnp.array([[-1.0], [1.0]]), jnp.ones((2, 1)))
        >>> print(jgmm.predict(mixture, jnp.array([[-3.0], [0.2]])))
        [0 1]
    """
    return evaluate(mixture, pixels, "labels", missing=missing)[0]


def certainty(mixture: Mixture | FitLike, pixels: ArrayLike, *, missing: str = "error") -> Array:
    """The posterior probability of each pixel's most probable component, [...] of [..., D].

    With ``missing="nan"`` NaN features are missing, and the others decide.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> mixture = jgmm.Mixture(jnp.ones(2) / 2, jnp.array([[-1.0], [1.0]]), jnp.ones((2, 1)))
        >>> print(jgmm.certainty(mixture, jnp.zeros((1, 1))))
        [0.5]
    """
    return evaluate(mixture, pixels, "certainty", missing=missing)[0]


def alike(mixture: Mixture, pixels: Array, weights: Array) -> tuple[Mixture, Array, Array]:
    """A mixture, pixels [..., D] and weights [N] for a program that sums over the pixels.

    Few numbers, on the host, are padded, so that few lengths are ever compiled for; pixels are
    then [N, D].
    """
    if not (are_few(pixels.size) and pixels.size and on_host((mixture, pixels, weights))):
        return mixture, pixels, weights
    return *_padded(mixture, pixels.reshape(-1, mixture.n_features)), pad_rows(weights)


def _padded(mixture: Mixture, flat: Array) -> tuple[Mixture, Array]:
    """A mixture on the host, and pixels [N, D], of one of the sizes that are compiled for."""
    return pad(jax.device_get(mixture), round_up(mixture.n_components, flat.size)), pad_rows(flat)


@program("incomplete", "mesh")
def _score(
    mixture: Mixture, pixels: Array, weights: Array, incomplete: bool, mesh: Mesh | None
) -> Array:
    mixture, flat = centered(mixture, pixels.reshape(-1, pixels.shape[-1]))
    size = mixture.block_size

    def on_device(samples: Samples, mixture: Mixture) -> Compensated[tuple[Array, Array]]:
        kernel = mixture.kernel(gaps=incomplete)

        def block(block: Block) -> tuple[Array, Array]:
            posterior = normalise(log_joint(mixture, kernel.evaluate(block)))
            return counted(posterior.log_density, block.weights), jnp.sum(block.weights)

        return fold_sum(block, samples)

    rows = Rows(features=flat, weights=weights)
    found = summed_over_rows(on_device, rows, size, mesh, mixture, incomplete=incomplete)
    (total, weight), (error, _) = found.value, found.error
    return total / weight + error / weight


def score(
    mixture: Mixture | FitLike,
    pixels: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    missing: str = "error",
) -> Array:
    """The mean log-likelihood in nats per (weighted) pixel.

    Args:
        mixture: K components in D dimensions.
        pixels: [..., D].
        weights: sample weights >= 0 of shape [...] or [N]; None means all equal.
        missing: "nan" takes NaN features as missing, as `jgmm.fit` does: the density is that of
            the others.

    Returns:
        A scalar.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> normal = jgmm.Mixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.ones((1, 1)))
        >>> print(jgmm.score(normal, jnp.zeros((4, 1))))
        -0.9189385
    """
    mixture, array = conform(mixture, pixels, missing=missing)
    sample_weights = _checks.as_weights(weights, array.shape[:-1], array.dtype)
    mesh = mesh_of(array)
    return _score(*alike(mixture, array, sample_weights), missing == "nan", mesh)
