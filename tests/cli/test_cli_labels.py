"""Scribbles and ranges of k on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from pictures import SHAPE, picture, write

import jgmm
from jgmm.cli import app as cli
from jgmm.cli.parameters import parse_ks

pytestmark = pytest.mark.usefixtures("plain_process")


def scribbles() -> np.ndarray:
    """A stroke in each half of `picture`, the lesser colour in the larger half; RGBA."""
    strokes = np.zeros((*SHAPE, 4), np.uint8)
    strokes[4, 1:4] = 255, 0, 0, 255
    strokes[6:8, 10:13] = 0, 0, 255, 255
    strokes[0, 0] = 9, 9, 9, 0  # transparent
    return strokes


def run(*arguments: str) -> Any:
    assert cli.main(["segment", "x.png", "-q", *arguments]) == 0
    return json.loads(Path("jgmm-out/x/summary.json").read_text())


def test_ranges() -> None:
    assert parse_ks("2-12") == tuple(range(2, 13))
    assert parse_ks(" 8 - 10, 3,5,9") == (3, 5, 8, 9, 10)
    assert parse_ks("auto") == ()


def test_scribbles_number_the_segments_and_stay(folder: Path) -> None:
    write("x.png", picture())
    write("labels.png", scribbles())
    content = run("-k", "2-3", "--labels", "labels.png")
    assert content["labels"] == [
        {"segment": 0, "colour": [0, 0, 255], "pixels": 6},
        {"segment": 1, "colour": [255, 0, 0], "pixels": 3},
    ]
    assert [fit["k"] for fit in content["fits"]] == [2, 3]
    for k in (2, 3):
        labels = iio.imread(f"jgmm-out/x/labels_k{k}.png")
        assert (labels[6:8, 10:13] == 0).all()
        assert (labels[4, 1:4] == 1).all()
    # the other way round, though the larger segment would be the first
    write("labels.png", scribbles()[..., [2, 1, 0, 3]])
    again = run("-k", "2", "--labels", "labels.png")
    np.testing.assert_allclose(again["fits"][0]["means"], content["fits"][0]["means"][::-1])
    swapped = iio.imread("jgmm-out/x/labels_k2.png")
    np.testing.assert_array_equal(swapped, 1 - labels_of_two(content))
    # the model segments the image alike without them
    assert cli.main(["apply", "jgmm-out/x/model_k2.safetensors", "x.png", "-q"]) == 0
    np.testing.assert_array_equal(iio.imread("jgmm-applied/x/labels_k2.png"), swapped)


def test_scribbles_stay_apart_however_regions_are_merged(folder: Path) -> None:
    write("x.png", picture())
    write("labels.png", scribbles())
    for more in (["--regions", "1"], ["--merge", "1000000"], ["--recommended"]):
        run("-k", "3", "--labels", "labels.png", *more)
        regions = iio.imread("jgmm-out/x/regions_k3.png")
        assert sorted({*regions[4, 1:4].tolist(), *regions[6:8, 10:13].ravel().tolist()}) == [0, 1]
        assert regions.max() == 1
        labels = iio.imread("jgmm-out/x/labels_k3.png")
        assert labels[4, 1] == 1
        assert labels[6, 10] == 0
        contours = iio.imread("jgmm-out/x/contours_k3.png")
        between = (regions[:, 1:] != regions[:, :-1]) * 65535
        assert (contours[::2, 1::2][between > 0] == 65535).all()
        assert contours[::2, 1::2][between == 0].max() < 65535


def labels_of_two(content: Any) -> np.ndarray:
    mixture = jgmm.Mixture(
        *(np.array(content["fits"][0][name]) for name in ("weights", "means", "covariances"))
    )
    return np.asarray(jgmm.predict(mixture, picture() / np.float32(255)))


def test_the_choice_is_explained_and_drawn(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("x.png", picture())
    content = run("-k", "2-3")
    assert content["chosen_because"].startswith("the least BIC of k = 2, 3")
    assert {entry["k"] for entry in content["chosen_from"]} == {2, 3}
    assert Path("jgmm-out/x/criteria.png").is_file()
    assert cli.main(["segment", "x.png", "-k", "auto", "--max-iter", "5"]) == 0
    said = capsys.readouterr().out
    assert "the knee of the log-likelihood of k = 3, 4, 5" in said
    assert "*" not in said


def test_of_a_noise_model_the_criteria_are_of_the_plain_mixture(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("x.png", picture())
    plain = run("-k", "2")["fits"][0]
    potts = run("-k", "2", "--noise-model", "potts", "--beta", "1")["fits"][0]
    assert plain["criteria_of"] == "this fit"
    assert potts["criteria_of"] == "the plain mixture"
    assert potts["bic"] == plain["bic"]
    assert plain["objective"] == plain["log_likelihood"]
    assert potts["objective"] not in (plain["objective"], potts["log_likelihood"])
    options = ["-k", "2", "--noise-model", "potts", "--beta", "1"]
    assert cli.main(["segment", "x.png", *options]) == 0
    said = capsys.readouterr().out
    assert "BIC: of the plain mixture" in said
    assert "*" not in said  # of one k none is chosen


def test_bad_scribbles(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("x.png", picture())
    write("small.png", scribbles()[:-1])
    write("empty.png", 0 * scribbles())
    write("many.png", picture())
    for name, part in (
        ("small.png", "expected labels of the image's 16 x 12 pixels, got 16 x 11: small.png"),
        ("empty.png", "expected labels, got an image all transparent or black: empty.png"),
        ("many.png", "expected labels of at most 2 colours for k = 2, got 19"),
        ("missing.png", "no such file: missing.png"),
    ):
        assert cli.main(["segment", "x.png", "-k", "2,3", "-q", "--labels", name]) == 2
        assert part in capsys.readouterr().err
    assert cli.main(["segment", "x.png", "-k", "auto", "-q", "--labels", "many.png"]) == 2
    assert "as many as there are labels" in capsys.readouterr().err
