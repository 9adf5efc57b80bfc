"""Image files piece by piece: all pixels that take part, each once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from jgmm.image import ImageError, stream_files, write_png
from jgmm.image import sources as sources_module

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (70, 45, 3), np.uint8)
FLOATS = RNG.normal(size=(70, 45)).astype(np.float32)


def rows(paths: Any) -> Any:
    """All pixels that come, in an order of their own."""
    blocks = list(stream_files(paths).blocks())
    found = np.concatenate(blocks)
    return len(blocks), found[np.lexsort(found.T)]


def ordered(pixels: Any, channels: int) -> Any:
    flat = pixels.reshape(-1, channels)
    return flat[np.lexsort(flat.T)]


@pytest.mark.parametrize(
    ("options", "pieces"),
    [
        ({"tile": (32, 16)}, 9),
        ({"tile": (32, 32), "compression": "zlib", "predictor": True}, 6),
        ({"rowsperstrip": 8, "compression": "zlib"}, 9),
        ({"compression": "lzma", "bigtiff": True}, 1),
        ({}, 7),
        ({"byteorder": ">"}, 14),
        ({"planarconfig": "separate"}, 1),
    ],
)
def test_a_tiff_comes_in_pieces(
    options: dict[str, Any], pieces: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources_module, "_BYTES", 1400)
    pixels = RGB.astype(np.uint16) * 257 if "byteorder" in options else RGB
    planar = np.moveaxis(pixels, 2, 0) if "planarconfig" in options else pixels
    tifffile.imwrite(tmp_path / "a.tif", planar, photometric="rgb", **options)
    n, found = rows(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, ordered(pixels, 3))
    assert n == pieces


def test_all_pages_and_all_files(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "pages.tif") as file:
        for page in (RGB, RGB[:10]):
            file.write(page, tile=(16, 16), photometric="rgb")
    write_png(tmp_path / "b.png", RGB[:20])
    _, found = rows([tmp_path / "pages.tif", str(tmp_path / "b.png")])
    np.testing.assert_array_equal(found, ordered(np.concatenate([RGB, RGB[:10], RGB[:20]]), 3))


def test_what_takes_no_part_is_left_out(tmp_path: Path) -> None:
    floats = FLOATS.copy()
    floats[3, 4], floats[5, 6], floats[7] = np.nan, -9999, np.inf
    nodata = [(42113, "s", 0, "-9999", True)]
    tifffile.imwrite(tmp_path / "f.tif", floats, tile=(16, 16), extratags=nodata)
    _, found = rows(tmp_path / "f.tif")
    there = np.isfinite(floats) & (floats != -9999)
    np.testing.assert_array_equal(found, ordered(floats[there], 1))
    rgba = np.dstack([RGB, np.where(RGB[:, :, 0] > 99, 255, 0).astype(np.uint8)])
    tifffile.imwrite(
        tmp_path / "a.tif", rgba, tile=(16, 16), photometric="rgb", extrasamples=["unassalpha"]
    )
    _, found = rows(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, ordered(RGB[RGB[:, :, 0] > 99], 3))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    write_png(tmp_path / "rgb.png", RGB)
    write_png(tmp_path / "grey.png", RGB[:, :, 0])
    for paths, message in (
        ([tmp_path / "rgb.png", tmp_path / "grey.png"], "expected 3 channels as in .*rgb.png"),
        (tmp_path / "none.png", "cannot read .*none.png"),
        (Path(__file__), "cannot read|expected an image|not an image"),
    ):
        with pytest.raises(ImageError, match=message):
            list(stream_files(paths).blocks())
    with pytest.raises(ValueError, match="at least one file"):
        stream_files([])
    tifffile.imwrite(tmp_path / "cut.tif", RGB)
    content = (tmp_path / "cut.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[:-500])
    with pytest.raises(ImageError, match="cannot read .*cut.tif"):
        list(stream_files(tmp_path / "cut.tif").blocks())
