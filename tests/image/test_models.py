"""Segmentations as models: applied, saved and loaded; masks; the table of segments."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jgmm
from jgmm.image import RECOMMENDED
from jgmm.image.regions import find_regions
from jgmm.image.samples import samples_of
from jgmm.image.table import write_table

# Fits of few steps will do here.
pytestmark = pytest.mark.filterwarnings("ignore::jgmm.FitWarning")


def photograph(h: int = 40, w: int = 56) -> np.ndarray:
    """Two halves of texture, uint8."""
    rng = np.random.default_rng(5)
    image = np.where(np.mgrid[:h, :w][1][..., None] < w // 2, [60, 90, 120], [120, 100, 60])
    return np.clip(image + rng.normal(0, 25, (h, w, 3)), 0, 255).astype(np.uint8)


IMAGE = photograph()
WAYS: dict[str, dict[str, Any]] = {
    "rgb": {},
    "lab": {"features": "lab"},
    "bands": {"features": "bands"},
    "place": {"features": "lab+xy", "merge": 2.0},
    "smooth": {"smooth": {"width": 0.05}, "min_region": 20, "merge": 5.0},
    "recommended": RECOMMENDED,
    "potts": {"noise_model": "potts", "features": "gray", "min_region": 9, "beta": 1.0},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_segmentation_is_a_model_of_its_own_image(way: str, tmp_path: Path) -> None:
    found = jgmm.segment(IMAGE, 3, max_iter=20, **WAYS[way])
    path = tmp_path / "model.safetensors"
    jgmm.save(path, found)
    loaded = jgmm.load_model(path)
    assert loaded.setup == found.setup
    for model in (found, loaded, path, str(path), found.model):
        again = jgmm.apply(model, IMAGE)
        for name in ("labels", "certainty", "regions", "image"):
            np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    with jax.enable_x64(False):  # the precision is that of the model
        np.testing.assert_array_equal(jgmm.apply(path, IMAGE).labels, found.labels)
    means = jgmm.load(path).means
    np.testing.assert_array_equal(means, found.fit.mixture.means)


@pytest.mark.parametrize("way", ["bands", "place", "smooth", "recommended", "potts"])
def test_what_a_mask_leaves_out_does_not_count(way: str) -> None:
    mask = np.ones(IMAGE.shape[:2], bool)
    mask[:9] = mask[20:24, 30:40] = False
    spoilt = np.where(mask[..., None], IMAGE, 255 - IMAGE)
    one, other = (
        jgmm.segment(image, 3, mask=mask, max_iter=20, **WAYS[way]) for image in (IMAGE, spoilt)
    )
    for name in ("labels", "certainty", "regions"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.labels < 0, ~mask)
    np.testing.assert_array_equal(one.regions < 0, ~mask)
    np.testing.assert_array_equal(jgmm.apply(one, spoilt, mask=mask).labels, one.labels)


def test_a_mask_lets_any_value_be_left_out() -> None:
    mask = np.mgrid[:40, :56][0] > 5
    unit = np.where(mask[..., None], IMAGE / 255.0, -9999.0)
    unit[0, 0] = np.nan
    for features in ("lab", "lab+xy"):
        samples = samples_of(unit, features, mask=mask)
        expected = samples_of(IMAGE / 255.0, features, mask=mask)
        np.testing.assert_allclose(samples.features, expected.features, rtol=1e-6)
        np.testing.assert_array_equal(samples.mask, mask)


def test_merging_sees_no_border_of_a_mask() -> None:
    # two halves of one colour each, and left out most of where they meet
    halves = np.where(np.arange(40) < 20, 0, 1) * np.ones((30, 1), int)
    mask = np.ones((30, 40), bool)
    mask[:, 18:22] = False
    mask[14:16] = True
    labels, colours = np.where(mask, halves, -1), 100 + 5.0 * halves[..., None]
    near, far = (find_regions(labels, colours, merge=m) for m in (100, 96))
    assert (near.max(), far.max()) == (0, 1)
    spoilt = np.where(mask[..., None], colours, 0)
    for m, expected in ((100, near), (96, far)):
        np.testing.assert_array_equal(find_regions(labels, spoilt, merge=m), expected)


def test_labels_and_other_images() -> None:
    found = jgmm.segment(IMAGE, 3, features="lab", max_iter=20)
    mirrored = jgmm.apply(found, IMAGE[:, ::-1])
    np.testing.assert_array_equal(mirrored.labels, found.labels[:, ::-1])
    drawn = np.full(IMAGE.shape[:2], -1)
    drawn[3, :9] = 1
    known = jgmm.apply(found, IMAGE, labels=drawn).labels
    assert (known[3, :9] == 1).all()
    masked = np.ma.masked_array(np.ones_like(drawn), drawn < 0)
    np.testing.assert_array_equal(jgmm.apply(found, IMAGE, labels=masked).labels, known)
    alpha = np.dstack([IMAGE, np.where(drawn < 0, 255, 0).astype(np.uint8)])
    np.testing.assert_array_equal(jgmm.apply(found, alpha).labels < 0, drawn >= 0)
    assert np.isnan(mirrored.fit.log_likelihood)


def test_functions_are_applied_but_not_saved(tmp_path: Path) -> None:
    found = jgmm.segment(IMAGE, 3, features=lambda pixels: pixels[..., :3] / 255.0, max_iter=20)
    np.testing.assert_array_equal(jgmm.apply(found, IMAGE).labels, found.labels)
    with pytest.raises(ValueError, match="save: expected features by name, got a function"):
        jgmm.save(tmp_path / "x.safetensors", found)
    with pytest.raises(ValueError, match="the model expects 3 features, got 1"):
        jgmm.apply(found, IMAGE[..., 0])


def test_what_is_no_model_or_no_such_image(tmp_path: Path) -> None:
    found = jgmm.segment(IMAGE, 3, max_iter=20)
    path = tmp_path / "bare.safetensors"
    jgmm.save(path, found.fit.mixture)
    with pytest.raises(ValueError, match="does not say what features of an image it is of"):
        jgmm.apply(path, IMAGE)
    for model in (found.fit, found.fit.mixture):
        name = type(model).__name__
        with pytest.raises(TypeError, match=f"expected a Segmentation, .* got {name}"):
            jgmm.apply(model, IMAGE)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the model expects an image of 3 channels, got 1"):
        jgmm.apply(found, IMAGE[..., 0])
    with pytest.raises(ValueError, match="an image of uint8, .* got int16"):
        jgmm.apply(found, IMAGE.astype(np.int16))
    with pytest.raises(OSError, match="missing"):
        jgmm.apply(tmp_path / "missing", IMAGE)


def test_a_segmentation_is_a_pytree() -> None:
    found = jgmm.segment(IMAGE, 3, smooth={"width": 0.05}, max_iter=20)
    same = jax.tree.map(lambda leaf: leaf, found)
    assert same.setup == found.setup
    assert hash(same.setup) == hash(found.setup)


def test_files_have_the_first_page_and_say_so(tmp_path: Path) -> None:
    from PIL import Image

    frames = [Image.fromarray(IMAGE), Image.fromarray(IMAGE[::-1].copy())]
    path = tmp_path / "x.tif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="has 2 pages, of which the first is taken") as caught:
        found = jgmm.segment(path, 3, max_iter=20)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="has 2 pages"):
        np.testing.assert_array_equal(jgmm.apply(found, path).labels, found.labels)


# The table


def test_the_table_counts_what_there_is(tmp_path: Path) -> None:
    mask = np.ones(IMAGE.shape[:2], bool)
    mask[:5] = False
    found = jgmm.segment(IMAGE, 3, mask=mask, max_iter=20)
    four = jgmm.Mixture(np.ones(4) / 4, np.zeros((4, 1)), np.ones((4, 1)))  # one without pixels
    found = dataclasses.replace(found, fit=dataclasses.replace(found.fit, mixture=four))
    table = found.table()
    for i in range(3):
        mine = found.labels == i
        rows, columns = np.nonzero(mine)
        row = {name: column[i] for name, column in table.items()}
        assert (row["segment"], row["pixels"]) == (i, mine.sum())
        assert row["share"] == pytest.approx(mine.sum() / mask.sum())
        assert row["certainty"] == pytest.approx(found.certainty[mine].mean())
        assert (row["x"], row["y"]) == pytest.approx((columns.mean(), rows.mean()))
        assert (row["left"], row["right"]) == (columns.min(), columns.max())
        assert (row["top"], row["bottom"]) == (rows.min(), rows.max())
        assert row["regions"] == len(np.unique(found.regions[mine]))
        means = np.array([row[c] for c in ("red", "green", "blue")])
        np.testing.assert_allclose(means, found.original[mine].mean(axis=0), atol=0.00501)
        assert np.rint(means).tolist() == found.image[mine][0].tolist()
    assert [table[name][3] for name in ("pixels", "regions", "left")] == [0, 0, -1]
    assert np.isnan([table["x"][3], table["red"][3]]).all()
    write_table(tmp_path / "x.csv", table)
    with (tmp_path / "x.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["x"] for row in rows] == [*map(str, table["x"][:3]), ""]
    assert [int(row["pixels"]) for row in rows] == table["pixels"].tolist()
