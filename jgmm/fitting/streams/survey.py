"""The first pass over a stream: what there is, its frame, and a sample of it."""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from jgmm._checks import floating_dtype
from jgmm._struct import struct
from jgmm.data.frame import Frame, Spread, frame_of, spread_of
from jgmm.data.origin import Origin
from jgmm.data.programs import program
from jgmm.data.streams.chunks import Chunk, chunks_of
from jgmm.data.streams.counting import are_countable, counted
from jgmm.data.streams.feed import Feed, feed_of, is_wide, samples_of
from jgmm.data.streams.reservoir import Reservoir
from jgmm.data.streams.sources import Source

NdArray = npt.NDArray[Any]
_BLOCK = 2048  # samples in a block of a pass that only measures


@dataclasses.dataclass(frozen=True, eq=False)
class Survey:
    """What is known of a stream."""

    source: Source  # of the passes to come: the distinct samples, where they were counted
    length: int | None  # of its chunks
    dtype: np.dtype[Any]  # that is worked in
    n_features: int
    n: int  # samples of the source above
    weight: float
    frame: Frame  # on the host, around the origin
    origin: Origin | None  # what is subtracted from samples before they are rounded
    sample: tuple[NdArray, NdArray] | None  # samples [n, D] and what they stand for [n]
    checksum: int

    def feeds(self) -> Iterator[Feed]:
        """One more pass.

        Raises:
            ValueError: the source gives another number of samples than before.
        """
        n = 0
        for chunk in chunks_of(self.source, self.length):
            n += chunk.n
            if chunk.features.shape[1] != self.n_features or n > self.n:
                break
            yield feed_of(chunk, self.dtype, self.origin)
        if n != self.n:
            raise ValueError(
                f"source: expected the same {self.n} samples in each pass, got "
                f"{'more' if n > self.n else n}: it has to give all of its blocks again"
            )


def survey(
    source: Source,
    length: int | None,
    n_sampled: Callable[[int], int],
    seed: Any,
    *,
    isotropic: bool,
    countable: bool = True,
) -> Survey:
    """Go through a source once.

    Args:
        source: of samples.
        length: of chunks; None leaves it to their number of features.
        n_sampled: how many samples of D features to keep; 0 for none.
        seed: of their draw.
        isotropic: whether one scale serves all features.
        countable: whether to count samples that can be.

    Raises:
        ValueError: no samples, or none of positive weight.
    """
    chunks = chunks_of(source, length)
    some = list(itertools.islice(chunks, 1))
    chunks = itertools.chain(some, chunks)
    if countable and some and are_countable(some[0].features):
        found = counted(chunks)
        source = source if found is None else found
        chunks = chunks_of(source, length)
    del some
    reservoir = None
    spread = _Spreads()
    n, checksum, first = 0, 0, None
    for chunk in chunks:
        if first is None:
            first = chunk.features
            dtype = floating_dtype(first.dtype)
            size = n_sampled(first.shape[1])
            reservoir = Reservoir(size, seed) if size else None
        spread.add(chunk, dtype)
        if reservoir is not None:
            reservoir.add(chunk)
        n += chunk.n
        checksum = zlib.crc32(chunk.samples.data, checksum)
        if chunk.weights is not None:
            checksum = zlib.crc32(chunk.weights.data, checksum)
    if first is None:
        raise ValueError("source: expected at least one sample, got none")
    if spread.weight == 0:
        raise ValueError("source: expected samples of positive weight, got only weights of 0")
    origin = None
    center = spread.center
    if is_wide(first.dtype, dtype):
        origin = center.astype(np.float32).astype(np.float64)
        center = center - origin
    with np.errstate(all="ignore"):
        leaves: Any = (np.full_like(center, spread.weight), center, spread.squares)
        weights, center, squares = (leaf.astype(dtype) for leaf in leaves)
        whole = Spread(weight=weights, center=center, squares=squares)
        frame = frame_of(whole, isotropic=isotropic)
    return Survey(
        source=source,
        length=length,
        dtype=dtype,
        n_features=first.shape[1],
        n=n,
        weight=spread.weight,
        frame=frame,
        origin=origin,
        sample=None if reservoir is None else reservoir.drawn(),
        checksum=checksum,
    )


@struct
class _Like:
    """An array that tells a program the dtype to work in."""

    scalar: Any


@program("size", once=True)
def _spread(feed: Feed, like: _Like, size: int) -> Spread:
    return spread_of(samples_of(feed, like.scalar.dtype, size))


class _Spreads:
    """How all samples are spread out, from how those of each chunk are.

    Means and squares about them are joined in float64 (Chan, Golub and LeVeque 1983): nothing
    cancels, however the samples drift.
    """

    def __init__(self) -> None:
        self.weight = 0.0
        self.center: NdArray = np.zeros(0)
        self.squares: NdArray = np.zeros(0)

    def add(self, chunk: Chunk, dtype: np.dtype[Any]) -> None:
        origin: Any = None
        if is_wide(chunk.features.dtype, dtype):
            mean = chunk.samples.mean(axis=0, dtype=np.float64)
            origin = mean.astype(np.float32).astype(np.float64)
        feed = feed_of(chunk, dtype, origin)
        like = _Like(scalar=np.zeros((), dtype))
        found: Spread = jax.device_get(_spread(feed, like, _BLOCK))
        center = np.asarray(found.center, np.float64) + (0 if origin is None else origin)
        squares = np.asarray(found.squares, np.float64)
        mass = float(chunk.mass.sum())
        if mass == 0:
            return
        if self.weight == 0:
            self.weight, self.center, self.squares = mass, center, squares
            return
        total = self.weight + mass
        gap = center - self.center
        self.center = self.center + gap * (mass / total)
        self.squares = self.squares + squares + gap**2 * (self.weight * mass / total)
        self.weight = total
