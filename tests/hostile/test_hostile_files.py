"""Image files that are damaged, cut, spliced, or that lie about what is in them."""

from __future__ import annotations

import dataclasses
import io
import os
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import PIL.Image
import pytest
import tifffile
from budget import cases
from hypothesis import strategies as st
from oracles import run

from jgmm.cli.options import Options, scribbles_for
from jgmm.image import Image

pytestmark = pytest.mark.usefixtures("plain_process")

RGB = (np.arange(7 * 9 * 3).reshape(7, 9, 3) * 5 % 251).astype(np.uint8)
TAGS = [256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 338, 339, 42113]


def by_pillow(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(RGB).convert(mode).save(file, kind, **options)
    return file.getvalue()


def by_tifffile(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def by_numpy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, array)
    return file.getvalue()


def seeds() -> dict[str, bytes]:
    """A whole file of each kind."""
    frames = [PIL.Image.fromarray(RGB[::step]) for step in (1, -1)]
    deep = RGB.astype(np.uint16) * 257
    return {
        "png": by_pillow("PNG"),
        "palette.png": by_pillow("PNG", "P"),
        "alpha.png": by_pillow("PNG", "RGBA"),
        "bits.png": by_pillow("PNG", "1"),
        "jpg": by_pillow("JPEG"),
        "gif": by_pillow("GIF", "P", save_all=True, append_images=frames),
        "bmp": by_pillow("BMP"),
        "webp": by_pillow("WEBP"),
        "ppm": by_pillow("PPM"),
        "tga": by_pillow("TGA"),
        "jp2": by_pillow("JPEG2000"),
        "ico": by_pillow("ICO"),
        "pcx": by_pillow("PCX"),
        "dds": by_pillow("DDS"),
        "sgi": by_pillow("SGI"),
        "icns": by_pillow("ICNS"),
        "mpo": by_pillow("MPO"),
        "eps": by_pillow("EPS"),
        "npz": by_numpy(RGB),
        "pillow.tif": by_pillow("TIFF", compression="tiff_deflate"),
        "rgb.tif": by_tifffile(RGB, photometric="rgb"),
        "deep.tif": by_tifffile(deep, photometric="rgb", planarconfig="separate"),
        "float.tif": by_tifffile(RGB[..., 0].astype(np.float32) / 7, compression="zlib"),
        "lzma.tif": by_tifffile(deep, photometric="rgb", compression="lzma"),
        "stack.tif": by_tifffile(np.stack([RGB, RGB]), photometric="rgb"),
        "big.tif": by_tifffile(RGB[..., :2].astype(np.int16), bigtiff=True),
    }


SEEDS = seeds()
NUMBERS = [0, 1, 2, 3, 7, 8, 16, 255, 256, 65_535, 2**31 - 1, 2**31, 2**32 - 1]


@dataclasses.dataclass(frozen=True)
class Case:
    """How a file is made; what hypothesis shows of a failure is all there is to know."""

    seed: str
    changes: tuple[tuple[str, int, int], ...] = ()
    other: str = "png"
    name: str = "x.png"
    arguments: tuple[str, ...] = ()

    def content(self) -> bytes:
        """The bytes of the file."""
        data = bytearray(SEEDS[self.seed])
        for kind, place, value in self.changes:
            at = place % max(len(data), 1)
            if kind == "flip" and data:
                data[at] ^= 1 << value % 8
            elif kind == "set" and data:
                data[at] = value % 256
            elif kind == "cut":
                del data[at:]
            elif kind == "drop":
                del data[at : at + value % 16]
            elif kind == "repeat":
                data[at:at] = data[at : at + value % 64]
            elif kind == "splice":
                other = SEEDS[self.other]
                data[at:] = other[value % len(other) :]
            elif kind == "header":
                lie(data, place, value)
        return bytes(data)


def lie(data: bytearray, place: int, value: int) -> None:
    """Another size, depth or count in the header, with checksums that fit."""
    number = NUMBERS[value % len(NUMBERS)]
    if data[:4] == b"\x89PNG" and len(data) >= 33:
        if place % 5 < 2:
            data[16 + 4 * (place % 2) : 20 + 4 * (place % 2)] = struct.pack(">I", number)
        else:
            data[22 + place % 5] = number % 256
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif data[:4] in (b"II*\0", b"MM\0*") and len(data) > 8:
        order = "<" if data[:2] == b"II" else ">"
        tag = struct.pack(order + "H", TAGS[place % len(TAGS)])
        at = data.find(tag, 8)
        while at >= 0 and data[at + 2 : at + 4] not in (
            struct.pack(order + "H", 3),
            struct.pack(order + "H", 4),
        ):
            at = data.find(tag, at + 1)
        if 0 <= at <= len(data) - 12:
            data[at + 4 + 4 * (place % 2) : at + 8 + 4 * (place % 2)] = struct.pack(
                order + "I", number
            )
    elif data[:2] == b"BM" and len(data) > 30:
        data[18 + 4 * (place % 2) : 22 + 4 * (place % 2)] = struct.pack("<I", number)
    elif data[:3] == b"GIF" and len(data) > 10:
        data[6 + 2 * (place % 2) : 8 + 2 * (place % 2)] = struct.pack("<H", number % 65_536)
    elif data[:2] == b"\xff\xd8" and (at := data.find(b"\xff\xc0")) >= 0:
        data[at + 5 + 2 * (place % 2) : at + 7 + 2 * (place % 2)] = struct.pack(
            ">H", number % 65_536
        )
    elif data:
        data[place % len(data)] = number % 256


CHANGES = st.tuples(
    st.sampled_from(["flip", "set", "cut", "drop", "repeat", "splice", "header", "header"]),
    st.integers(0, 10**4),
    st.integers(0, 10**4),
)
CASES = st.builds(
    Case,
    seed=st.sampled_from(sorted(SEEDS)),
    changes=st.lists(CHANGES, max_size=4).map(tuple),
    other=st.sampled_from(sorted(SEEDS)),
    name=st.sampled_from(["x.png", "x.tif", "x", "x.jpg", "x.npz", "x.mp4", "x.svg"]),
    arguments=st.sampled_from(
        [
            (),
            (),
            ("--page", "1"),
            ("--page", "2"),
            ("--stack",),
            ("--labels", "IT"),
            ("--mask", "IT"),
        ]
    ),
)


def looked_at(pages: Sequence[Image], folder: Path, options: Options, *rest: Any) -> Any:
    """In the place of the work: what was read is an image."""
    if options.labels is not None:
        scribbles_for(options, pages[0])
    for page in pages:
        assert page.pixels.ndim == 3
        assert page.pixels.size > 0
        assert page.pixels.dtype.kind in "iuf"
        assert page.pixels.dtype.isnative
        assert np.isfinite(page.pixels).all()
        if page.alpha is not None:
            assert page.alpha.shape == page.pixels.shape[:2]
            assert page.alpha.dtype == np.bool_
    return {"fits": [], "chosen_k": None, "chosen_from": []}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@hypothesis.given(CASES)
@cases("files")
def test_files_of_any_bytes(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    check(case, place, capsys, monkeypatch)


def check(
    case: Case, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JGMM_MOST_PIXELS", "4000000")
    monkeypatch.setattr("jgmm.cli.running.segment_job", looked_at)
    path = place / case.name
    it = os.fspath(path)
    arguments = [it if argument == "IT" else argument for argument in case.arguments]
    path.write_bytes(case.content())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # of files that decoders leave open
            run(
                ["segment", it, "-k", "2", "-q", "-o", os.fspath(place / "out"), *arguments], capsys
            )
    finally:
        path.unlink()
    assert [p.name for p in place.iterdir()] == []
