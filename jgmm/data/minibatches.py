"""Batches of samples, drawn on the device."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from jgmm.data.fold import Blocks, make_blocks


def sampler(blocks: Blocks, batch_size: int, key: Array) -> Callable[[Array], Blocks]:
    """The i-th batch: drawn with replacement, in proportion to the sample weights."""
    n = batch_size
    if blocks.axis is not None:
        n = -(-n // blocks.axis.size)
        key = jax.random.fold_in(key, lax.axis_index(blocks.axis.name))
    within = jnp.cumsum(blocks.weights, axis=1)
    across = jnp.cumsum(within[:, -1])[None]
    total = across[0, -1]

    def draw(i: Array) -> Blocks:
        # The block first, then the sample in it: one sum over millions would be too coarse.
        lots = jax.random.uniform(jax.random.fold_in(key, i), (2, n), within.dtype)
        block = _search(across, jnp.zeros(n, jnp.int32), lots[0] * total)
        row = _search(within, block, lots[1] * within[block, -1])
        share = jnp.where(blocks.weights[block, row] > 0, total / n, 0)
        size = min(n, blocks.weights.shape[1])
        return make_blocks(blocks.samples[block, :, row], share, size, axis=blocks.axis)

    return draw


def _search(sums: Array, rows: Array, targets: Array) -> Array:
    """The first column of ``sums`` [R, S], in each of the ``rows`` [n], that exceeds the target."""
    size = sums.shape[1]
    found = jnp.zeros_like(rows)
    for power in reversed(range(size.bit_length())):
        probe = found + (1 << power)
        below = (probe <= size) & (sums[rows, jnp.minimum(probe, size) - 1] <= targets)
        found = jnp.where(below, probe, found)
    return jnp.minimum(found, size - 1)
