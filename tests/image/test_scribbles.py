"""Scribbles: what they mean in a file, and in `segment`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import jgmm
from jgmm.image import ImageError, read_scribbles, write_png
from jgmm.image.samples import samples_of

GREY = np.array([[0, 7, 7, 200], [7, 0, 90, 0]], np.uint8)
LABELS = [[-1, 0, 0, 2], [0, -1, 1, -1]]


def test_every_kind_of_file_means_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    rank = np.searchsorted([0, 7, 90, 200], GREY)
    colours = np.array([[0, 0, 0], [1, 90, 0], [1, 200, 0], [30, 0, 0]], np.uint8)
    shown = np.array([[5, 5, 5, 0], [1, 90, 0, 255], [1, 200, 0, 255], [30, 0, 0, 255]], np.uint8)
    for image in (GREY, GREY.astype(np.uint16) * 9, colours[rank], shown[rank]):
        write_png(path, image)
        found = read_scribbles(path)
        assert found.labels.tolist() == LABELS
        assert len(found.colours) == 3
    # a palette orders its colours itself
    indexed = Image.fromarray(rank.astype(np.uint8), "L").convert("P")
    indexed.putpalette([0, 0, 0, 250, 0, 0, 0, 0, 250, 0, 9, 0])
    indexed.save(path)
    found = read_scribbles(path)
    assert found.labels.tolist() == LABELS
    assert found.colours.tolist() == [[250, 0, 0], [0, 0, 250], [0, 9, 0]]


def test_what_is_no_scribble(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    write_png(path, np.arange(1200, dtype=np.uint16)[None])
    with pytest.raises(ImageError, match="one colour for each, got 1,199 colours"):
        read_scribbles(path)
    write_png(path, 0 * GREY)
    with pytest.raises(ImageError, match="all transparent or black"):
        read_scribbles(path)
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(ImageError, match="whole numbers, got float32"):
        read_scribbles(tmp_path / "x.tif")


def two_halves() -> tuple[np.ndarray, np.ndarray]:
    """One texture all over, and scribbles that tell its halves apart all the same."""
    image = np.random.default_rng(2).integers(0, 6, (20, 30, 3)).astype(np.uint8) * 20
    labels = np.full((20, 30), -1)
    labels[5:9, 3:12], labels[5:9, 18:27] = 1, 0
    return image, labels


@pytest.mark.parametrize("features", ["rgb", "rgb+xy"])
def test_the_fit_is_that_of_all_pixels_with_their_labels(features: str) -> None:
    image, labels = two_halves()
    d = 3 if features == "rgb" else 5
    start = np.linspace(0.1, 0.4, 3)[:, None] * np.ones(d)
    found = jgmm.segment(image, 3, features=features, labels=labels, init=start)
    mine = labels >= 0
    np.testing.assert_array_equal(found.labels[mine], labels[mine])
    np.testing.assert_array_equal(found.certainty[mine], 1)
    samples = samples_of(image, features)
    every = samples.features if samples.index is None else samples.features[samples.index]
    alone = jgmm.fit(every, 3, labels=labels.ravel(), reg_covar=samples.floor, init=start)
    np.testing.assert_allclose(found.fit.log_likelihood, alone.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(found.fit.mixture.means, alone.mixture.means, rtol=1e-5)


def test_a_label_between_unknown_ones_keeps_its_number() -> None:
    image, labels = two_halves()
    found = jgmm.segment(image, 4, labels=np.where(labels == 1, 2, -1))
    assert (found.labels[labels == 1] == 2).all()
    weights = np.asarray(found.fit.mixture.weights)
    assert (np.diff(weights[[0, 1, 3]]) <= 0).all()


def test_known_pixels_decide_on_their_region() -> None:
    image = np.full((20, 30, 3), 30, np.uint8)
    image[:, 15:] = 200
    labels = np.full((20, 30), -1)
    labels[3, 3:6], labels[3, 20:23] = 1, 0
    found = jgmm.segment(image, 2, labels=labels, smooth=True, min_region=10, merge=1.0)
    assert (found.labels == (np.arange(30) < 15)).all()


@pytest.mark.parametrize("more", [{"merge": 1e6}, {"n_regions": 1}, jgmm.image.RECOMMENDED])
def test_what_is_said_to_be_different_is_never_one_region(more: dict[str, Any]) -> None:
    image, labels = two_halves()
    image[0, 0] = 0  # so that the halves are all but alike
    found = jgmm.segment(image, 3, labels=labels, **more)
    for region in range(found.regions.max() + 1):
        assert len({*labels[found.regions == region].tolist()} - {-1}) <= 1
    mine = labels >= 0
    np.testing.assert_array_equal(found.labels[mine], labels[mine])
    np.testing.assert_array_equal(found.known, labels)
    assert found.regions.max() + 1 == found.hierarchy.fewest == 2
    # The same of a model that is applied, and of no scribbles one region.
    again = jgmm.apply(found, image, labels=labels)
    np.testing.assert_array_equal(again.regions, found.regions)
    alone = jgmm.apply(found, image)
    assert alone.known is None
    assert alone.regions.max() == 0
    plain = jgmm.segment(image, 3, labels=labels)
    assert plain.hierarchy.fewest == 2
    cropped = dataclasses.replace(plain, known=None)
    assert cropped.hierarchy.fewest == 1


def test_wrong_labels() -> None:
    image, labels = two_halves()
    with pytest.raises(ValueError, match="labels: expected shape"):
        jgmm.segment(image, 2, labels=labels[:-1])
    with pytest.raises(ValueError, match="labels: expected labels from -1"):
        jgmm.segment(image, 2, labels=labels + 2)
    with pytest.raises(ValueError, match="labels: expected -1"):
        jgmm.segment(image, 2, labels=labels - 2)
    with pytest.raises(TypeError, match="labels: expected integers"):
        jgmm.segment(image, 2, labels=labels * 1.0)
    with pytest.raises(ValueError, match="labels: expected none with noise_model"):
        jgmm.segment(image, 2, labels=labels, noise_model="potts")


def test_what_pillow_is_set_to_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = Image.new("P", (4, 4), 1)
    drawn.putpalette([0, 0, 0, 255, 0, 0])
    drawn.save(tmp_path / "labels.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    assert read_scribbles(tmp_path / "labels.png").colours.tolist() == [[255, 0, 0]]
