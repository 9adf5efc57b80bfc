"""The one loop that goes over the samples.

Everything that touches the data is a sum, over blocks of samples, of something small.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from jgmm.data.compensated import Compensated, plus
from jgmm.data.samples import Block, Everything, Samples, Span, block_up

T = TypeVar("T")


def fold(function: Callable[[T, Block], T], init: T, samples: Samples) -> T:
    """Carry a value through the blocks: ``function(carry, block)``."""
    if isinstance(samples.visited, Everything):
        # Recompute a block in the backward pass rather than keep its N x K values.
        body = jax.checkpoint(
            lambda carry, block: (function(carry, block), None), prevent_cse=False
        )
        return lax.scan(body, init, samples.blocks)[0]

    def visit(i: Array, carry: T) -> T:
        def take(leaf: Array) -> Array:
            return lax.dynamic_index_in_dim(leaf, i, keepdims=False)

        return function(carry, jax.tree.map(take, samples.blocks))

    first = samples.visited.start
    last = first - (-samples.visited.n // samples.block_size)
    return lax.fori_loop(first, last, visit, init)


def in_turn(function: Callable[[T, Samples], T], init: T, parts: Sequence[Samples]) -> T:
    """Carry a value through parts of the samples: ``function(carry, part)``.

    It is compiled once where they are spans of the same blocks.
    """
    spans = [part.visited for part in parts]
    if len(parts) == 1 or not all(isinstance(span, Span) for span in spans):
        for part in parts:
            init = function(init, part)
        return init

    def visit(carry: T, span: Span) -> tuple[T, None]:
        return function(carry, dataclasses.replace(parts[0], visited=span)), None

    return lax.scan(visit, init, jax.tree.map(lambda *leaf: jnp.stack(leaf), *spans))[0]


def fold_sum(
    function: Callable[[Block], T], samples: Samples, total: Compensated[T] | None = None
) -> Compensated[T]:
    """The sum over blocks of ``function(block)``, a pytree of arrays.

    Args:
        function: of a block.
        samples: the blocks.
        total: of samples before these, to go on from; of samples on one device.
    """
    axis = samples.layout.axis
    if total is None:
        first = jax.tree.map(lambda leaf: leaf[0], samples.blocks)
        shapes = jax.eval_shape(function, first)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        total = Compensated(value=zeros, error=zeros)
    else:
        assert axis is None

    def visit(total: Compensated[T], block: Block) -> Compensated[T]:
        return plus(total, function(block))

    total = fold(visit, total, samples)
    if axis is None:
        return total
    # One exchange, of everything: a CPU device that waits in several holds a thread for each, and
    # XLA has only so many. Where all are taken, nobody is left to work and the program hangs.
    flat, unravel = ravel_pytree(total)
    shares = lax.all_gather(flat, axis.name)

    def add(total: Compensated[T], flat: Array) -> tuple[Compensated[T], None]:
        share = unravel(flat)
        error = jax.tree.map(jnp.add, total.error, share.error)
        return plus(Compensated(value=total.value, error=error), share.value), None

    # Of many devices a loop, which compiles as fast as that of few.
    return lax.scan(add, unravel(shares[0]), shares[1:], unroll=min(8, axis.size - 1))[0]


def total_weight(samples: Samples) -> Array:
    """The sum of all sample weights, those on other devices included."""
    return fold_sum(lambda block: jnp.sum(block.weights), samples).rounded()


def shares_observed(samples: Samples) -> Array:
    """The share [D] of the weight of all samples for which each feature was observed."""

    def block(block: Block) -> tuple[Array, Array]:
        return jnp.sum(seen_weights(block), axis=-1), jnp.sum(block.weights)

    seen, total = fold_sum(block, samples).value
    return seen / total


def seen_weights(block: Block) -> Array:
    """The weights of samples, [1, S], or [D, S] where some features were not observed."""
    if block.observed is None:
        return block.weights[None]
    return jnp.where(block.observed, block.weights, 0)


def map_samples(function: Callable[[Array], T], pixels: Array, size: int) -> T:
    """``function`` of each block of features, [D, S] to [..., S], as arrays [N, ...]."""
    out = lax.map(jax.checkpoint(function, prevent_cse=False), block_up(pixels, size))

    def join(leaf: Array) -> Array:
        return jnp.moveaxis(leaf, -1, 1).reshape(-1, *leaf.shape[1:-1])[: len(pixels)]

    return jax.tree.map(join, out)
