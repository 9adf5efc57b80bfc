"""Some of the samples: one from each of equal strata, or batches drawn with replacement."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jgmm.data.samples import Axis, Rows, Samples, Span, make_samples, padded_length

_MOST = 1 << 14  # samples that starts are chosen among


def subsample(samples: Samples, key: Array, most: int = _MOST, *, gather: bool = True) -> Rows:
    """At most ``most`` of the samples, one at random from each of equal strata.

    The same whatever the size of the blocks, padded or not. Of data on several devices each gets
    all of these samples, or without ``gather`` its own share. Features that were not observed are
    0, the average.
    """
    layout, size = samples.layout, samples.block_size
    axis = layout.axis
    if axis is not None:
        most //= axis.size
        key = jax.random.fold_in(key, lax.axis_index(axis.name))
    length = padded_length(layout.length)
    if length <= most:
        index = jnp.arange(length, dtype=jnp.int32)
    else:
        n = samples.visited.n if isinstance(samples.visited, Span) else layout.length
        strata = jnp.arange(most, dtype=jnp.int32)
        start = strata * (n // most) + _fraction(strata, n % most, most)
        within = jax.random.uniform(key, (most,), jnp.float32) * jnp.asarray(n // most, jnp.float32)
        index = start + within.astype(jnp.int32)
    if isinstance(samples.visited, Span):
        index = index + samples.visited.start * size
    inside = index < samples.weights.size
    block, offset = jnp.where(inside, index // size, 0), index % size
    features = samples.features[block, :, offset]
    weights = jnp.where(inside, samples.weights[block, offset], 0)
    if samples.observed is not None and not gather:
        features = jnp.where(samples.observed[block, :, offset], features, jnp.nan)
    rows = Rows(features=features, weights=weights)
    return gathered(rows, axis) if axis is not None and gather else rows


def gathered(rows: Rows, axis: Axis | None) -> Rows:
    """The rows of all devices, on each."""
    if axis is None:
        return rows
    # In one exchange: see fold_sum.
    both = jnp.concatenate([rows.features, rows.weights[:, None]], axis=1)
    both = lax.all_gather(both, axis.name, tiled=True)
    return Rows(features=both[:, :-1], weights=both[:, -1])


def subsample_blocks(length: int, n_devices: int, size: int) -> int:
    """Blocks of ``size`` for a subsample of ``length`` on each device; 0 where it is all."""
    most = _MOST // n_devices
    return 0 if padded_length(length) <= most else -(-most // size)


def few_and_all(samples: Samples, key: Array, spare: int) -> tuple[Rows, list[Samples]]:
    """A subsample of the samples; and first those, where they are fewer, and then all.

    Args:
        samples: with ``spare`` blocks behind, where not all are visited.
        key: a PRNG key.
        spare: see `subsample_blocks`.
    """
    axis = samples.layout.axis
    some = subsample(samples, key, gather=False)
    rows = gathered(some, axis)
    if spare == 0:
        return rows, [samples]
    few = make_samples(some, samples.block_size, axis=axis)
    if not isinstance(samples.visited, Span):  # to join them would be a copy of all
        return rows, [few, samples]
    both = append(samples, few)
    return rows, [both.behind(spare, len(some.weights)), both.front(spare)]


def _fraction(i: Array, r: Array | int, m: int) -> Array:
    """I * r // m for i and r below m, without the product, which 32 bits may not hold."""
    step = 1 << (m.bit_length() + 1) // 2  # i = step * a + b, all products below m ** 1.5
    a, b, r = (jnp.asarray(x, jnp.uint32) for x in (i // step, i % step, r))
    whole, rest = step * r // m, step * r % m
    return (a * whole + (a * rest + b * r) // m).astype(jnp.int32)


def fewer(samples: Samples, key: Array, most: int) -> Samples:
    """``most`` of the samples, in blocks of the same size, that weigh as much as all do.

    One from each of as many strata of equal weight: a few colours may weigh more than all others.
    """
    n, axis = most, samples.layout.axis
    if axis is not None:
        n //= axis.size
        key = jax.random.fold_in(key, lax.axis_index(axis.name))
    within, across = _sums(samples)
    strata = jnp.arange(n, dtype=within.dtype)
    lots = jax.random.uniform(key, (n,), within.dtype)
    targets = (strata + lots) * (across[0, -1] / n)
    block = _search(across, jnp.zeros(n, jnp.int32), targets)
    before = jnp.where(block > 0, across[0, block - 1], 0)
    row = _search(within, block, targets - before)
    return _picked(samples, block, row, across[0, -1] / n, samples.block_size)


def append(samples: Samples, few: Samples) -> Samples:
    """Both in the same arrays, the few in the blocks behind; see `Samples.behind`.

    Where not all blocks are visited, there have to be spare ones for the few.
    """
    fields: dict[str, Any] = {}
    for name in ("features", "weights", "observed"):
        leaf, more = getattr(samples, name), getattr(few, name)
        if leaf is None:
            continue
        if isinstance(samples.visited, Span):
            fields[name] = lax.dynamic_update_slice_in_dim(leaf, more, len(leaf) - len(more), 0)
        else:
            fields[name] = jnp.concatenate([leaf, more])
    return dataclasses.replace(samples, **fields)


def batches(samples: Samples, batch_size: int, key: Array) -> Callable[[Array], Samples]:
    """The i-th batch: drawn with replacement, in proportion to the sample weights."""
    n, axis = batch_size, samples.layout.axis
    if axis is not None:
        n = -(-n // axis.size)
        key = jax.random.fold_in(key, lax.axis_index(axis.name))
    within, across = _sums(samples)
    total = across[0, -1]

    def draw(i: Array) -> Samples:
        # The block first, then the sample in it: one sum over millions would be too coarse.
        lots = jax.random.uniform(jax.random.fold_in(key, i), (2, n), within.dtype)
        block = _search(across, jnp.zeros(n, jnp.int32), lots[0] * total)
        row = _search(within, block, lots[1] * within[block, -1])
        return _picked(samples, block, row, total / n, min(n, samples.block_size))

    return draw


def _sums(samples: Samples) -> tuple[Array, Array]:
    """Cumulative weights within each block [B, S], and of the blocks [1, B]."""
    within = jnp.cumsum(samples.weights, axis=1)
    return within, jnp.cumsum(within[:, -1])[None]


def _picked(samples: Samples, block: Array, row: Array, weight: Array, size: int) -> Samples:
    """The samples at rows [n] of blocks [n], of that weight each, in blocks of ``size``."""
    features = samples.features[block, :, row]
    if samples.observed is not None:
        features = jnp.where(samples.observed[block, :, row], features, jnp.nan)
    return make_samples(
        Rows(
            features=features,
            weights=jnp.where(samples.weights[block, row] > 0, weight, 0),
            labels=None if samples.labels is None else samples.labels[block, row],
        ),
        size,
        axis=samples.layout.axis,
        incomplete=samples.observed is not None,
    )


def _search(sums: Array, rows: Array, targets: Array) -> Array:
    """The first column of ``sums`` [R, S], in each of the ``rows`` [n], that exceeds the target."""
    size = sums.shape[1]
    found = jnp.zeros_like(rows)
    for power in reversed(range(size.bit_length())):
        probe = found + (1 << power)
        below = (probe <= size) & (sums[rows, jnp.minimum(probe, size) - 1] <= targets)
        found = jnp.where(below, probe, found)
    return jnp.minimum(found, size - 1)
