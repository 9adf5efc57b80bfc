from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgmm.data import fold as _fold


def random_samples(n: int, d: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, d)), rng.uniform(0.5, 2, size=n)


def weighted_moments(samples: jax.Array, weights: jax.Array) -> dict[str, jax.Array]:
    return {"count": jnp.sum(weights), "second": (samples * weights) @ samples.T}


@given(n=st.integers(1, 10**9))
def test_padded_lengths_are_few_and_near(n: int) -> None:
    length = _fold.padded_length(n)
    assert n <= length <= max(256, 1.25 * n + 1)
    assert _fold.padded_length(length) == length
    assert _fold.padded_length(n + 1) >= length


def test_few_padded_lengths_serve_all_sizes() -> None:
    assert len({_fold.padded_length(n) for n in range(1, 1 << 16)}) <= 4 * 8 + 2


@given(k=st.integers(1, 1000), d=st.integers(1, 200))
def test_block_sizes_fill_vector_registers(k: int, d: int) -> None:
    size = _fold.block_size(k, d)
    assert size % 128 == 0
    assert 128 <= size <= 2048


@pytest.mark.parametrize("n", [1, 5, 8, 9, 24])
def test_blocks_hold_the_samples_and_pad_with_weight_zero(n: int) -> None:
    x, w = random_samples(n)
    blocks = _fold.make_blocks(jnp.asarray(x), jnp.asarray(w), 8)
    samples = np.asarray(blocks.samples).swapaxes(1, 2).reshape(-1, 2)
    np.testing.assert_array_equal(samples[:n], x)
    np.testing.assert_array_equal(blocks.weights.ravel()[:n], w)
    np.testing.assert_array_equal(blocks.weights.ravel()[n:], 0)
    assert blocks.n_features == 2


def test_fold_visits_the_blocks_in_order() -> None:
    blocks = _fold.make_blocks(jnp.arange(12.0)[:, None], jnp.ones(12), 4)
    last = _fold.fold(lambda carry, x, w: 10 * carry + x[0, 0], jnp.zeros(()), blocks)
    assert last == 48  # blocks start with 0, 4 and 8


@pytest.mark.parametrize("n", [5, 16, 37])
def test_both_loops_sum_the_same(n: int) -> None:
    """A scan over all blocks, and a loop over the traced number of blocks that hold samples."""
    x, w = random_samples(n)
    padded, padded_w = jnp.pad(x, ((0, 64 - n), (0, 0))), jnp.pad(w, (0, 64 - n))
    # Weight where there is no sample: a block not visited must not be counted.
    padded_w = padded_w.at[-1].set(99)
    scanned, _ = _fold.fold_sum(weighted_moments, _fold.make_blocks(jnp.asarray(x), w, 8))
    visited, _ = _fold.fold_sum(
        weighted_moments, _fold.make_blocks(padded, padded_w, 8, jnp.asarray(n, jnp.int32))
    )
    for sums in (scanned, visited):
        np.testing.assert_allclose(sums["count"], w.sum(), rtol=1e-12)
        np.testing.assert_allclose(sums["second"], (w[:, None] * x).T @ x, rtol=1e-12)


def test_the_sum_carries_its_own_rounding_error() -> None:
    """In float32 1 + 1e-8 is 1, ten thousand times over; with the error kept it is 1.0001."""
    values = np.full(10_000, 1e-8, np.float32)
    values[0] = 1
    blocks = _fold.make_blocks(jnp.asarray(values)[:, None], jnp.ones(10_000, jnp.float32), 1)
    total, error = _fold.fold_sum(lambda x, w: jnp.sum(x * w), blocks)
    assert total.dtype == error.dtype == jnp.float32
    assert total == 1
    exact = np.sum(values, dtype=np.float64)
    np.testing.assert_allclose(np.float64(total) + np.float64(error), exact, rtol=1e-7)
    # The other branch: a term larger than the sum so far.
    blocks = _fold.make_blocks(
        jnp.asarray(values[::-1].copy())[:, None], jnp.ones(10_000, jnp.float32), 1
    )
    total, error = _fold.fold_sum(lambda x, w: jnp.sum(x * w), blocks)
    np.testing.assert_allclose(np.float64(total) + np.float64(error), exact, rtol=1e-7)


