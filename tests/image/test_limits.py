"""Files that claim more than may be read are refused before they are decoded."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
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
    with pytest.raises(ImageError, match=r"bomb\.png: expected at most 268,435,456 pixels, got"):
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
        with pytest.raises(ImageError, match="at most 99 pixels, got 100 .JGMM_MOST_PIXELS"):
            read_image(tmp_path / name)
    for wrong in ("x", "-1", "0", "1e9", ""):
        monkeypatch.setenv("JGMM_MOST_PIXELS", wrong)
        with pytest.raises(ImageError, match="JGMM_MOST_PIXELS: expected a number of pixels"):
            read_image(path)


def test_bands_and_pages_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JGMM_MOST_PIXELS", "100")
    bands = np.zeros((10, 10, 30), np.uint8)
    tifffile.imwrite(tmp_path / "b.tif", bands, photometric="minisblack", planarconfig="contig")
    with pytest.raises(ImageError, match="at most 1,600 bytes of pixels, got 3,000"):
        read_image(tmp_path / "b.tif")
    frames = [PIL.Image.new("L", (10, 10), i) for i in range(9)]
    frames[0].save(tmp_path / "f.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "f.gif", 1).pixels.shape[:2] == (10, 10)
    with pytest.raises(ImageError, match="at most 1,600 bytes of pixels, got 3,600"):
        read_pages(tmp_path / "f.gif")
    with tifffile.TiffWriter(tmp_path / "s.tif") as file:
        for size in (20, 30):
            file.write(np.zeros((size, size), np.uint8), photometric="minisblack")
    monkeypatch.setenv("JGMM_MOST_PIXELS", "1000")
    assert len(read_pages(tmp_path / "s.tif")) == 2
    monkeypatch.setattr("jgmm.image.limits._BYTES", 1)
    with pytest.raises(ImageError, match="at most 1,000 bytes of pixels, got 1,300"):
        read_pages(tmp_path / "s.tif")
    monkeypatch.setattr("jgmm.image.limits.MOST_PAGES", 3)
    tifffile.imwrite(tmp_path / "p.tif", np.zeros((5, 8, 8), np.uint8))
    with pytest.raises(ImageError, match="at most 3 pages, got 5"):
        read_image(tmp_path / "p.tif", 1)


def tiff_of(size: int, compression: int, content: bytes) -> bytes:
    """A grey TIFF of ``size`` rows and columns whose one strip is this."""
    entries = {256: size, 257: size, 258: 8, 259: compression, 262: 1}
    entries |= {273: 8, 277: 1, 278: size, 279: len(content)}
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    directory = struct.pack("<H", len(entries)) + tags + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + len(content)) + content + directory


@pytest.mark.parametrize(("compression", "pack"), [(8, zlib.compress), (34925, lzma.compress)])
def test_strips_that_unpack_to_more_than_they_say(
    compression: int, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400)).astype(np.uint8)
    path = tmp_path / "x.tif"
    path.write_bytes(tiff_of(400, compression, pack(noise.tobytes())))
    np.testing.assert_array_equal(read_image(path).pixels[:, :, 0], noise)
    path.write_bytes(tiff_of(16, compression, pack(noise.tobytes() + bytes(2**26))))
    with pytest.raises(ImageError, match="strips and tiles of 66,048 bytes at most, got more"):
        read_image(path)


def test_archives_that_unpack_to_more_than_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "x.npz", np.zeros((9, 9, 3), np.uint8))
    assert read_image(tmp_path / "x.npz").pixels.shape == (9, 9, 3)
    array = io.BytesIO()
    np.save(array, np.zeros(2000, np.uint8))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", array.getvalue())
    monkeypatch.setenv("JGMM_MOST_PIXELS", "100")
    monkeypatch.setattr("imageio.v3.improps", lambda *a, **o: pytest.fail("was unpacked"))
    with pytest.raises(ImageError, match="at most 1,600 bytes of pixels, got 2,128"):
        read_image(tmp_path / "bomb.npz")
    body = zlib.compress(bytes(1000))
    for head in (b"CWS\x08" + struct.pack("<I", 1000), b"BSDF\x02\x00"):
        (tmp_path / "flash.swf").write_bytes(head + body)
        with pytest.raises(ImageError, match="not an image"):
            read_image(tmp_path / "flash.swf")


def test_programs_are_not_run(tmp_path: Path) -> None:
    path = tmp_path / "x.eps"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(ImageError, match="expected pixels, got PostScript"):
        read_image(path)
