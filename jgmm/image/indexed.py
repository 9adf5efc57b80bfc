"""Labels as an indexed PNG: the numbers of the segments, and the palette that they are shown in."""

from __future__ import annotations

import io
import os

import numpy as np
import numpy.typing as npt

from jgmm._atomic import write_whole

MOST_COLOURS = 256


def write_indexed_png(
    path: str | os.PathLike[str], labels: npt.ArrayLike, palette: npt.ArrayLike
) -> None:
    """Write labels as PNG with a palette: viewers show colours, and the numbers are still there.

    Pillow reads the numbers (`numpy.asarray(PIL.Image.open(path))`), as do GDAL and QGIS, which
    take the palette too. Labels below 0 have the number after the last of the palette, and are
    transparent.

    Args:
        path: the file to write; it appears whole or not at all.
        labels: [H, W] integers below the number of colours.
        palette: [K, 3] uint8, with what is left out at most 256 colours.

    Raises:
        ValueError: more colours, or labels without one.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile, PIL.Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_indexed_png(f"{folder}/a.png", [[0, 1]], [[0, 0, 255], [255, 0, 0]])
        ...     with PIL.Image.open(f"{folder}/a.png") as image:
        ...         image.mode, np.asarray(image).tolist(), image.convert("RGB").getpixel((1, 0))
        ('P', [[0, 1]], (255, 0, 0))
    """
    from PIL import Image

    numbers, colours = np.asarray(labels), np.asarray(palette)
    if numbers.ndim != 2 or 0 in numbers.shape or numbers.dtype.kind not in "iu":
        raise ValueError(f"labels: expected integers [H, W], got {numbers.dtype} {numbers.shape}")
    if colours.ndim != 2 or colours.shape[1] != 3:
        raise ValueError(f"palette: expected colours [K, 3], got shape {colours.shape}")
    k, left_out = len(colours), bool((numbers < 0).any())
    if k + left_out > MOST_COLOURS or numbers.max() >= k:
        raise ValueError(
            f"expected labels below {k}, and at most {MOST_COLOURS} colours with that for what is "
            f"left out; got {k + left_out} colours and labels up to {numbers.max()}"
        )
    image = Image.fromarray(np.where(numbers < 0, k, numbers).astype(np.uint8))
    image.putpalette(colours.astype(np.uint8).tobytes() + bytes(3 * left_out))
    options = {"transparency": bytes([255] * k + [0])} if left_out else {}
    drawn = io.BytesIO()
    image.save(drawn, format="PNG", optimize=False, **options)
    write_whole(path, drawn.getvalue())
