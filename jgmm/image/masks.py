"""Which pixels of an image take part: a mask in a file of the image's size."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm.image.decoding import ImageError
from jgmm.image.files import read_image


def read_mask(path: str | os.PathLike[str]) -> npt.NDArray[np.bool_]:
    """Read a mask from an image file: what is black or transparent takes no part.

    Raises:
      ImageError: a file that cannot be read as an image, or in which nothing takes part.

    Example:
      >>> import tempfile
      >>> from jgmm.image import write_png
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_png(f"{folder}/mask.png", np.array([[0, 255, 255]], np.uint8))
      ...     read_mask(f"{folder}/mask.png").tolist()
      [[False, True, True]]
    """
    image = read_image(path, page=1)
    inside: Any = (image.pixels != 0).any(axis=-1)
    if image.alpha is not None:
        inside &= image.alpha
    if not inside.any():
        raise ImageError(f"expected a mask, got an image all transparent or black: {path}")
    return np.asarray(inside)
