"""Samples that come more than once, as one that counts for all of them.

A fit to the distinct samples, weighted by how often they come, is the fit to all of them. Of the
colours of an 8-bit photograph there are a half or fewer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[Any]
_MANY = 1 << 14  # samples, of fewer of which it is not worth while
_WORTH = 0.8  # share of them that may be left
_MIX = np.uint64(0x9E3779B97F4A7C15)


class Distinct(NamedTuple):
    """Distinct samples, for which others count too."""

    rows: Floats  # [M, D]
    weights: Floats  # [M], sums
    place: npt.NDArray[np.intp] | slice  # [N], which row each sample is
    first: npt.NDArray[np.intp] | slice  # [M], a sample that is such a row


def distinct(x: Floats, weights: Floats) -> Distinct:
    """Distinct samples and the sums of their weights; all of them where few are alike.

    Args:
        x: [N, D] floating point.
        weights: [N].
    """
    n, each = len(x), Distinct(x, weights, slice(None), slice(None))
    if n < _MANY:
        return each
    codes = _codes(x)
    if len(np.unique(codes[:: n // 4096])) == len(codes[:: n // 4096]):
        return each
    found, first, place = np.unique(codes, return_index=True, return_inverse=True)
    rows = x[first]
    # Codes that collide, of which there are next to none, must not join different samples.
    if len(found) > _WORTH * n or not np.array_equal(rows[place], x):
        return each
    sums = np.bincount(place, weights, len(found)).astype(weights.dtype)
    return Distinct(rows, sums, place, first)


def _codes(x: Floats) -> npt.NDArray[np.uint64]:
    """One integer for each row, of all its bits."""
    codes = np.zeros(len(x), np.uint64)
    bits = np.dtype(f"u{x.dtype.itemsize}")
    for column in x.T:
        codes = codes * _MIX + np.ascontiguousarray(column).view(bits)
        codes ^= codes >> np.uint64(29)
    return codes
