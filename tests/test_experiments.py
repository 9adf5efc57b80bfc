from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import jax
import numpy as np
import pytest

from experiments import scenery
from jgmm.image import read_image


def test_scenery(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenery, "KS", (2, 3))
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    iio.imwrite(tmp_path / "x.png", image)
    with jax.enable_x64(False):
        scenery.main([str(tmp_path / "x.png"), "-o", str(tmp_path / "out"), "--restarts", "1"])
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"learning_curves.png", "comparison.png"}
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["2", "3"]


def test_likelihoods_of_the_scenery(shared_data: Path) -> None:
    image = read_image(shared_data / "scenery.jpg")
    with jax.enable_x64(False):
        results = scenery.train(image, 4)
    for k, least in ((3, 2.92), (5, 3.84), (7, 4.09), (10, 4.20)):
        assert float(results[k].fit.log_likelihood) >= least
