"""Photographs and animations, by Pillow."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jgmm.image.limits import pillow_limits, refuse_large

NdArray = npt.NDArray[Any]

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class ImageError(ValueError):
    """A file that cannot be read as an image; the message is one line for the user."""


class Decoded(NamedTuple):
    """Pages of a file: of each its pixels, and its alpha if there is one."""

    pages: list[tuple[NdArray, NdArray | None]]
    total: int  # how many there are in the file
    bands: int = 0  # how many pages of the file are bands of one image, as nothing names them
    names: tuple[str, ...] = ()  # of the channels of the first of these pages, alpha apart


def wanted(page: int | None, total: int, source: Path) -> Sequence[int]:
    """Which pages are to be read, counted from 0; see `decode`."""
    if page == 0:
        return range(total)
    if (page or 1) > total:
        there = f"a number from 1 to {total}" if total > 1 else "1, as there are no others"
        raise ImageError(f"page: expected {there}, got {page}: {source}")
    return [(page or 1) - 1]


def _orientation(image: Any) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # damaged metadata does not spoil the pixels
        return 1


def oriented(array: NdArray, orientation: int) -> NdArray:
    """Turn an image [H, W, ...] upright, given its EXIF orientation, 1 to 8."""
    if orientation in (3, 4, 6, 7):
        array = array[::-1]
    if orientation in (2, 3, 7, 8):
        array = array[:, ::-1]
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    return array


def decode_pillow(source: Path, head: bytes, page: int | None) -> Decoded:
    """Decode what Pillow knows; see `jgmm.image.decoding.decode`.

    Raises:
        PIL.UnidentifiedImageError: Pillow does not know it.
    """
    import PIL.Image

    try:
        with pillow_limits(), PIL.Image.open(source) as image:
            return _decoded(image, source, head, page)
    except PIL.UnidentifiedImageError:
        if head[:4] in TIFF_MAGIC:
            raise ImageError(f"this kind of TIFF is not supported: {source}") from None
        raise
    except PIL.Image.DecompressionBombError as error:  # of the image, or of a part of the file
        found = re.search(r"[0-9]+", str(error))
        refuse_large(int(found[0]) if found else sys.maxsize, 1)
        raise


def _decoded(image: Any, source: Path, head: bytes, page: int | None) -> Decoded:
    """The frames that are wanted of an open file."""
    if image.format == "EPS":  # Pillow would have Ghostscript run it
        raise ImageError(f"expected pixels, got PostScript, which is a program: {source}")
    # The layers of a PSD file are parts of one image.
    total = 1 if image.format == "PSD" else int(getattr(image, "n_frames", 1))
    chosen = wanted(page, total, source)
    _expect_size(image, len(chosen))
    pages = []
    for index in chosen:
        if total > 1:
            image.seek(index)
            _expect_size(image, len(chosen))
        pages.append(_frame(image, index, source, head))
    return Decoded(pages, total)


def _expect_size(image: Any, n_pages: int) -> None:
    width, height = image.size
    refuse_large(width, height, 4 * width * height * n_pages, n_pages)  # no mode has more bytes


def _frame(image: Any, index: int, source: Path, head: bytes) -> tuple[NdArray, NdArray | None]:
    """The frame at which an open file stands."""
    rawmode = _rawmode(image)
    if index == 0 and re.fullmatch(r"(RGBA?|LA);16[BLN]", rawmode):
        array = _deep_pixels(image, rawmode, source)
    else:
        _refuse_loss(image, rawmode, head, source)
        array = _samples(image)
    return _split(oriented(array, _orientation(image)), image.info.get("transparency"))


def of_pillow(image: Any) -> tuple[NdArray, NdArray | None]:
    """The pixels of a Pillow image as it stands, palettes as colours, and its alpha if any."""
    return _split(_samples(image), image.info.get("transparency"))


def _samples(image: Any) -> NdArray:
    array = np.asarray(_plain(image))
    if image.mode == "I" and image.format != "TIFF" and array.min() >= 0 and array.max() <= 65535:
        return array.astype(np.uint16)  # Pillow's way to hold 16 bits
    return array


def _split(array: NdArray, key: Any) -> tuple[NdArray, NdArray | None]:
    """The colours and the alpha channel, or what is not the colour that stands for transparent."""
    if array.ndim == 3 and array.shape[2] in (2, 4):
        return array[:, :, :-1], array[:, :, -1]
    if isinstance(key, int) and array.ndim == 2 or isinstance(key, tuple) and array.ndim == 3:
        value = array * np.uint8(255) if array.dtype == np.bool_ else array
        return array, (value.reshape(*array.shape[:2], -1) != np.asarray(key)).any(axis=-1)
    return array, None


def _plain(image: Any) -> Any:
    """A Pillow image in one of the modes that are arrays of samples."""
    image.load()
    if image.mode in ("1", "L", "LA", "RGB", "RGBA", "F", "I", "I;16", "I;16B", "I;16L"):
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _rawmode(image: Any) -> str:
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _deep_pixels(image: Any, rawmode: str, source: Path) -> NdArray:
    """Every bit of 16 bit samples, which Pillow unpacks to their high bytes only.

    The same file is decoded twice, the second time as if in the other byte order: that gives
    the low bytes.
    """
    import PIL.Image

    def decode(image: Any, rawmode: str) -> npt.NDArray[np.uint16]:
        (tile,) = image.tile
        args = (rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode
        image.tile = [tile._replace(args=args)]
        return np.asarray(image).astype(np.uint16)

    if rawmode.startswith("LA"):  # big-endian pairs, as many bytes as 8 bit RGBA
        pair = decode(image, "RGBA")
        return pair[:, :, 0::2] << 8 | pair[:, :, 1::2]
    big = rawmode.endswith("B") or (rawmode.endswith("N") and struct.pack("=H", 1)[0] == 0)
    high = decode(image, rawmode)
    with PIL.Image.open(source) as again:  # under the limits of the first
        return high << 8 | decode(again, rawmode[:-1] + ("L" if big else "B"))


def _refuse_loss(image: Any, rawmode: str, head: bytes, source: Path) -> None:
    """Refuse colour deeper than 8 bits in formats that Pillow cuts to 8 bits."""
    deep = ";16" in rawmode and not image.mode.startswith("I")
    if image.mode in ("RGB", "RGBA", "LA"):
        if image.format == "PPM":
            deep = image.tile[0].codec_name == "ppm" and image.tile[0].args[-1] > 255
        elif image.format == "SGI":
            deep = head[3] == 2
        elif image.format == "JPEG2000" and (at := head.find(b"\xff\x4f\xff\x51")) >= 0:
            deep = head[at + 42] & 0x7F >= 8  # depth less one of the first component
        elif image.format == "AVIF" and (at := head.find(b"pixi")) >= 0:
            deep = head[at + 9] > 8
    if deep:
        raise ImageError(
            f"{image.format} colour of more than 8 bits cannot be read without loss; "
            f"save it as PNG or TIFF: {source}"
        )