def test_a_fold_can_be_differentiated() -> None:
    x, w = random_samples(20)

    def second_moment(x: jax.Array) -> jax.Array:
        total, error = _fold.fold_sum(
            lambda s, w: jnp.sum(w * s**2), _fold.make_blocks(x, jnp.asarray(w), 8)
        )
        return total + error

    np.testing.assert_allclose(
        jax.grad(second_moment)(jnp.asarray(x)), 2 * w[:, None] * x, rtol=1e-12
    )


@pytest.mark.parametrize("n", [3, 8, 21])
def test_map_samples_keeps_order_and_length(n: int) -> None:
    x, _ = random_samples(n)
    both = _fold.map_samples(lambda s: jnp.stack([s[0] + s[1], s[0] - s[1]]), jnp.asarray(x), 8)
    np.testing.assert_array_equal(both, np.stack([x[:, 0] + x[:, 1], x[:, 0] - x[:, 1]], axis=1))
    one = _fold.map_samples(lambda s: s[0], jnp.asarray(x), 8)
    np.testing.assert_array_equal(one, x[:, 0])


def test_rows_are_padded_with_zeros_but_not_under_a_trace() -> None:
    shapes = []

    @jax.jit
    def traced(x: jax.Array) -> jax.Array:
        shapes.append(_fold.pad_rows(x).shape)
        return x

    traced(jnp.ones((5, 2)))
    assert shapes == [(5, 2)]
    for rows in (jnp.ones((5, 2)), jnp.ones(5)):
        padded = _fold.pad_rows(rows)
        assert padded.shape == (256, *rows.shape[1:])
        np.testing.assert_array_equal(padded[:5], rows)
        np.testing.assert_array_equal(padded[5:], 0)


def test_a_small_subsample_is_everything() -> None:
    x, w = random_samples(20)
    pool = _fold.subsample(_fold.make_blocks(jnp.asarray(x), jnp.asarray(w), 8), jax.random.key(0))
    np.testing.assert_array_equal(pool.samples[0].T[:20], x)
    np.testing.assert_array_equal(pool.weights[0, :20], w)
    np.testing.assert_array_equal(pool.weights[0, 20:], 0)
    assert pool.samples.shape == (1, 2, pool.length)
    assert pool.length < 1000


@pytest.mark.parametrize("n", [1000, 777, 100])
@pytest.mark.parametrize("traced", [False, True])
def test_a_large_one_takes_one_sample_of_each_stratum(n: int, traced: bool) -> None:
    index = jnp.arange(n, dtype=jnp.float32)[:, None]
    weights = jnp.ones(n, jnp.float32)
    if traced:
        index, weights = jnp.pad(index, ((0, 1024 - n), (0, 0))), jnp.pad(weights, (0, 1024 - n))
    count = jnp.asarray(n, jnp.int32) if traced else None
    blocks = _fold.make_blocks(index, weights, 16, count)
    pool = _fold.subsample(blocks, jax.random.key(3), most=64)
    assert pool.samples.shape == (1, 1, 64)
    np.testing.assert_array_equal(pool.weights, 1)
    chosen = np.asarray(pool.samples[0, 0])
    # One of the first n // 64 of each stratum of n / 64.
    start = np.arange(64) * n // 64
    assert (chosen >= start).all()
    assert (chosen < start + n // 64).all()
    if n >= 128:
        assert not np.array_equal(chosen, start)


@pytest.mark.parametrize("n", [50, 1000])
def test_a_subsample_does_not_know_how_the_samples_are_cut_and_padded(n: int) -> None:
    x, w = random_samples(n)
    padded = _fold.pad_rows(jnp.asarray(x)), _fold.pad_rows(jnp.asarray(w))
    cuts = [_fold.make_blocks(jnp.asarray(x), jnp.asarray(w), size) for size in (8, 24, 128)]
    cuts += [_fold.make_blocks(*padded, size, jnp.asarray(n, jnp.int32)) for size in (8, 24, 128)]
    pools = [_fold.subsample(blocks, jax.random.key(0), most=512) for blocks in cuts]
    for pool in pools:
        np.testing.assert_array_equal(pool.weights, pools[0].weights)
        used = pool.weights[0] > 0
        np.testing.assert_array_equal(pool.samples[0][:, used], pools[0].samples[0][:, used])
