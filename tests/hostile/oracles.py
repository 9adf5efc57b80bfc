"""What holds whatever was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import reference
from safetensors.numpy import load_file

import jgmm
from jgmm.cli import app

REG_COVAR = 1e-6  # the default
ENDS = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-10}


def run(arguments: list[str], capsys: pytest.CaptureFixture[str], images: int = 1) -> int:
    """The exit status of the command line, which says what is wrong in one line, if anything.

    Of several images it has a line for each.
    """
    status = app.main(arguments)
    said = capsys.readouterr().err
    assert status in (0, 2), f"status {status}: {said}"
    lines = said.splitlines()
    assert (status == 2) <= len(lines) <= images * (status == 2), said
    assert all(line.startswith("jgmm: ") and line.isprintable() for line in lines)
    assert said == "" or said.endswith("\n")
    assert len(said) < 20_000
    return status


def whole(folder: Path) -> None:
    """Every file in a folder is one that can be read, and none is left from writing."""
    for path in folder.rglob("*"):
        if path.is_dir():
            continue
        assert not path.name.startswith("."), path
        if path.suffix == ".png":
            with PIL.Image.open(path) as image:
                image.load()
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            load_file(path)
        else:
            assert path.suffix in (".csv", ".html")
            assert path.read_bytes().endswith(b"\n")


def plain(mixture: jgmm.Mixture) -> reference.Gmm:
    """A mixture as the reference has it."""
    k, d = mixture.n_components, mixture.n_features
    dense = np.asarray(mixture.family.dense(mixture.covariances, k, d), np.float64)
    weights, means = np.asarray(mixture.weights, np.float64), np.asarray(mixture.means, np.float64)
    return reference.Gmm(weights, means, dense)


def check_fit(result: jgmm.FitResult, x: np.ndarray, w: np.ndarray) -> None:
    """What holds of every fit, and more of one that says that it converged.

    Args:
        result: the fit.
        x: [N, D] as it was given.
        w: [N] weights.
    """
    dtype = np.asarray(result.log_likelihood).dtype
    status = jgmm.Status(int(result.status))
    spread = x.astype(np.longdouble).std(axis=0)
    low, high = np.finfo(dtype).tiny ** 0.5 * 1e6, np.finfo(dtype).max ** 0.5 / 1e6
    if not ((spread > low) & (np.abs(x).max(axis=0) < high)).all():
        # Variances that the dtype cannot hold are not to be had; of a constant there is none.
        if status in (jgmm.Status.NONFINITE, jgmm.Status.DEGENERATE):
            return
    assert status is not jgmm.Status.NONFINITE
    end = ENDS[dtype]
    history = np.asarray(result.history, np.float64)
    history = history[np.isfinite(history)]
    assert len(history) > 0
    assert np.diff(history).min(initial=0) >= -10 * end * max(1, np.abs(history).max())
    gmm = plain(result.mixture)
    assert np.isfinite(gmm.means).all()
    assert gmm.weights.min() >= 0
    assert abs(gmm.weights.sum() - 1) < 10 * end
    np.testing.assert_array_equal(gmm.covariances, gmm.covariances.swapaxes(1, 2))
    conditions = []
    for mean, covariance in zip(gmm.means, gmm.covariances, strict=True):
        scale = np.sqrt(np.diag(covariance))
        values = np.linalg.eigvalsh(covariance / scale[:, None] / scale)
        assert values.min() > 0
        conditions.append(values.max() / values.min() + np.abs(mean / scale).max())
    if result.mixture.covariance_type != "spherical":
        floor = REG_COVAR * np.average((x - np.average(x, 0, w)) ** 2, 0, w)
        for covariance in gmm.covariances if floor.min() > 0 else ():
            values = np.linalg.eigvalsh(covariance / np.sqrt(floor)[:, None] / np.sqrt(floor))
            assert values.min() > 1 - 1e-3 - 100 * np.finfo(dtype).eps * values.max()
    if status is jgmm.Status.CONVERGED:
        found = reference.score(gmm, np.asarray(x, np.float64), np.asarray(w, np.float64))
        # Parameters that are rounded to the dtype say no more of a thin component than this.
        end += 8 * np.finfo(dtype).eps * max(conditions)
        assert found == pytest.approx(float(result.log_likelihood), rel=end, abs=end)


def same(one: Any, other: Any) -> None:
    """Two fits are equal to the bit."""
    for name in ("weights", "means", "covariances"):
        np.testing.assert_array_equal(getattr(one.mixture, name), getattr(other.mixture, name))
    np.testing.assert_array_equal(one.history, other.history)
