"""Which component a sample comes from: joint densities, and what they add up to."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import DTYPES, FAMILIES, TOLERANCE, D, K, N, W, X, cast, plain, start
from hypothesis import given
from hypothesis import strategies as st

import jgmm
from jgmm.data.programs import program
from jgmm.data.samples import Rows, make_samples
from jgmm.mixture.posterior import centered, counted, judgement, log_joint, normalise

LABELS = np.where(np.arange(N) % 5 == 0, np.arange(N) % K, -1)
judge = program(once=True)(judgement)


def rows_of(x: np.ndarray, w: np.ndarray = W, labels: np.ndarray | None = None) -> Rows:
    known = None if labels is None else jnp.asarray(labels, jnp.int32)
    return Rows(features=jnp.asarray(x), weights=jnp.asarray(w), labels=known)


@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(-3, 4))
def test_responsibilities_and_densities_of_any_log_joints(
    dtype: type, seed: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    joint = (10**scale * rng.normal(size=(K, 8))).astype(dtype)
    joint[1, :4] = -np.inf  # a component that is not used, or cannot be
    posterior = normalise(jnp.asarray(joint))
    exact = np.logaddexp.reduce(joint.astype(np.float64), axis=0)
    tolerance = TOLERANCE[np.dtype(dtype)]
    np.testing.assert_allclose(posterior.log_density, exact, rtol=tolerance, atol=tolerance)
    r = posterior.responsibilities()
    assert r.dtype == dtype
    np.testing.assert_allclose(r.sum(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(r, np.exp(joint - exact), rtol=0, atol=tolerance)
    np.testing.assert_array_equal(r[1, :4], 0)


def test_a_sample_that_no_component_explains() -> None:
    """Its density is 0, not NaN, and it belongs to nobody."""
    posterior = normalise(jnp.full((K, 2), -jnp.inf))
    np.testing.assert_array_equal(posterior.log_density, -np.inf)
    np.testing.assert_array_equal(posterior.totals, 0)
    np.testing.assert_array_equal(posterior.responsibilities(), 0)


def test_what_counts_for_nothing_and_what_does_not() -> None:
    """Not even a density that underflows counts with weight 0; but its weight has a derivative."""
    density, weights = jnp.array([-1.0, -jnp.inf, -3.0]), jnp.array([2.0, 0.0, 0.0])
    assert counted(density, weights) == -2
    np.testing.assert_array_equal(jax.grad(counted, 1)(density, weights), [-1, 0, -3])
    assert counted(density, jnp.ones(3)) == -jnp.inf


@pytest.mark.parametrize("family", FAMILIES)
def test_log_joints_are_the_reference(family: str) -> None:
    mixture = jax.tree.map(jnp.asarray, start(family, X))
    mixture = dataclasses.replace(mixture, weights=jnp.array([0.4, 0.0, 0.6]))
    block = jax.tree.map(lambda leaf: leaf[0], make_samples(rows_of(X, labels=LABELS), N).blocks)

    @program(once=True)
    def joint(mixture: jgmm.Mixture, labels: Any) -> jax.Array:
        return log_joint(mixture, mixture.kernel().evaluate(block), labels)

    exact = reference.log_joint(plain(mixture), X).T
    np.testing.assert_allclose(joint(mixture, None), exact, rtol=1e-9)
    # A sample whose component is known has no other.
    elsewhere = (LABELS >= 0) & (np.arange(K)[:, None] != LABELS)
    expected = np.where(elsewhere, -np.inf, exact)
    np.testing.assert_allclose(joint(mixture, block.labels), expected, rtol=1e-9)


def test_both_are_shifted_by_the_mean_of_the_mixture() -> None:
    mixture = jax.tree.map(jnp.asarray, start("full", X + 1000))
    moved, pixels = centered(mixture, jnp.asarray(X + 1000))
    np.testing.assert_allclose(moved.weights @ moved.means, 0, atol=1e-9)
    center = np.asarray(mixture.weights @ mixture.means)
    np.testing.assert_allclose(pixels, X + 1000 - center, rtol=1e-12)
    np.testing.assert_allclose(moved.means, np.asarray(mixture.means) - center, rtol=1e-12)
    assert moved.covariances is mixture.covariances


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_judgement_is_the_reference(family: str, dtype: type) -> None:
    x, w = cast(X, dtype), cast(W, dtype)
    mixture = cast(start(family, X), dtype)
    log_likelihood, weight, entropy = judge(mixture, make_samples(rows_of(x, w), 128))
    x64, w64 = cast(x, np.float64), cast(w, np.float64)
    exact = plain(mixture)
    tolerance = TOLERANCE[np.dtype(dtype)]
    np.testing.assert_allclose(log_likelihood, w64 @ reference.log_prob(exact, x64), rtol=tolerance)
    np.testing.assert_allclose(weight, w64.sum(), rtol=tolerance)
    r = reference.responsibilities(exact, x64)
    np.testing.assert_allclose(entropy, -(w64 @ (r * np.log(r))).sum(), rtol=tolerance)


def test_nothing_is_uncertain_of_samples_that_are_labelled() -> None:
    mixture = start("full", X)
    exact = plain(mixture)
    all_known = np.arange(N) % K
    samples = make_samples(rows_of(X, labels=all_known), 128)
    log_likelihood, _, entropy = judge(mixture, samples)
    np.testing.assert_array_equal(entropy, 0)
    joint = reference.log_joint(exact, X)[np.arange(N), all_known]
    np.testing.assert_allclose(log_likelihood, W @ joint, rtol=1e-9)
    # Of those that are not, what it was.
    _, _, entropy = judge(mixture, make_samples(rows_of(X, labels=LABELS), 128))
    r = reference.responsibilities(exact, X)[LABELS < 0]
    np.testing.assert_allclose(entropy, -(W[LABELS < 0] @ (r * np.log(r))).sum(), rtol=1e-9)


def test_samples_with_gaps_are_judged_by_what_was_observed() -> None:
    gaps = X.copy()
    gaps[::2, 1] = np.nan
    mixture = start("full", X)
    samples = make_samples(rows_of(gaps), 128, incomplete=True)
    log_likelihood, _, _ = judge(mixture, samples)
    some = jgmm.marginal(jax.tree.map(jnp.asarray, mixture), [0, 2])
    expected = W[1::2] @ reference.log_prob(plain(mixture), X[1::2])
    expected += W[::2] @ reference.log_prob(plain(some), X[::2, [0, 2]])
    np.testing.assert_allclose(log_likelihood, expected, rtol=1e-9)
    assert samples.features.shape == (2, D, 128)
