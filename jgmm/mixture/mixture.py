"""The Gaussian mixture: its parameters, and samples drawn from it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import struct
from jgmm.families import covariance


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


def log_weights(weights: Array) -> Array:
    """Logarithms of the weights, -inf for 0, with a derivative that is never NaN."""
    used = weights > 0
    return jnp.where(used, jnp.log(jnp.where(used, weights, 1)), -jnp.inf)


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
