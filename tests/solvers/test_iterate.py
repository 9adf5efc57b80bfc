"""The loop, on hills that are no mixtures."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hills import CAPACITY, HILL, PEAK, START, Ascent, gain, iterated, where

from jgmm._status import Status
from jgmm.data.compensated import Compensated
from jgmm.solvers.iterate import Step


def heights(n: int, rate: float = 0.5) -> np.ndarray:
    """Of the start and after each of n steps."""
    return np.array([HILL.height(where(i, rate)) for i in range(n + 1)])


def test_it_climbs_until_nothing_is_gained() -> None:
    run = iterated(Ascent(), gain(tol=1e-6))
    n = int(run.n_iter)
    assert run.status == Status.CONVERGED
    expected = heights(n)
    gains = np.diff(expected)
    assert gains[-1] < 1e-6 <= gains[-2]
    np.testing.assert_allclose(run.history[: n + 1], expected, rtol=1e-12)
    assert run.history.shape == (CAPACITY,)
    assert np.isnan(run.history[n + 1 :]).all()
    np.testing.assert_allclose(run.best, where(n), rtol=1e-12)
    np.testing.assert_allclose(run.best, PEAK, atol=3e-3)
    assert run.value.value == run.history[n] == HILL.height(run.best)
    # Where it would have gone on.
    np.testing.assert_allclose(run.state[0], where(n + 1), rtol=1e-12)


@pytest.mark.parametrize("max_iter", [0, 1, 7])
def test_it_takes_no_more_steps_than_it_may(max_iter: int) -> None:
    run = iterated(Ascent(), gain(max_iter=max_iter))
    assert run.status == Status.MAX_ITER
    assert run.n_iter == max_iter
    np.testing.assert_allclose(run.best, where(max_iter), rtol=1e-12)
    np.testing.assert_array_equal(np.isfinite(run.history), np.arange(CAPACITY) <= max_iter)


def test_a_tolerance_of_zero_never_ends_it() -> None:
    assert iterated(Ascent(), gain(tol=0.0)).status == Status.MAX_ITER
    on_top = iterated(Ascent(), gain(tol=0.0), start=PEAK)
    assert on_top.n_iter == 40
    assert iterated(Ascent(), gain(tol=1e-12), start=PEAK).n_iter == 1


def test_the_best_is_kept_or_the_last() -> None:
    """Steps too long by far lead down."""
    downhill = Ascent(rate=5.0, patience=1000)
    falling = heights(5, rate=5.0)
    assert (np.diff(falling) < 0).all()
    stop = gain(tol=0.0, max_iter=5)
    best = iterated(downhill, stop)
    np.testing.assert_array_equal(best.best, START)
    assert best.value.value == HILL.height(START)
    np.testing.assert_array_equal(best.history[:6], np.full(6, falling[0]))
    last = iterated(dataclasses.replace(downhill, keeps_best=False), stop)
    np.testing.assert_allclose(last.best, where(5, rate=5.0), rtol=1e-12)
    np.testing.assert_allclose(last.history[:6], falling, rtol=1e-12)
    np.testing.assert_allclose(last.value.value, falling[-1], rtol=1e-12)
    # A solver that may fall on its way up shows how it went.
    shown = iterated(dataclasses.replace(downhill, never_falls=False), stop)
    np.testing.assert_array_equal(shown.best, START)
    np.testing.assert_allclose(shown.history[:6], falling, rtol=1e-12)


def test_a_fall_is_no_gain() -> None:
    for keeps_best in (True, False):
        run = iterated(Ascent(rate=5.0, keeps_best=keeps_best), gain(tol=1e-6))
        assert run.status == Status.CONVERGED
        assert run.n_iter == 1


def test_only_what_is_testable_is_tested() -> None:
    every, third = (iterated(Ascent(patience=n), gain(tol=1e-6)) for n in (1, 3))
    assert third.status == Status.CONVERGED
    assert third.n_iter % 3 == 0
    expected = heights(40)
    over_three = expected[3::3] - expected[:-3:3]
    assert third.n_iter == 3 * (1 + int(np.argmax(over_three < 1e-6)))
    assert third.n_iter > every.n_iter


def test_what_is_not_finite_is_told() -> None:
    """At the start, on the way, and not at all if it was a guess."""
    beyond = dataclasses.replace(HILL, cliff=jnp.array(3.0))
    at_start = iterated(Ascent(), gain(), beyond)
    assert at_start.status == Status.NONFINITE
    assert at_start.n_iter == 0
    np.testing.assert_array_equal(at_start.best, START)
    behind = dataclasses.replace(HILL, cliff=jnp.array(0.0))
    start = jnp.array([-4.0, 3.0])
    for keeps_best in (True, False):
        run = iterated(Ascent(keeps_best=keeps_best), gain(), behind, start)
        assert run.status == Status.DEGENERATE
        assert run.n_iter == 3
        assert run.best[0] < 0
        assert jnp.isfinite(run.value.value)
        assert run.value.value == run.history[2]
    guessed = iterated(Ascent(guesses=True), gain(tol=0.0), behind, start)
    assert guessed.status == Status.MAX_ITER
    assert jnp.isfinite(guessed.history[:41]).all()
    np.testing.assert_array_equal(guessed.best, run.best)


@dataclasses.dataclass(frozen=True)
class Crawl:
    """Gains of 1e-10 at a height of 1000, which no single number of float32 can tell."""

    keeps_best: bool = True
    never_falls: bool = True

    def init(self, problem: Any, start: Any, key: Any) -> Any:
        return start

    def step(self, problem: Any, state: Any) -> tuple[Any, Step[Any]]:
        high = jnp.full_like(state["gained"], 1000)
        value = Compensated(value=high, error=state["gained"])
        yes = jnp.asarray(True)
        following = {"gained": state["gained"] + 1e-10, "other": state["other"] + 1}
        return following, Step(point=state, value=value, testable=yes, guess=~yes)


def test_gains_below_the_rounding_of_the_value_are_seen() -> None:
    """And a point may be any pytree."""
    start = {"gained": jnp.zeros((), jnp.float32), "other": jnp.zeros(2, jnp.int32)}
    stop = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), gain(tol=5e-11))
    stop = dataclasses.replace(stop, max_iter=jnp.asarray(9, jnp.int32))
    run = iterated(Crawl(), stop, start=start)
    assert run.status == Status.MAX_ITER
    np.testing.assert_array_equal(run.best["other"], [9, 9])
    assert run.history.dtype == run.value.error.dtype == jnp.float32
    coarse = dataclasses.replace(stop, tol=jnp.asarray(2e-10, jnp.float32))
    assert iterated(Crawl(), coarse, start=start).n_iter == 1


def test_side_by_side_each_ends_on_its_own() -> None:
    tols = jnp.array([1e-2, 1e-6, 1e-9])
    stops = jax.vmap(lambda tol: dataclasses.replace(gain(), tol=tol))(tols)
    together = jax.vmap(lambda stop: iterated(Ascent(), stop))(stops)
    for i, tol in enumerate(tols):
        alone = iterated(Ascent(), dataclasses.replace(gain(), tol=tol))
        one = jax.tree.map(lambda leaf, i=i: leaf[i], (together.best, together.n_iter))
        np.testing.assert_allclose(one[0], alone.best, rtol=1e-12)
        assert one[1] == alone.n_iter
    assert (np.diff(together.n_iter) > 0).all()


def test_there_is_room_for_one_value_at_least() -> None:
    """A run whose history nobody asks for."""
    run = iterated(Ascent(), gain(), capacity=0)
    assert run.history.shape == (1,)
    np.testing.assert_array_equal(run.best, iterated(Ascent(), gain()).best)
