"""Labels that people draw: scribbles of one colour for each segment, in a file of the image's size.

Draw them on an empty layer over the photograph and save that layer as PNG. What is transparent or
black is unknown. Each other colour is one segment: the first colour segment 0, and so on, in the
order of the grey values, of the palette, or of red, then green, then blue.
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm.image.decoding import ImageError
from jgmm.image.files import read_image
from jgmm.image.limits import pillow_limits

NdArray = npt.NDArray[Any]

_MOST = 1000  # colours; more are no scribbles


@dataclass(frozen=True, eq=False)
class Scribbles:
    """What somebody drew.

    Attributes:
      labels: [H, W] int32, -1 where nothing is known.
      colours: [L, C], the colour of each label as the file has it.
    """

    labels: NdArray
    colours: NdArray


def read_scribbles(path: str | os.PathLike[str]) -> Scribbles:
    """Read scribbles from an image file.

    Args:
      path: grey, with a palette, or in colour; with transparency or without.

    Raises:
      ImageError: a file that cannot be read as an image, has fractional values, no label, or so
        many colours that it must be something else.

    Example:
      >>> import tempfile
      >>> from jgmm.image import write_png
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_png(f"{folder}/labels.png", np.array([[0, 9, 9, 200]], np.uint8))
      ...     read_scribbles(f"{folder}/labels.png").labels.tolist()
      [[-1, 0, 0, 1]]
    """
    image = read_image(path, page=1)
    if image.pixels.dtype.kind == "f":
        raise ImageError(f"expected labels of whole numbers, got {image.pixels.dtype}: {path}")
    known = (image.pixels != 0).any(axis=-1)
    if image.alpha is not None:
        known &= image.alpha
    if not known.any():
        raise ImageError(f"expected labels, got an image all transparent or black: {path}")
    colours, inverse = np.unique(image.pixels[known], axis=0, return_inverse=True)
    if len(colours) > _MOST:
        raise ImageError(
            f"expected labels, one colour for each, got {len(colours):,} colours: {path}"
        )
    order = np.lexsort((*colours.T[::-1], _places(path, colours)))
    labels = np.full(known.shape, -1, np.int32)
    labels[known] = np.argsort(order)[inverse.reshape(-1)]
    return Scribbles(labels, colours[order])


def _places(path: str | os.PathLike[str], colours: NdArray) -> NdArray:
    """Where in the file's palette each colour [L, C] stands first; 0 for all without a palette."""
    import PIL.Image

    palette = None
    # The file has been read: what goes wrong now is that its format has no palette.
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pillow_limits(), PIL.Image.open(path) as file:
            palette = file.getpalette("RGB") if file.mode == "P" else None
    if palette is None or colours.shape[1] != 3:
        return np.zeros(len(colours), np.intp)
    table = np.array(palette).reshape(-1, 3)
    return np.array([np.flatnonzero((table == colour).all(axis=1))[0] for colour in colours])
