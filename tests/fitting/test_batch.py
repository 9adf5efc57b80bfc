"""Short runs on a subsample choose among starts; the fit itself sees all samples.

These are fits without a search, which has short runs of its own: see test_search.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import pytest
from examples import overlapping

import jgmm
from jgmm import Status
from jgmm.data.programs import program
from jgmm.data.subsample import fewer
from jgmm.families.table import FAMILIES
from jgmm.fitting import options as _options
from jgmm.fitting.batch import few, iterated, started, whole
from jgmm.fitting.choices import Choices
from jgmm.fitting.options import read, subsample_size
from jgmm.fitting.starts import by_name
from jgmm.mixture.components import take

# Of variances, whose programs compile fastest.
FAMILY: dict[str, Any] = {"covariance_type": "diag"}
fit = functools.partial(jgmm.fit, search="none", **FAMILY)
sweep = functools.partial(jgmm.sweep, search="none", **FAMILY)
N, K, FEW = 6000, 4, 1024
X = overlapping(seed=5, n=N, k=K)
W = np.random.default_rng(1).uniform(0.1, 2, size=N)
KEY = jax.random.key(2)


@pytest.fixture
def _short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if these were many samples."""
    monkeypatch.setattr(_options, "subsample_size", lambda *arguments: FEW)


def after_short_run(k: int = K, **options: Any) -> jgmm.Mixture:
    """Where the run on a subsample ends, and the fit begins."""
    request = read(X, (k,), Choices(**FAMILY, **options), spread=False)
    chosen, keys = request.options, request.keys
    assert chosen.cut.few == FEW
    problem = few(request.problem, chosen.cut)
    first = started(problem, request.used((0,)), keys, None, None, chosen.start, FEW, None)
    # It need not be nearer to its optimum than that is to the one of all samples.
    stop = request.settings.stop
    stop = dataclasses.replace(
        stop,
        tol=np.maximum(stop.tol, stop.tol.dtype.type(1e-5)),
        max_iter=np.minimum(stop.max_iter, np.int32(200)),
    )
    run = iterated(problem, first, keys, None, stop, chosen.stages, chosen.capacity, None)
    found = jax.tree.map(lambda leaf: leaf[0, 0], run.best)
    return take(request.problem.unstandardize(found), slice(k))


def size_of(n: int, k: int, d: int, family: str) -> int | None:
    return subsample_size(n, k, d, FAMILIES[family])


