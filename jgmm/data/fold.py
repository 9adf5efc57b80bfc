"""Blocks of weighted samples, and the one loop that goes over them.

Everything that touches the data is a sum, over blocks of samples, of something small. A block
fits the processor's cache, so that no array with both a sample axis and a component axis ever
reaches memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from jgmm._checks import is_concrete
from jgmm._struct import struct

T = TypeVar("T")


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Axis:
    """The mesh axis over which blocks are shared out, inside `jax.shard_map`."""

    name: str
    size: int


@struct
class Blocks:
    """Samples and their weights, cut into blocks. Padding has weight 0."""

    samples: Array  # [B, D, S]: features before samples, so that samples are contiguous
    weights: Array  # [B, S]
    n: Array | None  # [] how many samples to visit; None means all
    length: int  # of the samples before they were cut, the same for all sizes of blocks
    axis: Axis | None = None  # where the other blocks are, if these are a share of them

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.samples.shape[-2])


def block_size(n_components: int, n_features: int) -> int:
    """Samples in a block, for the fastest EM step: see experiments/benchmarks/README.md.

    The arrays of a block have K(D + 1) rows. While they are small enough XLA runs a block on one
    core out of its cache; when not, large blocks make up for the price of sharing them out.
    """
    size = 40960 // (n_components * (n_features + 1))
    if size < 128:
        return 2048
    return min(size // 128 * 128, 2048)


def padded_length(n: int) -> int:
    """``n`` rounded up to one of few lengths, a quarter of an octave apart.

    Arrays of one length share one compiled program.
    """
    octave = max(n - 1, 1).bit_length() - 1
    step = max(1, (1 << octave) // 4)
    return max(256, -(-n // step) * step)


def block_up(pixels: Array, size: int) -> Array:
    """Cut ``pixels`` [N, D] into [B, D, S], the last block padded with zeros."""
    length, n_features = pixels.shape
    count = -(-length // size)
    samples = jnp.pad(pixels, ((0, count * size - length), (0, 0)))
    return samples.reshape(count, size, n_features).swapaxes(1, 2)


def make_blocks(
    pixels: Array,
    weights: Array,
    size: int,
    n: Array | None = None,
    axis: Axis | None = None,
) -> Blocks:
    """Cut ``pixels`` [N, D] and ``weights`` [N] into blocks of ``size`` samples.

    With a traced ``n`` only the blocks that hold the first ``n`` samples are visited, so that one
    compiled program serves many sizes. Without it all are, by a scan, which reverse-mode
    differentiation can follow.
    """
    length = len(pixels)
    samples = block_up(pixels, size)
    weights = jnp.pad(weights, (0, len(samples) * size - length))
    return Blocks(
        samples=samples,
        weights=weights.reshape(len(samples), size),
        n=n,
        length=length,
        axis=axis,
    )


def pad_rows(rows: Array) -> Array:
    """Rows [N, ...] padded with zeros to `padded_length`; as they are under a trace."""
    pad = padded_length(len(rows)) - len(rows)
    if not (pad and is_concrete(rows)):
        return rows
    if jax.default_backend() != "cpu":
        return jnp.pad(rows, ((0, pad), *((0, 0),) * (rows.ndim - 1)))
    # On a CPU NumPy pads without compiling a program for this length, and JAX takes memory that
    # begins at a cache line as it is, without a copy.
    host = np.asarray(rows)
    memory = np.empty(host.nbytes // len(host) * (len(host) + pad) + 64, np.uint8)
    memory = memory[-memory.ctypes.data % 64 :][: len(memory) - 64]
    padded = memory.view(host.dtype).reshape(-1, *host.shape[1:])
    padded[: len(host)] = host
    padded[len(host) :] = 0
    return jax.device_put(padded)


def subsample(blocks: Blocks, key: Array, most: int = 1 << 14, *, gather: bool = True) -> Blocks:
    """At most ``most`` of the samples as one block, one at random from each of equal strata.

    The same whatever the size of the blocks, padded or not. Of data on several devices each gets
    all of these samples, or without ``gather`` its own share.
    """
    count, n_features, size = blocks.samples.shape
    if blocks.axis is not None:
        most //= blocks.axis.size
        key = jax.random.fold_in(key, lax.axis_index(blocks.axis.name))
    length = padded_length(blocks.length)
    if length <= most:
        index = jnp.arange(length, dtype=jnp.int32)
    else:
        n = blocks.length if blocks.n is None else blocks.n
        strata = jnp.arange(most, dtype=jnp.int32)
        # strata * n / most, without the overflow
        start = strata * (n // most) + strata * (n % most) // most
        within = jax.random.uniform(key, (most,), jnp.float32) * jnp.asarray(n // most, jnp.float32)
        index = start + within.astype(jnp.int32)
    inside = index < count * size
    block, offset = jnp.where(inside, index // size, 0), index % size
    samples = blocks.samples[block, :, offset]
    weights = jnp.where(inside, blocks.weights[block, offset], 0)
    axis = blocks.axis
    if axis is not None and gather:
        # In one exchange: see fold_sum.
        both = jnp.concatenate([samples, weights[:, None]], axis=1)
        both = lax.all_gather(both, axis.name, tiled=True)
        samples, weights, axis = both[:, :-1], both[:, -1], None
    return Blocks(
        samples=samples.T[None], weights=weights[None], n=None, length=len(weights), axis=axis
    )


def fold(function: Callable[[T, Array, Array], T], init: T, blocks: Blocks) -> T:
    """Carry a value through the blocks: ``function(carry, samples [D, S], weights [S])``."""
    if blocks.n is None:
        # Recompute a block in the backward pass rather than keep its N x K values.
        body = jax.checkpoint(
            lambda carry, block: (function(carry, *block), None), prevent_cse=False
        )
        return lax.scan(body, init, (blocks.samples, blocks.weights))[0]

    def visit(i: Array, carry: T) -> T:
        samples = lax.dynamic_index_in_dim(blocks.samples, i, keepdims=False)
        weights = lax.dynamic_index_in_dim(blocks.weights, i, keepdims=False)
        return function(carry, samples, weights)

    size = blocks.weights.shape[-1]
    return lax.fori_loop(0, -(-blocks.n // size), visit, init)


def fold_sum(function: Callable[[Array, Array], T], blocks: Blocks) -> tuple[T, T]:
    """The sum over blocks of ``function(samples [D, S], weights [S])``, a pytree of arrays.

    Returns the sum and, with the same structure, the rounding error left in it, so that
    ``total + error`` is the sum in about twice the working precision (Neumaier 1974).
    """
    shapes = jax.eval_shape(function, blocks.samples[0], blocks.weights[0])
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def visit(carry: tuple[T, T], samples: Array, weights: Array) -> tuple[T, T]:
        return _add(*carry, function(samples, weights))

    total, error = fold(visit, (zeros, zeros), blocks)
    if blocks.axis is None:
        return total, error
    # One exchange, of everything: a CPU device that waits in several holds a thread for each, and
    # XLA has only so many. Where all are taken, nobody is left to work and the program hangs.
    flat, unravel = ravel_pytree((total, error))
    shares = lax.all_gather(flat, blocks.axis.name)
    total, error = unravel(shares[0])
    for i in range(1, blocks.axis.size):
        more, rest = unravel(shares[i])
        total, error = _add(total, jax.tree.map(jnp.add, error, rest), more)
    return total, error


def _add(total: T, error: T, term: T) -> tuple[T, T]:
    """A compensated addition."""
    new = jax.tree.map(jnp.add, total, term)
    error = jax.tree.map(
        lambda e, s, t, x: e + jnp.where(abs(s) >= abs(x), (s - t) + x, (x - t) + s),
        error,
        total,
        new,
        term,
    )
    return new, error


def total_weight(blocks: Blocks) -> Array:
    """The sum of all sample weights, those on other devices included."""
    total, error = fold_sum(lambda samples, weights: jnp.sum(weights), blocks)
    return total + error


def map_samples(function: Callable[[Array], T], pixels: Array, size: int) -> T:
    """``function`` of each block of samples, [D, S] to [..., S], as arrays [N, ...]."""
    out = lax.map(jax.checkpoint(function, prevent_cse=False), block_up(pixels, size))

    def join(leaf: Array) -> Array:
        return jnp.moveaxis(leaf, -1, 1).reshape(-1, *leaf.shape[1:-1])[: len(pixels)]

    return jax.tree.map(join, out)
