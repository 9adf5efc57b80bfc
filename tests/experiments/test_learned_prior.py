"""The study of a learned prior, on two photographs made up for it."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as iio
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import learned_prior as study


@pytest.mark.usefixtures("plain_process")
def test_it_learns_measures_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = np.zeros((40, 60), np.uint16)
    truth[:, 30:] = 1
    rng = np.random.default_rng(0)
    for number in range(2):
        colours = np.array([[150, 90, 60], [60, 110, 150]])[truth]
        picture = np.clip(rng.normal(colours, 30), 0, 255).astype(np.uint8)
        iio.imwrite(tmp_path / f"{number}.jpg", picture, quality=95)
        np.savez(tmp_path / f"{number}.npz", segmentations=truth[None].repeat(2, axis=0))
    figure, out = tmp_path / "figure.png", tmp_path / "figures.json"
    arguments = ["--data", str(tmp_path), "-o", str(figure), "--json", str(out), "-k", "2"]
    assert study.main([*arguments, "--steps", "2", "--samples", "128"]) == 0
    assert "| after |" in capsys.readouterr().out
    assert figure.stat().st_size > 10_000
    figures = json.loads(out.read_text())
    assert figures["measures"]["after"]["pri"] > 0.8
    assert figures["learned"][0]["curves"][1][2] == 1


def test_without_photographs_there_is_nothing_to_learn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study.main(["--data", str(tmp_path)]) == 0
    assert "nothing to learn from" in capsys.readouterr().out


def test_soft_agreement_of_hard_segments_is_the_adjusted_rand_index() -> None:
    rng = np.random.default_rng(0)
    mine, theirs = rng.integers(3, size=200), rng.integers(4, size=(2, 200))
    theirs[1] = mine
    soft = jnp.asarray(np.eye(3)[mine])
    same = study.soft_agreement(soft, jnp.asarray(theirs), jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(same, 1)
    chance = study.soft_agreement(soft, jnp.asarray(theirs), jnp.array([1.0, 0.0]))
    assert abs(chance) < 0.05
