"""What is taken for an image, what of it takes part, and what is refused as ambiguous."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import jgmm
from jgmm import _checks
from jgmm.image import read_image, read_mask, write_png
from jgmm.image.inputs import as_image
from jgmm.image.samples import samples_of

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (12, 16, 3)).astype(np.uint8)
ROUND = np.hypot(*(np.mgrid[:12, :16] - np.array([6, 8])[:, None, None])) < 6
RGBA = np.dstack([RGB, np.where(ROUND, 255, 0).astype(np.uint8)])


def left_out(image: object, **options: object) -> np.ndarray:
    found = as_image(image, **options)  # type: ignore[arg-type]
    return np.zeros((12, 16), bool) if found.alpha is None else ~found.alpha


def test_transparency_is_the_same_from_everywhere(tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", RGBA)
    masked = np.ma.masked_array(RGB, np.repeat(~ROUND[..., None], 3, axis=2))
    with Pillow.open(tmp_path / "x.png") as opened:
        for image, options in (
            (read_image(tmp_path / "x.png"), {}),
            (opened, {}),
            (RGBA, {"alpha": True}),
            (RGBA / 255.0, {"alpha": True}),
            (RGBA, {"bands": 3}),
            (RGB, {"mask": ROUND}),
            (RGB, {"mask": ROUND * np.uint8(255)}),
            (masked, {}),
        ):
            np.testing.assert_array_equal(left_out(image, **options), ~ROUND)
            assert as_image(image, **options).pixels.shape == RGB.shape


def test_what_a_fourth_channel_is_has_to_be_said() -> None:
    for channels, what in ((4, "red, green, blue and transparency"), (2, "grey and transparency")):
        with pytest.raises(ValueError, match=f"{channels} channels may be {what}, or {channels}"):
            jgmm.segment(RGBA[..., -channels:], 2)
    assert as_image(RGBA, alpha=False).pixels.shape == (12, 16, 4)
    assert as_image(RGBA, bands=True).pixels.shape == (12, 16, 4)
    with pytest.raises(ValueError, match="alpha: expected none with an image that says itself"):
        as_image(Pillow.fromarray(RGBA), alpha=True)
    with pytest.raises(ValueError, match="alpha: expected at least 2 channels"):
        as_image(RGB[..., :1], alpha=True)


def test_channels_first_are_refused() -> None:
    first = np.zeros((3, 20, 30), np.uint8)
    with pytest.raises(ValueError, match=r"looks like \[C, H, W\]: pass np.moveaxis"):
        as_image(first)
    assert as_image(first, bands=True).pixels.shape == (3, 20, 30)


@pytest.mark.parametrize("mode", ["1", "L", "P", "PA", "RGBA", "CMYK", "I;16"])
def test_images_of_pillow_are_what_they_show(mode: str) -> None:
    shown = Pillow.fromarray(RGB)
    image = Pillow.new("I;16", (16, 12), 40_000) if mode == "I;16" else shown.convert(mode)
    found = as_image(image)
    if mode in ("P", "PA", "CMYK"):
        np.testing.assert_array_equal(found.pixels, np.asarray(image.convert("RGB")))
    elif mode == "I;16":
        assert (found.pixels == 40_000).all()
    elif mode == "1":
        assert set(np.unique(found.pixels)) == {0, 255}
    else:
        expected = np.asarray(image).reshape(12, 16, -1)[..., :3]
        np.testing.assert_array_equal(found.pixels, expected)


def test_a_palette_with_a_transparent_colour() -> None:
    image = Pillow.fromarray(np.array([[0, 1, 1], [1, 0, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.info["transparency"] = 0
    found = as_image(image)
    assert found.alpha is not None
    assert found.alpha.tolist() == [[False, True, True], [True, False, True]]
    assert found.pixels[0, 1].tolist() == [200, 100, 50]


def test_integers_are_intensities_or_quantities() -> None:
    for given, kept in (("u1", "u1"), ("u2", "u2"), ("i1", "i2"), (">i2", "i2"), ("i8", "i4")):
        assert as_image(np.ones((2, 3), given)).pixels.dtype == kept
    with pytest.raises(TypeError, match="got complex128"):
        as_image(np.ones((2, 3), complex))
    # in units of their own, as floats are: meters, say
    heights = RNG.integers(-9, 9, (12, 16)).astype(np.int16) * np.int16(100)
    values = [samples_of(image, "rgb").features for image in (heights, heights.astype(np.float64))]
    assert set(values[0].ravel()) == set(values[1].ravel()) == set(heights.ravel())
    with pytest.raises(ValueError, match="of 8 bit colours pass image.astype"):
        jgmm.segment(RGB.astype(int), 2, features="lab")


def test_bad_masks(tmp_path: Path) -> None:
    for mask, error, text in (
        (np.ones((12, 15), bool), ValueError, r"mask: expected shape \(12, 16\) of the image"),
        (np.ones((12, 16)), TypeError, "mask: expected booleans or integers, got float64"),
        (np.zeros((12, 16), int), ValueError, "mask: expected pixels that take part, got none"),
    ):
        with pytest.raises(error, match=text):
            jgmm.segment(RGB, 2, mask=mask)
    with pytest.raises(ValueError, match="which a mask may leave out"):
        jgmm.segment(np.where(ROUND, np.nan, 0.5), 2)
    write_png(tmp_path / "mask.png", RGBA * np.uint8(0))
    with pytest.raises(ValueError, match="expected a mask, got an image all transparent or black"):
        read_mask(tmp_path / "mask.png")
    write_png(tmp_path / "mask.png", RGBA | np.uint8(1) * np.array([1, 0, 0, 0], np.uint8))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), ROUND)


# Samples and images


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_grey_image_is_refused_as_samples(dtype: str) -> None:
    picture = RNG.random((100, 80)) * (1 if dtype == "float32" else 255)
    picture = picture.astype(dtype)
    for function in (jgmm.fit, jgmm.kmeans):
        with pytest.raises(ValueError, match=r"may be a grey image of 100 x 80 pixels, or 100 sa"):
            function(picture, 2)
    for said in (picture[..., None], picture[:, None], -1 - picture.astype(float), picture[:, :40]):
        assert _checks.as_pixels(said).shape == said.shape


@pytest.mark.filterwarnings("ignore::jgmm.FitWarning")
def test_pillow_and_masked_arrays_as_samples() -> None:
    for mode in ("L", "P"):
        with pytest.raises(ValueError, match=f"one of Pillow's in mode {mode}: pass image.conv"):
            jgmm.fit(Pillow.fromarray(RGB).convert(mode), 2)
    pixels = RGB.reshape(-1, 3) / 255.0
    masked = np.ma.masked_array(pixels, RNG.random(pixels.shape) < 0.1)
    with pytest.raises(ValueError, match="got a masked array: missing='nan' takes"):
        jgmm.fit(masked, 2)
    options = {"init": pixels[:2], "max_iter": 3, "missing": "nan"}
    found = jgmm.fit(masked, 2, **options)
    expected = jgmm.fit(masked.filled(np.nan), 2, **options)
    np.testing.assert_array_equal(found.mixture.means, expected.mixture.means)
