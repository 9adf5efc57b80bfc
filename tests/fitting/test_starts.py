from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import reference
from examples import FAMILIES, D, K, N, assert_mixtures_close, overlapping

import jgmm
from jgmm.data.programs import program
from jgmm.fitting.starts import STARTS

X = overlapping()
W = np.random.default_rng(1).uniform(0.1, 2, size=N)
LABELS = np.random.default_rng(2).integers(-1, K, size=N)
SHARES = np.random.default_rng(3).dirichlet(np.ones(K), size=N)


def first(init: Any, **options: Any) -> jgmm.FitResult:
    """The start itself, without a step of EM."""
    return jgmm.fit(X, K, init=init, max_iter=0, reg_covar=0.0, **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_responsibilities_start_as_their_m_step(family: str) -> None:
    got = first(SHARES, covariance_type=family, weights=W).mixture
    assert_mixtures_close(got, reference.m_step(X, SHARES * W[:, None], family, np.zeros(D)), 1e-9)


def test_labels_start_as_responsibilities_of_the_samples_they_know() -> None:
    got = first(LABELS, weights=W).mixture
    known = (LABELS[:, None] == np.arange(K)) * W[:, None]
    assert_mixtures_close(got, reference.m_step(X, known, "full", np.zeros(D)), 1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_means_start_where_they_are_with_one_covariance(family: str) -> None:
    means = X[[3, 50, 100]]
    got = first(means, covariance_type=family).mixture
    np.testing.assert_allclose(got.means, means, atol=1e-12)
    np.testing.assert_allclose(got.weights, np.full(K, 1 / K))
    cells = (reference.nearest(means / X.std(0), X / X.std(0))[:, None] == np.arange(K)) * 1.0
    pooled = reference.m_step(X, cells, "tied", np.zeros(D)).covariances[0]
    expected = {
        "full": [pooled] * K,
        "tied": [pooled],
        "diag": [np.diag(pooled)] * K,
    }
    if family in expected:  # in a sphere's frame nearness is another
        np.testing.assert_allclose(got.covariances, expected[family], rtol=1e-9)


@pytest.mark.parametrize("name", ["k-means++", "random_from_data"])
def test_seeds_are_different_samples(name: str) -> None:
    means = np.asarray(first(name, key=jax.random.key(5)).mixture.means)
    gaps = reference.squared_distances(X, means)
    np.testing.assert_allclose(gaps.min(axis=1), 0, atol=1e-20)
    assert len(set(gaps.argmin(axis=1))) == K


@pytest.mark.filterwarnings("ignore::jgmm.FitWarning")
def test_samples_of_weight_zero_are_never_seeds() -> None:
    weights = np.where(np.arange(N) < K, 1.0, 0.0)
    for name in ("k-means++", "random_from_data"):
        means = np.asarray(first(name, weights=weights).mixture.means)
        np.testing.assert_allclose(np.sort(means[:, 0]), np.sort(X[:K, 0]))


def test_random_from_data_draws_by_weight() -> None:
    x = np.repeat([[0.0], [1.0]], [20, 20], axis=0)
    weights = np.repeat([3.0, 1.0], 20)
    keys = jax.random.split(jax.random.key(0), 400)
    draw = program(once=True)(
        jax.vmap(
            lambda key: jgmm.fit(
                x, 1, key=key, init="random_from_data", weights=weights, max_iter=0
            )
        )
    )
    share = float(np.mean(draw(keys).mixture.means < 0.5))
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 400)


@pytest.mark.parametrize("name", STARTS)
def test_all_named_starts_lead_to_a_fit_and_differ_by_key(name: str) -> None:
    one, two = (jgmm.fit(X, K, init=name, key=jax.random.key(i), max_iter=0) for i in (0, 1))
    assert not np.allclose(one.mixture.means, two.mixture.means)
    fitted = jgmm.fit(X, K, init=name)
    assert fitted.status == jgmm.Status.CONVERGED
    assert fitted.log_likelihood > one.log_likelihood


def test_a_sweep_starts_as_fits_do() -> None:
    name = "k-means++"
    swept = jgmm.sweep(X, [K, K + 1], init=name, max_iter=5, tol=0.0)
    alone = jgmm.fit(X, K, init=name, max_iter=5, tol=0.0)
    np.testing.assert_allclose(swept[K].history, alone.history, rtol=1e-9)


def test_what_is_no_start_is_told() -> None:
    for init, message in (
        ("kmean", "one of kmeans"),
        (X[:2], "a Mixture, the result of a fit, means"),
        (np.full(N, K), "labels from -1"),
        (-SHARES, "at least 0"),
        (np.full((K, D), np.nan), "finite means"),
    ):
        with pytest.raises(ValueError, match=message):
            jgmm.fit(X, K, init=init)


def test_random_samples_are_from_anywhere_in_their_strata() -> None:
    """The draw of samples knows nothing of the draw of the subsample that they are taken from."""
    n, k = 1 << 17, 32
    within = np.tile(np.arange(8), n // 8).astype(np.float32)[:, None]
    options: dict[str, Any] = {"init": "random_from_data", "covariance_type": "spherical"}
    starts = jgmm.fit(within, k, max_iter=0, reg_covar=1.0, **options)
    means = np.asarray(starts.mixture.means).ravel()
    assert 2 < means.mean() < 5


def test_a_start_of_a_family_that_was_named_is_no_other() -> None:
    given = jgmm.Mixture(np.ones(1), np.zeros((1, D)), np.eye(D)[None], family="tied")
    with pytest.raises(ValueError, match=r"init: expected a full mixture .* got tied"):
        jgmm.fit(X, 1, init=given)
    untold = jgmm.Mixture(np.ones(1), np.zeros((1, D)), np.eye(D)[None])
    assert jgmm.fit(X, 1, init=untold, covariance_type="tied").mixture.covariance_type == "tied"
