"""One solver after the other."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from hills import CAPACITY, HILL, PEAK, START, Ascent, Hill, gain, iterated, where

from jgmm._status import Status
from jgmm.data.programs import program
from jgmm.solvers.iterate import Run
from jgmm.solvers.stages import Stage, run_stages
from jgmm.solvers.stopping import Gain


@program("stages")
def through(stages: tuple[Stage, ...], stop: Gain, start: Any = START, hill: Hill = HILL) -> Run:
    return run_stages(hill, start, stages, stop, CAPACITY, jax.random.key(0))


def test_two_stages_are_one_run() -> None:
    """Of the same solver, which stops here and goes on there."""
    stages = (Stage(Ascent(), 3), Stage(Ascent()))
    joined, whole = through(stages, gain()), iterated(Ascent(), gain())
    assert joined.status == whole.status == Status.CONVERGED
    assert joined.n_iter == whole.n_iter
    np.testing.assert_array_equal(joined.history, whole.history)
    np.testing.assert_array_equal(joined.best, whole.best)
    assert joined.value.value == whole.value.value


def test_the_history_is_that_of_one_and_then_of_the_other() -> None:
    slow, fast = Ascent(rate=0.1), Ascent(rate=1.0)
    joined = through((Stage(slow, 4), Stage(fast)), gain())
    first = iterated(slow, gain(max_iter=4))
    second = iterated(fast, gain(), start=where(4, rate=0.1))
    n = 4 + int(second.n_iter)
    assert joined.n_iter == n
    np.testing.assert_allclose(joined.history[:5], first.history[:5], rtol=1e-12)
    np.testing.assert_allclose(joined.history[4 : n + 1], second.history[: n - 3], rtol=1e-12)
    assert np.isnan(joined.history[n + 1 :]).all()
    assert joined.history.shape == (CAPACITY,)


@pytest.mark.parametrize(("max_iter", "first", "second"), [(0, 0, 0), (2, 2, 0), (5, 3, 2)])
def test_all_stages_together_take_no_more_steps_than_may_be(
    max_iter: int, first: int, second: int
) -> None:
    stages = (Stage(Ascent(rate=0.5), 3), Stage(Ascent(rate=1.0)))
    run = through(stages, gain(tol=0.0, max_iter=max_iter))
    assert run.n_iter == max_iter == first + second
    assert run.status == Status.MAX_ITER
    between = where(first)
    expected = PEAK + (1 - HILL.curvature) ** second * (between - PEAK)
    np.testing.assert_allclose(run.best, expected, rtol=1e-12)


def test_a_stage_that_ends_early_leaves_its_steps_to_the_next() -> None:
    stages = (Stage(Ascent(rate=1.0), 30), Stage(Ascent(rate=0.1)))
    run = through(stages, gain(tol=1e-3, max_iter=40))
    early = iterated(Ascent(rate=1.0), gain(tol=1e-3))
    assert early.n_iter < 30
    assert early.n_iter < run.n_iter
    assert run.status == Status.CONVERGED


def test_the_next_begins_with_the_best() -> None:
    """Not where a first one, with steps too long, has led."""
    run = through((Stage(Ascent(rate=5.0), 4), Stage(Ascent())), gain(tol=0.0, max_iter=9))
    np.testing.assert_allclose(run.best, where(5), rtol=1e-12)


def test_of_values_that_do_not_compare_the_end_is_judged_anew() -> None:
    """The last point or the start, whichever is higher; and so is the end of the history."""
    batches = Ascent(keeps_best=False, never_falls=False, patience=1000, offset=7.0)
    stop = gain(tol=0.0, max_iter=6)
    up = through((Stage(batches),), stop)
    np.testing.assert_allclose(up.best, where(6), rtol=1e-12)
    heights = np.array([HILL.height(where(i)) for i in range(7)])
    np.testing.assert_allclose(up.history[:6], heights[:6] + 7, rtol=1e-12)
    np.testing.assert_allclose(up.history[6], heights[6], rtol=1e-12)
    assert up.value.value == up.history[6]
    down = through((Stage(dataclasses.replace(batches, rate=5.0)),), stop)
    np.testing.assert_array_equal(down.best, START)
    assert down.value.value == HILL.height(START)
    np.testing.assert_allclose(down.history[6], HILL.height(where(6, rate=5.0)), rtol=1e-12)
