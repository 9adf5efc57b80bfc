from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import (
    DTYPES,
    FAMILIES,
    TOLERANCE,
    D,
    K,
    N,
    assert_mixtures_close,
    cast,
    overlapping,
    plain,
    start,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import jgmm
from jgmm import Status, lanes

X = overlapping()
W = np.random.default_rng(1).uniform(0.1, 2, size=N)
STEPS = 15

# Programs take seconds to compile. All tests here with up to 256 pixels in 3 features and 3
# components share one for each family, dtype, start and acceleration.


def steps(x: np.ndarray, mixture: jgmm.Mixture, family: str, **options: Any) -> jgmm.FitResult:
    """So many steps of plain EM from a given mixture."""
    given = {"max_iter": STEPS, "tol": 0.0, "reg_covar": 0.0, "accelerate": False} | options
    return jgmm.fit(x, K, init=mixture, covariance_type=family, **given)


def finite(tree: Any) -> bool:
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


def assert_history_is_right(result: jgmm.FitResult, max_iter: int) -> None:
    history, n = np.asarray(result.history), int(result.n_iter)
    assert history.shape == (max_iter + 1,)
    assert n <= max_iter
    assert np.isfinite(history[: n + 1]).all()
    assert np.isnan(history[n + 1 :]).all()
    # Both are turned into the data's units, each in a program of its own.
    np.testing.assert_array_max_ulp(history[n], np.asarray(result.log_likelihood), 2)
    assert (np.diff(history[: n + 1]) >= 0).all()


# --- Against the reference and against scikit-learn ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_fit_is_the_reference(family: str, dtype: type) -> None:
    x, w = cast(X, dtype), cast(W, dtype)
    mixture = cast(start(family, X), dtype)
    x64, w64 = np.asarray(x, np.float64), np.asarray(w, np.float64)
    tolerance = TOLERANCE[np.dtype(dtype)]
    result = steps(x, mixture, family, weights=w)
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
    result = steps(X, mixture, family, weights=W, reg_covar=0.5)
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
    ours = steps(X, mixture, family)
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
    ours = steps(x, mixture, family)
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
    result = steps(x, mixture, family, max_iter=3)
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


# --- Laws ---


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32 - 1), exponent=st.floats(-3, 3), offset=st.floats(-10, 10))
def test_the_result_is_what_it_says(family: str, seed: int, exponent: float, offset: float) -> None:
    for dtype in DTYPES:
        x = cast(10**exponent * (overlapping(seed) + offset), dtype)
        result = jgmm.fit(x, K, weights=cast(W, dtype), covariance_type=family)
        assert result.mixture.covariance_type == family
        assert_history_is_right(result, 500)
        np.testing.assert_allclose(result.mixture.weights.sum(), 1, rtol=1e-6)
        # The spread in units of its noise is up to 30, of which float32 has the square's digits.
        tolerance = 1e-9 if dtype == np.float64 else 3e-6
        np.testing.assert_allclose(
            result.log_likelihood,
            jgmm.score(result.mixture, x, cast(W, dtype)),
            rtol=tolerance,
            atol=tolerance,
        )


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_likelihood_never_falls(family: str, accelerate: bool) -> None:
    """The history says so by construction; here the mixtures after 0, 1, 2, … steps say it."""
    x = overlapping(seed=3)
    if not accelerate:
        mixture = start(family, x)
        results = [steps(x, mixture, family, max_iter=n) for n in range(11)]
    else:
        results = [jgmm.fit(x, K, covariance_type=family, max_iter=n, tol=0) for n in range(11)]
    scores = np.array([jgmm.score(result.mixture, x) for result in results])
    assert np.diff(scores).min() > -1e-13 * np.abs(scores).max()
    assert scores[-1] > scores[0]
    np.testing.assert_allclose(results[-1].history, scores, rtol=1e-12)


def test_the_history_starts_with_the_start() -> None:
    mixture = start("full", X)
    result = steps(X, mixture, "full", max_iter=0)
    assert result.history.shape == (1,)
    assert result.n_iter == 0
    assert result.status == Status.MAX_ITER
    assert_mixtures_close(result.mixture, mixture, 1e-12)
    np.testing.assert_allclose(result.history[0], jgmm.score(mixture, X), rtol=1e-12)


def hard_clusters(x: np.ndarray, labels: np.ndarray) -> reference.Gmm:
    return reference.m_step(x, np.eye(K)[labels], "full", np.zeros(x.shape[1]))


