from __future__ import annotations

import dataclasses
from typing import Any

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
from hypothesis import given
from hypothesis import strategies as st

import jgmm
from jgmm.data.programs import program
from jgmm.families.kernels import ElementwiseKernel

X = overlapping()
W = np.random.default_rng(1).uniform(0.1, 2, size=N)
WIDE = overlapping(n=300, d=20)
# A floor that some of the components meet in every family, for each feature another.
FLOOR = np.array([1.0, 2.0, 3.0])
NONE = np.zeros(D)

# The steps are not jitted, so that they can be part of larger programs; here they are.
e_step = program(once=True)(jgmm.e_step)
jitted_em_step = program("covariance_type", once=True)(jgmm.em_step)


def em_step(
    mixture: jgmm.Mixture,
    x: np.ndarray,
    w: np.ndarray | None = None,
    *,
    covariance_type: str,
    reg_covar: np.ndarray | None = None,
) -> tuple[jgmm.Mixture, jax.Array]:
    """With all arguments given, so that one program for each shape serves all tests."""
    n, d = x.shape
    w = np.ones(n) if w is None else w
    floor = np.zeros(d) if reg_covar is None else reg_covar
    return jitted_em_step(
        mixture,
        x,
        cast(w, x.dtype),
        covariance_type=covariance_type,
        reg_covar=cast(floor, x.dtype),
    )


