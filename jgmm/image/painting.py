"""From regions to labels, and from labels to a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

NdArray = npt.NDArray[Any]


def vote(regions: NdArray, labels: NdArray, known: NdArray | None = None) -> NdArray:
    """Labels [H, W] in which each region has the one that most of its pixels had.

    Where there are ``known`` pixels [H, W] in a region, those alone decide.

    Example:
        >>> vote(np.array([[0, 0, 0, 1]]), np.array([[2, 1, 2, 0]])).tolist()
        [[2, 2, 2, 0]]
    """
    inside = regions >= 0
    k = int(labels.max()) + 1
    n = int(regions.max()) + 1
    cells = regions[inside].astype(np.int64) * k + labels[inside]
    power = None if known is None else np.where(known[inside], float(labels.size), 1.0)
    votes = np.bincount(cells, power, minlength=n * k)
    voted = np.full(labels.shape, -1, np.int32)
    voted[inside] = votes.reshape(n, k).argmax(axis=1).astype(np.int32)[regions[inside]]
    return voted


def paint(colours: NdArray, labels: NdArray) -> NdArray:
    """Each pixel of an image [H, W, C] in the mean colour of its segment; 0 where left out."""
    inside = labels >= 0
    chosen, values = labels[inside], colours[inside]
    total = np.bincount(chosen)
    sums = [np.bincount(chosen, band) for band in values.T]
    means = np.stack(sums, axis=-1) / np.maximum(total, 1)[:, None]
    if colours.dtype.kind in "iu":
        means = np.rint(means)
    picture = np.zeros(colours.shape, colours.dtype)
    picture[inside] = means.astype(colours.dtype)[chosen]
    return picture
