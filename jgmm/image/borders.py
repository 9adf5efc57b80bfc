"""Where parts of an image touch: which, along how many pixels, and how colours step there."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

NdArray = npt.NDArray[Any]


def local_means(values: NdArray, inside: NdArray) -> NdArray:
    """Means of 3 by 3 pixels [H, W, C], of those that are not left out; NaN where all are."""
    from scipy.ndimage import uniform_filter

    if inside.all():
        return np.asarray(uniform_filter(values, (3, 3, 1), mode="nearest"))
    part = inside.astype(values.dtype)
    share = uniform_filter(part, 3, mode="nearest")
    some = share > 0.5 / 9  # sums that run along rows are rounded
    masked = np.where(inside[..., None], values, values.dtype.type(0))
    mean = uniform_filter(masked, (3, 3, 1), mode="nearest") / np.where(some, share, 1)[..., None]
    return np.where(some[..., None], mean, values.dtype.type(np.nan))


def borders(
    parts: NdArray, local: NdArray, n: int, power: float
) -> tuple[list[int], list[int], list[int], list[float]]:
    """Pairs of parts i < j that touch, the number of pairs of pixels where they do, and the sum.

    That is of distances between the local means [H, W, C] to a power, two pixels off either side,
    or at the border where those are left out.
    """
    codes, steps = [], []
    for axis in (0, 1):
        p, colours = np.moveaxis(parts, axis, 0), np.moveaxis(local, axis, 0)
        place = np.arange(len(p) - 1)
        behind, ahead = np.maximum(place - 2, 0), np.minimum(place + 3, len(p) - 1)
        row, column = np.nonzero(_touch(p))
        codes.append(_code(p[row + 1, column], p[row, column], n))
        one, other = colours[behind[row], column], colours[ahead[row], column]
        one = np.where(np.isnan(one), colours[row, column], one)
        other = np.where(np.isnan(other), colours[row + 1, column], other)
        difference = one - other
        steps.append(np.sum(difference.astype(np.float64) ** 2, axis=-1) ** (power / 2))
    code, inverse, lengths = np.unique(
        np.concatenate(codes), return_inverse=True, return_counts=True
    )
    sums = np.bincount(inverse, np.concatenate(steps), minlength=len(code))
    return (code // n).tolist(), (code % n).tolist(), lengths.tolist(), sums.tolist()


def neighbours(parts: NdArray, n: int) -> list[list[int]]:
    """For each of n parts those that touch it, along a side of a pixel, in order.

    Args:
        parts: [H, W] integers below n; those below 0 are left out.
        n: how many parts there are, some of which may have no pixels.

    Example:
        >>> neighbours(np.array([[0, 0, 1], [-1, 2, 1]]), 3)
        [[1, 2], [0, 2], [0, 1]]
    """
    codes = []
    for p in (parts, parts.T):
        touch = _touch(p)
        codes.append(np.unique(_code(p[1:][touch], p[:-1][touch], n)))
    code = np.unique(np.concatenate(codes))
    i, j = np.concatenate([code // n, code % n]), np.concatenate([code % n, code // n])
    order = np.lexsort((j, i))
    ends = np.searchsorted(i[order], np.arange(1, n))
    return [found.tolist() for found in np.split(j[order], ends)]


def _touch(parts: NdArray) -> NdArray:
    """Where a pixel and the one below it are of different parts [H - 1, W]."""
    return (parts[1:] != parts[:-1]) & (parts[1:] >= 0) & (parts[:-1] >= 0)


def _code(a: NdArray, b: NdArray, n: int) -> NdArray:
    """One number for a pair, in whichever order."""
    a, b = a.astype(np.int64), b.astype(np.int64)
    return np.minimum(a, b) * n + np.maximum(a, b)
