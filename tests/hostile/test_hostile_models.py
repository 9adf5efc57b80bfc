"""Model files of which any field is something else, and models that are damaged."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from budget import cases
from hypothesis import strategies as st
from oracles import run, whole
from pictures import picture, write
from safetensors.numpy import save

import jgmm

pytestmark = pytest.mark.usefixtures("plain_process")

K, D = 2, 3
PARTS: dict[str, Any] = {
    "weights": [0.25, 0.75],
    "means": [[0.2] * D, [0.5] * D],
    "covariances": [[0.01] * D, [0.02] * D],
}
RECIPE = {"features": "rgb", "center": [], "scale": [], "position": 0.0}
METADATA: dict[str, Any] = {
    "features": "rgb",
    "recipe": RECIPE,
    "spatial": {"smooth": {"unary": 1.0, "n_sweeps": 2}, "min_region": 0, "merge": 0.0},
    "channels": 3,
    "image_dtype": "uint8",
}
HEADER = {"format": "jgmm.mixture", "version": "1", "family": "diag"}
FIELDS = [
    *(("metadata", name) for name in METADATA),
    *(("metadata", "recipe", name) for name in RECIPE),
    *(("metadata", "spatial", name) for name in ("smooth", "min_region", "merge", "beta", "x")),
    *(("metadata", "spatial", "noise_model"), ("metadata", "spatial", "smooth", "n_sweeps")),
    *(("metadata", "spatial", "smooth", name) for name in ("width", "unary", "coupling")),
    *(("header", name) for name in (*HEADER, "metadata")),
    *((name,) for name in PARTS),
]
NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 2**31, 2 * 10**9, 10**400, 1e38, -1e38, 1e300, 1e-300, 1e-45]),
    st.sampled_from([float("nan"), float("inf"), -0.0, 0.5, 1e-3, 3, 65_536, True, False]),
    st.floats(),
    st.integers(),
)
TEXTS = st.one_of(
    st.sampled_from(["", "rgb", "bands", "rgb+xy", "potts", "full", "tied", "0", "[", "{}"]),
    st.text(max_size=20),
    st.sampled_from(["DEEP", "9" * 500, "\x1b[31m\n$"]),
)
JUNK = st.recursive(
    st.one_of(NUMBERS, TEXTS, st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)
ARRAYS = st.one_of(
    st.tuples(st.just("value"), st.integers(0, 5), NUMBERS),
    st.tuples(
        st.just("shape"),
        st.sampled_from(
            [(), (0,), (2,), (1,), (2, 1), (1, 3, 3), (2, 3, 3), (0, 3), (2, 0), (3, 2)]
        ),
        st.just(0.5),
    ),
    st.tuples(
        st.just("dtype"),
        st.sampled_from(["f2", "f4", "f8", "i4", "i8", "u1", "?"]),
        st.just(0),
    ),
)


@dataclasses.dataclass(frozen=True)
class Case:
    """What is changed; what hypothesis shows of a failure is all there is to know."""

    changes: tuple[tuple[tuple[str, ...], Any], ...] = ()
    bytes_changed: tuple[tuple[int, int], ...] = ()
    cut: int | None = None

    def content(self) -> bytes:
        """The bytes of the file."""
        arrays = {name: np.array(value, np.float32) for name, value in PARTS.items()}
        all_of: dict[str, Any] = {"metadata": copy.deepcopy(METADATA), "header": dict(HEADER)}
        for path, value in self.changes:
            if path[0] in arrays:
                arrays[path[0]] = changed(arrays[path[0]], *value)
                continue
            place = all_of
            for name in path[:-1]:
                place = place[name] if isinstance(place.get(name), dict) else {}
            place[path[-1]] = value if path[0] == "metadata" else str(value)
        header = {"metadata": json.dumps(all_of["metadata"]), **all_of["header"]}
        header = {name: plain(text).replace("DEEP", "[" * 50_000) for name, text in header.items()}
        data = bytearray(save(arrays, header))
        for at, value in self.bytes_changed:
            data[at % len(data)] = value
        return bytes(data[: self.cut])


def plain(text: str) -> str:
    """Text that can be written."""
    return text.encode("utf-8", "replace").decode()


def changed(array: np.ndarray, kind: str, what: Any, value: Any) -> np.ndarray:
    with np.errstate(all="ignore"):
        if kind == "dtype":
            return array.astype(what)
        if kind == "shape":
            return np.full(what, value, array.dtype)
        array = np.atleast_1d(array).copy()
        try:
            array.flat[what % max(array.size, 1)] = value
        except (OverflowError, ValueError, IndexError):
            pass  # not every value has a place
        return array


def fields() -> st.SearchStrategy[Any]:
    def one(path: tuple[str, ...]) -> st.SearchStrategy[Any]:
        return st.tuples(st.just(path), ARRAYS if path[0] in PARTS else JUNK)

    return st.sampled_from(FIELDS).flatmap(one)


CASES = st.one_of(
    st.builds(Case, changes=st.lists(fields(), min_size=1, max_size=3).map(tuple)),
    st.builds(
        Case,
        bytes_changed=st.lists(
            st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3
        ).map(tuple),
        cut=st.one_of(st.none(), st.integers(0, 1000)),
    ),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write(os.fspath(folder / "x.png"), picture())
    return folder


@hypothesis.given(CASES)
@cases("models")
def test_models_of_any_content(place: Path, capsys: pytest.CaptureFixture[str], case: Case) -> None:
    check(case, place, capsys)


def check(case: Case, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = os.fspath(place / "model"), place / "out"
    Path(model).write_bytes(case.content())
    try:
        jgmm.load(model)
    except ValueError as error:
        assert "expected" in str(error)  # noqa: PT017
    done = run(["apply", model, os.fspath(place / "x.png"), "-q", "-o", os.fspath(out)], capsys)
    assert (done == 0) == (out / "x" / "summary.json").exists()
    if done == 0:
        whole(out)
        for path in (out / "x").iterdir():
            path.unlink()
