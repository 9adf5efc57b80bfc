"""float64 data in float32: nothing is lost that float32 can hold, wherever the data are."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import D, K, X

import jgmm
from jgmm import _checks
from jgmm.data.origin import less, near_origin, plus
from jgmm.em.prior import as_prior
from jgmm.fitting.given import read

FAR = X + np.array([1e8, -3e6, 0])


@pytest.fixture(autouse=True)
def _without_x64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_checks, "_told", True)
    with jax.enable_x64(False):
        yield


def test_the_way_there_and_back() -> None:
    pixels, origin = near_origin(FAR)
    assert pixels.dtype == np.float32
    assert origin is not None
    np.testing.assert_array_equal(origin, origin.astype(np.float32))
    np.testing.assert_allclose(pixels, X, atol=10)  # half a step of float32 at 1e8
    np.testing.assert_allclose(np.asarray(pixels, np.float64) + origin, FAR, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(plus(less(origin[None], origin), origin), origin[None])
    assert near_origin(X.astype(np.float32))[1] is None
    assert near_origin(np.zeros((4, 1), np.uint8))[1] is None
    whole, start = near_origin(2**30 + np.arange(6)[:, None])
    np.testing.assert_array_equal(np.diff(whole.ravel()), 1)
    assert start is not None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("missing", ["error", "nan"])
def test_a_fit_far_away_is_the_fit_near_by(missing: str) -> None:
    near = X.copy()
    if missing == "nan":
        near[::7, 1] = np.nan
    # A search among optima may turn on the last digit: both have the same start.
    expected = jgmm.fit(near.astype(np.float32), K, missing=missing, search="none")
    with pytest.warns(jgmm.PrecisionWarning, match="numbers of float32 are 8 apart"):
        found = jgmm.fit(near + np.array([1e8, -3e6, 0]), K, missing=missing, search="none")
    np.testing.assert_allclose(found.log_likelihood, expected.log_likelihood, atol=2e-5)
    np.testing.assert_allclose(found.mixture.weights, expected.mixture.weights, atol=5e-3)
    np.testing.assert_allclose(found.mixture.covariances, expected.mixture.covariances, atol=2e-2)
    gaps = found.mixture.means - expected.mixture.means
    np.testing.assert_allclose(gaps, np.tile([1e8, -3e6, 0], (K, 1)), atol=8)


def test_whatever_reads_pixels_brings_them_near_the_origin() -> None:
    """With a mixture that float32 holds where it is."""
    shift = np.array([2.0**26, -(2.0**21), 0])
    near = X.astype(np.float32).astype(np.float64)
    mixture = jgmm.fit(near.astype(np.float32), K).mixture
    whole = mixture.replace(means=jnp.round(mixture.means / 8) * 8)
    far = whole.replace(means=np.asarray(whole.means, np.float64) + shift)
    far = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), far)
    pixels, moved = near.astype(np.float32), near + shift
    np.testing.assert_allclose(jgmm.score(far, moved), jgmm.score(whole, pixels), rtol=1e-4)
    np.testing.assert_array_equal(jgmm.predict(far, moved), jgmm.predict(whole, pixels))
    prior, expected = jgmm.weak_prior(moved, K), jgmm.weak_prior(pixels, K)
    np.testing.assert_allclose(prior.scale, expected.scale, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(prior.mean - expected.mean, shift, atol=8)
    inside = as_prior(prior, pixels, K, None, origin=shift)
    assert inside is not None
    np.testing.assert_allclose(inside.mean, prior.mean - shift, atol=1e-3)
    for start in (far, np.asarray(far.means)):
        given = read(start, K, X.shape, far.family, np.dtype(np.float32), shift).value
        means = given.means if isinstance(given, jgmm.Mixture) else given
        np.testing.assert_allclose(means, whole.means, atol=1e-3)
    clusters = jgmm.kmeans(moved, K)
    np.testing.assert_allclose(clusters.inertia, jgmm.kmeans(pixels, K).inertia, rtol=1e-5)


def test_it_is_done_on_the_host(caplog: pytest.LogCaptureFixture) -> None:
    """And compiles nothing."""
    jgmm.fit(X.astype(np.float32), K)
    with jax.log_compiles(), pytest.warns(jgmm.PrecisionWarning, match="apart"):
        jgmm.fit(FAR, K)
    assert [line for line in caplog.messages if line.startswith("Compiling")] == []


def test_it_is_said_once_that_float64_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checks, "_told", False)
    jax.jit(lambda x: jgmm.score(jgmm.Mixture([1.0], [[0.0] * D], [[1.0]]), x))(X)
    jgmm.fit(X.tolist(), 1)  # of no dtype
    with pytest.warns(jgmm.PrecisionWarning, match="float64.*float32.*jax_enable_x64") as told:
        jgmm.fit(X, 1)
    assert [warning.filename for warning in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jgmm.fit(X, 1)
