"""Any image as 8 bit red, green and blue, for files and figures that people look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

NdArray = npt.NDArray[Any]


def as_rgb(pixels: NdArray) -> NdArray:
    """Pixels [..., C] as [..., 3]: of many bands the first three, the first as grey otherwise."""
    if pixels.shape[-1] < 3:
        return np.repeat(pixels[..., :1], 3, axis=-1)
    return pixels[..., :3]


@dataclass(frozen=True)
class Display:
    """The values that are shown as black and as white; those beyond are cut off.

    An image and its segments are shown by one of these, so that their colours can be compared.
    """

    black: float
    white: float
    mask: NdArray | None = None  # [H, W] bool, False for pixels to be transparent

    def __call__(self, image: NdArray) -> NdArray:
        """An image [H, W, C] as uint8 [H, W, 3], or [H, W, 4] with alpha if there is a mask."""
        shown = as_rgb(image)
        if shown.dtype != np.uint8:
            unit = (shown.astype(np.float64) - self.black) / (self.white - self.black)
            # Pixels that are left out may be anything.
            shown = np.rint(255 * np.nan_to_num(np.clip(unit, 0, 1))).astype(np.uint8)
        if self.mask is None:
            return shown
        return np.dstack([shown, np.where(self.mask, 255, 0).astype(np.uint8)])


def display_of(pixels: NdArray, mask: NdArray | None = None) -> Display:
    """How to show an image.

    8 bit images are shown as they are. 16 bit images often hold 10, 12 or 14 bits: white is the
    largest value that has as many bits as the largest present. Floats within [0, 1] are
    shown as they are, others and signed integers between their 0.1th and 99.9th percentiles.

    Args:
      pixels: [H, W, C] uint8, uint16, signed or float.
      mask: [H, W] bool, False for pixels that are left out and shown transparent; None: none.

    Example:
      >>> display_of(np.array([[[0], [4000]]], np.uint16))
      Display(black=0.0, white=4095.0, mask=None)
    """
    if pixels.dtype == np.uint8:
        return Display(0.0, 255.0, mask)
    values = as_rgb(pixels) if mask is None else as_rgb(pixels[mask])
    low, high = float(values.min()), float(values.max())
    if pixels.dtype.kind == "u":
        return Display(0.0, float((1 << max(8, int(high).bit_length())) - 1), mask)
    if low >= 0 and high <= 1 and pixels.dtype.kind == "f":
        return Display(0.0, 1.0, mask)
    black, white = (float(v) for v in np.percentile(values.astype(np.float64), (0.1, 99.9)))
    if white <= black:
        black, white = low, max(high, low + 1, np.nextafter(low, np.inf))
    return Display(black, white, mask)
