"""TIFF by tifffile: bands and pages told apart, alpha and nodata left out, every bit kept.

What tifffile leaves to optional packages, Pillow may know.
"""

from __future__ import annotations

import io
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm.image.band_names import names_in
from jgmm.image.decoding.packed import refuse_overfull
from jgmm.image.decoding.pillow import (
    Decoded,
    ImageError,
    decode_pillow,
    oriented,
    wanted,
)
from jgmm.image.limits import refuse_large

NdArray = npt.NDArray[Any]

_NODATA = 42113  # GDAL's tag
_BANDS = "YXCS"  # rows, columns, channels, samples; other axes count pages


@dataclass(frozen=True)
class _Series:
    """A series of pages of one shape, and how many images there are in it."""

    series: Any
    total: int

    @property
    def is_bands(self) -> bool:
        """Whether an axis that the file does not name is that of the bands."""
        return self.series.axes == "QYX" and self.total == 1

    @property
    def page_bands(self) -> int:
        """How many pages are taken as bands; none where the bands stand last."""
        n, _, last = self.series.shape if self.is_bands else (0, 0, 0)
        return n if len(self.series.pages) > 1 and last >= n else 0

    @property
    def orientation(self) -> int:
        tag = self.series.keyframe.tags.get("Orientation")
        return 1 if tag is None else int(tag.value)

    @property
    def nodata(self) -> float | None:
        """The value that stands for none."""
        return nodata_of(self.series.keyframe)


def nodata_of(page: Any) -> float | None:
    """The value that stands for none in a page, as GDAL writes it."""
    tag = page.tags.get(_NODATA)
    try:
        return None if tag is None else float(str(tag.value).strip(" \0"))
    except ValueError:
        return None


class Alone(io.BufferedReader):
    """A file that tifffile takes for none on a disk, beside which it would read others.

    Metadata of OME and Micro-Manager name other files, anywhere.
    """

    def fileno(self) -> int:
        """None, as of a file in memory."""
        raise io.UnsupportedOperation("fileno")


