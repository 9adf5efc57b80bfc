"""Rows of samples, cut into blocks and padded to few lengths."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import DTYPES
from hypothesis import given
from hypothesis import strategies as st

from jgmm.data.samples import (
    Axis,
    Everything,
    Layout,
    Rows,
    Span,
    block_size,
    block_up,
    make_samples,
    pad_rows,
    padded_length,
)


def random_rows(n: int, d: int = 2) -> Rows:
    rng = np.random.default_rng(0)
    return Rows(
        features=jnp.asarray(rng.normal(size=(n, d))),
        weights=jnp.asarray(rng.uniform(0.5, 2, size=n)),
        labels=jnp.asarray(rng.integers(-1, 3, size=n), jnp.int32),
        hints=jnp.asarray(rng.uniform(size=(n, 3))),
    )


def first(n: int) -> Span:
    """Only the blocks with the first ``n`` samples."""
    return Span(start=jnp.asarray(0, jnp.int32), n=jnp.asarray(n, jnp.int32))


@given(n=st.integers(1, 10**9))
def test_padded_lengths_are_few_and_near(n: int) -> None:
    length = padded_length(n)
    assert n <= length <= max(256, 1.25 * n + 1)
    assert padded_length(length) == length
    assert padded_length(n + 1) >= length


def test_few_padded_lengths_serve_all_sizes() -> None:
    assert len({padded_length(n) for n in range(1, 1 << 16)}) <= 4 * 8 + 2


@given(k=st.integers(1, 1000), d=st.integers(1, 200), dtype=st.sampled_from(DTYPES))
def test_block_sizes_fill_vector_registers(k: int, d: int, dtype: type) -> None:
    size = block_size(k, d, dtype)
    assert size % 128 == 0
    assert 128 <= size <= 2048


@pytest.mark.parametrize("n", [1, 5, 8, 9, 24])
def test_blocks_hold_the_samples_and_pad_with_weight_zero(n: int) -> None:
    rows = random_rows(n)
    samples = make_samples(rows, 8)
    features = np.asarray(samples.features).swapaxes(1, 2).reshape(-1, 2)
    np.testing.assert_array_equal(features[:n], rows.features)
    np.testing.assert_array_equal(samples.weights.ravel()[:n], rows.weights)
    np.testing.assert_array_equal(samples.weights.ravel()[n:], 0)
    assert samples.n_features == 2
    assert samples.block_size == 8


def test_what_is_known_of_a_sample_goes_with_it() -> None:
    rows = random_rows(21)
    samples = make_samples(rows, 8)
    np.testing.assert_array_equal(samples.labels.ravel()[:21], rows.labels)
    hints = np.asarray(samples.hints).swapaxes(1, 2).reshape(-1, 3)
    np.testing.assert_array_equal(hints[:21], rows.hints)
    # What is not known of any takes no memory.
    bare = make_samples(Rows(features=rows.features, weights=rows.weights), 8)
    assert bare.labels is bare.hints is bare.observed is None
    block = jax.tree.map(lambda leaf: leaf[1], samples.blocks)
    np.testing.assert_array_equal(block.features.T, rows.features[8:16])
    np.testing.assert_array_equal(block.weights, rows.weights[8:16])
    np.testing.assert_array_equal(block.labels, rows.labels[8:16])
    np.testing.assert_array_equal(block.hints.T, rows.hints[8:16])


def test_features_that_are_nan_were_not_observed() -> None:
    rows = random_rows(10)
    gaps = np.random.default_rng(1).random((10, 2)) < 0.3
    incomplete = Rows(features=jnp.where(gaps, jnp.nan, rows.features), weights=rows.weights)
    samples = make_samples(incomplete, 4, incomplete=True)
    observed = np.asarray(samples.observed).swapaxes(1, 2).reshape(-1, 2)
    features = np.asarray(samples.features).swapaxes(1, 2).reshape(-1, 2)
    np.testing.assert_array_equal(observed[:10], ~gaps)
    np.testing.assert_array_equal(features[:10], np.where(gaps, 0, rows.features))
    # Without it they are what they are, for the likelihood to tell.
    assert jnp.isnan(make_samples(incomplete, 4).features).any()


def test_the_layout_is_known_when_a_program_is_compiled() -> None:
    """The samples are values, and how they are cut is not."""
    rows = random_rows(21)
    shared = make_samples(rows, 8, first(20), Axis("devices", 2))
    assert shared.layout == Layout(length=21, axis=Axis("devices", 2))
    assert len(jax.tree.leaves(make_samples(rows, 8).layout)) == 0
    assert isinstance(make_samples(rows, 8).visited, Everything)
    assert (shared.visited.start, shared.visited.n) == (0, 20)
    assert len(jax.tree.leaves(shared.visited)) == 2


@pytest.mark.parametrize("spare", [0, 2])
def test_spare_blocks_are_behind_and_empty(spare: int) -> None:
    rows = random_rows(21)
    samples, bare = make_samples(rows, 8, spare=spare), make_samples(rows, 8)
    assert len(samples.weights) == 3 + spare
    assert jax.tree.all(jax.tree.map(jnp.array_equal, samples.front(spare), bare))
    for leaf in jax.tree.leaves(samples.blocks):
        np.testing.assert_array_equal(leaf[3:], 0)
    gaps = make_samples(rows, 8, incomplete=True, spare=spare)
    assert gaps.observed.shape == gaps.features.shape == (3 + spare, 2, 8)


def test_the_front_and_what_is_behind_are_parts() -> None:
    """Cut out where all blocks are visited, else other parts of the same arrays."""
    rows = random_rows(21)
    everything = make_samples(rows, 8, incomplete=True)
    front, behind = everything.front(1), everything.behind(1, 5)
    for leaf in dataclasses.fields(everything.blocks):
        whole = getattr(everything, leaf.name)
        np.testing.assert_array_equal(getattr(front, leaf.name), whole[:2])
        np.testing.assert_array_equal(getattr(behind, leaf.name), whole[2:])
    assert front.visited == behind.visited == everything.visited
    spanned = make_samples(rows, 8, first(16))
    front, behind = spanned.front(1), spanned.behind(1, 5)
    assert front is spanned
    assert (behind.visited.start, behind.visited.n) == (2, 5)
    assert behind.visited.n.dtype == behind.visited.start.dtype == jnp.int32
    for leaf in dataclasses.fields(spanned.blocks):
        assert getattr(behind, leaf.name) is getattr(spanned, leaf.name)


def test_behind_is_behind_on_every_device() -> None:
    """Outside of programs the blocks of 2 devices follow each other: 4 each, 1 of them spare."""
    samples = make_samples(random_rows(32), 4)
    n = jnp.array([12, 11], jnp.int32)
    behind = dataclasses.replace(samples, visited=Span(start=jnp.zeros_like(n), n=n)).behind(1, 3)
    np.testing.assert_array_equal(behind.visited.start, [3, 3])
    np.testing.assert_array_equal(behind.visited.n, [3, 3])


@pytest.mark.parametrize("shape", [(9,), (9, 2), (9, 2, 3)])
def test_rows_are_cut_with_the_samples_last(shape: tuple[int, ...]) -> None:
    rows = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    blocks = block_up(jnp.asarray(rows), 4)
    assert blocks.shape == (3, *shape[1:], 4)
    flat = jnp.moveaxis(blocks, -1, 1).reshape(12, *shape[1:])
    np.testing.assert_array_equal(flat[:9], rows)
    np.testing.assert_array_equal(flat[9:], 0)


def test_rows_are_padded_with_zeros_but_not_under_a_trace() -> None:
    shapes = []

    @jax.jit
    def traced(x: jax.Array) -> jax.Array:
        shapes.append(pad_rows(x).shape)
        return x

    traced(jnp.ones((5, 2)))
    assert shapes == [(5, 2)]
    for rows in (jnp.ones((5, 2)), jnp.ones(5)):
        padded = pad_rows(rows)
        assert padded.shape == (256, *rows.shape[1:])
        np.testing.assert_array_equal(padded[:5], rows)
        np.testing.assert_array_equal(padded[5:], 0)
