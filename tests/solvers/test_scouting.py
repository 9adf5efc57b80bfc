"""Some samples show the way: to where all samples end, in fewer passes over all."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import D, K, assert_mixtures_close, overlapping, start

from jgmm._status import Status
from jgmm.data.programs import program
from jgmm.data.samples import Rows, make_samples
from jgmm.em.problem import Problem, pose
from jgmm.families.table import family_of
from jgmm.mixture.mixture import Mixture
from jgmm.solvers.iterate import Run, Solver, iterate
from jgmm.solvers.scouting import Scouting, _ahead
from jgmm.solvers.squarem import Squarem
from jgmm.solvers.stopping import Gain

SIZE, BLOCKS = 64, 16
X = overlapping(seed=3, n=SIZE * BLOCKS)
SPARE = 4  # blocks at the end, a quarter of all samples
SCOUTING = Scouting(SPARE, SPARE * SIZE)


def problem_of(family: str) -> tuple[Problem, Mixture]:
    rows = Rows(features=jnp.asarray(X), weights=jnp.ones(len(X)))
    problem = pose(make_samples(rows, SIZE), family_of(family), jnp.full(D, 1e-6))
    return problem, problem.standardize(jax.tree.map(jnp.asarray, start(family, X, K)))


@program("solver", once=True)
def climbed(solver: Solver, problem: Problem, first: Mixture, tol: Any) -> Run:
    stop: Any = Gain(tol=tol, max_iter=jnp.asarray(400))
    return iterate(problem, solver, first, stop, 401, jax.random.key(0))


@program(once=True)
def ahead(problem: Problem, at: Mixture, n: Any) -> tuple[Mixture, Mixture, Mixture]:
    """The successors by all and by few samples, and where these lead to."""
    few = problem.on(problem.samples.behind(SPARE, SPARE * SIZE))
    following, alone = problem.step(at)[0], few.step(at)[0]
    return following, alone, _ahead(few, at, following, n)


@pytest.mark.parametrize("family", ["full", "tied", "diag"])
def test_where_all_samples_end_the_few_stay(family: str) -> None:
    """Though the optimum of the few lies elsewhere."""
    problem, first = problem_of(family)
    end = climbed(Squarem(), problem, first, 0.0).best
    _, alone, far = ahead(problem, end, 16)
    assert_mixtures_close(far, end, 1e-5)
    assert np.abs(alone.means - end.means).max() > 1e-2


def test_without_a_step_it_is_the_step_of_all() -> None:
    problem, first = problem_of("full")
    following, _, far = ahead(problem, first, 0)
    assert_mixtures_close(far, following, 1e-12)


@pytest.mark.parametrize("family", ["full", "tied", "diag"])
def test_it_ends_where_others_do_in_fewer_passes(family: str) -> None:
    problem, first = problem_of(family)
    run, other = (climbed(solver, problem, first, 1e-9) for solver in (SCOUTING, Squarem()))
    assert run.status == Status.CONVERGED
    assert run.n_iter < other.n_iter
    np.testing.assert_allclose(run.value.value, other.value.value, atol=1e-6)
    assert (np.diff(run.history[: int(run.n_iter) + 1]) >= 0).all()


def test_few_that_mislead_do_not_lead_down() -> None:
    """The last samples are from one corner: they say nothing of other components."""
    x = X[np.argsort(X[:, 0])]
    rows = Rows(features=jnp.asarray(x), weights=jnp.ones(len(x)))
    problem = pose(make_samples(rows, SIZE), family_of("full"), jnp.full(D, 1e-6))
    first = problem.standardize(jax.tree.map(jnp.asarray, start("full", X, K)))
    run = climbed(SCOUTING, problem, first, 1e-9)
    assert run.status == Status.CONVERGED
    assert (np.diff(run.history[: int(run.n_iter) + 1]) >= 0).all()
    further = climbed(Squarem(), problem, run.best, 1e-9)
    np.testing.assert_allclose(further.value.value, run.value.value, atol=1e-6)