def test_it_starts_from_k_means() -> None:
    """On standardised features: shares, means and covariances of the clusters."""
    result = jgmm.fit(X, K, max_iter=0)
    clusters = jgmm.kmeans((X - X.mean(0)) / X.std(0), K)
    expected = hard_clusters(X, np.asarray(clusters.labels))
    assert_mixtures_close(result.mixture, expected, 1e-9)


@pytest.mark.parametrize("family", ["full", "spherical"])
def test_one_component_has_a_closed_form(family: str) -> None:
    """From its own start; of all families one step is tested in test_em.py."""
    result = jgmm.fit(X, 1, weights=W, covariance_type=family)
    mean = np.average(X, axis=0, weights=W)
    scatter = (W[:, None] * (X - mean)).T @ (X - mean) / W.sum()
    expected = scatter if family == "full" else np.trace(scatter) / D * np.eye(D)
    assert result.status == Status.CONVERGED
    assert result.n_iter <= 2
    np.testing.assert_allclose(result.mixture.means[0], mean, atol=1e-9)
    np.testing.assert_allclose(plain(result.mixture).covariances[0], expected, atol=1e-9)


SHIFTED, SMALLER, LARGER = (np.full(D, 1e4), 1.0), (np.zeros(D), 1e-3), (np.zeros(D), 1e3)
# Not for spheres, which do not stay spheres then.
EACH_OTHERWISE = (np.array([1e4, -3.0, 0.0]), np.array([1e3, 1e-3, 1.0]))


@pytest.mark.parametrize(
    ("family", "change"),
    [(family, change) for family in FAMILIES for change in (SHIFTED, SMALLER, LARGER)]
    + [(family, EACH_OTHERWISE) for family in FAMILIES[:3]],
)
def test_shift_and_scale_are_followed(
    family: str, change: tuple[np.ndarray, float | np.ndarray]
) -> None:
    offset, scale = change
    base = jgmm.fit(X, K, covariance_type=family)
    moved = jgmm.fit(X * scale + offset, K, covariance_type=family)
    # Digits that an offset of 10,000 takes from numbers of order 1, or of 1e-3.
    tolerance = 1e-7
    back = plain(moved.mixture)
    scales = np.broadcast_to(scale, (D,))
    back = reference.Gmm(
        back.weights, (back.means - offset) / scales, back.covariances / np.outer(scales, scales)
    )
    assert_mixtures_close(back, base.mixture, tolerance)
    np.testing.assert_allclose(
        moved.log_likelihood, base.log_likelihood - np.log(scales).sum(), rtol=tolerance
    )
    assert moved.n_iter == base.n_iter


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("offset", "scale"), [(2.0**13, 1.0), (0.0, 2.0**10), (0.0, 2.0**-10)])
def test_shift_and_scale_are_followed_in_float32(family: str, offset: float, scale: float) -> None:
    """By steps that change no digit of the data: whatever differs, the fit has made."""
    grid = cast(np.round(X * 512) / 512, np.float32)
    moved = grid * np.float32(scale) + np.float32(offset)
    np.testing.assert_array_equal((moved - np.float32(offset)) / np.float32(scale), grid)
    mixture = cast(start(family, X), np.float32)
    other = jgmm.Mixture(
        weights=mixture.weights,
        means=np.round(mixture.means * 512) / 512,
        covariances=mixture.covariances,
    )
    base = steps(grid, other, family)
    result = steps(
        moved,
        dataclasses.replace(
            other,
            means=other.means * np.float32(scale) + np.float32(offset),
            covariances=other.covariances * np.float32(scale) ** 2,
        ),
        family,
    )
    np.testing.assert_allclose(
        result.log_likelihood, float(base.log_likelihood) - D * np.log(scale), rtol=1e-6
    )
    back = plain(result.mixture)
    ulp = np.spacing(np.float32(offset))
    np.testing.assert_allclose(
        (back.means - offset) / scale, base.mixture.means, atol=1e-5 + 2 * ulp
    )
    np.testing.assert_allclose(
        back.covariances / scale**2, plain(base.mixture).covariances, atol=1e-5
    )


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_integer_weights_are_repetitions(seed: int) -> None:
    counts = np.random.default_rng(seed).multinomial(N, np.ones(150) / 150)
    mixture = start("full", X)
    weighted = steps(X[:150], mixture, "full", weights=counts)
    repeated = steps(np.repeat(X[:150], counts, axis=0), mixture, "full")
    assert_mixtures_close(weighted.mixture, repeated.mixture, 1e-8)
    np.testing.assert_allclose(weighted.history, repeated.history, rtol=1e-9)


