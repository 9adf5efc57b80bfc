"""Mixtures in files: equal to the bit, and clear errors for everything else."""

from __future__ import annotations

import json
import os
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


def test_the_same_mixture_is_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    written = set()
    for _ in range(8):  # safetensors alone draws the order of four names
        jgmm.save(path, cast(start("full", X), np.float32), {"source": "Käse.png"})
        written.add(path.read_bytes())
    assert len(written) == 1
    assert load_with_metadata(path)[1] == {"source": "Käse.png"}


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
    with pytest.raises(ValueError, match="expected weights that sum to 1"):
        jgmm.load(path)
    save_file(arrays, path, {**header, "version": "3"})
    with pytest.raises(ValueError, match="expected a mixture of format version 2 or earlier"):
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


def tensors(**changed: np.ndarray) -> dict[str, np.ndarray]:
    """Of two components in two dimensions."""
    eye = np.stack([np.eye(2), np.diag([1e-6, 3.0])])
    parts = {"weights": np.array([0.25, 0.75]), "means": np.eye(2), "covariances": eye}
    parts = {name: np.asarray(value, np.float32) for name, value in parts.items()}
    return {**parts, **changed}


def f32(*values: object) -> np.ndarray:
    return np.array(values, np.float32)


EYE = np.eye(2).tolist()
UNSOUND = {
    "a negative weight": ({"weights": f32(-0.5, 1.5)}, "weights of at least 0, got -0.5"),
    "no weight": ({"weights": f32(0, 0)}, "sum to 1, got a sum of 0"),
    "too much weight": ({"weights": f32(1, 1)}, "sum to 1, got a sum of 2"),
    "huge weights": ({"weights": f32(1e38, 1e38)}, "sum to 1"),
    "huge means": ({"means": f32([1e38, 0], [0, 0])}, "squares float32 can hold, got 1e\\+38"),
    "NaN": ({"means": f32([np.nan, 0], [0, 0])}, "finite means"),
    "infinity": ({"covariances": f32([np.inf, 1], [1, 1])}, "finite covariances"),
    "not symmetric": ({"covariances": f32(EYE, [[1, 0.5], [0, 1]])}, "symmetric"),
    "not positive": ({"covariances": f32(EYE, [[1, 2], [2, 1]])}, "without negative variances"),
    "singular": ({"covariances": f32(EYE, [[1, 1], [1, 1]])}, "positive definite"),
    "a negative variance": ({"covariances": f32([1, 1], [1, -1])}, "variances of at least 0"),
    "no variance": ({"covariances": f32([1], [0])}, "variances of at least .*, got 0"),
    "next to no variance": ({"covariances": f32([1], [1e-42])}, "variances of at least"),
    "a vector": ({"covariances": f32(1, 1)}, "covariances, got shape"),
    "integers": ({"weights": np.array([0, 1])}, "float32 or float64, got int64"),
    "half precision": ({"weights": np.ones(2, np.float16) / 2}, "got float16"),
    "no component": (
        {"weights": f32(), "means": np.zeros((0, 2), np.float32), "covariances": f32()},
        "at least one component",
    ),
    "no feature": (
        {"means": np.zeros((2, 0), np.float32), "covariances": f32([1], [1])},
        "at least one component and feature",
    ),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_a_mixture_from_a_stranger_is_looked_at(name: str, tmp_path: Path) -> None:
    changed, message = UNSOUND[name]
    path = tmp_path / "model.safetensors"
    save_file(tensors(**changed), path, {"format": "jgmm.mixture", "version": "1"})
    with pytest.raises(ValueError, match=f"expected .*{message}.*model.safetensors"):
        jgmm.load(path)


HEADERS = {
    "a list": ({"metadata": "[1]"}, "metadata by name, got .1."),
    "a number": ({"metadata": "7"}, "metadata by name, got 7"),
    "null": ({"metadata": "null"}, "metadata by name, got None"),
    "no JSON": ({"metadata": "{"}, "metadata in JSON"),
    "deep": ({"metadata": "[" * 10**6}, "metadata in JSON"),
    "a long number": ({"metadata": "1" * 10**4}, "metadata"),
    "another family": ({"family": "x"}, "family: expected one of"),
    "another distribution": ({"distribution": "student_t few"}, "expected a distribution, got"),
    "no degrees of freedom": ({"distribution": "student_t free"}, "expected degrees_of_freedom"),
    "a family of other shapes": ({"family": "diag"}, r"diag covariances \(2, 2\)"),
    "a version in other digits": ({"version": "\u00b9"}, "format version 2"),
    "a long version": ({"version": "1" * 10**4}, "format version 2"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_from_a_stranger_is_looked_at(name: str, tmp_path: Path) -> None:
    changed, message = HEADERS[name]
    path = tmp_path / "model.safetensors"
    save_file(tensors(), path, {"format": "jgmm.mixture", "version": "1", **changed})
    with pytest.raises(ValueError, match=f"expected .*{message}") as raised:
        jgmm.load(path)
    assert len(str(raised.value)) < 500 + len(str(path))


def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    mixture = jgmm.Mixture([1.0], [[0.0]], [[0.0]])
    with pytest.raises(ValueError, match="save: expected variances of at least .*, got 0"):
        jgmm.save(tmp_path / "model.safetensors", mixture)
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="got no file: .*pipe"):
        jgmm.load(tmp_path / "pipe")


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3"])
def test_numbers_that_numpy_does_not_have(dtype: str, tmp_path: Path) -> None:
    size = {"BF16": 2, "F8_E4M3": 1}[dtype]
    text = json.dumps({"weights": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}})
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode() + b"\0" * size)
    with pytest.raises(ValueError, match="expected a mixture"):
        jgmm.load(path)


def test_the_result_of_a_fit_is_saved_as_its_mixture(tmp_path: Path) -> None:
    result = jgmm.fit(X, 2, max_iter=0)
    path = tmp_path / "model.safetensors"
    jgmm.save(path, result)
    assert jgmm.load(path) == result.mixture


@pytest.mark.parametrize("value", [{}, None, [1.0]])
def test_what_holds_no_mixture_is_refused_by_name(value: object, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"expected a Mixture .* got {type(value).__name__}"):
        jgmm.save(tmp_path / "model.safetensors", value)  # type: ignore[arg-type]
