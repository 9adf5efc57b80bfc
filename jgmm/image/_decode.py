"""Image files decoded to arrays, with every bit that the file holds.

imageio's plugins for photographs and for TIFF rest on Pillow and tifffile, but leave out some of
what those know: depth beyond 8 bits, axes, alpha and orientation. So those two are used directly,
and imageio for whatever they do not read.
"""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

NdArray = npt.NDArray[Any]

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class ImageError(ValueError):
    """A file that cannot be read as an image; the message is one line for the user."""


def decode(source: Path, head: bytes) -> tuple[NdArray, NdArray | None]:
    """The first image of a file that starts with ``head``: its pixels, and its alpha if any."""
    return (_decode_tiff if head[:4] in _TIFF_MAGIC else _decode_pillow)(source, head)


def _orientation(image: Any) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # damaged metadata does not spoil the pixels
        return 1


def _oriented(array: NdArray, orientation: int) -> NdArray:
    """Turn an image [H, W, ...] upright, given its EXIF orientation, 1 to 8."""
    if orientation in (3, 4, 6, 7):
        array = array[::-1]
    if orientation in (2, 3, 7, 8):
        array = array[:, ::-1]
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    return array


def _decode_pillow(source: Path, head: bytes) -> tuple[NdArray, NdArray | None]:
    """Decode anything but TIFF: pixels, and the alpha channel if there is one."""
    import PIL.Image

    try:
        with PIL.Image.open(source) as image:
            rawmode = _rawmode(image)
            if re.fullmatch(r"(RGBA?|LA);16[BLN]", rawmode):
                array = _deep_pixels(image, rawmode, source)
            else:
                _refuse_loss(image, rawmode, head, source)
                array = np.asarray(_plain(image))
            array = _oriented(array, _orientation(image))
            key = image.info.get("transparency")
    except PIL.UnidentifiedImageError:
        if head[:4] in _TIFF_MAGIC:
            raise ImageError(f"this kind of TIFF is not supported: {source}") from None
        return _decode_other(source), None
    except PIL.Image.DecompressionBombError:
        raise ImageError(f"has more than {_most_pixels():,} pixels: {source}") from None
    if array.ndim == 3 and array.shape[2] in (2, 4):
        return array[:, :, :-1], array[:, :, -1]
    if isinstance(key, int | tuple):  # one colour stands for "transparent"
        value = array * np.uint8(255) if array.dtype == np.bool_ else array
        return array, (value.reshape(*array.shape[:2], -1) != np.asarray(key)).any(axis=-1)
    return array, None


def _most_pixels() -> int:
    """Beyond this Pillow takes a file for an attack."""
    import PIL.Image

    return 2 * (PIL.Image.MAX_IMAGE_PIXELS or 2**62)


def _decode_other(source: Path) -> NdArray:
    """Decode what only other plugins of imageio know."""
    import imageio.v3 as iio

    try:
        with source.open("rb") as file:  # plugins that fail leave files open
            hint: Any = source.suffix or None
            return np.asarray(iio.imread(file, index=0, extension=hint))
    except Exception:
        raise ImageError(f"not an image: {source}") from None


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
    with PIL.Image.open(source) as again:
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


def _decode_tiff(source: Path, head: bytes) -> tuple[NdArray, NdArray | None]:
    """Decode a TIFF by tifffile, or by Pillow what that leaves to optional packages."""
    import tifffile

    with source.open("rb") as handle, tifffile.TiffFile(handle) as file:
        series = file.series[0]
        page = series.keyframe
        bits, samples = page.bitspersample, page.samplesperpixel
        if page.imagewidth * page.imagelength > _most_pixels():
            raise ImageError(f"has more than {_most_pixels():,} pixels: {source}")
        if page.photometric not in (0, 1, 2) or bits not in (1, 8, 16, 32, 64):
            return _decode_pillow(source, head)  # palettes, CMYK, odd depths
        try:
            array, axes = series.asarray(), series.axes
        except (ValueError, KeyError, ImportError) as error:
            if not isinstance(error, ImportError) and "imagecodecs" not in str(error):
                raise
            # Pillow knows more compressions, but drops bands and mixes up deep planes.
            safe = samples == 1 or page.planarconfig == 1 or bits == 8
            if safe and not {"Q", "C"} & set(series.axes):
                with suppress(ImageError):
                    pixels, alpha = _decode_pillow(source, head)
                    if np.atleast_3d(pixels).shape[2] + (alpha is not None) == samples:
                        return pixels, alpha
            codec = getattr(page.compression, "name", page.compression)
            raise ImageError(
                f"this kind of TIFF, compressed by {codec}, needs the package imagecodecs: {source}"
            ) from error
        tag = page.tags.get("Orientation")
        orientation = 1 if tag is None else int(tag.value)
        extra, white_is_zero = tuple(page.extrasamples), page.photometric == 0
    array = _oriented(_bands_last(array, axes), orientation)
    if white_is_zero and array.dtype.kind in "bu":
        array = ~array
    coded = [index for index, kind in enumerate(extra) if kind in (1, 2)]  # alpha channels
    if coded and "S" in axes:
        index = array.shape[2] - len(extra) + coded[0]
        return np.delete(array, index, axis=2), array[:, :, index]
    return array, None


def _bands_last(array: NdArray, axes: str) -> NdArray:
    """The first image [H, W, C] of a TIFF series whose axes carry tifffile's letters.

    Samples (S) and channels (C) are bands; of times, depths and pages the first is taken. An
    array of three axes that the file does not name (Q) has its bands along the shorter end.
    """
    if axes == "QYX":
        return array if array.shape[2] < array.shape[0] else np.moveaxis(array, 0, 2)
    if "Y" not in axes or "X" not in axes:
        raise ValueError(f"expected axes Y and X, got {axes} of shape {array.shape}")
    keep = [axis for axis in ("Y", "X", "C", "S") if axis in axes]
    array = array[tuple(slice(None) if axis in keep else 0 for axis in axes)]
    axes = "".join(axis for axis in axes if axis in keep)
    array = array.transpose([axes.index(axis) for axis in keep])
    return array.reshape(*array.shape[:2], -1)
