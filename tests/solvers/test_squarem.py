from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import DTYPES, FAMILIES, TOLERANCE, D, K, assert_mixtures_close, overlapping, start

import jgmm
from jgmm.solvers.squarem import chart_of, extrapolate, information_norm, mixture_at


def typed(mixture: jgmm.Mixture, dtype: type = np.float64) -> jgmm.Mixture:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), mixture)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_parameterisation_is_one_to_one(family: str, dtype: type) -> None:
    mixture = typed(start(family, overlapping()), dtype)
    back = mixture_at(chart_of(mixture), mixture)
    assert back.covariance_type == family
    assert_mixtures_close(back, mixture, TOLERANCE[np.dtype(dtype)])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_point_is_a_mixture(family: str) -> None:
    rng = np.random.default_rng(0)
    like = typed(start(family, overlapping()))
    shape = like.covariances.shape
    chart = (rng.normal(size=K), rng.normal(size=(K, D)), rng.normal(size=shape))
    if len(shape) == 3:
        chart = (*chart[:2], np.tril(chart[2]))
    mixture = mixture_at(jax.tree.map(jnp.asarray, chart), like)
    np.testing.assert_allclose(mixture.weights.sum(), 1, rtol=1e-12)
    assert (mixture.weights > 0).all()
    if len(shape) == 3:
        assert np.linalg.eigvalsh(mixture.covariances).min() > 0
    else:
        assert (mixture.covariances > 0).all()


def test_an_unused_component_stays_unused() -> None:
    mixture = typed(start("full", overlapping()))
    unused = jgmm.Mixture(
        weights=jnp.array([0.25, 0.0, 0.75]),
        means=mixture.means,
        covariances=mixture.covariances,
    )
    chart = chart_of(unused)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in chart)
    back = mixture_at(chart, unused)
    np.testing.assert_allclose(back.weights, [0.25, 0, 0.75], rtol=1e-15)
    far, length = extrapolate(unused, unused, unused, jnp.asarray(4.0))
    np.testing.assert_allclose(far.weights, [0.25, 0, 0.75], rtol=1e-15)
    assert jnp.isfinite(length)


def geometric(rate: float) -> list[jgmm.Mixture]:
    """Three successive mixtures whose means contract towards 0 at the rate."""
    mixture = typed(start("diag", overlapping()))
    return [
        jgmm.Mixture(
            weights=mixture.weights, means=rate**i * mixture.means, covariances=mixture.covariances
        )
        for i in range(3)
    ]


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.99])
def test_linear_convergence_is_extrapolated_to_its_limit(rate: float) -> None:
    far, length = extrapolate(*geometric(rate), jnp.asarray(1e6))
    np.testing.assert_allclose(length, 1 / (1 - rate), rtol=1e-9)
    np.testing.assert_allclose(far.means, 0, atol=1e-9)


def test_the_step_is_no_longer_than_allowed() -> None:
    *_, second = points = geometric(0.9)
    far, length = extrapolate(*points, jnp.asarray(4.0))
    assert length == 4
    # (1 - length · (1 - rate))² of the way is left.
    np.testing.assert_allclose(far.means, (1 - 4 * 0.1) ** 2 * points[0].means, rtol=1e-9)
    far, length = extrapolate(*points, jnp.asarray(1.0))
    assert length == 1
    assert_mixtures_close(far, second, 1e-12)


def test_at_a_fixed_point_it_stays() -> None:
    points = [typed(start("full", overlapping()))] * 3
    far, length = extrapolate(*points, jnp.asarray(4.0))
    assert length == 1
    assert_mixtures_close(far, points[0], 1e-12)


def complete_divergence(a: jgmm.Mixture, b: jgmm.Mixture) -> float:
    """KL(a, b) of sample and component together, by NumPy."""
    k, d = a.means.shape
    total = 0.0
    for i in range(k):
        first, second = (matrix_of(m.covariances, i, k, d) for m in (a, b))
        inverse = np.linalg.inv(second)
        gap = np.asarray(b.means[i] - a.means[i])
        total += float(a.weights[i]) * (
            np.log(float(a.weights[i] / b.weights[i]))
            + 0.5 * (np.trace(inverse @ first) - d + gap @ inverse @ gap)
            + 0.5 * (np.linalg.slogdet(second)[1] - np.linalg.slogdet(first)[1])
        )
    return total


def matrix_of(covariances: jax.Array, i: int, k: int, d: int) -> np.ndarray:
    if covariances.ndim == 3:
        return np.asarray(covariances[min(i, len(covariances) - 1)])
    return np.diag(np.broadcast_to(covariances[i], d))


@pytest.mark.parametrize("family", FAMILIES)
def test_lengths_are_those_of_the_divergence(family: str) -> None:
    mixture = typed(start(family, overlapping()))
    mixture = jgmm.Mixture(
        weights=jnp.array([0.2, 0.3, 0.5]), means=mixture.means, covariances=mixture.covariances
    )
    rng = np.random.default_rng(3)
    here = chart_of(mixture)
    change = jax.tree.map(lambda leaf: jnp.asarray(1e-4 * rng.normal(size=leaf.shape)), here)
    if change[2].ndim == 3:
        change = (*change[:2], jnp.tril(change[2]))
    there = mixture_at(jax.tree.map(jnp.add, here, change), mixture)
    np.testing.assert_allclose(
        0.5 * information_norm(mixture, change),
        complete_divergence(mixture, there),
        rtol=2e-3,
    )
