"""When a climb has converged."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hills import HILL, START, Ascent, gain, iterated

from jgmm._status import Status
from jgmm.solvers.stopping import Change


def change(previous: float = -np.inf, tol: float = 1e-6, max_iter: int = 40) -> Any:
    return Change(tol=np.float64(tol), max_iter=np.int32(max_iter), previous=np.float64(previous))


@pytest.mark.parametrize("rule", [gain(), change()])
def test_the_first_value_is_compared_with_nothing(rule: Any) -> None:
    origin = rule.origin()
    assert origin.value == -jnp.inf
    assert origin.error == 0
    assert not rule.converged(jnp.asarray(jnp.inf))


def test_a_gain_has_to_be_large_enough() -> None:
    rule = gain(tol=0.1)
    gains = jnp.array([-1.0, 0.0, 0.05, 0.1, 0.2])
    np.testing.assert_array_equal(rule.converged(gains), [True, True, True, False, False])
    assert not gain(tol=0.0).converged(jnp.asarray(0.0))


def test_a_change_may_be_a_loss() -> None:
    rule = change(tol=0.1)
    gains = jnp.array([-1.0, -0.05, 0.0, 0.05, 0.1])
    np.testing.assert_array_equal(rule.converged(gains), [False, True, True, True, False])


@pytest.mark.parametrize("rule", [gain(tol=1e-3), change(tol=1e-3, previous=2.0)])
def test_a_relaxed_rule_is_the_same_with_less_asked(rule: Any) -> None:
    for tol, expected in ((0, 1e-3), (1e-6, 1e-3), (0.1, 0.1)):
        relaxed = rule.relaxed(tol, np.int32(7))
        assert type(relaxed) is type(rule)
        assert relaxed.tol == pytest.approx(expected)
        assert relaxed.max_iter == 7
        assert relaxed.origin().value == rule.origin().value


def test_a_climb_that_is_carried_on_may_end_at_once() -> None:
    """The value before it says that nothing was gained."""
    before = float(HILL.height(START))
    solver = Ascent(keeps_best=False)
    carried = iterated(solver, change(previous=before))
    assert carried.status == Status.CONVERGED
    assert carried.n_iter == 0
    fresh = iterated(solver, change())
    assert fresh.n_iter > 5
    assert iterated(solver, change(previous=before - 1)).n_iter == fresh.n_iter


def test_a_descent_ends_by_its_change() -> None:
    """On a hill upside down, where a gain would end it after one step."""
    valley = HILL.replace(curvature=-HILL.curvature)
    solver = Ascent(rate=-0.5, keeps_best=False, never_falls=False)
    run = iterated(solver, change(), valley)
    assert run.status == Status.CONVERGED
    assert run.n_iter > 5
    history = np.asarray(run.history)[: int(run.n_iter) + 1]
    assert (np.diff(history) < 0).all()
    assert abs(history[-1] - history[-2]) < 1e-6 <= abs(history[-2] - history[-3])
    assert iterated(solver, gain(), valley).n_iter == 1
