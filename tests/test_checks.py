"""Bad input: what was expected, and what came."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import start

import jgmm
from jgmm import _checks
from jgmm._struct import amend

PIXELS = np.random.default_rng(0).normal(size=(12, 3))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("uint8", "float32"),
        ("uint16", "float32"),
        ("int16", "float32"),
        ("int32", "float64"),
        ("int64", "float64"),
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
    ],
)
def test_dtypes_keep_their_values(dtype: str, expected: str) -> None:
    top = 40_000 if dtype == "uint16" else 100
    values = np.array([[0, 1], [top, 7]])
    for pixels in (values.astype(jnp.dtype(dtype)), jnp.asarray(values, jnp.dtype(dtype))):
        array = _checks.as_pixels(pixels)
        assert array.dtype == expected
        np.testing.assert_array_equal(array, values)


def test_without_x64_everything_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing warns but once of float64, which here would be an error."""
    monkeypatch.setattr(_checks, "_told", False)
    with jax.enable_x64(False):
        with pytest.warns(jgmm.PrecisionWarning, match="worked on in float32") as told:
            jgmm.score(start("full", PIXELS), PIXELS)
        assert [warning.filename for warning in told] == [__file__]
        for dtype in (np.float64, np.int32, np.int64):
            assert _checks.as_pixels(np.ones((2, 2), dtype)).dtype == np.float32
        mixture = jgmm.Mixture(
            weights=np.ones(1), means=np.zeros((1, 2)), covariances=np.ones((1, 1))
        )
        assert jgmm.log_prob(mixture, np.ones((4, 2))).dtype == np.float32


@pytest.mark.parametrize("dtype", [bool, complex, object, str])
def test_what_is_no_number_is_refused(dtype: type) -> None:
    with pytest.raises(TypeError, match="pixels: expected integers or floating point numbers"):
        jgmm.fit(np.ones((4, 2)).astype(dtype), 1)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.float32(1), r"expected shape \[N, D\] or \[\.\.\., D\], got \(\)"),
        (np.ones(4), r"got \(4,\); for one feature pass pixels\[:, None\]"),
        (np.ones((0, 3)), r"at least one sample and feature, got \(0, 3\)"),
        (np.ones((3, 0)), r"at least one sample and feature, got \(3, 0\)"),
        (np.array([[1.0], [np.nan]]), "expected finite values, got NaN or infinity"),
        (np.array([[1.0], [-np.inf]]), "expected finite values, got NaN or infinity"),
    ],
)
@pytest.mark.parametrize("function", [jgmm.fit, jgmm.kmeans])
def test_bad_pixels(function: Any, pixels: Any, message: str) -> None:
    for kind in (np.asarray, jnp.asarray):
        with pytest.raises(ValueError, match=f"pixels: .*{message}"):
            function(kind(pixels), 1)


