"""The mixture: its parameters, and samples drawn from it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import struct
from jgmm.data.frame import Frame
from jgmm.families.distribution import GAUSSIAN, Distribution
from jgmm.families.family import Family
from jgmm.families.kernels import Kernel
from jgmm.families.table import family_of, inferred


@struct
class Mixture:
    """A mixture of K Gaussians in D dimensions.

    The covariances are of one family: full [K, D, D], tied [1, D, D], diag [K, D] (variances) or
    spherical [K, 1]. It is told from their shape; where that fits several (one component, one
    feature), ``family`` can be named. A component of weight 0 is unused.

    The family is a part of the structure of the pytree. In `jax.vmap` say which leaves are mapped
    by ``dataclasses.replace(mixture, weights=None, means=0, covariances=None)``.

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
    family: Family = None  # type: ignore[assignment]  # static; a name, or inferred if left out
    distribution: Distribution = GAUSSIAN  # static

    def __post_init__(self) -> None:
        """Find the family, where it was left out and there are shapes to tell it from."""
        family: Any = self.family
        if family is None and all(map(_has_shape, (self.means, self.covariances))):
            family = inferred(self.covariances.shape, self.n_components, self.n_features)
        elif isinstance(family, str):
            family = family_of(family, "family")
        object.__setattr__(self, "family", family)

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
        """The name of the covariance family."""
        return self.family.name

    def kernel(self, *, gaps: bool = False) -> Kernel:
        """What a pass over samples needs, with or without features missing."""
        if gaps:
            return self.family.gap_kernel(self.means, self.covariances)
        return self.family.kernel(self.weights, self.means, self.covariances)


def _has_shape(leaf: Any) -> bool:
    return len(getattr(leaf, "shape", ())) >= 2


def log_weights(weights: Array) -> Array:
    """Logarithms of the weights, -inf for 0, with a derivative that is never NaN."""
    used = weights > 0
    return jnp.where(used, jnp.log(jnp.where(used, weights, 1)), -jnp.inf)


def conform(mixture: Mixture, pixels: ArrayLike) -> tuple[Mixture, Array]:
    """Mixture and checked pixels [..., D] in one floating dtype."""
    mixture = checked(mixture)
    array = _checks.as_pixels(pixels, mixture.n_features)
    dtype = jax.dtypes.canonicalize_dtype(np.promote_types(array.dtype, mixture.means.dtype))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), mixture), array.astype(dtype)


def checked(mixture: Mixture) -> Mixture:
    """The mixture, if the shapes of its parameters fit each other; a ValueError if not."""
    if mixture.means.ndim != 2:
        raise ValueError(f"mixture: expected means [K, D], got shape {mixture.means.shape}")
    k, d = mixture.n_components, mixture.n_features
    if mixture.weights.shape != (k,):
        raise ValueError(f"mixture: expected weights ({k},), got {mixture.weights.shape}")
    expected = mixture.family.shape(k, d)
    if mixture.covariances.shape != expected:
        raise ValueError(
            f"mixture: expected {mixture.family.name} covariances {expected}, "
            f"got {mixture.covariances.shape}"
        )
    return mixture


def gaussian(mixture: Mixture, what: str) -> Mixture:
    """The mixture, if its components are Gaussians, as ``what`` needs; a ValueError if not."""
    if mixture.distribution != GAUSSIAN:
        raise ValueError(f"{what}: expected Gaussian components, got {mixture.distribution}")
    return mixture


def standardize(mixture: Mixture, frame: Frame) -> Mixture:
    """A mixture of the data, as a mixture of the samples in the frame."""
    return dataclasses.replace(
        mixture,
        means=(mixture.means - frame.center) / frame.scale,
        covariances=mixture.family.rescale(mixture.covariances, 1 / frame.scale),
    )


def unstandardize(mixture: Mixture, frame: Frame) -> Mixture:
    """A mixture of the samples in the frame, as a mixture of the data."""
    return dataclasses.replace(
        mixture,
        means=mixture.means * frame.scale + frame.center,
        covariances=mixture.family.rescale(mixture.covariances, frame.scale),
    )


def take(mixture: Mixture, index: Any) -> Mixture:
    """Some of the components, in the order of ``index``: indices or a slice.

    Nothing is compiled for parameters that are NumPy arrays.
    """
    return dataclasses.replace(
        mixture,
        weights=mixture.weights[index],
        means=mixture.means[index],
        covariances=mixture.family.take(mixture.covariances, index),
    )


def pad(mixture: Mixture, k: int) -> Mixture:
    """``k`` components, those behind of weight 0; on the host for NumPy arrays."""
    more = k - mixture.n_components
    xp: Any = np if isinstance(mixture.means, np.ndarray) else jnp
    return dataclasses.replace(
        mixture,
        weights=xp.concatenate([mixture.weights, xp.zeros(more, mixture.weights.dtype)]),
        means=xp.concatenate([mixture.means, xp.repeat(mixture.means[:1], more, axis=0)]),
        covariances=mixture.family.pad(mixture.covariances, k),
    )


def few_sizes(mixture: Mixture) -> Mixture:
    """The mixture with components of weight 0 up to one of few numbers.

    Mixtures of different k then share one compiled program.
    """
    k = mixture.n_components
    size = -(-k // 4) * 4 if k <= 16 else 1 << (k - 1).bit_length()
    padded = pad(jax.device_get(mixture), size)
    return jax.tree.map(jnp.asarray, padded)


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
    mixture = gaussian(mixture, "sample")
    component_key, normal_key = jax.random.split(jax.random.key(0) if key is None else key)
    labels = jax.random.categorical(component_key, log_weights(mixture.weights), shape=(n,))
    k, d = mixture.means.shape
    normal = jax.random.normal(normal_key, (n, d), mixture.means.dtype)
    family = mixture.family
    roots = family.per_component(family.root(mixture.covariances), k)
    return mixture.means[labels] + family.apply(roots[labels], normal), labels.astype(jnp.int32)
