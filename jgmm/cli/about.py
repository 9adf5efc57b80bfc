"""What is taken of a file, in words."""

from __future__ import annotations

from collections.abc import Sequence

from jgmm.image import geo
from jgmm.image.files import Image
from jgmm.image.samples import Samples


def taken(pages: Sequence[Image]) -> str:
    """Which pages of a file were taken, in words; nothing where it has one."""
    if len(pages) > 1:
        return f"all {len(pages)} pages"
    if pages[0].page_bands:
        return f"{pages[0].page_bands} pages as bands"
    return f"page {pages[0].page} of {pages[0].pages}" if pages[0].pages > 1 else ""


def page_folder(page: int, pages: Sequence[int]) -> str:
    """The folder of one of several pages."""
    return f"page_{page:0{len(str(pages[-1]))}d}"


def about_pages(pages: Sequence[Image], samples: Samples) -> str:
    """What is taken of the file, in words."""
    first = pages[0]
    height, width, channels = first.pixels.shape
    parts = [f"{width} x {height} pixels", "1 channel" if channels == 1 else f"{channels} channels"]
    if taken(pages):
        parts.insert(0, taken(pages))
    if samples.index is not None:
        colours = len(samples.features)
        parts.append(f"{colours:,} {'colour' if colours == 1 else 'colours'}")
    left_out = samples.mask.size - int(samples.mask.sum())
    if left_out:
        parts.append(f"{left_out:,} left out")
    if geo.is_georeferenced(first.source):
        advice = "" if geo.can_write() else " (pip install 'jgmm[geo]' for results that are, too)"
        parts.append(f"georeferenced{advice}")
    return ", ".join(parts)
