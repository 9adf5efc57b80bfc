"""Large images, tile by tile: the same labels, and nothing is done twice after an interruption."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from pictures import SHAPE, picture, write

import jgmm
from jgmm.cli import app as cli
from jgmm.cli import cutting, estimates, process, tiled
from jgmm.cli.terminal import Terminal
from jgmm.image import Image
from jgmm.image import tiles as tiles_of
from jgmm.image.bands import Pieces, banded
from jgmm.image.model import ImageModel, setup_of
from jgmm.image.samples import samples_of
from jgmm.image.settings import Spatial
from jgmm.image.tiles import Bands

pytestmark = pytest.mark.usefixtures("plain_process")


def large(folder: str = ".") -> np.ndarray:
    """Three bands of tiles, ragged at both ends, with a hole in one band and a band of nothing."""
    image = np.tile(picture(), (55, 20, 1))[:650, :300]
    alpha = np.full((*image.shape[:2], 1), 255, np.uint8)
    alpha[256:512], alpha[5:9, 5:9] = 0, 0
    image = np.dstack([image, alpha])
    tifffile.imwrite(
        f"{folder}/x.tif", image, tile=(64, 128), compression="zlib", extrasamples=["unassalpha"]
    )
    return image


def summary(path: str) -> Any:
    return json.loads(Path(path, "summary.json").read_text())


def test_tiles_hold_what_a_run_in_memory_finds(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = large()
    monkeypatch.setattr(cutting, "REDUCED", 130)
    assert cli.main(["segment", "x.tif", "-k", "2", "-o", "whole", "-q"]) == 0
    expected = iio.imread("whole/x/labels_k2.png")
    sure = iio.imread("whole/x/certainty_k2.png")

    class Stop(Exception):
        pass

    add = Bands.add
    done: list[int] = []
    begun: list[str] = []
    begin = Terminal.begin

    def beginning(self: Terminal, *arguments: Any, doing: str = "fitting") -> None:
        begun.append(doing)
        begin(self, *arguments, doing)

    monkeypatch.setattr(Terminal, "begin", beginning)
    monkeypatch.setattr(estimates, "_RATE", image[..., 0].size / 42)  # 42 s for a pass

    def stopping(self: Bands, *arguments: Any) -> None:
        done.append(len(self.notes))
        assert process._last_words == ["interrupted; the same command goes on from here"]
        if len(done) == 3:
            with self.path.open("ab") as file:  # a band that was written in part
                file.write(b"jgmmband123")
            raise Stop
        add(self, *arguments)

    monkeypatch.setattr(Bands, "add", stopping)
    run = ["segment", "x.tif", "-k", "2", "--tiled"]
    assert cli.main(run) == 1
    said = capsys.readouterr().out
    # To read and to label 42 s each, and to fit all pixels, if they differ as much as they can.
    step = estimates._STEP * 650 * 300 * 2 * 13
    most = 84 + estimates._COMPILED + step * 100
    assert f"and about 84 to {most:.0f} seconds" in said
    n = len(np.unique(image[image[..., 3] > 0], axis=0))
    assert f" pixels, {n} different; to fit takes about 1 to 6 seconds" in said
    assert process._last_words == []
    assert not Path("jgmm-out/x/segmented_k2.tif").exists()
    assert not Path("jgmm-out/x/summary.json").exists()
    tiles = Bands.tiles

    def spied(self: Bands, picture: str) -> Iterator[bytes]:
        for tile in tiles(self, picture):
            named.update(path.name for path in self.path.parent.iterdir() if "tif" in path.name)
            yield tile

    named: set[str] = set()
    monkeypatch.setattr(Bands, "tiles", spied)
    left = {path.name: path.read_bytes() for path in Path("jgmm-out/x").iterdir() if path.is_file()}
    assert cli.main(run) == 0
    assert done == [0, 1, 2, 2]
    said = capsys.readouterr().out
    assert "goes on after 2 of 3 bands" in said
    assert "and about 14 seconds" in said
    assert begun == ["reading", "labelling"]
    assert named == {"segmented_k2.tif"}  # while certainty is written; no file before it is whole
    with tifffile.TiffFile("jgmm-out/x/segmented_k2.tif") as file:
        page: Any = file.pages[0]
        assert (page.is_tiled, page.photometric.name) == (True, "PALETTE")
        labels = page.asarray()
        palette = page.colormap[:, :2].T // 257
    np.testing.assert_array_equal(labels, expected)
    assert (labels[image[..., 3] == 0] == 255).all()
    np.testing.assert_array_equal(tifffile.imread("jgmm-out/x/certainty_k2.tif"), sure)
    for label in (0, 1):
        mean = image[labels == label][:, :3].mean(axis=0)
        np.testing.assert_allclose(palette[label], mean, atol=0.51)
    found, whole = summary("jgmm-out/x"), summary("whole/x")
    assert found["input"]["pixels"] == whole["input"]["pixels"]
    assert found["fits"][0]["log_likelihood"] == whole["fits"][0]["log_likelihood"]
    assert found["reduced_by"] == 5
    assert iio.imread("jgmm-out/x/reduced/labels_k2.png").shape == (130, 60)
    np.testing.assert_array_equal(iio.imread("jgmm-out/x/reduced/labels_k2.png"), labels[::5, ::5])
    assert Path("jgmm-out/x/report.html").is_file()
    assert not list(Path("jgmm-out/x").glob(".*"))

    # Nothing goes on from the models of another run.
    place = Path("jgmm-out/x")
    for name, content in left.items():
        (place / name).write_bytes(content)
    other, means = place / "model_k2.safetensors", found["fits"][0]["means"]
    unfitted(str(other), image=image[..., :3])
    with monkeypatch.context() as patch:
        patch.setattr(cutting, "write_table", None)
        assert cli.main(run) == 1
    np.testing.assert_allclose(jgmm.load(other).means, means, rtol=1e-5)
    assert cli.main(["segment", "x.tif", "-k", "2", "-q"]) == 0
    assert not list(place.glob(".*"))

    monkeypatch.setattr(tiled, "LARGE", 1000)  # by itself, above that
    model = "jgmm-out/x/model_k2.safetensors"
    monkeypatch.setattr(estimates, "_RATE", 4e6)
    capsys.readouterr()
    assert cli.main(["apply", model, "x.tif"]) == 0
    assert "and about a second" in capsys.readouterr().out
    assert begun[-1] == "labelling"
    np.testing.assert_array_equal(tifffile.imread("jgmm-applied/x/segmented_k2.tif"), expected)
    assert summary("jgmm-applied/x")["log_likelihood"] == pytest.approx(
        whole["fits"][0]["log_likelihood"], abs=1e-5
    )


@pytest.mark.parametrize("how", ["plain", "strips", "tiles", "png"])
def test_bands_are_the_rows_of_the_image(how: str, tmp_path: Path) -> None:
    image = np.tile(picture().astype(np.uint16) * 200, (2, 2, 1))
    path = tmp_path / ("x.png" if how == "png" else "x.tif")
    options: dict[str, Any] = {
        "plain": {"byteorder": ">"},
        "strips": {"rowsperstrip": 5, "compression": "zlib", "predictor": True},
        "tiles": {"tile": (16, 32), "compression": "zlib"},
    }.get(how, {})
    if how == "png":
        image = image.astype(np.uint8)
        iio.imwrite(path, image)
    else:
        tifffile.imwrite(path, image, photometric="rgb", **options)
    with banded(path) as found:
        assert isinstance(found, Pieces) == (how != "png")
        for start, stop in ((0, 7), (7, 23), (4, 5)):
            rows = found.rows(start, stop).pixels
            np.testing.assert_array_equal(rows, image[start:stop])
            assert rows.dtype == image.dtype


def test_a_bigtiff_is_written_where_offsets_would_not_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the sizes of its tiles, as they are in the file; it is the same picture either way."""
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    values = np.random.default_rng(0).integers(0, 200, (600, 700)).astype(np.uint8)
    palette = np.arange(600, dtype=np.uint32).astype(np.uint8).reshape(200, 3)
    bands, path = Bands(tmp_path / "a.part", "a"), tmp_path / "x.tif"
    for start in range(0, 600, 256):
        part = values[start : start + 256]
        bands.add({"other": part // 100, "labels": part}, {})
    n_bytes = sum(len(tile) for tile in bands.tiles("labels"))
    assert n_bytes > values.size * 0.9  # noise
    spare = 1 << 26
    for most, big in (
        (1 << 32, False),
        (n_bytes + 9 * 8 + spare, False),
        (n_bytes + 9 * 8 + spare - 1, True),
    ):
        monkeypatch.setattr(tiles_of, "_CLASSIC", most)
        bands.write(path, "labels", values.shape, palette=palette)
        assert path.read_bytes()[:4] == (b"II+\0" if big else b"II*\0")
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            assert (file.is_bigtiff, page.is_tiled, page.dtype) == (big, True, np.uint8)
            np.testing.assert_array_equal(page.asarray(), values)
            np.testing.assert_array_equal(page.colormap[:, :200].T // 257, palette)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(path) as other:
                np.testing.assert_array_equal(other.read(1), values)
                assert other.colormap(1)[7] == (*palette[7], 255)
    monkeypatch.undo()
    gib = 1 << 30
    assert [tiles_of.is_big(n, 1) for n in (3 * gib, 4 * gib - 1, 4 * gib)] == [False, True, True]
    assert tiles_of.is_big(3 * gib, gib // 8)  # the places of many small tiles alone take as much


def test_time_left_goes_by_what_this_run_has_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of three bands, each read in 10 s and labelled in 2, on a clock that nothing else moves."""
    now, stop_after = 0, 1
    rows, add = Pieces.rows, Bands.add

    def reading(self: Pieces, start: int, stop: int) -> Image:
        nonlocal now
        now += 10 if stop - start > 1 else 0  # one row is but looked at
        return rows(self, start, stop)

    def labelling(self: Bands, *arguments: Any) -> None:
        nonlocal now
        now += 2
        add(self, *arguments)
        if len(self.notes) == stop_after:
            raise RuntimeError

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            return float(now)

    monkeypatch.setattr(cutting, "time", Clock)
    monkeypatch.setattr(tiled, "time", Clock)
    monkeypatch.setattr(Pieces, "rows", reading)
    monkeypatch.setattr(Bands, "add", labelling)
    large()
    run = ["segment", "x.tif", "--tiled", "-k", "2", "--max-iter", "1", "--search", "none"]
    assert cli.main(run) == 1
    said = capsys.readouterr().out
    assert "read 256 of 650 rows, 20 s left" in said
    assert "read 512 of 650 rows, 10 s left" in said
    stop_after = 0
    assert cli.main(run) == 0
    said = capsys.readouterr().out
    assert "goes on after 1 of 3 bands" in said
    assert "labelled 512 of 650 rows, 12 s left" in said
    assert "labelled 650 of 650 rows, 0 s left" in said


def test_what_tiles_cannot_do_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("x.png", picture())
    assert SHAPE == picture().shape[:2]
    assert cli.main(["segment", "x.png", "--tiled", "--smooth"]) == 2
    assert "expected no --smooth with --tiled" in capsys.readouterr().err
    assert cli.main(["segment", "missing.tif", "--tiled"]) == 2
    assert "no such file: missing.tif" in capsys.readouterr().err
    tifffile.imwrite("x.tif", picture(), photometric="rgb")
    assert cli.main(["apply", unfitted("a.safetensors"), "x.tif", "--tiled", "--page", "5"]) == 2
    assert "page: expected 1, as there are no others, got 5" in capsys.readouterr().err
    image = picture().astype(np.float32)
    image[0, 0] = 1e30
    tifffile.imwrite("x.tif", image, photometric="rgb")
    path = unfitted("a.safetensors")
    for more in ([], ["--tiled"]):
        assert cli.main(["apply", path, "x.tif", *more]) == 2
        said = capsys.readouterr().err
        assert "the model gives this image no finite likelihood: x.tif" in said


def unfitted(path: str, features: str = "rgb", image: Any = None, **spatial: Any) -> str:
    """A model of two components, as if fitted."""
    image = picture() if image is None else image
    samples = samples_of(Image(image, None, Path("x.tif")), features, "full")
    n = samples.features.shape[1]
    means = np.stack([np.full(n, 0.2), np.full(n, 0.5)])
    parts = [0.5, 0.5], means, [np.eye(n) * 0.01] * 2
    mixture = jgmm.Mixture(*(np.asarray(part, np.float32) for part in parts))
    jgmm.save(path, ImageModel(mixture, setup_of(samples, Spatial(**spatial))))
    return path


def test_a_model_that_needs_the_whole_image_gets_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("x.png", picture())
    joining = unfitted("a.safetensors", min_region=5)
    placed = unfitted("b.safetensors", "rgb+xy")
    for path in (joining, placed):
        assert cli.main(["apply", path, "x.png", "--tiled"]) == 2
        said = capsys.readouterr().err
        assert "expected a model without smoothing, regions and position for --tiled" in said
    monkeypatch.setattr(tiled, "LARGE", 100)
    assert cli.main(["apply", joining, "x.png", "-q"]) == 0
    assert Path("jgmm-applied/x/labels_k2.png").is_file()


def test_pages_are_taken_by_tiles_as_in_memory(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a stack as ImageJ writes it large: one head for all its pages."""
    stack = np.stack([picture(1, seed)[..., 0] for seed in range(3)])
    tifffile.imwrite("x.tif", stack, imagej=True, truncate=True, metadata={"axes": "TYX"})
    path = unfitted("a.safetensors", image=stack[0][..., None])
    for page, more in ((1, []), (2, ["--page", "2"])):
        run = ["apply", path, "x.tif", "--no-report", *more]
        assert cli.main([*run, "-o", "whole"]) == 0
        assert cli.main([*run, "--tiled"]) == 0
        assert f"x.tif: page {page} of 3, 16 x 12 pixels tile by tile" in capsys.readouterr().out
        whole, found = summary("whole/x")["input"], summary("jgmm-applied/x")["input"]
        assert found | {"distinct_colours": whole["distinct_colours"]} == whole
        assert (found["pages_taken"], found["pages"]) == ([page], 3)
        expected = iio.imread("whole/x/labels_k2.png")
        np.testing.assert_array_equal(tifffile.imread("jgmm-applied/x/segmented_k2.tif"), expected)


def test_a_part_of_a_band_does_not_keep_it_in_memory() -> None:
    band = Image(np.zeros((8, 6, 3), np.uint8), np.ones((8, 6), bool), Path("x.tif"))
    part = cutting.thinned(band, 5, 2)
    assert part.pixels.shape == (4, 3, 3)
    assert part.alpha is not None
    assert band.alpha is not None
    assert not np.shares_memory(part.pixels, band.pixels)
    assert not np.shares_memory(part.alpha, band.alpha)
