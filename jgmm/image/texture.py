"""How much colours vary near by: what tells foliage from grass of the same mean colour."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

NdArray = npt.NDArray[Any]


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


def with_texture(
    colours: NdArray,
    inside: NdArray,
    *,
    width: float = 0.023,
    weight: float = 1.5,
    deviation: NdArray | None = None,
) -> NdArray:
    """Colours with their local standard deviation as one more channel.

    Args:
        colours: [H, W, C], in units in which distances mean something.
        inside: [H, W] bool, True for the pixels that count.
        width: of the square in which they are measured, relative to √(H·W).
        weight: what the deviations, summed over the channels, count against a channel of colour.
        deviation: [H, W], those, where they are known.

    Returns:
        [H, W, C + 1] in the dtype of the colours.

    Example:
        >>> colours = np.zeros((20, 40, 1), np.float32)
        >>> colours[::2, ::2] = 8  # checks on the left of what is plain
        >>> colours[:, 20:] = 2
        >>> with_texture(colours, np.ones((20, 40), bool), width=0.2)[10, [9, 30], 1].round(1)
        array([5.1, 0. ], dtype=float32)
    """
    if deviation is None:
        deviation = local_deviation(colours, inside, width)
    return np.concatenate([colours, np.float32(weight) * deviation[..., None]], axis=-1)
