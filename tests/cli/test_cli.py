"""The command line as its users meet it: files, streams and exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import jax
import numpy as np
import pytest
import tifffile
from pictures import SHAPE, holes, picture, tiff, write
from PIL import Image

import jgmm
from jgmm.cli import app as cli
from jgmm.cli.options import output_folders

pytestmark = pytest.mark.usefixtures("plain_process")


def summary(path: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=refuse)


def test_segment_writes_everything(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("photo.png", picture())
    assert cli.main(["segment", "photo.png", "-k", "3,2"]) == 0
    pictures = ("segmented", "labels", "learning_curve", "overlay", "certainty", "regions")
    kinds = tuple(f"{name}_k{{}}.png" for name in pictures)
    more = ("model_k{}.safetensors", "segments_k{}.csv", "regions_k{}.csv")
    names = {kind.format(k) for k in (2, 3) for kind in (*kinds, *more)}
    names |= {
        "learning_curves.png",
        "comparison.png",
        "criteria.png",
        "summary.json",
        "report.html",
    }
    made = Path("jgmm-out/photo")
    assert {path.name for path in made.iterdir()} == names
    assert len({path.stat().st_mode for path in made.iterdir()}) == 1

    labels = iio.imread(made / "labels_k2.png")
    assert (labels.dtype, labels.shape, labels.max()) == (np.uint8, SHAPE, 1)
    assert (labels[:, -1] == 0).all()  # segment 0 is the largest
    segmented = iio.imread(made / "segmented_k2.png")
    for label in (0, 1):
        colour = picture()[labels == label].mean(axis=0)
        assert (segmented[labels == label] == np.rint(colour)).all()
    with Image.open(made / "segmented_k2.png") as image:
        np.testing.assert_array_equal(np.asarray(image), labels)

    content = summary("jgmm-out/photo/summary.json")
    assert content["input"]["path"] == "photo.png"
    assert (content["features"], content["seed"]) == ("rgb", 0)
    assert content["versions"]["jgmm"] == jgmm.__version__
    assert content["chosen_k"] == 2
    assert [fit["k"] for fit in content["fits"]] == [2, 3]
    for fit in content["fits"]:
        mixture = jgmm.load(made / f"model_k{fit['k']}.safetensors")
        for name in ("weights", "means", "covariances"):
            saved = np.asarray(getattr(mixture, name))
            np.testing.assert_array_equal(np.asarray(fit[name], np.float32), saved)
        assert fit["status"] == "converged"
        assert {"log_likelihood", "iterations", "bic", "aic", "icl", "seconds"} <= fit.keys()
        score = float(jgmm.score(mixture, picture().reshape(-1, 3) / np.float32(255)))
        assert fit["log_likelihood"] == pytest.approx(score, abs=1e-5)
    streams = capsys.readouterr()
    assert streams.err == ""
    assert "\x1b" not in streams.out
    for part in ("photo.png: 16 x 12 pixels", "fitted k = 3 in", "log-likelihood", "wrote"):
        assert part in streams.out
    page = (made / "report.html").read_text()
    assert "<code>jgmm segment photo.png -k 3,2</code>" in page
    links = set(re.findall(r'<a href="([^"#]+)"', page))
    assert links == names - {"report.html"}
    # Without it none is left of an earlier run, of which it would tell.
    assert cli.main(["segment", "photo.png", "-k", "2", "-q", "--no-report"]) == 0
    assert not (made / "report.html").exists()


def test_student_t_components(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("photo.png", picture())
    made = "jgmm-out/photo"
    wish = ["--distribution", "student_t", "--degrees-of-freedom"]
    run = ["segment", "photo.png", "-k", "2", "-q", "--no-report", *wish]
    assert cli.main([*run, "shared"]) == 0
    fit = summary(f"{made}/summary.json")["fits"][0]
    mixture = jgmm.load(f"{made}/model_k2.safetensors")
    assert fit["distribution"] == mixture.distribution.name == "student_t"
    told = np.asarray(fit["degrees_of_freedom"], np.float32)  # the shortest decimals
    np.testing.assert_array_equal(told, mixture.degrees_of_freedom)
    assert len(set(fit["degrees_of_freedom"])) == 1
    assert fit["degrees_of_freedom"][0] != 4
    asked = []

    def hear(*arguments: Any, **options: Any) -> Any:
        asked.append(options["degrees_of_freedom"])
        return jgmm.sweep(*arguments, **{**options, "degrees_of_freedom": "shared"})

    monkeypatch.setattr("jgmm.cli.fits.sweep", hear)
    assert cli.main([*run, "4"]) == 0
    assert asked == [4.0]
    before = iio.imread(f"{made}/labels_k2.png")
    assert cli.main(["apply", f"{made}/model_k2.safetensors", "photo.png", "-o", "b", "-q"]) == 0
    assert (iio.imread("b/photo/labels_k2.png") == before).all()


def test_a_second_run_gives_the_same_and_quiet_is_quiet(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("photo.png", picture())
    for run in ("a", "b"):
        assert cli.main(["segment", "photo.png", "-k", "2,3", "-o", run, "--quiet"]) == 0
    for kind in ("labels", "segmented", "learning_curve"):
        name = f"photo/{kind}_k3.png"
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["rgb", "holes", "grey", "bands"])
def test_apply_repeats_the_segmentation(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = {"rgb": picture(), "holes": holes(), "grey": picture(1), "bands": picture(6)}[kind]
    features = "lab" if kind == "rgb" else "rgb"
    if kind == "bands":
        tifffile.imwrite("x.tif", image, photometric="minisblack", planarconfig="contig")
    else:
        write("x.png", image[..., 0] if kind == "grey" else image)
    source = "x.tif" if kind == "bands" else "x.png"
    assert cli.main(["segment", source, "-k", "3", "--features", features, "-q"]) == 0
    assert cli.main(["apply", "jgmm-out/x/model_k3.safetensors", source]) == 0
    for name in ("labels_k3.png", "segmented_k3.png"):
        first, second = (iio.imread(f"{made}/x/{name}") for made in ("jgmm-out", "jgmm-applied"))
        np.testing.assert_array_equal(first, second)
    fit = summary("jgmm-out/x/summary.json")["fits"][0]
    applied = summary("jgmm-applied/x/summary.json")
    assert applied["features"] == features
    assert applied["log_likelihood"] == pytest.approx(fit["log_likelihood"], abs=1e-4)
    assert f"log-likelihood {applied['log_likelihood']:.4f}" in capsys.readouterr().out


def test_names_of_files_are_no_markup_and_need_not_be_text(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = os.fsdecode(b"$\\frac$[red]\xff\n.png")
    write("x.png", picture())
    try:
        os.rename("x.png", name)
    except OSError:
        pytest.skip("this file system has no such names")
    assert cli.main(["segment", name, "-k", "2,3"]) == 0
    out = capsys.readouterr().out
    assert "$\\frac$[red]\\xff\\x0a.png: fitted k = 2" in out
    (path,) = Path("jgmm-out").glob("*/summary.json")
    assert summary(os.fspath(path))["input"]["path"] == "$\\frac$[red]\\xff\n.png"


def test_left_out_pixels(folder: Path) -> None:
    write("holes.png", holes())
    assert cli.main(["segment", "holes.png", "-k", "2,3", "-q"]) == 0
    labels = iio.imread("jgmm-out/holes/labels_k3.png")
    with Image.open("jgmm-out/holes/segmented_k3.png") as image:  # imageio reads no transparency
        segmented = np.asarray(image.convert("RGBA"))
    out = holes()[..., 3] == 0
    assert (labels[out] == 255).all()
    assert (labels[~out] < 3).all()
    np.testing.assert_array_equal(segmented[..., 3] == 0, out)
    assert summary("jgmm-out/holes/summary.json")["input"]["pixels_left_out"] == out.sum()


def test_many_segments_in_float64(folder: Path) -> None:
    colours = np.stack(np.meshgrid(np.arange(0, 200, 10), np.arange(0, 200, 10), [7]), axis=-1)
    write("x.png", colours.reshape(20, 20, 3).astype(np.uint8))
    options = ["--covariance", "spherical", "--max-iter", "2", "--dtype", "float64", "-q"]
    assert cli.main(["segment", "x.png", "-k", "300", "--no-report", *options]) == 0
    labels = iio.imread("jgmm-out/x/labels_k300.png")
    assert labels.dtype == np.uint16
    assert labels.max() > 255
    with jax.enable_x64(True):
        assert jgmm.load("jgmm-out/x/model_k300.safetensors").means.dtype == np.float64
    again = ["apply", "jgmm-out/x/model_k300.safetensors", "x.png", "-q", "--no-report"]
    assert cli.main(again) == 0
    np.testing.assert_array_equal(iio.imread("jgmm-applied/x/labels_k300.png"), labels)
    fit = summary("jgmm-out/x/summary.json")["fits"][0]
    applied = summary("jgmm-applied/x/summary.json")
    assert applied["log_likelihood"] == pytest.approx(fit["log_likelihood"], abs=1e-12)


AWKWARD = {
    "one pixel": lambda: write("x.png", picture()[:1, :1]),
    "one colour": lambda: write("x.png", np.full((*SHAPE, 3), 77, np.uint8)),
    "twelve of sixteen bits": lambda: write("x.png", picture(1)[..., 0].astype(np.uint16) * 16),
    "float beyond one": lambda: tiff(picture(1)[..., 0].astype(np.float32) * 30 - 900),
    "float with holes": lambda: tiff(np.where(picture(1)[..., 0] > 60, np.nan, np.float32(0.5))),
    "palette": lambda: Image.fromarray(picture()).convert("P").save("x.png") or "x.png",
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_images(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["segment", AWKWARD[name](), "-k", "2,3"]) == 0
    segmented = iio.imread("jgmm-out/x/segmented_k2.png")
    assert segmented.dtype == np.uint8
    if name in ("twelve of sixteen bits", "float beyond one"):
        assert segmented.max() - segmented.min() > 80  # shown over the whole range
    content = summary("jgmm-out/x/summary.json")
    if name.startswith("one"):
        assert content["fits"][1]["status"] == "degenerate"
    assert capsys.readouterr().err == ""


def test_images_of_one_name_have_folders_of_their_own() -> None:
    names = ["a/x.png", "b/x.jpg", "x-2.png", "c/X.tif", "a/x.png", "a/./x.png", "...jpg"]
    folders = output_folders([Path(name) for name in names], Path("out"))
    assert [(str(image), made.name) for image, made in folders.items()] == [
        ("a/x.png", "x"),
        ("b/x.jpg", "x-3"),
        ("x-2.png", "x-2"),
        ("c/X.tif", "X-4"),
        ("...jpg", "...jpg"),
    ]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["segment", "--help"], ["apply", "-h"]])
def test_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Usage: jgmm")
    assert max(map(len, lines)) <= 80


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"jgmm {jgmm.__version__}\n"


def test_the_process_ends_as_it_should(tmp_path: Path) -> None:
    """Streams, exit status, cache, and the end by a signal, in a process of its own."""
    iio.imwrite(tmp_path / "x.png", picture())
    code = "import sys; from jgmm.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "segment", "x.png", "-k", "2"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONWARNINGS": ""}
    process = subprocess.Popen(
        [*command, "--max-iter", "1000000", "--tol", "0"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("x.png: 16 x 12")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert any((tmp_path / "cache" / "jgmm").iterdir())


def test_spatial_options_and_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    image = np.where(np.arange(40)[:, None] < 20, [200, 40, 40], [40, 40, 200])[None]
    image = np.clip(image + rng.normal(0, 30, (30, 40, 3)), 0, 255).astype(np.uint8)
    iio.imwrite("x.png", image)
    options = ["--features", "lab+xy", "--smooth", "--min-region", "20", "--merge", "4.5"]
    options += ["--covariance", "spherical", "--xy-weight", "3"]
    assert cli.main(["segment", "x.png", "-k", "3", "-q", *options]) == 0
    assert cli.main(["apply", "jgmm-out/x/model_k3.safetensors", "x.png", "-q"]) == 0
    for name in ("labels_k3.png", "regions_k3.png"):
        one, other = (iio.imread(f"{folder}/x/{name}") for folder in ("jgmm-out", "jgmm-applied"))
        np.testing.assert_array_equal(one, other)
    # The recommended setting, but for what is said otherwise; with settings of the smoothing.
    options = ["--recommended", "--min-region", "20"]
    assert cli.main(["segment", "x.png", "-k", "3", "-q", *options]) == 0
    used = summary("jgmm-out/x/summary.json")["options"]
    expected = {**jgmm.image.RECOMMENDED, "min_region": 20}
    assert {name: used[name] for name in expected} == expected
    found = jgmm.segment("x.png", 3, **expected, key=jax.random.key(0))
    assert cli.main(["apply", "jgmm-out/x/model_k3.safetensors", "x.png", "-q"]) == 0
    for folder in ("jgmm-out", "jgmm-applied"):
        np.testing.assert_array_equal(iio.imread(f"{folder}/x/regions_k3.png"), found.regions)
    # So many regions, which the model makes of other images too.
    options = ["-k", "3", "-q", "--regions", "4", "--recommended"]
    assert cli.main(["segment", "x.png", *options]) == 0
    assert cli.main(["apply", "jgmm-out/x/model_k3.safetensors", "x.png", "-q"]) == 0
    for folder in ("jgmm-out", "jgmm-applied"):
        assert len(np.unique(iio.imread(f"{folder}/x/regions_k3.png"))) in (2, 3, 4)
    assert cli.main(["segment", "x.png", "-q", "--regions", "4", "--merge", "2"]) == 2
    assert cli.main(["segment", "x.png", "-q", "--smooth", "--noise-model", "potts"]) == 2
    assert cli.main(["segment", "x.png", "-q", "--beta", "much"]) == 2
    assert cli.main(["segment", "x.png", "-q", "--choose", "most"]) == 2


def test_bayes_switches_surplus_segments_off(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of `-k auto` all the program takes; of numbers each is the most."""
    write("photo.png", picture())
    options = ["segment", "photo.png", "--bayes", "--no-report"]
    assert cli.main([*options, "-k", "auto"]) == 0
    content = summary("jgmm-out/photo/summary.json")
    assert (content["chosen_k"], content["chosen_by"]) == (2, "bayes")
    assert content["chosen_because"] == "in use of 10 by variational Bayes"
    assert [fit["k"] for fit in content["fits"]] == [2]
    said = capsys.readouterr().out
    assert "fitted at most 10 components, 2 in use" in said
    assert "k = 2: in use of 10 by variational Bayes" in said
    assert "*" not in said  # there is nothing to choose from
    mixture = jgmm.load("jgmm-out/photo/model_k2.safetensors")
    score = float(jgmm.score(mixture, picture().reshape(-1, 3) / np.float32(255)))
    assert content["fits"][0]["log_likelihood"] == pytest.approx(score, abs=1e-5)
    assert cli.main([*options, "-k", "1,3,8"]) == 0
    content = summary("jgmm-out/photo/summary.json")
    assert [fit["k"] for fit in content["fits"]] == [1, 2]
    said = capsys.readouterr().out
    assert said.count("*") == 2  # the mark, and what it means
    assert f"* {content['chosen_because']}" in said
    assert Path("jgmm-out/photo/criteria.png").exists()
