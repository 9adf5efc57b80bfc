from __future__ import annotations

import dataclasses
import pickle
from functools import partial

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
    assert_derivatives_are_right,
    cast,
    overlapping,
    plain,
    start,
)
from hypothesis import given
from hypothesis import strategies as st

import jgmm
from jgmm.data.programs import program
from jgmm.families.table import FAMILIES as FAMILY_TABLE

X = overlapping()
W = np.random.default_rng(1).uniform(0.1, 2, size=N)
# Across the batched matrix product and several blocks: block_size(3, 20) is 128.
WIDE = overlapping(n=300, d=20)


def with_unused(mixture: jgmm.Mixture) -> jgmm.Mixture:
    """The mixture with a second component of weight 0 at an odd place."""
    family = mixture.covariance_type
    covariances = mixture.covariances
    if family != "tied":
        covariances = np.insert(covariances, 1, 0.3 * covariances[0], axis=0)
    return jgmm.Mixture(
        weights=np.insert(mixture.weights, 1, 0.0),
        means=np.insert(mixture.means, 1, mixture.means[0], axis=0),
        covariances=covariances,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_evaluations_are_the_reference(family: str, dtype: type) -> None:
    """Far from the origin, where a formula that squares the data itself would fail in float32."""
    x = cast(X + 1000, dtype)
    mixture = cast(start(family, X + 1000), dtype)
    exact, x64 = plain(mixture), np.asarray(x, np.float64)
    tolerance = TOLERANCE[np.dtype(dtype)]
    log_prob = jgmm.log_prob(mixture, x)
    assert log_prob.dtype == dtype
    np.testing.assert_allclose(log_prob, reference.log_prob(exact, x64), rtol=tolerance)
    shares = jgmm.responsibilities(mixture, x)
    assert shares.dtype == dtype
    np.testing.assert_allclose(shares, reference.responsibilities(exact, x64), atol=tolerance)
    labels = jgmm.predict(mixture, x)
    assert labels.dtype == jnp.int32
    np.testing.assert_array_equal(labels, reference.responsibilities(exact, x64).argmax(1))
    if family == "full":  # whatever the family, of the same responsibilities
        np.testing.assert_allclose(jgmm.certainty(mixture, x), shares.max(axis=1), rtol=1e-6)
    score = jgmm.score(mixture, x, W)
    assert score.dtype == dtype
    weights = np.asarray(W.astype(dtype), np.float64)
    np.testing.assert_allclose(score, reference.score(exact, x64, weights), rtol=tolerance)


@pytest.mark.parametrize("family", ["full", "diag"])
def test_many_features_and_several_blocks(family: str) -> None:
    mixture = start(family, WIDE)
    np.testing.assert_allclose(
        jgmm.log_prob(mixture, WIDE), reference.log_prob(plain(mixture), WIDE), rtol=1e-9
    )
    np.testing.assert_allclose(
        jgmm.score(mixture, WIDE), reference.score(plain(mixture), WIDE, np.ones(300)), rtol=1e-9
    )


@given(seed=st.integers(0, 2**32 - 1), offset=st.floats(-1e6, 1e6), exponent=st.floats(-9, 9))
def test_responsibilities_sum_to_one(seed: int, offset: float, exponent: float) -> None:
    """Also in float32, and for pixels so far out that every density underflows."""
    rng = np.random.default_rng(seed)
    x = cast(offset + 10**exponent * rng.normal(size=(N, D)), np.float32)
    mixture = cast(start("full", X), np.float32)
    shares = jgmm.responsibilities(mixture, x)
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    assert not jnp.isnan(jgmm.log_prob(mixture, x)).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_density_integrates_to_one(family: str) -> None:
    """In one dimension, by the trapezoidal rule."""
    mixture = start(family, X[:, :1])
    grid = np.linspace(-40, 40, 4001)
    density = jnp.exp(jgmm.log_prob(mixture, grid[:, None]))
    np.testing.assert_allclose(density.sum() * (grid[1] - grid[0]), 1, rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unused_component_changes_nothing(family: str) -> None:
    mixture = start(family, X)
    padded = with_unused(mixture)
    np.testing.assert_allclose(jgmm.log_prob(padded, X), jgmm.log_prob(mixture, X), rtol=1e-12)
    shares = jgmm.responsibilities(padded, X)
    np.testing.assert_array_equal(shares[:, 1], 0)
    np.testing.assert_allclose(
        jnp.delete(shares, 1, axis=1), jgmm.responsibilities(mixture, X), rtol=1e-9, atol=1e-15
    )
    assert 1 not in jgmm.predict(padded, X)


def test_leading_axes_are_kept() -> None:
    mixture = start("full", X)
    image = X.reshape(15, 16, D)
    np.testing.assert_array_equal(
        jgmm.log_prob(mixture, image), jgmm.log_prob(mixture, X).reshape(15, 16)
    )
    assert jgmm.responsibilities(mixture, image).shape == (15, 16, K)
    np.testing.assert_array_equal(
        jgmm.predict(mixture, image), jgmm.predict(mixture, X).reshape(15, 16)
    )
    expected = jgmm.score(mixture, X, W)
    assert jgmm.score(mixture, image, W.reshape(15, 16)) == expected
    assert jgmm.score(mixture, image, W) == expected


def test_properties() -> None:
    for family in FAMILIES:
        mixture = start(family, X)
        assert mixture.covariance_type == family
        assert (mixture.n_components, mixture.n_features) == (K, D)


def test_a_family_can_be_named_where_shapes_coincide() -> None:
    """And what is named is kept, by whatever is made of the mixture."""
    weights, means = np.ones(1), np.zeros((1, D))
    matrix = np.eye(D)[None]
    assert jgmm.Mixture(weights, means, matrix).covariance_type == "full"
    tied = jgmm.Mixture(weights, means, matrix, family="tied")
    assert tied.covariance_type == "tied"
    named = jgmm.Mixture(weights, means, matrix, family=FAMILY_TABLE["tied"])
    assert named.family is tied.family
    moved = jax.tree.map(jnp.asarray, tied)
    assert moved.covariance_type == "tied"
    assert dataclasses.replace(tied, means=means + 1).covariance_type == "tied"
    assert jax.jit(lambda m: m)(moved).covariance_type == "tied"


def test_families_that_do_not_fit_are_refused() -> None:
    weights, means = np.ones(K) / K, np.zeros((K, D))
    with pytest.raises(ValueError, match=r"covariances: expected the shape of full \(3, 3, 3\)"):
        jgmm.Mixture(weights, means, np.ones((K, 2)))
    with pytest.raises(ValueError, match="family: expected one of full, tied, .*; got 'banded'"):
        jgmm.Mixture(weights, means, np.ones((K, 1)), family="banded")
    with pytest.raises(ValueError, match=r"expected diag covariances \(3, 3\), got \(3, 1\)"):
        jgmm.Mixture(weights, means, np.ones((K, 1)), family="diag")


def test_means_alone_may_be_mapped() -> None:
    """Under vmap: the family is no leaf, and says so to a tree of axes."""
    mixture = jax.tree.map(jnp.asarray, start("full", X))
    shifts = jnp.array([0.0, 1.0])
    means = mixture.means + shifts[:, None, None]
    lanes = dataclasses.replace(mixture, weights=None, means=0, covariances=None)
    together = jax.vmap(lambda m: jgmm.log_prob(m, X[:5]), in_axes=(lanes,))(
        dataclasses.replace(mixture, means=means)
    )
    for shift, lane in zip(shifts, together, strict=True):
        alone = jgmm.log_prob(dataclasses.replace(mixture, means=mixture.means + shift), X[:5])
        np.testing.assert_allclose(lane, alone, rtol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_of_another_process_it_is_the_same(family: str) -> None:
    """Families and distributions are told by what they are, and not by where in memory."""
    mixture = start(family, X)
    there = pickle.loads(pickle.dumps(mixture))
    assert there == mixture
    assert jax.tree.structure(there) == jax.tree.structure(mixture)
    heavy = dataclasses.replace(there, degrees_of_freedom=np.full(K, 3.0))
    assert heavy == dataclasses.replace(mixture, degrees_of_freedom=np.full(K, 3.0))


def test_a_mixture_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        start("full", X).weights = np.ones(K)  # type: ignore[misc]


def test_the_score_is_the_weighted_mean_of_log_prob() -> None:
    mixture = start("full", X)
    log_prob = np.asarray(jgmm.log_prob(mixture, X))
    np.testing.assert_allclose(jgmm.score(mixture, X), log_prob.mean(), rtol=1e-12)
    np.testing.assert_allclose(
        jgmm.score(mixture, X, W), np.average(log_prob, weights=W), rtol=1e-12
    )


@given(seed=st.integers(0, 2**32 - 1))
def test_integer_weights_are_repetitions(seed: int) -> None:
    mixture = start("full", X)
    counts = np.random.default_rng(seed).multinomial(N, np.ones(N) / N)
    np.testing.assert_allclose(
        jgmm.score(mixture, X, counts),
        jgmm.score(mixture, np.repeat(X, counts, axis=0)),
        rtol=1e-12,
    )


def test_a_pixel_of_weight_zero_does_not_count() -> None:
    """Not even one whose density is 0 in floating point."""
    mixture = cast(start("full", X), np.float32)
    x = cast(X, np.float32)
    x[0] = 1e30
    weights = np.r_[0, np.ones(N - 1)]
    assert jgmm.log_prob(mixture, x)[0] == -np.inf
    np.testing.assert_allclose(
        jgmm.score(mixture, x, weights), jgmm.score(mixture, x[1:]), rtol=1e-6
    )


def test_precisions_mix_to_the_higher() -> None:
    mixture = start("full", X)
    assert jgmm.log_prob(cast(mixture, np.float32), X).dtype == np.float64
    assert jgmm.log_prob(mixture, cast(X, np.float32)).dtype == np.float64
    assert jgmm.log_prob(cast(mixture, np.float32), (X * 10).astype(np.uint8)).dtype == np.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_follow_the_mixture(family: str) -> None:
    mixture = with_unused(start(family, X))
    n = 10_000  # so few numbers compile quickly
    x, labels = jgmm.sample(mixture, n, key=jax.random.key(5))
    assert x.shape == (n, D)
    assert labels.shape == (n,)
    assert labels.dtype == jnp.int32
    exact = plain(mixture)
    for k in range(K + 1):
        mine = np.asarray(x)[np.asarray(labels) == k]
        weight = mixture.weights[k]
        # Five standard errors: of the share, of the mean, and of the covariance (Wishart).
        assert abs(len(mine) / n - weight) <= 5 * np.sqrt(weight * (1 - weight) / n)
        if weight == 0:
            continue
        variances = np.diag(exact.covariances[k])
        error = np.sqrt(variances / len(mine))
        assert (np.abs(mine.mean(0) - exact.means[k]) <= 5 * error).all()
        spread = np.sqrt((exact.covariances[k] ** 2 + np.outer(variances, variances)) / len(mine))
        assert (np.abs(np.cov(mine.T) - exact.covariances[k]) <= 5 * spread).all()


def test_samples_depend_on_the_key_alone() -> None:
    mixture = cast(start("full", X), np.float32)
    x, labels = jgmm.sample(mixture, 50)
    again, again_labels = jgmm.sample(mixture, 50, key=jax.random.key(0))
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(labels, again_labels)
    other, _ = jgmm.sample(mixture, 50, key=jax.random.key(1))
    assert not np.array_equal(x, other)
    assert x.dtype == np.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_derivatives_are_finite_differences(family: str) -> None:
    """Of the score with respect to every parameter, the pixels and their weights."""
    few, mixture = X[:12], start(family, X)

    def score(mixture: jgmm.Mixture, x: jax.Array, w: jax.Array) -> jax.Array:
        if family in ("full", "tied"):
            # Finite differences leave the symmetric matrices, where the density means nothing.
            c = mixture.covariances
            mixture = dataclasses.replace(mixture, covariances=(c + c.swapaxes(1, 2)) / 2)
        return jgmm.score(mixture, x, w)

    assert_derivatives_are_right(score, (mixture, few, W[:12]), rtol=1e-6)


def test_derivatives_of_log_prob_are_finite_differences() -> None:
    log_prob = partial(jgmm.log_prob, start("full", X))
    assert_derivatives_are_right(log_prob, (X[:12],), rtol=1e-6)
    assert_derivatives_are_right(log_prob, (X[:12],), rtol=1e-5, order=2)


@pytest.mark.parametrize("family", FAMILIES)
def test_derivatives_are_finite_with_an_unused_component(family: str) -> None:
    mixture = jax.tree.map(jnp.asarray, start(family, X))
    slope = program(once=True)(jax.grad(lambda mixture, x: jgmm.score(mixture, x)))
    grads, padded = jax.device_get((slope(mixture, X), slope(with_unused(mixture), X)))
    for leaf in jax.tree.leaves(padded):
        assert np.isfinite(leaf).all()
    np.testing.assert_allclose(np.delete(padded.means, 1, axis=0), grads.means, atol=1e-12)
    np.testing.assert_array_equal(padded.means[1], 0)
