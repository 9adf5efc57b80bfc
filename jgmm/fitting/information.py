"""The observed information of a mixture's parameters, and their standard errors.

The information is the negative Hessian of the log-likelihood (Louis 1982). By Fisher's identity
the gradient is that of the complete data's expected log-likelihood, so that a column of the
Hessian is the derivative of one E-step along one parameter: no array of samples times parameters.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jax.lax import linalg
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import amend, struct
from jgmm.data.products import dot
from jgmm.data.programs import program
from jgmm.data.samples import Rows, block_size, make_samples
from jgmm.em.fisher import complete
from jgmm.em.statistics import expectation
from jgmm.families.family import Family
from jgmm.mixture.mixture import FitLike, Mixture, conform, log_weights, no_growth
from jgmm.mixture.posterior import centered

_COLUMNS = 16  # of the Hessian, found in one pass over the data
Parameters = tuple[Array, Array, Array, Array | None]


@struct
class StandardErrors:
    """Standard errors of the parameters of a `Mixture`, in their units and shapes.

    Attributes:
        weights: [K].
        means: [K, D].
        covariances: of the shape of its family.
        degrees_of_freedom: [K], where a fit estimates them; None else.
    """

    weights: Array
    means: Array
    covariances: Array
    degrees_of_freedom: Array | None = None


def standard_errors(
    mixture: Mixture | FitLike, pixels: ArrayLike, weights: ArrayLike | None = None
) -> StandardErrors:
    """How far the parameters of a maximum-likelihood fit are from the truth, as it is estimated.

    From the observed information, the negative Hessian of the log-likelihood at the fit (Louis
    1982), in log weights, means, Cholesky factors and log degrees of freedom, and from there to
    the parameters by the delta method. They hold for many independent samples of the mixture and a
    fit that has converged to a maximum inside the space of parameters: not for covariances at the
    floor of ``reg_covar`` or degrees of freedom at a bound, not for the pixels of a photograph,
    which depend on their neighbours, and not with a prior, whose information is left out.

    Args:
        mixture: a converged fit of the pixels, K components in D dimensions.
        pixels: [..., D].
        weights: sample weights >= 0 of shape [...] or [N], which are taken as counts: twice the
            weight is twice the information. None means all 1.

    Returns:
        The standard errors. Those of unused components are NaN; all are where the information is
        not positive definite: the mixture is not a maximum, or its parameters cannot be told
        from the data.

    Raises:
        ValueError: shapes that do not fit, values that are not finite; several loadings.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> pixels = jnp.array([[-1.0], [1.0]] * 50)
        >>> errors = jgmm.standard_errors(jgmm.fit(pixels, 1).mixture, pixels)
        >>> print(errors.means, errors.covariances)  # σ / √N and σ² √(2 / N)
        [[0.1]] [[[0.14142136]]]
    """
    mixture, array = conform(mixture, pixels)
    if (family := mixture.family).ambiguous:
        raise ValueError(
            "standard_errors: expected covariances that the data determine, got those of "
            f"{family.name}, whose loadings are known up to rotations"
        )
    sample_weights = _checks.as_weights(weights, array.shape[:-1], array.dtype)
    return _errors(mixture, array.reshape(-1, mixture.n_features), sample_weights)


@program(once=True)
def _errors(mixture: Mixture, pixels: Array, weights: Array) -> StandardErrors:
    used = mixture.weights > 0
    mixture, pixels = centered(mixture, pixels)
    mixture_at, origin = _chart(mixture)
    flat, unravel = ravel_pytree(origin)
    size = block_size(mixture.n_components * _COLUMNS, mixture.n_features, pixels.dtype)
    samples = make_samples(Rows(features=pixels, weights=weights), size)

    def score(vector: Array) -> Array:
        """The gradient of the log-likelihood of all samples."""
        here = mixture_at(unravel(vector))
        stats, _ = expectation(here, samples)
        return jax.grad(lambda v: complete(mixture_at(unravel(v)), here, stats))(vector)

    eye = jnp.eye(len(flat), dtype=flat.dtype)
    _, push = jax.linearize(score, flat)
    information = -lax.map(push, eye, batch_size=_COLUMNS)
    information = (information + information.T) / 2
    # Neither unused components nor the sum of all log weights have any: the units of the latter
    # change no weight, those of the former are given up for.
    family = mixture.family
    of_means = jnp.broadcast_to(used[:, None], mixture.means.shape)
    of_tails = mixture.distribution.free(used)
    free, _ = ravel_pytree((used, of_means, family.free(used, mixture.n_features), of_tails))
    total = jnp.sum(weights)
    common = ravel_pytree((jnp.sqrt(mixture.weights), *jax.tree.map(jnp.zeros_like, origin[1:])))[0]
    information = information + total * common[:, None] * common[None, :]
    information = jnp.where(free[:, None] & free[None, :], information, total * eye)
    # The variances of θ are the squares of J R⁻ᵀ, with the information R Rᵀ.
    root = jnp.linalg.cholesky(information)
    half = linalg.triangular_solve(root, eye, left_side=True, lower=True)

    def parameters(vector: Array) -> Parameters:
        at = mixture_at(unravel(vector))
        estimated = None if origin[3] is None else at.degrees_of_freedom
        return at.weights, at.means, at.covariances, estimated

    jacobian = jax.jacfwd(parameters)(flat)
    errors = jax.tree.map(lambda leaf: jnp.sqrt(jnp.sum(dot(leaf, half.T) ** 2, -1)), jacobian)
    known = _of_used(family, used, errors, jnp.nan)
    return StandardErrors(
        weights=known[0], means=known[1], covariances=known[2], degrees_of_freedom=known[3]
    )


def _of_used(family: Family, used: Array, leaves: Parameters, fill: float) -> Parameters:
    """Values for weights, means and covariances; ``fill`` for those of unused components."""
    weights, means, covariances, dof = leaves
    return (
        jnp.where(used, weights, fill),
        jnp.where(used[:, None], means, fill),
        family.select(used, covariances, jnp.full_like(covariances, fill)),
        None if dof is None else jnp.where(used, dof, fill),
    )


def _chart(mixture: Mixture) -> tuple[Callable[[Parameters], Mixture], Parameters]:
    """Free parameters around a mixture, in units that make their information near N.

    Log weights, means whitened, the growth of the roots of the covariances, and that of the
    logarithms of degrees of freedom that are estimated.
    """
    family, d = mixture.family, mixture.n_features
    used = mixture.weights > 0
    unit = lax.rsqrt(jnp.where(used, mixture.weights, 1))
    logits = log_weights(mixture.weights)
    root = family.root(mixture.covariances)

    def mixture_at(parameters: Parameters) -> Mixture:
        log_ratios, shifts, growth, longer = parameters
        return amend(
            mixture,
            weights=jax.nn.softmax(jnp.where(used, logits + log_ratios * unit, -jnp.inf)),
            means=mixture.means + family.apply(root, shifts * unit[:, None]),
            covariances=family.near(mixture.covariances, growth, mixture.weights, d),
            degrees_of_freedom=mixture.distribution.near(
                mixture.degrees_of_freedom, longer, mixture.weights
            ),
        )

    growth = jnp.zeros(family.tangent_shape(*mixture.means.shape), mixture.means.dtype)
    longer = no_growth(mixture)
    origin = (jnp.zeros_like(mixture.weights), jnp.zeros_like(mixture.means), growth, longer)
    return mixture_at, origin
