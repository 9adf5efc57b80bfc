"""A mixture that is none is refused when it is made, and only then and there."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import K, X, assert_mixtures_close, start

import jgmm
from jgmm.mixture.mixture import as_mixture

HALF, PLACES = np.ones(2) / 2, np.zeros((2, 2))
MATRICES = np.stack([np.eye(2)] * 2)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray, list])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weights": [0.5, 0.6]}, ValueError, "weights that sum to 1, got a sum of 1.1"),
        ({"weights": [1.5, -0.5]}, ValueError, "weights of at least 0, got -0.5"),
        ({"weights": [np.nan, 0.5]}, ValueError, "finite weights"),
        ({"weights": [1.0]}, ValueError, r"weights \(2,\), got \(1,\)"),
        ({"means": [0.0, 1.0]}, ValueError, r"means \[K, D\], got shape \(2,\)"),
        ({"means": [[np.inf, 0.0], [0.0, 0.0]]}, ValueError, "finite means"),
        ({"covariances": [[1.0], [-1e-3]]}, ValueError, "variances of at least 0, got -0.001"),
        ({"covariances": [[1.0, 1], [1, -2]]}, ValueError, "variances of at least 0, got -2"),
        ({"covariances": [[[1.0, 2], [2, 1]]]}, ValueError, "negative variances, got .* -1"),
        ({"covariances": [[[1.0, 0.5], [0, 1]]]}, ValueError, "symmetric"),
        ({"covariances": [[1.0, 1, 1]]}, ValueError, r"expected the shape of .*; got \(1, 3\)"),
    ],
)
def test_what_is_refused(
    kind: Any, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    parts = {"weights": HALF, "means": PLACES, "covariances": np.ones((2, 1)), "family": None}
    with pytest.raises(error, match=message):
        jgmm.Mixture(**{**parts, **{name: kind(value) for name, value in change.items()}})


def test_lists_become_arrays_and_integers_floating_point() -> None:
    listed = jgmm.Mixture([0.5, 0.5], [[0, 0], [1, 1]], [[1], [2]])
    assert {leaf.dtype for leaf in jax.tree.leaves(listed)} == {np.dtype(np.float64)}
    assert listed.covariance_type == "spherical"
    whole = jgmm.Mixture(np.ones(1, int), np.zeros((1, 2), np.int32), np.ones((1, 1)))
    assert whole.means.dtype == np.float64
    with pytest.raises(TypeError, match="expected weights of numbers"):
        jgmm.Mixture(["a"], [[0]], [[1]])


def test_what_people_round_is_taken() -> None:
    jgmm.Mixture([0.333, 0.333, 0.333], np.zeros((3, 1)), np.ones((3, 1)))
    jgmm.Mixture(HALF, PLACES, np.zeros((2, 1)))  # a limit


def test_nothing_is_asked_of_tracers_and_placeholders() -> None:
    mixture = start("full", X)
    bad = jax.jit(lambda w: dataclasses.replace(mixture, weights=w))(np.full(K, 2.0))
    assert float(bad.weights.sum()) == 2 * K
    dataclasses.replace(mixture, weights=None, means=0, covariances=None)
    jax.vmap(lambda means: jgmm.score(mixture.replace(means=means), X))(mixture.means[None])
    with pytest.raises(ValueError, match=r"expected weights \(3,\), got \(2,\)"):
        jax.jit(lambda w: dataclasses.replace(mixture, weights=w))(HALF)


def test_a_result_stands_for_its_mixture() -> None:
    mixture = start("diag", X)
    options: dict[str, Any] = {"covariance_type": "diag", "max_iter": 0}
    result = jgmm.fit(X, K, init=mixture, **options)
    for function in (jgmm.score, jgmm.predict, jgmm.bic, jgmm.standard_errors):
        same = function(result, X), function(result.mixture, X)
        jax.tree.map(np.testing.assert_array_equal, *same)
    assert jgmm.marginal(result, [0]) == jgmm.marginal(result.mixture, [0])
    again = jgmm.fit(X, K, init=result, **options).mixture
    assert_mixtures_close(again, result.mixture, 1e-9)
    assert as_mixture(result) is result.mixture
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for other, advice in (
        (jgmm.segment(image, 1), "got Segmentation; its mixture, .fit.mixture, is of the features"),
        (jgmm.sweep(X, [K], **options), r"got SweepResult; take result\[k\]"),
        (X, "got ndarray"),
    ):
        with pytest.raises(TypeError, match=f"mixture: expected a Mixture .*{advice}"):
            jgmm.score(other, X)


def test_a_ragged_list_is_refused_in_words_of_ours() -> None:
    with pytest.raises(ValueError, match="expected means of one shape, got a ragged list"):
        jgmm.Mixture([0.5, 0.5], [[0.0], [1.0, 2.0]], [[1.0], [1.0]])  # type: ignore[arg-type]
