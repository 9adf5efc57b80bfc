"""GeoTIFF: what was found in an image that lies somewhere on the Earth, written where it lies."""

from __future__ import annotations

import importlib.util
import os
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm._atomic import write_whole
from jgmm.image.decoding import TIFF_MAGIC, ImageError

NdArray = npt.NDArray[Any]
# Of the tags that say where pixels lie: scale and tie points, a matrix, and the system they are in.
_TAGS = (33550, 33922, 34264, 34735)
# What these hold, and the numbers and the text that the last of them points to.
_KINDS = {33550: "d", 33922: "d", 34264: "d", 34735: "H", 34736: "d", 34737: "s"}
_NODATA = 42113  # GDAL's tag
Tag = tuple[int, Any, int, Any, bool]  # as tifffile writes it


def is_georeferenced(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a TIFF that says where its pixels lie.

    Example:
        >>> import tempfile
        >>> from jgmm.image import write_png
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_png(f"{folder}/grey.png", np.zeros((1, 2), np.uint8))
        ...     is_georeferenced(f"{folder}/grey.png")
        False
    """
    import tifffile

    try:
        with open(path, "rb") as file:
            if file.read(4) not in TIFF_MAGIC:
                return False
        with tifffile.TiffFile(path) as tiff:
            tags = tiff.pages[0].aspage().tags
            return any(tag in tags for tag in _TAGS)
    except (OSError, tifffile.TiffFileError, IndexError):
        return False


def tags_of(
    path: str | os.PathLike[str], shape: tuple[int, int], nodata: int | None = None
) -> list[Tag]:
    """The tags by which another TIFF lies where this one does, for ``extratags`` of tifffile.

    Args:
        path: the file.
        shape: rows and columns of what is written; of an image of others there are no tags.
        nodata: the value that is to mean no data there.

    Example:
        >>> import tempfile
        >>> from jgmm.image import write_png
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_png(f"{folder}/grey.png", np.zeros((1, 2), np.uint8))
        ...     tags_of(f"{folder}/grey.png", (1, 2))
        []
    """
    import tifffile

    if not is_georeferenced(path):
        return []
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0].aspage()
        turned = page.tags.get("Orientation")
        if (page.imagelength, page.imagewidth) != shape or (
            turned is not None and turned.value != 1
        ):
            return []
        try:
            found = {code: page.tags[code].value for code in _KINDS if code in page.tags}
            tags = [_tag(code, value) for code, value in found.items()]
        except (ValueError, TypeError, struct.error):  # no place that could be told
            return []
    return tags if nodata is None else [*tags, _tag(_NODATA, str(nodata))]


def _tag(code: int, value: Any) -> Tag:
    """A tag as it is written, of a value of the kind that it has to have."""
    if _KINDS.get(code, "s") == "s":
        if not (isinstance(value, str) and value.isascii()):
            raise ValueError(f"tag {code}: expected ASCII, got {value!r}")
        return code, "s", 0, value, True
    numbers = np.atleast_1d(np.asarray(value, _KINDS[code])).ravel()
    return code, _KINDS[code], len(numbers), tuple(numbers.tolist()), True


def can_write() -> bool:
    """Whether rasterio is installed."""
    return importlib.util.find_spec("rasterio") is not None


def write_geotiff(
    path: str | os.PathLike[str],
    values: npt.ArrayLike,
    like: str | os.PathLike[str],
    *,
    palette: npt.ArrayLike | None = None,
) -> None:
    """Write an array as GeoTIFF where another file lies, by rasterio (the extra ``geo``).

    Of ``like`` it takes the coordinate system, the transform and the ground control points.
    Integers below 0, such as the labels of what was left out, become the largest value of the type
    that is written, and that is what the file calls no data; of floats NaN is.

    Args:
        path: the file to write; it appears whole or not at all.
        values: [H, W] integers, written in the fewest bits that hold them, or floats.
        like: the GeoTIFF that the values were found in, of as many rows and columns.
        palette: [K, 3] uint8, colours for the values 0 to K - 1, where these are less than 255.

    Raises:
        ImportError: rasterio is not installed.
        jgmm.image.ImageError: ``like`` is no TIFF that can be read.
        ValueError: another shape than that of ``like``.
        OSError: the file cannot be written.

    Example:
        >>> write_geotiff("labels.tif", np.zeros((2, 3, 4)), "scene.tif")
        Traceback (most recent call last):
        ...
        ValueError: values: expected integers or floats [H, W], got float64 (2, 3, 4)
    """
    array = np.asarray(values)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "iuf":
        raise ValueError(
            f"values: expected integers or floats [H, W], got {array.dtype} {array.shape}"
        )
    if not can_write():
        raise ImportError("write_geotiff needs rasterio: pip install 'jgmm[geo]'")
    import rasterio

    coded, nothing = _coded(array)
    alone = rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO")
    with warnings.catch_warnings(), alone:  # reads no files that lie beside
        warnings.simplefilter("ignore")  # of files that lie nowhere
        try:
            with rasterio.open(Path(like), driver="GTiff") as source:
                shape, (points, of_points) = source.shape, source.gcps
                place = {"crs": source.crs or of_points, "transform": source.transform}
        except rasterio.errors.RasterioError as error:
            raise ImageError(f"cannot read {like}: {' '.join(str(error).split())}") from error
        if shape != array.shape:
            raise ValueError(f"values: expected shape {shape} of {like}, got {array.shape}")
        if points:
            place = {"crs": of_points, "gcps": points}
        colours = None if palette is None else np.asarray(palette).tolist()
        content = _encoded(coded, nothing, place, colours)
    write_whole(path, content)


def _encoded(
    coded: NdArray, nothing: float | None, place: dict[str, Any], colours: list[Any] | None
) -> bytes:
    """The content of a GeoTIFF."""
    import rasterio

    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=coded.shape[0],
            width=coded.shape[1],
            count=1,
            dtype=coded.dtype.name,
            nodata=nothing,
            compress="deflate",
            **place,
        ) as made:
            made.write(coded, 1)
            if colours is not None and coded.dtype == np.uint8:
                made.write_colormap(1, {i: (*rgb, 255) for i, rgb in enumerate(colours)})
        content: bytes = memory.read()
    return content


def _coded(array: NdArray) -> tuple[NdArray, float | None]:
    """The values as they are written, and which of them means no data; None for none."""
    if array.dtype.kind == "f":
        wide = array.astype(np.float32 if array.dtype.itemsize <= 4 else np.float64)
        return wide, float("nan")
    left_out = array < 0
    for dtype in (np.uint8, np.uint16, np.uint32):
        last = int(np.iinfo(dtype).max)
        if int(array.max()) < last:
            return np.where(left_out, last, array).astype(dtype), last
    raise ValueError(f"values: expected integers below {2**32 - 1}, got up to {array.max()}")