def test_the_subsample_determines_the_parameters_and_is_a_small_part() -> None:
    assert size_of(172_000, 10, 3, "full") == 1 << 14
    assert size_of(65_535, 10, 3, "full") is None
    assert size_of(76_469, 10, 3, "full") == 1 << 13
    assert size_of(528_608, 10, 3, "full") == 1 << 16
    assert size_of(10**8, 10, 3, "full") == 1 << 17
    for n, k, d in [(10**6, 32, 32), (10**7, 32, 32), (10**8, 5, 100)]:
        for family in ("full", "spherical"):
            size = size_of(n, k, d, family)
            parameters = k * (d + 1) + (k * d * (d + 1) // 2 if family == "full" else k)
            assert size is None or (size >= 20 * parameters and 8 * size <= n)
    assert size_of(10**6, 32, 32, "full") is None
    assert size_of(10**7, 32, 32, "full") is not None


@pytest.mark.usefixtures("_short_runs")
def test_it_begins_near_the_end_and_ends_at_a_fixed_point() -> None:
    options = {"weights": W, "key": KEY, "tol": 1e-10}
    result = fit(X, K, **options)
    assert result.status == Status.CONVERGED
    history = np.asarray(result.history)[: int(result.n_iter) + 1]
    np.testing.assert_allclose(history[-1], result.log_likelihood, atol=1e-9)
    # The best fit to m samples is about P / 2m short of the best for all.
    parameters = K * (3 + 1) + K * 3
    assert result.log_likelihood - history[0] < parameters / FEW
    np.testing.assert_allclose(jgmm.score(after_short_run(**options), X, W), history[0], rtol=1e-9)
    further, _ = jgmm.em_step(result.mixture, X, W, **FAMILY)
    np.testing.assert_allclose(further.means, result.mixture.means, atol=2e-3)
    np.testing.assert_allclose(jgmm.score(further, X, W), result.log_likelihood, rtol=0, atol=1e-9)


@pytest.mark.usefixtures("_short_runs")
def test_of_several_starts_the_best_goes_on() -> None:
    keys = jax.random.split(KEY, 3)
    singly = [fit(X, K, key=key) for key in keys]
    best = int(np.argmax([float(one.history[0]) for one in singly]))
    together = fit(X, K, key=KEY, n_restarts=3)
    np.testing.assert_array_equal(together.history, singly[best].history)
    np.testing.assert_array_equal(together.mixture.means, singly[best].mixture.means)


@pytest.mark.usefixtures("_short_runs")
def test_every_fit_of_a_sweep_is_the_single_fit() -> None:
    result = sweep(X, [2, K], key=KEY, n_restarts=2)
    for s, k in enumerate([2, K]):
        for r, key in enumerate(jax.random.split(KEY, 2)):
            single = fit(X, k, key=key)
            np.testing.assert_allclose(
                result.fits.log_likelihood[s, r], single.log_likelihood, rtol=1e-7
            )


@pytest.mark.usefixtures("_short_runs")
def test_the_whole_way_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """If asked for, and always where labels are known, which a subsample might miss."""
    labels = np.full(N, -1)
    labels[:3] = np.arange(3)
    far = fit(X, K, key=KEY, short_runs=False).history
    known = fit(X, K, key=KEY, labels=labels).history
    assert far[0] < fit(X, K, key=KEY).history[0] - 0.05
    monkeypatch.setattr(_options, "subsample_size", lambda *arguments: None)
    np.testing.assert_array_equal(fit(X, K, key=KEY).history, far)
    np.testing.assert_array_equal(fit(X, K, key=KEY, labels=labels).history, known)


@pytest.mark.usefixtures("_short_runs")
def test_under_jit_it_is_the_same() -> None:
    traced = program(once=True)(lambda x: fit(x, K, key=KEY, n_restarts=2))(X)
    eager = fit(X, K, key=KEY, n_restarts=2)
    np.testing.assert_allclose(traced.log_likelihood, eager.log_likelihood, rtol=1e-7)


@pytest.mark.usefixtures("_short_runs")
def test_what_is_known_of_the_samples_goes_along() -> None:
    """NaN and a prior, whose weight against the samples is that of the whole."""
    gaps = X.copy()
    gaps[::7, 1] = np.nan
    prior = jgmm.weak_prior(X, K)
    options: dict[str, Any] = {"missing": "nan", "key": KEY, "covariance_type": "full"}
    result = fit(gaps, K, prior=prior, **options)
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
    pulled = fit(gaps, K, prior=strong, **options)
    assert pulled.history[0] > pulled.history[int(pulled.n_iter)] - 0.05


@pytest.mark.usefixtures("_short_runs")
def test_no_steps_are_the_start_of_many_samples_too() -> None:
    """Nor are there steps on a subsample, which otherwise come first."""
    start = fit(X, K, max_iter=0, init="random_from_data")
    expected = fit(X, K, max_iter=0, init="random_from_data", short_runs=False)
    assert jax.tree.all(jax.tree.map(np.array_equal, start, expected))
    assert start.n_iter == 0
    assert start.history.shape == (1,)
    assert start.status == Status.MAX_ITER
    gaps = np.abs(X[:, None] - np.asarray(start.mixture.means)).max(axis=2).min(axis=0)
    np.testing.assert_allclose(gaps, 0, atol=1e-12)
    for max_iter in (1, 3):
        some = fit(X, K, max_iter=max_iter, tol=0.0, init="random_from_data")
        assert some.n_iter == max_iter
        assert some.history.shape == (max_iter + 1,)
        assert (np.diff(some.history) >= 0).all()
        assert some.history[0] > start.history[0] + 1e-4


@pytest.mark.usefixtures("_short_runs")
def test_no_steps_of_a_sweep_are_the_starts() -> None:
    starts = sweep(X, [2, K], key=KEY, max_iter=0)
    alone = fit(X, K, key=KEY, max_iter=0, short_runs=False)
    np.testing.assert_array_equal(starts[K].history, alone.history)
    np.testing.assert_array_equal(starts[K].mixture.means, alone.mixture.means)
    assert (starts.fits.n_iter == 0).all()


@program(once=True)
def steps_on_a_subsample(n_steps: Any) -> Any:
    """The likelihood of all after so many steps of plain EM on some.

    These are drawn here, whatever the fit's key is, as they are for it.
    """
    request = read(X, (K,), Choices(key=KEY, accelerate=False, **FAMILY), spread=False)
    problem = whole(request.problem, request.options.cut)
    some = problem.on(fewer(problem.samples, jax.random.key(0), FEW))
    first = by_name(some, np.ones(K, bool), KEY, "kmeans")
    last = jax.lax.fori_loop(0, n_steps, lambda _, point: some.step(point)[0], first)
    return problem.log_likelihood(last, problem.evaluate(last).value)


@pytest.mark.usefixtures("_short_runs")
def test_a_short_run_takes_no_more_steps_than_the_fit_may() -> None:
    for max_iter in (1, 4):
        result = fit(X, K, key=KEY, max_iter=max_iter, tol=0.0, accelerate=False)
        assert result.n_iter == max_iter
        np.testing.assert_allclose(result.history[0], steps_on_a_subsample(max_iter), rtol=1e-9)
    assert steps_on_a_subsample(1) < steps_on_a_subsample(4) - 1e-3
