"""Pages of one file, segmented by one mixture that is fitted to all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jgmm.image.files import Image


def joined(pages: Sequence[Image]) -> Image:
    """All pixels of all pages as one image, of a single row where there are several.

    That is enough for a fit, as long as the features of a pixel are its own; labels are inferred
    page by page.

    Raises:
        ValueError: pages of different dtype or numbers of channels.

    Example:
        >>> from pathlib import Path
        >>> page = Image(np.zeros((4, 5, 3), np.uint8), None, Path("x.tif"))
        >>> joined([page, page]).pixels.shape
        (1, 40, 3)
    """
    first = pages[0]
    if len(pages) == 1:
        return first
    kinds = {(str(page.pixels.dtype), page.pixels.shape[2]) for page in pages}
    if len(kinds) > 1:
        found = ", ".join(f"{dtype} of {channels}" for dtype, channels in sorted(kinds))
        raise ValueError(f"expected pages of one dtype and number of channels, got {found}")
    pixels = [page.pixels.reshape(1, -1, page.pixels.shape[2]) for page in pages]
    parts = [
        np.ones((1, n.shape[1]), np.bool_) if page.alpha is None else page.alpha.reshape(1, -1)
        for n, page in zip(pixels, pages, strict=True)
    ]
    part = np.concatenate(parts, axis=1)
    return Image(
        pixels=np.concatenate(pixels, axis=1),
        alpha=None if part.all() else part,
        source=first.source,
        pages=first.pages,
    )
