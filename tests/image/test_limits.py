"""Files that claim more than may be read are refused before they are decoded."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from jgmm.image import ImageError, read_image, read_pages


def png_of(width: int, height: int) -> bytes:
    """A PNG of few bytes that claims to be so large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("size", [(2**14, 2**14 + 1), (2**15, 2**15), (2**31 - 1, 2**31 - 1)])
def test_a_bomb(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(*size))
    with pytest.raises(ImageError, match=r"bomb\.png: has more than 268,435,456 pixels"):
        read_image(path)


def test_the_limit_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    PIL.Image.new("RGB", (10, 10)).save(path)
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((10, 10, 3), np.uint8))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1)  # Pillow's own is of no account
    assert read_image(path).pixels.shape == (10, 10, 3)
    assert PIL.Image.MAX_IMAGE_PIXELS == 1
    monkeypatch.setenv("JGMM_MOST_PIXELS", "99")
    for name in ("x.png", "x.tif"):
        with pytest.raises(ImageError, match="has more than 99 pixels .JGMM_MOST_PIXELS"):
            read_image(tmp_path / name)
    for wrong in ("x", "-1", "0", "1e9", ""):
        monkeypatch.setenv("JGMM_MOST_PIXELS", wrong)
        with pytest.raises(ImageError, match="JGMM_MOST_PIXELS: expected a number of pixels"):
            read_image(path)


def test_bands_and_pages_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JGMM_MOST_PIXELS", "100")
    bands = np.zeros((10, 10, 30), np.uint8)
    tifffile.imwrite(tmp_path / "b.tif", bands, photometric="minisblack", planarconfig="contig")
    with pytest.raises(ImageError, match="more than 1,600 bytes of pixels"):
        read_image(tmp_path / "b.tif")
    frames = [PIL.Image.new("L", (10, 10), i) for i in range(9)]
    frames[0].save(tmp_path / "f.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "f.gif", 1).pixels.shape[:2] == (10, 10)
    with pytest.raises(ImageError, match="more than 1,600 bytes of pixels"):
        read_pages(tmp_path / "f.gif")
    monkeypatch.setattr("jgmm.image.limits.MOST_PAGES", 3)
    tifffile.imwrite(tmp_path / "p.tif", np.zeros((5, 8, 8), np.uint8))
    with pytest.raises(ImageError, match="more than 3 pages"):
        read_image(tmp_path / "p.tif", 1)
