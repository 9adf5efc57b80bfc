"""The one loop over blocks of samples, and the sums that go through it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgmm.data import fold as _fold
from jgmm.data.samples import Block, Rows, Samples, Span, make_samples


def random_rows(n: int, d: int = 2) -> Rows:
    rng = np.random.default_rng(0)
    features, weights = rng.normal(size=(n, d)), rng.uniform(0.5, 2, size=n)
    return Rows(features=jnp.asarray(features), weights=jnp.asarray(weights))


def span(start: int, n: int) -> Span:
    """Only the blocks with ``n`` samples from block ``start`` on."""
    return Span(start=jnp.asarray(start, jnp.int32), n=jnp.asarray(n, jnp.int32))


def weighted_moments(block: Block) -> dict[str, jax.Array]:
    x, w = block.features, block.weights
    return {"count": jnp.sum(w), "second": (x * w) @ x.T}


def column(values: np.ndarray) -> Samples:
    """One value in each block, with weight 1."""
    rows = Rows(features=jnp.asarray(values)[:, None], weights=jnp.ones_like(values))
    return make_samples(rows, 1)


def test_fold_visits_the_blocks_in_order() -> None:
    samples = make_samples(Rows(features=jnp.arange(12.0)[:, None], weights=jnp.ones(12)), 4)
    for visited, expected in (
        (samples.visited, 48),  # blocks start with 0, 4 and 8
        (span(0, 12), 48),
        (span(0, 8), 4),
        (span(1, 8), 48),
        (span(1, 3), 4),
        (span(2, 1), 8),
    ):
        last = _fold.fold(
            lambda carry, block: 10 * carry + block.features[0, 0],
            jnp.zeros(()),
            dataclasses.replace(samples, visited=visited),
        )
        assert last == expected


@pytest.mark.parametrize("n", [5, 16, 37])
def test_both_loops_sum_the_same(n: int) -> None:
    """A scan over all blocks, and a loop over the traced number of blocks that hold samples."""
    rows = random_rows(n)
    x, w = np.asarray(rows.features), np.asarray(rows.weights)
    # Weight where there is no sample: a block not visited must not be counted.
    padded = Rows(
        features=jnp.pad(x, ((0, 64 - n), (0, 0))),
        weights=jnp.pad(w, (0, 64 - n)).at[-1].set(99),
    )
    scanned = _fold.fold_sum(weighted_moments, make_samples(rows, 8))
    visited = _fold.fold_sum(weighted_moments, make_samples(padded, 8, span(0, n)))
    for sums in (scanned.value, visited.value):
        np.testing.assert_allclose(sums["count"], w.sum(), rtol=1e-12)
        np.testing.assert_allclose(sums["second"], (w[:, None] * x).T @ x, rtol=1e-12)


def test_the_sum_carries_its_own_rounding_error() -> None:
    """In float32 1 + 1e-8 is 1, ten thousand times over; with the error kept it is 1.0001."""
    values = np.full(10_000, 1e-8, np.float32)
    values[0] = 1
    total = _fold.fold_sum(lambda b: jnp.sum(b.features * b.weights), column(values))
    assert total.value.dtype == total.error.dtype == jnp.float32
    assert total.value == 1
    exact = np.sum(values, dtype=np.float64)
    np.testing.assert_allclose(np.float64(total.value) + np.float64(total.error), exact, rtol=1e-7)
    # The other branch: a term larger than the sum so far.
    values = values[::-1].copy()
    total = _fold.fold_sum(lambda b: jnp.sum(b.features * b.weights), column(values))
    np.testing.assert_allclose(np.float64(total.value) + np.float64(total.error), exact, rtol=1e-7)


def test_a_fold_can_be_differentiated() -> None:
    rows = random_rows(20)

    def second_moment(x: jax.Array) -> jax.Array:
        samples = make_samples(dataclasses.replace(rows, features=x), 8)
        return _fold.fold_sum(lambda b: jnp.sum(b.weights * b.features**2), samples).rounded()

    x, w = np.asarray(rows.features), np.asarray(rows.weights)
    np.testing.assert_allclose(jax.grad(second_moment)(x), 2 * w[:, None] * x, rtol=1e-12)


def test_the_weight_of_all_samples_and_of_each_feature_where_it_was_observed() -> None:
    rows = random_rows(21)
    w = np.asarray(rows.weights)
    np.testing.assert_allclose(_fold.total_weight(make_samples(rows, 8)), w.sum(), rtol=1e-12)
    gaps = np.random.default_rng(1).random((21, 2)) < 0.3
    incomplete = dataclasses.replace(rows, features=jnp.where(gaps, jnp.nan, rows.features))
    samples = make_samples(incomplete, 8, incomplete=True)
    shares = (w[:, None] * ~gaps).sum(0) / w.sum()
    np.testing.assert_allclose(_fold.shares_observed(samples), shares, rtol=1e-12)
    assert (_fold.shares_observed(make_samples(rows, 8)) == 1).all()


@pytest.mark.parametrize("n", [3, 8, 21])
def test_map_samples_keeps_order_and_length(n: int) -> None:
    x = np.asarray(random_rows(n).features)
    both = _fold.map_samples(lambda s: jnp.stack([s[0] + s[1], s[0] - s[1]]), jnp.asarray(x), 8)
    np.testing.assert_array_equal(both, np.stack([x[:, 0] + x[:, 1], x[:, 0] - x[:, 1]], axis=1))
    one = _fold.map_samples(lambda s: s[0], jnp.asarray(x), 8)
    np.testing.assert_array_equal(one, x[:, 0])
