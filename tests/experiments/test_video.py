"""Labels of a film stay the same from frame to frame."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from experiments import video


def test_labels_stay_and_come_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = video.Tracker(4)
    frames = list(video.film())
    labels = [tracker(frame) for frame in frames]
    for t, found in enumerate(labels):
        assert found[2, 2] == labels[0][2, 2]
        assert found[45, 2] == labels[0][45, 2]
        assert found[30, 8 + 4 * t] == labels[0][30, 8]
    blue = {int(labels[t][9, 50]) for t in range(12) if t % 6 >= 3}  # it was away in between
    assert len(blue) == 1
    others = [labels[0][place] for place in ((2, 2), (45, 2), (30, 8))]
    assert len({*others, *blue}) == 4
    shown = tracker.picture(labels[3])
    assert np.abs(shown[9, 50].astype(int) - (30, 30, 150)).max() < 10

    video.write(tmp_path / "in.gif", frames[:4], 0.1)
    out = tmp_path / "out.gif"
    assert video.main([str(tmp_path / "in.gif"), str(out), "-k", "4", "--beside"]) == 0
    assert "wrote" in capsys.readouterr().out
    assert iio.immeta(out)["duration"] == 100
    assert iio.imread(out).shape[:3] == (4, 48, 128)
