from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import D, K, N, overlapping, start

import jgmm
from jgmm.data.programs import program

X = overlapping()
W = np.random.default_rng(1).uniform(0.1, 2, size=N)


def best(family: str = "full", **options: Any) -> jgmm.Mixture:
    init = start(family, X)
    found = jgmm.fit(X, K, init=init, covariance_type=family, tol=1e-12, max_iter=2000, **options)
    return found.mixture


def test_of_one_component_they_are_known() -> None:
    c = np.cov(X.T, bias=True)
    mixture = jgmm.Mixture(weights=np.ones(1), means=X.mean(0)[None], covariances=c[None])
    errors = jgmm.standard_errors(mixture, X)
    np.testing.assert_allclose(errors.weights, [0], atol=1e-9)
    np.testing.assert_allclose(errors.means[0], np.sqrt(np.diag(c) / N), rtol=1e-8)
    expected = np.sqrt((c**2 + np.outer(np.diag(c), np.diag(c))) / N)
    np.testing.assert_allclose(errors.covariances[0], expected, rtol=1e-8)


# Matrices, one that is shared, and variances; what is free of them, the contract of families says.
@pytest.mark.parametrize("family", ["full", "tied", "spherical"])
def test_they_are_those_of_a_parametric_bootstrap(family: str) -> None:
    """200 samples of the same mixture, fitted each: their spread is what the errors say.

    By EM as it is, which compiles faster than a fit. The spread of 200 is known to 5 %, and the
    errors, which hold for large samples, come out some per cent low at 600.
    """
    truth = jgmm.Mixture(
        weights=jnp.array([0.4, 0.6]),
        means=jnp.array([[0.0, 0.0, 0.0], [3.0, 2.0, 1.0]]),
        covariances=jnp.asarray(start(family, X, 2).covariances),
    )

    def one(key: Any) -> Any:
        pixels, _ = jgmm.sample(truth, 600, key=key)

        def step(_: Any, mixture: jgmm.Mixture) -> jgmm.Mixture:
            return jgmm.em_step(mixture, pixels, covariance_type=family)[0]

        fitted = jax.lax.fori_loop(0, 40, step, truth)
        return fitted, jgmm.standard_errors(fitted, pixels)

    keys = jax.random.split(jax.random.key(3), 200)
    mixtures, errors = program()(jax.vmap(one))(keys)
    for name in ("weights", "means", "covariances"):
        spread = np.std(getattr(mixtures, name), axis=0)
        ratio = np.median(getattr(errors, name), axis=0) / spread
        assert ((0.8 < ratio) & (ratio < 1.2)).all(), (name, ratio)


def test_weights_are_counts_and_units_are_those_of_the_data() -> None:
    counts = np.random.default_rng(0).multinomial(N, np.ones(N) / N)
    mixture = best(weights=counts)
    errors = jgmm.standard_errors(mixture, X, counts)
    repeated = jgmm.standard_errors(mixture, np.repeat(X, counts, axis=0))
    scale, shift = np.array([1e-3, 1.0, 1e3]), np.array([1.0, 10.0, -1e4])
    moved = jgmm.standard_errors(
        jgmm.Mixture(
            weights=mixture.weights,
            means=mixture.means * scale + shift,
            covariances=mixture.covariances * np.outer(scale, scale),
        ),
        X * scale + shift,
        counts,
    )
    for name, unit in (("weights", 1), ("means", scale), ("covariances", np.outer(scale, scale))):
        expected = getattr(errors, name)
        np.testing.assert_allclose(getattr(repeated, name), expected, rtol=1e-8)
        np.testing.assert_allclose(getattr(moved, name), expected * unit, rtol=1e-5)
        assert (expected > 0).all()


def test_float32_is_near_float64() -> None:
    mixture = best(weights=W)
    expected = jgmm.standard_errors(mixture, X, W)
    single = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), mixture)
    actual = jgmm.standard_errors(single, X.astype(np.float32), W.astype(np.float32))
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-2)


def test_nan_where_nothing_can_be_said() -> None:
    found = best("diag")
    wider = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf[:1]]), found)
    unused = jgmm.Mixture(
        weights=np.append(found.weights, 0), means=wider.means, covariances=wider.covariances
    )
    alone, beside = jgmm.standard_errors(found, X), jgmm.standard_errors(unused, X)
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(beside), strict=True):
        np.testing.assert_allclose(b[:K], a, rtol=1e-8)
        assert np.isnan(b[K]).all()
    # Components that are the same: how the weight is shared cannot be told.
    twins = jgmm.Mixture(
        weights=np.ones(K + 1) / (K + 1),
        means=np.broadcast_to(X.mean(0), (K + 1, D)),
        covariances=np.broadcast_to(X.var(0), (K + 1, D)),
    )
    assert np.isnan(jgmm.standard_errors(twins, X).means).all()
