"""Tables of segments and regions, against scikit-image and NumPy; labels with a palette inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from skimage.measure import regionprops

import jgmm
from jgmm.image import Image
from jgmm.image.borders import neighbours
from jgmm.image.display import display_of
from jgmm.image.indexed import write_indexed_png
from jgmm.image.table import region_table, write_table

RNG = np.random.default_rng(0)
IMAGE = np.clip(
    RNG.normal([60, 90, 120], 12, (20, 30, 3)) + 90 * (np.arange(30)[:, None] > 17), 0, 255
).astype(np.uint8)
MASK = np.ones((20, 30), bool)
MASK[:3, :4] = False


@pytest.fixture(scope="module")
def found() -> jgmm.Segmentation:
    return jgmm.segment(IMAGE, 3, mask=MASK, max_iter=20, search="none", tol=1e-3)


def brute(parts: np.ndarray) -> dict[int, set[int]]:
    near: dict[int, set[int]] = {int(i): set() for i in np.unique(parts) if i >= 0}
    height, width = parts.shape
    for y in range(height):
        for x in range(width):
            for b, a in ((y + 1, x), (y, x + 1)):
                if b < height and a < width and parts[y, x] != parts[b, a]:
                    one, other = int(parts[y, x]), int(parts[b, a])
                    if min(one, other) >= 0:
                        near[one].add(other)
                        near[other].add(one)
    return near


def test_regions_are_as_scikit_image_measures_them(found: jgmm.Segmentation) -> None:
    table = found.region_table()
    measured = regionprops(found.regions + 1, intensity_image=IMAGE)
    assert len(measured) == len(table["region"])
    near = brute(found.regions)
    for i, region in enumerate(measured):
        row = {name: column[i] for name, column in table.items()}
        assert (row["region"], row["pixels"]) == (i, region.area)
        assert (row["y"], row["x"]) == pytest.approx(region.centroid)
        box = (row["top"], row["left"], row["bottom"] + 1, row["right"] + 1)
        assert box == region.bbox
        means = [row[name] for name in ("red", "green", "blue")]
        np.testing.assert_array_equal(means, np.round(region.intensity_mean, 2))  # no rounder
        assert row["hex"] == "#" + bytes(np.rint(region.intensity_mean).astype(int).tolist()).hex()
        inside = found.regions == i
        assert set(found.labels[inside].tolist()) == {row["segment"]}
        assert row["certainty"] == pytest.approx(found.certainty[inside].mean())
        assert row["neighbours"] == " ".join(map(str, sorted(near[i])))
    assert table["share"].sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["labels", "regions"])
def test_tables_have_the_covariance_of_their_pixels(found: jgmm.Segmentation, kind: str) -> None:
    table = found.table() if kind == "labels" else found.region_table()
    parts = getattr(found, kind)
    near = brute(parts)
    for i in range(len(table["pixels"])):
        cov = np.cov(IMAGE[parts == i].T.astype(float), bias=True)
        for a, one in enumerate(("red", "green", "blue")):
            assert table[f"var_{one}"][i] == pytest.approx(cov[a, a])
            for b, other in enumerate(("red", "green", "blue")[a + 1 :], a + 1):
                assert table[f"cov_{one}_{other}"][i] == pytest.approx(cov[a, b])
        assert table["neighbours"][i] == " ".join(map(str, sorted(near[i])))


def test_units_are_those_of_the_image_and_codes_are_as_shown() -> None:
    elevation = np.repeat([[-400, 0, 0, 1200]], 3, axis=0).astype(np.int16)
    found = jgmm.segment(elevation, 3, max_iter=20, search="none", tol=1e-3)
    table = found.table()
    assert sorted(table["red"].tolist()) == [-400, 0, 1200]
    low, high = (int(np.flatnonzero(table["red"] == value)[0]) for value in (-400, 1200))
    assert (table["hex"][low], table["hex"][high]) == ("#000000", "#ffffff")
    np.testing.assert_array_equal(found.original[..., 0], elevation)


def scene(n: int, kind: str = "uint16") -> np.ndarray:
    """Two kinds of ground in n bands, of which the last tells most."""
    ground = np.kron([[0, 1, 0], [1, 0, 1]], np.ones((5, 6)))[..., None]
    levels = 400 + 90.0 * np.arange(n) + ground * 200 * np.arange(1, n + 1)
    return (levels + RNG.normal(0, 9, levels.shape)).astype(kind)


@pytest.mark.parametrize("n", [2, 4, 6])
@pytest.mark.parametrize("kind", ["uint16", "float32"])
@pytest.mark.parametrize("masked", [False, True])
def test_tables_have_all_bands(n: int, kind: str, masked: bool) -> None:
    image = scene(n, kind)
    mask = np.ones(image.shape[:2], bool)
    mask[:2, :3] = not masked
    # Whatever the mixture is of, and two features are one program.
    features: Any = "bands" if n < 6 else lambda pixels: pixels[..., :2]
    found = jgmm.segment(image, 2, features=features, mask=mask, search="none")
    names = [f"band_{i + 1}" for i in range(n)]
    np.testing.assert_array_equal(found.bands[mask], image[mask])
    for parts, table in ((found.labels, found.table()), (found.regions, found.region_table())):
        assert "red" not in table
        moments = [name for name in table if name.startswith(("var_", "cov_"))]
        assert len(moments) == n * (n + 1) / 2
        for i in range(parts.max() + 1):
            inside = image[parts == i].astype(float)
            means = [table[name][i] for name in names]
            np.testing.assert_allclose(means, inside.mean(axis=0), atol=0.006)
            cov = np.cov(inside.T, bias=True)
            for a, one in enumerate(names):
                assert table[f"var_{one}"][i] == pytest.approx(cov[a, a], rel=1e-5)
                for b, other in enumerate(names[a + 1 :], a + 1):
                    expected = pytest.approx(cov[a, b], rel=1e-5, abs=1e-6)
                    assert table[f"cov_{one}_{other}"][i] == expected
    # The colour is that of the pictures, of the first three bands.
    shown = display_of(found.original, mask)(found.image)[..., :3]
    for i, code in enumerate(found.table()["hex"]):
        (colour,) = {*map(tuple, shown[found.labels == i].tolist())}
        assert code == f"#{bytes(colour).hex()}"


def test_bands_are_called_as_the_file_says() -> None:
    def columns(*names: str) -> list[str]:
        image = Image(scene(len(names)), None, Path("x.tif"), band_names=names)
        found = jgmm.segment(image, 2, features="bands", max_iter=20, search="none")
        return [name for name in found.table() if not name.startswith(("var", "cov"))][4:-10]

    assert columns("B2", "B3", "B4", "B8") == ["B2", "B3", "B4", "B8"]
    assert columns("nir", "swir", "B4") == ["nir", "swir", "B4"]
    assert columns("", "", "") == ["red", "green", "blue"]
    # A name twice, or one that another column has, is no name.
    for names in (("a", "a"), ("a", "x"), ("a", "var_a"), ("a", "b_c", "a_b", "c")):
        assert columns(*names) == [f"band_{i + 1}" for i in range(len(names))]


def test_of_very_many_bands_there_are_variances_alone() -> None:
    table = _table_of(scene(17))
    assert sum(name.startswith("var_") for name in table) == 17
    assert not any(name.startswith("cov_") for name in table)
    assert sum(name.startswith("cov_") for name in _table_of(scene(16))) == 16 * 15 / 2


def _table_of(image: np.ndarray) -> dict[str, np.ndarray]:
    return jgmm.segment(image, 2, features=lambda x: x[..., :2], search="none").table()


def test_one_region_has_no_neighbours(tmp_path: Path) -> None:
    plain = np.full((4, 5, 3), 7, np.uint8)
    table = region_table(jgmm.segment(plain, 1))
    write_table(tmp_path / "a.csv", table)
    assert table["neighbours"].tolist() == [""]
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == (
        "0,0,20,1.0,7.0,7.0,7.0,#070707,0.0,0.0,0.0,0.0,0.0,0.0,1.0,2.0,1.5,0,0,4,3,"
    )
    assert neighbours(np.full((2, 2), -1), 1) == [[]]


@pytest.mark.parametrize("left_out", [False, True])
def test_an_indexed_png_keeps_the_numbers_and_shows_the_colours(
    left_out: bool, tmp_path: Path
) -> None:
    labels = RNG.integers(-1 if left_out else 0, 200, (30, 40))
    palette = RNG.integers(0, 256, (200, 3))
    write_indexed_png(tmp_path / "a.png", labels, palette)
    with PIL.Image.open(tmp_path / "a.png") as image:
        numbers, shown = np.asarray(image), np.asarray(image.convert("RGBA"))
    np.testing.assert_array_equal(numbers, np.where(labels < 0, 200, labels))
    np.testing.assert_array_equal(shown[labels >= 0, :3], palette[labels[labels >= 0]])
    np.testing.assert_array_equal(shown[..., 3] == 0, labels < 0)


def test_too_many_colours_are_refused(tmp_path: Path) -> None:
    colours = np.zeros((257, 3))
    for labels, palette in (
        ([[0]], colours),
        ([[-1]], colours[:256]),
        ([[2]], colours[:2]),
        ([[0.5]], colours[:2]),
        ([[0]], colours[0]),
    ):
        with pytest.raises(ValueError, match="expected"):
            write_indexed_png(tmp_path / "a.png", labels, palette)
    assert not list(tmp_path.iterdir())
