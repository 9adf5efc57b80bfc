"""Weighted samples in blocks, with what is known of each.

A block fits the processor's cache, so that no array with both a sample axis and a component axis
ever reaches memory.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jgmm._checks import is_concrete
from jgmm._struct import struct
from jgmm.data.programs import on_host


@struct
class Rows:
    """Samples as a caller has them, one in a row, and what is known of each."""

    features: Array  # [N, D]
    weights: Array  # [N], >= 0
    labels: Array | None = None  # [N] int32: the component, -1 if unknown; None: all unknown
    hints: Array | None = None  # labels [N] or responsibilities [N, K] that a start is made from


@struct
class Block:
    """Samples that are visited together."""

    features: Array  # [D, S]: features before samples, so that samples are contiguous
    weights: Array  # [S], 0 for padding
    labels: Array | None = None  # [S] int32, -1 if unknown; None: all unknown
    observed: Array | None = None  # [D, S] bool; features that are not are 0. None: all are
    hints: Array | None = None  # [S] or [K, S]


@struct
class Everything:
    """All blocks are visited, by a scan, which reverse-mode differentiation can follow."""


@struct
class Span:
    """Only the blocks with ``n`` samples are, from one on: one program for many sizes and parts."""

    start: Array  # [], the first of these blocks; [devices] outside of programs
    n: Array  # likewise


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Axis:
    """The mesh axis over which blocks are shared out, inside `jax.shard_map`."""

    name: str
    size: int


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Layout:
    """What is known of samples in blocks when a program is compiled."""

    length: int  # how many there were before they were cut, the same for all sizes of blocks
    axis: Axis | None = None  # where the other blocks are, if these are a share of them


@struct
class Samples:
    """Samples cut into B blocks of S. Fields are those of `Block`, with a leading axis."""

    features: Array  # [B, D, S]
    weights: Array  # [B, S]
    visited: Everything | Span
    layout: Layout
    labels: Array | None = None  # [B, S]
    observed: Array | None = None  # [B, D, S]
    hints: Array | None = None  # [B, S] or [B, K, S]

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.features.shape[-2])

    @property
    def block_size(self) -> int:
        """S."""
        return int(self.weights.shape[-1])

    @property
    def once_started(self) -> Samples:
        """The same without what only starts ask for: hints, and how many samples there are.

        One program for these serves all starts, and all lengths of so many blocks.
        """
        layout = dataclasses.replace(self.layout, length=self.weights.size)
        return dataclasses.replace(self, layout=layout, hints=None)

    def front(self, spare: int) -> Samples:
        """Without the ``spare`` blocks behind."""
        if isinstance(self.visited, Span) or spare == 0:
            return self
        return self._cut(slice(len(self.weights) - spare))

    def behind(self, spare: int, n: int) -> Samples:
        """The ``n`` samples in the ``spare`` blocks behind, in the same arrays or cut out."""
        if not isinstance(self.visited, Span):
            return self._cut(slice(len(self.weights) - spare, None))
        like = self.visited.n
        start = len(self.weights) // like.size - spare  # of the blocks of each device
        xp = np if on_host(like) else jnp
        span = Span(start=xp.full_like(like, start), n=xp.full_like(like, n))
        return dataclasses.replace(self, visited=span)

    def _cut(self, blocks: slice) -> Samples:
        cut = jax.tree.map(lambda leaf: leaf[blocks], self.blocks)
        fields = {field.name: getattr(cut, field.name) for field in dataclasses.fields(cut)}
        return dataclasses.replace(self, **fields)

    @property
    def blocks(self) -> Block:
        """The blocks, stacked."""
        return Block(
            features=self.features,
            weights=self.weights,
            labels=self.labels,
            observed=self.observed,
            hints=self.hints,
        )


_MOST_PRODUCTS = 450_000  # of two numbers, in the matrix product of a block on one core


def block_size(n_components: int, n_features: int, dtype: Any) -> int:
    """Samples in a block, for the fastest EM step: see experiments/benchmarks/README.md.

    The arrays of a block have K(D + 1) rows. While they are small enough XLA runs a block on one
    core out of its cache; when not, large blocks make up for the price of sharing them out.
    """
    size = _most_on_one_core(dtype) // (n_components * (n_features + 1))
    if size < 128:
        return 2048
    return min(size // 128 * 128, 2048)


def on_one_core(n_components: int, n_features: int, size: int, dtype: Any) -> bool:
    """Whether XLA works on blocks of ``size`` samples on one core, and does not share them out.

    Two programs that do share out their work are not run at the same time: on two threads such were
    seen to wait for ever (of 30 features, not of 16).
    """
    numbers = n_components * (n_features + 1) * size
    return numbers <= _most_on_one_core(dtype) and numbers * (n_features + 1) <= _MOST_PRODUCTS


def _most_on_one_core(dtype: Any) -> int:
    """Numbers in the largest array of a block that is not shared out."""
    return 40960 if np.dtype(dtype).itemsize <= 4 else 30720


def padded_length(n: int) -> int:
    """``n`` rounded up to one of few lengths, a quarter of an octave apart.

    Arrays of one length share one compiled program.
    """
    octave = max(n - 1, 1).bit_length() - 1
    step = max(1, (1 << octave) // 4)
    return max(256, -(-n // step) * step)


def block_up(rows: Array, size: int, spare: int = 0) -> Array:
    """Cut rows [N, ...] into [B, ..., S], padded with zeros, ``spare`` blocks of them behind."""
    length = len(rows)
    count = -(-length // size) + spare
    padded = jnp.pad(rows, ((0, count * size - length), *((0, 0),) * (rows.ndim - 1)))
    return jnp.moveaxis(padded.reshape(count, size, *rows.shape[1:]), 1, -1)


def make_samples(
    rows: Rows,
    size: int,
    visited: Everything | Span | None = None,
    axis: Axis | None = None,
    *,
    incomplete: bool = False,
    spare: int = 0,
) -> Samples:
    """Cut rows into blocks of ``size`` samples.

    Args:
        rows: N samples.
        size: of the blocks.
        visited: which blocks hold samples; None means `Everything`.
        axis: where the other blocks are, if these are a share of them.
        incomplete: features that are NaN were not observed.
        spare: empty blocks behind.
    """
    padded = jax.tree.map(lambda leaf: block_up(leaf, size, spare), rows)
    features = padded.features
    observed = None
    if incomplete:
        observed = ~jnp.isnan(features)
        features = jnp.where(observed, features, 0)
    return Samples(
        features=features,
        weights=padded.weights,
        labels=padded.labels,
        observed=observed,
        hints=padded.hints,
        visited=Everything() if visited is None else visited,
        layout=Layout(length=len(rows.features), axis=axis),
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
