"""What is maximised, and by what starts are compared: with a prior that is not the likelihood."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import D, K, W, X, assert_history_is_right, plain

import jgmm
from jgmm.fitting import options as _options
from jgmm.fitting.batch import few, finished, iterated, started, whole
from jgmm.fitting.choice import choose, explain
from jgmm.fitting.choices import Choices
from jgmm.fitting.options import read

# Strong enough that the likeliest of four starts is not the most probable.
PRIOR = jgmm.Prior(
    concentration=np.float64(30),
    mean=X.mean(0) + 1,
    mean_strength=np.float64(40),
    scale=60 * np.eye(D),
    dof=np.float64(60),
)
SEED, R, FEW = 8, 4, 128
OPTIONS: dict[str, Any] = {
    "weights": W,
    "covariance_type": "diag",
    "init": "random_from_data",
    "max_iter": 2,
    "tol": 0.0,
    "prior": PRIOR,
}
# A search leads all starts to one optimum.
ALONE: dict[str, Any] = {**OPTIONS, "search": "none"}


def key() -> jax.Array:
    return jax.random.key(SEED)


def ranks_differ(fits: jgmm.FitResult) -> bool:
    return int(jnp.argmax(fits.objective)) != int(jnp.argmax(fits.log_likelihood))


@pytest.fixture(scope="module")
def swept() -> jgmm.SweepResult:
    return jgmm.sweep(X, [K], key=key(), n_restarts=R, **ALONE)


def test_without_a_prior_it_is_the_likelihood() -> None:
    for result in (jgmm.fit(X, K), jgmm.fit(X, K, weights=W, max_iter=3, tol=0.0)):
        assert result.objective == result.log_likelihood
        assert_history_is_right(result, len(result.history) - 1)
    options = {name: value for name, value in OPTIONS.items() if name != "prior"}
    fits = jgmm.sweep(X, [K], key=key(), n_restarts=R, **options).fits
    np.testing.assert_array_equal(fits.objective, fits.log_likelihood)


def test_with_a_prior_it_is_the_end_of_the_history_and_more_than_the_likelihood(
    swept: jgmm.SweepResult,
) -> None:
    for r in range(R):
        fit = jax.tree.map(lambda leaf, r=r: leaf[0, r], swept.fits)
        score = jgmm.score(fit.mixture, X, W)
        np.testing.assert_allclose(fit.log_likelihood, score, rtol=1e-9)
        assert fit.objective == fit.history[int(fit.n_iter)]
        bonus = reference.log_prior(plain(fit.mixture), PRIOR, "diag")
        np.testing.assert_allclose(fit.objective, score + bonus / W.sum(), rtol=1e-9)


def test_the_restart_of_highest_objective_is_taken(swept: jgmm.SweepResult) -> None:
    fits = jax.tree.map(lambda leaf: leaf[0], swept.fits)
    assert ranks_differ(fits)
    best = int(jnp.argmax(fits.objective))
    for result in (swept[K], jgmm.fit(X, K, key=key(), n_restarts=R, **ALONE)):
        np.testing.assert_allclose(result.objective, fits.objective[best], rtol=1e-12)
        np.testing.assert_allclose(result.log_likelihood, fits.log_likelihood[best], rtol=1e-12)
        np.testing.assert_allclose(result.mixture.means, fits.mixture.means[best], rtol=1e-9)


def test_the_short_run_of_highest_objective_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if these were many samples."""
    monkeypatch.setattr(_options, "subsample_size", lambda *arguments: FEW)
    request = read(X, (K,), Choices(key=key(), n_restarts=R, **OPTIONS), spread=False)
    options, settings, used = request.options, request.settings, request.used((0,))
    assert options.cut.few == FEW
    prior, every = settings.priors[K], whole(request.problem, options.cut)
    some = few(request.problem, options.cut)
    starts = started(some, used, request.keys, None, prior, options.start, FEW, None)

    def run_stages(problem: Any, mixtures: Any, max_iter: int) -> Any:
        stop = dataclasses.replace(settings.stop, max_iter=np.asarray(max_iter, np.int32))
        arguments = options.stages, options.capacity, None
        return iterated(problem, mixtures, request.keys, prior, stop, *arguments)

    ends = run_stages(some, starts, request.max_iter).best
    found = finished(every, run_stages(every, ends, 0), used, prior, None)
    shorts = jax.tree.map(lambda leaf: leaf[0], found)
    assert ranks_differ(shorts)
    result = jgmm.fit(X, K, key=key(), n_restarts=R, search="none", **OPTIONS)
    np.testing.assert_allclose(result.history[0], jnp.max(shorts.objective), rtol=1e-12)


def test_by_gradient_it_is_the_same() -> None:
    options = {name: value for name, value in OPTIONS.items() if name != "max_iter"}
    options["n_steps"] = 2
    singly = [jgmm.fit_gradient(X, K, key=k, **options) for k in jax.random.split(key(), R)]
    assert ranks_differ(jax.tree.map(lambda *leaves: jnp.stack(leaves), *singly))
    together = jgmm.fit_gradient(X, K, key=key(), n_restarts=R, **options)
    best = max(singly, key=lambda result: float(result.objective))
    np.testing.assert_allclose(together.objective, best.objective, rtol=1e-12)
    for result in singly:
        np.testing.assert_allclose(
            result.log_likelihood, jgmm.score(result.mixture, X, W), rtol=1e-9
        )
        np.testing.assert_allclose(result.objective, np.nanmax(result.history), rtol=1e-12)


def made_up(log_likelihoods: Any, objectives: Any) -> jgmm.SweepResult:
    """A sweep over 1, 2, … components with these results [S, R]."""
    values = np.asarray(log_likelihoods, np.float64)
    s, r = values.shape
    fits = jgmm.FitResult(
        mixture=jgmm.Mixture(
            weights=np.broadcast_to(np.ones(s) / s, (s, r, s)),
            means=np.zeros((s, r, s, 1)),
            covariances=np.ones((s, r, s, 1)),
            family="spherical",
        ),
        log_likelihood=values,
        objective=np.asarray(objectives, np.float64),
        history=np.zeros((s, r, 1)),
        n_iter=np.broadcast_to(np.arange(r, dtype=np.int32), (s, r)),
        status=np.zeros((s, r), np.int32),
    )
    return jgmm.SweepResult(
        fits=fits, n_components=np.arange(1, s + 1), bic=-values, aic=-values, icl=-values
    )


def test_the_choice_of_k_looks_at_the_restart_that_is_taken() -> None:
    """The knee is at 3 components; that of the likeliest restarts would be at 2."""
    taken, likeliest = [-9.0, -8.0, -4.0, -3.9], [-9.0, -5.0, -4.0, -3.9]
    values = np.stack([likeliest, taken], axis=1)
    found = made_up(values, [[0, 1]] * 4)
    assert choose(found) == 3
    assert "up to there it gains 5.000 nats" in explain(found)
    assert choose(made_up(values, [[1, 0]] * 4)) == 2
    for k in (1, 2, 3, 4):
        assert found[k].n_iter == 1
        assert found[k].log_likelihood == taken[k - 1]


def test_what_is_not_finite_is_never_taken() -> None:
    nan = np.nan
    found = made_up([[-1.0, -2.0], [-3.0, -4.0]], [[nan, -7.0], [-6.0, nan]])
    assert found[1].log_likelihood == -2
    assert found[2].log_likelihood == -3
    lost = made_up([[-1.0], [-2.0], [-1.0]], [[nan], [-1.0], [-0.5]])
    assert choose(lost) == 3
