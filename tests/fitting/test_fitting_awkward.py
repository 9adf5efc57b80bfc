"""Awkward data get an answer from `fit`, or are told by its status."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import (
    FAMILIES,
    D,
    K,
    N,
    X,
    assert_history_is_right,
    assert_mixtures_close,
    cast,
    finite,
    overlapping,
    plain,
    plain_steps,
    start,
)

import jgmm
from jgmm import Status

# Their statuses are looked at, one by one.
pytestmark = pytest.mark.filterwarnings("ignore::jgmm.FitWarning")

AWKWARD = {
    "constant": np.full((N, D), 7.0),
    "black": np.zeros((N, D)),
    "one pixel": np.array([[3.0, 1.0, 2.0]]),
    "two colours": np.repeat([[0.0, 0, 0], [255, 128, 3]], N // 2, axis=0),
    "duplicates": np.tile(X[:20], (12, 1)),
    "k pixels": X[:K],
    "one constant feature": X * [1, 0, 1] + [0, 5, 0],
    "two equal features": X[:, [0, 0, 1]],
    "a line": X[:, :1] * [1.0, -2.0, 0.5],
    "an outlier": np.concatenate([X[:-1], [[1e5, 0, 0]]]),
    "tiny": 1e-12 * X,
    "huge": 1e12 * X,
    "features of different size": X * [1e-6, 1, 1e6],
    "far away": X + 1e6,
    "few levels": np.round(X),
}


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("family", FAMILIES)
def test_awkward_data(family: str, name: str) -> None:
    x = cast(AWKWARD[name], np.float32)
    result = jgmm.fit(x, K, covariance_type=family)
    assert finite((result.mixture, result.log_likelihood))
    assert_history_is_right(result, 500)
    np.testing.assert_allclose(result.mixture.weights.sum(), 1, rtol=1e-5)
    few = len(np.unique(x, axis=0)) < K
    assert result.status == (Status.DEGENERATE if few else Status.CONVERGED)
    assert int((result.mixture.weights > 0).sum()) == min(K, len(np.unique(x, axis=0)))
    # Nowhere flatter than the floor, and of use for what comes after.
    variances = np.asarray(x, np.float64).var(0)
    for weight, covariance in zip(*plain(result.mixture)[::2], strict=True):
        if weight > 0 and (variances > 0).all():
            unit = covariance / np.sqrt(np.outer(variances, variances))
            if family == "spherical":
                unit = covariance / variances.mean()
            assert np.linalg.eigvalsh(unit).min() > 0.5e-6
    if len(x) == N:  # another number would compile again
        assert jnp.isfinite(jgmm.score(result.mixture, x))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_huge_offset_changes_nothing_but_the_means(family: str) -> None:
    """What float32 keeps of pixels around a million, fitted there and fitted at home."""
    far = cast(X + 1e6, np.float32)
    home = far - np.float32(1e6)
    # A search among optima may turn on the last digit: both have the same start.
    options = {"covariance_type": family, "search": "none"}
    ours, expected = (jgmm.fit(x, K, **options) for x in (far, home))
    np.testing.assert_allclose(ours.log_likelihood, expected.log_likelihood, atol=1e-5)
    np.testing.assert_allclose(
        plain(ours.mixture).covariances, plain(expected.mixture).covariances, atol=1e-2
    )
    np.testing.assert_allclose(plain(ours.mixture).means - 1e6, expected.mixture.means, atol=0.0625)


@pytest.mark.parametrize("family", FAMILIES)
def test_singular_data_without_a_floor(family: str) -> None:
    """More components than colours and no floor: a status, and a mixture that can be looked at."""
    x = cast(np.repeat([[0.0, 0, 0], [1, 1, 1], [5, 0, 1]], 40, axis=0), np.float32)
    result = jgmm.fit(x, K, covariance_type=family, reg_covar=0.0)
    assert finite(result.mixture)
    assert result.status in (Status.DEGENERATE, Status.NONFINITE)
    with pytest.raises(RuntimeError, match="DEGENERATE|NONFINITE"):
        result.raise_for_status()


def test_a_covariance_that_collapses_on_the_way_is_told() -> None:
    """From a start whose likelihood is finite, without a floor."""
    x = np.concatenate([X[:100], np.full((50, D), 9.0)])
    mixture = start("full", X)
    mixture = dataclasses.replace(mixture, means=np.array([[9.0, 9, 9], *mixture.means[1:]]))
    result = plain_steps(x, mixture, "full", max_iter=200)
    assert result.status == Status.DEGENERATE
    assert finite((result.mixture, result.log_likelihood))
    np.testing.assert_allclose(result.log_likelihood, jgmm.score(result.mixture, x), rtol=1e-6)
    # With a floor it converges.
    assert plain_steps(x, mixture, "full", max_iter=500, tol=1e-8, reg_covar=1e-6).status == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_no_weight_at_all(family: str) -> None:
    result = jgmm.fit(X, K, weights=np.zeros(N), covariance_type=family)
    assert result.status == Status.NONFINITE
    assert finite(result.mixture)


def test_one_feature() -> None:
    x = overlapping(n=N, d=1)
    # The same family by two names.
    full, diag = (
        jgmm.fit(
            x,
            2,
            init=start(family, x, k=2),
            covariance_type=family,
            accelerate=False,
            max_iter=5,
            tol=0.0,
        )
        for family in ("full", "diag")
    )
    assert full.mixture.covariances.shape == (2, 1, 1)
    assert diag.mixture.covariances.shape == (2, 1)
    assert_mixtures_close(full.mixture, diag.mixture, 1e-9)


def test_many_features() -> None:
    x = overlapping(n=600, d=20)
    mixture = start("full", x)
    result = jgmm.fit(x, K, init=mixture, max_iter=3, tol=0, reg_covar=0.0, accelerate=False)
    expected, history = reference.fit(plain(mixture), x, np.ones(600), "full", np.zeros(20), 3)
    assert_mixtures_close(result.mixture, expected, 1e-9)
    np.testing.assert_allclose(result.history, history, rtol=1e-9)


def test_many_features_do_not_wait_for_each_other() -> None:
    """In a process of its own: where XLA had two threads it waited there for ever."""
    program = (
        "import numpy as np, jgmm; x = np.random.default_rng(0).normal(size=(1000, 60)); "
        "print(jgmm.fit(x.astype('f4'), 4, search='none', max_iter=12, tol=0).n_iter)"
    )
    plain = {name: value for name, value in os.environ.items() if name != "NPROC"}
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(
        command, env=plain, capture_output=True, text=True, timeout=200, check=True
    )
    assert done.stdout.split() == ["12"]


def test_covariances_are_symmetric_to_the_last_bit() -> None:
    x = np.random.default_rng(0).normal(size=(48, 2)) * np.array([1.3, 7.1]) @ [[1, 0.4], [0.2, 1]]
    covariances = np.asarray(jgmm.fit(x.astype(np.float32), 3).mixture.covariances)
    np.testing.assert_array_equal(covariances, covariances.swapaxes(1, 2))


@pytest.mark.parametrize(
    ("scales", "status"),
    [((1e-17, 1e-17), jgmm.Status.DEGENERATE), ((1e13, 1e19), jgmm.Status.NONFINITE)],
)
def test_variances_that_the_dtype_cannot_hold_are_no_fit(
    scales: tuple[float, float], status: jgmm.Status
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, 2)) + 3 * rng.integers(0, 3, (48, 1))
    x = (x[rng.integers(0, 4, 48)] * np.array(scales)).astype(np.float32)
    with pytest.warns(jgmm.FitWarning, match=status.name):
        assert int(jgmm.fit(x, 3).status) == status
