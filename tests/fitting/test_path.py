"""The path over k: likelihoods never fall, and neighbours help."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import overlapping, plain

import jgmm
from jgmm._struct import build
from jgmm.data.programs import program
from jgmm.em.prior import weak_prior
from jgmm.families.table import FAMILIES
from jgmm.fitting import dispatch, options
from jgmm.fitting.moves import grow, shrink
from jgmm.fitting.path import _cut_up
from jgmm.fitting.population import plan_for
from jgmm.mixture.mixture import Mixture

K, D, N = 4, 3, 240
X = overlapping(seed=5, n=N, k=K)
KS = (6, 1, 2, 4)  # not in order
FLOOR = np.full(D, 1e-3)


def never_falls(result: jgmm.SweepResult) -> bool:
    order = np.argsort(result.n_components)
    rises = np.diff(np.asarray(result.fits.log_likelihood)[order], axis=0)
    return bool((rises >= -1e-9).all())


CASES = [("full", 2), ("tied", 1), ("spherical", 1), ("VEE", 1)]


@pytest.mark.parametrize(("family", "n_restarts"), CASES)
def test_the_likelihood_never_falls(family: str, n_restarts: int) -> None:
    result = jgmm.sweep(X, KS, covariance_type=family, n_restarts=n_restarts, max_iter=60)
    assert never_falls(result)
    for k in KS:
        fit = result[k]
        score = reference.score(plain(fit.mixture), X, np.ones(N))
        np.testing.assert_allclose(score, fit.log_likelihood, rtol=1e-9)
        curve = fit.learning_curve
        np.testing.assert_allclose(curve[-1], fit.objective, rtol=1e-9)
        assert (np.diff(curve) >= 0).all()


def test_it_does_not_where_more_components_than_samples_are_asked_for() -> None:
    with pytest.warns(jgmm.FitWarning):
        result = jgmm.sweep(X[:5], (2, 5, 8), search="best")
    assert np.isfinite(result.fits.log_likelihood).all()
    assert never_falls(result)


@pytest.mark.parametrize("seed", [38, 98])
def test_no_component_is_there_twice(seed: int) -> None:
    """Two equal ones have the likelihood of one, and no step leads away from there."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 6, size=(int(rng.choice([30, 60, 120, 250])), 2)).astype(float)
    result = jgmm.sweep(x, (3, 4, 5))
    assert never_falls(result)
    for k in (3, 4, 5):
        mixture = result[k].mixture
        different = np.unique(
            np.column_stack([mixture.means, np.reshape(mixture.covariances, (k, -1))]), axis=0
        )
        assert len(different) == k


def test_under_a_trace_it_is_the_same() -> None:
    options: dict[str, Any] = {"covariance_type": "diag", "max_iter": 60}
    eager = jgmm.sweep(X, (4, 1, 2), **options)
    traced = program(once=True)(lambda x: jgmm.sweep(x, (4, 1, 2), **options))(jnp.asarray(X))
    np.testing.assert_allclose(eager.fits.log_likelihood, traced.fits.log_likelihood, atol=1e-3)
    assert never_falls(traced)


def test_neighbours_help_where_the_search_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if searches had found nothing but their starts' own mean.

    Of spheres: 6 of them end 0.046 short where the path goes down alone.
    """
    options: dict[str, Any] = {"covariance_type": "spherical", "max_iter": 200}
    whole = jgmm.sweep(X, KS, **options).fits.log_likelihood
    search = dispatch.search

    def poor(request: Any, rows: Any, keys: Any) -> Any:
        found = search(request, rows, keys)
        if request.ks[rows[0]] in (1, 4):  # the others have to do by their neighbours
            return found
        worse = build(Mixture, **{**found.mixtures.__dict__, "means": 0 * found.mixtures.means})
        return build(type(found), **{**found.__dict__, "mixtures": worse, "value": found.value - 9})

    monkeypatch.setattr(dispatch, "search", poor)
    result = jgmm.sweep(X, KS, **options).fits.log_likelihood
    assert np.max(np.asarray(whole) - np.asarray(result)) < 0.02


def test_of_many_samples_few_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_for(6, D, thorough=False)
    monkeypatch.setattr(options, "search_of", lambda *arguments: (128, plan))
    assert never_falls(jgmm.sweep(X, KS, covariance_type="diag", max_iter=120))


def test_without_a_search_each_is_on_its_own() -> None:
    result = jgmm.sweep(X, (4, 2), search="none", max_iter=60)
    for k in (4, 2):
        single = jgmm.fit(X, k, search="none", max_iter=60)
        np.testing.assert_allclose(result[k].history, single.history, rtol=1e-9)


def test_under_a_prior_objectives_may_fall_and_each_is_its_own() -> None:
    prior = weak_prior(X, 4)
    options: dict[str, Any] = {"covariance_type": "diag", "prior": prior, "max_iter": 60}
    result = jgmm.sweep(X, (2, 4), **options)
    for k in (2, 4):
        single = jgmm.fit(X, k, **options)
        assert result[k].objective > single.objective - 1e-3


def mixture(family: str, used: int) -> Mixture:
    rng = np.random.default_rng(3)
    roots = rng.normal(size=(K, D, D)) / 3
    matrices = roots @ roots.transpose(0, 2, 1) + np.diag(FLOOR)
    weights = np.where(np.arange(K) < used, rng.dirichlet(np.ones(K)), 0)
    weights /= weights.sum()
    covariances = FAMILIES[family].shared_out(matrices, weights)
    return build(
        Mixture,
        weights=weights,
        means=rng.normal(size=(K, D)),
        covariances=covariances,
        family=FAMILIES[family],
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_to_grow_and_to_shrink_keep_what_the_mixture_is_on_the_whole(family: str) -> None:
    three = mixture(family, 3)
    four = grow(three, 3, FLOOR, np.array([0.4, 0.2]))
    two = shrink(three, 2, FLOOR, np.array(0.3))
    for here, n in ((four, 4), (two, 2)):
        assert isinstance(here.means, np.ndarray)
        assert (here.weights[:n] > 0).all()
        assert not here.weights[n:].any()
        np.testing.assert_allclose(here.weights @ here.means, three.weights @ three.means)
        dense = np.asarray(here.family.dense(here.covariances, K, D))
        assert (np.linalg.eigvalsh(dense[:n] - np.diag(FLOOR)) > -1e-12).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_component_in_equal_parts_has_the_same_density(family: str) -> None:
    two = mixture(family, 2)
    four = _cut_up(two, 2, 4)
    traced = program("n", "k")(_cut_up)(jax.tree.map(jnp.asarray, two), 2, 4)
    x = np.random.default_rng(0).normal(size=(20, D))
    for here in (four, traced):
        assert (here.weights > 0).all()
        np.testing.assert_allclose(jgmm.log_prob(here, x), jgmm.log_prob(two, x), rtol=1e-9)
    for a, b in itertools.pairwise((four, traced)):
        np.testing.assert_allclose(a.means, b.means)