def decode_tiff(source: Path, head: bytes, page: int | None) -> Decoded:
    """Decode a TIFF by tifffile, or by Pillow what that leaves to optional packages."""
    import tifffile

    with Alone(io.FileIO(source)) as handle, tifffile.TiffFile(handle, _multifile=False) as file:
        refuse_large(1, 1, n_pages=len(file.pages))
        found = [_Series(s, _count(s, page)) for s in file.series if not _is_aside(s)]
        places = [(s, i) for s in found for i in range(s.total)]
        refuse_large(1, 1, n_pages=len(places))
        chosen = [places[i] for i in wanted(page, len(places), source)]
        arrays: dict[int, NdArray] = {}
        n_bytes = 0
        for series in {id(series): series for series, _ in chosen}.values():  # each is read once
            keyframe = series.series.keyframe
            bits = keyframe.bitspersample
            n_bytes += math.prod(series.series.shape) * max(bits // 8, 1)
            refuse_large(keyframe.imagewidth, keyframe.imagelength, n_bytes)
            if keyframe.photometric not in (0, 1, 2) or bits not in (1, 8, 16, 32, 64):
                return decode_pillow(source, head, page)  # palettes, CMYK, odd depths
            try:
                refuse_overfull(handle, series.series)
                arrays[id(series)] = series.series.asarray()
            except (ValueError, KeyError, ImportError) as error:
                return _by_pillow(source, head, page, series.series, error)
        pages = [_image(series, arrays[id(series)], index) for series, index in chosen]
        names = band_names(chosen[0][0].series.keyframe)
    return Decoded(pages, len(places), chosen[0][0].page_bands, names)


def _by_pillow(
    source: Path, head: bytes, page: int | None, series: Any, error: Exception
) -> Decoded:
    """Pillow knows more compressions, but drops bands and mixes up deep planes.

    Other errors than of a compression are raised.
    """
    if not isinstance(error, ImportError) and "imagecodecs" not in str(error):
        raise error
    keyframe = series.keyframe
    samples = keyframe.samplesperpixel
    safe = samples == 1 or keyframe.planarconfig == 1 or keyframe.bitspersample == 8
    if safe and not {"Q", "C"} & set(series.axes):
        with suppress(ImageError):
            found = decode_pillow(source, head, page)
            pixels, alpha = found.pages[0]
            if np.atleast_3d(pixels).shape[2] + (alpha is not None) == samples:
                return found
    codec = getattr(keyframe.compression, "name", keyframe.compression)
    raise ImageError(
        f"this kind of TIFF, compressed by {codec}, needs the package imagecodecs: {source}"
    ) from error


def _is_aside(series: Any) -> bool:
    """Whether it is a mask or a smaller copy of what stands before it."""
    return bool(series.keyframe.is_mask or series.keyframe.is_reduced)


def _count(series: Any, page: int | None) -> int:
    """How many images a series has.

    An array of three axes that the file does not name (Q) has its bands along the shorter end,
    unless pages are asked for.
    """
    axes, shape = series.axes, series.shape
    if axes == "QYX" and (page is None or shape[2] < shape[0]):
        return 1
    return math.prod(n for axis, n in zip(axes, shape, strict=True) if axis not in _BANDS)


def _image(series: _Series, array: NdArray, index: int) -> tuple[NdArray, NdArray | None]:
    """One image of a series that was read: pixels [H, W, C], and what takes part if not all."""
    keyframe, axes = series.series.keyframe, series.series.axes
    if series.is_bands:
        bands_first = array.shape[2] >= array.shape[0]
        array = np.moveaxis(array, 0, 2) if bands_first else array
    else:
        array = _bands_last(array, axes, index)
    array = oriented(array, series.orientation)
    return parted(array, keyframe, series.nodata, interleaved="S" in axes)


def parted(
    array: NdArray, keyframe: Any, nodata: float | None, *, interleaved: bool = True
) -> tuple[NdArray, NdArray | None]:
    """An image [H, W, C] without alpha, and where it takes part [H, W], if not everywhere."""
    there = _has_data(array, nodata)
    if keyframe.photometric == 0 and array.dtype.kind in "bu":  # white is 0
        array = ~array
    alpha, place = None, alpha_in(keyframe, array.shape[2])
    if place is not None and interleaved:
        array, alpha = np.delete(array, place, axis=2), array[:, :, place] != 0
    if there is None:
        return array, alpha
    return array, there if alpha is None else there & alpha


def alpha_in(keyframe: Any, channels: int) -> int | None:
    """Which of the channels is alpha; None for none."""
    extra = tuple(keyframe.extrasamples)
    coded = [place for place, kind in enumerate(extra) if kind in (1, 2)]
    return channels - len(extra) + coded[0] if coded else None


def band_names(keyframe: Any) -> tuple[str, ...]:
    """What the file calls the channels of a page, alpha apart; () where it names none."""
    names = names_in(keyframe)
    alpha = alpha_in(keyframe, len(names))
    return tuple(name for i, name in enumerate(names) if i != alpha)


def _has_data(array: NdArray, nodata: float | None) -> NdArray | None:
    """Where an image [H, W, C] has values [H, W]; None if it is everywhere.

    A pixel that lacks one band lacks what a fit needs. In 8 bits, where the value is a colour
    like others, it must stand in all bands.
    """
    if nodata is None or array.dtype.kind not in "iuf":
        return None
    if array.dtype.kind != "f":
        limits = np.iinfo(array.dtype)
        if not (nodata.is_integer() and limits.min <= nodata <= limits.max):
            return None
        nodata = int(nodata)
    with np.errstate(over="ignore"):
        without = array == array.dtype.type(nodata)
    lacking = without.all(axis=2) if array.dtype == np.uint8 else without.any(axis=2)
    return ~lacking if lacking.any() else None


def _bands_last(array: NdArray, axes: str, index: int) -> NdArray:
    """An image [H, W, C] of a TIFF series whose axes carry tifffile's letters.

    Samples (S) and channels (C) are bands; times, depths and pages are counted through.
    """
    if "Y" not in axes or "X" not in axes:
        raise ValueError(f"expected axes Y and X, got {axes} of shape {array.shape}")
    outer = [place for place, axis in enumerate(axes) if axis not in _BANDS]
    which = np.unravel_index(index, [array.shape[place] for place in outer]) if outer else ()
    at: list[Any] = [slice(None)] * array.ndim
    for place, i in zip(outer, which, strict=True):
        at[place] = int(i)
    array = array[tuple(at)]
    left = "".join(axis for axis in axes if axis in _BANDS)
    keep = [axis for axis in ("Y", "X", "C", "S") if axis in left]
    array = array.transpose([left.index(axis) for axis in keep])
    return array.reshape(*array.shape[:2], -1)
