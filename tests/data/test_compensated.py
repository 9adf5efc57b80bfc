"""Sums and means in about twice the working precision."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jgmm.data.compensated import Compensated, constant, mean, plus

EPS = float(np.finfo(np.float32).eps)


@jax.jit
def summed(terms: jax.Array) -> Compensated[jax.Array]:
    def add(total: Compensated[jax.Array], term: jax.Array) -> tuple[Compensated[jax.Array], None]:
        return plus(total, term), None

    return jax.lax.scan(add, constant(jnp.zeros((), terms.dtype)), terms)[0]


def exact(number: Compensated[jax.Array]) -> float:
    return float(np.float64(number.value) + np.float64(number.error))


def terms(seed: int, spread: float) -> np.ndarray:
    """Numbers of either sign and of sizes that are so many decimal powers apart."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=200) * 10 ** rng.uniform(-spread, spread, size=200)).astype(np.float32)


@given(seed=st.integers(0, 2**32 - 1), spread=st.floats(0, 8))
def test_a_sum_is_right_to_twice_the_digits(seed: int, spread: float) -> None:
    """Neumaier (1974): the error is one rounding of the result, and of the second order."""
    x = terms(seed, spread)
    total = summed(x)
    assert total.value.dtype == total.error.dtype == np.float32
    right, size = math.fsum(x.tolist()), math.fsum(np.abs(x).tolist())
    assert abs(exact(total) - right) <= len(x) * (len(x) * EPS**2) * size
    assert abs(float(total.rounded()) - right) <= EPS * abs(right) + (len(x) * EPS) ** 2 * size


@given(seed=st.integers(0, 2**32 - 1), spread=st.floats(0, 4))
def test_a_mean_keeps_the_digits(seed: int, spread: float) -> None:
    x, weight = terms(seed, spread), np.float32(np.random.default_rng(seed).uniform(0.1, 1e4))
    total = summed(x)
    quotient = jax.jit(mean)(total, weight)
    right = exact(total) / float(weight)
    # The quotient itself is right to one rounding, and what it lacks is as the sum's.
    assert abs(float(quotient.value) - right) <= EPS * abs(right) + 1e-38
    assert abs(exact(quotient) - right) <= 4 * EPS**2 * abs(right) + EPS * abs(float(total.error))


def test_differences_that_the_working_precision_cannot_see() -> None:
    one = constant(jnp.float32(1))
    more = plus(one, jnp.float32(1e-9))
    assert more.value == one.value
    np.testing.assert_allclose(more.above(one), 1e-9, rtol=1e-6)
    np.testing.assert_allclose(one.above(more), -1e-9, rtol=1e-6)
    assert one.above(one) == 0
    assert one.rounded() == 1


def test_trees_are_summed_leaf_by_leaf() -> None:
    tree = {"a": jnp.float32(1), "b": jnp.arange(3, dtype=jnp.float32)}
    total = plus(plus(constant(jnp.zeros(())), jnp.ones(())), jnp.ones(()))
    assert total.rounded() == 2
    zeros = jax.tree.map(jnp.zeros_like, tree)
    total = plus(plus(Compensated(value=zeros, error=zeros), tree), tree)
    for leaf, twice in zip(jax.tree.leaves(total.rounded()), jax.tree.leaves(tree), strict=True):
        np.testing.assert_array_equal(leaf, 2 * twice)


def test_the_derivative_of_a_sum_is_that_of_its_terms() -> None:
    x = terms(0, 3.0)
    np.testing.assert_array_equal(jax.grad(lambda x: summed(x).rounded())(x), np.ones_like(x))
