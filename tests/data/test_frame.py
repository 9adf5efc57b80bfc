"""The frame in which samples are of order one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import DTYPES, TOLERANCE, D, N, W, X, cast

from jgmm.data import frame as _frame
from jgmm.data.samples import Rows, Samples, make_samples

measure = jax.jit(_frame.measure, static_argnames="isotropic")
standardize = jax.jit(_frame.standardize)
SCALES = np.array([1e-3, 1.0, 200.0])


def samples_of(x: np.ndarray, w: np.ndarray = W) -> Samples:
    rows = Rows(features=jnp.asarray(x), weights=jnp.asarray(w, x.dtype))
    return make_samples(rows, 128, incomplete=bool(np.isnan(x).any()))


def rows_of(samples: Samples) -> np.ndarray:
    return np.asarray(samples.features).swapaxes(1, 2).reshape(-1, D)[:N]


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_is_the_weighted_mean_and_deviation(dtype: type) -> None:
    """Far from the origin, where a mean of squares has no digits left in float32."""
    x, w = cast(X * SCALES + 1000 * SCALES, dtype), cast(W, dtype)
    frame = measure(samples_of(x, w))
    mean, variance = reference.mean_and_variance(
        np.asarray(x, np.float64), np.asarray(w, np.float64)
    )
    tolerance = TOLERANCE[np.dtype(dtype)]
    assert frame.center.dtype == frame.scale.dtype == dtype
    np.testing.assert_allclose(frame.center, mean, rtol=tolerance)
    np.testing.assert_allclose(frame.scale, np.sqrt(variance), rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_in_it_the_samples_have_mean_0_and_variance_1(dtype: type) -> None:
    x, w = cast(X * SCALES + 1000 * SCALES, dtype), cast(W, dtype)
    samples = samples_of(x, w)
    inside = rows_of(standardize(samples, measure(samples))).astype(np.float64)
    mean, variance = reference.mean_and_variance(inside, np.asarray(w, np.float64))
    # So much is lost of features that are a thousand deviations from the origin.
    tolerance = 1000 * np.finfo(dtype).eps
    np.testing.assert_allclose(mean, 0, atol=tolerance)
    np.testing.assert_allclose(variance, 1, atol=tolerance)


def test_the_way_back_is_the_frame() -> None:
    samples = samples_of(X * SCALES + 5)
    frame = measure(samples)
    inside = rows_of(standardize(samples, frame))
    np.testing.assert_allclose(inside * frame.scale + frame.center, X * SCALES + 5, rtol=1e-12)


def test_shift_and_scale_are_followed() -> None:
    base, moved = measure(samples_of(X)), measure(samples_of(X * SCALES + 7))
    np.testing.assert_allclose(moved.center, base.center * SCALES + 7, rtol=1e-12)
    np.testing.assert_allclose(moved.scale, base.scale * SCALES, rtol=1e-12)
    np.testing.assert_allclose(
        rows_of(standardize(samples_of(X * SCALES + 7), moved)),
        rows_of(standardize(samples_of(X), base)),
        atol=1e-12,
    )


def test_one_scale_for_all_features() -> None:
    """The root of their mean variance, so that distances keep their proportions."""
    frame = measure(samples_of(X * SCALES), isotropic=True)
    _, variance = reference.mean_and_variance(X * SCALES, W)
    np.testing.assert_allclose(frame.scale, np.full(D, np.sqrt(variance.mean())), rtol=1e-12)


@pytest.mark.parametrize("isotropic", [False, True])
def test_a_feature_that_does_not_vary_has_the_scale_of_the_others(isotropic: bool) -> None:
    x = X.copy()
    x[:, 1] = 1e6 / 3
    frame = measure(samples_of(x), isotropic=isotropic)
    _, variance = reference.mean_and_variance(x, W)
    typical = np.mean(variance[[0, 2]])
    expected = [typical] * 3 if isotropic else [variance[0], typical, variance[2]]
    np.testing.assert_allclose(frame.scale**2, expected, rtol=1e-9)
    # Where none varies the samples are at the origin of a unit frame.
    still = samples_of(np.full_like(X, 7.0))
    frame = measure(still, isotropic=isotropic)
    np.testing.assert_array_equal(frame.scale, 1)
    np.testing.assert_allclose(rows_of(standardize(still, frame)), 0, atol=1e-12)


def test_samples_of_weight_zero_do_not_count_and_come_to_the_center() -> None:
    junk, weights = X.copy(), W.copy()
    junk[:7], weights[:7] = 1e30, 0
    frame = measure(samples_of(junk, weights))
    mean, variance = reference.mean_and_variance(X[7:], W[7:])
    np.testing.assert_allclose(frame.center, mean, rtol=1e-9)
    np.testing.assert_allclose(frame.scale**2, variance, rtol=1e-9)
    inside = rows_of(standardize(samples_of(junk, weights), frame))
    np.testing.assert_array_equal(inside[:7], 0)
    none = measure(samples_of(X, 0 * W))
    assert jnp.isfinite(none.center).all()
    np.testing.assert_array_equal(none.scale, 1)


def test_each_feature_is_measured_where_it_was_observed() -> None:
    gaps = np.random.default_rng(4).random(X.shape) < 0.25
    x = np.where(gaps, np.nan, X + 50)
    frame = measure(samples_of(x))
    for i in range(D):
        seen = ~gaps[:, i]
        mean, variance = reference.mean_and_variance(x[seen, i, None], W[seen])
        np.testing.assert_allclose(frame.center[i], mean[0], rtol=1e-12)
        np.testing.assert_allclose(frame.scale[i] ** 2, variance[0], rtol=1e-12)
    # What was not observed is average.
    inside = rows_of(standardize(samples_of(x), frame))
    np.testing.assert_array_equal(inside[gaps], 0)
    expected = (x - np.asarray(frame.center)) / np.asarray(frame.scale)
    np.testing.assert_allclose(inside[~gaps], expected[~gaps], rtol=1e-12)
