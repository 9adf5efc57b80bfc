"""The predictive density: what a posterior says of a sample to come."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import amend
from jgmm.data.fold import map_samples
from jgmm.data.origin import less, near_origin
from jgmm.data.products import along
from jgmm.data.programs import program
from jgmm.data.samples import Block, block_size, pad_rows
from jgmm.families.gamma import log_gamma_rise
from jgmm.mixture.mixture import Mixture, log_weights
from jgmm.mixture.posterior import centered, normalise
from jgmm.variational.posterior import VariationalPosterior
from jgmm.variational.result import VariationalResult
from jgmm.variational.wishart import wishart_of


def predictive_log_prob(result: VariationalResult, pixels: ArrayLike) -> Array:
    """The log-density of further pixels, with the uncertainty of the parameters, in nats.

    Parameters are integrated out under the posterior, which makes a mixture of Student's t
    (Bishop 2006, equation 10.81). Of diag components it is a product of one t for each feature; of
    spherical ones a t of D times the degrees of freedom. The weights are the mean weights of the
    K components, those switched off included.

    Args:
        result: of `fit_variational`.
        pixels: [..., D].

    Returns:
        Log-densities [...].

    Raises:
        TypeError: what is no result of `fit_variational`.
        ValueError: pixels that are not finite or not of D features.

    Example:
        >>> import numpy as np, jgmm
        >>> pixels = np.linspace(0, 1, 8, dtype=np.float32)[:, None]
        >>> result = jgmm.fit_variational(pixels, 1)
        >>> tail = np.array([[4.0]], np.float32)
        >>> log_prob = jgmm.predictive_log_prob(result, tail)
        >>> bool(log_prob[0] > jgmm.log_prob(result, tail)[0])  # it has heavier tails
        True
    """
    if not isinstance(result, VariationalResult):
        raise TypeError(
            "result: expected a VariationalResult, whose parameters are uncertain, got "
            f"{type(result).__name__}; jgmm.log_prob takes a mixture"
        )
    posterior = result.posterior
    array, origin = near_origin(pixels, posterior.n_features)
    wide = jax.dtypes.canonicalize_dtype(np.promote_types(array.dtype, posterior.means.dtype))
    moved = amend(posterior, means=less(posterior.means, origin))
    moved = jax.tree.map(lambda leaf: _checks.as_array(leaf, wide), moved)
    flat = pad_rows(_checks.as_array(array.reshape(-1, posterior.n_features), wide))
    found = _predictive(moved, flat)
    return found[: array.size // posterior.n_features].reshape(array.shape[:-1])


def student_t(posterior: VariationalPosterior) -> tuple[Mixture, Array]:
    """Scales of the t of each component, as covariances of a mixture, and its degrees of freedom.

    These are of each Wishart that makes up its precision, [K].
    """
    family, (k, d) = posterior.family, posterior.means.shape
    wishart, betas = wishart_of(family, d), posterior.mean_precisions
    masses = jnp.broadcast_to(wishart.entries * posterior.degrees_of_freedom, (k,))
    dofs = masses + 1 - wishart.order
    wide = family.widened(posterior.covariances, k, d)
    scales = along(masses / dofs * (1 + 1 / betas), wide) * wide
    mixture = posterior.mixture(jnp.ones(k, bool))
    return amend(mixture, covariances=scales, family=family.wide), dofs


@program(once=True)
def _predictive(posterior: VariationalPosterior, pixels: Array) -> Array:
    """Of pixels [N, D]."""
    wishart = wishart_of(posterior.family, posterior.n_features)
    mixture, dofs = student_t(posterior)
    mixture, pixels = centered(mixture, pixels)
    kernel, q = mixture.kernel(), wishart.features
    ratios = log_gamma_rise(dofs / 2, q / 2) - q / 2 * math.log(2 * math.pi)
    scales = (log_weights(mixture.weights) + wishart.blocks * ratios)[:, None]

    def block(features: Array) -> Array:
        one = Block(features=features, weights=jnp.ones_like(features[0]))
        whitened = kernel.evaluate(one)
        assert whitened.y is not None
        squares = jnp.sum((whitened.y**2).reshape(wishart.blocks, q, len(dofs), -1), axis=1)
        logs = jnp.sum(jnp.log1p(squares / dofs[:, None]), axis=0)
        joint = scales - whitened.half_log_det - (dofs[:, None] + q) / 2 * logs
        return normalise(joint).log_density

    size = block_size(mixture.n_components, mixture.n_features, pixels.dtype)
    return map_samples(block, pixels, size)