@pytest.mark.parametrize(
    "function", [jgmm.log_prob, jgmm.responsibilities, jgmm.predict, jgmm.score, jgmm.e_step]
)
def test_pixels_of_other_features(function: Any) -> None:
    mixture = start("full", PIXELS)
    with pytest.raises(ValueError, match=r"expected 3 features on the last axis.*\(12, 2\)"):
        function(mixture, PIXELS[:, :2])
    with pytest.raises(ValueError, match="expected finite values"):
        function(mixture, np.where(PIXELS > 1, np.nan, PIXELS))


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones(11), ValueError, r"weights: expected shape \(12,\).*got \(11,\)"),
        (np.ones((12, 1)), ValueError, r"weights: expected shape \(12,\).*got \(12, 1\)"),
        (np.r_[-1.0, np.ones(11)], ValueError, "finite values of at least 0"),
        (np.r_[np.nan, np.ones(11)], ValueError, "finite values of at least 0"),
        (np.r_[np.inf, np.ones(11)], ValueError, "finite values of at least 0"),
        (np.ones(12, complex), TypeError, "weights: expected real numbers, got dtype complex"),
    ],
)
def test_bad_weights(weights: np.ndarray, error: type[Exception], message: str) -> None:
    mixture = start("full", PIXELS)
    for call in (
        lambda: jgmm.fit(PIXELS, 1, weights=weights),
        lambda: jgmm.kmeans(PIXELS, 1, weights=weights),
        lambda: jgmm.score(mixture, PIXELS, weights),
        lambda: jgmm.e_step(mixture, PIXELS, weights),
        lambda: jgmm.lloyd_step(PIXELS[:2], PIXELS, weights),
    ):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(
    ("option", "error", "message"),
    [
        ({"k": 0}, ValueError, "k: expected at least 1, got 0"),
        ({"k": -3}, ValueError, "k: expected at least 1, got -3"),
        ({"k": 2.0}, TypeError, "k: expected an integer, got 2.0"),
        ({"k": True}, TypeError, "k: expected an integer, got True"),
        ({"k": "3"}, TypeError, "k: expected an integer, got '3'"),
        ({"n_restarts": 0}, ValueError, "n_restarts: expected at least 1, got 0"),
        ({"tol": -1e-3}, ValueError, "tol: expected a finite number of at least 0, got -0.001"),
        ({"tol": np.nan}, ValueError, "tol: expected a finite number"),
        ({"tol": 1j}, TypeError, "tol: expected a real number"),
    ],
)
@pytest.mark.parametrize("function", [jgmm.fit, jgmm.kmeans])
def test_bad_options(
    function: Any, option: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        function(PIXELS, **({"k": 2} | option))


@pytest.mark.parametrize(
    ("option", "error", "message"),
    [
        ({"max_iter": -1}, ValueError, "max_iter: expected at least 0, got -1"),
        ({"max_iter": 1.5}, TypeError, "max_iter: expected an integer, got 1.5"),
        ({"reg_covar": -1.0}, ValueError, "reg_covar: expected a finite number of at least 0"),
        ({"reg_covar": np.ones(2)}, ValueError, r"reg_covar: .*shape \(3,\), got \(2,\)"),
        (
            {"covariance_type": "diagonal"},
            ValueError,
            "covariance_type: expected one of full, tied, diag, spherical, EII, .*; got 'diagonal'",
        ),
        ({"init": "k-means"}, ValueError, "init: expected one of .*kmeans.*; got 'k-means'"),
        (
            {"init": start("full", PIXELS, k=4)},
            ValueError,
            r"init: expected a full mixture.*\(2,\)",
        ),
        ({"init": start("diag", PIXELS, k=2)}, ValueError, r"init: expected a full mixture"),
    ],
)
def test_bad_options_of_fit(option: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        jgmm.fit(PIXELS, 2, **option)


def test_kmeans_needs_a_step() -> None:
    with pytest.raises(ValueError, match="max_iter: expected at least 1, got 0"):
        jgmm.kmeans(PIXELS, 2, max_iter=0)


def test_bad_mixtures() -> None:
    good = start("full", PIXELS, k=2)
    for bad, message in (
        ({"weights": np.ones(3) / 3}, r"mixture: expected weights \(2,\), got \(3,\)"),
        ({"means": np.zeros(3)}, r"mixture: expected means \[K, D\], got shape \(3,\)"),
        (
            {"covariances": np.ones((2, 2))},
            r"mixture: expected full covariances \(2, 3, 3\), got \(2, 2\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            good.replace(**bad)
        with pytest.raises(ValueError, match=message):  # where nobody looked at it before
            jgmm.log_prob(amend(good, **bad), PIXELS)


def test_bad_centroids() -> None:
    with pytest.raises(ValueError, match=r"centroids: expected shape \[K, D\], got \(3,\)"):
        jgmm.lloyd_step(np.ones(3), PIXELS)


def test_bad_steps() -> None:
    mixture = start("diag", PIXELS)
    stats, _ = jgmm.e_step(mixture, PIXELS)
    with pytest.raises(ValueError, match="covariance_type: expected one of full"):
        jgmm.m_step(mixture, stats, covariance_type="banded")
    with pytest.raises(ValueError, match="expected diag or spherical"):
        jgmm.m_step(mixture, stats, covariance_type="full")
    with pytest.raises(ValueError, match="reg_covar: expected a finite number of at least 0"):
        jgmm.m_step(mixture, stats, covariance_type="diag", reg_covar=-1)


def test_bad_counts_of_samples() -> None:
    mixture = start("diag", PIXELS)
    with pytest.raises(ValueError, match="n: expected at least 1, got 0"):
        jgmm.sample(mixture, 0)


def test_shapes_are_checked_under_a_trace_too() -> None:
    with pytest.raises(ValueError, match=r"pixels: expected shape \[N, D\]"):
        jax.jit(lambda x: jgmm.fit(x, 2).log_likelihood)(PIXELS[:, 0])
    with pytest.raises(ValueError, match="expected 3 features"):
        jax.jit(jgmm.log_prob)(start("full", PIXELS), PIXELS[:, :2])


def test_a_status_can_be_raised() -> None:
    jgmm._status.raise_for_status(np.zeros(3, np.int32))
    with pytest.raises(RuntimeError, match="ended with status NONFINITE"):
        jgmm._status.raise_for_status(np.int32(2))
    with pytest.raises(RuntimeError, match="not all fits converged: 1 CONVERGED, 2 MAX_ITER"):
        jgmm._status.raise_for_status(np.array([1, 0, 1]))


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, 2**31, 2**32 + 5, -1, np.int64(7)])
def test_an_integer_is_the_key_that_jax_makes_of_it(seed: int) -> None:
    ours, expected = _checks.as_key(seed), jax.random.key(seed)
    assert ours.dtype == expected.dtype
    np.testing.assert_array_equal(jax.random.key_data(ours), jax.random.key_data(expected))
