"""The quality study, on two photographs made up for it."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from experiments import segmentation_quality as quality


@pytest.mark.usefixtures("plain_process")
def test_it_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = np.zeros((48, 64), np.uint16)
    truth[:, 32:] = 1
    truth[24:, 32:] = 2
    for number in range(2):
        picture = np.array([[200, 30, 30], [30, 30, 200], [30, 200, 30]], np.uint8)[truth]
        iio.imwrite(tmp_path / f"{number}.jpg", picture, quality=95)
        np.savez(tmp_path / f"{number}.npz", segmentations=truth[None].repeat(2, axis=0))
    out = tmp_path / "figures.json"
    arguments = ["--data", str(tmp_path), "--json", str(out), "--methods", "recommended"]
    assert quality.main([*arguments, "--limit", "2"]) == 0
    assert "| recommended | regions | 10 |" in capsys.readouterr().out
    figures = json.loads(out.read_text())["figures"]["recommended"]
    assert figures["regions"]["ods"]["covering"] > 0.95
    assert figures["labels"]["ois"]["covering"] >= figures["labels"]["ods"]["covering"]


def test_without_photographs_there_is_nothing_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quality.main(["--data", str(tmp_path)]) == 0
    assert "nothing to measure" in capsys.readouterr().out
