"""What neither Pillow nor tifffile knows, by other plugins of imageio."""

from __future__ import annotations

import math
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jgmm.image.decoding.pillow import Decoded, ImageError, wanted
from jgmm.image.limits import LimitError, refuse_large

# Flash and BSDF: what they hold is packed, and imageio unpacks all of it to see how much it is.
_UNBOUNDED = (b"CWS", b"FWS", b"ZWS", b"BSDF")


def decode_other(source: Path, head: bytes, page: int | None) -> Decoded:
    """Decode what only other plugins know; see `jgmm.image.decoding.decode`."""
    import imageio.v3 as iio

    try:
        with source.open("rb") as file:  # plugins that fail leave files open
            _refuse_packed(file, head)
            hint: Any = source.suffix or None
            every: Any = ...  # index of all, which the types do not know
            total, size = 1, 0
            with suppress(Exception):  # not every plugin counts
                about = iio.improps(file, index=every, extension=hint)
                total = int(about.n_images or 1)
                size = math.prod(about.shape) * about.dtype.itemsize
            refuse_large(1, 1, size, total)
            pages: list[tuple[Any, Any]] = []
            for i in wanted(page, total, source):
                file.seek(0)
                pages.append((np.asarray(iio.imread(file, index=i, extension=hint)), None))
            return Decoded(pages, total)
    except (ImageError, LimitError):
        raise
    except Exception:
        raise ImageError(f"not an image: {source}") from None


def _refuse_packed(file: BinaryIO, head: bytes) -> None:
    """Refuse what would take more memory than it may before its size is known."""
    if head.startswith(_UNBOUNDED):
        raise ValueError("expected an image, got a container of another kind")
    if zipfile.is_zipfile(file):  # NumPy's .npz; no more is unpacked than is listed
        with zipfile.ZipFile(file) as archive:
            refuse_large(1, 1, sum(part.file_size for part in archive.infolist()))
    file.seek(0)
