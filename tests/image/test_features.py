from __future__ import annotations

import numpy as np
import pytest
from skimage import color

from jgmm.image import features
from jgmm.image.features import FEATURES, extract, of_colours, quantisation, to_unit

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (6, 7, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shape_dtype_and_precision(name: str, dtype: type) -> None:
    got = extract(PHOTO, name, dtype)
    assert got.dtype == dtype
    assert got.shape == (6, 7, 1 if name == "gray" else 3)
    np.testing.assert_allclose(got, extract(PHOTO, name, np.float64), atol=2e-4)


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1), (1, 1), (1, 1, 1)])
def test_a_grey_image_has_one_feature(name: str, shape: tuple[int, ...]) -> None:
    grey = RNG.integers(0, 256, shape).astype(np.uint8)
    assert extract(grey, name).shape == (*shape[:2], 1)


@pytest.mark.parametrize("name", [n for n, kind in FEATURES.items() if kind.pointwise])
def test_pointwise_features_depend_on_the_colour_alone(name: str) -> None:
    flat = PHOTO.reshape(-1, 3)
    order = RNG.permutation(len(flat))
    whole = extract(PHOTO, name).reshape(len(flat), -1)
    np.testing.assert_allclose(of_colours(flat[order], name), whole[order], rtol=1e-5, atol=1e-5)


def test_lab_and_gray_are_scikit_images() -> None:
    np.testing.assert_allclose(extract(PHOTO, "lab", np.float64), color.rgb2lab(PHOTO), atol=1e-9)
    gray = color.rgb2gray(PHOTO)
    np.testing.assert_allclose(extract(PHOTO, "gray", np.float64)[..., 0], gray, atol=1e-12)


def test_lab_of_grey_is_the_lightness_of_equal_channels() -> None:
    grey = PHOTO[..., 0]
    same = extract(np.stack([grey] * 3, axis=-1), "lab", np.float64)
    np.testing.assert_allclose(extract(grey, "lab", np.float64)[..., 0], same[..., 0])


def test_hsv_is_a_cone() -> None:
    x, y, v = np.moveaxis(extract(PHOTO, "hsv", np.float64), -1, 0)
    hue, saturation, value = np.moveaxis(color.rgb2hsv(PHOTO), -1, 0)
    np.testing.assert_allclose(np.hypot(x, y), saturation * value, atol=1e-12)
    np.testing.assert_allclose(np.arctan2(y, x) % (2 * np.pi), 2 * np.pi * hue % (2 * np.pi))
    np.testing.assert_allclose(v, value)
    black = of_colours(np.array([[0, 0, 0], [0, 0, 1]], np.uint8), "hsv", np.float64)
    assert np.abs(np.diff(black, axis=0)).max() < 0.004  # no jump in the dark


def test_to_unit_covers_the_unit_interval() -> None:
    for dtype in (np.uint8, np.uint16):
        ends = np.array([0, np.iinfo(dtype).max], dtype)
        assert to_unit(ends).tolist() == [0, 1]
        assert to_unit(ends, np.float64).dtype == np.float64
    floats = np.array([-1.0, 2.5])
    assert to_unit(floats, np.float64).tolist() == [-1.0, 2.5]


def test_bands_pass_through_rgb_only() -> None:
    bands = RNG.random((4, 5, 6)) * 300
    np.testing.assert_array_equal(extract(bands, "rgb", np.float64), bands)
    with pytest.raises(ValueError, match="expected 1 or 3 channels, got 6"):
        extract(bands, "lab")


def test_colour_needs_the_unit_interval() -> None:
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\], got 0 to 255"):
        extract(np.array([[[0.0, 3.0, 255.0]]]), "hsv")


def test_constant_and_single_pixel_images() -> None:
    for name in FEATURES:
        assert np.isfinite(extract(np.zeros((1, 1, 3), np.uint8), name)).all()
        assert np.ptp(extract(np.full((3, 4, 3), 77, np.uint8), name), axis=(0, 1)).max() == 0


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ValueError, match="expected features rgb, lab, gray, hsv; got 'cmyk'"):
        extract(PHOTO, "cmyk")
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        extract(np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match=r"got shape \(0, 3\)"):
        extract(np.zeros((0, 3), np.uint8))
    with pytest.raises(TypeError, match="got uint32"):
        extract(PHOTO.astype(np.uint32))
    with pytest.raises(TypeError, match="got float16"):
        extract(PHOTO, dtype=np.float16)


def test_quantisation_is_the_variance_of_rounding() -> None:
    fine = RNG.random((200, 200, 3))
    coarse = np.round(fine * 255).astype(np.uint8)
    for name in FEATURES:
        error = extract(coarse, name, np.float64) - extract(fine, name, np.float64)
        variance = error.reshape(-1, error.shape[-1]).var(axis=0).mean()
        assert 0.3 < quantisation(np.uint8, name) / variance < 3
    assert quantisation(np.int16) == 1 / 12
    assert 0 < quantisation(np.uint16) < quantisation(np.float32) < quantisation(np.uint8)
    with pytest.raises(TypeError, match="got uint32"):
        quantisation(np.uint32)
    with pytest.raises(ValueError, match="got 'x'"):
        quantisation(np.uint8, "x")


def test_the_docstring_names_every_feature() -> None:
    assert all(f"``{name}``" in str(features.__doc__) for name in FEATURES)
