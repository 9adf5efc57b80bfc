"""How much is read from image files, which may come from strangers.

A file of a few bytes can claim any size. More than the limits is refused before it is decoded.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MOST_PIXELS = 2**28  # of an image, unless JGMM_MOST_PIXELS says otherwise
MOST_PAGES = 10_000  # of a file
_BYTES = 16  # decoded, of all pages that are read: for each of as many pixels
_TEXT, _ALL_TEXT = 2**20, 2**26  # bytes of a piece of text in a PNG, and of all


class LimitError(ValueError):
    """A file that holds more than may be read."""


_setting = threading.RLock()


def most_pixels() -> int:
    """How many pixels an image may have.

    Raises:
      LimitError: JGMM_MOST_PIXELS is no number of pixels.

    Example:
      >>> most_pixels()
      268435456
    """
    given = os.environ.get("JGMM_MOST_PIXELS")
    if given is None:
        return MOST_PIXELS
    if not (given.isascii() and given.isdigit() and 1 <= len(given) <= 15 and int(given)):
        raise LimitError(f"JGMM_MOST_PIXELS: expected a number of pixels, got {given!r}")
    return int(given)


def refuse_large(width: int, height: int, n_bytes: int = 0, n_pages: int = 1) -> None:
    """Raise a LimitError for an image of more pixels, or pages of more bytes, than there may be.

    Example:
      >>> refuse_large(10**5, 10**5)
      Traceback (most recent call last):
      ...
      jgmm.image.limits.LimitError: expected at most 268,435,456 pixels, got 10,000,000,000 \
(JGMM_MOST_PIXELS takes others)
    """
    most = most_pixels()
    for got, limit, what, how in (
        (width * height, most, "pixels", " (JGMM_MOST_PIXELS takes others)"),
        (n_bytes, _BYTES * most, "bytes of pixels", " (JGMM_MOST_PIXELS takes others)"),
        (n_pages, MOST_PAGES, "pages", ""),
    ):
        if got > limit:
            raise LimitError(f"expected at most {limit:,} {what}, got {got:,}{how}")


@contextmanager
def pillow_limits() -> Iterator[None]:
    """Pillow under our limits, whatever the process has set; its settings are global."""
    import PIL.Image
    import PIL.ImageFile
    import PIL.PngImagePlugin

    ours: list[tuple[Any, str, Any]] = [
        (PIL.Image, "MAX_IMAGE_PIXELS", most_pixels()),  # errors from twice as many on
        (PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", False),
        (PIL.PngImagePlugin, "MAX_TEXT_CHUNK", _TEXT),
        (PIL.PngImagePlugin, "MAX_TEXT_MEMORY", _ALL_TEXT),
    ]
    with _setting:
        before = [(module, name, getattr(module, name)) for module, name, _ in ours]
        try:
            for module, name, value in ours:
                setattr(module, name, value)
            yield
        finally:
            for module, name, value in before:
                setattr(module, name, value)
