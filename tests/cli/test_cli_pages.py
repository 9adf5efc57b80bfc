"""Pages, stacks, masks, folders and tables on the command line; what was taken is said."""

from __future__ import annotations

import csv
import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from pictures import SHAPE, picture, write

import jgmm
from jgmm.cli import app as cli

pytestmark = pytest.mark.usefixtures("plain_process")


def summary(path: str) -> Any:
    return json.loads(Path(path, "summary.json").read_text())


def volume() -> np.ndarray:
    """Three slices of a scan, int16, in units of their own."""
    first = picture(1)[..., 0].astype(np.int16) * 8 - 1000
    return np.stack([first, first[::-1], first[:, ::-1]])


def test_the_module_gives_the_exit_status(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["jgmm", "segment", "missing.png"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("jgmm", run_name="__main__")
    assert ended.value.code == 2
    assert Path(jgmm.__file__).with_name("py.typed").is_file()


def test_a_page_or_all(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite("ct.tif", volume(), metadata={"axes": "ZYX"}, photometric="minisblack")
    run = ["segment", "ct.tif", "-k", "2"]
    for options, taken, pages in (
        ([], "page 1 of 3", [1]),
        (["--page", "3"], "page 3 of 3", [3]),
        (["--stack"], "all 3 pages", [1, 2, 3]),
    ):
        assert cli.main([*run, *options]) == 0
        assert f"ct.tif: {taken}, 16 x 12 pixels, 1 channel" in capsys.readouterr().out
        found = summary("jgmm-out/ct")["input"]
        assert (found["pages_taken"], found["pages"], found["dtype"]) == (pages, 3, "int16")
    assert summary("jgmm-out/ct")["input"]["pixels"] == 3 * SHAPE[0] * SHAPE[1]
    page = Path("jgmm-out/ct/report.html").read_text()
    assert "All 3 pages have one mixture" in page
    links = re.findall(r'<a href="([^"#]+)"', page)
    assert all(Path("jgmm-out/ct", link).is_file() for link in links)
    # The stack has one mixture, and its slices are each other's mirror images.
    labels = [iio.imread(f"jgmm-out/ct/page_{i}/labels_k2.png") for i in (1, 2, 3)]
    np.testing.assert_array_equal(labels[1], labels[0][::-1])
    np.testing.assert_array_equal(labels[2], labels[0][:, ::-1])
    model = "jgmm-out/ct/model_k2.safetensors"
    assert cli.main(["apply", model, "ct.tif", "--stack"]) == 0
    assert "ct.tif: all 3 pages, k = 2, log-likelihood" in capsys.readouterr().out
    for i in (1, 2, 3):
        again = iio.imread(f"jgmm-applied/ct/page_{i}/labels_k2.png")
        np.testing.assert_array_equal(again, labels[i - 1])
    assert [page["page"] for page in summary("jgmm-applied/ct")["pages"]] == [1, 2, 3]
    assert cli.main(["apply", model, "ct.tif", "--page", "2"]) == 0
    assert "ct.tif: page 2 of 3, k = 2" in capsys.readouterr().out
    np.testing.assert_array_equal(iio.imread("jgmm-applied/ct/labels_k2.png"), labels[1])


def test_pages_without_names_are_bands_unless_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite("x.tif", volume(), photometric="minisblack")
    assert cli.main(["segment", "x.tif", "-k", "2"]) == 0
    assert "x.tif: 3 pages as bands, 16 x 12 pixels, 3 channels" in capsys.readouterr().out
    assert cli.main(["segment", "x.tif", "-k", "2", "--page", "2"]) == 0
    assert "x.tif: page 2 of 3, 16 x 12 pixels, 1 channel" in capsys.readouterr().out


def test_a_mask_and_the_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("x.png", picture())
    mask = np.full(SHAPE, 255, np.uint8)
    mask[:4] = 0
    write("mask.png", mask)
    assert cli.main(["segment", "x.png", "-k", "2", "--mask", "mask.png"]) == 0
    assert ", 64 left out" in capsys.readouterr().out
    labels = iio.imread("jgmm-out/x/labels_k2.png")
    np.testing.assert_array_equal(labels == 255, mask == 0)
    found = jgmm.segment("x.png", 2, mask=mask)
    np.testing.assert_array_equal(np.where(mask > 0, labels.astype(int), -1), found.labels)
    with Path("jgmm-out/x/segments_k2.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["pixels"]) for row in rows] == np.bincount(labels[mask > 0]).tolist()
    model = "jgmm-out/x/model_k2.safetensors"
    assert cli.main(["apply", model, "x.png", "-q", "--mask", "mask.png"]) == 0
    np.testing.assert_array_equal(iio.imread("jgmm-applied/x/labels_k2.png"), labels)
    assert Path("jgmm-applied/x/segments_k2.csv").is_file()


def test_many_images_and_folders(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("in/b.png", "in/a.png", "in/.hidden.png", "c.png"):
        write(name, picture())
    Path("in/notes.txt").write_text("no image")
    Path("in/more").mkdir()
    assert cli.main(["segment", "in", "-k", "2", "-q"]) == 0
    assert sorted(path.name for path in Path("jgmm-out").iterdir()) == ["a", "b", "index.html"]
    index = Path("jgmm-out/index.html").read_text()
    links = re.findall(r'(?:href|src)="([^"]+)"', index)
    assert {"a/report.html", "b/report.html"} < set(links)
    assert all(Path("jgmm-out", link).is_file() for link in links)
    assert all(
        'href="../index.html"' in Path("jgmm-out", n, "report.html").read_text() for n in "ab"
    )
    # What Python saves is as good as what the command line does.
    jgmm.save("model.safetensors", jgmm.segment("c.png", 2))
    assert cli.main(["apply", "model.safetensors", "in", "missing.png", "c.png"]) == 2
    streams = capsys.readouterr()
    assert streams.err == "jgmm: no such file: missing.png\n"
    assert [line.split(":")[0] for line in streams.out.splitlines()[::2]] == [
        *("a.png", "b.png", "c.png")
    ]
    expected = iio.imread("jgmm-out/a/labels_k2.png")
    for name in "abc":
        np.testing.assert_array_equal(iio.imread(f"jgmm-applied/{name}/labels_k2.png"), expected)
    for page in ("index.html", "c/report.html"):
        made = Path("jgmm-applied", page)
        links = re.findall(r'(?:href|src)="([^"#:]+)"', made.read_text())
        assert links
        assert all((made.parent / link).is_file() for link in links)
        assert "model.safetensors" in made.read_text()
    assert cli.main(["apply", "model.safetensors", "c.png", "-q", "--no-report"]) == 0
    assert not Path("jgmm-applied/c/report.html").exists()
    assert cli.main(["segment", "c.png", "-k", "2", "-q", "--min-region", "3"]) == 0
    found = jgmm.segment("c.png", 2, min_region=3)
    contours = iio.imread("jgmm-out/c/contours_k2.png")
    np.testing.assert_array_equal(contours, np.rint(100 * found.hierarchy.contours()))
    assert 'href="contours_k2.png"' in Path("jgmm-out/c/report.html").read_text()


def test_a_page_says_what_was_applied_to_what(folder: Path) -> None:
    write("x.png", picture())
    write("y.png", picture(seed=1))
    fit = ["segment", "x.png", "-k", "2", "-q", "--seed", "7", "--covariance", "diag"]
    assert cli.main([*fit, "--min-region", "3", "--merge", "2"]) == 0
    model = "jgmm-out/x/model_k2.safetensors"
    apply = ["apply", model, "y.png", "-q"]

    def made() -> str:
        page = Path("jgmm-applied/y/report.html").read_text()
        part = page[page.index("How it was made") : page.index('id="files"')]
        return " ".join(re.sub("<[^>]*>", " ", part).split())

    assert cli.main(apply) == 0
    said = made()
    assert f"Command jgmm apply {model} y.png -q" in said
    assert "Image y.png: 3 × uint8, 192 pixels taken" in said
    by = f"Model {model}: k = 2, fitted to pixels of 3 × uint8 by jgmm {jgmm.__version__}"
    settings = "rgb features, diag covariances, seed 7, float32, min_region 3, merge 2"
    assert f"{by} Its settings {settings} Versions jgmm" in said
    assert summary("jgmm-applied/y")["fitted"]["seed"] == 7
    # Of a model that does not say who made it, and says nonsense of that.
    whole = jgmm.load_model(model)
    for more in (None, {"made": [7]}, {"made": {"seed": "<b>", "jgmm": 3}}, {"made": {"seed": -1}}):
        jgmm.save(model, whole, more)
        assert cli.main(apply) == 0
        assert f"Model {model}: k = 2, fitted to pixels of 3 × uint8 Its settings rgb" in made()
        assert "seed" not in made()
    # Tile by tile, and of a joint fit.
    assert cli.main(["segment", "x.png", "y.png", "-k", "2", "-q", "--joint", "--seed", "5"]) == 0
    apply[1] = "jgmm-out/model_k2.safetensors"
    assert cli.main([*apply, "--tiled"]) == 0
    assert "rgb features, full covariances, seed 5, float32" in made()


def test_one_mixture_for_many_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = picture(), picture(seed=1)[:9, 3:]  # of different sizes, and holes
    second = np.dstack([second, np.where(second[..., 0] > 60, 255, 0).astype(np.uint8)])
    write("in/a.png", first)
    write("in/b.png", second)
    write("in/c.png", picture(1)[..., 0])
    assert cli.main(["segment", "in", "missing.png", "-k", "2", "--joint"]) == 2
    streams = capsys.readouterr()
    assert "expected 3 channels of uint8, as in the images before, got 1" in streams.err
    assert "no such file: missing.png" in streams.err
    names = {path.name for path in Path("jgmm-out").iterdir()}
    assert {"a", "b", "index.html", "model_k2.safetensors", "summary.json"} <= names
    assert "c" not in names
    # The fit is that to all pixels that take part, to rounding.
    there = second[..., 3] > 0
    pixels = np.concatenate([first.reshape(-1, 3), second[there][:, :3]])
    mixture = jgmm.load("jgmm-out/model_k2.safetensors")
    mean = float(jgmm.score(mixture, pixels / np.float32(255)))
    (fit,) = summary("jgmm-out")["fits"]
    assert fit["log_likelihood"] == pytest.approx(mean, abs=1e-5)
    assert summary("jgmm-out")["joint"]["pixels"] == len(pixels)
    (alone,) = (jgmm.segment(pixels[None], 2).fit,)
    assert fit["log_likelihood"] == pytest.approx(float(alone.log_likelihood), abs=1e-4)
    # A label is the same component, and shown in the same colour, everywhere.
    labels = np.concatenate(
        [
            iio.imread("jgmm-out/a/labels_k2.png").reshape(-1),
            iio.imread("jgmm-out/b/labels_k2.png")[there],
        ]
    )
    np.testing.assert_array_equal(labels, jgmm.predict(mixture, pixels / np.float32(255)))
    shown = np.concatenate(
        [
            iio.imread("jgmm-out/a/segmented_k2.png").reshape(-1, 3),
            iio.imread("jgmm-out/b/segmented_k2.png")[there][:, :3],
        ]
    )
    for label in (0, 1):
        mean = pixels[labels == label].astype(float).mean(axis=0)
        assert (shown[labels == label] == np.rint(mean)).all()
    for name in "ab":
        page = Path(f"jgmm-out/{name}/report.html").read_text()
        links = re.findall(r'<a href="([^"#]+)"', page)
        assert all(Path("jgmm-out", name, link).is_file() for link in links)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("segment x.png --page 0", "expected a whole number from 1"),
        ("segment x.png --page 2", "page: expected 1, as there are no others, got 2: x.png"),
        ("segment x.png --page 1 --stack", "expected one of --page and --stack, got both"),
        ("apply m x.png --page 1 --stack", "expected one of --page and --stack, got both"),
        ("segment x.png c.png --mask x.png", "expected one image for --mask, got 2"),
        ("apply m x.png c.png --mask x.png", "expected one image for --mask, got 2"),
        ("segment x.png --mask small.png", "a mask of the image's 16 x 12 pixels, got 16 x 11"),
        ("segment x.png --mask none.png", "got an image all transparent or black: none.png"),
        ("segment pages.gif --stack --features lab+xy", "no features with +xy with --stack"),
        ("segment pages.gif --stack --noise-model potts", "no --noise-model with --stack"),
        ("segment pages.gif --stack --labels x.png", "no --labels with --stack, got 2 pages"),
        ("segment x.png c.png --joint --stack", "expected no --stack with --joint"),
        ("segment x.png --joint --features lab+xy", "no features with +xy with --joint"),
        ("segment --joint", "expected images for --joint, got none"),
        ("segment --mask x.png", "expected one image for --mask, got none"),
        ("segment --tiled", "expected images for --tiled, got none"),
        ("segment pages.gif --stack --animate gif", "expected one of --animate and --stack"),
        ("apply m hollow", "no image in the folder hollow"),
    ],
)
def test_what_does_not_go_together(
    arguments: str, part: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("x.png", picture())
    write("c.png", picture())
    write("small.png", picture()[1:])
    write("none.png", picture() * 0)
    iio.imwrite("pages.gif", [picture(), picture(seed=1)])
    Path("hollow").mkdir()
    assert cli.main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1


def test_a_colour_is_shown_alike_in_deep_images(folder: Path) -> None:
    """Each by itself would be shown by its own white."""
    for name, bright in (("a", 4000), ("b", 9000)):
        write(
            f"{name}.png", np.where(np.arange(48).reshape(6, 8) % 3, 1000, bright).astype(np.uint16)
        )
    assert cli.main(["segment", "a.png", "b.png", "-k", "3", "--joint", "--no-report", "-q"]) == 0
    shown = [iio.imread(f"jgmm-out/{name}/segmented_k3.png", mode="RGB")[0, 1] for name in "ab"]
    np.testing.assert_array_equal(*shown)


def test_an_index_of_stacks_shows_their_first_pages(folder: Path) -> None:
    for name in ("a.gif", "b.gif"):
        iio.imwrite(name, np.stack([picture(), picture(seed=1)]))
    assert cli.main(["segment", "a.gif", "-k", "2", "--stack", "--no-report", "-q"]) == 0
    model = "jgmm-out/a/model_k2.safetensors"
    assert cli.main(["apply", model, "a.gif", "b.gif", "--stack", "-q"]) == 0
    page = Path("jgmm-applied/index.html").read_text()
    links = re.findall(r'(?:src|href)="([^"#:]+)"', page)
    assert any("page_1/" in link for link in links)
    assert all(Path("jgmm-applied", link).is_file() for link in links)


def test_bayes_searches_no_more_than_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def hear(*arguments: Any, **options: Any) -> Any:
        asked.append(options["search"])
        return jgmm.fit_variational(*arguments, **{**options, "search": "none"})

    monkeypatch.setattr("jgmm.cli.fits.fit_variational", hear)
    write("x.png", picture())
    for search in ("none", "best"):
        options = ["--bayes", "-k", "2", "--search", search, "--no-report", "-q"]
        assert cli.main(["segment", "x.png", *options]) == 0
    assert asked == ["none", "best"]
