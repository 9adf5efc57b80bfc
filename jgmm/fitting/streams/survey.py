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
from jgmm.data.streams.chunks import FINITE, Allowed, Chunk, chunks_of
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
    # Samples [n, D], what they stand for [n], and their labels [n].
    sample: tuple[NdArray, NdArray, NdArray | None] | None
    checksum: int
    allowed: Allowed
    shares: Any  # [D], of the weight for which features were observed; None: not asked
    labelled: bool

    def feeds(self) -> Iterator[Feed]:
        """One more pass.

        Raises:
            ValueError: the source gives another number of samples than before.
        """
        n = 0
        for chunk in chunks_of(self.source, self.length, self.allowed):
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
    allowed: Allowed = FINITE,
) -> Survey:
    """Go through a source once.

    Args:
        source: of samples.
        length: of chunks; None leaves it to their number of features.
        n_sampled: how many samples of D features to keep; 0 for none.
        seed: of their draw.
        isotropic: whether one scale serves all features.
        countable: whether to count samples that can be; those with labels are not.
        allowed: what blocks may hold.

    Raises:
        ValueError: no samples, or none of positive weight.
    """
    chunks = chunks_of(source, length, allowed)
    some = list(itertools.islice(chunks, 1))
    chunks = itertools.chain(some, chunks)
    countable = countable and bool(some) and some[0].labels is None
    if countable and are_countable(some[0].features):
        found = counted(chunks)
        source = source if found is None else found
        chunks = chunks_of(source, length, allowed)
    del some
    reservoir = None
    spread = _Spreads(allowed.missing)
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
        checksum = _checksum(chunk, checksum)
    if first is None:
        raise ValueError("source: expected at least one sample, got none")
    if spread.mass == 0:
        raise ValueError("source: expected samples of positive weight, got only weights of 0")
    origin = None
    if is_wide(first.dtype, dtype):
        origin = spread.center.astype(np.float32).astype(np.float64)
    return Survey(
        source=source,
        length=length,
        dtype=dtype,
        n_features=first.shape[1],
        n=n,
        weight=spread.mass,
        frame=spread.frame(origin, dtype, isotropic=isotropic),
        origin=origin,
        sample=None if reservoir is None else reservoir.drawn(),
        checksum=checksum,
        allowed=allowed,
        shares=(spread.weight / spread.mass).astype(dtype) if allowed.missing else None,
        labelled=chunk.labels is not None,
    )


def _checksum(chunk: Chunk, before: int) -> int:
    """The checksum of what came before with the chunk behind."""
    for part in (chunk.samples, chunk.weights, chunk.labels):
        before = before if part is None else zlib.crc32(part.data, before)
    return before


@struct
class _Like:
    """An array that tells a program the dtype to work in."""

    scalar: Any


@program("size", "incomplete", once=True)
def _spread(feed: Feed, like: _Like, size: int, incomplete: bool) -> Spread:
    return spread_of(samples_of(feed, like.scalar.dtype, size, incomplete))


class _Spreads:
    """How all samples are spread out, from how those of each chunk are.

    Means and squares about them are joined in float64 (Chan, Golub and LeVeque 1983): nothing
    cancels, however the samples drift.
    """

    def __init__(self, incomplete: bool) -> None:
        self._incomplete = incomplete
        self.mass = 0.0
        self.weight: NdArray = np.zeros(())  # [D], of samples of which a feature was observed
        self.center: NdArray = np.zeros(())
        self.squares: NdArray = np.zeros(())

    def add(self, chunk: Chunk, dtype: np.dtype[Any]) -> None:
        origin: Any = None
        if is_wide(chunk.features.dtype, dtype):
            origin = self._mean(chunk).astype(np.float32).astype(np.float64)
        feed = feed_of(chunk, dtype, origin)
        like = _Like(scalar=np.zeros((), dtype))
        found: Spread = jax.device_get(_spread(feed, like, _BLOCK, self._incomplete))
        center = np.asarray(found.center, np.float64) + (0 if origin is None else origin)
        squares = np.asarray(found.squares, np.float64)
        whole = float(chunk.mass.sum())
        if whole == 0:
            return
        self.mass += whole
        mass = np.full_like(center, whole)
        if self._incomplete:
            mass = chunk.mass @ ~np.isnan(chunk.samples)
        total = self.weight + mass
        some = np.where(total > 0, total, 1)
        gap = center - self.center
        self.center = self.center + gap * (mass / some)
        self.squares = self.squares + squares + gap**2 * (self.weight * mass / some)
        self.weight = total

    def frame(self, origin: Origin | None, dtype: np.dtype[Any], *, isotropic: bool) -> Frame:
        """The frame of all samples, around an origin."""
        center = self.center if origin is None else self.center - origin
        with np.errstate(all="ignore"):
            leaves: Any = (self.weight, center, self.squares)
            weights, center, squares = (leaf.astype(dtype) for leaf in leaves)
            whole = Spread(weight=weights, center=center, squares=squares)
            return frame_of(whole, isotropic=isotropic)

    def _mean(self, chunk: Chunk) -> NdArray:
        if not self._incomplete:
            mean: NdArray = chunk.samples.mean(axis=0, dtype=np.float64)
            return mean
        seen = ~np.isnan(chunk.samples)
        total = np.sum(chunk.samples, axis=0, dtype=np.float64, where=seen)
        return total / np.maximum(seen.sum(axis=0), 1)
