"""Model files are input from strangers: what is wrong with them is said in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import picture, write

import jgmm
from jgmm.cli import app as cli
from jgmm.mixture import files

pytestmark = pytest.mark.usefixtures("plain_process")

RECIPE: dict[str, Any] = {"features": "rgb", "center": [], "scale": [], "position": 0.0}
BANDS = {"features": "bands", "center": [0.5] * 3, "scale": [0.2] * 3, "position": 0.0}
GOOD: dict[str, Any] = {
    "features": "rgb",
    "recipe": RECIPE,
    "spatial": {"smooth": False, "min_region": 0, "merge": 0.0},
    "channels": 3,
    "image_dtype": "uint8",
}
DEEP: Any = json.loads("[" * 500 + "]" * 500)


def smooth(**settings: Any) -> dict[str, Any]:
    return {"spatial": {"smooth": settings}}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "names of other bands": ({"band_names": ["B2"]}, "expected 3 names or none"),
    "numbers for names": ({"band_names": [1, 2, 3]}, "expected 3 names or none"),
    "a text of names": ({"band_names": "rgb"}, "expected 3 names or none"),
    "channels as text": ({"channels": "3"}, "channels: expected a whole number"),
    "channels as truth": ({"channels": True}, "channels: expected a whole number"),
    "half a channel": ({"channels": 2.5}, "channels: expected a whole number"),
    "no channels": ({"channels": 0}, "channels: expected a whole number"),
    "very many channels": ({"channels": 10**400}, "channels: expected a whole number"),
    "features by number": ({"features": 3}, "recipe of 3"),
    "features by list": ({"features": ["rgb"]}, "recipe of"),
    "other features": ({"features": "lab"}, "recipe of 'lab'"),
    "unknown features": ({"features": "taste", "recipe": {"features": "taste"}}, "'taste'"),
    "a recipe by name": ({"recipe": "rgb"}, "a recipe of features, got 'rgb'"),
    "a recipe as list": ({"recipe": [RECIPE]}, "a recipe of features"),
    "no recipe": ({"recipe": None}, "a recipe of features, got None"),
    "a deep recipe": ({"recipe": {**RECIPE, "features": DEEP}}, "expected features"),
    "a center as text": ({"recipe": {**RECIPE, "center": "123"}}, "lists of numbers"),
    "a center of text": ({"features": "bands", "recipe": {**BANDS, "center": ["1"] * 3}}, "center"),
    "a center of rgb": ({"recipe": {**RECIPE, "center": [1.0], "scale": [1.0]}}, "bands"),
    "bands without a center": ({"features": "bands", "recipe": {"features": "bands"}}, "bands"),
    "a scale of 0": ({"features": "bands", "recipe": {**BANDS, "scale": [0.0] * 3}}, "scale"),
    "a scale below 0": ({"features": "bands", "recipe": {**BANDS, "scale": [-1.0] * 3}}, "scale"),
    "a scale of 1e300": ({"features": "bands", "recipe": {**BANDS, "scale": [1e300] * 3}}, "scale"),
    "a NaN": ({"features": "bands", "recipe": {**BANDS, "center": [np.nan] * 3}}, "center"),
    "other bands": (
        {"features": "bands", "recipe": {**BANDS, "center": [0.5] * 4, "scale": [0.2] * 4}},
        "expected 4 bands, got 3",
    ),
    "infinity": ({"recipe": {**RECIPE, "position": np.inf}}, "position"),
    "a depth by number": ({"image_dtype": 8}, "image_dtype: expected one of"),
    "an unknown depth": ({"image_dtype": "c16"}, "image_dtype: expected one of"),
    "a spatial list": ({"spatial": [1]}, "expected spatial settings smooth"),
    "no spatial": ({"spatial": None}, "expected spatial settings smooth"),
    "an unknown setting": ({"spatial": {"colour": 1}}, "expected spatial settings smooth"),
    "a very long setting": ({"spatial": {"c" * 10**5: 1}}, "expected spatial settings smooth"),
    "smooth as text": ({"spatial": {"smooth": "yes"}}, "smooth: expected a bool or settings"),
    "an unknown smoothing": (smooth(depth=1), "expected settings width, unary"),
    "sweeps without end": (smooth(n_sweeps=2 * 10**9), "n_sweeps: expected a whole number"),
    "half a sweep": (smooth(n_sweeps=0.5), "n_sweeps: expected a whole number"),
    "no width": (smooth(width=0), "width: expected a number"),
    "a width below 0": (smooth(width=-1.0), "width: expected a number"),
    "a coupling of 1e300": (smooth(coupling=1e300), "coupling: expected a number"),
    "a list of unary": (smooth(unary=[1]), "unary: expected a number"),
    "a NaN of unary": (smooth(unary=np.nan), "unary: expected a number"),
    "a merge of 1e300": ({"spatial": {"merge": 1e300}}, "merge: expected a number"),
    "a merge of 10^400": ({"spatial": {"merge": 10**400}}, "merge: expected a number"),
    "a truth of regions": ({"spatial": {"min_region": True}}, "min_region: expected a number"),
    "beta by name": ({"spatial": {"noise_model": "potts", "beta": "x"}}, "beta"),
    "an unknown noise": ({"spatial": {"noise_model": ["potts"]}}, "noise_model"),
}


def model(k: int = 2, **metadata: Any) -> str:
    mixture = jgmm.Mixture(
        weights=np.ones(k, np.float32) / np.float32(k),  # type: ignore[arg-type]
        means=np.tile(np.linspace(0.2, 0.6, k, dtype=np.float32)[:, None], 3),  # type: ignore[arg-type]
        covariances=np.full((k, 3), 0.01, np.float32),  # type: ignore[arg-type]
    )
    jgmm.save("model.safetensors", mixture, {**GOOD, **metadata})
    return "model.safetensors"


@pytest.mark.parametrize("name", BAD)
def test_a_model_from_a_stranger(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("x.png", picture())
    metadata, part = BAD[name]
    assert cli.main(["apply", model(**metadata), "x.png"]) == 2
    said = capsys.readouterr().err
    assert part in said
    assert said.count("\n") == 1
    assert len(said) < 500
    assert not Path("jgmm-applied").exists()


def test_more_segments_than_there_may_be(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("x.png", picture())
    assert cli.main(["apply", model(k=1001), "x.png"]) == 2
    assert "components: expected a number from 1 to 1000, got 1001" in capsys.readouterr().err


def test_a_model_is_read_once_whatever_the_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [write(f"{i}.png", picture()) for i in range(2)]
    path = model(made={"seed": 7, "jgmm": "0.1"})
    load, read = files.load_with_metadata, []

    def loading(path: Any) -> Any:
        read.append(path)
        return load(path)

    monkeypatch.setattr(files, "load_with_metadata", loading)
    assert cli.main(["apply", path, *names, "-o", "out", "-q"]) == 0
    assert len(read) == 1
    for i in range(2):
        fitted = json.loads(Path("out", str(i), "summary.json").read_text())["fitted"]
        assert (fitted["seed"], fitted["jgmm"]) == (7, "0.1")


def test_an_image_that_a_model_says_nothing_of(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("x.png", picture())
    far = jgmm.Mixture(
        weights=np.ones(1, np.float32),  # type: ignore[arg-type]
        means=np.full((1, 3), 1e18, np.float32),  # type: ignore[arg-type]
        covariances=np.full((1, 3), 1e-30, np.float32),  # type: ignore[arg-type]
    )
    jgmm.save("far.safetensors", far, GOOD)
    assert cli.main(["apply", "far.safetensors", "x.png"]) == 2
    streams = capsys.readouterr()
    assert "the model gives this image no finite likelihood: x.png" in streams.err
    assert streams.err.count("\n") == 1
