"""Samples of few bits, counted: of 8-bit colours one pass finds all there are, and how often.

A fit to the distinct samples, weighted by how often they come, is the fit to all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm.data.streams.chunks import Chunk

NdArray = npt.NDArray[Any]
TABLE_BITS = 24  # of samples that are counted by a table, such as three features of 8 bits
_BITS = 64  # of samples that are counted at all
MOST_ROWS = 1 << 22  # distinct samples beyond a table's, of which no more are counted
_TRIAL = 1 << 20  # samples after which most have to have come before
_PIECE = 1 << 18  # rows that are given at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Counted:
    """Distinct samples, and their counts or the sums of their weights, as a source."""

    codes: NdArray  # [M], increasing
    counts: NdArray  # [M]
    dtype: np.dtype[Any]
    n_features: int
    n: int  # how many samples there were

    def blocks(self) -> Iterator[tuple[NdArray, NdArray]]:
        """Distinct samples [n, D] and their counts [n]."""
        for start in range(0, len(self.codes), _PIECE):
            part = slice(start, start + _PIECE)
            yield _unpacked(self.codes[part], self.dtype, self.n_features), self.counts[part]


def are_countable(samples: NdArray) -> bool:
    """Whether samples [n, D] are so narrow that it may be worth while to count them."""
    bits = 8 * samples.dtype.itemsize * samples.shape[1]
    return samples.dtype.kind in "iu" and bits <= _BITS


def counted(chunks: Iterator[Chunk]) -> Counted | None:
    """The distinct samples of countable chunks; None where they are too many."""
    table: _Table | _Sorted | None = None
    n, first = 0, None
    for chunk in chunks:
        if table is None:
            first = chunk.features
            bits = 8 * first.dtype.itemsize * first.shape[1]
            table = _Table(bits) if bits <= TABLE_BITS else _Sorted()
        n += chunk.n
        if not table.add(_packed(chunk.samples), chunk, n):
            return None
    if table is None or first is None:
        return None
    codes, counts = table.found()
    return Counted(codes, counts, first.dtype, first.shape[1], n)


class _Table:
    """A count for every sample that there could be."""

    def __init__(self, bits: int) -> None:
        self.counts = np.zeros(1 << bits)

    def add(self, codes: NdArray, chunk: Chunk, n: int) -> bool:
        np.add.at(self.counts, codes, 1.0 if chunk.weights is None else chunk.mass)
        return True

    def found(self) -> tuple[NdArray, NdArray]:
        codes = np.flatnonzero(self.counts)
        return codes.astype(np.uint64), self.counts[codes]


class _Sorted:
    """The samples that there were, in order."""

    def __init__(self) -> None:
        self.codes = np.zeros(0, np.uint64)
        self.counts: NdArray = np.zeros(0)

    def add(self, codes: NdArray, chunk: Chunk, n: int) -> bool:
        joined = np.concatenate([self.codes, codes])
        self.codes, place = np.unique(joined, return_inverse=True)
        mass = np.concatenate([self.counts, chunk.mass])
        self.counts = np.bincount(place, mass, len(self.codes))
        return len(self.codes) <= MOST_ROWS and (n < _TRIAL or len(self.codes) <= n // 2)

    def found(self) -> tuple[NdArray, NdArray]:
        return self.codes, self.counts


def _packed(rows: NdArray) -> NdArray:
    """One integer for each of rows of integers [n, D], the first feature in its highest bits."""
    unsigned = np.dtype(f"u{rows.dtype.itemsize}")
    bits = 8 * rows.dtype.itemsize
    code = np.zeros(len(rows), np.uint64)
    for column in rows.T:
        if bits < 64:
            code <<= np.uint64(bits)
        code |= np.ascontiguousarray(column).view(unsigned).astype(np.uint64)
    return code


def _unpacked(codes: NdArray, dtype: np.dtype[Any], n_features: int) -> NdArray:
    """The way back."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    bits = 8 * dtype.itemsize
    rows = np.empty((len(codes), n_features), unsigned)
    for feature in range(n_features):
        shift = np.uint64(bits * (n_features - 1 - feature))
        rows[:, feature] = (codes >> shift).astype(unsigned)  # the high bits fall off
    return rows.view(dtype)
