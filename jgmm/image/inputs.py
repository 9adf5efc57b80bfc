"""Whatever a caller has for an image, as an `Image`: arrays, masked arrays, Pillow's images."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jax.typing import ArrayLike

from jgmm.image.decoding import of_pillow
from jgmm.image.files import Image, finish, plain_integers

NdArray = npt.NDArray[Any]
_NOWHERE = Path("image")


def as_image(
    image: Any,
    *,
    mask: ArrayLike | None = None,
    alpha: bool | None = None,
    bands: int | bool = False,
) -> Image:
    """An image and which of its pixels take part.

    Args:
        image: an `Image`; an image of Pillow; or an array [H, W] or [H, W, C]. What a masked array
            masks takes no part.
        mask: [H, W] bool or integers, True or not 0 where pixels take part; None for all.
        alpha: whether the last channel of an array is transparency. None where that is clear.
        bands: how many channels are no transparency, or True where any number are.

    Raises:
        TypeError: values that no image has, a mask that is neither boolean nor integers.
        ValueError: another shape, or channels that may be one thing or the other.

    Example:
        >>> image = as_image(np.zeros((2, 3, 4), np.uint8), alpha=True)
        >>> image.pixels.shape, image.alpha.any()
        ((2, 3, 3), np.False_)
    """
    found = _read(image, alpha, bands)
    if mask is None:
        return found
    part = np.asarray(mask)
    shape = found.pixels.shape[:2]
    if part.dtype.kind not in "biu":
        raise TypeError(f"mask: expected booleans or integers, got {part.dtype}")
    if part.shape != shape:
        raise ValueError(f"mask: expected shape {shape} of the image, got {part.shape}")
    part = part != 0
    if found.alpha is not None:
        part &= found.alpha
    if not part.any():
        raise ValueError("mask: expected pixels that take part, got none")
    return dataclasses.replace(found, alpha=None if part.all() else part)


def _read(image: Any, alpha: bool | None, bands: int | bool) -> Image:
    pillow: Any = sys.modules.get("PIL.Image")  # whose images exist only where it is loaded
    is_pillow = pillow is not None and isinstance(image, pillow.Image)
    if isinstance(image, Image) or is_pillow:
        if alpha is not None:
            raise ValueError("alpha: expected none with an image that says itself what it has")
        return image if isinstance(image, Image) else Image(*finish(*of_pillow(image)), _NOWHERE)
    left_out: NdArray | None = None
    if isinstance(image, np.ma.MaskedArray):
        left_out, image = np.ma.getmaskarray(image), image.data
    array = np.asarray(image)
    pixels = array[:, :, None] if array.ndim == 2 else array
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise ValueError(f"expected an image [H, W] or [H, W, C], got shape {array.shape}")
    pixels = _values(pixels)
    part: NdArray | None = None
    if left_out is not None:
        part = np.asarray(~left_out.reshape(*pixels.shape[:2], -1).any(axis=2))
    if _has_alpha(pixels, alpha, bands):
        clear = np.asarray(pixels[:, :, -1] != 0)
        pixels, part = pixels[:, :, :-1], clear if part is None else part & clear
    return Image(pixels, None if part is None or part.all() else part, _NOWHERE)


def _values(pixels: NdArray) -> NdArray:
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind in "iu":
        return plain_integers(pixels)
    if pixels.dtype.kind != "f":
        raise TypeError(f"expected integer or floating point pixels, got {pixels.dtype}")
    return pixels


def _has_alpha(pixels: NdArray, alpha: bool | None, bands: int | bool) -> bool:
    """Whether the last channel is transparency; refuses what may be one thing or the other."""
    height, width, n = pixels.shape
    if alpha is not None:
        if alpha and n == 1:
            raise ValueError("alpha: expected at least 2 channels, the last transparency, got 1")
        return alpha
    if bands is True or n == bands:
        return False
    if bands and n == bands + 1:
        return True
    if n in (2, 4):
        what = "grey" if n == 2 else "red, green, blue"
        raise ValueError(
            f"{n} channels may be {what} and transparency, or {n} bands: expected alpha=True "
            "or alpha=False, which says so"
        )
    if height in (3, 4) and min(width, n) > 16:
        raise ValueError(
            f"expected an image [H, W, C], got shape {pixels.shape}, which looks like [C, H, W]: "
            "pass np.moveaxis(image, 0, -1), or features='bands' if it is none"
        )
    return False
