"""Photographs in, PNG out.

`read_image` gives every pixel exactly as the file holds it, in the file's own depth, with the
pixels that take no part (transparent, or not finite) in a mask. `write_png` writes PNG files.
"""

from __future__ import annotations

import logging
import os
import stat
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm._atomic import write_whole
from jgmm.image.decoding import ImageError, decode

NdArray = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Image:
    """An image as its file holds it.

    Attributes:
      pixels: [H, W, C] uint8, uint16, int16, int32 or floating point, without the alpha channel.
      alpha: [H, W] bool, True where the pixel takes part; None where all do.
      source: the file it came from.
      page: which of the file's, counted from 1.
      pages: how many there are.
      page_bands: how many pages of the file are bands of the one image, as nothing names them.
      band_names: of the channels, where a GeoTIFF names them; () otherwise.
    """

    pixels: NdArray
    alpha: Mask | None
    source: Path
    page: int = 1
    pages: int = 1
    page_bands: int = 0
    band_names: tuple[str, ...] = ()


def read_image(path: str | os.PathLike[str], page: int | None = None) -> Image:
    """Read an image file, keeping the file's own depth.

    Reads JPEG, PNG (8 and 16 bit), TIFF (8 and 16 bit, signed, float, any number of bands, planar
    or interleaved), WebP, and whatever else imageio reads. The EXIF orientation is applied; colour
    profiles are not. Palettes and CMYK become RGB, 1 bit images 0 and 255. Unsigned integers of 8
    and 16 bits are intensities; other integers become int16 or int32, other floats float32.

    Pixels whose alpha is 0, that carry a value that is not finite, or the one that a GeoTIFF has
    for no data, are left out by the mask; values that are not finite become 0. Partly transparent
    pixels take part with their colour.

    Args:
      path: the file.
      page: which frame, page or slice to take, from 1 on. None takes the first; pages of a TIFF
        that nothing names are then bands of one image. Of both there is a warning.

    Raises:
      ImageError: no such file, not an image, damaged, of fewer pages, or of a kind whose pixels
        cannot be had without loss.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_png(f"{folder}/grey.png", np.array([[0, 65535]], np.uint16))
      ...     read_image(f"{folder}/grey.png").pixels.shape
      (1, 2, 1)
    """
    if page is not None and page < 1:
        raise ValueError(f"page: expected a number from 1 on, got {page}")
    image = open_pages(path, page)[0]
    if page is None:
        tell_of_pages(image, stacklevel=3)
    return image


def tell_of_pages(image: Image, stacklevel: int) -> None:
    """Warn where a file has pages that were not taken, or taken for bands."""
    others = "jgmm.image.read_image(path, page=...) takes"
    if image.pages > 1:
        text = f"pages, of which the first is taken; {others} another, read_pages(path) all"
        warnings.warn(f"{image.source} has {image.pages} {text}", stacklevel=stacklevel)
    elif image.page_bands:
        text = f"pages without names, taken as bands of one image; {others} one of them"
        warnings.warn(f"{image.source} has {image.page_bands} {text}", stacklevel=stacklevel)


def read_pages(path: str | os.PathLike[str]) -> list[Image]:
    """Read all frames, pages or slices of a file; see `read_image`.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_png(f"{folder}/grey.png", np.array([[0, 65535]], np.uint16))
      ...     [image.page for image in read_pages(f"{folder}/grey.png")]
      [1]
    """
    return open_pages(path, 0)


