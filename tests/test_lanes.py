"""Short runs on a subsample choose among starts; the fit itself sees all samples."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from examples import overlapping

import jgmm
from jgmm import Status
from jgmm.fitting import batch as lanes
from jgmm.fitting import fitting
from jgmm.fitting import sweeps as selection

N, K, POOL = 6000, 4, 1024
X = overlapping(seed=5, n=N, k=K)
W = np.random.default_rng(1).uniform(0.1, 2, size=N)
KEY = jax.random.key(2)


@pytest.fixture
def _short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if these were many samples."""
    for module in (fitting, selection):
        monkeypatch.setattr(module, "pool_size", lambda *arguments: POOL)


def test_the_pool_determines_the_parameters_and_is_a_small_part() -> None:
    assert lanes.pool_size(172_000, 10, 3, "full") == 1 << 14
    assert lanes.pool_size(65_535, 10, 3, "full") == 0
    assert lanes.pool_size(76_469, 10, 3, "full") == 1 << 13
    assert lanes.pool_size(528_608, 10, 3, "full") == 1 << 16
    assert lanes.pool_size(10**8, 10, 3, "full") == 1 << 17
    for n, k, d in [(10**6, 32, 32), (10**7, 32, 32), (10**8, 5, 100)]:
        for family in ("full", "spherical"):
            size = lanes.pool_size(n, k, d, family)
            parameters = k * (d + 1) + (k * d * (d + 1) // 2 if family == "full" else k)
            assert size == 0 or (size >= 20 * parameters and 8 * size <= n)
    assert lanes.pool_size(10**6, 32, 32, "full") == 0
    assert lanes.pool_size(10**7, 32, 32, "full") > 0


@pytest.mark.usefixtures("_short_runs")
@pytest.mark.parametrize("family", ["full", "diag"])
def test_it_begins_near_the_end_and_ends_at_a_fixed_point(family: str) -> None:
    options = {"weights": W, "covariance_type": family, "key": KEY, "tol": 1e-10}
    result = jgmm.fit(X, K, **options)
    assert result.status == Status.CONVERGED
    history = np.asarray(result.history)[: int(result.n_iter) + 1]
    np.testing.assert_allclose(history[-1], result.log_likelihood, atol=1e-9)
    # The best fit to m samples is about P / 2m short of the best for all.
    parameters = K * (3 + 1) + K * (6 if family == "full" else 3)
    assert result.log_likelihood - history[0] < parameters / POOL
    np.testing.assert_allclose(
        jgmm.score(jgmm.fit(X, K, max_iter=0, **options).mixture, X, W), history[0], rtol=1e-9
    )
    further, _ = jgmm.em_step(result.mixture, X, W, covariance_type=family)
    np.testing.assert_allclose(further.means, result.mixture.means, atol=2e-3)
    np.testing.assert_allclose(jgmm.score(further, X, W), result.log_likelihood, rtol=0, atol=1e-9)


@pytest.mark.usefixtures("_short_runs")
def test_of_several_starts_the_best_goes_on() -> None:
    keys = jax.random.split(KEY, 3)
    singly = [jgmm.fit(X, K, key=key) for key in keys]
    best = int(np.argmax([float(fit.history[0]) for fit in singly]))
    together = jgmm.fit(X, K, key=KEY, n_restarts=3)
    np.testing.assert_array_equal(together.history, singly[best].history)
    np.testing.assert_array_equal(together.mixture.means, singly[best].mixture.means)


@pytest.mark.usefixtures("_short_runs")
def test_every_lane_of_a_sweep_is_the_single_fit() -> None:
    result = jgmm.sweep(X, [2, K], key=KEY, n_restarts=2)
    for s, k in enumerate([2, K]):
        for r, key in enumerate(jax.random.split(KEY, 2)):
            single = jgmm.fit(X, k, key=key)
            np.testing.assert_allclose(
                result.fits.log_likelihood[s, r], single.log_likelihood, rtol=1e-7
            )


@pytest.mark.usefixtures("_short_runs")
def test_the_whole_way_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """If asked for, and always where labels are known, which a subsample might miss."""
    labels = np.full(N, -1)
    labels[:3] = np.arange(3)
    far = jgmm.fit(X, K, key=KEY, short_runs=False, max_iter=0).history
    known = jgmm.fit(X, K, key=KEY, labels=labels, max_iter=0).history
    assert far[0] < jgmm.fit(X, K, key=KEY, max_iter=0).history[0] - 0.05
    monkeypatch.setattr(fitting, "pool_size", lambda *arguments: 0)
    np.testing.assert_array_equal(jgmm.fit(X, K, key=KEY, max_iter=0).history, far)
    np.testing.assert_array_equal(jgmm.fit(X, K, key=KEY, labels=labels, max_iter=0).history, known)


@pytest.mark.usefixtures("_short_runs")
def test_under_jit_it_is_the_same() -> None:
    traced = jax.jit(lambda x: jgmm.fit(x, K, key=KEY, n_restarts=2))(X)
    eager = jgmm.fit(X, K, key=KEY, n_restarts=2)
    np.testing.assert_allclose(traced.log_likelihood, eager.log_likelihood, rtol=1e-7)


@pytest.mark.usefixtures("_short_runs")
def test_what_is_known_of_the_samples_goes_along() -> None:
    """NaN and a prior, whose weight against the samples is that of the whole."""
    gaps = X.copy()
    gaps[::7, 1] = np.nan
    prior = jgmm.weak_prior(X, K)
    options: dict[str, Any] = {"missing": "nan", "key": KEY}
    result = jgmm.fit(gaps, K, prior=prior, **options)
    assert result.status == Status.CONVERGED
    assert result.history[1] >= result.history[0]
    assert np.isfinite(result.log_likelihood)
    strong = jgmm.Prior(
        concentration=np.ones(()),
        mean=np.full(3, 9.0),
        mean_strength=np.asarray(20.0 * N),
        scale=np.eye(3),
        dof=np.asarray(5.0),
    )
    pulled = jgmm.fit(gaps, K, prior=strong, **options)
    assert pulled.history[0] > pulled.history[int(pulled.n_iter)] - 0.05
