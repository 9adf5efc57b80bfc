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


def test_labels_stay_where_the_light_fades_and_not_at_a_cut(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :60]
    flat = (y < 16)[..., None]  # a sky in which colours hardly change
    sky = np.stack([160 + y / 8, 190 + y / 8, 225 + 0 * y], axis=-1)
    stones = np.where((x < 30)[..., None], (120, 100, 80), (70, 110, 50))
    scene = np.where(flat, sky, stones + rng.normal(0, 16, (40, 60, 1)))
    other = 255 - scene
    light = [scene * (1 - 0.012 * t) for t in range(4)]
    frames = [np.clip(one, 0, 255).astype(np.uint8) for one in [*light, other, other * 0.98]]
    video.write(tmp_path / "in.gif", frames, 0.1)  # its palettes change from frame to frame
    tracker = video.Tracker(3)
    labels = []
    for t, frame in enumerate(video.read(tmp_path / "in.gif")[0]):
        labels.append(tracker(frame))
        assert tracker.fresh == (1 if t < 4 else 2)
    for now, then in ((1, 0), (2, 1), (3, 2), (5, 4)):
        assert (labels[now] != labels[then]).mean() < 0.05
    assert (labels[4] != labels[3]).mean() > 0.9


def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in ([str(tmp_path / "missing.gif")], ["-k", "0"]):
        assert video.main(given) == 2
        said = capsys.readouterr().err
        assert said.startswith("video: ")
        assert said.count("\n") == 1
    video.write(tmp_path / "in.gif", list(video.film(2)), 0.1)
    assert video.main([str(tmp_path / "in.gif"), str(tmp_path / "none" / "out.gif")]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_a_gif_that_does_not_say_how_long_its_frames_are_shown_is_read(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 8, 9, 3), dtype=np.uint8)
    iio.imwrite(tmp_path / "film.gif", list(frames))
    assert "duration" not in iio.immeta(tmp_path / "film.gif")
    found, seconds = video.read(tmp_path / "film.gif")
    assert len(list(found)) == 3
    assert seconds == 0.1
