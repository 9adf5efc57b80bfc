"""The search: no worse than its starts, without spikes, told of, the same traced or not."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import overlapping
from sklearn import datasets

import jgmm
from jgmm import Status
from jgmm.data.programs import program
from jgmm.families.table import FAMILIES
from jgmm.fitting import options as _options
from jgmm.fitting.batch import whole
from jgmm.fitting.choices import Choices
from jgmm.fitting.options import read, search_of
from jgmm.fitting.population import Plan, plan_for
from jgmm.fitting.search import n_samples

N, K = 240, 4
X = overlapping(seed=5, n=N, k=K)


def test_it_ends_no_lower_than_its_starts_do() -> None:
    found = jgmm.fit(X, K)
    starts = jgmm.sweep(X, [K], n_restarts=6, search="none").fits.log_likelihood
    assert found.log_likelihood > float(np.max(starts)) - 1e-3


def test_no_component_shrinks_onto_equal_samples() -> None:
    """The likelihood of iris-like tables has no bound where many values are equal."""
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=(150, 4)) + 3 * rng.integers(0, 3, size=(150, 1)), 1)
    x[:60, 3] = 0.2
    plain = jgmm.fit(x, 3, search="none")
    found = jgmm.fit(x, 3)

    def narrowest(fit: jgmm.FitResult) -> float:
        spread = np.sqrt(np.outer(x.std(0), x.std(0)))
        return float(np.linalg.eigvalsh(np.asarray(fit.mixture.covariances) / spread**2).min())

    assert narrowest(plain) > 1e-3 or narrowest(found) >= narrowest(plain) / 2


@pytest.mark.parametrize("accelerate", [True, False])
def test_the_history_tells_of_the_search(accelerate: bool) -> None:
    result = jgmm.fit(X, K, accelerate=accelerate)
    curve = result.learning_curve
    assert result.status == Status.CONVERGED
    assert (np.diff(curve) >= 0).all()
    start = jgmm.fit(X, K, max_iter=0, search="none")
    assert curve[0] <= curve[1] <= result.log_likelihood
    assert abs(curve[0] - start.history[0]) < 0.5
    plan = plan_for(K, 3, thorough=True)
    assert plan is not None
    assert result.n_iter >= plan.n_stages
    # Of few steps it does not tell, and there are as many as asked for.
    few = jgmm.fit(X, K, accelerate=accelerate, max_iter=3, tol=0.0)
    assert few.n_iter == 3
    assert few.history[0] > curve[0]


def test_under_a_trace_it_is_the_same() -> None:
    eager = jgmm.fit(X, K, covariance_type="diag")
    traced = program(once=True)(lambda x: jgmm.fit(x, K, covariance_type="diag"))(jnp.asarray(X))
    # Of runs that came to one optimum, rounding says which goes on.
    early = slice(0, 3)
    np.testing.assert_allclose(eager.history[early], traced.history[early], rtol=1e-6)
    np.testing.assert_allclose(eager.log_likelihood, traced.log_likelihood, atol=2e-5)


def test_the_same_key_gives_the_same_fit_and_another_may_not() -> None:
    one, two = jgmm.fit(X, K, key=3), jgmm.fit(X, K, key=3)
    jax.tree.map(np.testing.assert_array_equal, one, two)
    assert jgmm.fit(X, K, key=4).history[0] != one.history[0]


@pytest.mark.parametrize("family", ["tied", "VEI"])
def test_it_works_with_what_else_is_known(family: str) -> None:
    """Weights, a prior, features missing.

    Of the family only the moves know something, which test_moves looks at for each: those of a
    covariance that is shared, and of variances that are in part.
    """
    gaps = X.copy()
    gaps[::9, 1] = np.nan
    weights = np.random.default_rng(1).uniform(0.5, 2, N)
    options: dict[str, Any] = {"covariance_type": family, "weights": weights}
    result = jgmm.fit(gaps, K, missing="nan", prior=jgmm.weak_prior(X, K), **options)
    assert result.status == Status.CONVERGED
    assert (np.diff(result.learning_curve) >= 0).all()
    plain = jgmm.fit(gaps, K, missing="nan", prior=jgmm.weak_prior(X, K), search="none", **options)
    assert result.objective > plain.objective - 1e-3


def test_many_samples_are_searched_by_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if these were many: the fit itself sees all of them."""
    plan = plan_for(K, 3, thorough=False)
    monkeypatch.setattr(_options, "search_of", lambda *arguments: (128, plan))
    result = jgmm.fit(X, K, covariance_type="diag")
    assert result.status == Status.CONVERGED
    assert (np.diff(result.learning_curve) >= 0).all()
    np.testing.assert_allclose(jgmm.score(result.mixture, X), result.log_likelihood, rtol=1e-9)
    traced = program(once=True)(lambda x: jgmm.fit(x, K, covariance_type="diag"))(jnp.asarray(X))
    np.testing.assert_allclose(result.log_likelihood, traced.log_likelihood, rtol=1e-6)


def test_how_much_is_searched() -> None:
    full = FAMILIES["full"]
    assert search_of(2000, 3, 3, full) == (None, plan_for(3, 3, thorough=True))
    assert search_of(76_469, 10, 3, full) == (1 << 13, plan_for(10, 3, thorough=False))
    assert search_of(10**7, 10, 3, full)[0] == 1 << 17
    assert search_of(10**6, 32, 32, full) == (None, None)  # K D is too large
    assert search_of(20_000, 20, 20, full) == (None, None)  # no half of these determines so much
    assert plan_for(1, 3, thorough=True) is None
    ks = 1, 2, 3, 10, 50
    for thorough, rounds in ((False, [0, 2, 2, 8, 8]), (True, [0, 4, 4, 8, 8])):
        plan = Plan(n_components=50, thorough=thorough)
        assert [plan.rounds_for(k) for k in ks] == rounds


def test_labels_and_given_starts_are_not_searched() -> None:
    labels = np.full(N, -1)
    labels[:3] = [0, 1, 2]
    for options in ({"labels": labels}, {"init": X[:K]}, {"search": "none"}):
        chosen: dict[str, Any] = options
        result = jgmm.fit(X, K, **chosen)
        again = jgmm.fit(X, K, **{**chosen, "search": "none"})
        np.testing.assert_array_equal(result.history, again.history)
    with pytest.raises(ValueError, match="search: expected one of best, none; got 'all'"):
        jgmm.fit(X, K, search="all")


def test_samples_are_counted_without_those_that_fill_up_blocks() -> None:
    """Else narrow components of few samples are charged too little: 150 are padded to 256."""
    for n in (150, 40_000):  # as they are, and by a subsample
        x = np.random.default_rng(0).normal(size=(n, 2))
        weights = np.ones(n)
        weights[:10] = 0
        request = read(x, (3,), Choices(weights=weights, search="best"), spread=False)
        every = whole(request.problem, request.options.cut)
        assert (request.options.cut.few is None) == (n == 150)
        assert n_samples(every) == n - 10


def test_equal_values_make_no_optimum() -> None:
    """29 of the irises have one width of petals: a component of these is likelier, not better."""
    iris = datasets.load_iris().data
    result = jgmm.fit(iris, 3)
    assert not np.asarray(result.at_floor).any()
    np.testing.assert_allclose(result.log_likelihood * 150, -180.1855, atol=1e-3)  # mclust's VVV
