"""Chunks on their way into a program, and as the samples that they are there."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jgmm._struct import struct
from jgmm.data.origin import Origin
from jgmm.data.samples import Rows, Samples, Span, make_samples
from jgmm.data.streams.chunks import Chunk


@struct
class Feed:
    """A chunk as programs take it."""

    features: Array  # [L, D], in the dtype of the source or of the work
    weights: Array | None  # [L]; None where all are 1
    n: Array  # [] int32, how many are samples
    labels: Array | None = None  # [L] int32, -1 where unknown; None: all unknown


def is_wide(given: np.dtype[Any], dtype: np.dtype[Any]) -> bool:
    """Whether samples come with more digits than are kept: see `jgmm.data.origin`."""
    if dtype.itemsize > 4:
        return False
    if given.kind in "iu":
        return given.itemsize >= dtype.itemsize
    return given.itemsize > max(dtype.itemsize, 2)


def feed_of(chunk: Chunk, dtype: np.dtype[Any], origin: Origin | None) -> Feed:
    """A chunk, less an origin where its samples come with more digits than are kept."""
    features: Any = chunk.features
    if origin is not None:
        moved = np.zeros(features.shape, dtype)
        with np.errstate(over="ignore"):
            np.subtract(
                chunk.samples, origin, out=moved[: chunk.n], casting="unsafe", dtype=np.float64
            )
        features = moved
    weights: Any = None if chunk.weights is None else chunk.weights.astype(dtype)
    n: Any = np.asarray(chunk.n, np.int32)
    labels: Any = chunk.labels
    return Feed(features=features, weights=weights, n=n, labels=labels)


def samples_of(feed: Feed, dtype: Any, size: int, incomplete: bool) -> Samples:
    """The samples of a chunk in blocks of ``size``, of which only those that are full are visited.

    Args:
        feed: the chunk.
        dtype: that is worked in.
        size: of the blocks.
        incomplete: features that are NaN were not observed.
    """
    inside = jnp.arange(len(feed.features), dtype=jnp.int32) < feed.n
    weights = jnp.ones((), dtype) if feed.weights is None else feed.weights
    rows = Rows(
        features=feed.features.astype(dtype),
        weights=jnp.where(inside, weights, 0).astype(dtype),
        labels=feed.labels,
    )
    visited = Span(start=jnp.zeros_like(feed.n), n=feed.n)
    return make_samples(rows, size, visited, incomplete=incomplete)
