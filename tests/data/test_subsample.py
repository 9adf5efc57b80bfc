"""Subsamples of equal strata, and batches drawn in proportion to the weights."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgmm.data import samples as _samples
from jgmm.data import subsample as _subsample
from jgmm.data.fold import total_weight
from jgmm.data.programs import program
from jgmm.data.samples import Rows, Samples, Span, pad_rows

# One program for each shape; eagerly each of its operations would be one.
fewer = program("most")(_subsample.fewer)
subsample = program("most", "gather")(_subsample.subsample)
make_samples = program("size", "incomplete", "spare")(_samples.make_samples)

N = 240
W = np.random.default_rng(1).uniform(0.1, 2, size=N)


def random_rows(n: int, d: int = 2) -> Rows:
    rng = np.random.default_rng(0)
    features, weights = rng.normal(size=(n, d)), rng.uniform(0.5, 2, size=n)
    return Rows(features=jnp.asarray(features), weights=jnp.asarray(weights))


def first(n: int) -> Span:
    """Only the blocks with the first ``n`` samples."""
    return Span(start=jnp.asarray(0, jnp.int32), n=jnp.asarray(n, jnp.int32))


def numbered(weights: np.ndarray, size: int) -> Samples:
    """Samples whose one feature is their number."""
    index = jnp.arange(len(weights), dtype=weights.dtype)[:, None]
    return make_samples(Rows(features=index, weights=jnp.asarray(weights)), size)


@program("batch_size")
def batch(samples: Samples, batch_size: int, key: jax.Array, i: int) -> Samples:
    return _subsample.batches(samples, batch_size, key)(jnp.asarray(i))


def test_a_small_subsample_is_everything() -> None:
    rows = random_rows(20)
    pool = subsample(make_samples(rows, 8), jax.random.key(0))
    np.testing.assert_array_equal(pool.features[:20], rows.features)
    np.testing.assert_array_equal(pool.weights[:20], rows.weights)
    np.testing.assert_array_equal(pool.weights[20:], 0)
    assert pool.features.shape == (len(pool.weights), 2)
    assert len(pool.weights) < 1000


@pytest.mark.parametrize("n", [1000, 777, 100])
@pytest.mark.parametrize("traced", [False, True])
def test_a_large_one_takes_one_sample_of_each_stratum(n: int, traced: bool) -> None:
    index = jnp.arange(n, dtype=jnp.float32)[:, None]
    weights = jnp.ones(n, jnp.float32)
    if traced:
        index, weights = jnp.pad(index, ((0, 1024 - n), (0, 0))), jnp.pad(weights, (0, 1024 - n))
    visited = first(n) if traced else None
    samples = make_samples(Rows(features=index, weights=weights), 16, visited)
    pool = subsample(samples, jax.random.key(3), most=64)
    assert pool.features.shape == (64, 1)
    np.testing.assert_array_equal(pool.weights, 1)
    chosen = np.asarray(pool.features[:, 0])
    # One of the first n // 64 of each stratum of n / 64.
    start = np.arange(64) * n // 64
    assert (chosen >= start).all()
    assert (chosen < start + n // 64).all()
    if n >= 128:
        assert not np.array_equal(chosen, start)


@pytest.mark.parametrize("n", [50, 1000])
def test_a_subsample_does_not_know_how_the_samples_are_cut_and_padded(n: int) -> None:
    rows = random_rows(n)
    padded = jax.tree.map(pad_rows, rows)
    cuts = [make_samples(rows, size) for size in (8, 24, 128)]
    cuts += [make_samples(padded, size, first(n)) for size in (8, 24, 128)]
    pools = [subsample(samples, jax.random.key(0), most=512) for samples in cuts]
    for pool in pools:
        np.testing.assert_array_equal(pool.weights, pools[0].weights)
        used = pool.weights > 0
        np.testing.assert_array_equal(pool.features[used], pools[0].features[used])


def test_fewer_samples_weigh_as_much_as_all() -> None:
    """In blocks of the same size, one from each of strata of equal weight."""
    weights = np.random.default_rng(2).uniform(0.1, 2, size=1000)
    weights[[300, 700]] = 200, 0
    samples = numbered(weights, 128)
    few = fewer(samples, jax.random.key(1), most=256)
    assert few.features.shape == (2, 1, 128)
    np.testing.assert_allclose(total_weight(few), weights.sum(), rtol=1e-12)
    np.testing.assert_allclose(few.weights, weights.sum() / 256, rtol=1e-12)
    numbers = np.asarray(few.features).ravel().astype(int)
    assert (np.diff(numbers) >= 0).all()
    expected = weights / weights.sum() * 256
    counts = np.bincount(numbers, minlength=1000)
    assert np.abs(counts - expected).max() < 2
    assert np.abs(np.cumsum(counts) - np.cumsum(expected)).max() < 1 + 1e-9
    # Samples of no weight do not make the others infinite.
    nothing = numbered(0 * weights, 128)
    none = fewer(nothing, jax.random.key(1), most=256)
    np.testing.assert_array_equal(none.weights, 0)


@pytest.mark.parametrize("spanned", [False, True])
@pytest.mark.parametrize("incomplete", [False, True])
def test_fewer_are_put_behind_all_in_the_same_arrays(spanned: bool, incomplete: bool) -> None:
    """The front stays what it was, and behind is what was appended."""
    x = np.asarray(random_rows(1000).features).copy()
    if incomplete:
        x[::3, 1] = np.nan
    rows = Rows(features=jnp.asarray(x), weights=jnp.asarray(np.r_[W, W, W, W, W[:40]]))
    alone = make_samples(rows, 128, incomplete=incomplete)
    few = fewer(alone, jax.random.key(1), most=200)
    samples = alone
    if spanned:
        samples = make_samples(rows, 128, first(1000), incomplete=incomplete, spare=2)
    both = _subsample.append(samples, few)
    assert both.weights.shape == (8 + 2, 128)
    front, behind = both.front(2), both.behind(2, 200)
    np.testing.assert_allclose(total_weight(front), np.sum(rows.weights), rtol=1e-12)
    np.testing.assert_allclose(total_weight(behind), np.sum(rows.weights), rtol=1e-12)
    for part, expected, blocks in ((front, alone, slice(8)), (behind, few, slice(-2, None))):
        for name in ("features", "weights", "observed"):
            leaf = getattr(part, name)
            leaf = leaf[blocks] if spanned and leaf is not None else leaf
            np.testing.assert_array_equal(leaf, getattr(expected, name))
        # What starts are chosen among, all of these or one of each stratum.
        for most in (512, 64):
            length = 1000 if part is front else 200
            layout = dataclasses.replace(part.layout, length=length)
            pools = [
                subsample(dataclasses.replace(cut, layout=layout), jax.random.key(2), most=most)
                for cut in (part, expected)
            ]
            used = np.asarray(pools[0].weights) > 0
            np.testing.assert_array_equal(pools[0].weights, pools[1].weights)
            np.testing.assert_array_equal(pools[0].features[used], pools[1].features[used])
            assert used.sum() == min(most, length)


def test_gaps_stay_gaps() -> None:
    """In fewer samples and in batches; to a start what was not observed is average."""
    x = np.random.default_rng(3).normal(size=(1000, 2))
    x[::2, 0] = np.nan
    rows = Rows(features=jnp.asarray(x), weights=jnp.ones(1000))
    samples = make_samples(rows, 128, incomplete=True)
    few = fewer(samples, jax.random.key(0), most=256)
    drawn = batch(samples, 256, jax.random.key(0), 0)
    for part in (few, drawn):
        seen = np.asarray(part.observed)
        assert seen[:, 1].all()
        assert 0.3 < seen[:, 0].mean() < 0.7
        np.testing.assert_array_equal(np.asarray(part.features)[~seen], 0)
    pool = subsample(samples, jax.random.key(0), most=256)
    assert jnp.isfinite(pool.features).all()
    assert 0.3 < np.mean(pool.features[:, 0] == 0) < 0.7


def test_batches_are_drawn_in_proportion_to_the_weights() -> None:
    weights = np.where(np.arange(N) % 3 == 0, 0, W)
    drawn = batch(numbered(weights, 64), 10_000, jax.random.key(0), 3)
    real = np.asarray(drawn.weights).ravel() > 0
    rows = np.asarray(drawn.features[:, 0]).ravel()[real].astype(int)
    assert len(rows) == 10_000
    np.testing.assert_allclose(drawn.weights.sum(), weights.sum(), rtol=1e-12)
    expected = 10_000 * weights / weights.sum()
    counts = np.bincount(rows, minlength=N)
    assert (counts[weights == 0] == 0).all()
    deviation = (counts - expected)[weights > 0] / np.sqrt(expected[weights > 0])
    assert np.abs(deviation).max() < 5
    assert np.mean(deviation**2) < 1.5


def test_every_batch_is_another_and_each_always_the_same() -> None:
    samples, key = numbered(W, 64), jax.random.key(0)
    first, second, again = (batch(samples, 100, key, i).features for i in (0, 1, 0))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, again)
    other = batch(samples, 100, jax.random.key(1), 0)
    assert not np.array_equal(first, other.features)


def test_labels_go_with_the_samples_of_a_batch() -> None:
    index = jnp.arange(N, dtype=jnp.int32)
    rows = Rows(features=index.astype(float)[:, None], weights=jnp.asarray(W), labels=index)
    drawn = batch(make_samples(rows, 64), 100, jax.random.key(0), 0)
    np.testing.assert_array_equal(drawn.labels, drawn.features[:, 0])


def test_strata_cover_all_samples_of_large_data() -> None:
    """A product of strata and remainder does not fit into 32 bits there."""
    n, most = (1 << 20) - 1, 1 << 16
    rows = Rows(features=np.arange(n, dtype=np.float32)[:, None], weights=np.ones(n, np.float32))
    drawn = subsample(make_samples(rows, 2048), jax.random.key(0), most=most, gather=True)
    places = np.asarray(drawn.features[:, 0]).astype(int)
    begin = np.arange(most) * n // most
    assert (places >= begin).all()
    assert (places < begin + n // most).all()
