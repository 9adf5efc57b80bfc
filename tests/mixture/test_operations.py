from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from examples import FAMILIES, D, K, heard, overlapping, plain, start

import jgmm
from jgmm.data.programs import program

X = overlapping()


def grid_integral(mixture: jgmm.Mixture, points: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """The density at points [n, D - 1], the last feature integrated out on a grid."""
    step = axis[1] - axis[0]
    rows = [np.column_stack([np.tile(p, (len(axis), 1)), axis]) for p in points]
    return np.array([np.exp(reference.log_prob(plain(mixture), r)).sum() * step for r in rows])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_marginal_is_the_integral(family: str) -> None:
    mixture = start(family, X)
    kept = jgmm.marginal(mixture, range(D - 1))
    assert kept.covariance_type == family
    expected = grid_integral(mixture, X[:4, :-1], np.linspace(-25, 25, 2001))
    np.testing.assert_allclose(np.exp(jgmm.log_prob(kept, X[:4, :-1])), expected, rtol=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_marginal_times_conditional_is_the_whole(family: str) -> None:
    mixture = start(family, X)
    known, others = [2, 0], [1]
    parts = jax.jit(jax.vmap(lambda v: jgmm.condition(mixture, known, v)))(X[:5, known])
    given = jax.vmap(jgmm.log_prob)(parts, X[:5, None, others])[:, 0]
    whole = jgmm.log_prob(jgmm.marginal(mixture, known), X[:5, known]) + given
    np.testing.assert_allclose(whole, reference.log_prob(plain(mixture), X[:5]), rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_entropy_lies_between_its_bounds(family: str) -> None:
    mixture = start(family, X)
    lower, upper = jax.jit(jgmm.entropy)(mixture)
    draws, _ = jgmm.sample(mixture, 10_000)
    estimate = -float(jgmm.score(mixture, draws))
    assert lower - 0.03 < estimate < upper + 0.03
    assert 0 < upper - lower < 1.5
    # Components far apart: what component it is and where are two separate questions.
    apart = jgmm.Mixture(mixture.weights, mixture.means + 1e3 * np.eye(K), mixture.covariances)
    lower, upper = jgmm.entropy(apart)
    draws, _ = jgmm.sample(apart, 10_000)
    np.testing.assert_allclose(-jgmm.score(apart, draws), upper, atol=0.05)


def test_kl_divergence_of_gaussians_is_its_closed_form() -> None:
    p, q = (jgmm.Mixture(np.ones(1), m[None], c[None]) for m, c in (
        (np.zeros(2), np.array([[1.0, 0.3], [0.3, 0.5]])),
        (np.array([0.4, -0.2]), np.array([[1.5, 0.0], [0.0, 0.7]])),
    ))  # fmt: skip
    a, b, gap = p.covariances[0], q.covariances[0], q.means[0]
    inverse = np.linalg.inv(b)
    exact = np.trace(inverse @ a) + gap @ inverse @ gap - 2
    exact = (exact + np.log(np.linalg.det(b) / np.linalg.det(a))) / 2
    estimate, error = jgmm.kl_divergence(p, q, n=20_000)
    assert abs(estimate - exact) < 4 * error
    assert error < 0.02
    assert jgmm.kl_divergence(p, p)[0] == 0


def test_wrong_features_are_told() -> None:
    mixture = start("full", X)
    for features in ([], [0, 0], [D]):
        with pytest.raises(ValueError, match="features"):
            jgmm.marginal(mixture, features)
    with pytest.raises(ValueError, match="some to remain"):
        jgmm.condition(mixture, range(D), X[0])
    with pytest.raises(ValueError, match="values"):
        jgmm.condition(mixture, [0], jnp.zeros(2))


def test_operations_are_one_program_each() -> None:
    mixture = start("full", X)
    with jax.enable_x64(False):
        mixture = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), mixture)
        key = jax.random.key(3)
        values = np.zeros(2, np.float32)
        with heard("backend_compile_duration") as compiled:
            drawn = jgmm.sample(mixture, 77, key=key)
            kept = jgmm.marginal(mixture, [2, 0])
            given = jgmm.condition(mixture, [2, 0], values)
            bounds = jgmm.entropy(mixture)
            distance = jgmm.kl_divergence(mixture, mixture, n=77, key=key)
        assert len(compiled) <= 4, compiled

        @program(once=True)
        def together(mixture: jgmm.Mixture) -> Any:
            return (
                jgmm.sample(mixture, 77, key=key),
                jgmm.marginal(mixture, [2, 0]),
                jgmm.condition(mixture, [2, 0], values),
                jgmm.entropy(mixture),
                jgmm.kl_divergence(mixture, mixture, n=77, key=key),
            )

        got, expected = (drawn, kept, given, bounds, distance), together(mixture)
        assert jax.tree.structure(got) == jax.tree.structure(expected)
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
