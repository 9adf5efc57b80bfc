"""Image files as a stream of pixels, for `jgmm.fit_stream`: large ones piece by piece."""

from __future__ import annotations

import io
import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm.image.decoding.packed import refuse_overfull
from jgmm.image.decoding.pillow import TIFF_MAGIC, ImageError
from jgmm.image.decoding.tiff import Alone, nodata_of, parted
from jgmm.image.files import open_pages
from jgmm.image.limits import refuse_large

NdArray = npt.NDArray[Any]
_BYTES = 1 << 22  # read at a time


@dataclass(frozen=True)
class ImageFiles:
    """The pixels of image files, as blocks [n, C]."""

    paths: tuple[Path, ...]

    def blocks(self) -> Iterator[NdArray]:
        """All pixels that take part, file by file.

        Raises:
          ImageError: a file that cannot be read, or of other channels than the first.
        """
        channels = None
        for path in self.paths:
            for block in _blocks(path):
                if channels is None:
                    channels = block.shape[1]
                if block.shape[1] != channels:
                    raise ImageError(
                        f"expected {channels} channels as in {self.paths[0]}, "
                        f"got {block.shape[1]}: {path}"
                    )
                yield block


def stream_files(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> ImageFiles:
    """Image files as a source for `jgmm.fit_stream`.

    TIFF files are read strip by strip or tile by tile, all of their pages, and may have any number
    of pixels; other files, and TIFF files of palettes, of separate planes or in compressions that
    need Pillow, are read one after the other, each whole. Values are those of the file, such as 0
    to 255, without transparency; pixels that are transparent, no data or not finite are left out.

    Args:
      paths: a file, or several of the same number of channels and the same depth.

    Example:
      >>> import tempfile, tifffile, jgmm
      >>> pixels = np.repeat(np.arange(64, dtype=np.uint8), 48).reshape(32, 32, 3)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     tifffile.imwrite(f"{folder}/a.tif", pixels, tile=(16, 16))
      ...     result = jgmm.fit_stream(jgmm.image.stream_files(f"{folder}/a.tif"), 1)
      >>> print(result.weight, result.mixture.means)
      1024.0 [[31.5 31.5 31.5]]
    """
    given: Any = paths
    every: list[Any] = [given] if isinstance(given, str | os.PathLike) else list(given)
    if not every:
        raise ValueError("paths: expected at least one file, got none")
    return ImageFiles(tuple(map(Path, every)))


def _blocks(path: Path) -> Iterator[NdArray]:
    log = logging.getLogger("tifffile")
    was_disabled, log.disabled = log.disabled, True  # what matters comes as an exception
    try:
        with path.open("rb") as file:
            head = file.read(4)
        found = _of_tiff(path) if head in TIFF_MAGIC else None
        if found is None:
            found = _of_whole(path)
        yield from found
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # decoders raise what they like on damaged files
        text = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"cannot read {path}: {text}") from error
    finally:
        log.disabled = was_disabled


def _of_whole(path: Path) -> Iterator[NdArray]:
    for image in open_pages(path, 0):
        yield _taking_part(image.pixels, image.alpha)


def _of_tiff(path: Path) -> Iterator[NdArray] | None:
    """The blocks of a TIFF; None where pages have to be read whole."""
    import tifffile

    with Alone(io.FileIO(path)) as handle, tifffile.TiffFile(handle, _multifile=False) as file:
        if not all(map(has_pieces, _pages(file))):
            return None
        first = next(iter(_pages(file)), None)
        try:
            if first is not None and not first.is_contiguous:
                next(_segments(handle, first))
        except (ValueError, KeyError, ImportError):  # a compression that tifffile does not know
            return None
    return _pieces(path)


def _pieces(path: Path) -> Iterator[NdArray]:
    import tifffile

    with Alone(io.FileIO(path)) as handle, tifffile.TiffFile(handle, _multifile=False) as file:
        for page in _pages(file):
            nodata = nodata_of(page)
            plain = page.is_contiguous and page.bitspersample >= 8
            for piece in (_runs if plain else _segments)(handle, page):
                yield _taking_part(*parted(piece, page, nodata))


def _pages(file: Any) -> Iterator[Any]:
    """Those that are no masks and no smaller copies."""
    return (page for page in file.pages if not (page.is_mask or page.is_reduced))


def has_pieces(page: Any) -> bool:
    """Whether the channels of a pixel come together, in numbers as they are."""
    together = page.samplesperpixel == 1 or page.planarconfig == 1
    depths = page.bitspersample in (8, 16, 32, 64) and page.dtype is not None
    return bool(together and depths and page.photometric in (0, 1, 2))


def _runs(handle: Any, page: Any) -> Iterator[NdArray]:
    """Pixels as they follow each other in the file [1, n, C]."""
    channels = int(page.samplesperpixel)
    dtype = page.dtype.newbyteorder(page.parent.byteorder)
    n = math.prod(page.shape) // channels
    most = max(1, _BYTES // (channels * dtype.itemsize))
    for start in range(0, n, most):
        count = min(most, n - start)
        size = channels * dtype.itemsize
        handle.seek(page.dataoffsets[0] + start * size)
        content = handle.read(count * size)
        if len(content) < count * size:
            raise ValueError(f"expected {n} pixels in a page, got {start} and a part of more")
        yield np.frombuffer(content, dtype).reshape(1, count, channels)


def _segments(handle: Any, page: Any) -> Iterator[NdArray]:
    """Strips or tiles [rows, columns, C], without what stands over the edge."""
    length, width = page.chunks[:2]
    refuse_large(int(width), int(length))
    refuse_overfull(handle, SimpleNamespace(keyframe=page, pages=[page]))
    channels = int(page.samplesperpixel)
    rows, columns = int(page.imagelength), int(page.imagewidth)
    for segment, place, shape in page.segments(maxworkers=1, buffersize=_BYTES):
        _, _, top, left, _ = place
        high, wide = min(shape[1], rows - top), min(shape[2], columns - left)
        if segment is None:  # nothing was written there
            yield np.zeros((high, wide, channels), page.dtype)
            continue
        yield segment.reshape(segment.shape[-3:])[:high, :wide]


def _taking_part(pixels: NdArray, there: NdArray | None) -> NdArray:
    """The pixels [n, C] of a piece [H, W, C] that are there and finite."""
    flat = pixels.reshape(-1, pixels.shape[2]) if there is None else pixels[there]
    if flat.dtype.kind != "f":
        return flat
    finite = np.isfinite(flat).all(axis=1)
    return flat if finite.all() else flat[finite]
