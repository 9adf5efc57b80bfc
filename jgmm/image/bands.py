"""Large images read band by band: some rows at a time, and never all of them."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from jgmm.image.decoding.packed import refuse_overfull
from jgmm.image.decoding.pillow import TIFF_MAGIC, ImageError
from jgmm.image.decoding.tiff import Alone, band_names, nodata_of, parted
from jgmm.image.files import Image, finish, open_pages
from jgmm.image.limits import refuse_large
from jgmm.image.sources import has_pieces

NdArray = npt.NDArray[Any]
_MOST_ROWS = 4096  # of a piece, which is decoded again for each band that it is in


class Banded(Protocol):
    """An image whose rows can be had some at a time."""

    @property
    def height(self) -> int:
        """Of all rows."""

    @property
    def width(self) -> int:
        """Of each row."""

    def rows(self, start: int, stop: int) -> Image:
        """Those rows as an image."""


@dataclass(frozen=True)
class Whole:
    """An image that is held."""

    image: Image

    @property
    def height(self) -> int:
        """Of all rows."""
        return int(self.image.pixels.shape[0])

    @property
    def width(self) -> int:
        """Of each row."""
        return int(self.image.pixels.shape[1])

    def rows(self, start: int, stop: int) -> Image:
        """Those rows as an image."""
        image = self.image
        part = None if image.alpha is None else image.alpha[start:stop]
        return dataclasses.replace(image, pixels=image.pixels[start:stop], alpha=part)


@dataclass(frozen=True)
class Pieces:
    """The one page of a TIFF, strip by strip or tile by tile."""

    source: Path
    handle: Any
    page: Any  # of tifffile
    nodata: float | None

    @property
    def height(self) -> int:
        """Of all rows."""
        return int(self.page.imagelength)

    @property
    def width(self) -> int:
        """Of each row."""
        return int(self.page.imagewidth)

    def rows(self, start: int, stop: int) -> Image:
        """Those rows as an image.

        Raises:
            ImageError: pieces that cannot be decoded.
        """
        page = self.page
        channels = int(page.samplesperpixel)
        pixels = np.zeros((stop - start, self.width, channels), page.dtype)
        try:
            if self.is_plain:
                pixels = self._plain(start, stop)
            for segment, place, shape in () if self.is_plain else self._segments(start, stop):
                top, left = place[2], place[3]
                first, last = max(top, start), min(top + shape[1], stop)
                wide = min(shape[2], self.width - left)
                if segment is not None and first < last:  # None: nothing was written there
                    there = segment.reshape(segment.shape[-3:])[first - top : last - top, :wide]
                    pixels[first - start : last - start, left : left + wide] = there
        except OSError as error:
            raise ImageError(f"cannot read {self.source}: {error.strerror or error}") from error
        except Exception as error:  # decoders raise what they like on damaged files
            text = " ".join(str(error).split()) or type(error).__name__
            raise ImageError(f"cannot read {self.source}: {text}") from error
        values, part = parted(pixels, page, self.nodata)
        values, finite = finish(values, part, self.source)
        return Image(values, finite, self.source, band_names=band_names(page))

    @property
    def is_plain(self) -> bool:
        """Whether pixels follow each other in the file as they are."""
        return bool(self.page.is_contiguous and not self.page.is_tiled)

    def _plain(self, start: int, stop: int) -> NdArray:
        channels = int(self.page.samplesperpixel)
        dtype = self.page.dtype.newbyteorder(self.page.parent.byteorder)
        row = self.width * channels * dtype.itemsize
        self.handle.seek(self.page.dataoffsets[0] + start * row)
        content = self.handle.read((stop - start) * row)
        return np.frombuffer(content, dtype).reshape(stop - start, self.width, channels)

    def _segments(self, start: int, stop: int) -> Iterator[Any]:
        """Strips or tiles that have some of the rows, decoded."""
        page = self.page
        across = int(page.chunked[1])
        high = int(page.chunks[0])
        some = range(start // high * across, -(-stop // high) * across)
        more: dict[str, Any] = {"_fullsize": page.is_tiled}
        if page.compression in (6, 7, 34892, 33007):  # JPEG
            more |= {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        for i in some:
            self.handle.seek(page.dataoffsets[i])
            content = self.handle.read(page.databytecounts[i]) or None
            yield page.decode(content, i, **more)


@contextlib.contextmanager
def banded(path: Path, page: int | None = None) -> Iterator[Banded]:
    """Open an image to read it band by band.

    A TIFF of one page with channels together is read piece by piece, and may have any number of
    pixels; whatever else is read whole, and cut.

    Raises:
        ImageError: it cannot be read.
    """
    log = logging.getLogger("tifffile")
    was_disabled, log.disabled = log.disabled, True  # what matters comes as an exception
    try:
        with contextlib.ExitStack() as stack:
            found = _pieces(path, stack) if page in (None, 1) else None
            yield Whole(open_pages(path, page)[0]) if found is None else found
    finally:
        log.disabled = was_disabled


def size_of(path: Path) -> int:
    """How many pixels an image has, from the head of its file; 0 where that does not say."""
    import PIL.Image

    from jgmm.image.limits import pillow_limits

    try:
        if not path.is_file():
            return 0
        with contextlib.ExitStack() as stack:
            found = _pieces(path, stack)
            if found is not None:
                return found.height * found.width
        with pillow_limits(), PIL.Image.open(path) as image:
            return int(image.width * image.height)
    except Exception:  # whoever reads it will say what is wrong
        return 0


def _pieces(path: Path, stack: contextlib.ExitStack) -> Pieces | None:
    """A TIFF that can be read piece by piece; None of other files."""
    import tifffile

    try:
        if not path.is_file():  # to open a pipe would wait for whoever writes there
            return None
        with path.open("rb") as file:
            if file.read(4) not in TIFF_MAGIC:
                return None
        with contextlib.ExitStack() as own:
            handle = own.enter_context(Alone(io.FileIO(path)))
            tiff: Any = own.enter_context(tifffile.TiffFile(handle, _multifile=False))
            if not _has_one_image(tiff):
                return None
            page: Any = tiff.pages[0]
            found = Pieces(path, handle, page, nodata_of(page))
            if not found.is_plain and int(page.chunks[0]) > _MOST_ROWS:
                return None
            if not found.is_plain:
                refuse_large(int(page.chunks[1]), int(page.chunks[0]))
                refuse_overfull(handle, _Series(page))
            if found.rows(0, 1).pixels.size == 0:
                return None
            stack.enter_context(own.pop_all())
            return found
    except Exception:  # a compression that tifffile does not know, or a file that is damaged
        return None


def _has_one_image(tiff: Any) -> bool:
    """Whether a TIFF is one image in pieces, which stands as it is to be seen."""
    page: Any = tiff.pages[0]
    tag = page.tags.get("Orientation")
    if len([p for p in tiff.pages if not (p.is_mask or p.is_reduced)]) > 1:
        return False
    if not has_pieces(page) or (tag is not None and int(tag.value) != 1):
        return False
    if page.imagedepth != 1 or page.ndim > 3:
        return False
    size = int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel)
    # Others are a stack that has one head.
    return math.prod(tiff.series[0].shape) == math.prod(size)


class _Series:
    """One page as a series."""

    def __init__(self, page: Any) -> None:
        self.keyframe, self.pages = page, [page]
