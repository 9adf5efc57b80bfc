from __future__ import annotations

import importlib.util
import os
import stat
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from jgmm._atomic import write_whole
from jgmm.image.files import ImageError, read_image, read_pages, sample_image, write_png

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 17, 3)).astype(np.uint8)
RGBA = np.dstack([RGB, np.where(RGB[..., 0] < 80, 0, RGB[..., 1] | 1)]).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (12, 17, 4)).astype(np.uint16)
DEEP[:3, :3, 3] = 0


@pytest.fixture
def photographs() -> Path:
    folder = Path(__file__).parents[2] / "../shared/data"
    if not folder.is_dir():
        pytest.skip("the shared photographs are not here")
    return folder


def png(array: np.ndarray[Any, Any], interlaced: bool = False) -> bytes:
    """A 16 bit PNG written out by hand, without filters."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    adam7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
    passes = (*adam7, (0, 1, 1, 2)) if interlaced else ((0, 0, 1, 1),)
    data = b""
    for x, y, dx, dy in passes:
        part = array[y::dy, x::dx].astype(">u2")
        data += b"".join(b"\0" + row.tobytes() for row in part if row.size)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[array.shape[2]]
    head = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, kind, 0, 0, interlaced)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


# Reading


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("interlaced", [False, True])
def test_16_bit_png_keeps_every_bit(channels: int, interlaced: bool, tmp_path: Path) -> None:
    array = DEEP[:, :, 4 - channels :]
    (tmp_path / "a.png").write_bytes(png(array, interlaced))
    image = read_image(tmp_path / "a.png")
    colours = array[:, :, :-1] if channels in (2, 4) else array
    np.testing.assert_array_equal(image.pixels, colours)
    assert image.pixels.dtype == np.uint16
    if channels in (2, 4):
        assert image.alpha is not None
        np.testing.assert_array_equal(image.alpha, array[:, :, -1] > 0)
    else:
        assert image.alpha is None


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        (np.uint8, (9, 8)),
        (np.uint16, (9, 8)),
        (np.uint8, (9, 8, 3)),
        (np.uint8, (9, 8, 4)),
        (np.uint8, (1, 1, 3)),
    ],
)
def test_png_round_trip(dtype: type, shape: tuple[int, ...], tmp_path: Path) -> None:
    array = RNG.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    write_png(tmp_path / "a.png", array)
    image = read_image(tmp_path / "a.png")
    full = array.reshape(*shape[:2], -1)
    has_alpha = full.shape[2] in (2, 4)
    np.testing.assert_array_equal(image.pixels, full[:, :, :-1] if has_alpha else full)
    assert image.pixels.dtype == dtype
    assert image.source == tmp_path / "a.png"


def test_written_png_reads_the_same_by_pillow(tmp_path: Path) -> None:
    smooth = np.cumsum(np.ones((200, 90, 3), np.uint8), axis=1, dtype=np.uint8)
    write_png(tmp_path / "a.png", smooth)
    with Image.open(tmp_path / "a.png") as image:
        image.verify()
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), smooth)
    assert (tmp_path / "a.png").stat().st_size < smooth.nbytes / 50


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "bmp"])
def test_8_bit_colour_without_loss(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / f"a.{suffix}", lossless=True)
    image = read_image(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(image.pixels, RGB)
    assert image.alpha is None


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_alpha_0_is_left_out(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(RGBA).save(tmp_path / f"a.{suffix}", lossless=True, exact=True)
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.alpha is not None
    np.testing.assert_array_equal(image.alpha, RGBA[:, :, 3] > 0)
    np.testing.assert_array_equal(image.pixels, RGB)


def test_other_modes(tmp_path: Path) -> None:
    rgb = Image.fromarray(RGB)
    bits = rgb.convert("1")
    for name, image, expected in [
        ("bits.png", bits, np.asarray(bits)[:, :, None] * np.uint8(255)),
        ("bits.tif", bits, np.asarray(bits)[:, :, None] * np.uint8(255)),
        ("grey.png", rgb.convert("L"), np.asarray(rgb.convert("L"))[:, :, None]),
        ("palette.png", rgb.quantize(9), np.asarray(rgb.quantize(9).convert("RGB"))),
        ("palette.tif", rgb.quantize(9), np.asarray(rgb.quantize(9).convert("RGB"))),
        ("palette.gif", rgb.quantize(9), np.asarray(rgb.quantize(9).convert("RGB"))),
    ]:
        image.save(tmp_path / name)
        got = read_image(tmp_path / name)
        np.testing.assert_array_equal(got.pixels, expected, err_msg=name)
        assert got.alpha is None


def test_transparent_palette_and_key_colour(tmp_path: Path) -> None:
    two = Image.fromarray(np.array([[0, 1, 1], [1, 0, 1]], np.uint8))
    palette = two.copy()
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.save(tmp_path / "a.png", transparency=0)
    palette.save(tmp_path / "a.gif", transparency=0)
    two.save(tmp_path / "grey.png", transparency=0)
    two.convert("RGB").save(tmp_path / "rgb.png", transparency=(0, 0, 0))
    for name in ("a.png", "a.gif", "grey.png", "rgb.png"):
        image = read_image(tmp_path / name)
        assert image.alpha is not None
        assert image.alpha.tolist() == [[False, True, True], [True, False, True]]
        assert image.pixels[0, 1, 0] == (200 if name[0] == "a" else 1)


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    red, green, blue = read_image(tmp_path / "a.jpg").pixels[4, 4]
    assert red > 240
    assert max(green, blue) < 15


def test_first_frame_of_several(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 5), colour) for colour in ("red", "blue")]
    for suffix in ("gif", "webp", "tif", "png"):
        options = {"lossless": True} if suffix == "webp" else {}
        target = tmp_path / f"a.{suffix}"
        frames[0].save(target, save_all=True, append_images=frames[1:], **options)
        with pytest.warns(UserWarning, match="has 2 pages, of which the first is taken"):
            assert read_image(target).pixels[2, 2].tolist() == [255, 0, 0]
        assert read_image(target, page=2).pixels[2, 2].tolist() == [0, 0, 255]
        pages = read_pages(target)
        assert [(page.page, page.pages) for page in pages] == [(1, 2), (2, 2)]
        assert [int(page.pixels[2, 2, 0]) for page in pages] == [255, 0]
        with pytest.raises(ImageError, match="page: expected a number from 1 to 2, got 3"):
            read_image(target, page=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for suffix in ("png", "webp", "tif"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(RGB).save(path, exif=exif, lossless=True)
        with Image.open(path) as image:
            expected = np.asarray(ImageOps.exif_transpose(image))
        np.testing.assert_array_equal(read_image(path).pixels, expected)


# TIFF


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("bands", [2, 3, 5])
def test_tiff_bands(dtype: type, planar: str, bands: int, tmp_path: Path) -> None:
    array = (RNG.random((7, 8, bands)) * 255).astype(dtype)
    stored = array if planar == "contig" else np.moveaxis(array, 2, 0)
    options: dict[str, Any] = {"photometric": "minisblack", "planarconfig": planar}
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, array)
    assert image.pixels.dtype == dtype
    assert image.alpha is None


def test_no_file_is_read_but_the_one_that_was_given(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    ours, theirs = RNG.integers(0, 256, (2, 20, 30)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "theirs.ome.tif", theirs, photometric="minisblack")
    planes = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{z}</UUID>'
        "</TiffData>"
        for z, name in enumerate(["a.ome.tif", "../theirs.ome.tif"])
    )
    about = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        'UUID="urn:uuid:0"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
        'Type="uint8" SizeX="30" SizeY="20" SizeC="1" SizeZ="2" SizeT="1">'
        f"{planes}</Pixels></Image></OME>"
    )
    path = tmp_path / "open" / "a.ome.tif"
    tifffile.imwrite(path, ours, photometric="minisblack", metadata=None, description=about)
    assert len(tifffile.imread(path)) == 2  # left to itself it reads both
    (page,) = read_pages(path)
    np.testing.assert_array_equal(page.pixels[..., 0], ours)


def test_tiff_axes_that_the_file_does_not_name(tmp_path: Path) -> None:
    array = RNG.random((20, 30, 5)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    found = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(found.pixels, array)
    assert found.page_bands == 0
    for shape in (20, 30, 5), (2, 30, 5):  # fewer rows than bands too
        stored = np.moveaxis(array[: shape[0]], 2, 0)
        tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack")
        with pytest.warns(UserWarning, match="has 5 pages without names, taken as bands") as told:
            found = read_image(tmp_path / "a.tif")
        assert told[0].filename == __file__
        np.testing.assert_array_equal(found.pixels, array[: shape[0]])
        assert found.page_bands == 5
    tifffile.imwrite(tmp_path / "a.tif", array[..., 0])
    assert read_image(tmp_path / "a.tif").pixels.shape == (20, 30, 1)


def test_tiff_channels_and_stacks(tmp_path: Path) -> None:
    stack = RNG.integers(0, 9, (4, 3, 20, 30)).astype(np.uint16)
    meta: dict[str, Any] = {"photometric": "minisblack", "metadata": {"axes": "ZCYX"}}
    tifffile.imwrite(tmp_path / "a.tif", stack, **meta)
    expected = np.moveaxis(stack, 1, 3)
    for i, page in enumerate(read_pages(tmp_path / "a.tif")):
        np.testing.assert_array_equal(page.pixels, expected[i])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", page=3).pixels, expected[2])
    # Of pages that nothing names it is for the reader to say what they are.
    tifffile.imwrite(tmp_path / "b.tif", stack[:, 0], photometric="minisblack")
    with pytest.warns(UserWarning, match="4 pages without names"):
        assert read_image(tmp_path / "b.tif").pixels.shape == (20, 30, 4)
    again = read_image(tmp_path / "b.tif", page=3)
    assert (again.pixels.shape, again.pages) == ((20, 30, 1), 4)
    np.testing.assert_array_equal(again.pixels[..., 0], stack[2, 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_alpha(dtype: type, tmp_path: Path) -> None:
    array = (RNG.random((7, 8, 4)) * 255).astype(dtype)
    array[2, 3, 3] = 0
    array[..., 3][array[..., 3] == 0] = 1
    array[2, 3, 3] = 0
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, array[..., :3])
    assert image.alpha is not None
    assert np.argwhere(~image.alpha).tolist() == [[2, 3]]


def test_tiff_that_is_white_at_zero(tmp_path: Path) -> None:
    array = np.array([[0, 1, 255]], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite")
    assert read_image(tmp_path / "a.tif").pixels[..., 0].tolist() == [[255, 254, 0]]


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_deflate"])
def test_compressed_tiff(compression: str, tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, RGB)
    deep = DEEP[:, :, 0]
    Image.fromarray(deep).save(tmp_path / "b.tif", compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif").pixels[..., 0], deep)


def lzw(data: bytes) -> bytes:
    """Valid LZW that compresses nothing: 9 bit codes, the table cleared before it grows."""
    codes = []
    for start in range(0, len(data), 200):
        codes += [256, *data[start : start + 200]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bands", [1, 3, 4, 5])
def test_deep_lzw_tiff_is_exact_or_refused(order: str, bands: int, tmp_path: Path) -> None:
    array = np.concatenate([DEEP, DEEP[..., :1]], axis=2)[..., :bands]
    options: dict[str, Any] = {"photometric": "rgb" if bands in (3, 4) else "minisblack"}
    if bands > 1:
        options["planarconfig"] = "contig"
    tifffile.imwrite(
        tmp_path / "a.tif",
        iter([lzw(np.ascontiguousarray(array.astype(order + "u2")).tobytes())]),
        shape=array.shape if bands > 1 else array.shape[:2],
        dtype=np.uint16,
        byteorder=order,  # type: ignore[arg-type]
        compression="zlib",
        rowsperstrip=len(array),
        **options,
    )
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages[0].tags["Compression"].overwrite(5)  # what it really is
    if bands == 5 and not importlib.util.find_spec("imagecodecs"):
        with pytest.raises(ImageError, match="compressed by LZW, needs the package imagecodecs"):
            read_image(tmp_path / "a.tif")
    else:
        image = read_image(tmp_path / "a.tif")
        np.testing.assert_array_equal(image.pixels, array[..., :3] if bands == 4 else array)


def test_values_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    array = np.ones((3, 4, 2), np.float64)
    array[0, 1, 1], array[2, 2, 0] = np.nan, np.inf
    options: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    image = read_image(tmp_path / "a.tif")
    assert image.pixels.dtype == np.float32
    assert np.isfinite(image.pixels).all()
    assert image.alpha is not None
    assert np.argwhere(~image.alpha).tolist() == [[0, 1], [2, 2]]


def test_integers_that_are_no_intensities_keep_their_values(tmp_path: Path) -> None:
    for given, kept in (
        ("int8", "int16"),
        ("int16", "int16"),
        ("int32", "int32"),
        (">i2", "int16"),
    ):
        array = np.array([[-100, 0, 100]], given)
        tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
        image = read_image(tmp_path / "a.tif")
        assert image.pixels.dtype == kept
        np.testing.assert_array_equal(image.pixels[..., 0], array)
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 2**31]], np.uint32))
    with pytest.raises(ImageError, match="integers of 32 bits, got 0 to 2147483648; save it as"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("i2", "-9999"), ("f4", "-3.4028234663852886e+38"), ("u1", "0")]
)
def test_what_is_no_data_is_left_out(dtype: str, nodata: str, tmp_path: Path) -> None:
    array = np.arange(1, 25).reshape(3, 4, 2).astype(dtype)
    array[0, 1] = np.array(float(nodata), dtype)
    array[2, 2, 0] = array[0, 1, 0]
    options: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}
    tags = [(42113, "s", 0, nodata, True)]
    tifffile.imwrite(tmp_path / "a.tif", array, extratags=tags, **options)
    image = read_image(tmp_path / "a.tif")
    assert image.alpha is not None
    # in 8 bits one band may well be black
    expected = [[0, 1]] if dtype == "u1" else [[0, 1], [2, 2]]
    assert np.argwhere(~image.alpha).tolist() == expected


# What is wrong


def test_what_is_wrong_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "archive.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    cases = {
        "missing.png": "no such file",
        ".": "is a folder",
        "text.jpg": "not an image",
        "archive.zip": "not an image",
        "empty.png": "expected an image, got an empty file",
    }
    for name, message in cases.items():
        with pytest.raises(ImageError, match=message) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "gif", "bmp"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated_files(suffix: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RNG.integers(0, 256, (90, 80, 3)).astype(np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_truncated_deep_png_and_noise_after_the_signature(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    whole = png(DEEP)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError):
        read_image(path)
    for signature in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"GIF89a", b"MM\0*"):
        path.write_bytes(signature + RNG.bytes(300))
        with pytest.raises(ImageError):
            read_image(path)


def test_colour_that_would_lose_bits_is_refused(tmp_path: Path) -> None:
    ppm = b"P6 4 3 65535\n" + DEEP[:3, :4, :3].astype(">u2").tobytes()
    (tmp_path / "a.ppm").write_bytes(ppm)
    with pytest.raises(ImageError, match="PPM colour of more than 8 bits"):
        read_image(tmp_path / "a.ppm")


def test_large_images_are_read_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    monkeypatch.setenv("JGMM_MOST_PIXELS", "250")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)
        assert read_image(tmp_path / "a.png").pixels.shape == (12, 17, 3)


def test_photographs(photographs: Path) -> None:
    image = read_image(photographs / "scenery.jpg")
    assert image.pixels.shape == (344, 500, 3)
    assert image.pixels.dtype == np.uint8
    assert image.alpha is None


def test_sample_image() -> None:
    image = sample_image()
    assert image.pixels.shape == (427, 640, 3)
    assert image.pixels.dtype == np.uint8


# Writing


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_a_new_file_has_the_ordinary_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_png(tmp_path / "a.png", RGB)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("before")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_whole(tmp_path / "link.txt", b"after")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "after"


def test_errors_name_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent/a\.png"):
        write_png(tmp_path / "absent" / "a.png", RGB)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder"):
        write_png(tmp_path / "folder", RGB)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_write_png_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected uint8 or uint16 pixels, got float64"):
        write_png(tmp_path / "a.png", np.zeros((2, 2)))
    for shape in ((2,), (2, 2, 5), (0, 3), (1, 2, 2, 3)):
        with pytest.raises(ValueError, match="expected an image"):
            write_png(tmp_path / "a.png", np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match=r"got uint16 \(2, 2, 3\)"):
        write_png(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint16))
    assert not list(tmp_path.iterdir())


def test_damaged_metadata_does_not_spoil_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    Image.fromarray(RGB).save(path, lossless=True, exif=b"Exif\0\0nonsense")
    np.testing.assert_array_equal(read_image(path).pixels, RGB)
