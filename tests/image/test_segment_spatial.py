"""`segment` with features, spatial models and regions, and the recipes of features."""

from __future__ import annotations

import json
from typing import Any

import jax
import numpy as np
import pytest

import jgmm
from jgmm.image.display import display_of
from jgmm.image.features import FEATURES, Feature
from jgmm.image.recipe import NAMES, from_metadata, n_features, recipe_of
from jgmm.image.samples import samples_of


def photograph(h: int = 40, w: int = 56) -> np.ndarray:
    """Two halves of texture, uint8."""
    rng = np.random.default_rng(5)
    image = np.where(np.mgrid[:h, :w][1][..., None] < w // 2, [60, 90, 120], [120, 100, 60])
    return np.clip(image + rng.normal(0, 25, (h, w, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_recipes_survive_being_written(name: str) -> None:
    image = photograph()
    recipe = recipe_of(name, image)
    again = from_metadata(json.loads(json.dumps(recipe.to_metadata())))
    other = image[:30, ::-1]
    for dtype in (np.float32, np.float64):
        features = recipe.of_image(other, dtype)
        assert features.dtype == dtype
        np.testing.assert_array_equal(features, again.of_image(other, dtype))
        floor = recipe.rounding(features.shape, image.dtype)
        assert floor.shape == features.shape[2:]
        assert (floor > 0).all()


def test_bands_are_standardised() -> None:
    bands = np.random.default_rng(0).normal([1, 50, 900, 0], [1, 3, 9, 1e-4], (20, 30, 4))
    features = recipe_of("bands", bands).of_image(bands, np.float64)
    np.testing.assert_allclose(features.mean((0, 1)), 0, atol=1e-9)
    np.testing.assert_allclose(features.std((0, 1)), 1, rtol=1e-9)
    labels = jgmm.segment(bands, 2, features="bands").labels
    assert labels.shape == (20, 30)


@pytest.mark.parametrize("value", [7, 101, 30_000])
def test_what_is_constant_has_no_spread_but_that_of_rounding(value: int) -> None:
    image = np.full((10, 10, 3), value, np.uint16)
    for name in NAMES:
        recipe = recipe_of(name, image)
        assert set(recipe.scale) <= {1.0}
        assert recipe.position == recipe.has_position
    one = np.dstack([image[..., 0], np.arange(100).reshape(10, 10)])
    assert recipe_of("bands", one).scale[0] == 1.0


def test_bands_far_from_0_keep_their_digits() -> None:
    steps = np.arange(256).reshape(16, 16, 1)
    for image in ((10**9 + steps).astype(np.int32), 1e9 + steps.astype(float)):
        x = recipe_of("bands", image).of_image(image, np.float32)
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, (steps - 127.5) / steps.std(), rtol=1e-6)


def test_recipes_are_such_that_models_can_hold() -> None:
    image = photograph(8, 8).astype(float)
    with pytest.raises(ValueError, match=r"bands: expected values of at most 1e\+37, got"):
        recipe_of("bands", image * 1e36)
    with pytest.raises(ValueError, match=r"xy_weight: expected positions of at most 1e\+37"):
        recipe_of("rgb+xy", image * 1e10, position=1e30)
    assert recipe_of("bands", image * 1e-50).scale == (1.0,) * 3
    assert recipe_of("rgb+xy", image * 1e-50).position == 1.0


def test_values_that_the_dtype_cannot_work_with() -> None:
    image = photograph(8, 8) / 255.0
    for largest in (1e200, 1e308):
        with pytest.raises(ValueError, match=r"expected pixels of at most 1e\+140, got"):
            samples_of(image * largest, "bands")
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"at most 3.4e\+38, got"):
        samples_of(image * 1e39, "rgb")
    large = (photograph() * 1e30).astype(np.float32)
    with jax.enable_x64(False), pytest.warns(jgmm.FitWarning):
        found = jgmm.segment(large, 2, noise_model="potts", beta=1.0, max_iter=20)
    assert found.fit.status == jgmm.Status.NONFINITE
    assert found.labels.shape == (40, 56)


def test_large_images_of_one_colour_are_shown_and_merged() -> None:
    for value in (2e18, 2e30):
        image = np.full((8, 8, 3), value, np.float32)
        assert display_of(image)(image).max() == 0
        inside = np.mgrid[:8, :8][0] > 0
        holes = np.where(inside[..., None], image, np.float32(np.nan))
        assert display_of(holes, inside)(holes)[..., 3].tolist() == (255 * inside).tolist()
        with pytest.warns(jgmm.FitWarning):
            found = jgmm.segment(image, 2, features="bands", merge=5.0, max_iter=20)
        assert found.labels.max() == 0


def test_position_makes_every_pixel_a_sample() -> None:
    image = np.zeros((6, 8, 3), np.uint8)
    assert len(samples_of(image, "rgb").features) == 1
    samples = samples_of(image, "rgb+xy")
    assert samples.index is None
    assert samples.features.shape == (48, 5)
    # the same for a float image
    one = recipe_of("lab+xy", photograph())
    unit = photograph() / 255.0
    np.testing.assert_allclose(
        one.of_image(photograph(), np.float64), one.of_image(unit, np.float64), atol=1e-9
    )


def test_the_weight_of_position() -> None:
    image = photograph()
    one, three = (samples_of(image, "rgb+xy", xy_weight=w).features for w in (1.0, 3.0))
    np.testing.assert_allclose(three[:, 3:], 3 * one[:, 3:], rtol=1e-6)
    np.testing.assert_array_equal(three[:, :3], one[:, :3])
    # Components with one variance for all features see the difference; with more weight, places.
    options = {"covariance_type": "spherical", "max_iter": 30}
    loose, tight = (
        jgmm.segment(image, 2, features="rgb+xy", xy_weight=w, **options) for w in (0.1, 10.0)
    )
    assert tight.regions.max() < loose.regions.max()
    with pytest.raises(ValueError, match="xy_weight: expected a finite number above 0"):
        jgmm.segment(image, 2, features="rgb+xy", xy_weight=0.0)


def test_features_from_a_function() -> None:
    image = photograph()
    result = jgmm.segment(image, 2, features=lambda pixels: pixels[..., 2:] / 255.0)
    assert result.fit.mixture.n_features == 1
    with pytest.raises(ValueError, match="function"):
        jgmm.segment(image, 2, features=lambda pixels: pixels[0])
    with pytest.raises(ValueError, match="expected features rgb"):
        jgmm.segment(image, 2, features="colour")


def test_smoothing_and_merging_find_the_halves() -> None:
    image = photograph()
    truth = np.mgrid[:40, :56][1] >= 28
    plain = jgmm.segment(image, 2)
    spatial = jgmm.segment(image, 2, smooth={"width": 0.05}, min_region=20, merge=5.0)

    def wrong(labels: np.ndarray) -> float:
        share = float(np.mean(labels == truth))
        return min(share, 1 - share)

    assert wrong(spatial.labels) < min(0.02, wrong(plain.labels))
    assert plain.regions.max() > 20
    assert spatial.regions.max() == 1


def test_potts_labels_are_by_decreasing_weight() -> None:
    image = photograph()
    image[:, 14:] = image[:, 55:54:-1]  # a quarter against the rest
    with jax.enable_x64(False):  # as another test, by the same program
        result = jgmm.segment(image, 2, noise_model="potts", beta=1.0, max_iter=20)
    counts = np.bincount(result.labels.ravel())
    assert counts[0] > counts[1]
    assert (np.diff(result.fit.mixture.weights) <= 0).all()


def test_what_is_transparent_belongs_to_nothing() -> None:
    image = jgmm.image.Image(pixels=photograph(), source="x.png", alpha=np.mgrid[:40, :56][0] > 5)
    for options in ({"smooth": True, "merge": 4.0}, {"features": "lab+xy"}):
        result = jgmm.segment(image, 2, **options)
        for leaf in (result.labels, result.regions):
            assert (leaf[:6] == -1).all()
            assert (leaf[6:] >= 0).all()


@pytest.mark.filterwarnings("ignore::jgmm.FitWarning")
def test_the_program_chooses_k() -> None:
    image = photograph()
    result = jgmm.segment(image, "auto", max_iter=20)
    assert 3 <= result.fit.mixture.n_components <= 10


def test_wrong_options() -> None:
    image = photograph()
    for options in (
        {"noise_model": "gauss"},
        {"noise_model": "potts", "smooth": True},
        {"merge": -1.0},
        {"min_region": float("nan")},
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            jgmm.segment(image, 2, **options)


@pytest.mark.parametrize(
    "more",
    [{"prior": "weak"}, {"accelerate": False}, {"search": "none"}],
    ids=lambda m: next(iter(m)),
)
def test_a_noise_model_refuses_what_it_has_no_use_for(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(more))}: expected none with noise_model"):
        jgmm.segment(photograph(), 2, noise_model="potts", **more)


def test_labels_agree_with_merged_regions() -> None:
    result = jgmm.segment(photograph(), 3, smooth={"width": 0.03}, min_region=20, merge=3.0)
    for region in range(result.regions.max() + 1):
        assert len(np.unique(result.labels[result.regions == region])) == 1
    assert (result.certainty >= 0).all()
    assert (result.certainty <= 1).all()


def test_a_word_that_is_no_number_of_segments() -> None:
    with pytest.raises(ValueError, match="k: expected an integer or 'auto', got 'atuo'"):
        jgmm.segment(photograph(8, 8), "atuo")


def test_the_recommended_settings_merge_with_others() -> None:
    """Those on the right win."""
    image, own = photograph(), {"merge": 0.0, "min_region": 0, "covariance_type": "diag"}
    found = jgmm.segment(image, 2, **jgmm.image.RECOMMENDED | own)
    recommended = dict(jgmm.image.RECOMMENDED)
    assert found.fit.mixture.covariance_type == "diag"
    plain = {name: recommended[name] for name in ("features", "smooth")}
    assert found == jgmm.segment(image, 2, covariance_type="diag", **plain)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_how_many_features_there_are_is_known_beforehand(name: str, channels: int) -> None:
    image = photograph(8, 8)[:, :, :channels]
    made = recipe_of(name, image).of_image(image, np.float32)
    assert n_features(name, channels) == made.shape[-1]


def test_a_kind_of_features_that_is_added_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = Feature(lambda unit: np.concatenate([unit, unit], axis=-1), colour=False, scale=1.0)
    monkeypatch.setitem(FEATURES, "twice", twice)
    assert n_features("twice", 4) == 8
    assert n_features("twice+xy", 4) == 10


def test_a_segmentation_is_a_short_table_and_a_start() -> None:
    image = photograph(20, 24)
    found = jgmm.segment(image, 2, key=1)
    lines = repr(found).splitlines()
    assert lines[0].startswith("Segmentation of 24 x 20 pixels by 2 full components in 3 dim")
    assert lines[1].split() == ["segment", "pixels", "share", "certainty"]
    assert [line.split()[0] for line in lines[2:]] == ["0", "1"]
    assert sum(int(line.split()[1]) for line in lines[2:]) == 20 * 24
    html = str(found._repr_html_())
    assert "<table>" in html
    assert all(code in html for code in found.table()["hex"])
    assert "<svg" in html
    again = jgmm.segment(image, 2, init=found)
    assert int(again.fit.n_iter) <= int(found.fit.n_iter)
    assert (again.labels == found.labels).mean() > 0.99