def open_pages(path: str | os.PathLike[str], page: int | None) -> list[Image]:
    """The page of that number, all for 0, or the first, without a warning, for None."""
    source = Path(path)
    _expect_file(source)
    log = logging.getLogger("tifffile")
    was_disabled, log.disabled = log.disabled, True  # what matters comes as an exception
    try:
        with source.open("rb") as file:
            head = file.read(4096)
        if not head:
            raise ImageError(f"expected an image, got an empty file: {source}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large photographs, odd metadata
            found = decode(source, head, page)
            first = page or 1
            about = found.total, found.bands
            images = [
                Image(*finish(pixels, alpha, source), source, first + i, *about)
                for i, (pixels, alpha) in enumerate(found.pages)
            ]
            n = len(found.names)
            return [
                replace(image, band_names=found.names) if image.pixels.shape[2] == n else image
                for image in images
            ]
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(f"cannot read {source}: {error.strerror or _line(error)}") from error
    except Exception as error:  # decoders raise what they like on damaged files
        raise ImageError(f"cannot read {source}: {_line(error)}") from error
    finally:
        log.disabled = was_disabled


def sample_image() -> Image:
    """The built-in photograph: a rocket on its pad at dusk, 427 x 640, 8 bit RGB (NASA).

    Example:
      >>> sample_image().pixels.shape
      (427, 640, 3)
    """
    from skimage import data

    rocket: Any = data.rocket  # untyped
    return Image(pixels=np.asarray(rocket()), alpha=None, source=Path("rocket.jpg"))


def _expect_file(source: Path) -> None:
    """Refuse what cannot be read from the beginning and again."""
    try:
        mode = os.stat(source).st_mode
    except (FileNotFoundError, ValueError):  # a ValueError of names with NUL
        raise ImageError(f"no such file: {source}") from None
    except OSError as error:
        raise ImageError(f"cannot read {source}: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise ImageError(f"is a folder, not an image: {source}")
    if not stat.S_ISREG(mode):
        raise ImageError(f"is a pipe or a device, not a file: {source}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def finish(
    pixels: NdArray, alpha: NdArray | None, source: Path | None = None
) -> tuple[NdArray, Mask | None]:
    """Check the shape, bring the dtype to one of few, make the mask.

    Raises:
      ImageError: pixels that cannot be had so; it names the file if there is one.
    """
    where = "" if source is None else f": {source}"
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise ImageError(f"expected an image [H, W, C], got shape {pixels.shape}{where}")
    mask = np.ones(pixels.shape[:2], np.bool_) if alpha is None else alpha != 0
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32)
        finite = np.isfinite(pixels)
        mask &= finite.all(axis=-1)
        pixels = np.where(finite, pixels, np.float32(0))
    elif pixels.dtype.kind in "iu":
        try:
            pixels = plain_integers(pixels)
        except ValueError as error:
            raise ImageError(f"{error}; save it as float{where}") from None
    else:
        raise ImageError(f"expected integer or float pixels, got {pixels.dtype}{where}")
    return np.ascontiguousarray(pixels), None if mask.all() else mask


def plain_integers(pixels: NdArray) -> NdArray:
    """Integers as uint8 and uint16, which are intensities, or int16 and int32, quantities.

    Raises:
      ValueError: numbers beyond 32 bits.

    Example:
      >>> plain_integers(np.array([1, 70000])).dtype
      dtype('int32')
    """
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
        return pixels.astype(pixels.dtype.newbyteorder("="))
    if pixels.dtype.itemsize <= 2:
        return pixels.astype(np.int16)
    limits = np.iinfo(np.int32)
    low, high = pixels.min(), pixels.max()
    if low < limits.min or high > limits.max:
        raise ValueError(f"expected integers of 32 bits, got {low} to {high}")
    return pixels.astype(np.int32)


def write_png(path: str | os.PathLike[str], array: npt.ArrayLike) -> None:
    """Write an image as PNG.

    Args:
      path: the file to write; it appears whole or not at all.
      array: uint8 [H, W] grey, [H, W, 3] RGB or [H, W, 4] RGB and alpha; or uint16 [H, W].

    Raises:
      TypeError: another dtype.
      ValueError: another shape.
      OSError: the file cannot be written.

    Example:
      >>> write_png("wide.png", np.zeros((2, 2, 5), np.uint8))
      Traceback (most recent call last):
      ...
      ValueError: expected an image [H, W], [H, W, 3] or [H, W, 4], got uint8 (2, 2, 5)
    """
    import imageio.v3 as iio

    pixels = np.asarray(array)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"expected uint8 or uint16 pixels, got {pixels.dtype}")
    channels = pixels.shape[2:]
    depths = {(): (np.uint8, np.uint16), (3,): (np.uint8,), (4,): (np.uint8,)}
    if pixels.ndim < 2 or 0 in pixels.shape or pixels.dtype not in depths.get(channels, ()):
        raise ValueError(
            f"expected an image [H, W], [H, W, 3] or [H, W, 4], got {pixels.dtype} {pixels.shape}"
        )
    write_whole(path, iio.imwrite("<bytes>", pixels, extension=".png"))


def opened(image: Any, level: int) -> Any:
    """The image of a path; what is none as it is. Warnings are of the caller so many levels up."""
    if not isinstance(image, str | os.PathLike):
        return image
    (found,) = open_pages(image, None)
    tell_of_pages(found, stacklevel=level)  # where `segment` or `apply` is called
    return found
