"""The Gaussian mixture: its parameters and what can be computed from them."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from jgmm import _checks, covariance
from jgmm._fold import block_size, fold_sum, make_blocks, map_samples, pad_rows
from jgmm._struct import struct


@struct
class Mixture:
    """A mixture of K Gaussians in D dimensions.

    The shape of ``covariances`` says which family they are of: full [K, D, D], tied [1, D, D],
    diag [K, D] (variances) or spherical [K, 1]. A component of weight 0 is unused.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> mixture = jgmm.Mixture(
        ...     weights=jnp.array([0.25, 0.75]),
        ...     means=jnp.array([[0.0, 0.0], [4.0, 4.0]]),
        ...     covariances=jnp.ones((2, 1)),
        ... )
        >>> mixture.n_components, mixture.n_features, mixture.covariance_type
        (2, 2, 'spherical')
    """

    weights: Array  # [K], sum 1
    means: Array  # [K, D]
    covariances: Array  # [K, D, D], [1, D, D], [K, D] or [K, 1]

    @property
    def n_components(self) -> int:
        """K, unused components included."""
        return int(self.means.shape[-2])

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.means.shape[-1])

    @property
    def covariance_type(self) -> str:
        """The name of the covariance family, told from the shape."""
        return covariance.covariance_type(self.covariances, self.n_components, self.n_features)


@struct
class Whitening:
    """A mixture in the form that evaluates fastest: y = L⁻¹(x - μ), log-joint = c - |y|²/2."""

    factors: Array  # L⁻¹: [K, D, D], or 1/σ: [K, D]
    means: Array  # μ: [K, D]
    log_scales: Array  # c = log weight - log det L - D/2 log 2π: [K], -inf where unused
    matrix: Array | None  # [(D + 1)K, D + 1]: (1, x) to (1, y) of all components


# With more features than this, variances are not spelled out as matrices.
_FEW_FEATURES = 8


def whitening(mixture: Mixture) -> Whitening:
    """Factorise the covariances and gather the constants."""
    k, d = mixture.means.shape
    factors, log_diagonals = covariance.inverse_factor(mixture.covariances)
    factors = jnp.broadcast_to(factors, (k, d, d) if factors.ndim == 3 else (k, d))
    half_log_det = jnp.sum(jnp.broadcast_to(log_diagonals, (k, d)), axis=-1)
    matrix = None
    if factors.ndim == 3 or d <= _FEW_FEATURES:
        full = (
            factors if factors.ndim == 3 else factors[:, :, None] * jnp.eye(d, dtype=factors.dtype)
        )
        offsets = jnp.einsum("kij,kj->ki", full, mixture.means, precision=lax.Precision.HIGHEST)
        rows = jnp.concatenate([-offsets[:, :, None], full], axis=2)
        first = jnp.zeros((k, 1, d + 1), rows.dtype).at[:, :, 0].set(1)
        matrix = jnp.concatenate([first, rows], axis=1).swapaxes(0, 1).reshape(-1, d + 1)
    return Whitening(
        factors=factors,
        means=mixture.means,
        log_scales=log_weights(mixture.weights) - half_log_det - d / 2 * math.log(2 * math.pi),
        matrix=matrix,
    )


def log_weights(weights: Array) -> Array:
    """Logarithms of the weights, -inf for 0, with a derivative that is never NaN."""
    used = weights > 0
    return jnp.where(used, jnp.log(jnp.where(used, weights, 1)), -jnp.inf)


def whiten(form: Whitening, samples: Array) -> Array:
    """Samples [D, S] as (1, y) [D + 1, K, S], in the frame of each component."""
    k, d = form.means.shape
    if form.matrix is not None:
        y = jnp.dot(form.matrix, with_one(samples), precision=lax.Precision.HIGHEST)
        return y.reshape(d + 1, k, -1)
    y = (samples[:, None, :] - form.means.T[:, :, None]) * form.factors.T[:, :, None]
    return jnp.concatenate([jnp.ones_like(y[:1]), y])


def with_one(samples: Array) -> Array:
    """Samples x [D, S] as (1, x) [D + 1, S]."""
    return jnp.concatenate([jnp.ones_like(samples[:1]), samples])


def log_joint(form: Whitening, y: Array) -> Array:
    """Logarithms of weight times density [K, S] of samples given as (1, y) [D + 1, K, S]."""
    # Spelled out, because XLA's sum over a leading axis takes half as long again.
    squares = [row * row for row in y[1:]] if len(y) <= 65 else [jnp.sum(y[1:] ** 2, axis=0)]
    return form.log_scales[:, None] - 0.5 * sum(squares[1:], start=squares[0])


def normalise(joint: Array) -> tuple[Array, Array, Array]:
    """Numerators p [K, S], their sums [S] and log densities [S] from log-joints [K, S].

    The responsibilities are p over its sum.
    """
    top = lax.stop_gradient(jnp.max(joint, axis=0))
    top = jnp.where(jnp.isfinite(top), top, 0)
    p = jnp.exp(joint - top)
    # A product with ones is the fastest sum over components that XLA makes on a CPU.
    total = jnp.dot(jnp.ones((1, len(p)), p.dtype), p, precision=lax.Precision.HIGHEST)[0]
    return p, total, top + jnp.log(total)


def counted(log_density: Array, weights: Array) -> Array:
    """Log densities times sample weights [S].

    A sample of weight 0 counts for nothing, not even where its density underflows; but the
    derivative by its weight is its log density.
    """
    counts = (weights > 0) | jnp.isfinite(log_density)
    return weights * jnp.where(counts, log_density, 0)


def centered(mixture: Mixture, pixels: Array) -> tuple[Mixture, Array]:
    """Mixture and pixels, both shifted so that the mixture's mean is near the origin.

    Subtracting first is exact or nearly so; multiplying a large offset by L⁻¹ first is not.
    """
    center = lax.stop_gradient(mixture.weights @ mixture.means)
    moved = Mixture(
        weights=mixture.weights, means=mixture.means - center, covariances=mixture.covariances
    )
    return moved, pixels - center


def conform(mixture: Mixture, pixels: ArrayLike) -> tuple[Mixture, Array]:
    """Mixture and checked pixels [..., D] in one floating dtype."""
    if mixture.means.ndim != 2:
        raise ValueError(f"mixture: expected means [K, D], got shape {mixture.means.shape}")
    if mixture.weights.shape != (mixture.n_components,):
        raise ValueError(
            f"mixture: expected weights ({mixture.n_components},), got {mixture.weights.shape}"
        )
    _ = mixture.covariance_type  # raises where the shape fits no family
    array = _checks.as_pixels(pixels, mixture.n_features)
    dtype = jax.dtypes.canonicalize_dtype(np.promote_types(array.dtype, mixture.means.dtype))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), mixture), array.astype(dtype)


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


def sample(mixture: Mixture, n: int, *, key: Array | None = None) -> tuple[Array, Array]:
    """Draw from the mixture.

    Args:
        mixture: K components in D dimensions.
        n: how many samples to draw.
        key: a JAX PRNG key; None means ``jax.random.key(0)``.

    Returns:
        Samples [n, D], and the component [n] that each was drawn from.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> mixture = jgmm.Mixture(jnp.ones(2) / 2, jnp.array([[-9.0], [9.0]]), jnp.ones((2, 1)))
        >>> pixels, labels = jgmm.sample(mixture, 100)
        >>> print(pixels.shape, bool(((pixels[:, 0] > 0) == labels).all()))
        (100, 1) True
    """
    n = _checks.as_count("n", n)
    component_key, normal_key = jax.random.split(jax.random.key(0) if key is None else key)
    labels = jax.random.categorical(component_key, log_weights(mixture.weights), shape=(n,))
    k, d = mixture.means.shape
    normal = jax.random.normal(normal_key, (n, d), mixture.means.dtype)
    if mixture.covariances.ndim == 3:
        lower = jnp.broadcast_to(jnp.linalg.cholesky(mixture.covariances), (k, d, d))
        shift = jnp.einsum("nij,nj->ni", lower[labels], normal, precision=lax.Precision.HIGHEST)
    else:
        shift = jnp.sqrt(mixture.covariances)[labels] * normal
    return mixture.means[labels] + shift, labels.astype(jnp.int32)
