"""The distinct colours of an image, with their counts.

Integer images have few distinct colours. A fit to those, weighted by their counts, is exactly
the fit to all pixels, in a fraction of the work.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

NdArray = npt.NDArray[Any]
Inverse = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int64]

_TABLE_BITS = 24  # codes up to this wide may be ranked by a table (64 MiB) ...
_TABLE_PER_PIXEL = 32  # ... if it has at most so many entries per pixel; else sorting is faster
_BLOCK = 1 << 16  # pixels packed at a time, to stay in the cache


def unique_colours(pixels: npt.ArrayLike) -> tuple[NdArray, Inverse, Counts]:
    """Distinct rows of integer pixels, ordered by first channel, then second, and so on.

    Each colour is packed into one integer, and the integers are ranked. A colour too wide for
    64 bits takes several rounds, in which the rank of the channels so far stands for them.

    Args:
      pixels: [N, C] of any integer dtype, N below 2**31.

    Returns:
      The colours [M, C] in the dtype of the pixels; for each pixel the index of its colour
      [N], int32; the number of pixels of each colour [M], int64. ``colours[inverse]`` equals
      ``pixels``.

    Raises:
      TypeError: the pixels are not integers.
      ValueError: another shape, or too many pixels.

    Example:
      >>> colours, inverse, counts = unique_colours(np.array([[9, 1], [2, 3], [9, 1]], np.uint8))
      >>> colours.tolist(), inverse.tolist(), counts.tolist()
      ([[2, 3], [9, 1]], [1, 0, 1], [1, 2])
    """
    pixels = np.asarray(pixels)
    if pixels.dtype.kind not in "iu":
        raise TypeError(f"expected integer pixels, got {pixels.dtype}")
    if pixels.ndim != 2 or pixels.shape[1] == 0:
        raise ValueError(f"expected pixels [N, C], got shape {pixels.shape}")
    size = len(pixels)
    if size >= 2**31:
        raise ValueError(f"expected fewer than 2**31 pixels, got {size}")
    if size == 0:
        return pixels.copy(), np.zeros(0, np.int32), np.zeros(0, np.int64)
    group: list[_Channel] = []
    for channel in map(_channel, pixels.T):
        if sum(member.bits for member in group) + channel.bits > 64:
            inverse, n_colours = _rank(group)
            group = [_Channel(inverse, 0, (n_colours - 1).bit_length())]
        group.append(channel)
    inverse, n_colours = _rank(group)
    example = np.empty(n_colours, np.int32)  # for each colour, a pixel that has it
    example[inverse] = np.arange(size, dtype=np.int32)
    return pixels[example], inverse, np.bincount(inverse, minlength=n_colours)


class _Channel(NamedTuple):
    values: NdArray  # [N] integers
    low: int  # the smallest of them
    bits: int  # that hold their distance from it


def _channel(values: NdArray) -> _Channel:
    low, high = int(values.min()), int(values.max())
    bits = (high - low).bit_length()
    if bits <= 32:
        return _Channel(values, low, bits)
    distinct, ranks = np.unique(values, return_inverse=True)
    return _Channel(ranks, 0, (len(distinct) - 1).bit_length())


def _rank(channels: list[_Channel]) -> tuple[Inverse, int]:
    """The rank of each pixel among the distinct colours, and their number."""
    size = len(channels[0].values)
    bits = sum(channel.bits for channel in channels)
    code = _pack(channels, np.dtype(np.uint32 if bits <= 32 else np.uint64))
    if bits > _TABLE_BITS or 1 << bits > _TABLE_PER_PIXEL * size:
        distinct, inverse = np.unique(code, return_inverse=True)
        return inverse.astype(np.int32), len(distinct)
    seen = np.zeros(1 << bits, np.bool_)
    seen[code] = True
    present = np.flatnonzero(seen)
    rank = np.empty(len(seen), np.int32)
    rank[present] = np.arange(len(present), dtype=np.int32)
    return rank[code], len(present)


def _pack(channels: list[_Channel], dtype: np.dtype[Any]) -> NdArray:
    """One integer per pixel, the first channel in its highest bits."""
    code = np.zeros(len(channels[0].values), dtype)
    unit = dtype.type
    for start in range(0, len(code), _BLOCK):
        part = code[start : start + _BLOCK]
        for channel in channels:
            # Unsigned arithmetic wraps: the distance from `low` is right for signed values too.
            distance = channel.values[start : start + _BLOCK].astype(dtype)
            part <<= unit(channel.bits)
            part |= distance - unit(channel.low % (1 << 8 * dtype.itemsize))
    return code
