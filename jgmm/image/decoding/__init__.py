"""Image files decoded to arrays, with every bit that the file holds.

imageio's plugins for photographs and for TIFF rest on Pillow and tifffile, but leave out some of
what those know: depth beyond 8 bits, axes, alpha and orientation. So those two are used directly,
and imageio for whatever they do not read. Uses `jgmm.image.limits` and `jgmm.image.band_names`.
"""

from __future__ import annotations

from pathlib import Path

from jgmm.image.decoding.other import decode_other
from jgmm.image.decoding.pillow import TIFF_MAGIC as TIFF_MAGIC
from jgmm.image.decoding.pillow import Decoded, decode_pillow
from jgmm.image.decoding.pillow import ImageError as ImageError
from jgmm.image.decoding.pillow import of_pillow as of_pillow
from jgmm.image.decoding.tiff import decode_tiff


def decode(source: Path, head: bytes, page: int | None) -> Decoded:
    """Some pages of a file that starts with ``head``.

    Args:
        source: the file.
        head: its first bytes.
        page: from 1 on; 0 for all; None for the first, where pages without names may be bands.
    """
    import PIL

    if head[:4] in TIFF_MAGIC:
        return decode_tiff(source, head, page)
    try:
        return decode_pillow(source, head, page)
    except PIL.UnidentifiedImageError:
        return decode_other(source, head, page)
