"""Results of images that lie on the Earth lie there too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from pictures import SHAPE, picture

import jgmm
from jgmm.cli import app as cli
from jgmm.cli import cutting
from jgmm.image import geo, write_geotiff

rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
pytestmark = [
    pytest.mark.usefixtures("plain_process"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),  # of rasterio's transforms
]
MISSING = (slice(0, 3), slice(0, 4))


def scene() -> str:
    """A scene of four bands in UTM, a corner of it without data."""
    image = picture(4).astype(np.int16) * 7 - 100
    image[MISSING] = -9999
    transform = rasterio.transform.from_origin(500_000, 4_600_000, 10, 10)
    like = {"crs": "EPSG:32633", "transform": transform, "nodata": -9999}
    height, width = SHAPE
    size = {"height": height, "width": width, "count": 4, "dtype": "int16"}
    with rasterio.open("scene.tif", "w", driver="GTiff", **size, **like) as file:
        file.write(np.moveaxis(image, -1, 0))
        file.descriptions = "B2", "B3, green", "B4", 'B8 "nir"'
    return "scene.tif"


def test_a_geotiff_gives_geotiffs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scene()
    found = jgmm.segment(path, 2, features="bands")
    assert {"B2", "B3_green", "B4", "B8_nir", "cov_B3_green_B8_nir"} < set(found.table())
    assert cli.main(["segment", path, "-k", "2", "--features", "bands", "-q"]) == 0
    made = Path("jgmm-out/scene")
    page = (made / "report.html").read_text()
    with rasterio.open(path) as file:
        place = file.crs, file.transform
    for name, values in (("labels", found.labels), ("regions", found.regions)):
        with rasterio.open(made / f"{name}_k2.tif") as file:
            assert (file.crs, file.transform) == place
            band = file.read(1, masked=True)
        np.testing.assert_array_equal(band.mask, found.labels < 0)
        np.testing.assert_array_equal(band.filled(0), np.where(values < 0, 0, values))
        assert f'href="{name}_k2.tif"' in page
    assert (found.labels[MISSING] == -1).all()
    with rasterio.open(made / "labels_k2.tif") as file:
        assert bytes(file.colormap(1)[0][:3]).hex() == found.table()["hex"][0][1:]
    with rasterio.open(made / "certainty_k2.tif") as file:
        sure = file.read(1)
    np.testing.assert_array_equal(np.isnan(sure), found.labels < 0)
    # Tile by tile, with pictures of every other row and column.
    monkeypatch.setattr(cutting, "REDUCED", SHAPE[1] // 2)
    model = made / "model_k2.safetensors"
    assert cli.main(["apply", str(model), path, "--tiled", "-q"]) == 0
    made = Path("jgmm-applied/scene")
    for name in ("segmented", "certainty"):
        with rasterio.open(made / f"{name}_k2.tif") as file:
            assert (file.crs, file.transform) == place
    with rasterio.open(made / "segmented_k2.tif") as file:
        np.testing.assert_array_equal(file.read(1, masked=True).filled(255), found.labels % 256)
        assert file.nodata == 255
    assert not list((made / "reduced").glob("*.tif"))
    page = (made / "report.html").read_text()
    assert 'href="segmented_k2.tif"' in page
    assert "labels_k2.tif" not in page


def test_what_lies_nowhere_or_does_not_fit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scene()
    assert geo.is_georeferenced(path)
    assert not geo.is_georeferenced("missing.tif")
    with pytest.raises(ValueError, match="values: expected shape .12, 16. of scene.tif, got"):
        write_geotiff("out.tif", np.zeros((2, 2), int), path)
    Path("text.tif").write_text("no image")
    with pytest.raises(jgmm.image.ImageError, match="cannot read text.tif"):
        write_geotiff("out.tif", np.zeros((2, 2), int), "text.tif")
    assert {tag[0] for tag in geo.tags_of(path, SHAPE, 9)} >= {33550, 33922, 34735, 42113}
    assert geo.tags_of(path, (2, 2)) == []
    tifffile.imwrite("odd.tif", picture(), extratags=[(34735, "s", 0, "text", True)])
    assert geo.is_georeferenced("odd.tif")
    assert geo.tags_of("odd.tif", SHAPE) == []
    many = np.full(SHAPE, 70_000)
    many[0, 0] = -1
    write_geotiff("out.tif", many, path)
    with rasterio.open("out.tif") as file:
        assert (file.dtypes[0], file.nodata) == ("uint32", 2**32 - 1)
        np.testing.assert_array_equal(file.read(1, masked=True).mask, many < 0)
    monkeypatch.setattr(geo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install 'jgmm.geo.'"):
        write_geotiff("out.tif", many, path)
