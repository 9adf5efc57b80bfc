from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from examples import FAMILIES, K, N, overlapping, start

import jgmm
from jgmm.data.programs import program
from jgmm.data.samples import Rows, make_samples
from jgmm.data.subsample import batches
from jgmm.image import read_image

X = overlapping()
W = np.random.default_rng(1).uniform(0.1, 2, size=N)
LBFGS = optax.lbfgs()
ADAM = optax.adam(optax.exponential_decay(0.1, 100, 0.5))


def by_gradient(family: str, **options: Any) -> jgmm.FitResult:
    init = start(family, X)
    return jgmm.fit_gradient(X, K, weights=W, init=init, covariance_type=family, **options)


def em(family: str, **options: Any) -> jgmm.FitResult:
    options = {"tol": 1e-12, **options}
    return jgmm.fit(X, K, weights=W, init=start(family, X), covariance_type=family, **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_reaches_the_optimum_of_em(family: str) -> None:
    expected = em(family)
    result = by_gradient(family, n_steps=2000, tol=1e-9)
    assert result.status == jgmm.Status.CONVERGED
    np.testing.assert_allclose(result.log_likelihood, expected.log_likelihood, atol=1e-6)
    np.testing.assert_allclose(result.mixture.means, expected.mixture.means, atol=5e-3)
    np.testing.assert_allclose(jgmm.score(result.mixture, X, W), result.log_likelihood, rtol=1e-10)
    n = int(result.n_iter)
    history = result.history
    assert history.shape == (2001,)
    assert np.isfinite(history[: n + 1]).all()
    assert np.isnan(history[n + 1 :]).all()
    np.testing.assert_allclose(history[0], expected.history[0], rtol=1e-10)
    np.testing.assert_allclose(np.nanmax(history), result.log_likelihood, rtol=1e-10)


def test_so_do_other_optimizers() -> None:
    """And one with a line search, under a prior."""
    result = by_gradient("diag", optimizer=ADAM, n_steps=1000, tol=1e-7)
    assert result.status == jgmm.Status.CONVERGED
    np.testing.assert_allclose(result.log_likelihood, em("diag").log_likelihood, atol=1e-4)


def test_it_maximises_the_posterior_under_a_prior() -> None:
    prior = jgmm.weak_prior(X, K, W)
    expected, result = em("diag", prior=prior), by_gradient("diag", optimizer=LBFGS, prior=prior)
    assert result.status == jgmm.Status.CONVERGED
    np.testing.assert_allclose(result.log_likelihood, expected.log_likelihood, atol=1e-5)
    np.testing.assert_allclose(np.nanmax(result.history), np.nanmax(expected.history), atol=1e-6)


def test_covariances_come_to_the_floor_and_stay_above_it() -> None:
    expected = em("full", reg_covar=0.2)
    result = by_gradient("full", n_steps=2000, tol=1e-9, reg_covar=0.2)
    np.testing.assert_allclose(result.log_likelihood, expected.log_likelihood, atol=1e-6)
    scale = np.sqrt(0.2) * np.sqrt(np.average((X - np.average(X, 0, W)) ** 2, 0, W))
    lowest = np.linalg.eigvalsh(result.mixture.covariances / np.outer(scale, scale)).min()
    assert 1 - 1e-9 <= lowest < 1 + 1e-3


def test_batches_come_near_and_em_polishes() -> None:
    expected = em("diag").log_likelihood
    rough = by_gradient("diag", batch_size=64, n_steps=300)
    assert rough.status == jgmm.Status.MAX_ITER
    assert rough.n_iter == 300
    assert abs(rough.log_likelihood - expected) < 0.02
    np.testing.assert_allclose(rough.history[300], rough.log_likelihood, rtol=1e-10)
    fine = by_gradient("diag", batch_size=64, n_steps=300, polish="em", tol=1e-9)
    assert fine.status == jgmm.Status.CONVERGED
    np.testing.assert_allclose(fine.log_likelihood, expected, atol=1e-6)
    assert fine.history.shape == (801,)
    n = int(fine.n_iter)
    np.testing.assert_array_equal(np.isfinite(fine.history), np.arange(801) <= n)
    np.testing.assert_array_equal(fine.history[:300], rough.history[:300])
    np.testing.assert_allclose(np.max(fine.history[300 : n + 1]), fine.log_likelihood, rtol=1e-10)


def test_batches_are_drawn_in_proportion_to_the_weights() -> None:
    weights = np.where(np.arange(N) % 3 == 0, 0, W)
    index = np.arange(N, dtype=float)[:, None]

    @program(once=True)
    def draw(rows: Rows) -> Any:
        return batches(make_samples(rows, 64), 10_000, jax.random.key(0))(jnp.asarray(3))

    drawn = jax.device_get(draw(Rows(features=index, weights=weights)))
    real = drawn.weights.ravel() > 0
    found = drawn.features[:, 0].ravel()[real].astype(int)
    assert len(found) == 10_000
    np.testing.assert_allclose(drawn.weights.sum(), weights.sum(), rtol=1e-12)
    expected = 10_000 * weights / weights.sum()
    counts = np.bincount(found, minlength=N)
    assert (counts[weights == 0] == 0).all()
    deviation = (counts - expected)[weights > 0] / np.sqrt(expected[weights > 0])
    assert np.abs(deviation).max() < 5
    assert np.mean(deviation**2) < 1.5


def test_missing_features_and_labels() -> None:
    gaps = np.where(np.random.default_rng(4).uniform(size=X.shape) < 0.1, np.nan, X)
    labels = np.where(np.arange(N) < 9, np.arange(N) % K, -1)
    options: dict[str, Any] = {"missing": "nan", "labels": labels, "covariance_type": "diag"}
    options["init"] = start("diag", X)
    expected = jgmm.fit(gaps, K, tol=1e-9, **options)
    result = jgmm.fit_gradient(gaps, K, tol=1e-8, **options)
    np.testing.assert_allclose(result.log_likelihood, expected.log_likelihood, atol=1e-5)


def test_photographs(shared_data: Path) -> None:
    paths = [shared_data / "scenery.jpg", *sorted((shared_data / "bsds-train").glob("*.jpg"))[:2]]
    for path in paths:
        pixels = np.asarray(read_image(path).pixels).reshape(-1, 3)[::16][:8192]
        pixels = np.resize(pixels, (8192, 3)).astype(np.float32)
        means = pixels[np.random.default_rng(0).choice(8192, size=5, replace=False)]
        expected = jgmm.fit(pixels, 5, init=means, tol=1e-7, max_iter=3000, accelerate=False)
        result = jgmm.fit_gradient(pixels, 5, init=means)
        assert abs(result.log_likelihood - expected.log_likelihood) < 1e-4


@pytest.mark.filterwarnings("ignore::jgmm.FitWarning")
def test_data_that_cannot_be_fitted() -> None:
    none = jgmm.fit_gradient(X, K, weights=np.zeros(N), init=start("full", X), tol=1e-9)
    assert none.status == jgmm.Status.NONFINITE


def test_wrong_calls() -> None:
    with pytest.raises(ValueError, match="polish: expected one of em; got 'sgd'"):
        jgmm.fit_gradient(X, K, polish="sgd")
    with pytest.raises(ValueError, match="batch_size: expected at least 1"):
        jgmm.fit_gradient(X, K, batch_size=0)
    with pytest.raises(TypeError, match="optimizer: expected an optax GradientTransformation"):
        jgmm.fit_gradient(X, K, optimizer="adam")  # type: ignore[arg-type]
    assert by_gradient("spherical", n_steps=0).n_iter == 0
