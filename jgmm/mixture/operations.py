"""What follows from a mixture: samples, marginals, conditionals, entropy, how far another is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jgmm import _checks
from jgmm._struct import amend
from jgmm.data.programs import on_host, program
from jgmm.data.samples import padded_length
from jgmm.families.matrices import Full
from jgmm.mixture.density import log_prob
from jgmm.mixture.mixture import FitLike, Mixture, as_mixture, log_weights


def sample(
    mixture: Mixture | FitLike, n: int, *, key: Array | int | None = None
) -> tuple[Array, Array]:
    """Draw from the mixture.

    Args:
        mixture: K components in D dimensions.
        n: how many samples to draw.
        key: a JAX PRNG key, or an integer to make one of; None means 0.

    Returns:
        Samples [n, D], and the component [n] that each was drawn from.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> mixture = jgmm.Mixture(jnp.ones(2) / 2, jnp.array([[-9.0], [9.0]]), jnp.ones((2, 1)))
        >>> pixels, labels = jgmm.sample(mixture, 100)
        >>> print(pixels.shape, bool(((pixels[:, 0] > 0) == labels).all()))
        (100, 1) True
    """
    n, key = _checks.as_count("n", n), _checks.as_key(key)
    mixture = as_mixture(mixture)
    if not on_host((mixture, key)):
        return _sample(mixture, key, n=n)
    # The first of more, of one of few numbers, are the same, and cut without compiling for each n.
    drawn = jax.device_get(_sample(mixture, key, n=padded_length(n)))
    pixels, labels = (_checks.as_array(leaf[:n]) for leaf in drawn)
    return pixels, labels


@program("n", once=True, amount="n")
def _sample(mixture: Mixture, key: Array, n: int) -> tuple[Array, Array]:
    component_key, normal_key = jax.random.split(key)
    labels = jax.random.categorical(component_key, log_weights(mixture.weights), shape=(n,))
    k, d = mixture.means.shape
    normal = jax.random.normal(normal_key, (n, d), mixture.means.dtype)
    family = mixture.family
    roots = family.per_component(family.root(mixture.covariances), k)
    gaps = family.apply(roots[labels], normal)
    scales = mixture.distribution.scales(normal_key, labels, mixture.degrees_of_freedom)
    if scales is not None:
        gaps = gaps * scales[:, None]
    return mixture.means[labels] + gaps, labels.astype(jnp.int32)


def marginal(mixture: Mixture | FitLike, features: Sequence[int]) -> Mixture:
    """The mixture of some of the features, the others integrated out.

    Args:
        mixture: K components in D dimensions.
        features: indices of the features to keep, in the order wanted.

    Returns:
        A mixture in those dimensions, of the same family; where some features need not share
        what all do (EVI, EVE, VVE, EEV, VEV, EVV), of diag or full.

    Raises:
        ValueError: no features, repeated ones, or some that there are not.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> mixture = jgmm.Mixture(jnp.ones(1), jnp.array([[1.0, 2, 3]]), jnp.ones((1, 1)))
        >>> print(jgmm.marginal(mixture, [2, 0]).means)
        [[3. 1.]]
    """
    mixture = as_mixture(mixture)
    index = _features(features, mixture.n_features)
    if not on_host(mixture):
        return _marginal(mixture, index)
    return jax.tree.map(_checks.as_array, _marginal(jax.device_get(mixture), index))


def _marginal(mixture: Mixture, index: Any) -> Mixture:
    """Of NumPy arrays nothing is compiled."""
    return amend(
        mixture,
        means=mixture.means[:, index],
        covariances=mixture.family.marginal(mixture.covariances, index),
        family=mixture.family.parts,
    )


def condition(mixture: Mixture | FitLike, features: Sequence[int], values: ArrayLike) -> Mixture:
    """The mixture of the other features, given the values of some.

    Args:
        mixture: K components in D dimensions.
        features: indices of the F features that are known.
        values: their values [F]; for many, use `jax.vmap`.

    Returns:
        A mixture in D - F dimensions, the others in their order, of the family that `marginal`
        has. Student-t components have F degrees of freedom more, and scale matrices that are wider
        the farther off the values are (Ding 2016), so that of families whose components share
        something they are of diag or full.

    Raises:
        ValueError: features that there are not, all of them, or values of another shape.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> sigma = jnp.array([[[1.0, 0.5], [0.5, 1.0]]])
        >>> mixture = jgmm.Mixture(jnp.ones(1), jnp.zeros((1, 2)), sigma)
        >>> given = jgmm.condition(mixture, [0], jnp.array([2.0]))
        >>> print(given.means, given.covariances)
        [[1.]] [[[0.75]]]
    """
    mixture = as_mixture(mixture)
    index = _features(features, mixture.n_features)
    rest = np.setdiff1d(np.arange(mixture.n_features), index)
    if not rest.size:
        raise ValueError("features: expected some to remain, got all of them")
    given = _checks.as_array(values, mixture.means.dtype)
    if given.shape != index.shape:
        raise ValueError(f"values: expected shape {index.shape}, got {given.shape}")
    return _condition(mixture, _checks.as_array(index), _checks.as_array(rest), given)


@program(once=True)
def _condition(mixture: Mixture, index: Array, rest: Array, given: Array) -> Mixture:
    """For whichever features; how many they are is compiled for."""
    gaps = given - mixture.means[:, index]
    shift, covariances, log_density = mixture.family.conditional(
        mixture.covariances, rest, index, gaps
    )
    family, dof = mixture.family.parts, mixture.degrees_of_freedom
    if mixture.distribution.shaped:
        known = _marginal(mixture, index)
        inverse, _ = known.family.inverse_root(known.covariances, len(index))
        squares = jnp.sum(known.family.apply(inverse, gaps) ** 2, axis=1)
        log_density, widths, dof = mixture.distribution.conditional(
            dof, len(index), log_density, squares
        )
        if family.shared or family.restrained:
            covariances = family.widened(covariances, len(gaps), len(rest))
            family = family.wide
        covariances = family.scaled(covariances, widths)
    return amend(
        mixture,
        weights=jax.nn.softmax(log_weights(mixture.weights) + log_density),
        means=mixture.means[:, rest] + shift,
        covariances=covariances,
        family=family,
        degrees_of_freedom=dof,
    )


def entropy(mixture: Mixture | FitLike) -> tuple[Array, Array]:
    """Bounds on the differential entropy, which has no closed form.

    The upper is that of component and sample together; the lower is the better of the mean
    entropy of the components and, of Gaussians, the bound of Huber et al. (2008).

    Args:
        mixture: K components in D dimensions.

    Returns:
        A lower and an upper bound, in nats. They meet for one component.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> normal = jgmm.Mixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.ones((1, 1)))
        >>> [round(float(bound), 4) for bound in jgmm.entropy(normal)]
        [1.4189, 1.4189]
    """
    return _entropy(as_mixture(mixture))


@program(once=True)
def _entropy(mixture: Mixture) -> tuple[Array, Array]:
    k, d = mixture.means.shape
    w, logs_w = mixture.weights, log_weights(mixture.weights)
    used = w > 0
    full = Full()
    sigma = mixture.family.dense(mixture.covariances, k, d)
    logs = full.inverse_root(sigma, d)[1]
    own = mixture.distribution.entropy(d, mixture.degrees_of_freedom) + logs
    inside = jnp.sum(jnp.where(used, w * own, 0))
    upper = inside - jnp.sum(jnp.where(used, w * jnp.where(used, logs_w, 0), 0))
    if mixture.distribution.shaped:
        return inside, upper
    inverse, both = full.inverse_root((sigma[:, None] + sigma[None]).reshape(-1, d, d), d)
    y = full.apply(inverse, (mixture.means[:, None] - mixture.means[None]).reshape(-1, d))
    overlap = -jnp.sum(y**2, 1) / 2 - both - d / 2 * math.log(2 * math.pi)
    expected = jax.nn.logsumexp(overlap.reshape(k, k) + logs_w[None], axis=1)
    return jnp.maximum(inside, -jnp.sum(jnp.where(used, w * expected, 0))), upper


def kl_divergence(
    p: Mixture | FitLike, q: Mixture | FitLike, *, n: int = 10_000, key: Array | int | None = None
) -> tuple[Array, Array]:
    """The Kullback-Leibler divergence KL(p‖q), by Monte Carlo.

    Args:
        p: the mixture that is drawn from.
        q: another in as many dimensions.
        n: how many samples to draw.
        key: a JAX PRNG key, or an integer to make one of; None means 0.

    Returns:
        The estimate in nats, and its standard error.

    Example:
        >>> import jax.numpy as jnp, jgmm
        >>> p = jgmm.Mixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.ones((1, 1)))
        >>> q = jgmm.Mixture(jnp.ones(1), jnp.ones((1, 1)), jnp.ones((1, 1)))
        >>> estimate, error = jgmm.kl_divergence(p, q)
        >>> bool(abs(estimate - 0.5) < 3 * error)
        True
    """
    n = _checks.as_count("n", n, minimum=2)
    p, q = as_mixture(p, "p"), as_mixture(q, "q")
    if p.n_features != q.n_features:
        raise ValueError(f"q: expected {p.n_features} features, got {q.n_features}")
    return _divergence(p, q, _checks.as_key(key), n=n)


@program("n", once=True, amount="n")
def _divergence(p: Mixture, q: Mixture, key: Array, n: int) -> tuple[Array, Array]:
    drawn, _ = _sample(p, key, n=n)
    gaps = log_prob(p, drawn) - log_prob(q, drawn)
    return jnp.mean(gaps), jnp.std(gaps, ddof=1) / math.sqrt(n)


def _features(features: Sequence[int], d: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    index = [_checks.as_count("features", i, minimum=0) for i in features]
    if not index or len(set(index)) < len(index) or max(index) >= d:
        raise ValueError(
            f"features: expected different indices below {d}, at least one, got {list(features)}"
        )
    return np.array(index)
