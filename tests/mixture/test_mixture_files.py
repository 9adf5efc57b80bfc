"""Mixtures in files: equal to the bit, and clear errors for everything else."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from examples import FAMILIES, cast, overlapping, start
from safetensors.numpy import save_file

import jgmm
from jgmm.mixture.files import load_with_metadata

X = overlapping()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_loaded_is_what_was_saved(family: str, dtype: type, tmp_path: Path) -> None:
    mixture = cast(start(family, X), dtype)
    path = tmp_path / "model.safetensors"
    jgmm.save(path, mixture, {"features": "rgb", "scale": [1, 2.5]})
    loaded, metadata = load_with_metadata(path)
    assert metadata == {"features": "rgb", "scale": [1, 2.5]}
    for before, after in zip(jax.tree.leaves(mixture), jax.tree.leaves(loaded), strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
    x = X.astype(dtype)
    np.testing.assert_array_equal(jgmm.log_prob(mixture, x), jgmm.log_prob(loaded, x))


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    jgmm.save(path, cast(start("full", X), np.float32))
    whole = path.read_bytes()
    for damaged in (b"", b"hello", whole[:20], whole[:-4], b"\xff" * len(whole)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="got a foreign or damaged file: .*model.safetensors"):
            jgmm.load(path)


def test_a_foreign_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    arrays = {name: np.ones((2, 2), np.float32) for name in ("weights", "means", "covariances")}
    save_file(arrays, path)
    with pytest.raises(ValueError, match="expected a mixture saved by jgmm"):
        jgmm.load(path)
    header = {"format": "jgmm.mixture", "version": "1"}
    save_file(arrays, path, header)
    with pytest.raises(ValueError, match="expected arrays that make a mixture"):
        jgmm.load(path)
    save_file(arrays, path, {**header, "version": "2"})
    with pytest.raises(ValueError, match="expected a mixture of format version 1 or earlier"):
        jgmm.load(path)
    save_file({**arrays, "means": np.full((2, 2), np.nan)}, path, header)
    with pytest.raises(ValueError, match="expected finite floating point means"):
        jgmm.load(path)


def test_float64_is_not_cut_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    jgmm.save(path, cast(start("full", X), np.float64))
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        jgmm.load(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        jgmm.load(tmp_path / "absent.safetensors")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        jgmm.save(tmp_path / "nowhere" / "m.safetensors", cast(start("full", X), np.float32))
