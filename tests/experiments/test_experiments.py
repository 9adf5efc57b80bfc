from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import jax
import numpy as np
import pytest

from experiments import drop_in, heavy_tails, in_use, noise, scenery
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


def test_one_script_in_two_libraries() -> None:
    with jax.numpy_dtype_promotion("standard"):
        theirs, ours = (drop_in.script(library) for library in drop_in.LIBRARIES)
        before, after = drop_in.kept_by_jgmm()[0].split(", as loaded ")
    assert ours == theirs
    assert before == f"score {after}"
    assert len(ours) == 10


def test_the_study_of_components_in_use() -> None:
    assert in_use.variational(in_use.samples(200, 6.0, 0), {}) == in_use.TRUE


def test_the_noise_study_compares_what_it_should(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "N_RESTARTS", 1)
    monkeypatch.setattr(noise, "N_STEPS", 20)
    name = "random colours, 5%"
    monkeypatch.setattr(noise, "DAMAGES", {name: noise.DAMAGES[name]})
    image = np.random.default_rng(0).normal(80, 3, (24, 32, 3))
    image[:, 16:] += 90
    iio.imwrite(tmp_path / "x.jpg", np.rint(image).astype(np.uint8), quality=99)
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        noise.main(["--data", str(tmp_path), "-k", "2"])
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if name in line]
    lost = {row[2].strip(): float(row[3].split()[0]) for row in rows}
    share = {row[2].strip(): float(row[6].split()[0]) for row in rows}
    assert lost["noise"] < lost["k"]
    assert share["noise"] == pytest.approx(5, abs=2)


def test_the_study_of_heavy_tails_compares_what_it_should(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heavy_tails, "N_IMAGES", 2)
    monkeypatch.setattr(heavy_tails, "MICROGRAPHS", ("ihc",))
    whole = heavy_tails.micrographs
    # As large as the photograph below, for the same programs.
    monkeypatch.setattr(heavy_tails, "micrographs", lambda: [m[:24, :32] for m in whole()])
    for table, names in (
        ("DAMAGES", ("random colours, 1%",)),
        ("KINDS", ("Gaussian", "Student-t, 4")),
        ("NOISES", ("2% of 10 times the width",)),
    ):
        every = getattr(heavy_tails, table)
        monkeypatch.setattr(heavy_tails, table, {name: every[name] for name in names})
    image = np.random.default_rng(0).normal(80, 3, (48, 64, 3))
    image[:, 32:] += 90
    iio.imwrite(tmp_path / "x.jpg", np.rint(image).astype(np.uint8), quality=99)
    np.savez(tmp_path / "x.npz", segmentations=np.repeat(np.arange(64)[None] >= 32, 48, 0)[None])
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        heavy_tails.main(["--data", str(tmp_path), "-k", "2"])
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "%" in line]
    cells = [[cell.strip() for cell in row] for row in rows if len(row) > 4]
    values = {(row[1], row[2]): float(row[3]) for row in cells if row[1]}
    name = "2% of 10 times the width"
    assert values[name, "Student-t, 4"] < values[name, "Gaussian"]
