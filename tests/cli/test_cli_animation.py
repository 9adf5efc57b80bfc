"""Films of EM."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from pictures import picture, write

from jgmm.cli import animation
from jgmm.cli import app as cli

pytestmark = pytest.mark.usefixtures("plain_process")


@pytest.mark.parametrize("shape", [(600, 2), (2, 600), (900, 1), (1, 1), (640, 640)])
def test_pictures_of_any_shape_are_of_a_size_for_films(shape: tuple[int, int]) -> None:
    frame = animation._sized(np.zeros((*shape, 3), np.uint8), shape)
    assert frame.shape[0] <= 640
    assert 320 <= frame.shape[1] <= 640
    assert not any(side % 2 for side in frame.shape[:2])


def test_a_film_ends_with_what_was_written(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("x.png", picture())
    assert cli.main(["segment", "x.png", "-k", "2", "--animate", "gif"]) == 0
    frames = iio.imread("jgmm-out/x/animation_k2.gif")
    assert 2 <= len(frames) <= 37
    times = 320 // 16  # small images are magnified
    shown = frames[-1][: 12 * times : times, ::times]
    written = iio.imread("jgmm-out/x/segmented_k2.png", mode="RGB")
    assert np.abs(shown.astype(int) - written).max() <= 8  # colours of a GIF are few
    caption = frames[-1][12 * times : 12 * times + 30]
    assert caption.min() < 100
    assert caption[:, -5:].min() == 255  # not cut off
    assert json.loads(Path("jgmm-out/x/summary.json").read_text())["options"]["animate"] == "gif"
    assert 'href="animation_k2.gif"' in Path("jgmm-out/x/report.html").read_text()
    capsys.readouterr()

    monkeypatch.setattr(animation.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["segment", "x.png", "-k", "2", "--animate", "mp4"]) == 2
    assert "pip install imageio-ffmpeg, or take --animate gif" in capsys.readouterr().err
    assert cli.main(["segment", "--animate", "gif", "--noise-model", "potts"]) == 2
    assert "expected one of --animate and --noise-model potts" in capsys.readouterr().err
