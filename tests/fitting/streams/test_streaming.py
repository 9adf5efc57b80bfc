"""Laws of `fit_stream`: it is `fit`, whatever the data come from and however they are cut."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import reference
from examples import heard
from streamed import CHUNK, START, WEIGHTS, X, stream

import jgmm


def whole(pixels: Any = X, **options: Any) -> jgmm.FitResult:
    return jgmm.fit(pixels, 3, **{"init": START, **options})


def assert_same(a: jgmm.FitResult, b: jgmm.FitResult, tol: float = 1e-7) -> None:
    for ours, theirs in zip(
        jax.tree.leaves((a.mixture, a.objective)),
        jax.tree.leaves((b.mixture, b.objective)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=tol, atol=tol)
    assert int(a.n_iter) == int(b.n_iter)
    assert int(a.status) == int(b.status)
    np.testing.assert_allclose(a.history, b.history, rtol=tol)
    assert a.weight is not None
    np.testing.assert_allclose(a.weight, b.weight)


class Lazy:
    """An array of another library: a shape, a dtype, slices."""

    def __init__(self, array: Any, chunks: Any = None) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        if chunks is not None:
            self.chunks = chunks

    def __getitem__(self, index: Any) -> Any:
        return self.array[index]


class Blocks:
    def blocks(self) -> Iterator[Any]:
        yield from np.array_split(X, 5)


def ragged() -> Iterator[Any]:
    """Blocks of all lengths, none among them, in shapes of images too."""
    ends = [0, 0, 1, 2, 2, 300, 301, 700, 900, 900]
    for start, stop in zip(ends[:-1], ends[1:], strict=True):
        yield X[start:stop]


def memmap(folder: Path) -> Any:
    np.save(folder / "x.npy", X)
    return np.load(folder / "x.npy", mmap_mode="r")


def test_every_source_gives_the_fit_in_memory(tmp_path: Path) -> None:
    expected = whole()
    sources = {
        "array": X,
        "image": X.reshape(30, 30, 2),
        "jax": jax.numpy.asarray(X),
        "memmap": memmap(tmp_path),
        "zarr": Lazy(X.reshape(30, 30, 2), (7, 11, 2)),
        "dask": Lazy(X, ((400, 1, 499), (2,))),
        "function": ragged,
        "function of a source": lambda: X.reshape(2, 450, 2),
        "blocks": Blocks(),
        "list": [X[:450].reshape(45, 10, 2), X[450:]],
        "other bytes": X.astype(">f8"),
        "strided": np.asfortranarray(X),
        "pair": (X, np.ones(len(X))),
    }
    first = stream(X)
    for name, source in sources.items():
        found = stream(source)
        assert_same(found, expected)
        if name != "pair":  # what comes out depends on the samples alone
            assert found == first, name


def test_arrays_of_zarr_and_dask(tmp_path: Path) -> None:
    zarr, dask = pytest.importorskip("zarr"), pytest.importorskip("dask.array")
    image, threads = X.reshape(30, 30, 2), set()
    stored = zarr.create_array(
        tmp_path / "a.zarr", shape=(30, 30, 2), chunks=(7, 11, 2), dtype="f8"
    )
    stored[:] = image

    def seen(block: Any) -> Any:
        threads.add(threading.current_thread().name)
        return block

    lazy = dask.from_zarr(zarr.open(tmp_path / "a.zarr", mode="r")).map_blocks(seen, dtype="f8")
    expected = stream(X)
    assert stream(zarr.open(tmp_path / "a.zarr", mode="r")) == expected
    threads.clear()
    assert stream(lazy) == expected
    assert threads
    assert all("ThreadPool" in name for name in threads)  # Dask's own
    assert stream(lambda: lazy.reshape(-1, 2)) == expected
    weights = dask.ones((30, 30), chunks=(11, 30))
    assert_same(stream((lazy, weights)), expected)
    with pytest.raises(ValueError, match="known shape"):
        stream(lazy.reshape(-1, 2)[lazy.reshape(-1, 2)[:, 0] > 0])


@pytest.mark.parametrize("chunk", [1, 899, 900, 4000])
def test_any_chunk_gives_the_same(chunk: int) -> None:
    assert_same(stream(X, chunk=chunk, max_iter=3, tol=0), whole(max_iter=3, tol=0))


@pytest.mark.parametrize("family", ["tied", "spherical"])
def test_other_families_take_the_steps_of_the_reference(family: str) -> None:
    covariances: Any = START.covariances[:1] if family == "tied" else np.full((3, 1), 2.0)
    start = jgmm.Mixture(START.weights, START.means, covariances, family)
    options = {"covariance_type": family, "init": start, "reg_covar": 0.05, "accelerate": False}
    found = stream(X, max_iter=2, tol=0, **options)
    gmm = reference.Gmm(*map(np.asarray, (START.weights, START.means, START.covariances)))
    for step in range(3):
        before = gmm
        gmm, log_likelihood = reference.em_step(gmm, X, np.ones(len(X)), family, 0.05 * X.var(0))
        np.testing.assert_allclose(found.history[step], log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(found.mixture.means, before.means, rtol=1e-8)


def test_plain_steps_with_a_prior() -> None:
    leaves: Any = (np.ones(()), np.ones(2), np.ones(()), np.eye(2), np.full((), 5.0))
    options = {"prior": jgmm.Prior(*leaves), "accelerate": False, "max_iter": 4, "tol": 0}
    assert_same(stream(X, **options), whole(**options))


def test_no_pass_traces_again() -> None:
    stream(X, max_iter=2, tol=0)
    with heard("jaxpr_trace_duration") as traced:
        stream(X, max_iter=4, tol=0)
    assert traced == []


def test_weights() -> None:
    def pairs() -> Iterator[Any]:
        for i in range(0, len(X), 101):
            yield X[i : i + 101], WEIGHTS[i : i + 101]

    expected = whole(weights=WEIGHTS)
    assert_same(stream(pairs), expected)
    assert_same(stream((X.reshape(30, 30, 2), WEIGHTS.reshape(30, 30))), expected)
    assert_same(stream((X.reshape(30, 30, 2), WEIGHTS)), expected)


def test_missing_features_and_labels() -> None:
    holes: Any = X + 3.0  # what is missing is no 0
    holes[::3, 0] = holes[1::5, 1] = np.nan
    labels = np.where(np.arange(900) % 50 == 0, np.arange(900) % 3, -1)
    options: dict[str, Any] = {"missing": "nan", "max_iter": 6, "tol": 0}
    known = {"weights": WEIGHTS, "labels": labels}
    assert_same(stream(holes, **options), whole(holes, **options))
    both = stream((holes, WEIGHTS, labels), **options)
    assert_same(both, whole(holes, **options, **known))
    masked = [np.ma.masked_invalid(part) for part in np.array_split(holes, 4)]
    assert stream(masked, **options) == stream(holes, **options)
    # From a start of its own, and by stepwise EM.
    for more in ({"search": "none", "init": START.means}, {"passes": 2, "tol": 1.0}):
        found = stream((holes.reshape(30, 30, 2), None, labels), missing="nan", **more)
        assert float(found.log_likelihood) > float(both.log_likelihood) - 0.5


def test_counted_colours_are_the_samples_and_nothing_is_read_twice() -> None:
    passes = []
    few = (X * 8 + 100).clip(0, 255).astype(np.uint8)

    def source() -> Iterator[Any]:
        passes.append(1)
        yield from np.array_split(few, 7)

    start = dataclasses.replace(
        START, means=START.means * 8 + 100, covariances=START.covariances * 64
    )
    found = stream(source, init=start, max_iter=4, tol=0)
    assert len(passes) == 1
    expected = stream(few.astype(float), init=start, max_iter=4, tol=0)
    np.testing.assert_allclose(found.mixture.means, expected.mixture.means, rtol=1e-4)
    np.testing.assert_allclose(found.history, expected.history, rtol=1e-6)
    assert float(found.weight) == len(X)  # type: ignore[arg-type]


def test_float32_is_as_good_as_float64_far_from_the_origin() -> None:
    far: Any = (X + [1e4, -2e4]).astype(np.float32)
    start = dataclasses.replace(START, means=START.means + np.array([1e4, -2e4]))
    expected = stream(far.astype(float), init=start, max_iter=20, tol=0)
    found = stream(far, init=start, max_iter=20, tol=0)
    assert found.mixture.means.dtype == np.float32
    assert abs(float(found.log_likelihood) - float(expected.log_likelihood)) < 1e-6
    np.testing.assert_allclose(found.mixture.weights, expected.mixture.weights, atol=1e-3)


def test_a_start_from_a_sample_leaves_few_passes() -> None:
    passes = []

    def source() -> Iterator[Any]:
        passes.append(1)
        yield from np.array_split(X, 3)

    found = jgmm.fit_stream(source, 3, chunk=CHUNK, search="none", order="weight", key=3)
    expected = jgmm.fit(X, 3, search="none", order="weight", key=3)
    assert len(passes) <= 5
    assert float(found.log_likelihood) >= float(expected.log_likelihood) - 1e-6
    np.testing.assert_allclose(found.mixture.means, expected.mixture.means, atol=0.02)


def test_no_steps_are_the_start_itself() -> None:
    found = stream(X, max_iter=0)
    np.testing.assert_allclose(found.mixture.means, START.means, atol=1e-12)
    np.testing.assert_allclose(found.log_likelihood, jgmm.score(START, X), rtol=1e-9)


def bad(value: Any) -> Any:
    blocks = [X[:10], X[10:20].copy()]
    if isinstance(value, float):
        blocks[1][3, 1] = value
    else:
        blocks[1] = value
    return blocks


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (bad(np.nan), "block 1, row 3: expected finite values"),
        (bad(np.inf), "block 1, row 3: expected finite values"),
        (bad(X[:5, :1]), "block 1: expected 2 features, as in block 0, got 1"),
        (bad(X[:5].astype("f4")), "block 1: expected dtype float64, as in block 0, got float32"),
        (bad(X[0]), r"block 1: expected shape \[n, D\]"),
        (bad((X[:5], np.ones(5))), "block 1: expected weights no more than in block 0"),
        ([(X[:5], np.ones(4))], r"block 0: expected weights of shape \(5,\), got \(4,\)"),
        ([(X[:5], -np.ones(5))], "block 0, row 0: expected weights of at least 0"),
        ([(X[:5], np.zeros(5))], "only weights of 0"),
        ([], "at least one sample"),
        (X[:0], "at least one sample"),
        ((X, np.ones(7)), r"weights of shape \(900,\)"),
        ((X, None, np.zeros(7, int)), r"labels of shape \(900,\)"),
        ((X, None, np.full(900, 3)), r"block 0, row 0: expected labels from -1 \(unknown\) to 2"),
        ([(X, None, np.zeros(900, int)), X], "block 1: expected labels as in block 0, got none"),
        ([np.ma.masked_less(X, 0)], "block 0: expected values, got a masked array"),
    ],
)
def test_bad_blocks(source: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stream(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((x for x in [X]), "which does so once"),
        ("photo.tif", "stream_files"),
        (["a.png", "b.png"], "stream_files"),
        (3, "got int"),
        ([np.array([["a", "b"]])], "block 0: expected numbers"),
        (lambda: 5, "returns int"),
    ],
)
def test_no_sources(source: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        stream(source)


def test_a_source_has_to_give_the_same_again() -> None:
    ends = iter([900, 900, 899])
    with pytest.raises(ValueError, match="the same 900 samples in each pass, got 899"):
        stream(lambda: [X[: next(ends)]])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": np.zeros(900, int)}, TypeError, "labels"),
        ({"missing": "all"}, ValueError, "missing"),
        ({"init": np.zeros(900, int)}, ValueError, "labels and responsibilities"),
        ({"init": "nowhere"}, ValueError, "init"),
        ({"covariance_type": "diag"}, ValueError, "diag"),
        ({"n_restarts": 2}, ValueError, "n_restarts"),
        ({"prior": 3}, TypeError, "prior"),
        ({"chunk": 0}, ValueError, "chunk"),
        ({"order": "mean"}, ValueError, "order"),
        ({"search": "long"}, ValueError, "search"),
    ],
)
def test_options_that_do_not_apply_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    def unread() -> Any:
        raise AssertionError("the source was read")

    with pytest.raises(error, match=message):
        stream(unread, **options)


def test_not_in_a_program() -> None:
    with pytest.raises(TypeError, match="outside of"):
        jax.jit(lambda tol: stream(X, tol=tol))(0.1)


def test_what_a_source_raises_is_raised() -> None:
    def broken() -> Iterator[Any]:
        yield X
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        stream(broken)


def test_stepwise_passes_come_near_the_optimum_and_say_whether_they_settled() -> None:
    expected = whole()
    many = np.tile(X, (8, 1))
    with pytest.warns(jgmm.FitWarning, match="MAX_ITER: raise passes, or tol"):
        once = stream(many, passes=1, tol=1e-9)
    assert once.history.shape == (2,)
    assert abs(float(once.log_likelihood) - float(expected.log_likelihood)) < 5e-3
    assert float(once.history[1]) == float(once.log_likelihood)
    assert float(once.history[0]) < float(once.history[1])  # of the mixtures on the way
    np.testing.assert_allclose(once.log_likelihood, jgmm.score(once, many), rtol=1e-9)
    more = stream(many, passes=4, tol=1e-2)
    assert (int(more.n_iter), int(more.status)) == (4, jgmm.Status.CONVERGED)
    weights = np.where(np.arange(len(many)) % 9 < 8, 1.0, 0.0)
    assert np.isfinite(float(stream((many, weights), passes=1, tol=1.0).log_likelihood))
    for options in ({"max_iter": 3}, {"accelerate": False}, {"checkpoint": "a"}, {"prior": "weak"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            stream(X, passes=1, **options)
