"""`fit` against the NumPy reference and against scikit-learn, and under transformations."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import imageio.v3 as iio
import jax
import numpy as np
import pytest
import reference
from examples import (
    DTYPES,
    FAMILIES,
    STEPS,
    TOLERANCE,
    D,
    K,
    N,
    W,
    X,
    assert_history_is_right,
    assert_mixtures_close,
    cast,
    overlapping,
    plain,
    plain_steps,
    start,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import jgmm
from jgmm import Status
from jgmm.data.programs import program


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_fit_is_the_reference(family: str, dtype: type) -> None:
    x, w = cast(X, dtype), cast(W, dtype)
    mixture = cast(start(family, X), dtype)
    x64, w64 = np.asarray(x, np.float64), np.asarray(w, np.float64)
    tolerance = TOLERANCE[np.dtype(dtype)]
    result = plain_steps(x, mixture, family, weights=w)
    expected, history = reference.fit(plain(mixture), x64, w64, family, np.zeros(D), STEPS)
    assert result.status == Status.MAX_ITER
    assert result.n_iter == STEPS
    assert {leaf.dtype for leaf in jax.tree.leaves(result.mixture)} == {np.dtype(dtype)}
    assert_mixtures_close(result.mixture, expected, tolerance)
    np.testing.assert_allclose(result.history, history, rtol=tolerance)
    assert result.history[0] < result.history[STEPS]
    assert_history_is_right(result, STEPS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fit_on_its_floor_is_the_reference(family: str) -> None:
    """reg_covar is relative to the variance of the data, feature by feature."""
    _, variance = reference.mean_and_variance(X, W)
    floor = 0.5 * (np.full(D, variance.mean()) if family == "spherical" else variance)
    mixture = start(family, X)
    exact = plain(mixture)
    floored = [reference.raise_to_floor(c, floor) for c in exact.covariances]
    if family == "spherical":
        floored = [np.eye(D) * max(c[0, 0], floor[0]) for c in exact.covariances]
    exact = exact._replace(covariances=np.array(floored))
    result = plain_steps(X, mixture, family, weights=W, reg_covar=0.5)
    expected, history = reference.fit(exact, X, W, family, floor, STEPS)
    free, _ = reference.fit(plain(mixture), X, W, family, np.zeros(D), STEPS)
    assert not np.allclose(free.covariances, expected.covariances, atol=1e-3)
    assert_mixtures_close(result.mixture, expected, 1e-9)
    np.testing.assert_allclose(result.history, history, rtol=1e-9)


def scikit_learn(x: np.ndarray, mixture: jgmm.Mixture, family: str) -> GaussianMixture:
    covariances = np.asarray(mixture.covariances, np.float64)
    precisions = {
        "full": lambda: np.linalg.inv(covariances),
        "tied": lambda: np.linalg.inv(covariances[0]),
        "diag": lambda: 1 / covariances,
        "spherical": lambda: 1 / covariances[:, 0],
    }[family]()
    weights = np.asarray(mixture.weights, np.float64)
    model = GaussianMixture(
        K,
        covariance_type=family,
        tol=0,
        reg_covar=0,
        max_iter=STEPS,
        init_params="random",
        weights_init=weights / weights.sum(),
        means_init=np.asarray(mixture.means, np.float64),
        precisions_init=precisions,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fit_is_scikit_learn_s(family: str) -> None:
    mixture = start(family, X)
    theirs = scikit_learn(X, mixture, family)
    ours = plain_steps(X, mixture, family)
    np.testing.assert_allclose(ours.mixture.weights, theirs.weights_, rtol=1e-6)
    np.testing.assert_allclose(ours.mixture.means, theirs.means_, rtol=1e-6, atol=1e-6)
    covariances = np.reshape(ours.mixture.covariances, theirs.covariances_.shape)
    np.testing.assert_allclose(covariances, theirs.covariances_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ours.log_likelihood, theirs.score(X), rtol=1e-9)
    np.testing.assert_allclose(jgmm.log_prob(ours.mixture, X), theirs.score_samples(X), rtol=1e-6)
    np.testing.assert_array_equal(jgmm.predict(ours.mixture, X), theirs.predict(X))


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (1e4, 1.0), (0.0, 1e-3), (0.0, 1e3)])
@pytest.mark.parametrize("family", FAMILIES)
def test_float32_is_scikit_learn_s_float64(family: str, offset: float, scale: float) -> None:
    x = cast(X * scale + offset, np.float32)
    mixture = cast(start(family, X * scale + offset), np.float32)
    # The likelihood does not know the origin; scikit-learn's digits do.
    centered = np.asarray(x, np.float64) - offset
    origin = dataclasses.replace(mixture, means=np.asarray(mixture.means, np.float64) - offset)
    theirs = scikit_learn(centered, origin, family)
    ours = plain_steps(x, mixture, family)
    assert ours.log_likelihood.dtype == np.float32
    np.testing.assert_allclose(ours.log_likelihood, theirs.score(centered), rtol=1e-6)
    # Parameters to float32's rounding of the data's offset and size.
    rounding = 4 * np.finfo(np.float32).eps * offset + 1e-4 * scale
    np.testing.assert_allclose(ours.mixture.means - offset, theirs.means_, atol=rounding)
    covariances = np.reshape(ours.mixture.covariances, theirs.covariances_.shape)
    np.testing.assert_allclose(covariances / scale**2, theirs.covariances_ / scale**2, atol=1e-4)


@pytest.mark.parametrize("family", ["full", "diag"])
def test_small_clusters_far_apart_keep_their_digits(family: str) -> None:
    """A thousandth of their distance in size, as even surfaces of a photograph are."""
    rng = np.random.default_rng(0)
    labels = rng.integers(K, size=N)
    factors = np.eye(D) + 0.3 * rng.normal(size=(K, D, D))
    noise = 1e-3 * np.einsum("nij,nj->ni", factors[labels], rng.normal(size=(N, D)))
    x = cast(rng.normal(size=(K, D))[labels] + noise, np.float32)
    x64 = np.asarray(x, np.float64)
    clusters = reference.m_step(x64, np.eye(K)[labels], family, np.zeros(D))
    covariances = 1.3 * clusters.covariances
    if family == "diag":
        covariances = np.diagonal(covariances, axis1=1, axis2=2)
    mixture = cast(
        jgmm.Mixture(weights=clusters.weights, means=clusters.means, covariances=covariances),
        np.float32,
    )
    result = plain_steps(x, mixture, family, max_iter=3)
    expected, history = reference.fit(plain(mixture), x64, np.ones(N), family, np.zeros(D), 3)
    np.testing.assert_allclose(result.history, history, rtol=1e-6)
    # A rounded pixel is 1e-4 of such a cluster's size off; on the average far less.
    for ours, theirs in zip(plain(result.mixture).covariances, expected.covariances, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=3e-5 * np.abs(theirs).max())


def test_a_photograph(shared_data: Path) -> None:
    """What the published run of this photograph reached in 2,800 seconds, and a little more."""
    pixels = iio.imread(shared_data / "scenery.jpg").astype(np.float32) / 255
    result = jgmm.fit(pixels, 5, max_iter=200)
    assert result.log_likelihood >= 3.84
    np.testing.assert_allclose(result.log_likelihood, jgmm.score(result.mixture, pixels), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::jgmm.FitWarning")
def test_a_vmap_gives_the_fits() -> None:
    """Of different pixels, one of them with a NaN: that fit alone is lost."""
    bad = X.copy()
    bad[5, 1] = np.nan
    data = np.stack([X, bad, overlapping(seed=5), np.full((N, D), 0.25)])
    batch = program(once=True)(jax.vmap(lambda x: jgmm.fit(x, K, search="none")))(data)
    for i in (0, 2, 3):
        alone = jgmm.fit(data[i], K, search="none")
        one = jax.tree.map(lambda leaf, i=i: leaf[i], batch)
        assert one.status == alone.status
        assert one.n_iter == alone.n_iter
        assert_mixtures_close(one.mixture, alone.mixture, 1e-8)
        np.testing.assert_allclose(one.history, alone.history, rtol=1e-9)
    assert batch.status[1] == Status.NONFINITE
    assert batch.status[0] == Status.CONVERGED
