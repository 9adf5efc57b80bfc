"""Sources: whatever gives its blocks again and again, one pass after the other."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeGuard

import numpy as np
import numpy.typing as npt

NdArray = npt.NDArray[Any]
_NUMBERS = 1 << 20  # in a piece of an array, about


class Source(Protocol):
    """What a stream comes from."""

    def blocks(self) -> Iterator[Any]:
        """A pass: arrays [n, D] or [..., D].

        Or pairs of these and weights [n] or [...], or triples of these, weights or None, and
        labels [n] or [...], -1 where unknown.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class Made:
    """Blocks that a function makes anew for each pass."""

    make: Callable[[], Iterable[Any]]

    def blocks(self) -> Iterator[Any]:
        """What the function gives."""
        made: Any = self.make()
        if _is_source(made):
            return made.blocks()
        if hasattr(made, "shape"):
            return Slices(_as_array(made)).blocks()
        if not isinstance(made, Iterable):
            raise TypeError(
                f"source: expected a function that returns an iterable of blocks, got one that "
                f"returns {type(made).__name__}"
            )
        return iter(made)


@dataclasses.dataclass(frozen=True, eq=False)
class Slices:
    """An array [N, D] or [..., D] of any library, in memory or not, by slices of its first axis."""

    array: Any  # with a shape, and NumPy arrays for its slices
    weights: Any = None  # [...], likewise
    labels: Any = None  # [...], likewise

    def blocks(self) -> Iterator[Any]:
        """Slices of about a million numbers, or of as many as the array itself is stored by."""
        start = 0
        for stop in _ends(self.array):
            part, mass, labels = (
                None if array is None else np.asanyarray(array[start:stop])
                for array in (self.array, self.weights, self.labels)
            )
            yield part if mass is None and labels is None else (part, mass, labels)
            start = stop


def _ends(array: Any) -> Iterator[int]:
    """Where slices of the first axis end."""
    n = int(array.shape[0])
    chunks = getattr(array, "chunks", None)  # of Dask tuples of sizes, of Zarr sizes
    if isinstance(chunks, tuple) and chunks and chunks[0]:
        if isinstance(chunks[0], tuple):
            yield from np.cumsum(chunks[0]).tolist()
            return
        step = int(chunks[0])
    else:
        step = max(1, _NUMBERS // max(1, int(np.prod(array.shape[1:]))))
    yield from range(step, n, step)
    if n:
        yield n


def as_source(source: Any) -> Source:
    """What a caller means by a source.

    Raises:
        TypeError: nothing that gives its blocks more than once.
        ValueError: an array of fewer than two axes, or weights of another shape.
    """
    if _is_source(source):
        return source
    if callable(source):
        return Made(source)
    if isinstance(source, str | os.PathLike) or (
        isinstance(source, Sequence) and source and isinstance(source[0], str | os.PathLike)
    ):
        raise TypeError(
            "source: expected arrays, or what gives blocks of them, got names of files: "
            "jgmm.image.stream_files(paths) makes a source of images, np.memmap or "
            "np.load(path, mmap_mode='r') one of numbers"
        )
    if isinstance(source, tuple) and len(source) in (2, 3) and not isinstance(source[0], tuple):
        array = _as_array(source[0])
        named = zip(("weights", "labels"), source[1:], strict=False)
        return Slices(array, **{name: _beside(array, name, given) for name, given in named})
    if isinstance(source, list):
        return Made(lambda: source)
    if isinstance(source, Iterator):
        raise TypeError(
            f"source: expected what gives its blocks again and again, got {type(source).__name__}, "
            "which does so once: pass a function that makes one"
        )
    return Slices(_as_array(source))


def _is_source(value: Any) -> TypeGuard[Source]:
    """Arrays of Dask and Zarr have an attribute of that name too, which is no method."""
    return callable(getattr(value, "blocks", None))


def _as_array(array: Any) -> Any:
    """What has a shape and slices, with two axes or more where it holds samples."""
    if not (hasattr(array, "shape") and hasattr(array, "dtype") and hasattr(array, "__getitem__")):
        raise TypeError(
            "source: expected an array, a list of arrays, a function that returns an iterable of "
            f"arrays, or an object with a method blocks(), got {type(array).__name__}"
        )
    if len(array.shape) == 0:
        raise ValueError("source: expected samples [N, D] or [..., D], got a number")
    if any(length != length for length in array.shape):  # of Dask, where it has not counted
        raise ValueError(
            f"source: expected an array of known shape, got {tuple(array.shape)}: of Dask, after "
            "array.compute_chunk_sizes()"
        )
    return array


def _beside(array: Any, name: str, given: Any) -> Any:
    """What samples have of weights or labels, in their shape."""
    if given is None:
        return None
    values, shape = _as_array(given), tuple(array.shape[:-1])
    if tuple(values.shape) not in (shape, (int(np.prod(shape)),)):
        raise ValueError(
            f"source: expected {name} of shape {shape}, as of the samples, got "
            f"{tuple(values.shape)}"
        )
    return values if tuple(values.shape) == shape else np.asarray(values).reshape(shape)
