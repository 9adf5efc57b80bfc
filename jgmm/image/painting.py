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
    chosen = labels[inside]
    means = means_of(colours[inside], chosen, int(chosen.max(initial=-1)) + 1)
    picture = np.zeros(colours.shape, colours.dtype)
    picture[inside] = means[chosen]
    return picture


def means_of(values: NdArray, labels: NdArray, k: int, weights: NdArray | None = None) -> NdArray:
    """The mean [K, C] of the values [N, C] of each label, in their dtype; 0 where there are none.

    Example:
        >>> means_of(np.array([[1], [2], [9]]), np.array([0, 0, 2]), 3).tolist()
        [[2], [0], [9]]
    """
    total = np.bincount(labels, weights, k)
    once = 1.0 if weights is None else weights
    sums = [np.bincount(labels, band * once, k) for band in values.T]
    means = np.stack(sums, axis=-1) / np.where(total > 0, total, 1)[:, None]
    return (np.rint(means) if values.dtype.kind in "iu" else means).astype(values.dtype)