def test_many_blocks_are_one_sum() -> None:
    """9,600 pixels, 40 times the same 240."""
    mixture = start("full", X)
    many = steps(np.tile(X, (40, 1)), mixture, "full")
    once = steps(X, mixture, "full")
    assert_mixtures_close(many.mixture, once.mixture, 1e-9)
    np.testing.assert_allclose(many.history, once.history, rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_of_weight_zero_do_not_count(family: str) -> None:
    few = X[:200]
    junk = np.concatenate([few, np.full((40, D), 1e6)])
    weights = np.r_[W[:200], np.zeros(40)]
    ours = jgmm.fit(junk, K, weights=weights, covariance_type=family)
    expected = jgmm.fit(few, K, weights=W[:200], covariance_type=family)
    assert_mixtures_close(ours.mixture, expected.mixture, 1e-8)
    np.testing.assert_allclose(ours.log_likelihood, expected.log_likelihood, rtol=1e-9)
    # In any order, from a given start.
    mixture = start(family, few)
    ours = steps(junk[::-1], mixture, family, weights=weights[::-1])
    expected = steps(few, mixture, family, weights=W[:200])
    assert_mixtures_close(ours.mixture, expected.mixture, 1e-9)


def test_a_component_of_weight_zero_does_not_count() -> None:
    mixture = start("full", X)
    padded = jgmm.Mixture(
        weights=np.append(mixture.weights, 0.0),
        means=np.append(mixture.means, X[:1], axis=0),
        covariances=np.append(mixture.covariances, np.eye(D)[None], axis=0),
    )
    ours = jgmm.fit(X, K + 1, init=padded, tol=0.0, max_iter=STEPS)
    expected = jgmm.fit(X, K, init=mixture, tol=0.0, max_iter=STEPS)
    assert ours.mixture.weights[K] == 0
    assert ours.status == expected.status == Status.MAX_ITER
    assert finite(ours.mixture)
    used = jax.tree.map(lambda leaf: leaf[:K], ours.mixture)
    assert_mixtures_close(used, expected.mixture, 1e-8)
    np.testing.assert_allclose(ours.history, expected.history, rtol=1e-9)


def test_the_scale_of_the_weights_is_no_matter() -> None:
    expected = jgmm.fit(X, K, weights=W)
    for scale in (1e-6, 1e6):
        ours = jgmm.fit(X, K, weights=scale * W)
        assert_mixtures_close(ours.mixture, expected.mixture, 1e-8)
        np.testing.assert_allclose(ours.log_likelihood, expected.log_likelihood, rtol=1e-9)


def test_at_an_optimum_it_stays() -> None:
    best = jgmm.fit(X, K, tol=1e-13, max_iter=500)
    assert best.status == Status.CONVERGED
    again = jgmm.fit(X, K, init=best.mixture)
    assert again.status == Status.CONVERGED
    assert again.n_iter <= 4
    assert again.log_likelihood >= best.log_likelihood - 1e-13
    assert_mixtures_close(again.mixture, best.mixture, 1e-5)


def test_acceleration_reaches_the_same_optimum_in_fewer_steps() -> None:
    x = overlapping(seed=7)  # on which plain EM takes 187 steps
    mixture = start("full", x)
    slow = steps(x, mixture, "full", tol=1e-10, max_iter=500)
    fast = jgmm.fit(x, K, init=mixture, reg_covar=0.0, tol=1e-10, max_iter=500)
    assert slow.status == fast.status == Status.CONVERGED
    assert 2 * fast.n_iter < slow.n_iter
    assert fast.log_likelihood > slow.log_likelihood - 1e-8
    # A step more adds nothing: it is a fixed point of EM.
    following, _ = jgmm.em_step(fast.mixture, x)
    assert_mixtures_close(following, fast.mixture, 1e-4)


def test_restarts_are_never_worse() -> None:
    key = jax.random.key(4)
    # Stopped early: in the end they find the same.
    options: dict[str, Any] = {"covariance_type": "diag", "max_iter": 1, "tol": 0.0}
    together = jgmm.fit(X, K, key=key, n_restarts=3, **options)
    singly = [jgmm.fit(X, K, key=k, **options) for k in jax.random.split(key, 3)]
    scores = sorted(float(result.log_likelihood) for result in singly)
    assert scores[-1] - scores[0] > 1e-3
    best = max(singly, key=lambda result: float(result.log_likelihood))
    np.testing.assert_allclose(together.log_likelihood, best.log_likelihood, rtol=1e-9)
    assert_mixtures_close(together.mixture, best.mixture, 1e-7)
    assert_history_is_right(together, 1)


def test_a_sweep_starts_as_single_fits_do() -> None:
    """Its blocks are cut for the largest k; here the start draws from a part of the pixels."""
    x = cast(overlapping(n=17_000), np.float32)
    options: dict[str, Any] = {"covariance_type": "diag", "max_iter": 0}
    both = jgmm.sweep(x, [2, 9], **options)
    for k in (2, 9):
        alone = jgmm.fit(x, k, **options)
        np.testing.assert_allclose(both[k].log_likelihood, alone.log_likelihood, rtol=1e-6)
        assert_mixtures_close(both[k].mixture, alone.mixture, 1e-4)


def test_the_same_call_gives_the_same_answer() -> None:
    first, again = jgmm.fit(X, K), jgmm.fit(X, K, key=jax.random.key(0))
    np.testing.assert_array_equal(first.mixture.means, again.mixture.means)
    other = jgmm.fit(X, K, key=jax.random.key(9), max_iter=0)
    assert not np.array_equal(jgmm.fit(X, K, max_iter=0).mixture.means, other.mixture.means)


def test_tolerance_and_steps_end_it() -> None:
    rough, fine = (jgmm.fit(X, K, tol=tol) for tol in (1e-2, 1e-9))
    assert rough.status == fine.status == Status.CONVERGED
    assert rough.n_iter < fine.n_iter
    assert rough.log_likelihood < fine.log_likelihood
    rough.raise_for_status()
    short = jgmm.fit(X, K, tol=0, max_iter=3)
    assert short.status == Status.MAX_ITER
    with pytest.raises(RuntimeError, match="MAX_ITER"):
        short.raise_for_status()


def test_an_image_of_integers() -> None:
    image = np.clip(40 * X + 128, 0, 255).astype(np.uint8).reshape(15, 16, D)
    ours = jgmm.fit(image, K)
    expected = jgmm.fit(image.reshape(-1, D).astype(np.float32), K)
    assert ours.mixture.means.dtype == np.float32
    np.testing.assert_array_equal(ours.mixture.means, expected.mixture.means)
    weights = cast(W, np.float32)
    ours = jgmm.fit(image, K, weights=weights.reshape(15, 16))
    expected = jgmm.fit(image, K, weights=weights)
    np.testing.assert_array_equal(ours.mixture.means, expected.mixture.means)


def test_another_size_and_other_settings_compile_nothing() -> None:
    jgmm.fit(X[:230], K)
    compiled = lanes.fit_lanes._cache_size()
    jgmm.fit(X[:100], K, tol=1e-3, max_iter=77, reg_covar=1e-4, key=jax.random.key(3))
    jgmm.fit(X[:7], K, weights=np.ones(7))
    assert lanes.fit_lanes._cache_size() == compiled


# --- Under transformations ---


def test_lanes_of_a_vmap_are_fits() -> None:
    """Of different pixels, one of them with a NaN: that lane alone is lost."""
    bad = X.copy()
    bad[5, 1] = np.nan
    data = np.stack([X, bad, overlapping(seed=5), np.full((N, D), 0.25)])
    lanes = jax.jit(jax.vmap(lambda x: jgmm.fit(x, K)))(data)
    for i in (0, 2, 3):
        alone = jgmm.fit(data[i], K)
        lane = jax.tree.map(lambda leaf, i=i: leaf[i], lanes)
        assert lane.status == alone.status
        assert lane.n_iter == alone.n_iter
        assert_mixtures_close(lane.mixture, alone.mixture, 1e-8)
        np.testing.assert_allclose(lane.history, alone.history, rtol=1e-9)
    assert lanes.status[1] == Status.NONFINITE
    assert lanes.status[0] == Status.CONVERGED


# --- Awkward data get an answer ---

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
    ours, expected = (jgmm.fit(x, K, covariance_type=family) for x in (far, home))
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
    result = steps(x, mixture, "full", max_iter=200)
    assert result.status == Status.DEGENERATE
    assert finite((result.mixture, result.log_likelihood))
    np.testing.assert_allclose(result.log_likelihood, jgmm.score(result.mixture, x), rtol=1e-6)
    # With a floor it converges.
    assert steps(x, mixture, "full", max_iter=500, tol=1e-8, reg_covar=1e-6).status == 0


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
