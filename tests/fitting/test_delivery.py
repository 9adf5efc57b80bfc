"""What a fit says of how it ended, outside of traces."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np
import pytest
from examples import K, X, start

import jgmm
from jgmm.data.programs import program
from jgmm.mixture.components import by_weight

TWO = np.repeat([[0.0, 0, 0], [9, 8, 3]], 120, axis=0)
STOPPED = {"max_iter": 2, "tol": 1e-12}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jgmm.fit(X, K, **STOPPED), "ended with status MAX_ITER: raise max_iter"),
        (lambda: jgmm.fit(TWO, K), "ended with status DEGENERATE: ask for fewer components"),
        (lambda: jgmm.fit(X, K, weights=np.zeros(len(X))), "status NONFINITE: look for NaN"),
        (lambda: jgmm.sweep(X, [1, 2, K], **STOPPED), "not all fits converged: 1 CONVERGED, 2 MAX"),
        (lambda: jgmm.sweep_families(X, [2, K], ["full"], **STOPPED), "not all .* 2 MAX_ITER"),
        (lambda: jgmm.kmeans(X, K, max_iter=1, tol=1e-12), "status MAX_ITER"),
        (
            lambda: jgmm.segment(np.arange(64, dtype=np.uint8).reshape(8, 8), 2, **STOPPED),
            "status MAX_ITER",
        ),
    ],
)
def test_one_warning_with_advice_at_the_line_of_the_caller(call: Any, message: str) -> None:
    with pytest.warns(jgmm.FitWarning, match=message) as told:
        call()
    assert [warning.filename for warning in told] == [__file__]


@pytest.mark.filterwarnings("error")
def test_no_word_where_so_many_steps_were_asked_for() -> None:
    jgmm.fit(X, K, max_iter=0)
    jgmm.fit(X, K, max_iter=2, tol=0)
    jgmm.sweep(X, [1, 2, K], max_iter=2, tol=0.0)


@pytest.mark.filterwarnings("error")
def test_no_word_under_a_trace() -> None:
    """Nor is a traced integer no key."""

    @program(once=True)
    def stopped(x: Any, key: Any) -> Any:
        return jgmm.kmeans(x, K, key=key, max_iter=1, tol=1e-12).status

    assert int(stopped(X, 3)) == jgmm.Status.MAX_ITER


def test_it_can_be_turned_off() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=jgmm.FitWarning)
        jgmm.fit(X, K, **STOPPED)


def test_an_integer_is_a_key() -> None:
    key = jax.random.key(3)
    for function in (
        lambda key: jgmm.fit(X, K, key=key, init="random_from_data", max_iter=0),
        lambda key: jgmm.kmeans(X, K, key=key),
        lambda key: jgmm.sample(jgmm.Mixture([1.0], [[0.0]], [[1.0]]), 4, key=key),
    ):
        expected = function(key)
        for same in (3, np.int64(3), jax.random.PRNGKey(3)):
            jax.tree.map(np.testing.assert_array_equal, function(same), expected)
    for wrong in ("a", 0.5, True, np.zeros(3)):
        with pytest.raises(TypeError, match="key: expected a JAX PRNG key or an integer, got"):
            jgmm.kmeans(X, K, key=wrong)


def test_components_by_weight() -> None:
    plain = jgmm.fit(X, K)
    order = np.argsort(-np.asarray(plain.mixture.weights))
    sorted_ = jgmm.fit(X, K, order="weight")
    np.testing.assert_array_equal(sorted_.mixture.means, plain.mixture.means[order])
    np.testing.assert_array_equal(sorted_.mixture.covariances, plain.mixture.covariances[order])
    assert sorted_.log_likelihood == plain.log_likelihood
    for family in ("full", "tied"):
        lanes = jax.tree.map(lambda *leaves: np.stack(leaves), *(start(family, X),) * 2)
        lanes = lanes.replace(weights=np.array([[0.2, 0.5, 0.3], [0.1, 0.3, 0.6]]))
        once, each = by_weight(lanes), jax.vmap(by_weight)(lanes)
        jax.tree.map(np.testing.assert_array_equal, once, each)
        jax.tree.map(np.testing.assert_array_equal, once, jax.jit(by_weight)(lanes))
        np.testing.assert_array_equal(once.weights, [[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]])
        np.testing.assert_array_equal(once.means[1], lanes.means[1][[2, 1, 0]])
    swept = jgmm.sweep(X, [2, K], order="weight").fits.mixture
    assert (np.diff(swept.weights, axis=-1) <= 0).all()
    np.testing.assert_allclose(swept.means[1, 0], sorted_.mixture.means, rtol=1e-9)
    with pytest.raises(ValueError, match="order: expected one of weight; got 'size'"):
        jgmm.fit(X, K, order="size")
    with pytest.raises(ValueError, match="order: expected None with labels"):
        jgmm.fit(X, K, order="weight", labels=np.zeros(len(X), int))


def test_whole_numbers_may_be_means() -> None:
    means = np.array([[0, 0, 0], [1, -1, 0], [2, 2, 2]])
    found, expected = (jgmm.fit(X, K, init=m, max_iter=0).mixture for m in (means, means + 0.0))
    assert found == expected
    with pytest.raises(ValueError, match="n_restarts: expected 1 with an init .* do nothing"):
        jgmm.fit(X, K, init=means, n_restarts=5)