def matrices(stats: jgmm.SufficientStats) -> np.ndarray:
    scatters = np.asarray(stats.scatters)
    return scatters if scatters.ndim == 3 else np.array([np.diag(row) for row in scatters])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_e_step_is_the_reference(family: str, dtype: type) -> None:
    x, w = cast(X + 1000, dtype), cast(W, dtype)
    mixture = cast(start(family, X + 1000), dtype)
    stats, log_likelihood = e_step(mixture, x, w)
    assert stats.scatters.shape == ((K, D, D) if family in ("full", "tied") else (K, D))
    assert {leaf.dtype for leaf in jax.tree.leaves((stats, log_likelihood))} == {np.dtype(dtype)}
    x64, w64 = np.asarray(x, np.float64), np.asarray(w, np.float64)
    counts, shifts, scatters = reference.e_step(plain(mixture), x64, w64)
    if family in ("diag", "spherical"):
        scatters = np.array([np.diag(np.diag(s)) for s in scatters])
    tolerance = TOLERANCE[np.dtype(dtype)]
    np.testing.assert_allclose(stats.counts, counts, rtol=tolerance)
    # Sums of so many terms of order one, of either sign.
    np.testing.assert_allclose(stats.shifts, shifts, atol=tolerance * w64.sum())
    np.testing.assert_allclose(matrices(stats), scatters, atol=tolerance * w64.sum())
    np.testing.assert_allclose(
        log_likelihood, reference.score(plain(mixture), x64, w64), rtol=tolerance
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_em_step_is_the_reference(family: str, dtype: type) -> None:
    x, w = cast(X, dtype), cast(W, dtype)
    mixture = cast(start(family, X), dtype)
    x64, w64 = np.asarray(x, np.float64), np.asarray(w, np.float64)
    for floor in (NONE, FLOOR):
        fitted, before = em_step(mixture, x, w, covariance_type=family, reg_covar=floor)
        expected, expected_before = reference.em_step(plain(mixture), x64, w64, family, floor)
        assert fitted.covariance_type == family
        assert {leaf.dtype for leaf in jax.tree.leaves(fitted)} == {np.dtype(dtype)}
        assert_mixtures_close(fitted, expected, TOLERANCE[np.dtype(dtype)])
        np.testing.assert_allclose(before, expected_before, rtol=TOLERANCE[np.dtype(dtype)])
    # The floor was met, or the half with it says nothing.
    free, _ = reference.em_step(plain(mixture), x64, w64, family, NONE)
    assert not np.allclose(expected.covariances, free.covariances)


@pytest.mark.parametrize("family", FAMILIES)
def test_many_features_and_several_blocks(family: str) -> None:
    """Second moments by a batched matrix product, and a sum over blocks of 128 samples."""
    mixture = start(family, WIDE)
    weights = np.random.default_rng(2).uniform(0.1, 2, size=len(WIDE))
    fitted, before = em_step(mixture, WIDE, weights, covariance_type=family)
    expected, expected_before = reference.em_step(
        plain(mixture), WIDE, weights, family, np.zeros(20)
    )
    assert_mixtures_close(fitted, expected, 1e-9)
    np.testing.assert_allclose(before, expected_before, rtol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["diag", "spherical"])
@pytest.mark.parametrize("offset", [0.0, 30.0], ids=["benign", "far apart"])
def test_natural_parameters_only_where_they_lose_no_digits(
    offset: float, family: str, dtype: type
) -> None:
    """Many variances, of components that are near each other or hundreds of widths apart."""
    mixture = start(family, WIDE)
    moved = WIDE + offset * (WIDE[:, :1] > 0)
    means = np.asarray(mixture.means) + offset * np.array([[0.0], [1.0], [1.0]])
    mixture = cast(dataclasses.replace(mixture, means=means), dtype)
    x = cast(moved, dtype)
    center = mixture.weights @ mixture.means
    inside = dataclasses.replace(mixture, means=mixture.means - center)
    kernel = jax.tree.map(jnp.asarray, inside).kernel()
    assert isinstance(kernel, ElementwiseKernel)
    assert bool(kernel.natural.benign) == (offset == 0)
    fitted, before = em_step(mixture, x, covariance_type=family)
    expected, expected_before = reference.em_step(
        plain(mixture), np.asarray(x, np.float64), np.ones(len(x)), family, np.zeros(20)
    )
    assert_mixtures_close(fitted, expected, TOLERANCE[np.dtype(dtype)])
    np.testing.assert_allclose(before, expected_before, rtol=TOLERANCE[np.dtype(dtype)])


@pytest.mark.parametrize(
    ("family", "k", "d"),
    [
        ("full", 3, 1),
        ("full", 1, 1),
        ("spherical", 3, 1),
        ("spherical", 1, 1),
        ("full", 3, 9),
    ],
)
def test_sizes_at_the_edges(family: str, k: int, d: int) -> None:
    """One component, one feature, more than a few."""
    x = overlapping(n=60, d=d)
    mixture = start(family, x, k=k)
    fitted, _ = em_step(mixture, x, covariance_type=family)
    expected, _ = reference.em_step(plain(mixture), x, np.ones(60), family, np.zeros(d))
    assert fitted.covariances.shape == mixture.covariances.shape
    assert_mixtures_close(fitted, expected, 1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_component_has_a_closed_form(family: str) -> None:
    """From wherever it starts, one step leads to the weighted mean and covariance."""
    mixture = start(family, X + 3, k=1)
    fitted, _ = em_step(mixture, X, W, covariance_type=family)
    centered = X - np.average(X, axis=0, weights=W)
    covariance = (W[:, None] * centered).T @ centered / W.sum()
    expected = {
        "full": covariance,
        "tied": covariance,
        "diag": np.diag(np.diag(covariance)),
        "spherical": np.trace(covariance) / D * np.eye(D),
    }[family]
    np.testing.assert_allclose(fitted.weights, [1], rtol=1e-12)
    np.testing.assert_allclose(fitted.means[0], np.average(X, axis=0, weights=W), rtol=1e-9)
    np.testing.assert_allclose(plain(fitted).covariances[0], expected, atol=1e-9)


def assert_never_falls(x: np.ndarray, family: str, steps: int, **options: Any) -> None:
    dtype = x.dtype
    mixture = cast(start(family, np.asarray(X, np.float64)), dtype)
    spread = np.asarray(x, np.float64).std()
    mixture = jgmm.Mixture(
        weights=mixture.weights,
        means=cast(np.mean(x, axis=0) + spread * np.asarray(mixture.means) / X.std(), dtype),
        covariances=cast(np.asarray(mixture.covariances) * (spread / X.std()) ** 2, dtype),
    )
    history = []
    for _ in range(steps):
        mixture, before = em_step(mixture, x, covariance_type=family, **options)
        history.append(float(before))
    assert np.isfinite(history).all()
    # So much rounding as a mean of numbers of this size has.
    slack = 20 * np.finfo(dtype).eps * max(1, np.abs(history).max())
    assert np.diff(history).min() > -slack


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=st.integers(0, 2**32 - 1), exponent=st.floats(-3, 3), offset=st.floats(-10, 10))
def test_the_likelihood_never_falls(family: str, seed: int, exponent: float, offset: float) -> None:
    x = 10**exponent * (overlapping(seed) + offset)
    assert_never_falls(x, family, 8)
    assert_never_falls(cast(x, np.float32), family, 8)


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_likelihood_never_falls_where_the_floor_is_met(family: str, seed: int) -> None:
    """Few distinct values, and few dimensions: every component would collapse without a floor."""
    x = np.random.default_rng(seed).integers(0, 3, size=(N, D)).astype(float)
    x[:, 2] = x[:, 0] + x[:, 1]
    # Above float32's rounding of the variances, and different for each feature.
    floor = np.array([0.01, 0.02, 0.03])
    assert_never_falls(x, family, 8, reg_covar=floor)
    assert_never_falls(cast(x, np.float32), family, 8, reg_covar=floor)


def test_counts_add_up_to_the_sample_weights() -> None:
    stats, _ = e_step(start("full", X), X, W)
    np.testing.assert_allclose(stats.counts.sum(), W.sum(), rtol=1e-12)
    stats, _ = e_step(start("full", X), X)
    np.testing.assert_allclose(stats.counts.sum(), N, rtol=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
def test_integer_weights_are_repetitions(seed: int) -> None:
    counts = np.random.default_rng(seed).multinomial(N, np.ones(N) / N)
    mixture = start("full", X)
    weighted, _ = em_step(mixture, X, counts, covariance_type="full")
    repeated, _ = em_step(mixture, np.repeat(X, counts, axis=0), covariance_type="full")
    assert_mixtures_close(weighted, repeated, 1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_of_weight_zero_do_not_count(family: str) -> None:
    mixture = start(family, X)
    junk = np.concatenate([np.full((7, D), 1e6), X[7:]])
    weights = np.r_[np.zeros(7), W[7:]]
    ours, before = em_step(mixture, junk, weights, covariance_type=family)
    expected, expected_before = reference.em_step(plain(mixture), X[7:], W[7:], family, NONE)
    assert_mixtures_close(ours, expected, 1e-9)
    np.testing.assert_allclose(before, expected_before, rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unused_component_changes_nothing_and_stays(family: str) -> None:
    mixture = start(family, X)
    covariances = mixture.covariances
    if family != "tied":
        covariances = np.concatenate([covariances, 0.3 * covariances[:1]])
    padded = jgmm.Mixture(
        weights=np.append(mixture.weights, 0.0),
        means=np.concatenate([mixture.means, mixture.means[:1]]),
        covariances=covariances,
    )
    ours, before = em_step(padded, X, W, covariance_type=family)
    expected, expected_before = em_step(mixture, X, W, covariance_type=family)
    np.testing.assert_allclose(before, expected_before, rtol=1e-12)
    assert ours.weights[-1] == 0
    np.testing.assert_allclose(ours.means[-1], padded.means[-1], rtol=1e-12)
    if family != "tied":
        np.testing.assert_array_equal(ours.covariances[-1], covariances[-1])
    used = jgmm.Mixture(
        weights=ours.weights[:-1],
        means=ours.means[:-1],
        covariances=ours.covariances if family == "tied" else ours.covariances[:-1],
    )
    assert_mixtures_close(used, expected, 1e-9)


def test_a_component_that_explains_nothing_gets_weight_zero() -> None:
    """So far away that its responsibilities underflow."""
    mixture = cast(start("full", X), np.float32)
    means = mixture.means.copy()
    means[1] = 1e4
    mixture = dataclasses.replace(mixture, means=means)
    fitted, _ = em_step(mixture, cast(X, np.float32), covariance_type="full")
    assert fitted.weights[1] == 0
    np.testing.assert_allclose(fitted.weights.sum(), 1, rtol=1e-6)
    np.testing.assert_array_equal(fitted.covariances[1], mixture.covariances[1])
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(fitted))


def test_no_weight_at_all() -> None:
    mixture = start("full", X)
    fitted, before = em_step(mixture, X, np.zeros(N), covariance_type="full")
    np.testing.assert_array_equal(fitted.weights, 0)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(fitted))
    # The mean of nothing, as of `score`.
    assert jnp.isnan(before)
    assert jnp.isnan(jgmm.score(mixture, X, np.zeros(N)))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_order_of_components_and_samples_is_no_matter(family: str) -> None:
    mixture = start(family, X)
    order = np.array([2, 0, 1])
    shuffled = jgmm.Mixture(
        weights=mixture.weights[order],
        means=mixture.means[order],
        covariances=mixture.covariances if family == "tied" else mixture.covariances[order],
    )
    samples = np.random.default_rng(3).permutation(N)
    expected, _ = em_step(mixture, X, W, covariance_type=family)
    ours, _ = em_step(shuffled, X[samples], W[samples], covariance_type=family)
    exact = plain(expected)
    assert_mixtures_close(ours, reference.Gmm(*(leaf[order] for leaf in exact)), 1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_statistics_are_the_gradient_of_the_likelihood(family: str) -> None:
    """Fisher's identity: dlog p/dμ = Σ⁻¹ Σ r (x - μ), and dlog p/dweight = Σ r / weight."""
    mixture = jax.tree.map(jnp.asarray, start(family, X))
    stats, _ = e_step(mixture, X, W)
    slope = program(once=True)(jax.grad(lambda mixture, x, w: jgmm.score(mixture, x, w)))
    gradient = jax.device_get(slope(mixture, X, W))
    np.testing.assert_allclose(
        gradient.weights * W.sum(), stats.counts / mixture.weights, rtol=1e-9
    )
    for k, covariance in enumerate(plain(mixture).covariances):
        expected = np.linalg.solve(np.linalg.cholesky(covariance).T, stats.shifts[k])
        np.testing.assert_allclose(gradient.means[k] * W.sum(), expected, rtol=1e-9, atol=1e-9)


def test_a_family_may_change_between_the_steps() -> None:
    """Statistics under full covariances serve the M-step of every family."""
    mixture = start("full", X)
    stats, _ = e_step(mixture, X, W)
    r = reference.responsibilities(plain(mixture), X) * W[:, None]
    for family in FAMILIES:
        fitted = jgmm.m_step(mixture, stats, covariance_type=family)
        assert fitted.covariance_type == family
        assert_mixtures_close(fitted, reference.m_step(X, r, family, NONE), 1e-9)


def test_leading_axes_and_integers() -> None:
    image = np.random.default_rng(0).integers(0, 256, size=(6, 10, D), dtype=np.uint8)
    flat = image.reshape(-1, D).astype(np.float32)
    mixture = cast(start("full", flat), np.float32)
    expected, before = jgmm.em_step(mixture, flat)
    ours, ours_before = jgmm.em_step(mixture, image)
    assert_mixtures_close(ours, expected, 1e-6)
    np.testing.assert_allclose(ours_before, before, rtol=1e-6)


def test_a_floor_under_some_features_only_is_refused() -> None:
    """Under a matrix there is none: it would be none for all."""
    mixed = np.array([1e-3, 0.0, 1e-3])
    stats, _ = jgmm.e_step(start("full", X), X)
    with pytest.raises(ValueError, match="reg_covar: expected all positive or all 0"):
        jgmm.m_step(start("full", X), stats, reg_covar=mixed)
    with pytest.raises(ValueError, match="reg_covar: expected all positive or all 0"):
        jgmm.fit(X, K, reg_covar=mixed)
