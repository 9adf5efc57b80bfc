"""Plain EM in the loop."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import D, W, X, assert_mixtures_close, plain, start

from jgmm._status import Status
from jgmm.data.programs import program
from jgmm.data.samples import Rows, make_samples
from jgmm.em.problem import Problem, pose
from jgmm.families.floor import Ridge
from jgmm.families.table import family_of
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.em import Em, LastOfEm
from jgmm.solvers.iterate import Run, Solver, iterate
from jgmm.solvers.stopping import Change, Gain

STEPS = 8


def problem_of(family: str) -> Problem:
    rows = Rows(features=jnp.asarray(X), weights=jnp.asarray(W))
    return pose(make_samples(rows, 256), family_of(family), jnp.zeros(D))


@program("solver", once=True)
def iterated(solver: Solver, problem: Problem, first: Mixture, stop: Any) -> Run:
    return iterate(problem, solver, first, stop, STEPS + 1, jax.random.key(0))


@program(once=True)
def by_hand(problem: Problem, first: Mixture) -> tuple[Mixture, Mixture, jax.Array]:
    """All mixtures on the way, the one after them, and their objectives."""

    def step(mixture: Mixture, _: None) -> tuple[Mixture, tuple[Mixture, jax.Array]]:
        following, value = problem.step(mixture)
        return following, (mixture, value.value)

    last, (way, values) = jax.lax.scan(step, first, None, length=STEPS + 1)
    return way, last, values


def change() -> Any:
    return Change(tol=np.float64(0), max_iter=np.int32(STEPS), previous=np.float64(-np.inf))


@pytest.mark.parametrize("family", ["full", "diag"])
def test_it_is_one_e_step_and_one_m_step_after_the_other(family: str) -> None:
    problem = problem_of(family)
    first = problem.standardize(jax.tree.map(jnp.asarray, start(family, X)))
    stop: Any = Gain(tol=np.float64(0), max_iter=np.int32(STEPS))
    run = iterated(Em(), problem, first, stop)
    way, following, values = by_hand(problem, first)
    assert run.status == Status.MAX_ITER
    np.testing.assert_allclose(run.history, values, rtol=1e-12)
    assert (np.diff(run.history) > 0).all()
    last = jax.tree.map(lambda leaf: leaf[-1], way)
    assert_mixtures_close(run.best, last, 1e-12)
    assert_mixtures_close(run.state, following, 1e-12)
    np.testing.assert_allclose(problem.evaluate(run.best).value, run.value.value, rtol=1e-12)


def test_the_last_counts_where_a_ridge_makes_the_likelihood_fall() -> None:
    """As scikit-learn has it; the best, the start, is not what it is about."""
    problem = problem_of("full")
    first = problem.standardize(jax.tree.map(jnp.asarray, start("full", X)))
    optimum = first
    for _ in range(10):
        optimum = by_hand(problem, optimum)[1]
    ridged = dataclasses.replace(problem, floor=Ridge(variances=jnp.full(D, 0.3)))
    way, following, values = by_hand(ridged, optimum)
    assert (np.diff(values) < 0).any()
    assert values[0] > values[-1] + 0.01
    run = iterated(LastOfEm(), ridged, optimum, change())
    np.testing.assert_allclose(run.history, values, rtol=1e-12)
    last = jax.tree.map(lambda leaf: leaf[-1], way)
    assert_mixtures_close(run.best, last, 1e-12)
    assert_mixtures_close(run.state, following, 1e-12)
    np.testing.assert_allclose(run.value.value, values[-1], rtol=1e-12)
    kept = iterated(Em(), ridged, optimum, change())
    assert_mixtures_close(plain(kept.best), optimum, 1e-12)
    np.testing.assert_allclose(kept.history, np.full(STEPS + 1, values[0]), rtol=1e-12)
