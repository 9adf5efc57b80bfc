"""Images that are segmented by one mixture, which is fitted to all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jgmm.image.colours import unique_colours
from jgmm.image.files import Image

NdArray = npt.NDArray[Any]


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
        band_names=first.band_names,
    )


@dataclasses.dataclass
class Pool:
    """The pixels of many images, given one after the other, of which none is kept.

    Of integers only the distinct colours are held, with their counts.

    Example:
        >>> pool = Pool()
        >>> for shape in ((4, 5, 3), (2, 2, 3)):
        ...     pool.add(Image(np.zeros(shape, np.uint8), None, Path("x.png")))
        >>> image, counts = pool.pooled()
        >>> image.pixels.tolist(), counts.tolist()
        ([[[0, 0, 0]]], [24])
    """

    images: int = 0  # so many were given
    _parts: list[tuple[NdArray, NdArray]] = dataclasses.field(default_factory=list)
    _merged: int = 0  # rows of the first part

    def add(self, image: Image) -> None:
        """Take the pixels of one more image.

        Raises:
            ValueError: an image of another dtype or number of channels than the first.
        """
        pixels = image.pixels
        if self._parts:
            first = self._parts[0][0]
            expected, found = (first.shape[1], first.dtype), (pixels.shape[2], pixels.dtype)
            if expected != found:
                raise ValueError(
                    f"expected {expected[0]} channels of {expected[1]}, as in the images before, "
                    f"got {found[0]} of {found[1]}"
                )
        flat = pixels[np.ones(pixels.shape[:2], np.bool_) if image.alpha is None else image.alpha]
        self._parts.append(_counted(flat, np.ones(len(flat), np.int64)))
        self.images += 1
        # Merged as often as that doubles them, so that each row is sorted a few times only.
        if sum(len(colours) for colours, _ in self._parts) > 2 * self._merged:
            self._merge()

    def pooled(self) -> tuple[Image, NdArray]:
        """All pixels as an image of one row, and how often each of its pixels counts [M].

        Raises:
            ValueError: no pixel was given that takes part.
        """
        self._merge()
        ((colours, counts),) = self._parts or [(np.zeros((0, 1), np.uint8), np.zeros(0))]
        if len(colours) == 0:
            raise ValueError("expected pixels that take part, got none in any image")
        return Image(colours[None], None, Path("all images")), counts

    def _merge(self) -> None:
        if len(self._parts) > 1:
            colours, counts = (np.concatenate(part) for part in zip(*self._parts, strict=True))
            self._parts = [_counted(colours, counts)]
        self._merged = len(self._parts[0][0]) if self._parts else 0


def _counted(colours: NdArray, counts: NdArray) -> tuple[NdArray, NdArray]:
    """The distinct ones of integer colours [N, C], with their counts; others as they are."""
    if colours.dtype.kind not in "iu" or len(colours) == 0:
        return colours, counts
    distinct, index, _ = unique_colours(colours)
    return distinct, np.bincount(index, counts, len(distinct)).astype(np.int64)
