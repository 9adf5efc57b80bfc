"""What regions are merged by: cuts are measured, and scales chosen on one half and the other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pictures import annotated

from experiments import merging_cues as merging
from experiments.metrics import agreement
from jgmm.image.hierarchy import hierarchy_of

RNG = np.random.default_rng(5)


def test_each_scale_is_measured_as_its_cut_is() -> None:
    labels = RNG.integers(-1, 4, (12, 15))
    tree = hierarchy_of(np.maximum(labels, 0), RNG.normal(0, 9, (12, 15, 3)), min_region=3)
    truths = [RNG.integers(0, 3, labels.shape) for _ in range(2)]
    found = merging.agreements(tree, truths)
    assert found.shape == (len(merging.SCALES), 4)
    for scale, row in list(zip(merging.SCALES, found, strict=True))[::7]:
        one = agreement(tree.cut(merge=scale), truths)
        np.testing.assert_allclose(row, [one.covering, one.voi, one.pri, one.pixels])


def test_scales_are_chosen_on_the_other_half() -> None:
    # Two photographs, two scales: each half has its own best scale, which is worse for the other.
    found = np.zeros((2, 2, 4))
    found[..., 3] = 1
    found[0, :, :3] = [[0.9, 1.0, 0.9], [0.5, 2.0, 0.5]]
    found[1, :, :3] = [[0.4, 3.0, 0.4], [0.8, 1.5, 0.8]]
    measures, each = merging.held_out(found, 3)
    np.testing.assert_allclose(each, [[0.5, 2.0, 0.5], [0.4, 3.0, 0.4]])
    np.testing.assert_allclose(measures, [0.45, 2.5, 0.45])
    figures = merging.study(np.stack([found] * 4), 3)
    assert list(figures) == list(merging.CUES)
    np.testing.assert_allclose(figures["and both"]["tuned on all"], [0.65, 1.75, 0.65])
    np.testing.assert_allclose(figures["and both"]["gain"], 0)


@pytest.mark.usefixtures("plain_process")
def test_it_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotated(tmp_path, noise=8)
    out = tmp_path / "figures.json"
    arguments = ["--data", str(tmp_path), "--json", str(out), "--halvings", "1"]
    assert merging.main(arguments) == 0
    assert "| and both | 0." in capsys.readouterr().out
    content = json.loads(out.read_text())
    assert content["photographs"] == 2
    assert all(row["held out"][0] > 0.6 for row in content["figures"].values())
    assert merging.main(["--data", str(tmp_path), "--limit", "1"]) == 0
    assert "nothing to measure" in capsys.readouterr().out
