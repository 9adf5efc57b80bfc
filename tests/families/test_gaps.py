"""Samples with features missing: what is expected of them, against conditional distributions."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import FAMILIES, TOLERANCE, D, K, X, cast, plain, start

import jgmm
from jgmm.data.programs import program
from jgmm.data.samples import Block
from jgmm.families.gaps import _by_factors, _by_features
from jgmm.mixture.posterior import log_joint, normalise

S = 16
SEEN = np.random.default_rng(4).random((S, D)) < 0.6
SEEN[0], SEEN[1] = True, False  # a complete sample, and one of which nothing is known
R = np.random.default_rng(5).uniform(0.1, 1, size=(K, S))


def block_of(dtype: type, gap: float = 0.0) -> Block:
    """The first samples; what was not observed is 0 there, as `make_samples` has it."""
    features = np.where(SEEN, X[:S], gap).astype(dtype)
    return Block(
        features=jnp.asarray(features.T),
        weights=jnp.ones(S, dtype),
        observed=jnp.asarray(SEEN.T),
    )


@program()
def run(mixture: jgmm.Mixture, block: Block) -> Any:
    kernel = mixture.kernel(gaps=True)
    r = jnp.asarray(R, mixture.means.dtype)
    sums, _ = kernel.accumulate(block, lambda whitened: (r, ()))
    whitened = kernel.evaluate(block)
    posterior = normalise(log_joint(mixture, whitened))
    return whitened, posterior.log_density, kernel.moments(sums)


def expected(mixture: jgmm.Mixture) -> dict[str, np.ndarray]:
    """Of each component and sample, from the conditional distribution given what was observed."""
    found = {
        "energy": np.zeros((K, S)),
        "half_log_det": np.zeros((K, S)),
        "y": np.zeros((K, S, D)),
        "spread": np.zeros((K, S, D, D)),
    }
    _, means, covariances = plain(mixture)
    for k in range(K):
        whitener = np.linalg.inv(np.linalg.cholesky(covariances[k]))
        for s, seen in enumerate(SEEN):
            inner = covariances[k][np.ix_(seen, seen)]
            gap = X[s, seen] - means[k, seen]
            gain = covariances[k][:, seen] @ np.linalg.inv(inner)
            left = covariances[k] - gain @ covariances[k][seen, :]
            found["energy"][k, s] = -gap @ np.linalg.solve(inner, gap) / 2
            found["half_log_det"][k, s] = np.linalg.slogdet(inner)[1] / 2
            found["y"][k, s] = whitener @ gain @ gap
            found["spread"][k, s] = whitener @ left @ whitener.T
    return found


# The dtype is no matter to what is done: in single precision one of matrices, and one of variances.
@pytest.mark.parametrize(
    ("family", "dtype"),
    [*((family, np.float64) for family in FAMILIES), ("full", np.float32), ("diag", np.float32)],
)
def test_what_is_missing_is_expected_given_what_is_not(family: str, dtype: type) -> None:
    mixture = start(family, X)
    exact = expected(mixture)
    whitened, _, (counts, shifts, scatters) = run(
        jax.tree.map(jnp.asarray, cast(mixture, dtype)), block_of(dtype)
    )
    tolerance = {"rtol": TOLERANCE[np.dtype(dtype)], "atol": 10 * TOLERANCE[np.dtype(dtype)]}
    np.testing.assert_allclose(whitened.energy, exact["energy"], **tolerance)
    half = jnp.broadcast_to(whitened.half_log_det, (K, S))
    np.testing.assert_allclose(half, exact["half_log_det"], **tolerance)
    np.testing.assert_array_equal(whitened.n_observed, SEEN.sum(1))
    np.testing.assert_allclose(whitened.y, exact["y"].transpose(2, 0, 1), **tolerance)
    np.testing.assert_allclose(counts, R.sum(1), **tolerance)
    np.testing.assert_allclose(shifts, np.einsum("ks,ksi->ki", R, exact["y"]), **tolerance)
    products = np.einsum("ks,ksi,ksj->kij", R, exact["y"], exact["y"])
    products += np.einsum("ks,ksij->kij", R, exact["spread"])
    spreads = mixture.family.spreads(jnp.asarray(products))
    assert scatters.shape == spreads.shape
    np.testing.assert_allclose(scatters, spreads, **tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_density_is_that_of_the_marginal(family: str) -> None:
    mixture = jax.tree.map(jnp.asarray, start(family, X))
    _, log_density, _ = run(mixture, block_of(np.float64))
    for s, seen in enumerate(SEEN):
        if not seen.any():
            np.testing.assert_allclose(log_density[s], 0, atol=1e-12)
            continue
        some = jgmm.marginal(mixture, np.flatnonzero(seen).tolist())
        alone = jgmm.log_prob(some, X[s : s + 1, seen])[0]
        np.testing.assert_allclose(log_density[s], alone, rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_stands_in_a_gap_is_no_matter(family: str) -> None:
    mixture = jax.tree.map(jnp.asarray, start(family, X))
    found = [run(mixture, block_of(np.float64, gap)) for gap in (0.0, 1e3)]
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_array_equal(a, b)
    block = block_of(np.float64)
    by_features = program()(
        jax.grad(lambda x: run(mixture, dataclasses.replace(block, features=x))[1].sum())
    )(block.features)
    np.testing.assert_array_equal(np.asarray(by_features).T[~SEEN], 0)
    assert (np.asarray(by_features).T[SEEN] != 0).all()


@pytest.mark.parametrize("d", [1, 4])
def test_of_few_and_of_many_features_the_same_is_expected(d: int) -> None:
    rng = np.random.default_rng(6)
    factors = rng.normal(size=(K, d, d)) + 1e-4 * np.eye(d)
    covariances = jnp.asarray(factors @ factors.transpose(0, 2, 1))
    mask = jnp.asarray((rng.random((d, S)) < 0.7).astype(float))
    gaps = mask[:, None] * rng.normal(size=(d, K, S))
    lower = jnp.linalg.cholesky(covariances)
    few = program()(_by_features)(lower, gaps, mask)
    many = program()(_by_factors)(covariances, lower, gaps, mask)
    for one, other in zip(few, many, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)
