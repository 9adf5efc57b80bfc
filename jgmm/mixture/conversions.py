"""Mixtures as `MixtureSameFamily` distributions of NumPyro and TensorFlow Probability, and back.

Neither library is needed for anything else; each loads when used. Conversions to and from
scikit-learn's estimators are in `jgmm.sklearn`: `to_mixture` and `from_mixture`.

Full and tied mixtures become multivariate normals, as do those of factors, which come back as full;
diag and spherical ones become independent normals.
The one matrix of a tied mixture and the one variance of each component of a spherical one are
passed on as such, so that a mixture comes back as the family that it was. All of it works under
`jax.jit`.

TensorFlow Probability is used on JAX (``tensorflow_probability.substrates.jax``). Its release 0.25
does not work with JAX 0.10; tfp-nightly does.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from jgmm import _checks
from jgmm.data.products import einsum
from jgmm.mixture.mixture import FitLike, Mixture, gaussian


def to_numpyro(mixture: Mixture | FitLike) -> Any:
    """The mixture as a ``numpyro.distributions.MixtureSameFamily``.

    Args:
        mixture: K components in D dimensions.

    Returns:
        A distribution with event shape [D].

    Raises:
        ImportError: NumPyro is not installed.

    Example:
        >>> import pytest, jax.numpy as jnp, jgmm
        >>> _ = pytest.importorskip("numpyro")
        >>> from jgmm.mixture.conversions import to_numpyro
        >>> mixture = jgmm.Mixture(jnp.ones(2) / 2, jnp.array([[0.0], [4.0]]), jnp.ones((2, 1)))
        >>> to_numpyro(mixture).event_shape
        (1,)
    """
    dist = _numpyro()
    mixture = gaussian(mixture, "conversion")
    root = mixture.family.lower(mixture.covariances)
    if not mixture.family.independent:
        parts = dist.MultivariateNormal(mixture.means, scale_tril=root)
    else:
        parts = dist.Normal(mixture.means, root).to_event(1)
    return dist.MixtureSameFamily(dist.Categorical(probs=mixture.weights), parts)


def from_numpyro(distribution: Any) -> Mixture:
    """The mixture of a ``MixtureSameFamily`` of NumPyro.

    Args:
        distribution: of K components with one batch axis, ``MultivariateNormal``, or ``Normal``
            made independent by ``to_event(1)``.

    Returns:
        The mixture; tied where the components have one ``scale_tril``, spherical where each has
        one ``scale``.

    Raises:
        ImportError: NumPyro is not installed.
        TypeError: another distribution, or components that are not normal.
        ValueError: a batch of mixtures.

    Example:
        >>> import pytest, jax.numpy as jnp, jgmm
        >>> dist = pytest.importorskip("numpyro.distributions")
        >>> from jgmm.mixture.conversions import from_numpyro
        >>> parts = dist.Normal(jnp.zeros((2, 3)), jnp.ones((2, 3))).to_event(1)
        >>> weights = dist.Categorical(probs=jnp.ones(2) / 2)
        >>> from_numpyro(dist.MixtureSameFamily(weights, parts)).covariance_type
        'diag'
    """
    dist = _numpyro()
    if not isinstance(distribution, dist.MixtureSameFamily):
        raise _unexpected("numpyro.distributions.MixtureSameFamily", distribution)
    parts = distribution.component_distribution
    weights = distribution.mixing_distribution.probs
    if isinstance(parts, dist.MultivariateNormal):
        return _of_matrices(weights, parts.loc, parts.scale_tril)
    base = parts.base_dist if isinstance(parts, dist.Independent) else None
    if not isinstance(base, dist.Normal) or parts.reinterpreted_batch_ndims != 1:
        raise _unexpected("components MultivariateNormal or Normal(…).to_event(1)", parts)
    return _of_deviations(weights, base.loc, base.scale)


def to_tfp(mixture: Mixture | FitLike) -> Any:
    """The mixture as a ``MixtureSameFamily`` of TensorFlow Probability on JAX.

    Args:
        mixture: K components in D dimensions.

    Returns:
        A distribution with event shape [D].

    Raises:
        ImportError: TensorFlow Probability is not installed, or does not work with this JAX.

    Example:
        ``to_tfp(mixture).log_prob(pixels)`` equals ``jgmm.log_prob(mixture, pixels)``.
    """
    tfd = _tfp()
    mixture = gaussian(mixture, "conversion")
    root = mixture.family.lower(mixture.covariances)
    if not mixture.family.independent:
        parts = tfd.MultivariateNormalTriL(mixture.means, scale_tril=root)
    else:
        parts = tfd.Independent(tfd.Normal(mixture.means, root), 1)
    return tfd.MixtureSameFamily(tfd.Categorical(probs=mixture.weights), parts)


def from_tfp(distribution: Any) -> Mixture:
    """The mixture of a ``MixtureSameFamily`` of TensorFlow Probability on JAX.

    Args:
        distribution: of K components with one batch axis, ``MultivariateNormalTriL``,
            ``MultivariateNormalDiag``, ``MultivariateNormalFullCovariance``, or ``Normal`` made
            ``Independent`` over its last axis.

    Returns:
        The mixture; tied where the components have one ``scale_tril``, spherical where each has
        one ``scale``.

    Raises:
        ImportError: TensorFlow Probability is not installed, or does not work with this JAX.
        TypeError: another distribution, or components that are not normal.
        ValueError: a batch of mixtures.

    Example:
        ``from_tfp(to_tfp(mixture))`` is the mixture again.
    """
    tfd = _tfp()
    if not isinstance(distribution, tfd.MixtureSameFamily):
        raise _unexpected("tfp.distributions.MixtureSameFamily", distribution)
    parts = distribution.components_distribution
    weights = distribution.mixture_distribution.probs_parameter()
    if isinstance(parts, tfd.MultivariateNormalDiag):
        return _of_deviations(weights, parts.mean(), parts.stddev())
    if isinstance(parts, tfd.MultivariateNormalTriL | tfd.MultivariateNormalFullCovariance):
        return _of_matrices(weights, parts.mean(), parts.scale.to_dense())
    base = parts.distribution if isinstance(parts, tfd.Independent) else None
    if not isinstance(base, tfd.Normal) or parts.event_shape.rank != 1:
        raise _unexpected("components MultivariateNormal… or Independent(Normal(…), 1)", parts)
    return _of_deviations(weights, base.loc, base.scale)


def _of_matrices(weights: Array, means: Array, factors: Array) -> Mixture:
    k, d = _sizes(weights, means)
    factors = _checks.as_array(factors).reshape(-1, d, d)
    covariances = einsum("kij,klj->kil", factors, factors)
    means = jnp.broadcast_to(_checks.as_array(means), (k, d))
    return Mixture(weights=_checks.as_array(weights), means=means, covariances=covariances)


def _of_deviations(weights: Array, means: Array, deviations: Array) -> Mixture:
    k, d = _sizes(weights, means)
    deviations = _checks.as_array(deviations)
    width = 1 if deviations.ndim == 2 and deviations.shape[1] == 1 else d
    variances = jnp.broadcast_to(deviations**2, (k, width))
    means = jnp.broadcast_to(_checks.as_array(means), (k, d))
    return Mixture(weights=_checks.as_array(weights), means=means, covariances=variances)


def _sizes(weights: Array, means: Array) -> tuple[int, int]:
    shape = jnp.shape(weights)
    if len(shape) != 1 or not 1 <= jnp.ndim(means) <= 2:
        raise ValueError(
            f"expected one mixture, of weights [K] and means [K, D], got shapes {shape} and "
            f"{jnp.shape(means)}"
        )
    return shape[0], jnp.shape(means)[-1]


def _unexpected(expected: str, got: Any) -> TypeError:
    return TypeError(f"expected {expected}, got {type(got).__module__}.{type(got).__qualname__}")


def _numpyro() -> Any:
    try:
        import numpyro.distributions as dist
    except ImportError as error:
        raise ImportError("expected NumPyro to be installed: pip install numpyro") from error
    return dist


def _tfp() -> Any:
    try:
        from tensorflow_probability.substrates import jax as tfp
    except ImportError as error:
        raise ImportError(
            "expected TensorFlow Probability to be installed: pip install tfp-nightly"
        ) from error
    except AttributeError as error:  # it reaches into JAX
        raise ImportError(
            "expected a TensorFlow Probability that works with this JAX (pip install "
            f"tfp-nightly), got one that does not: {error}"
        ) from error
    return tfp.distributions
