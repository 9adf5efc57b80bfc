"""Learned merging: sums are kept, weights are found, and what people tell apart stays apart."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from experiments import learned_merging as merging
from experiments.region_pairs import NAMES, Regions

RNG = np.random.default_rng(5)


def regions() -> Regions:
    """Four in a row, of which people take the first two for one."""
    size = np.array([[30.0], [20.0], [40.0], [10.0]])
    means = np.array([[10.0, 0, 0, 1], [12, 0, 0, 1], [60, 0, 0, 1], [90, 0, 0, 1]])
    shares = np.full((4, 3), 1 / 3)
    sums = {"size": size, "colours": size * means, "squares": size * (means**2 + 4)}
    sums |= {"posteriors": size * shares, "textons": size * shares}
    pairs = np.array([[0, 1, 5, 20], [1, 2, 5, 9000], [2, 3, 5, 4000]])
    table = np.diag(size[:, 0])
    table[:, 0] += table[:, 1]
    table[:, 1] = 0
    return Regions(sums, pairs, [table])


def test_merging_keeps_sums_and_agrees_best_where_people_do() -> None:
    start = regions()
    features = start.features(1, [0, 2])
    assert features.shape == (2, len(NAMES))
    assert features[0, 0] < features[1, 0]
    # n1 n2 / (n1 + n2) * |difference of means| * step / length, over the root of the area
    cost = 12 * 2 * 2 / 5 / 10
    assert features[0, 0] == pytest.approx(np.log(cost + 1e-3))
    assert start.together(0, 1) == 1
    found = merging.merge(start, merging.by_cost, [-9.0, 1.0, 9.0])
    assert found[:, 0].argmax() == 1
    np.testing.assert_allclose(found[1], [1, 0, 1, 100])
    assert start.size.tolist() == [30, 20, 40, 10]
    score = merging.learned([start, regions()], range(len(NAMES)))
    np.testing.assert_allclose(merging.merge(start, score, [0.0])[0, :3], [1, 0, 1])


def test_logistic_regression_finds_the_weights_of_shares() -> None:
    x = RNG.normal(size=(4000, 3)) * [1, 10, 0.1] + [0, 5, -1]
    true = 0.7 * x[:, 0] - 0.2 * x[:, 1] + 0.4
    shares = 1 / (1 + np.exp(-true))
    logit = merging.logistic(x, shares, RNG.uniform(0.5, 2, len(x)), ridge=1e-6)
    np.testing.assert_allclose(logit(x), true, atol=1e-4)


@pytest.mark.usefixtures("plain_process")
def test_it_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = np.zeros((48, 64), np.uint16)
    truth[:, 32:] = 1
    truth[24:, 32:] = 2
    for number in range(2):
        picture = np.array([[200, 30, 30], [30, 30, 200], [30, 200, 30]], float)[truth]
        picture = np.clip(picture + RNG.normal(0, 8, picture.shape), 0, 255)
        iio.imwrite(tmp_path / f"{number}.jpg", picture.astype(np.uint8), quality=95)
        np.savez(tmp_path / f"{number}.npz", segmentations=truth[None].repeat(2, axis=0))
    out = tmp_path / "figures.json"
    arguments = ["--data", str(tmp_path), "--json", str(out), "--seeds", "1"]
    assert merging.main(arguments) == 0
    assert "| learned | 0." in capsys.readouterr().out
    figures = json.loads(out.read_text())
    assert all(row[0] > 0.6 for row in figures.values())
    assert list(figures) == ["by cost", "learned"]
    assert merging.main(["--data", str(tmp_path), "--limit", "1"]) == 0
    assert "nothing to measure" in capsys.readouterr().out
