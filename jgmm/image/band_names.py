"""What the bands of an image are called: as its file names them, or by number."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

COLOURS = ("red", "green", "blue")
_METADATA = 42112  # GDAL's tag
_ITEM = re.compile(r"<Item ([^<>]*)>([^<>]*)</Item>")
_LONGEST, _LONGEST_NAME = 1 << 20, 64  # characters


def names_in(page: Any) -> tuple[str, ...]:
    """The names that GDAL wrote of the samples of a page of tifffile; () where it wrote none.

    Signs that would make trouble in the head of a table are underscores; a band without a name
    among others is ``band_2`` or whichever it is.
    """
    tag = page.tags.get(_METADATA)
    n = int(page.samplesperpixel)
    if tag is None or not isinstance(tag.value, str) or len(tag.value) > _LONGEST:
        return ()
    found: dict[int, str] = {}
    for about, text in _ITEM.findall(tag.value):
        sample = re.search(r'sample="(\d{1,6})"', about)
        if sample is not None and 'role="description"' in about:
            found[int(sample[1])] = _plain(text)
    if not any(found.get(i) for i in range(n)):
        return ()
    return tuple(found.get(i) or f"band_{i + 1}" for i in range(n))


def _plain(text: str) -> str:
    """A name of letters, digits, dots and hyphens, which begins and ends with one of the first two.

    Example:
        >>> _plain("B2, &amp;quot;blue&amp;quot;"), _plain("=1+1")
        ('B2_blue', '1_1')
    """
    spelt = html.unescape(html.unescape(text))  # GDAL escapes twice
    return re.sub(r"[^\w.-]+", "_", spelt[: 8 * _LONGEST_NAME]).strip("_.-")[:_LONGEST_NAME]


def names_of(channels: int, given: Sequence[str] = ()) -> tuple[str, ...]:
    """What each channel is called in tables.

    As it is given, if each has a name of its own; else red, green and blue of one or three, and by
    number of others.

    Example:
        >>> names_of(4), names_of(2, ["B8", "B4"]), names_of(2, ["B8", "B8"])
        (('band_1', 'band_2', 'band_3', 'band_4'), ('B8', 'B4'), ('band_1', 'band_2'))
    """
    if channels > 1 and len(given) == channels == len(set(given)):
        return tuple(given)
    if channels in (1, 3):
        return COLOURS
    return tuple(f"band_{i + 1}" for i in range(channels))
