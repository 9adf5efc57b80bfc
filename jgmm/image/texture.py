"""How much colours vary near by: what tells foliage from grass of the same mean colour."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

NdArray = npt.NDArray[Any]
_WEIGHT = np.float32(1.5)


def local_deviation(colours: NdArray, inside: NdArray, width: float) -> NdArray:
    """The standard deviation of colours in the square around each pixel, summed over the channels.

    Args:
        colours: [H, W, C], in units in which distances mean something.
        inside: [H, W] bool, True for the pixels that count.
        width: of the square, relative to √(H·W); 3 pixels at least.

    Returns:
        [H, W] in the dtype of the colours.

    Example:
        >>> colours = np.zeros((20, 40, 1), np.float32)
        >>> colours[::2, ::2] = 8  # checks on the left of what is plain
        >>> colours[:, 20:] = 2
        >>> local_deviation(colours, np.ones((20, 40), bool), 0.2)[10, [9, 30]].round(1)
        array([3.4, 0. ], dtype=float32)
    """
    from scipy.ndimage import uniform_filter

    height, columns = inside.shape
    n = max(3, 2 * int(width * math.sqrt(height * columns) / 2) + 1)
    part = inside.astype(colours.dtype)
    share = np.maximum(uniform_filter(part, n), np.float32(0.5 / n**2))

    def average(values: NdArray) -> NdArray:
        return np.asarray(uniform_filter(values * part, n) / share)

    total = np.zeros_like(part)
    for band in np.moveaxis(colours, -1, 0):
        centred = band - band[inside].mean()  # squares lose less
        total += np.sqrt(np.maximum(average(centred**2) - average(centred) ** 2, 0))
    return total


def with_texture(colours: NdArray, deviation: NdArray) -> NdArray:
    """Colours [H, W, C] with a local deviation [H, W] of theirs as one more channel [H, W, C + 1].

    It counts 1.5 times as much as one of colour, as summed over the channels (`local_deviation`).

    Example:
        >>> colours = np.array([[[7.0, 2.0]]], np.float32)
        >>> with_texture(colours, np.array([[4.0]], np.float32)).tolist()
        [[[7.0, 2.0, 6.0]]]
    """
    return np.concatenate([colours, _WEIGHT * deviation[..., None]], axis=-1)
