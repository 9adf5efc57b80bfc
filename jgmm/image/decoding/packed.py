"""Pieces of a TIFF that unpack to more than they say.

tifffile unpacks a piece whole and drops what is too much: some kilobytes may take all the memory
that there is.
"""

from __future__ import annotations

import io
import lzma
import math
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, BinaryIO

from jgmm.image.limits import LimitError

_STEP = 2**16  # bytes
_HARMLESS = 2**26  # bytes that a piece may come to without being looked into


def _inflated(content: bytes) -> Iterator[int]:
    stream = zlib.decompressobj()
    for start in range(0, len(content), _STEP):
        piece = content[start : start + _STEP]
        while piece and not stream.eof:
            yield len(stream.decompress(piece, _STEP))
            piece = stream.unconsumed_tail


def _read(file: Any) -> Iterator[int]:
    while n := len(file.read(_STEP)):
        yield n


def _zstd(content: bytes) -> Iterator[int]:
    try:
        zstd = import_module("compression.zstd")  # from Python 3.14 on
    except ImportError:  # then tifffile has none either, but for imagecodecs', which is bounded
        return iter(())
    return _read(zstd.open(io.BytesIO(content)))


def _lzma(content: bytes) -> Iterator[int]:
    return _read(lzma.open(io.BytesIO(content)))


# By TIFF's numbers of compressions: how to unpack, and how many bytes come of one at most.
_UNPACKED: dict[int, tuple[Callable[[bytes], Iterator[int]], int]] = {
    8: (_inflated, 1032),
    32946: (_inflated, 1032),
    34925: (_lzma, 2**13),
    34926: (_zstd, 2**15),
    50000: (_zstd, 2**15),
}


def refuse_overfull(file: BinaryIO, series: Any) -> None:
    """Raise a LimitError for a series of a TIFF of which a piece holds more than it says.

    Args:
        file: the TIFF.
        series: of its pages, by tifffile.
    """
    keyframe = series.keyframe
    if int(keyframe.compression) not in _UNPACKED:
        return
    unpacked, ratio = _UNPACKED[int(keyframe.compression)]
    # What is left over by rounding, padding or a careless writer takes no memory to speak of.
    most = 2 * math.prod(keyframe.chunks) * max(keyframe.bitspersample // 8, 1) + _STEP
    end = file.seek(0, io.SEEK_END)
    for page in series.pages:
        counts = () if page is None else page.databytecounts
        for place, count in enumerate(min(n, end) for n in counts):
            if count * ratio <= max(most, _HARMLESS):
                continue
            file.seek(page.dataoffsets[place])
            if _exceeds(most, unpacked(file.read(count))):
                raise LimitError(f"expected strips and tiles of {most:,} bytes at most, got more")


def _exceeds(most: int, sizes: Iterator[int]) -> bool:
    """Whether sizes sum to more; what is damaged ends there, and is not ours to tell of."""
    total = 0
    try:
        for size in sizes:
            total += size
            if total > most:
                return True
    except Exception:  # each has errors of its own
        pass
    return False
