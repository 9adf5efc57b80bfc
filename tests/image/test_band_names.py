"""Scenes of many bands: what a file calls them, and where that is said."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from pictures import picture

import jgmm
from jgmm.cli import app as cli
from jgmm.image import read_image
from jgmm.image.bands import banded

NAMES = ("B2", "B3_green", "B4", "nir")
TEXT = "".join(
    f'<Item name="DESCRIPTION" sample="{i}" role="description">{text}</Item>'
    for i, text in enumerate(("B2", "B3 &amp;lt;green&amp;gt;", " B4 ", "=nir"))
)


def write_scene(path: Path | str, text: str = TEXT, n: int = 4, **options: Any) -> np.ndarray:
    image = picture(n).astype(np.uint16) * 40
    tags = [(42112, "s", 0, f"<GDALMetadata>{text}</GDALMetadata>", True)]
    kind = {"photometric": "minisblack", "planarconfig": "contig"} | options
    tifffile.imwrite(path, image, extratags=tags, **kind)
    return image


def test_names_are_read_and_made_fit_for_tables(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    write_scene(path)
    assert read_image(path).band_names == NAMES
    with banded(path) as pieces:
        assert pieces.rows(0, 2).band_names == NAMES
    # A band that has no name is counted; alpha is no band.
    write_scene(path, TEXT.replace("B4", ""))
    assert read_image(path).band_names == (*NAMES[:2], "band_3", "nir")
    write_scene(path, photometric="rgb", extrasamples=["unassalpha"])
    found = read_image(path)
    assert found.band_names == NAMES[:3]
    assert found.pixels.shape[2] == 3
    with banded(path) as pieces:
        assert pieces.rows(0, 2).band_names == NAMES[:3]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<Item name='x'",
        '<Item name="wavelength" sample="1">560 nm</Item>',
        '<Item name="DESCRIPTION" sample="99999999999" role="description">B2</Item>',
        '<Item name="DESCRIPTION" sample="7" role="description">B2</Item>',
        '<Item name="DESCRIPTION" sample="0" role="description">&#;%%</Item>',
    ],
)
def test_what_names_no_band(text: str, tmp_path: Path) -> None:
    write_scene(tmp_path / "x.tif", text)
    assert read_image(tmp_path / "x.tif").band_names == ()


def test_a_model_keeps_them(tmp_path: Path) -> None:
    write_scene(tmp_path / "x.tif")
    found = jgmm.segment(tmp_path / "x.tif", 2, features="bands")
    jgmm.save(tmp_path / "model.safetensors", found)
    loaded = jgmm.load_model(tmp_path / "model.safetensors")
    assert loaded.setup.band_names == NAMES
    assert loaded.setup == found.setup
    # Of another image the names are its own.
    write_scene(tmp_path / "y.tif", "")
    assert "band_4" in jgmm.apply(loaded, tmp_path / "y.tif").table()


@pytest.mark.usefixtures("plain_process")
def test_tables_and_pages_say_them(folder: Path) -> None:
    image = write_scene("x.tif")
    run = ["segment", "x.tif", "-k", "2", "--features", "bands", "-q"]

    def rows(path: str) -> list[dict[str, str]]:
        with Path(path).open() as file:
            return list(csv.DictReader(file))

    assert cli.main(run) == 0
    found = jgmm.segment("x.tif", 2, features="bands")
    about = json.loads(Path("jgmm-out/x/summary.json").read_text())
    assert about["input"]["band_names"] == list(NAMES)
    for k, row in enumerate(rows("jgmm-out/x/segments_k2.csv")):
        values = image[found.labels == k].astype(float)
        np.testing.assert_allclose([float(row[n]) for n in NAMES], values.mean(0), atol=0.006)
        cov = np.cov(values[:, 0], values[:, 3], bias=True)
        assert float(row["var_nir"]) == pytest.approx(cov[1, 1])
        assert float(row["cov_B2_nir"]) == pytest.approx(cov[0, 1])
    assert set(NAMES) < set(rows("jgmm-out/x/regions_k2.csv")[0])
    page = Path("jgmm-out/x/report.html").read_text()
    assert "(standard deviation) of B2, B3_green, B4 and nir in the image's own units" in page
    scene = json.loads(page.split('id="data">')[1].split("</script>")[0])["scenes"]["2"]
    for part in scene["segments"]:
        assert len(part["mean"]) == len(part["spread"]) == 4
    assert {len(row) for row in scene["regions"]} == {2 + 2 * 4}
    # Tile by tile too.
    assert cli.main([*run, "--tiled"]) == 0
    model = jgmm.load_model("jgmm-out/x/model_k2.safetensors")
    labels = jgmm.apply(model, "x.tif").labels
    for k, row in enumerate(rows("jgmm-out/x/segments_k2.csv")):
        means = image[labels == k].mean(axis=0)
        np.testing.assert_allclose([float(row[name]) for name in NAMES], means, rtol=1e-6)
    about = json.loads(Path("jgmm-out/x/summary.json").read_text())
    assert about["input"]["band_names"] == list(NAMES)
    # Of twenty bands a page has the first twelve.
    write_scene("x.tif", "", 20)
    assert cli.main([*run, "--covariance", "diag"]) == 0
    page = Path("jgmm-out/x/report.html").read_text()
    assert "band_11 and band_12, the first of 20 bands, in" in page
    assert "band_20" in rows("jgmm-out/x/segments_k2.csv")[0]
