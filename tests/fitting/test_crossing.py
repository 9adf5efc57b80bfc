"""Fits that take long behind a search go on by their subsample; the others are as they were."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from examples import assert_history_is_right, overlapping

import jgmm
from jgmm import Status
from jgmm.fitting import crossing
from jgmm.fitting import options as _options
from jgmm.fitting.population import plan_for
from jgmm.solvers.scouting import Scouting

N, K = 600, 4
X = overlapping(seed=0, n=N, k=K)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were many samples, and plateaus began after two steps."""
    plan = plan_for(K, 3, thorough=False)
    monkeypatch.setattr(_options, "search_of", lambda *arguments: (128, plan))
    monkeypatch.setattr(crossing, "PATIENCE", 2)


@pytest.fixture
def crossed(monkeypatch: pytest.MonkeyPatch) -> list[Scouting]:
    """Each crossing."""
    found: list[Scouting] = []

    def noted(spare: int, few: int) -> Scouting:
        found.append(Scouting(spare, few))
        return found[-1]

    monkeypatch.setattr(crossing, "Scouting", noted)
    return found


@pytest.mark.parametrize("prior", [None, "weak"])
def test_it_ends_as_high_as_without(prior: str | None, crossed: list[Scouting]) -> None:
    found = jgmm.fit(X, K, tol=1e-8, prior=prior)
    assert len(crossed) == 1
    assert (np.diff(found.learning_curve) >= 0).all()
    np.testing.assert_allclose(found.learning_curve[-1], found.objective, rtol=1e-12)
    assert found.status == Status.CONVERGED
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossing, "PATIENCE", 500)
        other = jgmm.fit(X, K, tol=1e-8, prior=prior)
    assert len(crossed) == 1
    np.testing.assert_allclose(found.objective, other.objective, atol=1e-5)
    np.testing.assert_allclose(jgmm.score(found.mixture, X), found.log_likelihood, rtol=1e-9)


def test_the_same_key_gives_the_same(crossed: list[Scouting]) -> None:
    one, two = (jgmm.fit(X, K, key=3, tol=1e-8) for _ in range(2))
    assert len(crossed) == 2
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_it_takes_no_more_steps_than_it_may(crossed: list[Scouting]) -> None:
    found = jgmm.fit(X, K, max_iter=4, tol=0.0)
    assert len(crossed) == 1
    assert found.n_iter == 4
    assert found.status == Status.MAX_ITER
    assert_history_is_right(found, 4)


def test_restarts_and_sweeps_cross_too(crossed: list[Scouting]) -> None:
    found = jgmm.sweep(X, [2, K], n_restarts=2, tol=1e-8)
    assert crossed
    assert (np.asarray(found.fits.status) == Status.CONVERGED).all()
    best = np.max(found.fits.log_likelihood, axis=1)
    assert best[1] >= best[0]


@pytest.mark.parametrize("options", [{"search": "none"}, {"accelerate": False}])
def test_what_is_plain_stays_plain(options: dict[str, Any], crossed: list[Scouting]) -> None:
    jgmm.fit(X, K, tol=1e-6, **options)
    assert not crossed


def test_under_a_trace_it_does_not_cross(crossed: list[Scouting]) -> None:
    traced = jax.jit(lambda x: jgmm.fit(x, K, covariance_type="diag").log_likelihood)(X)
    assert not crossed
    np.testing.assert_allclose(
        traced, jgmm.fit(X, K, covariance_type="diag").log_likelihood, atol=1e-4
    )
